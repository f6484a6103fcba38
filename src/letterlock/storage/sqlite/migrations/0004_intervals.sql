-- Records that wait for the one ledger entry of their interval (policy table `metadata`, word `ledger`). A message whose
-- record waits, or waited, has `entry` = -2 - interval; `record_batch.interval` leads from there to the entry.
CREATE TABLE record_interval (
  no INTEGER PRIMARY KEY,
  seed BLOB NOT NULL CHECK (length(seed) = 32),
  until_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE waiting_record (
  interval INTEGER NOT NULL REFERENCES record_interval(no),
  slot INTEGER NOT NULL,
  record BLOB NOT NULL,
  PRIMARY KEY (interval, slot)
) STRICT, WITHOUT ROWID;

ALTER TABLE record_batch ADD COLUMN interval INTEGER;
CREATE UNIQUE INDEX record_batch_interval ON record_batch(interval) WHERE interval IS NOT NULL;

INSERT INTO counter (name, value) VALUES ('record_interval', 0);
