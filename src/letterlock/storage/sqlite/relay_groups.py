"""Groups in the writer: one commit an epoch, and Welcomes only with the commit that won."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from letterlock.custody.sealing import COLUMN_SEALED, StorageKey, reseal
from letterlock.model.ids import MessageId, TenantId
from letterlock.model.message import MessageState
from letterlock.storage.relay_commands import (
    MAX_MEMBERS,
    CommitGroup,
    CreateGroup,
    GroupCommitted,
    GroupCreated,
    RelayReason,
    SealedHandshake,
    relay_refused,
)
from letterlock.storage.sqlite.message_ops import check_relied
from letterlock.storage.sqlite.relay_mail import caller_alive, raise_counter
from letterlock.storage.sqlite.relay_public import follow_commit, wrong_era
from letterlock.storage.sqlite.relay_stuck import note_replacement, quarantined
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.state import MAILBOX_SHIFT, Group, Mailbox
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.stream import ItemKind
from letterlock.wire.tlog import records
from letterlock.wire.tlog.commitments import message_commitment

HANDSHAKE_PURGE_MS: Final = 0
"""A commit nobody waits for is done at once; its copy in the group's log has a time of its own."""


def create_group(tx: Transaction, command: CreateGroup) -> GroupCreated:
    """Makes a group with its creator alone, or finds it as long as nothing was committed.

    Raises:
        CommitRefused: the group id is taken; the group that it would replace is not one to be replaced by its creator.
    """
    db = tx.db
    caller_alive(tx, command.tenant, command.creator)
    known = first(
        db,
        "SELECT no, ref, creator, first_epoch, log_seq FROM mls_group WHERE tenant=? AND group_id=?"
        " AND successor IS NULL",
        (command.tenant, command.group_id),
    )
    if known is not None:
        no, ref, creator, first_epoch, log_seq = known
        if creator != command.creator or first_epoch != command.epoch or log_seq:
            raise relay_refused(RelayReason.GROUP_EXISTS)
        return GroupCreated(no, ref, created=False)
    no = new_group(tx, command)
    if command.replaces:
        note_replacement(tx, command.replaces, command.creator, command.salt)
    return GroupCreated(no, command.ref, created=True)


def new_group(tx: Transaction, command: CreateGroup) -> int:
    """The rows of a group with its creator alone; its number."""
    db = tx.db
    run(
        db,
        "INSERT INTO mls_group (tenant, ref, group_id, epoch, first_epoch, creator, log_seq, log_head, created_ms)"
        " VALUES (?,?,?,?,?,?,0,?,?)",
        (
            command.tenant, command.ref, command.group_id, command.epoch, command.epoch, command.creator,
            command.chain, tx.now_ms,
        ),
    )  # fmt: skip
    no = db.last_insert_rowid()
    run(db, "INSERT INTO group_member (group_no, mailbox) VALUES (?,?)", (no, command.creator))
    return no


@dataclass(frozen=True, slots=True)
class _Roster:
    """Members with and without fan-out, and what the commit changes."""

    active: frozenset[int]
    silent: frozenset[int]
    adds: dict[bytes, int]
    removes: frozenset[int]


