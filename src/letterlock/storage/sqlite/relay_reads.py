"""What the delivery service reads, on a reader's connection: one snapshot a call."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

import apsw

from letterlock.storage.relay_commands import GroupStanding, PublicState
from letterlock.storage.relay_rows import (
    AccountRow,
    CommitRow,
    EarlierCommit,
    EarlierEra,
    FullMailbox,
    GroupRow,
    ItemRow,
    LeafRow,
    ListVersion,
    LoginCandidate,
    MailboxRow,
    MemberRow,
    Quarantined,
    SessionRow,
    Superseded,
    Tracking,
)
from letterlock.storage.sqlite.relay_eras import ERA_MADE
from letterlock.storage.sqlite.relay_public import IN_FORCE
from letterlock.storage.sqlite.rows import first, rows
from letterlock.storage.sqlite.state import MAILBOX_SHIFT, SEQ_MASK
from letterlock.storage.waiting_commands import Waited
from letterlock.wire.stream import ItemKind

MAX_CANDIDATES: Final = 16
"""Devices of one id that a login looks at: ids are random, so more than one is an accident or an attempt."""
SWEEP_PAGE: Final = 500
"""Devices that one look at mailboxes covers."""

LARGEST_BODY: Final = (1 << 20) + 64
"""Bytes of a sealed commit or Welcome at most: few items need no look at their sizes."""

T = TypeVar("T")

_GROUP: Final = (
    "SELECT g.no, g.tenant, g.ref, g.group_id, g.epoch, g.log_head, g.first_epoch, g.private_handshakes, g.successor,"
    " p.era, e.era FROM mls_group g LEFT JOIN group_public p ON p.group_no=g.no"
    " LEFT JOIN group_era e ON e.group_no=g.no WHERE g.tenant=? AND g.ref=?"
)
_LEAVES: Final = (
    "SELECT mailbox FROM group_member WHERE group_no=?1 UNION SELECT mailbox FROM group_silent WHERE group_no=?1"
)
"""Whose leaves are in a group, those without fan-out included."""


class Reading(Protocol):
    """Runs a query beside the writer."""

    async def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """Runs ``work`` in one snapshot."""
        ...


class RelayReads:
    """The delivery service's queries. Every one raises StorageError as :meth:`Reading.read` does."""

    def __init__(self, readers: Reading) -> None:
        self._readers = readers

    async def account(self, tenant: int, account: bytes) -> AccountRow | None:
        """An account with the head of its list."""

        def work(db: apsw.Connection) -> AccountRow | None:
            row = first(
                db,
                "SELECT a.identity_key, a.list_version, v.signed FROM account a LEFT JOIN device_list_version v"
                " ON v.tenant=a.tenant AND v.account=a.id AND v.version=a.list_version"
                " WHERE a.tenant=? AND a.id=? AND a.identity_key IS NOT NULL",
                (tenant, account),
            )
            return None if row is None else AccountRow(row[0], row[1], row[2] or b"")

        return await self._readers.read(work)

    async def list_versions(self, tenant: int, account: bytes, since: int, limit: int) -> tuple[ListVersion, ...]:
        """Versions after ``since``, oldest first."""

        def work(db: apsw.Connection) -> tuple[ListVersion, ...]:
            found = rows(
                db,
                "SELECT version, signed, leaf_hash FROM device_list_version WHERE tenant=? AND account=? AND version>?"
                " ORDER BY version LIMIT ?",
                (tenant, account, since, limit),
            )
            return tuple(ListVersion(*row) for row in found)

        return await self._readers.read(work)

    async def login_candidates(self, device: bytes) -> tuple[LoginCandidate, ...]:
        """Live devices with this id, in all tenants."""

        def work(db: apsw.Connection) -> tuple[LoginCandidate, ...]:
            found = rows(
                db,
                "SELECT d.tenant, t.id, d.account, d.mailbox, d.session_key FROM device d JOIN tenant t"
                " ON t.no=d.tenant WHERE d.id=? AND d.revoked_ms IS NULL ORDER BY d.mailbox LIMIT ?",
                (device, MAX_CANDIDATES),
            )
            return tuple(LoginCandidate(*row) for row in found)

        return await self._readers.read(work)

    async def sessions(self, now_ms: int) -> tuple[tuple[SessionRow, ...], int]:
        """All live sessions and the revocation version: for start-up."""

        def work(db: apsw.Connection) -> tuple[tuple[SessionRow, ...], int]:
            found = rows(
                db,
                "SELECT s.tenant, t.id, s.mailbox, d.id, d.account, s.expires_ms, s.token_hash,"
                " d.state_counter FROM device_session s"
                " JOIN device d ON d.mailbox=s.mailbox JOIN tenant t ON t.no=s.tenant"
                " WHERE s.expires_ms>? AND d.revoked_ms IS NULL",
                (now_ms,),
            )
            version = rows(db, "SELECT value FROM counter WHERE name='session_version'")[0][0]
            return tuple(SessionRow(*row) for row in found), version

        return await self._readers.read(work)

    async def group(self, tenant: int, ref: bytes) -> GroupRow | None:
        """A group by its name."""

        def work(db: apsw.Connection) -> GroupRow | None:
            return _group(db, tenant, ref)

        return await self._readers.read(work)

    async def member_group(self, tenant: int, ref: bytes, mailbox: int) -> tuple[GroupRow | None, bool]:
        """A group, and whether this device is a member that gets fan-out."""

        def work(db: apsw.Connection) -> tuple[GroupRow | None, bool]:
            found = _group(db, tenant, ref)
            return found, found is not None and _is_member(db, found.number, mailbox)

        return await self._readers.read(work)

    async def members(self, group: int) -> tuple[MemberRow, ...]:
        """Whose leaves are in a group, those without fan-out included."""

        def work(db: apsw.Connection) -> tuple[MemberRow, ...]:
            found = rows(
                db,
                f"SELECT account, id FROM device WHERE mailbox IN ({_LEAVES}) ORDER BY mailbox",  # noqa: S608 - ours
                (group,),
            )
            return tuple(MemberRow(*row) for row in found)

        return await self._readers.read(work)

    async def before_commit(
        self, tenant: int, ref: bytes, mailbox: int, idempotency_key: bytes
    ) -> tuple[GroupRow | None, bool, EarlierCommit | None]:
        """What decides before a commit is looked at: the group, membership, and an earlier request."""

        def work(db: apsw.Connection) -> tuple[GroupRow | None, bool, EarlierCommit | None]:
            found = _group(db, tenant, ref)
            if found is None:
                return None, False, None
            earlier = first(
                db,
                "SELECT request_hash, base_epoch+1, log_head, record_hash FROM group_log"
                " WHERE group_no=? AND committer=? AND idempotency_key=?",
                (found.number, mailbox, idempotency_key),
            )
            return found, _is_member(db, found.number, mailbox), EarlierCommit(*earlier) if earlier else None

        return await self._readers.read(work)

    async def before_following(
        self, tenant: int, group: int, adds: Sequence[bytes], removes: Sequence[bytes]
    ) -> tuple[PublicState | None, tuple[LeafRow, ...]]:
        """A group's stored public state, and the listed leaf keys of its members as a commit would leave them."""

        def work(db: apsw.Connection) -> tuple[PublicState | None, tuple[LeafRow, ...]]:
            held = _public(db, group)
            gone = set(removes)
            found = [
                LeafRow(mailbox, key)
                for mailbox, device, key in rows(
                    db,
                    "SELECT mailbox, id, leaf_key FROM device WHERE revoked_ms IS NULL AND mailbox IN"  # noqa: S608
                    f" ({_LEAVES})",
                    (group,),
                )
                if device not in gone
            ]
            for device in adds:
                query = "SELECT mailbox, leaf_key FROM device WHERE tenant=? AND id=? AND revoked_ms IS NULL"
                found += [LeafRow(*one) for one in rows(db, query, (tenant, device))]
            return held, tuple(found)

        return await self._readers.read(work)

    async def before_era(
        self, group: int, mailbox: int, idempotency_key: bytes
    ) -> tuple[PublicState | None, tuple[LeafRow, ...], EarlierEra | None]:
        """A group's public state, the listed leaf keys of those who get fan-out, and the era this caller made of it."""

        def work(db: apsw.Connection) -> tuple[PublicState | None, tuple[LeafRow, ...], EarlierEra | None]:
            leaves = rows(
                db,
                "SELECT d.mailbox, d.leaf_key FROM group_member m JOIN device d ON d.mailbox=m.mailbox"
                " WHERE m.group_no=? AND d.revoked_ms IS NULL",
                (group,),
            )
            made = first(db, ERA_MADE, (group, mailbox, idempotency_key))
            earlier = None if made is None else EarlierEra(made[0], made[1], EarlierCommit(*made[2:]))
            return _public(db, group), tuple(LeafRow(*row) for row in leaves), earlier

        return await self._readers.read(work)

    async def missing_commits(self, mailbox: int, group: int, base_epoch: int) -> tuple[int, ...]:
        """Sequences, in this mailbox, of a group's commits of an epoch or later."""
        low = mailbox << MAILBOX_SHIFT

        def work(db: apsw.Connection) -> tuple[int, ...]:
            found = rows(
                db,
                "SELECT key FROM mailbox_item WHERE key BETWEEN ? AND ? AND kind=? AND message IN"
                " (SELECT message FROM group_log WHERE group_no=? AND base_epoch>=?) ORDER BY key",
                (low, low | SEQ_MASK, int(ItemKind.COMMIT), group, base_epoch),
            )
            return tuple(key & SEQ_MASK for (key,) in found)

        return await self._readers.read(work)

    async def commits(self, group: int, from_epoch: int, limit: int) -> tuple[CommitRow, ...]:
        """A group's commits from an epoch on, oldest first."""

        def work(db: apsw.Connection) -> tuple[CommitRow, ...]:
            found = rows(
                db,
                "SELECT seq, base_epoch, message_id, sealed, generation, log_head FROM group_log"
                " WHERE group_no=? AND base_epoch>=? ORDER BY base_epoch LIMIT ?",
                (group, from_epoch, limit),
            )
            return tuple(
                CommitRow(base, message, sealed, key, head, _changed(db, group, seq, 1), _changed(db, group, seq, 0))
                for seq, base, message, sealed, key, head in found
            )

        return await self._readers.read(work)

    async def mailbox(self, mailbox: int) -> MailboxRow | None:
        """Where a mailbox stands."""

        def work(db: apsw.Connection) -> MailboxRow | None:
            return _mailbox(db, mailbox)

        return await self._readers.read(work)

    async def page(self, mailbox: int, after: int, limit: int, max_bytes: int) -> tuple[ItemRow, ...]:
        """Items after a sequence, in order and without holes; at least one if there is one."""
        low = mailbox << MAILBOX_SHIFT

        def work(db: apsw.Connection) -> tuple[ItemRow, ...]:
            cursor = db.execute(
                "SELECT i.key, i.kind, g.ref, m.id, m.accepted_ms, m.protection, m.grade, m.verifier, b.sealed,"
                " b.generation FROM mailbox_item i LEFT JOIN message m ON m.seq=i.message"
                " LEFT JOIN sealed_body b ON b.message=i.message LEFT JOIN mls_group g ON g.no=m.group_no"
                " WHERE i.key BETWEEN ? AND ? ORDER BY i.key LIMIT ?",
                (low | min(after + 1, SEQ_MASK), low | SEQ_MASK, limit),
            )
            found: list[ItemRow] = []
            size = 0
            for key, kind, ref, *rest in cursor:
                sequence = key & SEQ_MASK
                if rest[5] is None or (found and sequence != found[-1].sequence + 1):
                    # Never past a hole: a device sees it as a lost mailbox, not as a message less.
                    break
                size += len(rest[5])
                if found and size > max_bytes:
                    break
                found.append(ItemRow(sequence, kind, ref or b"", *rest))
            return tuple(found)

        return await self._readers.read(work)

    async def waiting(self, after: int, until: int, limit: int) -> tuple[tuple[Waited, ...], int]:
        """What waits of the messages after a number up to another, by sender; and where to go on (0: it is all)."""

        def work(db: apsw.Connection) -> tuple[tuple[Waited, ...], int]:
            found = rows(
                db,
                "SELECT tenant, sender, count(*), total(size), max(message), sum(count(*)) OVER () FROM ("
                "SELECT b.message, m.tenant, coalesce(m.sender, -m.seq) AS sender, length(b.sealed) AS size"
                " FROM sealed_body b"
                " JOIN message m ON m.seq=b.message WHERE b.message>? AND b.message<=? ORDER BY b.message LIMIT ?)"
                " GROUP BY tenant, sender",
                (after, until, limit),
            )
            last = max((row[4] for row in found), default=0)
            return tuple(Waited(t, s, n, int(size)) for t, s, n, size, *_ in found), last if (
                found and found[0][5] == limit
            ) else 0

        return await self._readers.read(work)

    async def overfull(
        self, after: int, max_items: int, max_bytes: int, accepted_before_ms: int, now_ms: int
    ) -> tuple[tuple[FullMailbox, ...], int]:
        """Looks at the mailboxes after a number: which must be emptied, and where to go on (0: all were seen)."""

        def work(db: apsw.Connection) -> tuple[tuple[FullMailbox, ...], int]:
            devices = rows(
                db,
                "SELECT mailbox, tenant, revoked_ms, lost FROM device WHERE mailbox>? ORDER BY mailbox LIMIT ?",
                (after, SWEEP_PAGE),
            )
            found = [
                FullMailbox(tenant, mailbox)
                for mailbox, tenant, revoked, lost in devices
                if _overdue(db, mailbox, revoked is not None or lost == 1, accepted_before_ms, now_ms)
                or _too_large(db, mailbox, max_items, max_bytes)
            ]
            return tuple(found), devices[-1][0] if len(devices) == SWEEP_PAGE else 0

        return await self._readers.read(work)


