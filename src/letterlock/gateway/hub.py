"""Live delivery: what has just been committed goes to connected devices without being read back.

Runs on the event loop alone. A device that is behind, or too slow, is fed from the store until it has caught up.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

MAX_LIVE_BYTES: Final = 4 << 20
"""Of ciphertext waiting for one device; beyond it the device is fed from the store, a page at a time."""


class Bell:
    """As :class:`asyncio.Event`, for one who waits, and a tenth of its size."""

    __slots__ = ("_rung", "_waiter")

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        """Whether it was rung since it was cleared."""
        return self._rung

    def set(self) -> None:
        """Rings: whoever waits, or waits next, goes on."""
        if not self._rung:
            self._rung = True
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def clear(self) -> None:
        """The next wait waits."""
        self._rung = False

    async def wait(self) -> None:
        """Until it is rung."""
        if self._rung:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class Mail:
    """One device's live queue.

    Attributes:
        mailbox: whose.
        sent: the last sequence handed to the connection.
        head: the newest committed sequence known here.
        wake: set when there is something to send.
        low: the device is to be told that few key packages of it are left.
        asked: the device is to be told that a question waits.
        patient: how many items may wait before ``wake`` is set for them; something else will set it soon.
    """

    __slots__ = ("_bytes", "_queue", "_tail", "asked", "head", "low", "mailbox", "patient", "replaced", "sent", "wake")

    def __init__(self, mailbox: int, applied: int, head: int) -> None:
        self.mailbox = mailbox
        self.sent = applied
        self.head = max(head, applied)
        self.wake = Bell()
        self.replaced = False
        self.low = False
        self.asked = False
        self.patient = 0
        self._queue: deque[tuple[int, bytes, bytes]] | None = None
        """None while nothing is here: an empty one is as large as everything else of an idle device."""
        self._tail = applied
        self._bytes = 0

    @property
    def behind(self) -> bool:
        """Whether the next item to send has to be read from the store."""
        return self.sent < self.head and not self._queue

    def put(self, sequence: int, item_head: bytes, body: bytes) -> None:
        """Takes a committed item; keeps it only if it continues what is here and fits."""
        if sequence <= self.sent:
            return
        caught_up = self.sent >= self.head or bool(self._queue)
        self.head = max(self.head, sequence)
        if caught_up and sequence == self._tail + 1 and self._bytes + len(body) <= MAX_LIVE_BYTES:
            if self._queue is None:
                self._queue = deque()
            self._queue.append((sequence, item_head, body))
            self._tail = sequence
            self._bytes += len(body)
        if self.head - self.sent >= self.patient:
            self.wake.set()

    def take(self, up_to: int, max_items: int, max_bytes: int) -> tuple[int, list[bytes], int]:
        """The next run of the live queue: its first sequence, alternating heads and bodies, and how many items."""
        parts: list[bytes] = []
        count = size = 0
        first = self.sent + 1
        queue = self._queue
        while queue and count < max_items and queue[0][0] <= up_to:
            _, item_head, body = queue[0]
            size += len(item_head) + len(body)
            if count and size > max_bytes:
                break
            queue.popleft()
            self._bytes -= len(body)
            parts.append(item_head)
            parts.append(body)
            count += 1
        if not queue:
            self._queue = None
        self.sent += count
        return first, parts, count

    def fed(self, last: int) -> None:
        """The store fed the connection up to this sequence."""
        self.sent = last
        self._tail = max(self._tail, last)
        self.head = max(self.head, last)
        while self._queue and self._queue[0][0] <= last:
            _, _, body = self._queue.popleft()
            self._bytes -= len(body)
        if not self._queue:
            self._queue = None
            self._tail = last


class Doorbell:
    """A connection that is told when there is more, and reads it from the store: it holds nothing of it.

    Attributes:
        mailbox: whose.
        head: the newest committed sequence known here.
        wake: set when there is something to look at.
        replaced: a newer connection of the device has come.
        low: the device is to be told that few key packages of it are left.
        asked: the device is to be told that a question waits.
    """

    __slots__ = ("asked", "head", "low", "mailbox", "replaced", "wake")

    def __init__(self, mailbox: int, head: int) -> None:
        self.mailbox = mailbox
        self.head = head
        self.wake = Bell()
        self.replaced = False
        self.low = False
        self.asked = False

    def put(self, sequence: int, _head: bytes, _body: bytes) -> None:
        """An item was committed."""
        self.head = max(self.head, sequence)
        self.wake.set()


class Hub:
    """Which devices are connected here.

    Args:
        absent: told of mailboxes that got something and are not connected. It is called for every one of them on the
            hot path, and returns at once.
    """

    def __init__(self, absent: Callable[[int], None] = lambda _: None) -> None:
        self._mail: dict[int, Mail | Doorbell] = {}
        self.closing = False
        self.absent = absent

    def __len__(self) -> int:
        return len(self._mail)

    def connected(self, mailbox: int) -> bool:
        """Whether a device is."""
        return mailbox in self._mail

    def join(self, mail: Mail | Doorbell) -> None:
        """A device has connected; an older connection of it is told to go."""
        older = self._mail.get(mail.mailbox)
        if older is not None:
            older.replaced = True
            older.wake.set()
        self._mail[mail.mailbox] = mail

    def leave(self, mail: Mail | Doorbell) -> None:
        """A connection has ended."""
        if self._mail.get(mail.mailbox) is mail:
            del self._mail[mail.mailbox]

    def wake(self, mailbox: int) -> None:
        """Makes a device's connection look again: its session may have ended."""
        box = self._mail.get(mailbox)
        if box is not None:
            box.wake.set()

    def close(self) -> None:
        """The gateway is about to stop: whoever waits over HTTP is sent away, so that nobody waits for them."""
        self.closing = True
        for box in self._mail.values():
            if isinstance(box, Doorbell):
                box.wake.set()

    def low(self, mailbox: int) -> None:
        """Few key packages of a device are left: a connected one is told."""
        box = self._mail.get(mailbox)
        if box is not None:
            box.low = True
            box.wake.set()

    def ask(self, mailboxes: Iterable[int]) -> None:
        """A question waits for devices: those that are connected are told so, and nothing of it."""
        for mailbox in mailboxes:
            box = self._mail.get(mailbox)
            if box is not None:
                box.asked = True
                box.wake.set()

    def publish(self, deliveries: tuple[tuple[int, int], ...], item_head: bytes, body: bytes) -> None:
        """Hands a committed item to those of its mailboxes that are connected."""
        mail = self._mail
        for mailbox, sequence in deliveries:
            box = mail.get(mailbox)
            if box is not None:
                box.put(sequence, item_head, body)
            else:
                self.absent(mailbox)

    def notify(self, deliveries: tuple[tuple[int, int], ...]) -> None:
        """Tells connected mailboxes that the store holds more for them."""
        for mailbox, sequence in deliveries:
            box = self._mail.get(mailbox)
            if box is None:
                self.absent(mailbox)
            elif sequence > box.head:
                box.head = sequence
                box.wake.set()
