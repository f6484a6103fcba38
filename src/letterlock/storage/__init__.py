"""Implements the ports of custody and ledger, and the group committer; each database natively."""
