"""The outbox and receipts, as rows and ledger records."""

from typing import Any, Final

from letterlock.model.message import FINAL, MessageEvent, MessageState, after
from letterlock.storage.codes import CHANNELS
from letterlock.storage.errors import CommitReason
from letterlock.storage.open_commands import ApplyReceipt, EndLeases, GiveUp, Lease, Leased, Postpone, Sent
from letterlock.storage.sqlite.open_rows import committed, drop, finish
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.state import refused
from letterlock.storage.sqlite.toggle_ops import floor_under
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog import records
from letterlock.wire.tlog.words import ReasonCode

REMOTE_KEPT_MS: Final = 3 * 86_400_000
"""How long a channel's ids are matched with receipts: longer than any validity period that we ask for."""
OUTCOME_UNKNOWN: Final = "outcome_unknown"
"""A message's remark: a part may have been taken without an answer, so it may arrive twice."""


def lease(tx: Transaction, command: Lease) -> list[Leased]:
    """Leases messages that are due. What expired meanwhile is left to the purge."""
    found = rows(
        tx.db,
        "SELECT o.lease_until_ms, o.message, o.fence, o.attempts, o.tenant, t.id, m.id, b.sealed, b.wrapped_key,"  # noqa: S608
        " b.generation, o.address, o.generation, m.expires_ms, o.traffic, m.fall,"
        f" {floor_under('o.traffic', 'm.tenant', 'm.subject', 'f.protection')}, c.kind, o.parts_sent"
        " FROM outbox o JOIN message m ON m.seq=o.message JOIN tenant t ON t.no=o.tenant"
        " JOIN shreddable_body b ON b.message=o.message"
        " LEFT JOIN floor f ON f.tenant=m.tenant AND f.subject=m.subject LEFT JOIN consent c ON c.id=m.consent"
        " WHERE o.channel=? AND o.due_ms<=? AND o.lease_until_ms<=? AND m.state=? AND m.expires_ms>?"
        " ORDER BY o.due_ms LIMIT ?",
        (
            command.channel, command.now_ms, command.now_ms, int(MessageState.QUEUED), command.now_ms, command.limit,
        ),
    )  # fmt: skip
    leased = []
    for before, seq, fence, attempts, *rest in found:
        run(
            tx.db,
            "UPDATE outbox SET fence=?, attempts=attempts+1, lease_until_ms=? WHERE message=?",
            (fence + 1, command.until_ms, seq),
        )
        if before:
            # A lease ran out without an outcome: whoever had it may have sent it.
            run(tx.db, "UPDATE message SET reason=? WHERE seq=?", (OUTCOME_UNKNOWN, seq))
        leased.append(Leased(seq, fence + 1, attempts + 1, *rest))
    return leased


def end_leases(tx: Transaction, command: EndLeases) -> int:
    """Ends the leases that a dead process left; how many. What they were for counts as perhaps sent."""
    return run(
        tx.db,
        "UPDATE outbox SET lease_until_ms=? WHERE channel=? AND lease_until_ms>?",
        (command.now_ms, command.channel, command.now_ms),
    )


def _held_by(tx: Transaction, seq: int, fence: int) -> tuple[Any, ...]:
    """The message of a lease that is still ours.

    Raises:
        CommitRefused: NOT_ALLOWED, if somebody else has it now, or it is settled.
    """
    row = first(
        tx.db,
        "SELECT m.state, m.id, m.channel FROM outbox o JOIN message m ON m.seq=o.message"
        " WHERE o.message=? AND o.fence=?",
        (seq, fence),
    )
    if row is None:
        raise refused(CommitReason.NOT_ALLOWED)
    return row


def sent(tx: Transaction, command: Sent) -> int:
    """The channel has it: body and address go, its own ids are kept as tokens until receipts have come."""
    state, message_id, channel = _held_by(tx, command.seq, command.fence)
    drop(tx, command.seq)
    reached = after(MessageState(state), MessageEvent.TAKEN)
    run(tx.db, "UPDATE message SET state=?, updated_ms=? WHERE seq=?", (int(reached), command.now_ms, command.seq))
    _keep_tokens(tx, command.seq, command.route, command.tokens, command.now_ms)
    _judge_parts(tx, command.seq, message_id, channel, reached, command.now_ms)
    return int(reached)


