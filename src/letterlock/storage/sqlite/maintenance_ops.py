"""What the gateway does on its own account: purging what is overdue, moving rows between key generations."""

from array import array
from collections import Counter
from typing import Any, Final

import apsw

from letterlock.assurance.consent import PROMPT_WINDOW_MS
from letterlock.custody.generations import References
from letterlock.custody.sealing import COLUMN_ADDRESS, COLUMN_SEALED, reseal, rewrap
from letterlock.model.bodies import ShreddableBody
from letterlock.model.capability import Channel
from letterlock.model.ids import MessageId, TenantId
from letterlock.model.message import FINAL, MessageState
from letterlock.storage.codes import CHANNELS
from letterlock.storage.errors import CommitReason
from letterlock.storage.maintenance_commands import (
    CountReferences,
    ForgetMessage,
    Purge,
    Purged,
    RecordEvent,
    Rewrap,
    SaveCheckpoint,
)
from letterlock.storage.sqlite import ledger_rows
from letterlock.storage.sqlite.attachment_ops import rewrap_attachment_keys
from letterlock.storage.sqlite.device_questions import rewrap_questions
from letterlock.storage.sqlite.push_ops import rewrap_subscriptions
from letterlock.storage.sqlite.question_ops import expire_questions
from letterlock.storage.sqlite.receipt_ops import purge_receipts
from letterlock.storage.sqlite.relay_groups import rewrap_group_log
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.state import refused
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog import entries
from letterlock.wire.tlog.commitments import CommitmentKind, commit
from letterlock.wire.tlog.records import failed
from letterlock.wire.tlog.words import PurgeKind, ReasonCode

KEY_SHARDS: Final = 64
"""Parts of the key space that one purge looks at in turn: a look at all of it would hold up the writer."""
_BODY_TABLES: Final = ("sealed_body", "shreddable_body", "outbox", "kept_copy")


def purge(tx: Transaction, command: Purge) -> Purged:
    """Deletes what is overdue, bounded; a ledger entry says how much."""
    now, limit, db = command.now_ms, command.limit, tx.db
    expired = _expire_waiting(tx, now, limit)
    due = [seq for (seq,) in rows(db, "SELECT seq FROM message WHERE purge_ms <= ? LIMIT ?", (now, limit))]
    if due:
        _drop_messages(tx, due)
    low, high = _shard(command.shard)
    keys = run(
        db,
        "DELETE FROM message_key WHERE id IN (SELECT id FROM message_key WHERE id >= ? AND id <= ? AND expires_ms <= ?"
        " LIMIT ?)",
        (low, high, now, limit),
    )
    records = run(
        db,
        # All batches live equally long, so the oldest are due first and no index is needed.
        "DELETE FROM record_batch WHERE entry IN (SELECT entry FROM"
        " (SELECT entry, expires_ms FROM record_batch ORDER BY entry LIMIT ?) WHERE expires_ms <= ?)",
        (limit, now),
    )
    other = sum(
        run(db, f"DELETE FROM {table} WHERE expires_ms <= ?", (now,))  # noqa: S608 - our own names
        for table in ("device_session", "remote_part", "early_receipt")
    )
    other += run(
        db,
        "DELETE FROM consent WHERE expires_ms <= ? AND NOT EXISTS"
        " (SELECT 1 FROM kept_copy WHERE kept_copy.consent = consent.id)"
        # A message that has not left yet is looked at once more with its consent.
        " AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.message = consent.used_by)",
        (now,),
    )
    expire_questions(tx, now, limit)
    # A question is remembered for its window, so that it is not put again at once.
    other += run(
        db,
        "DELETE FROM challenge WHERE expires_ms <= ? AND created_ms <= ? AND NOT EXISTS"
        " (SELECT 1 FROM consent WHERE consent.challenge = challenge.id) AND NOT EXISTS"
        " (SELECT 1 FROM challenge_device WHERE challenge_device.challenge = challenge.id)",
        (now, now - PROMPT_WINDOW_MS),
    )
    purged = Purged(len(due), expired, keys, records, other)
    for kind, count in (
        (PurgeKind.MESSAGES, purged.messages),
        (PurgeKind.IDEMPOTENCY, keys),
        (PurgeKind.RECORDS, records),
        (PurgeKind.OTHER, other),
    ):
        if count:
            tx.append(entries.Purge(ts=now, kind=kind, rows=count, before=now))
    return purged


def forget_message(tx: Transaction, command: ForgetMessage) -> None:
    """Deletes one message's row before its time. What is remembered of its request stays, so a retry is found."""
    found = first(
        tx.db,
        "SELECT m.seq, m.state, m.channel FROM message_key k JOIN message m ON m.seq=k.seq WHERE k.id=? AND k.tenant=?",
        (tx.order.inside(command.message_id), command.tenant),
    )
    # What devices sent is not the tenant's to delete.
    if found is None or CHANNELS[found[2]] is Channel.RELAY:
        raise refused(CommitReason.NOT_FOUND)
    if found[1] not in FINAL:
        raise refused(CommitReason.NOT_ALLOWED)
    _drop_messages(tx, [found[0]])
    tx.append(entries.Purge(ts=command.now_ms, kind=PurgeKind.MESSAGES, rows=1, before=command.now_ms))


def _drop_messages(tx: Transaction, due: list[int]) -> None:
    """Deletes rows of messages, and whatever hangs on them."""
    numbers = apsw.carray(array("q", due))
    for table in _BODY_TABLES:
        run(tx.db, f"DELETE FROM {table} WHERE message IN carray(?)", (numbers,))  # noqa: S608 - our own names
    run(tx.db, "DELETE FROM remote_part WHERE message IN carray(?)", (numbers,))
    purge_receipts(tx, array("q", due))
    run(tx.db, "DELETE FROM message WHERE seq IN carray(?)", (numbers,))


