"""What is looked up for every request: live sessions and known groups. In memory, and kept right by outcomes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from letterlock.model.clock import Clock
from letterlock.relay.limits import PAST_EPOCHS
from letterlock.relay.ports import Reads
from letterlock.storage.relay_commands import GroupStanding
from letterlock.storage.relay_rows import GroupRow, SessionRow, Tracking

KNOWN_GROUPS: Final = 100_000
"""Groups in memory: some 30 MB."""
SWEEP_EVERY: Final = 4_096
"""New sessions between two looks for expired ones."""


class SessionDirectory:
    """Who holds which session token, by its hash. Runs on the event loop alone.

    Args:
        clock: wall time; an expired session is nobody's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: dict[bytes, SessionRow] = {}
        self._of: dict[int, set[bytes]] = {}
        self._counters: dict[int, int] = {}
        self._listeners: list[Callable[[int], None]] = []
        self._of_sessions: list[Callable[[int], None]] = []
        self._added = 0
        self.version = 0
        """The revocation version: what a decision relies on when it relies on a session."""

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, token_hash: bytes) -> SessionRow | None:
        """The live session of a token."""
        found = self._sessions.get(token_hash)
        if found is None or found.expires_ms <= self._clock.now_ms():
            return None
        return found

    def load(self, sessions: Iterable[SessionRow], version: int) -> None:
        """Takes what the store holds, at start-up."""
        for session in sessions:
            self.add(session)
        self.revoked_at(version)

    def add(self, session: SessionRow) -> None:
        """A login has been committed."""
        self._added += 1
        if self._added % SWEEP_EVERY == 0:
            self._sweep()
        self._sessions[session.token_hash] = session
        self._of.setdefault(session.mailbox, set()).add(session.token_hash)
        self._counters[session.mailbox] = max(self._counters.get(session.mailbox, 0), session.state_counter)

    def hear(self, mailbox: int, stated: int) -> int:
        """A device states its counter, in the order in which it is heard of.

        The caller sees to it that the store keeps it: with the commit of what came along.

        Returns:
            the highest that was heard before. One that is lower comes from an old copy of the device (A18).
        """
        highest = self._counters.get(mailbox, 0)
        if stated > highest and mailbox in self._of:
            self._counters[mailbox] = stated
        return highest

    def end(self, token_hashes: Iterable[bytes]) -> None:
        """These tokens have ended."""
        for token_hash in token_hashes:
            session = self._sessions.pop(token_hash, None)
            if session is not None:
                tokens = self._of[session.mailbox]
                tokens.discard(token_hash)
                if not tokens:
                    del self._of[session.mailbox]
                    self._counters.pop(session.mailbox, None)
                for listener in self._of_sessions:
                    listener(session.mailbox)

    def end_device(self, mailbox: int) -> None:
        """All sessions of a device have ended; whoever listens closes its stream."""
        self.end(tuple(self._of.get(mailbox, ())))
        for listener in self._listeners:
            listener(mailbox)

    def revoked_at(self, version: int) -> None:
        """The revocation version has moved on."""
        self.version = max(self.version, version)

    def on_device_ended(self, listener: Callable[[int], None]) -> None:
        """Calls ``listener(mailbox)`` when all sessions of a device end at once."""
        self._listeners.append(listener)

    def on_session_ended(self, listener: Callable[[int], None]) -> None:
        """Calls ``listener(mailbox)`` when one session of a device ends: by a log-out, or by too many others."""
        self._of_sessions.append(listener)

    def _sweep(self) -> None:
        now = self._clock.now_ms()
        self.end([token for token, session in self._sessions.items() if session.expires_ms <= now])


