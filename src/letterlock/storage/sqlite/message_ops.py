"""Message rows outside the hot path."""

from letterlock.model.message import MessageState
from letterlock.storage.commands import Accepted, Quarantine, Relied, Shown
from letterlock.storage.errors import CommitReason
from letterlock.storage.sqlite.rows import first, run
from letterlock.storage.sqlite.state import refused
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog import entries
from letterlock.wire.tlog.commitments import CommitmentKind, commit
from letterlock.wire.tlog.records import accepted
from letterlock.wire.tlog.words import ReasonCode


def check_relied(tx: Transaction, relied: Relied, tenant: int, subject: bytes | None = None) -> None:
    """Whether the versions behind a decision still hold.

    Raises:
        CommitRefused: STALE_DECISION.
    """
    state = tx.state
    if relied.policy != state.policy_version or (relied.session >= 0 and relied.session != state.session_version):
        raise refused(CommitReason.STALE_DECISION)
    if relied.floor >= 0 and subject is not None:
        row = first(tx.db, "SELECT version FROM floor WHERE tenant=? AND subject=?", (tenant, subject))
        if (row[0] if row else 0) != relied.floor:
            raise refused(CommitReason.STALE_DECISION)


def find_duplicate(tx: Transaction, tenant: int, message_id: bytes, request_mac: bytes) -> Accepted | None:
    """The first answer to a request that was accepted before.

    Raises:
        CommitRefused: CONFLICT, if the key was used for another request.
    """
    row = first(
        tx.db,
        "SELECT tenant, seq, request_mac, record_hash, status FROM message_key WHERE id=?",
        (tx.order.inside(message_id),),
    )
    if row is None:
        return None
    if row[0] != tenant or row[2] != request_mac:
        raise refused(CommitReason.CONFLICT)
    return Accepted(message_id, row[3], -1, -1, row[1], duplicate=True, deliveries=(), status=row[4])


def insert_message(
    tx: Transaction,
    *,
    tenant: int,
    message_id: bytes,
    request_mac: bytes,
    state: MessageState,
    channel: int,
    shown: Shown,
    size_bucket: int,
    now_ms: int,
    expires_ms: int,
    record: bytes,
    sender: int | None = None,
    subject: bytes | None = None,
    consent: bytes | None = None,
    reason: str | None = None,
    purge_ms: int | None = None,
) -> Accepted:
    """Inserts a message with its key and its record; call it when nothing can refuse the command any more."""
    seq = tx.state.take_seq(tx.db)
    book = tx.book_of(tenant)
    slot, record_hash = tx.record(record, seq, book)
    run(
        tx.db,
        "INSERT INTO message (seq, tenant, id, state, channel, protection, grade, verifier, indicator, decision, rule,"
        " fall, sender, subject, pending, size_bucket, entry, slot, consent, reason, accepted_ms, updated_ms,"
        " expires_ms, purge_ms) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,0,?,?,?,?,?,?,?,?,?)",
        (
            seq, tenant, message_id, int(state), channel, shown.protection, shown.grade, shown.verifier,
            shown.indicator, shown.decision, shown.rule, shown.fall, sender, subject, size_bucket, book.place, slot,
            consent, reason, now_ms, now_ms, expires_ms, purge_ms,
        ),
    )  # fmt: skip
    run(
        tx.db,
        "INSERT INTO message_key (id, tenant, seq, request_mac, record_hash, status, expires_ms)"
        " VALUES (?,?,?,?,?,?,?)",
        (
            tx.order.inside(message_id), tenant, seq, request_mac, record_hash, int(state),
            now_ms + tx.remembered(tenant),
        ),
    )  # fmt: skip
    return Accepted(message_id, record_hash, -1, slot, seq, duplicate=False, deliveries=(), status=int(state))


def quarantine(tx: Transaction, command: Quarantine) -> Accepted:
    """Records a submission that claims to be end-to-end encrypted and is not MLS; nothing of it is kept."""
    known = find_duplicate(tx, command.tenant, command.message_id, command.request_mac)
    if known is not None:
        return known
    check_relied(tx, command.relied, command.tenant)
    salt = tx.book_of(command.tenant).salt()
    committed = commit(CommitmentKind.MESSAGE, salt, command.message_id)
    if command.state_counter:
        run(
            tx.db,
            "UPDATE device SET state_counter=?1 WHERE mailbox=?2 AND state_counter<?1",
            (command.state_counter, command.sender),
        )
    tx.append(entries.Quarantine(ts=command.now_ms, message=committed, reason=ReasonCode.CLAIM_NOT_MLS))
    return insert_message(
        tx,
        tenant=command.tenant,
        message_id=command.message_id,
        request_mac=command.request_mac,
        state=MessageState.QUARANTINED,
        channel=0,
        shown=command.shown,
        size_bucket=command.size_bucket,
        now_ms=command.now_ms,
        expires_ms=command.expires_ms,
        record=accepted(command.now_ms, committed.value, command.shown.shape, command.size_bucket),
        sender=command.sender if tx.names_sender(command.tenant) else None,
        purge_ms=command.expires_ms,
    )
