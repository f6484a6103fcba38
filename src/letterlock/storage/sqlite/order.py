"""Under which keys the store keeps message ids: in an order in which what came together lies together."""

from typing import Final, Protocol


class KeyOrder(Protocol):
    """Turns ids into keys."""

    def inside(self, data: bytes, /) -> bytes:
        """The keys of ids: any number of 16 bytes each, one after another."""
        ...


class _AsTheyCome:
    def inside(self, data: bytes, /) -> bytes:
        return data


AS_THEY_COME: Final[KeyOrder] = _AsTheyCome()
"""For stores without messages of devices: tools, and tests of other things."""
