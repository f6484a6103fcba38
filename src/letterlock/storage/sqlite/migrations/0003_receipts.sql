-- Receipts of devices that this server is asked to check. Who is in a group at an epoch is named by one hash, which a
-- receipt must name too; a roster goes with the commits of its group. All else goes with the row of its message.
CREATE TABLE group_roster (
  group_no INTEGER NOT NULL REFERENCES mls_group(no),
  epoch INTEGER NOT NULL,
  digest BLOB NOT NULL CHECK (length(digest) = 32),
  leaves INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  PRIMARY KEY (group_no, epoch)
) STRICT, WITHOUT ROWID;
CREATE INDEX group_roster_age ON group_roster(created_ms);

-- Handed in and not yet checked. `handed_by` is the mailbox of the device that handed it in; 0 for its tenant.
CREATE TABLE receipt_waiting (
  no INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant INTEGER NOT NULL REFERENCES tenant(no),
  message INTEGER NOT NULL REFERENCES message(seq),
  handed_by INTEGER NOT NULL,
  receipt BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX receipt_waiting_once ON receipt_waiting(message, handed_by, receipt);
CREATE INDEX receipt_waiting_of ON receipt_waiting(tenant, handed_by);

-- Checked, and found to be what it says. `kind`: 1 delivered, 2 displayed.
CREATE TABLE message_receipt (
  message INTEGER NOT NULL REFERENCES message(seq),
  mailbox INTEGER NOT NULL REFERENCES device(mailbox),
  kind INTEGER NOT NULL CHECK (kind IN (1, 2)),
  recipients INTEGER NOT NULL,
  PRIMARY KEY (message, mailbox, kind)
) STRICT, WITHOUT ROWID;

-- Checked, and refused: how many, by reason.
CREATE TABLE receipt_refused (
  message INTEGER NOT NULL REFERENCES message(seq),
  reason TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (message, reason)
) STRICT, WITHOUT ROWID;
