"""Open intervals as rows: what is written at the end of a commit, and how an interval gets its entry."""

from typing import Final

from letterlock.model.traces import LedgerRhythm
from letterlock.storage.maintenance_commands import CloseIntervals
from letterlock.storage.sqlite.rows import rows, run
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog.intervals import IntervalRecords

RECORDS_KEPT_MS: Final = 400 * 86_400_000
"""How long the records behind entries stay: a year's audit and its preparation."""


def keep_waiting(tx: Transaction) -> None:
    """Writes the records of this transaction that wait for their interval."""
    for book in tx.touched:
        if not book.unsaved:
            continue
        if not book.kept:
            run(
                tx.db,
                "INSERT INTO record_interval (no, seed, until_ms) VALUES (?,?,?)",
                (book.no, book.seed, book.until_ms),
            )
            run(tx.db, "UPDATE counter SET value=? WHERE name='record_interval'", (book.no,))
            book.kept = True
        tx.db.executemany(
            "INSERT INTO waiting_record (interval, slot, record) VALUES (?,?,?)",
            [(book.no, slot, record) for slot, record in enumerate(book.unsaved, book.rows)],
        )
        book.rows += len(book.unsaved)
        book.unsaved.clear()


def close_intervals(tx: Transaction, command: CloseIntervals) -> int:
    """Gives intervals that have ended their entries; how many entries that makes."""
    keep_waiting(tx)
    ended = rows(
        tx.db, "SELECT no, seed, until_ms FROM record_interval WHERE until_ms<=? ORDER BY no", (command.until_ms,)
    )
    for no, seed, until_ms in ended:
        found = rows(tx.db, "SELECT record FROM waiting_record WHERE interval=? ORDER BY slot", (no,))
        records = [record for (record,) in found]
        entry = tx.append(IntervalRecords(records, seed).entry(min(until_ms, tx.now_ms)))
        run(
            tx.db,
            "INSERT INTO record_batch (entry, seed, records, expires_ms, interval) VALUES (?,?,?,?,?)",
            (entry, seed, b"\n".join(records), tx.now_ms + RECORDS_KEPT_MS, no),
        )
        run(tx.db, "DELETE FROM waiting_record WHERE interval=?", (no,))
        run(tx.db, "DELETE FROM record_interval WHERE no=?", (no,))
    wanted = any(traces.ledger is LedgerRhythm.EACH_INTERVAL for traces in tx.traces.values())
    if not ended and command.silent and wanted:
        # Nothing can be asked about an interval without a record, so its seed is kept nowhere.
        tx.append(IntervalRecords((), tx.seed).entry(command.until_ms))
    open_ = tx.state.interval
    if open_ is not None and open_.until_ms <= command.until_ms:

        def forget() -> None:
            tx.state.interval = None

        tx.then(forget)
    return len(ended)
