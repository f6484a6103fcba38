"""Readable messages, questions and answers, the outbox and receipts, as rows and ledger entries."""

from typing import Any, Final

from letterlock.assurance.fallback import FallbackError, FallbackEvent, FallbackState, step
from letterlock.model.message import FINAL, MessageEvent, MessageState, after
from letterlock.model.protection import ConsentKind
from letterlock.storage.codes import CHANNELS, CONSENT_KINDS, PROTECTIONS
from letterlock.storage.commands import Accepted
from letterlock.storage.errors import CommitReason
from letterlock.storage.open_commands import (
    AcceptOpen,
    AnswerChallenge,
    Answered,
    ApplyReceipt,
    Ask,
    Asked,
    EndLeases,
    Fall,
    GiveUp,
    Lease,
    Leased,
    Postpone,
    Refuse,
    Sent,
    VoidConsent,
    WithdrawConsent,
)
from letterlock.storage.sqlite.core import Handler
from letterlock.storage.sqlite.message_ops import check_relied, find_duplicate, insert_message
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.state import refused
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog import entries, records
from letterlock.wire.tlog.commitments import Commitment, CommitmentKind, Digest, commit, rule_tag
from letterlock.wire.tlog.words import Answer, ReasonCode

OPEN: Final = "open"
SPENT: Final = "spent"
ENDED: Final = "ended"
REMOTE_KEPT_MS: Final = 3 * 86_400_000
"""How long a channel's ids are matched with receipts: longer than any validity period that we ask for."""


def accept_open(tx: Transaction, command: AcceptOpen) -> Accepted:
    """Takes a readable message: queued or held, its fall recorded before it can leave, its question attached."""
    known = find_duplicate(tx, command.tenant, command.message_id, command.request_mac)
    if known is not None:
        return known
    check_relied(tx, command.relied, command.tenant, command.subject)
    message = _message(tx, command.message_id)
    consent = command.fall.consent if command.fall is not None else None
    if consent is not None:
        _spend(tx, command.tenant, consent, command.now_ms)
    if command.fall is not None:
        _tell_fall(tx, command.fall, message, command.channel, command.rule, command.now_ms)
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


def _message(tx: Transaction, message_id: bytes) -> Commitment:
    return commit(CommitmentKind.MESSAGE, tx.salt(), message_id)


def _spend(tx: Transaction, tenant: int, consent: bytes, now_ms: int) -> None:
    """Uses a consent for its one message.

    Raises:
        CommitRefused: there is none, it is spent, ended or expired.
    """
    row = first(
        tx.db,
        "SELECT c.state, c.expires_ms, h.id, h.state FROM consent c JOIN challenge h ON h.id=c.challenge"
        " WHERE c.id=? AND c.tenant=?",
        (consent, tenant),
    )
    if row is None:
        raise refused(CommitReason.NOT_FOUND)
    state, expires_ms, challenge, stands = row
    if state != OPEN:
        raise refused(CommitReason.ALREADY_ANSWERED)
    if expires_ms <= now_ms:
        raise refused(CommitReason.EXPIRED)
    run(tx.db, "UPDATE consent SET state=? WHERE id=?", (SPENT, consent))
    _move(tx, challenge, stands, FallbackEvent.SUBMIT)


def _move(tx: Transaction, challenge: bytes, state: str, event: FallbackEvent) -> FallbackState:
    try:
        reached = step(FallbackState(state), event)
    except FallbackError:
        raise refused(CommitReason.NOT_ALLOWED) from None
    run(tx.db, "UPDATE challenge SET state=? WHERE id=?", (reached.value, challenge))
    return reached


