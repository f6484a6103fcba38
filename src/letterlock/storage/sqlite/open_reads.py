"""What readable messages, questions and answers need to read."""

from threading import Lock
from typing import Any

import apsw

from letterlock.model.capability import Channel
from letterlock.model.message import MessageState
from letterlock.storage.codes import CHANNELS
from letterlock.storage.open_commands import (
    ChallengeRow,
    ConsentRow,
    HeldRow,
    KnownRequest,
    MessageRow,
    SealedQuestion,
    WaitsForRoute,
)
from letterlock.storage.sqlite.order import AS_THEY_COME, KeyOrder
from letterlock.storage.sqlite.reader import Readers
from letterlock.storage.sqlite.receipt_reads import receipt_counts
from letterlock.storage.sqlite.record_books import interval_of
from letterlock.storage.sqlite.rows import first, rows
from letterlock.storage.sqlite.toggle_ops import floor_under, toggled
from letterlock.storage.tenant_commands import Toggled

_CHALLENGE = (
    "h.id, h.tenant, h.message, h.binding, h.nonce, h.subject, h.cause, h.from_protection, h.to_protection, h.channel,"
    " h.state, h.held, h.created_ms, h.expires_ms, h.account"
)
_MESSAGE = (
    "SELECT m.seq, m.tenant, m.id, m.state, m.channel, m.protection, m.grade, m.verifier, m.indicator, m.decision,"
    " m.rule, m.fall, m.pending, m.entry, m.slot, m.reason, m.accepted_ms, m.updated_ms, m.expires_ms FROM message m"
)
_ENTRY = 13
"""Where the entry stands in a row of ``_MESSAGE``."""
_NUMBER = "SELECT seq FROM message_key WHERE id=? AND tenant=?"
_RECORD_HASH = "SELECT record_hash FROM message_key WHERE id=?"
_NEWEST = 2**62
_FLOOR = floor_under("o.traffic", "m.tenant", "m.subject", "f.protection")


