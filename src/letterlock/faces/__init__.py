"""The faces: what the outside talks to."""