def _shard(number: int) -> tuple[bytes, bytes]:
    width = 256 // KEY_SHARDS
    at = number % KEY_SHARDS * width
    return bytes((at,)) + bytes(15), bytes((at + width - 1,)) + b"\xff" * 15


def _expire_waiting(tx: Transaction, now: int, limit: int) -> int:
    """Gives up messages whose time ran out before they were delivered: bodies go at once.

    Messages in mailboxes are not here: a mailbox loses nothing from its middle (see the mailbox's own expiry).
    """
    db = tx.db
    found = rows(
        db,
        "SELECT seq, id, channel, state FROM message WHERE purge_ms IS NULL AND expires_ms <= ? AND state != ? LIMIT ?",
        (now, int(MessageState.ACCEPTED), limit),
    )
    if not found:
        return 0
    numbers = apsw.carray(array("q", [row[0] for row in found]))
    # Parts of a message that never went out whole say nothing about it.
    run(
        db,
        "DELETE FROM remote_part WHERE message IN (SELECT message FROM outbox WHERE message IN carray(?))",
        (numbers,),
    )
    for table in _BODY_TABLES:
        run(db, f"DELETE FROM {table} WHERE message IN carray(?)", (numbers,))  # noqa: S608 - our own names
    held = int(MessageState.HELD)
    run(
        db,
        "UPDATE message SET state=iif(state=?, ?, ?), pending=0, updated_ms=?, purge_ms=?, reason='expired'"
        " WHERE seq IN carray(?)",
        (held, int(MessageState.NOT_SENT), int(MessageState.EXPIRED), now, now + tx.purge_after_ms, numbers),
    )
    for _, message_id, channel, _ in found:
        committed = commit(CommitmentKind.MESSAGE, tx.salt(), message_id)
        tx.record(failed(now, committed.value, CHANNELS[channel], ReasonCode.EXPIRED))
    return len(found)


def count_references(tx: Transaction, command: CountReferences) -> dict[int, References]:  # noqa: ARG001
    """How many rows refer to each generation; no row is under a hold of its own yet."""
    counted: Counter[int] = Counter()
    for table in (
        "sealed_body",
        "shreddable_body",
        "outbox",
        "kept_copy",
        "group_log",
        "attachment_key",
        "push_subscription",
        "challenge_device",
    ):
        counted.update(
            dict(rows(tx.db, f"SELECT generation, count(*) FROM {table} GROUP BY generation"))  # noqa: S608
        )
    return {generation: References(free=count) for generation, count in counted.items()}


def rewrap_rows(tx: Transaction, command: Rewrap) -> int:
    """Moves rows from one generation's key to another's, at most ``limit`` of a table; how many were moved."""
    if command.held:
        return 0
    old, new, limit = command.source, command.target, command.limit
    moved = 0
    for table in ("sealed_body", "kept_copy"):
        for seq, tenant, message, sealed in _of_generation(tx, table, "sealed", old.generation, limit):
            blob = reseal(old, new, tenant, message, COLUMN_SEALED, sealed)
            run(tx.db, f"UPDATE {table} SET sealed=?, generation=? WHERE message=?", (blob, new.generation, seq))  # noqa: S608
            moved += 1
    for seq, tenant, message, address in _of_generation(tx, "outbox", "address", old.generation, limit):
        blob = reseal(old, new, tenant, message, COLUMN_ADDRESS, address)
        run(tx.db, "UPDATE outbox SET address=?, generation=? WHERE message=?", (blob, new.generation, seq))
        moved += 1
    moved += rewrap_group_log(tx, old, new, limit)
    moved += rewrap_attachment_keys(tx, old, new, limit)
    moved += rewrap_subscriptions(tx, old, new, limit)
    moved += rewrap_questions(tx, old, new, limit)
    found = rows(
        tx.db,
        "SELECT b.message, t.id, m.id, b.sealed, b.wrapped_key FROM shreddable_body b JOIN message m ON m.seq=b.message"
        " JOIN tenant t ON t.no=m.tenant WHERE b.generation=? LIMIT ?",
        (old.generation, limit),
    )
    for seq, tenant, message, sealed, wrapped in found:
        body = rewrap(ShreddableBody(sealed, wrapped, old.generation), old, new, TenantId(tenant), MessageId(message))
        run(
            tx.db,
            "UPDATE shreddable_body SET wrapped_key=?, generation=? WHERE message=?",
            (body.wrapped_key, new.generation, seq),
        )
        moved += 1
    return moved


def _of_generation(
    tx: Transaction, table: str, column: str, generation: int, limit: int
) -> list[tuple[int, TenantId, MessageId, bytes]]:
    found = rows(
        tx.db,
        f"SELECT b.message, t.id, m.id, b.{column} FROM {table} b JOIN message m ON m.seq=b.message"  # noqa: S608
        " JOIN tenant t ON t.no=m.tenant WHERE b.generation=? LIMIT ?",
        (generation, limit),
    )
    return [(seq, TenantId(tenant), MessageId(message), blob) for seq, tenant, message, blob in found]


def save_checkpoint(tx: Transaction, command: SaveCheckpoint) -> None:
    """Keeps a signed head."""
    ledger_rows.save_checkpoint(tx.db, command.size, command.note)
    ledger_rows.save_edge(tx.db, tx.state.tree)


def record_event(tx: Transaction, command: RecordEvent) -> int:
    """Appends an entry that goes with no other change; gives its index."""
    entry: Any = command.entry
    return tx.append(entry)
