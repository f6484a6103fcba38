"""Rows that have outlived their time: what the purge should have taken and did not."""

from dataclasses import dataclass
from typing import Final

import apsw

from letterlock.storage.columns import DUE
from letterlock.storage.sqlite.rows import rows

_NO_LATER: Final = 2
"""Purge rounds that a row may wait: the one that was just missed, and one that was busy."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """What one rule finds.

    Attributes:
        table: whose rows.
        lifetime: which they have, in words.
        grace_ms: how long after its time a row may still be seen.
        rows: how many are beyond that.
    """

    table: str
    lifetime: str
    grace_ms: int
    rows: int


def find_overdue(db: apsw.Connection, now_ms: int, purge_every_s: int) -> list[Overdue]:
    """Applies every rule of :data:`letterlock.storage.columns.DUE`.

    Args:
        db: any connection.
        now_ms: the present.
        purge_every_s: the interval between two purges.
    """
    found = []
    for rule in DUE:
        grace = (rule.rounds + _NO_LATER) * purge_every_s * 1000 + rule.seconds * 1000
        sql = f"SELECT count(*) FROM {rule.table} WHERE {rule.where}".replace(":by", "?1")  # noqa: S608 - our own words
        count = rows(db, sql, (now_ms - grace,))[0][0]
        found.append(Overdue(rule.table, rule.lifetime.value, grace, count))
    return found
