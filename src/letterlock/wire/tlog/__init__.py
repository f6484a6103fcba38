"""The ledger's formats: RFC 6962 hashing and the C2SP notes, checkpoints, tiles and proofs; closed entry schema."""
