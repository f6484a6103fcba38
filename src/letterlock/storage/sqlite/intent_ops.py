"""Effects outside the database: the intent with its entry first, the outcome with its entry after, each once."""

from typing import Final

import apsw

from letterlock.model.message import MessageEvent
from letterlock.storage.codes import CHANNELS
from letterlock.storage.maintenance_commands import Destroyed, EndErasure, IntendDestruction, IntendErasure
from letterlock.storage.sqlite.open_rows import committed, finish
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog import entries, records
from letterlock.wire.tlog.commitments import CommitmentKind, commit
from letterlock.wire.tlog.words import ReasonCode, Step, StorageKeyStep

STORAGE_KEY: Final = "storage_key"
ERASURE: Final = "erasure"


def _begin(tx: Transaction, kind: str, subject: bytes) -> bool:
    """Opens an intent; False where it is open already."""
    if first(tx.db, "SELECT 1 FROM intent WHERE kind=? AND subject=?", (kind, subject)) is not None:
        return False
    run(tx.db, "INSERT INTO intent (kind, subject, created_ms) VALUES (?,?,?)", (kind, subject, tx.now_ms))
    return True


def _end(tx: Transaction, kind: str, subject: bytes) -> bool:
    """Closes an intent; False where none is open."""
    return bool(run(tx.db, "DELETE FROM intent WHERE kind=? AND subject=?", (kind, subject)))


def intend_destruction(tx: Transaction, command: IntendDestruction) -> None:
    """Before a storage key is overwritten."""
    if _begin(tx, STORAGE_KEY, command.generation.to_bytes(8, "big")):
        tx.append(entries.StorageKey(ts=tx.now_ms, generation=command.generation, step=StorageKeyStep.DESTROY_INTENT))


def destroyed(tx: Transaction, command: Destroyed) -> None:
    """After it was overwritten."""
    if _end(tx, STORAGE_KEY, command.generation.to_bytes(8, "big")):
        tx.append(entries.StorageKey(ts=tx.now_ms, generation=command.generation, step=StorageKeyStep.DESTROYED))


def intend_erasure(tx: Transaction, command: IntendErasure) -> int:
    """Before the vault forgets a subject; gives how many messages to it end unsent.

    Body and sealed address of what waits go, and so does the floor: the number, if it comes back, is a new person's.
    """
    if not _begin(tx, ERASURE, command.erasure):
        return 0
    waiting = rows(
        tx.db,
        "SELECT m.seq, m.id, m.channel FROM outbox o JOIN message m ON m.seq=o.message WHERE m.subject=?",
        (command.subject,),
    )
    for seq, message_id, channel in waiting:
        finish(tx, seq, MessageEvent.WITHDRAWN, tx.now_ms, "erased")
        tx.record(records.failed(tx.now_ms, committed(tx, message_id).value, CHANNELS[channel], ReasonCode.OPERATOR))
    run(tx.db, "DELETE FROM floor WHERE subject=?", (command.subject,))
    run(tx.db, "DELETE FROM toggle WHERE subject=?", (command.subject,))
    # A question that is open still has the number, sealed, for the devices that may answer it.
    run(
        tx.db,
        "DELETE FROM challenge_device WHERE challenge IN (SELECT id FROM challenge WHERE subject=?)",
        (command.subject,),
    )
    run(tx.db, "UPDATE account SET subject=NULL WHERE subject=?", (command.subject,))
    _tell_erasure(tx, command.erasure, command.salt, Step.INTENT, len(waiting))
    return len(waiting)


def end_erasure(tx: Transaction, command: EndErasure) -> None:
    """After the vault has forgotten it, or was kept from it by a hold (no rows)."""
    if _end(tx, ERASURE, command.erasure):
        _tell_erasure(tx, command.erasure, command.salt, Step.OUTCOME, command.rows)


def _tell_erasure(tx: Transaction, erasure: bytes, salt: bytes, step: Step, count: int) -> None:
    # The erasure's own name is committed to, not the subject's: nothing that lasts leads to the subject.
    name = commit(CommitmentKind.SUBJECT, salt, erasure)
    tx.append(entries.Erasure(ts=tx.now_ms, subject=name, step=step, rows=count))


def open_destructions(db: apsw.Connection) -> list[int]:
    """Generations whose destruction was begun and whose outcome is not recorded."""
    found = rows(db, "SELECT subject FROM intent WHERE kind=? ORDER BY no", (STORAGE_KEY,))
    return [int.from_bytes(subject, "big") for (subject,) in found]