@dataclass(frozen=True, slots=True)
class GroupHead:
    """What routing knows of a group: its number in the store, its MLS id, and the newest epoch seen here.

    Attributes:
        tracked: by epoch, the mailboxes of the devices whose leaves were in the followed tree: the head's, and those
            of the few epochs before it whose messages are still taken. Empty for a group that is not followed.
        tracked_until_ms: until when all leaves of the head hold.
        era: of a group of RCS clients (RCC.16), as far as it is followed; it never changes.
        bare_id: what a bare MLSMessage must name: the MLS id, or nothing at all in a group with an era, whose messages
            are message/cpim. So the hot path compares once, and asks no further.
    """

    number: int
    ref: bytes
    group_id: bytes
    tenant: int
    epoch: int
    tracked: Mapping[int, frozenset[int]] = field(default_factory=dict[int, frozenset[int]])
    tracked_until_ms: int = 0
    era: int | None = None
    bare_id: bytes | None = field(init=False)

    def __post_init__(self) -> None:
        """See ``bare_id``."""
        object.__setattr__(self, "bare_id", self.group_id if self.era is None else None)

    def tracks(self, epoch: int, mailbox: int, now_ms: int) -> bool:
        """Whether a device's leaf was in the followed tree at an epoch: one look-up a message."""
        mailboxes = self.tracked.get(epoch)
        return mailboxes is not None and mailbox in mailboxes and now_ms <= self.tracked_until_ms


class GroupDirectory:
    """Groups by tenant and name. The writer's check of epoch and membership is what counts; this saves look-ups."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._heads: dict[tuple[int, bytes], GroupHead] = {}
        self._names: dict[int, tuple[int, bytes]] = {}

    def known(self, tenant: int, ref: bytes) -> GroupHead | None:
        """A group that is in memory."""
        return self._heads.get((tenant, ref))

    async def find(self, tenant: int, ref: bytes) -> GroupHead | None:
        """A group, from memory or the store.

        Raises:
            StorageError: the store failed.
        """
        found = self._heads.get((tenant, ref))
        if found is not None:
            return found
        row = await self._reads.group(tenant, ref)
        return None if row is None else self.learn(row)

    def learn(self, row: GroupRow) -> GroupHead:
        """Takes what was read; a newer epoch that an outcome brought meanwhile stays."""
        known = self._heads.get((row.tenant, row.ref))
        if known is not None and known.epoch >= row.epoch:
            return known
        tracked, until = _epochs(row.tracking, row.epoch, {})
        return self._put(GroupHead(row.number, row.ref, row.group_id, row.tenant, row.epoch, tracked, until, row.era))

    def advance(self, head: GroupHead, epoch: int, tracking: Tracking | None = None) -> None:
        """A commit has been applied; ``tracking`` is what it made of the group's public state."""
        known = self._heads.get((head.tenant, head.ref), head)
        if known.epoch < epoch:
            tracked, until = _epochs(tracking, epoch, known.tracked)
            self._put(_with_era(replace(known, epoch=epoch, tracked=tracked, tracked_until_ms=until), tracking))

    def track(self, head: GroupHead, tracking: Tracking | None) -> None:
        """A group has a new anchor at its head."""
        known = self._heads.get((head.tenant, head.ref), head)
        tracked, until = _epochs(tracking, known.epoch, {})
        self._put(_with_era(replace(known, tracked=tracked, tracked_until_ms=until), tracking))

    def lower(self, numbers: Iterable[int]) -> None:
        """These groups hold a leaf that no list names any more."""
        for number in numbers:
            head = self._heads.get(self._names.get(number, (0, b"")))
            if head is not None:
                self._put(replace(head, tracked={}, tracked_until_ms=0))

    def _put(self, head: GroupHead) -> GroupHead:
        name = (head.tenant, head.ref)
        if len(self._heads) >= KNOWN_GROUPS and name not in self._heads:
            del self._names[self._heads.pop(next(iter(self._heads))).number]
        self._heads[name] = head
        self._names[head.number] = name
        return head


def _with_era(head: GroupHead, tracking: Tracking | None) -> GroupHead:
    return head if tracking is None or tracking.era is None else replace(head, era=tracking.era)


def _epochs(
    tracking: Tracking | None, epoch: int, before: Mapping[int, frozenset[int]]
) -> tuple[dict[int, frozenset[int]], int]:
    """What is tracked at the head, and of the epochs before it as long as the group is followed without a break."""
    if tracking is None or tracking.standing is not GroupStanding.FOLLOWED or tracking.epoch != epoch:
        return {}, 0
    kept = {at: mailboxes for at, mailboxes in before.items() if epoch - PAST_EPOCHS <= at < epoch}
    return {**kept, epoch: tracking.mailboxes}, tracking.until_ms
