-- The era of a group of RCS clients (GSMA RCC.16), as far as the group is followed; NULL for a group of another kind.
ALTER TABLE group_public ADD COLUMN era INTEGER;

-- A new era is a new group under the same MLS id, in the place of the one before. One at a time is in force.
ALTER TABLE mls_group ADD COLUMN successor INTEGER REFERENCES mls_group(no);
DROP INDEX mls_group_id;
CREATE UNIQUE INDEX mls_group_id ON mls_group(tenant, group_id) WHERE successor IS NULL;
CREATE INDEX mls_group_before ON mls_group(tenant, group_id) WHERE successor IS NOT NULL;

-- Which era took the place of a group's, and the ledger entry that says so, whose commitment `salt` opens.
CREATE TABLE group_era (
  group_no INTEGER PRIMARY KEY REFERENCES mls_group(no),
  era INTEGER NOT NULL CHECK (era > 1),
  salt BLOB NOT NULL,
  entry INTEGER NOT NULL,
  created_ms INTEGER NOT NULL
) STRICT;
