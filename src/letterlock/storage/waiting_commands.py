"""What the writer is asked for the quotas of what waits in mailboxes. Plain data."""

from msgspec import Struct


class Waited(Struct, frozen=True):
    """What waits of one sender; 0 where nobody knows whose it is.

    From the store, a row that does not name its sender stands for itself: ``sender`` is its number below zero.
    """

    tenant: int
    sender: int
    messages: int
    bytes: int


class LookAtWaiting(Struct, frozen=True):
    """Asks for the counters of what waits; ``always`` even where nobody is near a limit."""

    always: bool


class WaitingSeen(Struct, frozen=True):
    """The counters at one moment.

    Attributes:
        until: the number of the newest message counted: what is compared with the store ends there.
        senders: by sender, messages and bytes.
        tenants: by tenant.
        sent_by: by number, who sent what does not name its sender.
    """

    until: int
    senders: dict[int, tuple[int, int]]
    tenants: dict[int, tuple[int, int]]
    sent_by: dict[int, int]


class SettleWaiting(Struct, frozen=True):
    """What the store was found to hold, up to ``before.until``; of ``before.sent_by``, what still waits."""

    before: WaitingSeen
    found: tuple[Waited, ...]
    sent_by: dict[int, int]