def _tell_fall(tx: Transaction, fall: Fall, message: Commitment, channel: int, rule: str, now_ms: int) -> None:
    tx.append(
        entries.Fallback(
            ts=now_ms,
            message=message,
            from_=PROTECTIONS[fall.before],
            to=PROTECTIONS[fall.after],
            channel=CHANNELS[channel],
            policy=Digest(fall.policy),
            rule=rule_tag(rule),
            reason=ReasonCode(fall.reason),
            kind=ConsentKind(fall.kind),
            consent=None if fall.consent is None else commit(CommitmentKind.CONSENT, tx.salt(), fall.consent),
        )
    )


def ask(tx: Transaction, command: Ask) -> Asked:
    """Puts a question, unless one about this cause was put to this peer lately and was not agreed to.

    An answered no counts for the whole window: asking again and again is how a person is worn down.
    """
    lately = first(
        tx.db,
        "SELECT id FROM challenge WHERE tenant=? AND subject=? AND cause=? AND created_ms > ?"
        " AND state NOT IN (?,?) ORDER BY created_ms DESC",
        (
            command.tenant, command.subject, command.cause, command.now_ms - command.window_ms,
            FallbackState.CONSENTED.value, FallbackState.SENT_DOWNGRADED.value,
        ),
    )  # fmt: skip
    if lately is not None:
        return Asked(lately[0], 0)
    state = FallbackState.SECURE_PENDING
    for event in (FallbackEvent.FAILURE_PROVEN, FallbackEvent.CHALLENGE):
        state = step(state, event)
    run(
        tx.db,
        "INSERT INTO challenge (id, tenant, message, binding, nonce, subject, cause, from_protection, to_protection,"
        " channel, state, created_ms, expires_ms) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            command.id, command.tenant, command.message_id, command.binding, command.nonce, command.subject,
            command.cause, command.before, command.after, command.channel, state.value, command.now_ms,
            command.expires_ms,
        ),
    )  # fmt: skip
    tx.append(
        entries.Challenge(
            ts=command.now_ms,
            challenge=commit(CommitmentKind.CHALLENGE, tx.salt(), command.id),
            message=_message(tx, command.message_id),
            from_=PROTECTIONS[command.before],
            to=PROTECTIONS[command.after],
            policy=Digest(command.policy),
            rule=rule_tag(command.rule),
            reason=ReasonCode.CONSENT_MISSING,
            until=command.expires_ms,
        )
    )
    return Asked(command.id, 1)


def expire_questions(tx: Transaction, now_ms: int, limit: int) -> None:
    """Ends questions that nobody answered in time, each with its entry; what they hold is the purge's."""
    found = rows(
        tx.db,
        "SELECT id, state FROM challenge WHERE expires_ms<=? AND state=? LIMIT ?",
        (now_ms, FallbackState.CHALLENGED.value, limit),
    )
    for challenge, state in found:
        _move(tx, challenge, _move(tx, challenge, state, FallbackEvent.EXPIRE).value, FallbackEvent.GIVE_UP)
        tx.append(
            entries.Consent(
                ts=now_ms,
                challenge=commit(CommitmentKind.CHALLENGE, tx.salt(), challenge),
                # There is no consent; the entry commits to the question once more, under its other domain.
                consent=commit(CommitmentKind.CONSENT, tx.salt(), challenge),
                kind=ConsentKind.POLICY,
                answer=Answer.EXPIRED,
            )
        )


def refuse(tx: Transaction, command: Refuse) -> None:
    """Records a refusal; nothing of the message is kept."""
    tx.append(
        entries.Refusal(
            ts=command.now_ms,
            message=_message(tx, command.message_id),
            policy=Digest(command.policy),
            rule=rule_tag(command.rule),
            reason=ReasonCode(command.reason),
        )
    )


