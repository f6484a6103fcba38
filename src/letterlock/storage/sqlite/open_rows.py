"""What the handlers of readable messages share: falls told, bodies dropped, messages ended."""

from letterlock.model.message import MessageEvent, MessageState, after
from letterlock.model.protection import ConsentKind
from letterlock.storage.codes import CHANNELS, PROTECTIONS
from letterlock.storage.open_commands import Fall
from letterlock.storage.sqlite.rows import first, run
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog import entries
from letterlock.wire.tlog.commitments import Commitment, CommitmentKind, Digest, commit, rule_tag
from letterlock.wire.tlog.words import ReasonCode


def committed(tx: Transaction, message_id: bytes) -> Commitment:
    """A message's id, committed to under a fresh salt."""
    return commit(CommitmentKind.MESSAGE, tx.salt(), message_id)


def tell_fall(tx: Transaction, fall: Fall, message: Commitment, channel: int, rule: str, now_ms: int) -> None:
    """Records a step down, before the message can leave."""
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


def drop(tx: Transaction, seq: int) -> None:
    """Body and address of a message go."""
    run(tx.db, "DELETE FROM shreddable_body WHERE message=?", (seq,))
    run(tx.db, "DELETE FROM outbox WHERE message=?", (seq,))


def finish(tx: Transaction, seq: int, event: MessageEvent, now_ms: int, reason: str | None) -> MessageState:
    """Ends a message without its having left: body and address go, and the row's time runs."""
    drop(tx, seq)
    row = first(tx.db, "SELECT state FROM message WHERE seq=?", (seq,))
    assert row is not None
    reached = after(MessageState(row[0]), event)
    run(
        tx.db,
        "UPDATE message SET state=?, updated_ms=?, purge_ms=?, reason=? WHERE seq=?",
        (int(reached), now_ms, now_ms + tx.purge_after_ms, reason, seq),
    )
    return reached