def _group(db: apsw.Connection, tenant: int, ref: bytes) -> GroupRow | None:
    row = first(db, _GROUP, (tenant, ref))
    if row is None:
        return None
    no, of, name, group_id, epoch, chain, first_epoch, private, successor, era, next_era = row
    superseded = None
    if successor is not None:
        era, (in_force, latest) = next_era - 1, rows(db, IN_FORCE, (no,))[0]
        superseded = Superseded(in_force, latest)
    return GroupRow(
        no, of, name, group_id, epoch, chain, first_epoch, bool(private), _tracking(db, no), _quarantined(db, no), era,
        superseded,
    )  # fmt: skip


def _public(db: apsw.Connection, group: int) -> PublicState | None:
    row = first(db, "SELECT epoch, standing, until_ms, gaps, state, era FROM group_public WHERE group_no=?", (group,))
    if row is None:
        return None
    epoch, standing, until_ms, gaps, state, era = row
    return PublicState(epoch, GroupStanding(standing), until_ms, gaps, state, era=era)


def _quarantined(db: apsw.Connection, group: int) -> Quarantined | None:
    row = first(db, "SELECT base_epoch, commit_hash, created_ms FROM group_quarantine WHERE group_no=?", (group,))
    return None if row is None else Quarantined(*row)


