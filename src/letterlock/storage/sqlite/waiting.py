"""What waits in mailboxes, by sender and by tenant: counted in the writer's memory, so that nobody fills the disk.

A message counts once, however many mailboxes it waits in, because its body lies there once. Counters only go up as
messages are accepted; what was acknowledged meanwhile is learnt by counting the store's rows beside the writer
(:mod:`letterlock.relay.quota`). So a counter is never too low by more than what came before the first count.
"""

from dataclasses import dataclass, field
from typing import Final

from letterlock.storage.waiting_commands import Waited, WaitingSeen

MIB: Final = 1 << 20
KNOWN_SENDERS: Final = 1_000_000
"""Waiting messages whose rows do not name their sender, and of whom it is known here: some 100 MB. The oldest are
forgotten first; then, and after a start, they count for their tenant alone."""


@dataclass(frozen=True, slots=True)
class WaitingLimits:
    """How much may wait. The defaults are docs/protocol/devices.md's."""

    sender_messages: int = 50_000
    """Half of what a mailbox holds: no sender alone fills anybody's."""
    sender_bytes: int = 128 * MIB
    tenant_messages: int = 5_000_000
    tenant_bytes: int = 16_384 * MIB


class Count:
    """What waits of one sender or tenant, and from where on somebody must look."""

    __slots__ = ("bytes", "bytes_mark", "messages", "messages_mark", "tenant")

    def __init__(self, tenant: int, messages: int, size: int, limits: tuple[int, int]) -> None:
        self.tenant = tenant
        self.messages = messages
        self.bytes = size
        # Half-way from here to the limit the store is counted again: long before anybody is refused for nothing.
        self.messages_mark = max(messages + 1, (messages + limits[0]) // 2)
        self.bytes_mark = max(size + 1, (size + limits[1]) // 2)


@dataclass(slots=True)
class Waiting:
    """All counters, and who may not send.

    Attributes:
        over: senders (mailboxes) over their limit; they stay so until the store was counted again.
        tenants_over: the same for tenants.
        wanted: whether the store should be counted soon.
    """

    limits: WaitingLimits
    senders: dict[int, Count] = field(default_factory=dict)
    tenants: dict[int, Count] = field(default_factory=dict)
    over: set[int] = field(default_factory=set)
    tenants_over: set[int] = field(default_factory=set)
    wanted: bool = True
    met: set[int] = field(default_factory=set)
    """Senders that were refused since the last count began."""
    noted: set[int] = field(default_factory=set)
    """Senders whose being over is in the ledger."""
    sent_by: dict[int, int] = field(default_factory=dict)
    """By number, who sent a message whose row does not say it. Nowhere else, and never on disk."""

    def refuses(self, tenant: int, sender: int) -> bool:
        """Whether a message is one too many."""
        if sender in self.over or tenant in self.tenants_over:
            self.met.add(sender)
            return True
        return False

    def count(self, tenant: int, sender: int, size: int, unnamed: int = 0) -> None:
        """A message was accepted and waits. One that reaches a limit still counts as good; the next does not.

        Args:
            tenant: whose.
            sender: the mailbox of the device that sent it; 0 where nobody knows.
            size: bytes.
            unnamed: its number, where its row does not name the sender.
        """
        if unnamed:
            if len(self.sent_by) >= KNOWN_SENDERS:
                del self.sent_by[next(iter(self.sent_by))]
            self.sent_by[unnamed] = sender
        if sender and self._counted(self.senders, sender, tenant, size, self._sender_limits):
            self.over.add(sender)
        if self._counted(self.tenants, tenant, tenant, size, self._tenant_limits):
            self.tenants_over.add(tenant)

    def _counted(self, counts: dict[int, Count], of: int, tenant: int, size: int, limits: tuple[int, int]) -> bool:
        """Adds a message to one of the counts; whether its limit is reached."""
        one = counts.get(of)
        if one is None:
            one = counts[of] = Count(tenant, 0, 0, limits)
        one.messages += 1
        one.bytes += size
        if one.messages < one.messages_mark and one.bytes < one.bytes_mark:
            return False
        self.wanted = True
        return _reached(one, limits)

    def seen(self, until: int) -> WaitingSeen:
        """The counters now, to be compared with what the store holds of messages up to a number."""
        self.wanted = False
        self.met = set()
        return WaitingSeen(
            until,
            {sender: (one.messages, one.bytes) for sender, one in self.senders.items()},
            {tenant: (one.messages, one.bytes) for tenant, one in self.tenants.items()},
            dict(self.sent_by),
        )

    def settle(self, before: WaitingSeen, found: tuple[Waited, ...], sent_by: dict[int, int]) -> None:
        """Takes what the store was found to hold; what was counted since then is added to it.

        Who was refused since then stays refused until the next count: by then its device knows, and begins again with
        what was refused first.
        """
        self.sent_by = sent_by | {seq: sender for seq, sender in self.sent_by.items() if seq > before.until}
        senders = {one.sender: (one.tenant, one.messages, one.bytes) for one in found if one.sender}
        totals: dict[int, tuple[int, int]] = {}
        for one in found:
            sums = totals.get(one.tenant, (0, 0))
            totals[one.tenant] = (sums[0] + one.messages, sums[1] + one.bytes)
        for sender, now in self.senders.items():
            grown = _grown(now, before.senders.get(sender, (0, 0)))
            if grown != (0, 0):
                held = senders.get(sender, (now.tenant, 0, 0))
                senders[sender] = (now.tenant, held[1] + grown[0], held[2] + grown[1])
        for tenant, now in self.tenants.items():
            grown = _grown(now, before.tenants.get(tenant, (0, 0)))
            sums = totals.get(tenant, (0, 0))
            totals[tenant] = (sums[0] + grown[0], sums[1] + grown[1])
        self.senders = {
            sender: Count(tenant, messages, size, self._sender_limits)
            for sender, (tenant, messages, size) in senders.items()
        }
        self.tenants = {
            tenant: Count(tenant, messages, size, self._tenant_limits) for tenant, (messages, size) in totals.items()
        }
        self.over = self.met | {n for n, one in self.senders.items() if _reached(one, self._sender_limits)}
        self.tenants_over = {n for n, one in self.tenants.items() if _reached(one, self._tenant_limits)}
        # Whoever is refused now waits for the next count.
        self.wanted = self.wanted or bool(self.over or self.tenants_over)

    @property
    def _sender_limits(self) -> tuple[int, int]:
        return self.limits.sender_messages, self.limits.sender_bytes

    @property
    def _tenant_limits(self) -> tuple[int, int]:
        return self.limits.tenant_messages, self.limits.tenant_bytes


def _reached(one: Count, limits: tuple[int, int]) -> bool:
    return one.messages >= limits[0] or one.bytes >= limits[1]


def _grown(now: Count, before: tuple[int, int]) -> tuple[int, int]:
    return max(0, now.messages - before[0]), max(0, now.bytes - before[1])
