"""Login nonces: in memory, bounded, each good for one attempt."""

from collections import OrderedDict

from letterlock.model.clock import Clock
from letterlock.model.ids import DeviceId
from letterlock.relay.limits import MAX_NONCES, NONCE_LIFETIME_MS, NONCES_PER_DEVICE
from letterlock.relay.ports import Entropy

NONCE_BYTES = 32


class NonceBook:
    """Open nonces. A device's ninth closes its first; when the book is full, the oldest of all goes.

    Args:
        clock: lifetimes are measured on its steady time.
        entropy: for the nonces.
        limit: how many may be open in all.
    """

    def __init__(self, clock: Clock, entropy: Entropy, limit: int = MAX_NONCES) -> None:
        self._clock = clock
        self._entropy = entropy
        self._limit = limit
        self._open: OrderedDict[bytes, tuple[bytes, int]] = OrderedDict()
        self._of: dict[bytes, list[bytes]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def give(self, device: DeviceId) -> tuple[bytes, int]:
        """A fresh nonce, and when it ends (wall time, ms)."""
        ends = self._clock.monotonic_ms() + NONCE_LIFETIME_MS
        mine = self._of.setdefault(device.value, [])
        if len(mine) >= NONCES_PER_DEVICE:
            self._drop(mine[0])
            mine = self._of.setdefault(device.value, [])
        while len(self._open) >= self._limit or self._oldest_is_over():
            self._drop(next(iter(self._open)))
            mine = self._of.setdefault(device.value, [])
        nonce = self._entropy(NONCE_BYTES)
        self._open[nonce] = (device.value, ends)
        mine.append(nonce)
        return nonce, self._clock.now_ms() + NONCE_LIFETIME_MS

    def take(self, device: DeviceId, nonce: bytes) -> bool:
        """Uses a nonce up; whether it was open, and this device's."""
        found = self._open.get(nonce)
        if found is None:
            return False
        self._drop(nonce)
        owner, ends = found
        return owner == device.value and self._clock.monotonic_ms() < ends

    def _oldest_is_over(self) -> bool:
        if not self._open:
            return False
        _, ends = next(iter(self._open.values()))
        return ends <= self._clock.monotonic_ms()

    def _drop(self, nonce: bytes) -> None:
        owner, _ = self._open.pop(nonce)
        mine = self._of[owner]
        mine.remove(nonce)
        if not mine:
            del self._of[owner]