def commit_group(tx: Transaction, command: CommitGroup) -> GroupCommitted:
    """Applies a commit bundle if its epoch is the head's.

    Raises:
        CommitRefused: not a member; another request under the same key; a later era is in the group's place; the
            epoch is not the head; members that do not fit; a decision that is stale.
    """
    db, group = tx.db, command.group
    caller_alive(tx, command.tenant, command.caller)
    head = first(db, "SELECT tenant, epoch, log_head, log_seq, successor FROM mls_group WHERE no=?", (group,))
    if head is None or head[0] != command.tenant:
        raise relay_refused(RelayReason.NOT_FOUND)
    _, epoch, chain, log_seq, successor = head
    active = _mailboxes(tx, "group_member", group)
    if command.caller not in active:
        raise relay_refused(RelayReason.NOT_A_MEMBER)
    earlier = first(
        db,
        "SELECT request_hash, base_epoch, log_head, record_hash FROM group_log"
        " WHERE group_no=? AND committer=? AND idempotency_key=?",
        (group, command.caller, command.idempotency_key),
    )
    if earlier is not None:
        if earlier[0] != command.request_hash:
            raise relay_refused(RelayReason.IDEMPOTENCY_CONFLICT)
        return GroupCommitted(earlier[1] + 1, earlier[2], earlier[3], (), repeated=True)
    if quarantined(tx, group):
        raise relay_refused(RelayReason.GROUP_QUARANTINED)
    if successor is not None:
        raise wrong_era(tx, group)
    if command.base_epoch != epoch:
        raise relay_refused(RelayReason.WRONG_EPOCH, current_epoch=epoch)
    if tx.state.waiting.refuses(command.tenant, command.caller):
        raise relay_refused(RelayReason.MAILBOX_QUOTA)
    roster = _roster(tx, command, active)
    check_relied(tx, command.relied, command.tenant)
    boxes = {number: tx.state.mailbox(db, number) for number in (*active, *roster.adds.values())}
    # Nothing refuses from here on.
    chain = sha256(chain + epoch.to_bytes(8, "big") + command.commit_hash).digest()
    moved = run(
        db,
        "UPDATE mls_group SET epoch=epoch+1, log_seq=log_seq+1, log_head=?,"
        " private_handshakes=max(private_handshakes, ?) WHERE no=? AND epoch=?",
        (chain, int(command.private), group, command.base_epoch),
    )
    assert moved == 1, "one writer: the head was read in this transaction"
    after = _change_members(tx, command, roster, log_seq + 1)
    follow_commit(tx, group, command.public, command.finding)
    raise_counter(tx, command.caller, command.state_counter)
    deliveries: list[tuple[int, int]] = []
    seq, record_hash = _deliver(
        tx, command, command.commit, ItemKind.COMMIT, _next(boxes, active - {command.caller}), deliveries
    )
    waits = [(seq, len(command.commit.sealed))]
    for welcome in command.welcomes:
        added = frozenset(roster.adds[device] for device in welcome.recipients)
        number, _ = _deliver(tx, command, welcome.body, ItemKind.WELCOME, _next(boxes, added), deliveries)
        waits.append((number, len(welcome.body.sealed)))
    run(
        db,
        "INSERT INTO group_log (group_no, seq, base_epoch, message_id, message, committer, idempotency_key,"
        " request_hash, record_hash, log_head, sealed, generation, created_ms) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            group, log_seq + 1, epoch, command.commit.message_id, seq, command.caller, command.idempotency_key,
            command.request_hash, record_hash, chain, command.commit.sealed, command.generation,
            tx.began(command.tenant),
        ),
    )  # fmt: skip
    state, named = tx.state, tx.names_sender(command.tenant)

    def remember() -> None:
        state.groups[group] = Group(command.tenant, epoch + 1, after)
        for number, sequence in deliveries:
            boxes[number].head = sequence
        for number, size in waits:
            state.waiting.count(command.tenant, command.caller, size, 0 if named else number)

    tx.then(remember)
    return GroupCommitted(epoch + 1, chain, record_hash, tuple(deliveries), repeated=False)


def _next(boxes: dict[int, Mailbox], targets: frozenset[int]) -> list[tuple[int, int]]:
    """The next sequence in each mailbox. A bundle puts at most one item into each: commit or Welcome."""
    return [(number, boxes[number].head + 1) for number in sorted(targets)]


def _mailboxes(tx: Transaction, table: str, group: int) -> frozenset[int]:
    query = f"SELECT mailbox FROM {table} WHERE group_no=?"  # noqa: S608 - one of two names of ours
    return frozenset(number for (number,) in rows(tx.db, query, (group,)))


def _roster(tx: Transaction, command: CommitGroup, active: frozenset[int]) -> _Roster:
    """Finds who is added and removed.

    Raises:
        CommitRefused: BAD_MEMBERS.
    """
    silent = _mailboxes(tx, "group_silent", command.group)
    members = active | silent
    adds = _found(
        tx,
        "SELECT mailbox FROM device WHERE tenant=? AND id=? AND revoked_ms IS NULL AND lost=0",
        command,
        command.adds,
    )
    removes = _found(tx, "SELECT mailbox FROM device WHERE tenant=? AND id=?", command, command.removes)
    gone = frozenset(removes.values())
    added = frozenset(adds.values())
    size = len(members) + len(added) - len(gone)
    if added & members or gone - members or command.caller in gone or size > MAX_MEMBERS:
        raise relay_refused(RelayReason.BAD_MEMBERS)
    return _Roster(active, silent, adds, gone)


