"""Questions, answers and consents, as rows and ledger entries."""

from typing import Final

from letterlock.assurance.fallback import FallbackError, FallbackEvent, FallbackState, step
from letterlock.model.message import MessageEvent, MessageState, after
from letterlock.model.protection import ConsentKind
from letterlock.storage.codes import CONSENT_KINDS, PROTECTIONS
from letterlock.storage.errors import CommitReason
from letterlock.storage.open_commands import (
    AnswerChallenge,
    Answered,
    Ask,
    Asked,
    Fall,
    VoidConsent,
    WithdrawConsent,
)
from letterlock.storage.sqlite.device_questions import drop_for_devices, put_for_devices, signer_stands
from letterlock.storage.sqlite.open_rows import committed, finish, tell_fall
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.state import refused
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog import entries
from letterlock.wire.tlog.commitments import CommitmentKind, Digest, commit, rule_tag
from letterlock.wire.tlog.words import Answer, ReasonCode

OPEN: Final = "open"
SPENT: Final = "spent"
ENDED: Final = "ended"
CONSENTED_FALL: Final = 1
"""Position of CONSENTED among policy's falls; a test of the gateway's codes holds it."""


def spend(tx: Transaction, tenant: int, consent: bytes, now_ms: int) -> None:
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
        " channel, state, created_ms, expires_ms, account) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            command.id, command.tenant, command.message_id, command.binding, command.nonce, command.subject,
            command.cause, command.before, command.after, command.channel, state.value, command.now_ms,
            command.expires_ms, command.account or None,
        ),
    )  # fmt: skip
    put_for_devices(tx, command)
    tx.append(
        entries.Challenge(
            ts=command.now_ms,
            challenge=commit(CommitmentKind.CHALLENGE, tx.salt(), command.id),
            message=committed(tx, command.message_id),
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
        drop_for_devices(tx, challenge)
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


def answer(tx: Transaction, command: AnswerChallenge) -> Answered:
    """Takes an answer to a question; agreeing releases the message that it holds."""
    row = first(
        tx.db,
        "SELECT state, expires_ms, held, from_protection, to_protection, channel, message, account FROM challenge"
        " WHERE id=? AND tenant=?",
        (command.challenge, command.tenant),
    )
    if row is None:
        raise refused(CommitReason.NOT_FOUND)
    state, expires_ms, held, before, to, channel, message_id, account = row
    if state != FallbackState.CHALLENGED.value:
        raise refused(CommitReason.ALREADY_ANSWERED)
    if expires_ms <= command.now_ms:
        raise refused(CommitReason.EXPIRED)
    if command.policy_version != tx.state.policy_version:
        raise refused(CommitReason.STALE_DECISION)
    if command.caller and not signer_stands(tx, command, account):
        raise refused(CommitReason.STALE_DECISION)
    agreed = bool(command.agreed)
    kind = CONSENT_KINDS[command.kind]
    drop_for_devices(tx, command.challenge)
    reached = _move(tx, command.challenge, state, FallbackEvent.CONSENT if agreed else FallbackEvent.REFUSE)
    tx.append(
        entries.Consent(
            ts=command.now_ms,
            challenge=commit(CommitmentKind.CHALLENGE, tx.salt(), command.challenge),
            consent=commit(CommitmentKind.CONSENT, tx.salt(), command.consent),
            kind=kind,
            answer=Answer.ACCEPTED if agreed else Answer.REFUSED,
        )
    )
    if agreed:
        run(
            tx.db,
            "INSERT INTO consent (id, tenant, challenge, kind, state, answered_by, created_ms, expires_ms)"
            " VALUES (?,?,?,?,?,?,?,?)",
            (
                command.consent, command.tenant, command.challenge, command.kind, OPEN, command.answered_by,
                command.now_ms, expires_ms,
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
    message = committed(tx, message_id)
    now = command.now_ms
    if not agreed:
        finish(tx, held, MessageEvent.WITHDRAWN, now, "consent_refused")
        return 0
    kind = CONSENT_KINDS[command.kind].value
    fall = Fall(before, to, command.policy, kind, "consent_given", command.consent)
    tell_fall(tx, fall, message, channel, row[1], now)
    tx.append(
        entries.Release(
            ts=now, message=message, to=PROTECTIONS[to], policy=Digest(command.policy), rule=rule_tag(row[1]),
            reason=ReasonCode.CONSENT_GIVEN,
        )
    )  # fmt: skip
    spend(tx, command.tenant, command.consent, now)
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


def withdraw(tx: Transaction, command: WithdrawConsent) -> None:
    """Ends a consent; whoever commits first, this or the message that uses it, wins."""
    row = first(
        tx.db,
        "SELECT c.state, c.challenge, h.state, c.kind FROM consent c JOIN challenge h ON h.id=c.challenge"
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
            kind=CONSENT_KINDS[row[3]],
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
            message=committed(tx, command.message_id),
            policy=Digest(command.policy),
            rule=rule_tag(command.rule),
            reason=ReasonCode.CONSENT_VOID,
        )
    )
