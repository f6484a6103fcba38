"""The ledger's rows: entries, full tiles and the head, in the transaction of what they record."""

from collections.abc import Sequence

import apsw

from letterlock.wire.tlog.hashes import HASH_SIZE, Frontier, leaf_hash, next_level
from letterlock.wire.tlog.tiles import TILE_WIDTH


def integrate(db: apsw.Connection, frontier: Frontier, entries: Sequence[bytes]) -> None:
    """Appends entries, moves the frontier on, and writes the tiles that have become full."""
    if not entries:
        return
    first = frontier.size
    db.executemany("INSERT INTO ledger_entry (i, d) VALUES (?,?)", list(enumerate(entries, first)))
    for entry in entries:
        frontier.push(leaf_hash(entry))
    _write_tiles(db, first, frontier.size)
    db.execute(
        "UPDATE ledger_head SET size=?, peaks=? WHERE one=1", (frontier.size, b"".join(frontier.peaks))
    ).fetchall()


def _write_tiles(db: apsw.Connection, before: int, size: int) -> None:
    level = 0
    low, high = before // TILE_WIDTH, size // TILE_WIDTH
    while low < high:
        for index in range(low, high):
            db.execute(
                "INSERT INTO ledger_tile (l, n, d) VALUES (?,?,?)", (level, index, _tile(db, level, index))
            ).fetchall()
        level += 1
        low, high = low // TILE_WIDTH, high // TILE_WIDTH


def _tile(db: apsw.Connection, level: int, index: int) -> bytes:
    first = index * TILE_WIDTH
    if level == 0:
        rows = db.execute(
            "SELECT d FROM ledger_entry WHERE i BETWEEN ? AND ? ORDER BY i", (first, first + TILE_WIDTH - 1)
        )
        return b"".join(leaf_hash(d) for (d,) in rows)
    rows = db.execute(
        "SELECT d FROM ledger_tile WHERE l=? AND n BETWEEN ? AND ? ORDER BY n",
        (level - 1, first, first + TILE_WIDTH - 1),
    )
    return b"".join(_fold(d) for (d,) in rows)


def _fold(tile: bytes) -> bytes:
    row = [tile[at : at + HASH_SIZE] for at in range(0, len(tile), HASH_SIZE)]
    while len(row) > 1:
        row = next_level(row)
    return row[0]
