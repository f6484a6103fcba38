"""The words of the project as frozen types and enums: imports nothing of ours, does no I/O."""