def answer(tx: Transaction, command: AnswerChallenge) -> Answered:
    """Takes a tenant's answer to a question; agreeing releases the message that it holds."""
    row = first(
        tx.db,
        "SELECT state, expires_ms, held, from_protection, to_protection, channel, message FROM challenge"
        " WHERE id=? AND tenant=?",
        (command.challenge, command.tenant),
    )
    if row is None:
        raise refused(CommitReason.NOT_FOUND)
    state, expires_ms, held, before, to, channel, message_id = row
    if state != FallbackState.CHALLENGED.value:
        raise refused(CommitReason.ALREADY_ANSWERED)
    if expires_ms <= command.now_ms:
        raise refused(CommitReason.EXPIRED)
    if command.policy_version != tx.state.policy_version:
        raise refused(CommitReason.STALE_DECISION)
    agreed = bool(command.agreed)
    reached = _move(tx, command.challenge, state, FallbackEvent.CONSENT if agreed else FallbackEvent.REFUSE)
    tx.append(
        entries.Consent(
            ts=command.now_ms,
            challenge=commit(CommitmentKind.CHALLENGE, tx.salt(), command.challenge),
            consent=commit(CommitmentKind.CONSENT, tx.salt(), command.consent),
            kind=ConsentKind.TENANT_ASSERTED,
            answer=Answer.ACCEPTED if agreed else Answer.REFUSED,
        )
    )
    if agreed:
        run(
            tx.db,
            "INSERT INTO consent (id, tenant, challenge, kind, state, answered_by, created_ms, expires_ms)"
            " VALUES (?,?,?,?,?,?,?,?)",
            (
                command.consent, command.tenant, command.challenge, CONSENT_KINDS.index(ConsentKind.TENANT_ASSERTED),
                OPEN, command.answered_by, command.now_ms, expires_ms,
            ),
        )  # fmt: skip
    else:
        _move(tx, command.challenge, reached.value, FallbackEvent.GIVE_UP)
    released = 0
    if held is not None:
        released = _settle_held(tx, command, agreed, held, message_id, before, to, channel)
    return Answered(command.consent if agreed else b"", reached.value, released)


def _settle_held(
    tx: Transaction, command: AnswerChallenge, agreed: bool, held: int, message_id: bytes, before: int, to: int,
    channel: int,
) -> int:  # fmt: skip
    row = first(tx.db, "SELECT state, rule FROM message WHERE seq=?", (held,))
    if row is None or row[0] != MessageState.HELD:
        return 0
    message = _message(tx, message_id)
    now = command.now_ms
    if not agreed:
        _finish(tx, held, MessageEvent.WITHDRAWN, now, "consent_refused")
        return 0
    fall = Fall(before, to, command.policy, ConsentKind.TENANT_ASSERTED.value, "consent_given", command.consent)
    _tell_fall(tx, fall, message, channel, row[1], now)
    tx.append(
        entries.Release(
            ts=now, message=message, to=PROTECTIONS[to], policy=Digest(command.policy), rule=rule_tag(row[1]),
            reason=ReasonCode.CONSENT_GIVEN,
        )
    )  # fmt: skip
    _spend(tx, command.tenant, command.consent, now)
    run(tx.db, "UPDATE consent SET used_by=? WHERE id=?", (held, command.consent))
    state = after(MessageState(row[0]), MessageEvent.RELEASED)
    run(
        tx.db,
        "UPDATE message SET state=?, updated_ms=?, consent=?, fall=?, indicator=?, decision=?, rule=? WHERE seq=?",
        (
            int(state), now, command.consent, CONSENTED_FALL, command.indicator, command.decision, command.rule, held,
        ),
    )  # fmt: skip
    run(tx.db, "UPDATE outbox SET due_ms=? WHERE message=?", (now, held))
    return held


CONSENTED_FALL: Final = 1
"""Position of CONSENTED among policy's falls; a test of the gateway's codes holds it."""


