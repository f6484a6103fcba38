-- By which authenticator an epoch of an RCS group (GSMA RCC.16) is known: a keyed digest of the first that a message
-- named, for the few epochs whose messages are still taken. `forked`: another one was named too.
CREATE TABLE group_authenticator (
  group_no INTEGER NOT NULL REFERENCES mls_group(no),
  epoch INTEGER NOT NULL,
  digest BLOB NOT NULL CHECK (length(digest) = 32),
  forked INTEGER NOT NULL DEFAULT 0 CHECK (forked IN (0, 1)),
  PRIMARY KEY (group_no, epoch)
) STRICT, WITHOUT ROWID;
