-- The E2EE-first toggle: of a whole tenant (an empty subject) and of single conversations, each with its version.
CREATE TABLE toggle (
  tenant INTEGER NOT NULL REFERENCES tenant(no),
  subject BLOB NOT NULL CHECK (length(subject) IN (0, 16)),
  mode INTEGER NOT NULL CHECK (mode IN (0, 1)),
  version INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, subject)
) STRICT, WITHOUT ROWID;
