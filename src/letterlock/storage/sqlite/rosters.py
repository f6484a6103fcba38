"""Who is in a followed group at each of its epochs, by one hash: what receipts of its messages are compared with."""

from letterlock.storage.sqlite.rows import run
from letterlock.storage.sqlite.transaction import Transaction


def keep_roster(tx: Transaction, group: int, epoch: int, digest: bytes, leaves: int) -> None:
    """Keeps the name of a group's members at an epoch, for the receipts of its messages."""
    run(
        tx.db,
        "INSERT OR REPLACE INTO group_roster (group_no, epoch, digest, leaves, created_ms) VALUES (?,?,?,?,?)",
        (group, epoch, digest, leaves, tx.now_ms),
    )


def purge_rosters(tx: Transaction, before_ms: int, limit: int) -> int:
    """Removes rosters as old as commits that go; how many."""
    return run(
        tx.db,
        "DELETE FROM group_roster WHERE (group_no, epoch) IN"
        " (SELECT group_no, epoch FROM group_roster WHERE created_ms<=?1 AND NOT EXISTS (SELECT 1 FROM mls_group g"
        " WHERE g.no=group_no AND g.epoch=group_roster.epoch) LIMIT ?2)",
        (before_ms, limit),
    )