def _tracking(db: apsw.Connection, group: int) -> Tracking | None:
    row = first(db, "SELECT epoch, standing, until_ms, gaps, era FROM group_public WHERE group_no=?", (group,))
    if row is None:
        return None
    epoch, standing, until_ms, gaps, era = row
    followed = standing == GroupStanding.FOLLOWED
    mailboxes = frozenset(number for (number,) in rows(db, _LEAVES, (group,))) if followed else frozenset[int]()
    return Tracking(epoch, GroupStanding(standing), until_ms, gaps, mailboxes, era)


def _is_member(db: apsw.Connection, group: int, mailbox: int) -> bool:
    return first(db, "SELECT 1 FROM group_member WHERE group_no=? AND mailbox=?", (group, mailbox)) is not None


def _changed(db: apsw.Connection, group: int, seq: int, added: int) -> tuple[MemberRow, ...]:
    found = rows(
        db,
        "SELECT d.account, d.id FROM group_change c JOIN device d ON d.mailbox=c.mailbox"
        " WHERE c.group_no=? AND c.seq=? AND c.added=? ORDER BY c.mailbox",
        (group, seq, added),
    )
    return tuple(MemberRow(*row) for row in found)


def _newest(db: apsw.Connection, mailbox: int) -> int:
    low = mailbox << MAILBOX_SHIFT
    newest = rows(db, "SELECT max(key) FROM mailbox_item WHERE key BETWEEN ? AND ?", (low, low | SEQ_MASK))[0][0]
    return (newest or 0) & SEQ_MASK


