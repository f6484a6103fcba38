"""Mailboxes over HTTP and for start-up of streams: pages, acknowledgement, reset, and emptying of the overfull."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from letterlock.custody.sealing import unseal_sealed
from letterlock.custody.storage_keys import StorageKeyError
from letterlock.model.clock import Clock
from letterlock.model.ids import MessageId, TenantId
from letterlock.relay.directory import SessionDirectory
from letterlock.relay.errors import RelayError, of_writer
from letterlock.relay.limits import ITEMS_PER_PAGE, MAILBOX_BYTES, MAILBOX_ITEMS, MAILBOX_TTL_MS, PAGE_BYTES
from letterlock.relay.ports import Committer, Reads, SealingKeys, settle
from letterlock.storage.commands import Ack, Acked
from letterlock.storage.errors import CommitReason, CommitRefused
from letterlock.storage.relay_commands import (
    LoseMailbox,
    MailboxLost,
    MailboxReset,
    PurgeRelay,
    RaiseCounter,
    RelayPurged,
    RelayReason,
    ResetMailbox,
)
from letterlock.storage.relay_rows import ItemRow, MailboxRow


@dataclass(frozen=True, slots=True)
class Item:
    """One mailbox item, its storage seal taken off: what is left is the endpoints' ciphertext."""

    row: ItemRow
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Page:
    """Items in order without holes, and the newest sequence of the mailbox.

    Attributes:
        moved: whether the page ends early, because what follows is moving to another storage key: ask again.
    """

    items: Sequence[Item]
    head: int
    moved: bool = False


class Mailboxes:
    """Reads, acknowledges, resets.

    Args:
        committer: the writer.
        reads: the store's queries.
        keys: opens the storage seal.
        sessions: tells streams when a mailbox was lost.
        clock: wall time.
    """

    def __init__(
        self, committer: Committer, reads: Reads, keys: SealingKeys, sessions: SessionDirectory, clock: Clock
    ) -> None:
        self._committer = committer
        self._reads = reads
        self._keys = keys
        self._sessions = sessions
        self._clock = clock

    async def standing(self, mailbox: int, after: int) -> MailboxRow:
        """Where a mailbox stands, for a device that has stored everything up to ``after`` and waits for more.

        Raises:
            RelayError: NOT_FOUND; STATE_ROLLED_BACK: this device acknowledged more than that before (A18); ACK_AHEAD.
        """
        state = await self._reads.mailbox(mailbox)
        if state is None:
            raise RelayError(RelayReason.NOT_FOUND)
        if after < state.acked:
            raise RelayError(RelayReason.STATE_ROLLED_BACK, acknowledged=state.acked)
        if after > state.head:
            raise RelayError(RelayReason.ACK_AHEAD)
        return state

    async def page(
        self, tenant_id: TenantId, mailbox: int, after: int, limit: int, max_bytes: int = PAGE_BYTES
    ) -> Page:
        """Items after a sequence, at most ``limit`` and about ``max_bytes``.

        Raises:
            RelayError: NOT_FOUND.
            SealingError: a body does not open.
        """
        rows = await self._reads.page(mailbox, after, min(limit, ITEMS_PER_PAGE), max_bytes)
        state = await self._reads.mailbox(mailbox)
        if state is None:
            raise RelayError(RelayReason.NOT_FOUND)
        items = []
        for row in rows:
            try:
                key = self._keys.get(row.generation)
            except StorageKeyError:
                # Moved to another generation between the read and here: the device asks again from this place.
                break
            items.append(Item(row, unseal_sealed(key, tenant_id, MessageId(row.message_id), row.sealed)))
        return Page(items, state.head, moved=len(items) < len(rows))

    async def acknowledge(self, tenant: int, mailbox: int, through: int, state_counter: int) -> int:
        """Everything up to ``through`` is in the device's durable state; returns what is acknowledged now.

        Raises:
            RelayError: ACK_AHEAD, SESSION_ENDED.
        """
        commands = (
            RaiseCounter(tenant, mailbox, state_counter),
            Ack(tenant, mailbox, through, self._clock.now_ms()),
        )
        outcomes = await asyncio.shield(self._committer.submit(commands, tenant=tenant))
        for outcome in outcomes:
            if isinstance(outcome, CommitRefused):
                if outcome.reason is CommitReason.NOT_ALLOWED and "relay" not in outcome.facts:
                    raise RelayError(RelayReason.ACK_AHEAD)
                raise of_writer(outcome)
        acked = outcomes[1]
        assert isinstance(acked, Acked)
        return acked.applied

    async def reset(self, tenant: int, mailbox: int, state_counter: int) -> int:
        """Starts anew after a loss; returns the sequence up to which everything counts as acknowledged.

        Raises:
            RelayError: SESSION_ENDED.
        """
        command = ResetMailbox(tenant, mailbox, state_counter)
        return (await settle(self._committer, command, MailboxReset, tenant=tenant)).acknowledged

    async def sweep(self) -> int:
        """Empties mailboxes that are overfull or whose oldest item is overdue; returns how many. To be run hourly."""
        now = self._clock.now_ms()
        before = max(0, now - MAILBOX_TTL_MS)
        at = emptied = 0
        while True:
            full, at = await self._reads.overfull(at, MAILBOX_ITEMS, MAILBOX_BYTES, before, now)
            for one in full:
                await settle(self._committer, LoseMailbox(one.tenant, one.mailbox), MailboxLost, tenant=one.tenant)
                emptied += 1
            if not at:
                return emptied

    async def purge(self) -> RelayPurged:
        """Removes sessions, key packages, hashes and commits past their time, a bounded number. To be run often."""
        now = self._clock.now_ms()
        command = PurgeRelay(now, max(0, now - MAILBOX_TTL_MS))
        return await settle(self._committer, command, RelayPurged, tenant=0)