def _found(tx: Transaction, query: str, command: CommitGroup, devices: Iterable[bytes]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for device in devices:
        row = first(tx.db, query, (command.tenant, device))
        if row is None:
            raise relay_refused(RelayReason.BAD_MEMBERS)
        found[device] = row[0]
    return found


def _change_members(tx: Transaction, command: CommitGroup, roster: _Roster, log_seq: int) -> tuple[int, ...]:
    """Writes the change of members; returns who gets fan-out after it."""
    db, group = tx.db, command.group
    for table in ("group_member", "group_silent"):
        db.executemany(
            f"DELETE FROM {table} WHERE group_no=? AND mailbox=?",  # noqa: S608 - one of two names of ours
            [(group, number) for number in roster.removes],
        )
    db.executemany(
        "INSERT INTO group_member (group_no, mailbox) VALUES (?,?)", [(group, n) for n in roster.adds.values()]
    )
    db.executemany(
        "INSERT INTO group_change (group_no, seq, mailbox, added) VALUES (?,?,?,?)",
        [(group, log_seq, n, 1) for n in roster.adds.values()] + [(group, log_seq, n, 0) for n in roster.removes],
    )
    return tuple(sorted((roster.active - roster.removes) | frozenset(roster.adds.values())))


def _deliver(
    tx: Transaction,
    command: CommitGroup,
    body: SealedHandshake,
    kind: ItemKind,
    items: list[tuple[int, int]],
    deliveries: list[tuple[int, int]],
) -> tuple[int, bytes]:
    """Writes one message with its record, and puts it into mailboxes; its number and its record's hash."""
    db, shown, now = tx.db, command.shown, tx.began(command.tenant)
    sender = command.caller if tx.names_sender(command.tenant) else None
    seq = tx.state.take_seq(db)
    book = tx.book_of(command.tenant)
    committed = message_commitment(book.salt(), body.message_id)
    record = records.accepted(now, committed, shown.shape, body.size_bucket)
    slot, record_hash = tx.record(record, seq, book)
    state = MessageState.ACCEPTED if items else MessageState.DELIVERED
    purge_ms = None if items else now + HANDSHAKE_PURGE_MS
    run(
        db,
        "INSERT INTO message (seq, tenant, id, state, channel, protection, grade, verifier, indicator, decision, rule,"
        " fall, group_no, sender, pending, size_bucket, entry, slot, accepted_ms, updated_ms, expires_ms, purge_ms)"
        " VALUES (?,?,?,?,0,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            seq, command.tenant, body.message_id, int(state), shown.protection, shown.grade, shown.verifier,
            shown.indicator, shown.decision, shown.rule, shown.fall, command.group, sender, len(items),
            body.size_bucket, book.place, slot, now, now, tx.due(command.tenant, command.expires_ms), purge_ms,
        ),
    )  # fmt: skip
    run(
        db,
        "INSERT INTO message_key (id, tenant, seq, request_mac, record_hash, status, expires_ms)"
        " VALUES (?,?,?,?,?,?,?)",
        (
            tx.order.inside(body.message_id), command.tenant, seq, command.request_hash, record_hash, int(state),
            now + tx.remembered(command.tenant),
        ),
    )  # fmt: skip
    if items:
        run(
            db,
            "INSERT INTO sealed_body (message, sealed, generation) VALUES (?,?,?)",
            (seq, body.sealed, command.generation),
        )
    db.executemany(
        "INSERT INTO mailbox_item (key, message, kind) VALUES (?,?,?)",
        [(number << MAILBOX_SHIFT | sequence, seq, int(kind)) for number, sequence in items],
    )
    deliveries.extend(items)
    return seq, record_hash


def rewrap_group_log(tx: Transaction, old: StorageKey, new: StorageKey, limit: int) -> int:
    """Moves commits of the log from one generation's key to another's, at most ``limit``; how many were moved."""
    found = rows(
        tx.db,
        "SELECT l.group_no, l.seq, t.id, l.message_id, l.sealed FROM group_log l JOIN mls_group g ON g.no=l.group_no"
        " JOIN tenant t ON t.no=g.tenant WHERE l.generation=? LIMIT ?",
        (old.generation, limit),
    )
    for group, seq, tenant, message, sealed in found:
        blob = reseal(old, new, TenantId(tenant), MessageId(message), COLUMN_SEALED, sealed)
        run(
            tx.db,
            "UPDATE group_log SET sealed=?, generation=? WHERE group_no=? AND seq=?",
            (blob, new.generation, group, seq),
        )
    return len(found)
