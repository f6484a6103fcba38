-- Questions that devices of the sender's account may answer. What such a device is shown and signs, and is not in the
-- question's row, lies sealed beside it until there is an answer, or no more time for one.
ALTER TABLE challenge ADD COLUMN account BLOB CHECK (account IS NULL OR length(account) = 16);

CREATE TABLE challenge_device (
  challenge BLOB PRIMARY KEY REFERENCES challenge(id),
  tenant INTEGER NOT NULL REFERENCES tenant(no),
  account BLOB NOT NULL CHECK (length(account) = 16),
  sealed BLOB NOT NULL,
  generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX challenge_device_account ON challenge_device(tenant, account);
CREATE INDEX challenge_device_generation ON challenge_device(generation);
