"""Readable messages taken, refused and released, as rows and ledger entries; the table of all their handlers."""

from letterlock.model.message import MessageEvent, MessageState, after
from letterlock.storage.codes import PROTECTIONS
from letterlock.storage.commands import Accepted
from letterlock.storage.errors import CommitReason
from letterlock.storage.open_commands import (
    AcceptOpen,
    AnswerChallenge,
    ApplyReceipt,
    Ask,
    EndLeases,
    GiveUp,
    Lease,
    Postpone,
    Refuse,
    ReleaseHeld,
    Sent,
    VoidConsent,
    WithdrawConsent,
)
from letterlock.storage.sqlite.core import Handler
from letterlock.storage.sqlite.message_ops import check_relied, find_duplicate, insert_message
from letterlock.storage.sqlite.open_rows import committed, tell_fall
from letterlock.storage.sqlite.question_ops import answer, ask, spend, void, withdraw
from letterlock.storage.sqlite.rows import first, run
from letterlock.storage.sqlite.sending_ops import (
    REMOTE_KEPT_MS,
    apply_receipt,
    end_leases,
    give_up,
    lease,
    postpone,
    sent,
)
from letterlock.storage.sqlite.state import refused
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog import entries, records
from letterlock.wire.tlog.commitments import Digest, rule_tag
from letterlock.wire.tlog.words import ReasonCode


def accept_open(tx: Transaction, command: AcceptOpen) -> Accepted:
    """Takes a readable message: queued or held, its fall recorded before it can leave, its question attached."""
    known = find_duplicate(tx, command.tenant, command.message_id, command.request_mac)
    if known is not None:
        return known
    check_relied(tx, command.relied, command.tenant, command.subject)
    message = committed(tx, command.message_id)
    consent = command.fall.consent if command.fall is not None else None
    if consent is not None:
        spend(tx, command.tenant, consent, command.now_ms)
    if command.fall is not None:
        tell_fall(tx, command.fall, message, command.channel, command.rule, command.now_ms)
    if command.state == MessageState.HELD:
        tx.append(
            entries.Hold(
                ts=command.now_ms, message=message, policy=Digest(command.policy), rule=rule_tag(command.rule),
                reason=ReasonCode.NO_SECURE_PATH, until=command.expires_ms,
            )
        )  # fmt: skip
    asked = None if command.question is None else ask(tx, command.question)
    accepted = insert_message(
        tx,
        tenant=command.tenant,
        message_id=command.message_id,
        request_mac=command.request_mac,
        state=MessageState(command.state),
        channel=command.channel,
        shown=command.shown,
        size_bucket=command.size_bucket,
        now_ms=command.now_ms,
        expires_ms=command.expires_ms,
        record=records.accepted(command.now_ms, message.value, command.shown.shape, command.size_bucket),
        subject=command.subject,
        consent=consent,
    )
    seq = accepted.seq
    run(
        tx.db,
        "INSERT INTO shreddable_body (message, sealed, wrapped_key, generation) VALUES (?,?,?,?)",
        (seq, command.sealed, command.wrapped_key, command.generation),
    )
    # A held message has its address in the outbox too, but is due only when it is released.
    due = command.now_ms if command.state == MessageState.QUEUED else command.expires_ms + REMOTE_KEPT_MS
    run(
        tx.db,
        "INSERT INTO outbox (message, tenant, channel, address, generation, due_ms, traffic) VALUES (?,?,?,?,?,?,?)",
        (seq, command.tenant, command.channel, command.address, command.generation, due, command.traffic),
    )
    if consent is not None:
        run(tx.db, "UPDATE consent SET used_by=? WHERE id=?", (seq, consent))
    if asked is not None and asked.is_new:
        run(tx.db, "UPDATE challenge SET held=? WHERE id=?", (seq, asked.id))
    return accepted


def release(tx: Transaction, command: ReleaseHeld) -> None:
    """Lets a message go that was held for want of a route, now that policy says so.

    Raises:
        CommitRefused: STALE_DECISION; NOT_ALLOWED where it is not held any more, or waits for an answer.
    """
    row = first(
        tx.db,
        "SELECT m.state, m.id, m.tenant, m.subject, m.expires_ms, EXISTS(SELECT 1 FROM challenge WHERE held=m.seq)"
        " FROM message m WHERE m.seq=?",
        (command.seq,),
    )
    if row is None or row[0] != MessageState.HELD or row[4] <= command.now_ms or row[5]:
        raise refused(CommitReason.NOT_ALLOWED)
    state, message_id, tenant, subject, _, _ = row
    check_relied(tx, command.relied, tenant, subject)
    shown = command.shown
    message = committed(tx, message_id)
    if command.fall is not None:
        tell_fall(tx, command.fall, message, command.channel, shown.rule, command.now_ms)
    tx.append(
        entries.Release(
            ts=command.now_ms, message=message, to=PROTECTIONS[shown.protection], policy=Digest(command.policy),
            rule=rule_tag(shown.rule), reason=ReasonCode.ROUTE_AVAILABLE,
        )
    )  # fmt: skip
    run(
        tx.db,
        "UPDATE message SET state=?, updated_ms=?, channel=?, protection=?, grade=?, verifier=?, indicator=?,"
        " decision=?, rule=?, fall=? WHERE seq=?",
        (
            int(after(MessageState(state), MessageEvent.RELEASED)), command.now_ms, command.channel, shown.protection,
            shown.grade, shown.verifier, shown.indicator, shown.decision, shown.rule, shown.fall, command.seq,
        ),
    )  # fmt: skip
    run(tx.db, "UPDATE outbox SET due_ms=?, channel=? WHERE message=?", (command.now_ms, command.channel, command.seq))


def refuse(tx: Transaction, command: Refuse) -> None:
    """Records a refusal; nothing of the message is kept."""
    tx.append(
        entries.Refusal(
            ts=command.now_ms,
            message=committed(tx, command.message_id),
            policy=Digest(command.policy),
            rule=rule_tag(command.rule),
            reason=ReasonCode(command.reason),
        )
    )


def open_handlers() -> dict[type, Handler]:
    """The handlers of readable messages' commands."""
    return {
        AcceptOpen: accept_open,
        Ask: ask,
        Refuse: refuse,
        ReleaseHeld: release,
        AnswerChallenge: answer,
        WithdrawConsent: withdraw,
        VoidConsent: void,
        Lease: lease,
        EndLeases: end_leases,
        Sent: sent,
        Postpone: postpone,
        GiveUp: give_up,
        ApplyReceipt: apply_receipt,
    }