class OpenReads:
    """Queries on the readers."""

    def __init__(self, readers: Readers, order: KeyOrder = AS_THEY_COME) -> None:
        self._readers = readers
        self._order = order
        self._one_at_a_time = Lock()

    def _key(self, message_ids: bytes) -> bytes:
        """The store's keys of one or more ids; queries run in several threads."""
        with self._one_at_a_time:
            return self._order.inside(message_ids)

    async def floor(self, tenant: int, subject: bytes, traffic: int) -> tuple[int | None, int]:
        """A peer's floor for a kind of traffic, or None, and the version of what is recorded.

        The E2EE-first toggle stands above what is recorded; whoever flips it makes all decisions stale.
        """

        def work(db: apsw.Connection) -> tuple[int | None, int]:
            found = rows(
                db,
                f"SELECT {floor_under('?1', '?2', '?3', 'f.protection')}, coalesce(f.version, 0)"  # noqa: S608
                " FROM (SELECT 1) LEFT JOIN floor f ON f.tenant=?2 AND f.subject=?3",
                (traffic, tenant, subject),
            )
            return found[0][0], found[0][1]

        return await self._readers.read(work)

    async def e2ee_first(self, tenant: int, subject: bytes) -> Toggled:
        """What is chosen for a conversation, or for all of a tenant's."""
        return await self._readers.read(lambda db: toggled(db, tenant, subject))

    async def challenge(self, tenant: int, challenge: bytes) -> ChallengeRow | None:
        """A question."""

        def work(db: apsw.Connection) -> ChallengeRow | None:
            row = first(db, f"SELECT {_CHALLENGE} FROM challenge h WHERE h.id=? AND h.tenant=?", (challenge, tenant))  # noqa: S608
            return None if row is None else ChallengeRow(*row)

        return await self._readers.read(work)

    async def questions_for(self, tenant: int, account: bytes, now_ms: int, limit: int) -> list[SealedQuestion]:
        """Open questions that devices of an account may answer, the oldest first."""

        def work(db: apsw.Connection) -> list[SealedQuestion]:
            found = rows(
                db,
                f"SELECT {_CHALLENGE}, d.sealed, d.generation FROM challenge_device d"  # noqa: S608
                " JOIN challenge h ON h.id=d.challenge"
                " WHERE d.tenant=? AND d.account=? AND h.expires_ms>? ORDER BY h.created_ms, h.id LIMIT ?",
                (tenant, account, now_ms, limit),
            )
            return [SealedQuestion(ChallengeRow(*row[:-2]), row[-2], row[-1]) for row in found]

        return await self._readers.read(work)

    async def question_for(self, tenant: int, account: bytes, challenge: bytes) -> SealedQuestion | None:
        """One of them, or None: answered, ended, or never for this account."""

        def work(db: apsw.Connection) -> SealedQuestion | None:
            row = first(
                db,
                f"SELECT {_CHALLENGE}, d.sealed, d.generation FROM challenge_device d"  # noqa: S608
                " JOIN challenge h ON h.id=d.challenge WHERE d.challenge=? AND d.tenant=? AND d.account=?",
                (challenge, tenant, account),
            )
            return None if row is None else SealedQuestion(ChallengeRow(*row[:-2]), row[-2], row[-1])

        return await self._readers.read(work)

    async def devices_of(self, tenant: int, account: bytes) -> tuple[int, ...]:
        """The mailboxes of an account's devices."""

        def work(db: apsw.Connection) -> tuple[int, ...]:
            found = rows(
                db, "SELECT mailbox FROM device WHERE tenant=? AND account=? AND revoked_ms IS NULL", (tenant, account)
            )
            return tuple(mailbox for (mailbox,) in found)

        return await self._readers.read(work)

    async def consent_to(self, tenant: int, challenge: bytes) -> tuple[bytes, int] | None:
        """The consent that a question got, and its kind."""
        return await self._readers.read(
            lambda db: first(db, "SELECT id, kind FROM consent WHERE challenge=? AND tenant=?", (challenge, tenant))
        )

    async def consent(self, tenant: int, consent: bytes) -> ConsentRow | None:
        """A consent, with its question."""

        def work(db: apsw.Connection) -> ConsentRow | None:
            row = first(
                db,
                f"SELECT c.id, c.kind, c.state, c.expires_ms, {_CHALLENGE} FROM consent c"  # noqa: S608
                " JOIN challenge h ON h.id=c.challenge WHERE c.id=? AND c.tenant=?",
                (consent, tenant),
            )
            return None if row is None else ConsentRow(row[0], row[1], row[2], row[3], ChallengeRow(*row[4:]))

        return await self._readers.read(work)

    async def known(self, tenant: int, message_id: bytes) -> KnownRequest | None:
        """What is remembered of an accepted request, which may be longer than its message."""

        def work(db: apsw.Connection) -> KnownRequest | None:
            row = first(
                db,
                "SELECT request_mac, record_hash, status FROM message_key WHERE id=? AND tenant=?",
                (self._key(message_id), tenant),
            )
            return None if row is None else KnownRequest(*row)

        return await self._readers.read(work)

    async def held(self, tenant: int, message: int) -> HeldRow | None:
        """A held message's sealed parts."""

        def work(db: apsw.Connection) -> HeldRow | None:
            row = first(
                db,
                "SELECT t.id, m.id, b.sealed, b.wrapped_key, b.generation, o.address, o.generation, o.traffic,"  # noqa: S608
                f" {_FLOOR} FROM message m JOIN tenant t ON t.no=m.tenant JOIN shreddable_body b ON b.message=m.seq"
                " JOIN outbox o ON o.message=m.seq LEFT JOIN floor f ON f.tenant=m.tenant AND f.subject=m.subject"
                " WHERE m.seq=? AND m.tenant=? AND m.state=?",
                (message, tenant, int(MessageState.HELD)),
            )
            return None if row is None else HeldRow(*row)

        return await self._readers.read(work)

    async def waiting_for_route(self, after: int, now_ms: int, limit: int) -> list[WaitsForRoute]:
        """Held messages that no answer would release, in the order in which they came."""

        def work(db: apsw.Connection) -> list[WaitsForRoute]:
            found = rows(
                db,
                f"SELECT m.seq, m.tenant, o.traffic, {_FLOOR}, coalesce(f.version, 0) FROM outbox o"  # noqa: S608
                " JOIN message m ON m.seq=o.message LEFT JOIN floor f ON f.tenant=m.tenant AND f.subject=m.subject"
                " WHERE o.message>? AND m.state=? AND m.expires_ms>?"
                " AND NOT EXISTS (SELECT 1 FROM challenge h WHERE h.held=m.seq) ORDER BY o.message LIMIT ?",
                (after, int(MessageState.HELD), now_ms, limit),
            )
            return [WaitsForRoute(*row) for row in found]

        return await self._readers.read(work)

    async def message(self, tenant: int, message_id: bytes) -> MessageRow | None:
        """A message by its external id."""

        def work(db: apsw.Connection) -> MessageRow | None:
            key = first(db, _NUMBER, (self._key(message_id), tenant))
            row = None if key is None else first(db, f"{_MESSAGE} WHERE m.seq=?", (key[0],))
            return None if row is None else self._row(db, row)

        return await self._readers.read(work)

    async def messages(self, tenant: int, before: bytes | None, limit: int) -> list[MessageRow]:
        """A tenant's messages, newest first, older than the one with this id."""

        def work(db: apsw.Connection) -> list[MessageRow]:
            number = _NEWEST
            if before is not None:
                key = first(db, _NUMBER, (self._key(before), tenant))
                number = 0 if key is None else key[0]
            found = rows(
                db, f"{_MESSAGE} WHERE m.seq<? AND m.tenant=? ORDER BY m.seq DESC LIMIT ?", (number, tenant, limit)
            )
            return [self._row(db, row) for row in found]

        return await self._readers.read(work)

    def _row(self, db: apsw.Connection, row: tuple[Any, ...]) -> MessageRow:
        """With the record's hash, which outlives the message, and the entry of an interval that has closed."""
        (found,) = rows(db, _RECORD_HASH, (self._key(row[2]),))
        interval = interval_of(row[_ENTRY])
        if interval is not None:
            closed = first(db, "SELECT entry FROM record_batch WHERE interval=?", (interval,))
            if closed is not None:
                row = (*row[:_ENTRY], closed[0], *row[_ENTRY + 1 :])
        # Only what devices send to a group can have receipts that were handed in.
        receipts = receipt_counts(db, row[0]) if CHANNELS[row[4]] is Channel.RELAY else None
        return MessageRow(*(*row, *found, receipts))

    async def records(self, entry: int) -> tuple[tuple[bytes, ...], bytes] | None:
        """The records behind an entry, in slot order, and the seed of their salts and padding."""

        def work(db: apsw.Connection) -> Any:
            row = first(db, "SELECT records, seed FROM record_batch WHERE entry=?", (entry,))
            return None if row is None else (tuple(row[0].split(b"\n")), row[1])

        found: tuple[tuple[bytes, ...], bytes] | None = await self._readers.read(work)
        return found

    async def interval_end(self, entry: int) -> int | None:
        """When the interval closes that a message's row names instead of an entry; None where none is open."""
        row: tuple[int] | None = await self._readers.read(
            lambda db: first(db, "SELECT until_ms FROM record_interval WHERE no=?", (interval_of(entry),))
        )
        return None if row is None else row[0]
