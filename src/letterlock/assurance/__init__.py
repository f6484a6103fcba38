"""Evidence and what follows from it: grades, device lists, floors, fallback and consent. Pure; no I/O."""
