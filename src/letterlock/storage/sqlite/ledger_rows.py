"""The ledger's rows: written in the transaction of what they record, read for proofs and signing."""

from collections.abc import Sequence

import apsw

from letterlock.ledger.appender import restore_state
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.wire.tlog.growth import TreeState, integrate
from letterlock.wire.tlog.hashes import HASH_SIZE, pack_peaks


class LedgerRows:
    """What is committed, as :class:`letterlock.ledger.ports.LedgerReads`."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def head(self) -> tuple[int, bytes]:
        """Size and packed peaks of the last commit."""
        size, peaks = rows(self._db, "SELECT size, peaks FROM ledger_head")[0]
        return size, peaks

    def entries(self, first: int, last: int) -> Sequence[bytes]:
        """Entries ``first`` to ``last - 1``."""
        found = rows(self._db, "SELECT d FROM ledger_entry WHERE i >= ? AND i < ? ORDER BY i", (first, last))
        return [d for (d,) in found]

    def full_tile(self, level: int, index: int) -> bytes | None:
        """A full tile."""
        found = first(self._db, "SELECT d FROM ledger_tile WHERE l=? AND n=?", (level, index))
        return None if found is None else found[0]

    def edge(self) -> tuple[int, bytes]:
        """The first index behind the last full tile when a head was last signed, and the leaf hashes from there on."""
        index, hashes = rows(self._db, "SELECT first, hashes FROM ledger_edge")[0]
        return index, hashes

    def last_checkpoint(self) -> bytes | None:
        """The signed note of the greatest size."""
        found = first(self._db, "SELECT note FROM ledger_checkpoint ORDER BY size DESC LIMIT 1")
        return None if found is None else found[0]


def restore(db: apsw.Connection) -> TreeState:
    """The log's state, checked against its rows.

    Raises:
        LedgerError: rows are missing, or do not lead to the stored head.
    """
    return restore_state(LedgerRows(db))


def grow(db: apsw.Connection, tree: TreeState, entries: Sequence[bytes]) -> TreeState:
    """Writes new entries, the tiles that become full and the head; gives the state to adopt after the commit."""
    if not entries:
        return tree
    step = integrate(tree, entries)
    db.executemany("INSERT INTO ledger_entry (i, d) VALUES (?,?)", list(enumerate(entries, step.first)))
    for tile in step.tiles:
        run(db, "INSERT INTO ledger_tile (l, n, d) VALUES (?,?,?)", (tile.level, tile.index, tile.data))
    run(db, "UPDATE ledger_head SET size=?, peaks=? WHERE one=1", (step.state.size, pack_peaks(step.state.peaks)))
    return step.state


def save_edge(db: apsw.Connection, tree: TreeState) -> None:
    """Keeps the leaf hashes behind the last full tile; the tree may be ahead of the head that is being kept."""
    hashes = tree.edge[0] if tree.edge else b""
    run(db, "UPDATE ledger_edge SET first=?, hashes=?", (tree.size - len(hashes) // HASH_SIZE, hashes))


def save_checkpoint(db: apsw.Connection, size: int, note: bytes) -> None:
    """Adds a signed note; the same again is harmless."""
    run(db, "INSERT OR IGNORE INTO ledger_checkpoint (size, note) VALUES (?,?)", (size, note))