def _mailbox(db: apsw.Connection, mailbox: int) -> MailboxRow | None:
    row = first(db, "SELECT tenant, head, acked, lost FROM device WHERE mailbox=?", (mailbox,))
    if row is None:
        return None
    tenant, head, acked, lost = row
    return MailboxRow(tenant, max(head, acked, _newest(db, mailbox)), acked, lost != 0)


def _overdue(db: apsw.Connection, mailbox: int, leftovers: bool, accepted_before_ms: int, now_ms: int) -> bool:
    low = mailbox << MAILBOX_SHIFT
    oldest = first(
        db,
        "SELECT m.accepted_ms, m.expires_ms FROM mailbox_item i LEFT JOIN message m ON m.seq=i.message"
        " WHERE i.key BETWEEN ? AND ? ORDER BY i.key LIMIT 1",
        (low, low | SEQ_MASK),
    )
    if oldest is None:
        return False
    accepted, expires = oldest
    # Items of a revoked or lost mailbox came in the very commit that emptied it. A missing message is a hole.
    return leftovers or accepted is None or accepted <= accepted_before_ms or expires <= now_ms


def _too_large(db: apsw.Connection, mailbox: int, max_items: int, max_bytes: int) -> bool:
    low = mailbox << MAILBOX_SHIFT
    oldest, newest = rows(
        db, "SELECT min(key), max(key) FROM mailbox_item WHERE key BETWEEN ? AND ?", (low, low | SEQ_MASK)
    )[0]
    if oldest is None:
        return False
    count = newest - oldest + 1
    if count > max_items or count * LARGEST_BODY <= max_bytes:
        return bool(count > max_items)
    size = rows(
        db,
        "SELECT total(length(b.sealed)) FROM mailbox_item i JOIN sealed_body b ON b.message=i.message"
        " WHERE i.key BETWEEN ? AND ?",
        (low, low | SEQ_MASK),
    )[0][0]
    return bool(size > max_bytes)