def _keep_tokens(tx: Transaction, seq: int, route: int, tokens: tuple[bytes, ...], now_ms: int) -> None:
    for token in tokens:
        early = first(tx.db, "SELECT state FROM early_receipt WHERE route=? AND token=?", (route, token))
        run(
            tx.db,
            "INSERT OR REPLACE INTO remote_part (route, token, message, state, expires_ms) VALUES (?,?,?,?,?)",
            (route, token, seq, 0 if early is None else early[0], now_ms + REMOTE_KEPT_MS),
        )
        run(tx.db, "DELETE FROM early_receipt WHERE route=? AND token=?", (route, token))


def postpone(tx: Transaction, command: Postpone) -> None:
    """It stays queued until later."""
    _held_by(tx, command.seq, command.fence)
    _keep_tokens(tx, command.seq, command.route, command.tokens, command.now_ms)
    run(
        tx.db,
        "UPDATE outbox SET due_ms=?, lease_until_ms=0, parts_sent=parts_sent+? WHERE message=?",
        (command.due_ms, len(command.tokens), command.seq),
    )
    if command.unknown:
        run(tx.db, "UPDATE message SET reason=? WHERE seq=?", (OUTCOME_UNKNOWN, command.seq))


def give_up(tx: Transaction, command: GiveUp) -> None:
    """The channel refused it for good, or a guard does: body and address go."""
    _, message_id, channel = _held_by(tx, command.seq, command.fence)
    # What it has of a message that never became whole says nothing about the message.
    run(tx.db, "DELETE FROM remote_part WHERE message=?", (command.seq,))
    finish(tx, command.seq, command.event, command.now_ms, command.reason)
    refused_there = command.event is MessageEvent.FAILED
    reason = ReasonCode.TRANSPORT_REJECTED if refused_there else ReasonCode.GUARD
    tx.record(records.failed(command.now_ms, committed(tx, message_id).value, CHANNELS[channel], reason))


def apply_receipt(tx: Transaction, command: ApplyReceipt) -> int:
    """Applies a receipt; one that comes before its message's own ids are known is kept for them."""
    row = first(
        tx.db,
        "SELECT p.message, p.state, m.id, m.channel, m.state FROM remote_part p JOIN message m ON m.seq=p.message"
        " WHERE p.route=? AND p.token=?",
        (command.route, command.token),
    )
    if row is None:
        run(
            tx.db,
            "INSERT INTO early_receipt (route, token, state, expires_ms) VALUES (?,?,?,?)"
            # The least number is DELIVERED: a centre that also said that it failed was mistaken.
            " ON CONFLICT DO UPDATE SET state=min(state, excluded.state)",
            (command.route, command.token, int(command.event), command.now_ms + command.keep_ms),
        )
        return 0
    seq, known, message_id, channel, state = row
    if known == MessageEvent.DELIVERED:
        return int(state)
    run(
        tx.db,
        "UPDATE remote_part SET state=? WHERE route=? AND token=?",
        (int(command.event), command.route, command.token),
    )
    return int(_judge_parts(tx, seq, message_id, channel, MessageState(state), command.now_ms))


def _judge_parts(
    tx: Transaction, seq: int, message_id: bytes, channel: int, state: MessageState, now_ms: int
) -> MessageState:
    """A message is delivered when all its parts are, and failed when all have ended and one failed."""
    parts = [row[0] for row in rows(tx.db, "SELECT state FROM remote_part WHERE message=?", (seq,))]
    waits = first(tx.db, "SELECT 1 FROM outbox WHERE message=?", (seq,)) is not None
    if not parts or 0 in parts or waits:
        return state
    event = (
        MessageEvent.DELIVERED
        if all(part == MessageEvent.DELIVERED for part in parts)
        else MessageEvent(max(part for part in parts if part != MessageEvent.DELIVERED))
    )
    reached = after(state, event)
    if reached is state:
        return state
    final = now_ms + tx.purge_after_ms if reached in FINAL else None
    run(
        tx.db,
        "UPDATE message SET state=?, updated_ms=?, purge_ms=? WHERE seq=?",
        (int(reached), now_ms, final, seq),
    )
    message = committed(tx, message_id).value
    if reached is MessageState.DELIVERED:
        tx.record(records.delivered(now_ms, message, CHANNELS[channel]))
    else:
        tx.record(records.failed(now_ms, message, CHANNELS[channel], ReasonCode.DELIVERY_FAILED))
    return reached