def withdraw(tx: Transaction, command: WithdrawConsent) -> None:
    """Ends a consent; whoever commits first, this or the message that uses it, wins."""
    row = first(
        tx.db,
        "SELECT c.state, c.challenge, h.state FROM consent c JOIN challenge h ON h.id=c.challenge"
        " WHERE c.id=? AND c.tenant=?",
        (command.consent, command.tenant),
    )
    if row is None:
        raise refused(CommitReason.NOT_FOUND)
    if row[0] != OPEN:
        raise refused(CommitReason.ALREADY_ANSWERED)
    run(tx.db, "UPDATE consent SET state=? WHERE id=?", (ENDED, command.consent))
    _move(tx, row[1], row[2], FallbackEvent.WITHDRAW)
    tx.append(
        entries.Consent(
            ts=command.now_ms,
            challenge=commit(CommitmentKind.CHALLENGE, tx.salt(), row[1]),
            consent=commit(CommitmentKind.CONSENT, tx.salt(), command.consent),
            kind=ConsentKind.TENANT_ASSERTED,
            answer=Answer.WITHDRAWN,
        )
    )


def void(tx: Transaction, command: VoidConsent) -> None:
    """Ends a consent that was tried on something else; the attempt is recorded as a refusal."""
    row = first(
        tx.db,
        "SELECT c.state, c.challenge, h.state FROM consent c JOIN challenge h ON h.id=c.challenge"
        " WHERE c.id=? AND c.tenant=?",
        (command.consent, command.tenant),
    )
    if row is None:
        raise refused(CommitReason.NOT_FOUND)
    if row[0] == OPEN:
        run(tx.db, "UPDATE consent SET state=? WHERE id=?", (ENDED, command.consent))
        _move(tx, row[1], row[2], FallbackEvent.TERMS_CHANGED)
    tx.append(
        entries.Refusal(
            ts=command.now_ms,
            message=_message(tx, command.message_id),
            policy=Digest(command.policy),
            rule=rule_tag(command.rule),
            reason=ReasonCode.CONSENT_VOID,
        )
    )


OUTCOME_UNKNOWN: Final = "outcome_unknown"
"""A message's remark: a part may have been taken without an answer, so it may arrive twice."""


def lease(tx: Transaction, command: Lease) -> list[Leased]:
    """Leases messages that are due. What expired meanwhile is left to the purge."""
    found = rows(
        tx.db,
        "SELECT o.lease_until_ms, o.message, o.fence, o.attempts, o.tenant, t.id, m.id, b.sealed, b.wrapped_key,"
        " b.generation, o.address, o.generation, m.expires_ms, o.traffic, m.fall, f.protection, c.kind, o.parts_sent"
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
    _drop(tx, command.seq)
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
    _finish(tx, command.seq, command.event, command.now_ms, command.reason)
    refused_there = command.event is MessageEvent.FAILED
    reason = ReasonCode.TRANSPORT_REJECTED if refused_there else ReasonCode.GUARD
    tx.record(records.failed(command.now_ms, _message(tx, message_id).value, CHANNELS[channel], reason))


def _drop(tx: Transaction, seq: int) -> None:
    run(tx.db, "DELETE FROM shreddable_body WHERE message=?", (seq,))
    run(tx.db, "DELETE FROM outbox WHERE message=?", (seq,))


def _finish(tx: Transaction, seq: int, event: MessageEvent, now_ms: int, reason: str | None) -> MessageState:
    _drop(tx, seq)
    row = first(tx.db, "SELECT state FROM message WHERE seq=?", (seq,))
    assert row is not None
    reached = after(MessageState(row[0]), event)
    run(
        tx.db,
        "UPDATE message SET state=?, updated_ms=?, purge_ms=?, reason=? WHERE seq=?",
        (int(reached), now_ms, now_ms + tx.purge_after_ms, reason, seq),
    )
    return reached


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
    committed = _message(tx, message_id).value
    if reached is MessageState.DELIVERED:
        tx.record(records.delivered(now_ms, committed, CHANNELS[channel]))
    else:
        tx.record(records.failed(now_ms, committed, CHANNELS[channel], ReasonCode.DELIVERY_FAILED))
    return reached


def open_handlers() -> dict[type, Handler]:
    """The handlers of this module's commands."""
    return {
        AcceptOpen: accept_open,
        Ask: ask,
        Refuse: refuse,
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
