"""When to wake whom. Pure: times and draws are arguments.

A wish to wake a device is not carried out at once but after a random delay, and wishes that come meanwhile, or within
the pause after a push, are one with it. So what a push service sees is at most one push in a while for a device, not
one for each message, and not at a message's time.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

DELAY_MS: Final = (1_000, 6_000)
"""From a wish to its push: drawn evenly. A person does not notice; one message is not matched with one push."""
PAUSE_MS: Final = 60_000
"""Between two pushes to one device at least. A device that was woken fetches everything."""
MAX_TRIES: Final = 6
"""Then the push is given up. The message stays, and the next one wakes the device."""
BACKOFF_MS: Final = 5_000
BACKOFF_LIMIT_MS: Final = 600_000


@dataclass(slots=True)
class _Wish:
    due_ms: int
    tries: int = 0
    under_way: bool = False
    again: bool = False
    """Another wish came while the push was under way."""


@final
class PushSchedule:
    """The wishes.

    Args:
        draw: even numbers in [0, 1).
    """

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw: Final = draw
        self._wishes: Final[dict[int, _Wish]] = {}
        self._last: Final[dict[int, int]] = {}
        self._heap: Final[list[tuple[int, int]]] = []

    def __len__(self) -> int:
        return len(self._wishes)

    def wish(self, mailbox: int, now_ms: int) -> bool:
        """There is something for this device; returns whether that made the next push an earlier one."""
        wish = self._wishes.get(mailbox)
        if wish is not None:
            wish.again = wish.under_way
            return False
        low, high = DELAY_MS
        due = now_ms + low + int((high - low) * self._draw())
        last = self._last.get(mailbox)
        if last is not None and due < last + PAUSE_MS:
            # Jitter here too: a push on the stroke of a pause's end would tell that there was a wish in it.
            due = last + PAUSE_MS + int((high - low) * self._draw())
        return self._put(mailbox, _Wish(due))

    def _put(self, mailbox: int, wish: _Wish) -> bool:
        first = self.next_ms()
        self._wishes[mailbox] = wish
        heapq.heappush(self._heap, (wish.due_ms, mailbox))
        return first is None or wish.due_ms < first

    def next_ms(self) -> int | None:
        """When the next push is due."""
        while self._heap:
            due, mailbox = self._heap[0]
            wish = self._wishes.get(mailbox)
            if wish is not None and wish.due_ms == due and not wish.under_way:
                return due
            heapq.heappop(self._heap)
        return None

    def take(self, now_ms: int) -> list[int]:
        """The devices whose time has come; each is under way until :meth:`done`, :meth:`failed` or :meth:`forget`."""
        found = []
        while (due := self.next_ms()) is not None and due <= now_ms:
            _, mailbox = heapq.heappop(self._heap)
            self._wishes[mailbox].under_way = True
            found.append(mailbox)
        return found

    def done(self, mailbox: int, now_ms: int) -> None:
        """A push was taken; a wish that came meanwhile begins its own pause."""
        wish = self._wishes.pop(mailbox, None)
        self._last[mailbox] = now_ms
        if wish is not None and wish.again:
            self.wish(mailbox, now_ms)

    def failed(self, mailbox: int, now_ms: int, wait_ms: int) -> bool:
        """A push was not taken; it is tried again after what was asked for, and full jitter. False: given up."""
        wish = self._wishes.get(mailbox)
        if wish is None:
            return False
        tries = wish.tries + 1
        if tries >= MAX_TRIES:
            del self._wishes[mailbox]
            return False
        limit = min(BACKOFF_LIMIT_MS, BACKOFF_MS << tries)
        self._put(mailbox, _Wish(now_ms + wait_ms + int(limit * self._draw()), tries))
        return True

    def forget(self, mailbox: int) -> None:
        """Nobody is to be woken there: the device is here, has nothing to fetch, or no subscription."""
        self._wishes.pop(mailbox, None)

    def tidy(self, now_ms: int) -> None:
        """Forgets pauses that are over."""
        for mailbox in [box for box, last in self._last.items() if last + PAUSE_MS <= now_ms]:
            del self._last[mailbox]
