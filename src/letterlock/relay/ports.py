"""What the delivery service needs of the rest."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from letterlock.custody.sealing import StorageKey
from letterlock.relay.errors import of_writer
from letterlock.storage.commands import Relied, Shown
from letterlock.storage.errors import CommitRefused
from letterlock.storage.relay_commands import PublicState
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
    SessionRow,
)
from letterlock.storage.waiting_commands import Waited

R = TypeVar("R")

Entropy = Callable[[int], bytes]
"""Gives that many random bytes."""


class Committer(Protocol):
    """The writer's queue."""

    def submit(self, commands: Sequence[Any], *, tenant: int = 0, size: int = 0) -> "asyncio.Future[list[Any]]":
        """Queues commands; a future of their outcomes, refusals among them."""
        ...


class SealingKeys(Protocol):
    """The storage keys of the generations."""

    def current(self, now_ms: int) -> StorageKey:
        """For rows that come now."""
        ...

    def get(self, generation: int) -> StorageKey:
        """To open what lies there."""
        ...


class Delivery(Protocol):
    """Live delivery to connected devices."""

    def notify(self, deliveries: tuple[tuple[int, int], ...]) -> None:
        """The store holds more for these mailboxes, up to these sequences."""
        ...

    def low(self, mailbox: int) -> None:
        """Few key packages of this mailbox's device are left."""
        ...


class HandshakePolicy(Protocol):
    """What policy says of commits and Welcomes."""

    def shown(self, tenant: int) -> tuple[Shown, Relied]:
        """What surfaces say of a handshake message of this tenant, and the versions that this relies on."""
        ...


class Reads(Protocol):
    """The store's queries. Every one raises StorageError where the store fails."""

    async def account(self, tenant: int, account: bytes) -> AccountRow | None:
        """An account with the head of its list."""
        ...

    async def list_versions(self, tenant: int, account: bytes, since: int, limit: int) -> tuple[ListVersion, ...]:
        """Versions after ``since``, oldest first."""
        ...

    async def login_candidates(self, device: bytes) -> tuple[LoginCandidate, ...]:
        """Live devices with this id, in all tenants."""
        ...

    async def sessions(self, now_ms: int) -> tuple[tuple[SessionRow, ...], int]:
        """All live sessions and the revocation version: for start-up."""
        ...

    async def group(self, tenant: int, ref: bytes) -> GroupRow | None:
        """A group by its name."""
        ...

    async def member_group(self, tenant: int, ref: bytes, mailbox: int) -> tuple[GroupRow | None, bool]:
        """A group, and whether this device is a member that gets fan-out."""
        ...

    async def members(self, group: int) -> tuple[MemberRow, ...]:
        """Whose leaves are in a group, those without fan-out included."""
        ...

    async def before_commit(
        self, tenant: int, ref: bytes, mailbox: int, idempotency_key: bytes
    ) -> tuple[GroupRow | None, bool, EarlierCommit | None]:
        """What decides before a commit is looked at: the group, membership, and an earlier request."""
        ...

    async def before_following(
        self, tenant: int, group: int, adds: Sequence[bytes], removes: Sequence[bytes]
    ) -> tuple[PublicState | None, tuple[LeafRow, ...]]:
        """A group's stored public state, and the listed leaf keys of its members as a commit would leave them."""
        ...

    async def before_era(
        self, group: int, mailbox: int, idempotency_key: bytes
    ) -> tuple[PublicState | None, tuple[LeafRow, ...], EarlierEra | None]:
        """A group's public state, the listed leaf keys of those who get fan-out, and the era this caller made of it."""
        ...

    async def missing_commits(self, mailbox: int, group: int, base_epoch: int) -> tuple[int, ...]:
        """Sequences, in this mailbox, of a group's commits of an epoch or later."""
        ...

    async def commits(self, group: int, from_epoch: int, limit: int) -> tuple[CommitRow, ...]:
        """A group's commits from an epoch on, oldest first."""
        ...

    async def mailbox(self, mailbox: int) -> MailboxRow | None:
        """Where a mailbox stands."""
        ...

    async def page(self, mailbox: int, after: int, limit: int, max_bytes: int) -> tuple[ItemRow, ...]:
        """Items after a sequence, in order and without holes; at least one if there is one."""
        ...

    async def waiting(self, after: int, until: int, limit: int) -> tuple[tuple[Waited, ...], int]:
        """What waits of the messages after a number up to another, by sender; and where to go on (0: it is all)."""
        ...

    async def overfull(
        self, after: int, max_items: int, max_bytes: int, accepted_before_ms: int, now_ms: int
    ) -> tuple[tuple[FullMailbox, ...], int]:
        """Looks at the mailboxes after a number: which must be emptied, and where to go on (0: all were seen)."""
        ...


async def settle(
    committer: Committer,
    command: Any,
    result: type[R],
    then: Callable[[R], None] | None = None,
    *,
    tenant: int,
    size: int = 0,
) -> R:
    """Has the writer apply a command; ``then`` runs on success even if the caller has gone away meanwhile.

    A caller that hangs up cancels its task, not what it asked for: memory must still follow what was committed.

    Raises:
        RelayError: the writer refused.
        CommitRefused: the writer refused for a reason of its own (a stale decision).
        StorageError: the store failed, or takes no more.
    """
    future = committer.submit((command,), tenant=tenant, size=size)

    def follow(done: "asyncio.Future[list[Any]]") -> None:
        if done.cancelled() or done.exception() is not None:
            return
        outcome = done.result()[0]
        if then is not None and isinstance(outcome, result):
            then(outcome)

    future.add_done_callback(follow)
    outcome = (await asyncio.shield(future))[0]
    if isinstance(outcome, CommitRefused):
        raise of_writer(outcome) from None
    assert isinstance(outcome, result)
    return outcome
