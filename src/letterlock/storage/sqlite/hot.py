"""The two commands that nearly every commit consists of, applied as batches: accept and acknowledge."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

import apsw

from letterlock.model.ids import ID_BYTES
from letterlock.model.message import MessageState
from letterlock.storage.commands import Accepted, AcceptSealed, Ack, Acked, Shown
from letterlock.storage.errors import CommitReason, CommitRefused
from letterlock.storage.sqlite.record_books import THIS_COMMIT
from letterlock.storage.sqlite.rows import rows, run
from letterlock.storage.sqlite.state import MAILBOX_SHIFT, refused
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog import records
from letterlock.wire.tlog.commitments import CommitmentKind, commit, message_commitment

PAST_EPOCHS: Final = 4
"""Application messages of this many past epochs are still routed: devices keep old epoch keys about that long."""

# A commit inserts all its rows of a table in one step: the rows travel as packed strings in one array, and SQLite
# takes them apart without the interpreter's lock, while the event loop goes on. Numbers are decimal digits, because
# SQL reads those out of a string and has no way to read binary ones.
_ROW: Final = b"%b%b%b%b%016d%016d%016d%010d%010d%06d%06d%d"
_INSERT_MESSAGE: Final = (
    "INSERT INTO message (seq, tenant, id, state, channel, protection, grade, verifier, indicator, decision, rule,"
    " fall, group_no, sender, pending, size_bucket, entry, slot, accepted_ms, updated_ms, expires_ms)"
    " SELECT CAST(substr(value,81,16) AS INTEGER), ?2, substr(value,1,16), ?3, 0, ?4, ?5, ?6, ?7, ?8, ?9, ?10,"
    " nullif(CAST(substr(value,129,10) AS INTEGER),0), nullif(CAST(substr(value,139,10) AS INTEGER),0),"
    " CAST(substr(value,149,6) AS INTEGER), CAST(substr(value,161,1) AS INTEGER), ?11,"
    " CAST(substr(value,155,6) AS INTEGER), CAST(substr(value,97,16) AS INTEGER),"
    " CAST(substr(value,97,16) AS INTEGER), CAST(substr(value,113,16) AS INTEGER) FROM carray(?1)"
)
_INSERT_KEY: Final = (
    "INSERT INTO message_key (id, tenant, seq, request_mac, record_hash, status, expires_ms)"
    " SELECT substr(value,17,16), ?2, CAST(substr(value,81,16) AS INTEGER), substr(value,33,16), substr(value,49,32),"
    " ?3, CAST(substr(value,97,16) AS INTEGER)+?4 FROM carray(?1)"
)
_INSERT_BODY: Final = (
    "INSERT INTO sealed_body (message, sealed, generation) SELECT CAST(substr(value,1,16) AS INTEGER),"
    " substr(value,27), CAST(substr(value,17,10) AS INTEGER) FROM carray(?1)"
)
_INSERT_ITEM: Final = (
    "INSERT INTO mailbox_item (key, message, kind) SELECT CAST(substr(value,1,19) AS INTEGER),"
    " CAST(substr(value,20,16) AS INTEGER), CAST(substr(value,36,1) AS INTEGER) FROM carray(?1)"
)
_RAISE_COUNTERS: Final = (
    "UPDATE device SET state_counter=heard.counter FROM (SELECT CAST(substr(value,1,16) AS INTEGER) AS mailbox,"
    " CAST(substr(value,17,16) AS INTEGER) AS counter FROM carray(?)) AS heard"
    " WHERE device.mailbox=heard.mailbox AND device.state_counter<heard.counter"
)
_DROP_ITEMS: Final = (
    "DELETE FROM mailbox_item WHERE key IN (SELECT item.key FROM carray(?) AS span CROSS JOIN mailbox_item AS item"
    " WHERE item.key BETWEEN CAST(substr(span.value,1,19) AS INTEGER) AND CAST(substr(span.value,20,19) AS INTEGER))"
    " RETURNING key, message"
)
_DELIVERED: Final = (
    "UPDATE message SET pending=pending-?1, updated_ms=?2, state=iif(pending<=?1 AND state=?5, ?6, state),"
    " purge_ms=iif(pending<=?1, ?3, NULL) WHERE seq IN carray(?4)"
)
_NOBODY: Final = "UPDATE message SET purge_ms=?1, state=iif(state=?2, ?3, state) WHERE seq IN carray(?4)"
_DROP_BODIES: Final = (
    "DELETE FROM sealed_body WHERE message IN (SELECT seq FROM message WHERE seq IN carray(?) AND pending<=0)"
)


class HotBatch:
    """The accepts and acknowledgements of one group commit."""

    __slots__ = (
        "_acks", "_bodies", "_complete", "_counters", "_items", "_keys", "_known", "_rows", "_tx", "_undelivered",
    )  # fmt: skip

    def __init__(self, tx: Transaction, accepts: Sequence[AcceptSealed]) -> None:
        self._tx = tx
        self._rows: dict[tuple[int, int, int, int], tuple[Shown, list[bytes]]] = {}
        self._bodies: list[bytes] = []
        self._items: list[bytes] = []
        self._acks: dict[int, tuple[int, int]] = {}
        self._counters: dict[int, int] = {}
        """The highest state counter that each device stated."""
        self._undelivered: list[int] = []
        self._complete = True
        """Whether ``_known`` holds every key of this commit that the store has."""
        self._known: dict[bytes, tuple[int, int, bytes, bytes, int]] = {}
        self._keys: dict[bytes, bytes] = {}
        """The store's key of each message id."""
        if accepts:
            ids = [command.message_id for command in accepts]
            inside = tx.order.inside(b"".join(ids))
            keys = [inside[at : at + ID_BYTES] for at in range(0, len(inside), ID_BYTES)]
            self._keys = dict(zip(ids, keys, strict=True))
            found = rows(
                tx.db,
                "SELECT id, tenant, seq, request_mac, record_hash, status FROM message_key WHERE id IN carray(?)",
                (apsw.carray(tuple(keys)),),
            )
            if found:
                by_key = dict(zip(keys, ids, strict=True))
                self._known = {by_key[row[0]]: row[1:] for row in found}

    def accept(self, command: AcceptSealed) -> Accepted | CommitRefused:
        """Takes one message into the batch, or says why not."""
        tx = self._tx
        state, message_id = tx.state, command.message_id
        first = self._known.get(message_id)
        if first is None and not self._complete:
            first = self._stored(message_id)
        if first is not None:
            return self._duplicate(command, first)
        relied = command.relied
        if relied.policy != state.policy_version or (relied.session >= 0 and relied.session != state.session_version):
            return refused(CommitReason.STALE_DECISION)
        # Refused until the store was counted again: so whatever follows in a frame is refused too.
        if state.waiting.refuses(command.tenant, command.sender):
            return refused(CommitReason.MAILBOX_QUOTA)
        named = not tx.traces or tx.names_sender(command.tenant)
        try:
            targets = self.targets(command, named)
        except CommitRefused as refusal:
            return refusal
        stated = command.state_counter
        if stated and stated > self._counters.get(command.sender, 0):
            self._counters[command.sender] = stated
        seq = state.take_seq(tx.db)
        shown, now_ms = command.shown, command.now_ms
        book = tx.book_of(command.tenant) if tx.traces else tx.book
        committed = message_commitment(book.salt(), message_id)
        slot, record_hash = book.add(records.accepted(now_ms, committed, shown.shape, command.size_bucket))
        deliveries = []
        for number in targets:
            mailbox = state.mailboxes[number]
            mailbox.head += 1
            deliveries.append((number, mailbox.head))
            self._items.append(b"%019d%016d%d" % (number << MAILBOX_SHIFT | mailbox.head, seq, command.kind))
        row = _ROW % (
            message_id, self._keys[message_id], command.request_mac, record_hash, seq, now_ms, command.expires_ms,
            command.group, command.sender if named else 0, len(deliveries), slot, command.size_bucket,
        )  # fmt: skip
        # The commands of this commit keep their `shown` alive, so its identity is a good key here.
        alike = (command.tenant, command.state, id(shown), book.place)
        found = self._rows.get(alike)
        if found is None:
            self._rows[alike] = (shown, [row])
        else:
            found[1].append(row)
        if deliveries:
            self._bodies.append(b"%016d%010d%b" % (seq, command.generation, command.sealed))
            state.waiting.count(command.tenant, command.sender, len(command.sealed), 0 if named else seq)
        else:
            self._undelivered.append(seq)
        self._known[message_id] = (command.tenant, seq, command.request_mac, record_hash, command.state)
        # In the order of the fields: entry unknown yet, not a duplicate.
        return Accepted(message_id, record_hash, -1, slot, seq, False, tuple(deliveries), command.state)

    def _stored(self, message_id: bytes) -> tuple[int, int, bytes, bytes, int] | None:
        """A key that another command of this commit may have written."""
        found = rows(
            self._tx.db,
            "SELECT tenant, seq, request_mac, record_hash, status FROM message_key WHERE id=?",
            (self._keys[message_id],),
        )
        if not found:
            return None
        tenant, seq, request_mac, record_hash, status = found[0]
        return tenant, seq, request_mac, record_hash, status

    def _duplicate(self, command: AcceptSealed, first: tuple[int, int, bytes, bytes, int]) -> Accepted | CommitRefused:
        tenant, seq, request_mac, record_hash, status = first
        if tenant != command.tenant or request_mac != command.request_mac:
            return refused(CommitReason.CONFLICT)
        return Accepted(command.message_id, record_hash, -1, -1, seq, duplicate=True, deliveries=(), status=status)

    def targets(self, command: AcceptSealed, named: bool) -> Sequence[int]:
        """The mailboxes that get the message; loads them, so that nothing can fail after this.

        Where rows do not name the sender, its own mailbox gets it too: it would be the one that is missing.

        Raises:
            CommitRefused: its group, its sender or its epoch does not permit it.
        """
        tx, state = self._tx, self._tx.state
        if command.state == MessageState.QUARANTINED:
            return ()
        if not command.group:
            if state.mailbox(tx.db, command.mailbox).tenant != command.tenant:
                raise refused(CommitReason.NOT_FOUND)
            return (command.mailbox,)
        group = state.group(tx.db, command.group)
        if group.tenant != command.tenant:
            raise refused(CommitReason.NOT_FOUND)
        if command.sender not in group.members:
            raise refused(CommitReason.NOT_ALLOWED)
        if group.over is not None:
            raise refused(group.over)
        if command.epoch > group.epoch:
            raise refused(CommitReason.WRONG_EPOCH, epoch=group.epoch)
        if command.epoch + PAST_EPOCHS < group.epoch:
            raise refused(CommitReason.EPOCH_TOO_OLD, epoch=group.epoch)
        targets = [number for number in group.members if number != command.sender] if named else group.members
        for number in targets:
            state.mailbox(tx.db, number)
        return targets

    def ack(self, command: Ack) -> Acked | CommitRefused:
        """Takes an acknowledgement into the batch; the deletion happens in :meth:`write`."""
        mailbox = self._tx.state.mailbox(self._tx.db, command.mailbox)
        if mailbox.tenant != command.tenant or command.applied > mailbox.head:
            return refused(CommitReason.NOT_ALLOWED)
        since = mailbox.acked
        if command.applied <= since:
            return Acked(command.mailbox, since, 0)
        low, _ = self._acks.get(command.mailbox, (since, 0))
        self._acks[command.mailbox] = (low, command.applied)
        mailbox.acked = command.applied
        if command.state_counter > self._counters.get(command.mailbox, 0):
            self._counters[command.mailbox] = command.state_counter
        return Acked(command.mailbox, command.applied, command.applied - since)

    def make_visible(self) -> None:
        """Writes what is here, because a command that reads rows comes next: commands act in their order."""
        self._complete = False
        if self._rows or self._acks:
            self._write(THIS_COMMIT)

    def write(self) -> None:
        """Writes what is here, at the end of the commit."""
        # The batch entry comes after the commit's own entries, so its index is known only here.
        self._write(self._tx.first_entry + len(self._tx.entries))

    def _write(self, entry: int) -> None:
        # Acknowledgements last: one may cover what was accepted in this very commit.
        if self._rows:
            self._write_accepted(entry)
        if self._acks:
            self._write_acks()
            self._acks.clear()
        if self._counters:
            heard = [b"%016d%016d" % item for item in self._counters.items()]
            run(self._tx.db, _RAISE_COUNTERS, (apsw.carray(tuple(heard)),))
            self._counters.clear()

    def _write_accepted(self, entry: int) -> None:
        db = self._tx.db
        for (tenant, state, _, place), (shown, packed) in self._rows.items():
            at = entry if place == THIS_COMMIT else place
            array_of = apsw.carray(tuple(packed))
            run(
                db,
                _INSERT_MESSAGE,
                (
                    array_of, tenant, state, shown.protection, shown.grade, shown.verifier, shown.indicator,
                    shown.decision, shown.rule, shown.fall, at,
                ),
            )  # fmt: skip
            run(db, _INSERT_KEY, (array_of, tenant, state, self._tx.remembered(tenant)))
            if at == THIS_COMMIT:
                self._tx.unplaced.extend(int(row[80:96]) for row in packed)
        if self._bodies:
            run(db, _INSERT_BODY, (apsw.carray(tuple(self._bodies)),))
        if self._items:
            run(db, _INSERT_ITEM, (apsw.carray(tuple(self._items)),))
        if self._undelivered:
            # Nobody will ever acknowledge these: no body is kept, and the row goes like that of a delivered message.
            array_of = apsw.carray(array("q", self._undelivered))
            waiting, delivered = int(MessageState.ACCEPTED), int(MessageState.DELIVERED)
            run(db, _NOBODY, (self._tx.now_ms + self._tx.purge_after_ms, waiting, delivered, array_of))
        self._rows.clear()
        self._bodies.clear()
        self._items.clear()
        self._undelivered.clear()

    def _write_acks(self) -> None:
        tx, db = self._tx, self._tx.db
        ranges = []
        for number, (since, applied) in self._acks.items():
            base = number << MAILBOX_SHIFT
            ranges.append(b"%019d%019d" % (base | since + 1, base | applied))
        found = rows(db, _DROP_ITEMS, (apsw.carray(tuple(ranges)),))
        done = Counter([message for _, message in found])
        times_of = self._times(found) if tx.traces else {}
        deleted = Counter([key >> MAILBOX_SHIFT for key, _ in found])
        for number, (since, applied) in self._acks.items():
            book = tx.book_of(tx.state.mailboxes[number].tenant) if tx.traces else tx.book
            salt = book.salt()
            span = (since + 1).to_bytes(8, "big") + applied.to_bytes(8, "big")
            tx.record(
                records.acked(
                    tx.began(tx.state.mailboxes[number].tenant) if tx.traces else tx.now_ms,
                    deleted[number],
                    commit(CommitmentKind.MAILBOX, salt, number.to_bytes(8, "big")).value,
                    commit(CommitmentKind.RANGE, salt, span).value,
                ),
                book=book,
            )
        db.executemany(
            "UPDATE device SET acked=? WHERE mailbox=?",
            [(applied, number) for number, (_, applied) in self._acks.items()],
        )
        if not done:
            return
        usual = (tx.now_ms, tx.now_ms + tx.purge_after_ms)
        alike: dict[tuple[int, tuple[int, int]], list[int]] = defaultdict(list)
        for message, times in done.items():
            alike[times, times_of.get(message, usual)].append(message)
        waiting, delivered = int(MessageState.ACCEPTED), int(MessageState.DELIVERED)
        for (times, (now_ms, purge_ms)), messages in alike.items():
            db.execute(
                _DELIVERED, (times, now_ms, purge_ms, apsw.carray(array("q", messages)), waiting, delivered)
            ).fetchall()
        db.execute(_DROP_BODIES, (apsw.carray(array("q", done)),)).fetchall()

    def _times(self, found: Sequence[tuple[int, int]]) -> dict[int, tuple[int, int]]:
        """When they ended and when their rows go, of the messages whose tenant has other times than the usual."""
        tx, boxes = self._tx, self._tx.state.mailboxes
        tenants = {message: boxes[key >> MAILBOX_SHIFT].tenant for key, message in found}
        return {
            message: (tx.began(tenant), tx.purged(tenant)) for message, tenant in tenants.items() if tenant in tx.traces
        }
