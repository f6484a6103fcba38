"""Pattern A: the blind MLS delivery service: accounts' device lists, sessions, key packages, commits, mailboxes."""
