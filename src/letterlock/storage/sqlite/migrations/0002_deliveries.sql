-- Tokens that recipients handed out: who shows one may put one message into the mailbox, without a session. Only hashes.
-- No column says which of them were made together, or for whom; the time is that of a day's end.
CREATE TABLE delivery_token (
  hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
  tenant INTEGER NOT NULL REFERENCES tenant(no),
  mailbox INTEGER NOT NULL REFERENCES device(mailbox),
  expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_token_mailbox ON delivery_token(mailbox);
CREATE INDEX delivery_token_expiry ON delivery_token(expires_ms);
