-- Everything that cannot be retrofitted: tenant first, sealed and shreddable bodies apart, versions, outbox leases,
-- and the ledger inside the same transactions. Times are milliseconds UTC. `tenant` is tenant.no.

-- Numbers that only go up, and the versions that decisions rely on.
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counter (name, value) VALUES ('message_seq', 0), ('policy_version', 0), ('session_version', 0);

CREATE TABLE tenant (
  no INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
  name TEXT NOT NULL,
  profile TEXT NOT NULL,
  e2ee_first INTEGER NOT NULL DEFAULT 0,
  version INTEGER NOT NULL DEFAULT 1,
  created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE api_key (
  tenant INTEGER NOT NULL REFERENCES tenant(no),
  id BLOB NOT NULL CHECK (length(id) = 16),
  secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
  scopes TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER,
  revoked_ms INTEGER,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX api_key_secret ON api_key(secret_hash);

CREATE TABLE account (
  tenant INTEGER NOT NULL REFERENCES tenant(no),
  id BLOB NOT NULL CHECK (length(id) = 16),
  subject BLOB,
  identity_key BLOB,
  list_version INTEGER NOT NULL DEFAULT 0,
  list_hash BLOB,
  created_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX account_subject ON account(tenant, subject) WHERE subject IS NOT NULL;
CREATE UNIQUE INDEX account_identity ON account(tenant, identity_key) WHERE identity_key IS NOT NULL;

-- Every version of every account's signed list, and the salt that opens its ledger entry's commitment.
CREATE TABLE device_list_version (
  tenant INTEGER NOT NULL,
  account BLOB NOT NULL,
  version INTEGER NOT NULL,
  list_hash BLOB NOT NULL,
  signed BLOB NOT NULL,
  leaf_hash BLOB NOT NULL,
  entry INTEGER NOT NULL,
  salt BLOB NOT NULL,
  created_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, account, version)
) STRICT, WITHOUT ROWID;

-- `mailbox` is a small number so that (mailbox, sequence) is one 64-bit row key of mailbox_item.
-- A row stays when its device is revoked, so that the id never comes back. `state_counter` is the highest that the
-- device has stated. `lost`: 0 in order, 1 emptied because overfull or overdue, 2 reset and waiting for key packages.
CREATE TABLE device (
  mailbox INTEGER PRIMARY KEY AUTOINCREMENT CHECK (mailbox < 2147483648),
  tenant INTEGER NOT NULL REFERENCES tenant(no),
  id BLOB NOT NULL CHECK (length(id) = 16),
  account BLOB NOT NULL,
  session_key BLOB NOT NULL,
  leaf_key BLOB NOT NULL,
  kind TEXT NOT NULL,
  head INTEGER NOT NULL DEFAULT 0,
  acked INTEGER NOT NULL DEFAULT 0,
  state_counter INTEGER NOT NULL DEFAULT 0,
  lost INTEGER NOT NULL DEFAULT 0,
  created_ms INTEGER NOT NULL,
  revoked_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX device_id ON device(tenant, id);
CREATE INDEX device_account ON device(tenant, account);
CREATE INDEX device_login ON device(id);

CREATE TABLE device_session (
  tenant INTEGER NOT NULL,
  token_hash BLOB NOT NULL CHECK (length(token_hash) = 32),
  mailbox INTEGER NOT NULL REFERENCES device(mailbox),
  expires_ms INTEGER NOT NULL,
  PRIMARY KEY (token_hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_session_mailbox ON device_session(mailbox, expires_ms);
CREATE INDEX device_session_expiry ON device_session(expires_ms);

CREATE TABLE key_package (
  no INTEGER PRIMARY KEY,
  tenant INTEGER NOT NULL,
  mailbox INTEGER NOT NULL REFERENCES device(mailbox),
  ref BLOB NOT NULL,
  package BLOB NOT NULL,
  last_resort INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX key_package_ref ON key_package(tenant, ref);
CREATE INDEX key_package_pool ON key_package(mailbox, last_resort, no);
CREATE INDEX key_package_expiry ON key_package(expires_ms);

-- Hashes of packages that were ever published, until they expire by themselves: none is handed out twice.
CREATE TABLE published_package (
  tenant INTEGER NOT NULL,
  ref BLOB NOT NULL CHECK (length(ref) = 32),
  expires_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, ref)
) STRICT, WITHOUT ROWID;
CREATE INDEX published_package_expiry ON published_package(expires_ms);

CREATE TABLE mls_group (
  no INTEGER PRIMARY KEY,
  tenant INTEGER NOT NULL,
  ref BLOB NOT NULL CHECK (length(ref) = 16),
  group_id BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  first_epoch INTEGER NOT NULL,
  creator INTEGER NOT NULL,
  private_handshakes INTEGER NOT NULL DEFAULT 0,
  log_seq INTEGER NOT NULL,
  log_head BLOB NOT NULL,
  created_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX mls_group_ref ON mls_group(tenant, ref);
CREATE UNIQUE INDEX mls_group_id ON mls_group(tenant, group_id);

CREATE TABLE group_member (
  group_no INTEGER NOT NULL REFERENCES mls_group(no),
  mailbox INTEGER NOT NULL REFERENCES device(mailbox),
  PRIMARY KEY (group_no, mailbox)
) STRICT, WITHOUT ROWID;

CREATE INDEX group_member_mailbox ON group_member(mailbox);

-- Leaves whose device gets nothing any more (revoked, or its mailbox was lost) until a commit removes them.
CREATE TABLE group_silent (
  group_no INTEGER NOT NULL REFERENCES mls_group(no),
  mailbox INTEGER NOT NULL REFERENCES device(mailbox),
  PRIMARY KEY (group_no, mailbox)
) STRICT, WITHOUT ROWID;

-- A group's public MLS state, as far as its commits could be followed: no key, nothing secret.
-- `standing`: 0 followed, 1 lowered (followed, and something about its members is not as it should be), 2 lost.
CREATE TABLE group_public (
  group_no INTEGER PRIMARY KEY REFERENCES mls_group(no),
  epoch INTEGER NOT NULL,
  standing INTEGER NOT NULL CHECK (standing BETWEEN 0 AND 2),
  until_ms INTEGER NOT NULL,
  gaps INTEGER NOT NULL,
  state BLOB NOT NULL
) STRICT;
CREATE INDEX group_public_until ON group_public(until_ms) WHERE standing = 0;

-- The commits of a group in order. `message` is the number of the message that carries it to mailboxes.
CREATE TABLE group_log (
  group_no INTEGER NOT NULL REFERENCES mls_group(no),
  seq INTEGER NOT NULL,
  base_epoch INTEGER NOT NULL,
  message_id BLOB NOT NULL,
  message INTEGER NOT NULL,
  committer INTEGER NOT NULL,
  idempotency_key BLOB NOT NULL,
  request_hash BLOB NOT NULL,
  record_hash BLOB NOT NULL,
  log_head BLOB NOT NULL,
  sealed BLOB NOT NULL,
  generation INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  PRIMARY KEY (group_no, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX group_log_epoch ON group_log(group_no, base_epoch);
CREATE UNIQUE INDEX group_log_request ON group_log(group_no, committer, idempotency_key);
CREATE INDEX group_log_age ON group_log(created_ms);

CREATE TABLE group_change (
  group_no INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  mailbox INTEGER NOT NULL,
  added INTEGER NOT NULL,
  PRIMARY KEY (group_no, seq, mailbox)
) STRICT, WITHOUT ROWID;

-- Which accounts said, signed, that they cannot take a commit; and the groups that take nothing any more because two did.
CREATE TABLE group_report (
  group_no INTEGER NOT NULL REFERENCES mls_group(no),
  base_epoch INTEGER NOT NULL,
  account BLOB NOT NULL,
  mailbox INTEGER NOT NULL REFERENCES device(mailbox),
  created_ms INTEGER NOT NULL,
  PRIMARY KEY (group_no, base_epoch, account)
) STRICT, WITHOUT ROWID;
CREATE INDEX group_report_age ON group_report(created_ms);

CREATE TABLE group_quarantine (
  group_no INTEGER PRIMARY KEY REFERENCES mls_group(no),
  base_epoch INTEGER NOT NULL,
  commit_hash BLOB NOT NULL CHECK (length(commit_hash) = 32),
  salt BLOB NOT NULL,
  entry INTEGER NOT NULL,
  created_ms INTEGER NOT NULL
) STRICT;

-- One row a message: what happened to it, never what it says.
CREATE TABLE message (
  seq INTEGER PRIMARY KEY,
  tenant INTEGER NOT NULL,
  id BLOB NOT NULL,
  state INTEGER NOT NULL,
  channel INTEGER NOT NULL,
  protection INTEGER NOT NULL,
  grade INTEGER NOT NULL,
  verifier INTEGER NOT NULL,
  indicator INTEGER NOT NULL,
  decision INTEGER NOT NULL,
  rule TEXT NOT NULL,
  fall INTEGER NOT NULL,
  group_no INTEGER,
  sender INTEGER,
  subject BLOB,
  pending INTEGER NOT NULL,
  size_bucket INTEGER NOT NULL,
  entry INTEGER NOT NULL,
  slot INTEGER NOT NULL,
  consent BLOB,
  reason TEXT,
  accepted_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  purge_ms INTEGER
) STRICT;
CREATE INDEX message_purge ON message(purge_ms) WHERE purge_ms IS NOT NULL;
CREATE INDEX message_waiting ON message(expires_ms) WHERE purge_ms IS NULL;

-- The only look-up by external id, and the memory of what was accepted: a retry finds its first answer here.
CREATE TABLE message_key (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  tenant INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  request_mac BLOB NOT NULL,
  record_hash BLOB NOT NULL,
  status INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- End-to-end encrypted content. There is no readable-body column here, and none may be added.
CREATE TABLE sealed_body (
  message INTEGER PRIMARY KEY REFERENCES message(seq),
  sealed BLOB NOT NULL,
  generation INTEGER NOT NULL
) STRICT;
CREATE INDEX sealed_body_generation ON sealed_body(generation);

-- key = mailbox << 32 | sequence: a mailbox is one range, an acknowledgement one range deletion.
CREATE TABLE mailbox_item (
  key INTEGER PRIMARY KEY,
  message INTEGER NOT NULL,
  kind INTEGER NOT NULL
) STRICT;

-- Readable content that has to wait, each row under a data key of its own.
CREATE TABLE shreddable_body (
  message INTEGER PRIMARY KEY REFERENCES message(seq),
  sealed BLOB NOT NULL,
  wrapped_key BLOB NOT NULL,
  generation INTEGER NOT NULL
) STRICT;
CREATE INDEX shreddable_body_generation ON shreddable_body(generation);

-- A copy of end-to-end encrypted content beyond delivery: only under a consent, and still sealed.
CREATE TABLE kept_copy (
  message INTEGER PRIMARY KEY REFERENCES message(seq),
  consent BLOB NOT NULL REFERENCES consent(id),
  sealed BLOB NOT NULL,
  generation INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE outbox (
  message INTEGER PRIMARY KEY REFERENCES message(seq),
  tenant INTEGER NOT NULL,
  channel INTEGER NOT NULL,
  address BLOB NOT NULL,
  generation INTEGER NOT NULL,
  due_ms INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  fence INTEGER NOT NULL DEFAULT 0,
  lease_until_ms INTEGER NOT NULL DEFAULT 0,
  traffic INTEGER NOT NULL,
  parts_sent INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outbox_due ON outbox(channel, due_ms);
CREATE INDEX outbox_generation ON outbox(generation);

CREATE TABLE remote_part (
  route INTEGER NOT NULL,
  token BLOB NOT NULL,
  message INTEGER NOT NULL,
  state INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  PRIMARY KEY (route, token)
) STRICT, WITHOUT ROWID;
CREATE INDEX remote_part_message ON remote_part(message);

CREATE TABLE early_receipt (
  route INTEGER NOT NULL,
  token BLOB NOT NULL,
  state INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  PRIMARY KEY (route, token)
) STRICT, WITHOUT ROWID;

CREATE TABLE floor (
  tenant INTEGER NOT NULL,
  subject BLOB NOT NULL,
  protection INTEGER NOT NULL,
  version INTEGER NOT NULL,
  cause TEXT NOT NULL,
  updated_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, subject)
) STRICT, WITHOUT ROWID;

-- A question: what was shown is bound by a keyed digest; destination and content are not here.
CREATE TABLE challenge (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  tenant INTEGER NOT NULL,
  message BLOB NOT NULL,
  binding BLOB NOT NULL CHECK (length(binding) = 32),
  nonce BLOB NOT NULL CHECK (length(nonce) = 32),
  subject BLOB NOT NULL,
  cause TEXT NOT NULL,
  from_protection INTEGER NOT NULL,
  to_protection INTEGER NOT NULL,
  channel INTEGER NOT NULL,
  state TEXT NOT NULL,
  held INTEGER,
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX challenge_subject ON challenge(tenant, subject, cause);
CREATE INDEX challenge_expiry ON challenge(expires_ms);

CREATE TABLE consent (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  tenant INTEGER NOT NULL,
  challenge BLOB NOT NULL REFERENCES challenge(id),
  kind INTEGER NOT NULL,
  state TEXT NOT NULL,
  answered_by BLOB NOT NULL,
  used_by INTEGER,
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Where a device wants to be woken: address and keys sealed; a keyed hash of the address, so that nobody takes another's.
CREATE TABLE push_subscription (
  mailbox INTEGER PRIMARY KEY REFERENCES device(mailbox),
  tenant INTEGER NOT NULL REFERENCES tenant(no),
  endpoint_mac BLOB NOT NULL CHECK (length(endpoint_mac) = 32),
  sealed BLOB NOT NULL,
  generation INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX push_subscription_endpoint ON push_subscription(endpoint_mac);
CREATE INDEX push_subscription_generation ON push_subscription(generation);
CREATE INDEX push_subscription_expiry ON push_subscription(expires_ms);

-- Encrypted attachments: what devices sealed, sealed once more in pieces under a key of its own, which is wrapped under a
-- generation's storage key. Without its key row an attachment is gone; its pieces follow, a bounded number at a time.
-- `group_no` is there while it is uploaded; then `attachment_awaited` says which mailboxes may fetch it.
CREATE TABLE attachment (
  no INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant INTEGER NOT NULL REFERENCES tenant(no),
  id BLOB NOT NULL CHECK (length(id) = 16),
  uploader INTEGER NOT NULL REFERENCES device(mailbox),
  group_no INTEGER REFERENCES mls_group(no),
  size INTEGER NOT NULL,
  received INTEGER NOT NULL DEFAULT 0 CHECK (received <= size),
  expires_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX attachment_id ON attachment(tenant, id);
CREATE INDEX attachment_uploader ON attachment(uploader);
CREATE INDEX attachment_expiry ON attachment(expires_ms);

CREATE TABLE attachment_key (
  attachment INTEGER PRIMARY KEY REFERENCES attachment(no),
  wrapped_key BLOB NOT NULL,
  generation INTEGER NOT NULL
) STRICT;
CREATE INDEX attachment_key_generation ON attachment_key(generation);

CREATE TABLE attachment_piece (
  no INTEGER PRIMARY KEY,
  attachment INTEGER NOT NULL REFERENCES attachment(no),
  start INTEGER NOT NULL,
  sealed BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX attachment_piece_place ON attachment_piece(attachment, start);

CREATE TABLE attachment_awaited (
  attachment INTEGER NOT NULL REFERENCES attachment(no),
  mailbox INTEGER NOT NULL REFERENCES device(mailbox),
  PRIMARY KEY (attachment, mailbox)
) STRICT, WITHOUT ROWID;
CREATE INDEX attachment_awaited_mailbox ON attachment_awaited(mailbox);

-- Effects outside this database: the intent is committed first, the outcome after; start-up resumes the open ones.
CREATE TABLE intent (
  no INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  subject BLOB NOT NULL,
  created_ms INTEGER NOT NULL,
  UNIQUE (kind, subject)
) STRICT;

-- The ledger (C2SP tlog-tiles). Rows are written once; triggers refuse anything else.
CREATE TABLE ledger_entry (i INTEGER PRIMARY KEY, d BLOB NOT NULL) STRICT;
CREATE TABLE ledger_tile (
  l INTEGER NOT NULL, n INTEGER NOT NULL, d BLOB NOT NULL, PRIMARY KEY (l, n)
) STRICT, WITHOUT ROWID;
CREATE TABLE ledger_checkpoint (size INTEGER PRIMARY KEY, note BLOB NOT NULL) STRICT;
CREATE TABLE ledger_head (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL, peaks BLOB NOT NULL) STRICT;
INSERT INTO ledger_head (one, size, peaks) VALUES (1, 0, x'');
-- The leaf hashes behind the last full tile, written with each signed head: they tell which of the newest entries was
-- changed. Not append-only, and vouched for by the signed head alone.
CREATE TABLE ledger_edge (
  one INTEGER PRIMARY KEY CHECK (one = 1), first INTEGER NOT NULL, hashes BLOB NOT NULL
) STRICT;
INSERT INTO ledger_edge (one, first, hashes) VALUES (1, 0, x'');
CREATE TRIGGER ledger_entry_fixed BEFORE UPDATE ON ledger_entry BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER ledger_entry_kept BEFORE DELETE ON ledger_entry BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER ledger_tile_fixed BEFORE UPDATE ON ledger_tile BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER ledger_tile_kept BEFORE DELETE ON ledger_tile BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER ledger_checkpoint_fixed BEFORE UPDATE ON ledger_checkpoint
  BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER ledger_checkpoint_kept BEFORE DELETE ON ledger_checkpoint
  BEGIN SELECT RAISE(ABORT, 'append-only'); END;

-- The per-message records of one batch entry: erasable, the entry keeps only their root.
CREATE TABLE record_batch (
  entry INTEGER PRIMARY KEY REFERENCES ledger_entry(i) DEFERRABLE INITIALLY DEFERRED,
  seed BLOB NOT NULL,
  expires_ms INTEGER NOT NULL,
  records BLOB NOT NULL
) STRICT;
