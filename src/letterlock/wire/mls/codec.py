"""TLS presentation language as RFC 9420, section 2.1 uses it: a bounded reader, a writer, variable-size headers.

Every read either returns exactly what was asked for or raises :class:`FramingError`; a reader never looks past its
own end, so a vector cannot borrow bytes from its neighbour.
"""

from collections.abc import Callable
from typing import Final, TypeVar, final

from letterlock.wire.mls.errors import FramingError, FramingReason

MAX_LENGTH: Final = (1 << 30) - 1
"""The longest vector that a variable-size header can announce (RFC 9420, section 2.1.2)."""

MAX_ELEMENTS: Final = 4096
"""Elements of one vector: four times the largest group we allow for; bounds what a hostile megabyte can build."""

T = TypeVar("T")


def read_length(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Reads a variable-size length header.

    Returns:
        the length, and the offset of the first byte after the header. The length is not yet compared with ``end``.

    Raises:
        FramingError: the header is cut off, has the prefix 11, or is longer than it needs to be.
    """
    if at >= end:
        raise FramingError(FramingReason.TRUNCATED, offset=at)
    first = data[at]
    if first < 0x40:
        return first, at + 1
    if first < 0x80:
        if at + 2 > end:
            raise FramingError(FramingReason.TRUNCATED, offset=at)
        length = (first & 0x3F) << 8 | data[at + 1]
        if length < 0x40:
            raise FramingError(FramingReason.LENGTH_NOT_MINIMAL, offset=at)
        return length, at + 2
    if first < 0xC0:
        if at + 4 > end:
            raise FramingError(FramingReason.TRUNCATED, offset=at)
        length = int.from_bytes(data[at : at + 4], "big") & MAX_LENGTH
        if length < 0x4000:
            raise FramingError(FramingReason.LENGTH_NOT_MINIMAL, offset=at)
        return length, at + 4
    raise FramingError(FramingReason.LENGTH_NOT_MINIMAL, offset=at)


def length_header(length: int) -> bytes:
    """The one valid header for a length.

    Raises:
        FramingError: the length is negative or beyond :data:`MAX_LENGTH`.
    """
    if 0 <= length < 0x40:
        return bytes((length,))
    if 0 <= length < 0x4000:
        return (0x4000 | length).to_bytes(2, "big")
    if 0 <= length <= MAX_LENGTH:
        return (0x80000000 | length).to_bytes(4, "big")
    raise FramingError(FramingReason.LENGTH_OUT_OF_RANGE)


@final
class Reader:
    """Reads one structure after the other from ``data[at:end]``."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data: Final = data
        self.at = at
        self.end: Final = len(data) if end is None else end

    def take(self, count: int) -> bytes:
        """Exactly ``count`` bytes."""
        start = self.at
        if count > self.end - start:
            raise FramingError(FramingReason.TRUNCATED, offset=start)
        self.at = start + count
        return self.data[start : self.at]

    def u8(self) -> int:
        """An unsigned 8-bit number."""
        start = self.at
        if start >= self.end:
            raise FramingError(FramingReason.TRUNCATED, offset=start)
        self.at = start + 1
        return self.data[start]

    def u16(self) -> int:
        """An unsigned 16-bit number."""
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        """An unsigned 32-bit number."""
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        """An unsigned 64-bit number."""
        return int.from_bytes(self.take(8), "big")

    def opaque(self, low: int = 0, high: int = MAX_LENGTH) -> bytes:
        """``opaque x<V>`` of ``low`` to ``high`` bytes."""
        length, start = read_length(self.data, self.at, self.end)
        if not low <= length <= high:
            raise FramingError(FramingReason.LENGTH_OUT_OF_RANGE, offset=self.at, length=length)
        self.at = start
        return self.take(length)

    def vector(self) -> "Reader":
        """A reader over the bytes of ``T x<V>``; this reader goes on behind them."""
        length, start = read_length(self.data, self.at, self.end)
        if length > self.end - start:
            raise FramingError(FramingReason.TRUNCATED, offset=start)
        self.at = start + length
        return Reader(self.data, start, self.at)

    def items(self, read: Callable[["Reader"], T], low: int = 0) -> tuple[T, ...]:
        """``T x<V>`` with ``low`` to :data:`MAX_ELEMENTS` elements, each read by ``read``."""
        inner = self.vector()
        found: list[T] = []
        while inner.at < inner.end:
            found.append(read(inner))
            if len(found) > MAX_ELEMENTS:
                raise FramingError(FramingReason.LENGTH_OUT_OF_RANGE, offset=inner.at)
        if len(found) < low:
            raise FramingError(FramingReason.LENGTH_OUT_OF_RANGE, offset=inner.at)
        return tuple(found)

    def optional(self) -> bool:
        """The presence byte of ``optional<T>``: 0 or 1, nothing else."""
        start = self.at
        flag = self.u8()
        if flag > 1:
            raise FramingError(FramingReason.UNKNOWN_VALUE, offset=start)
        return flag == 1

    def finish(self) -> None:
        """Refuses left-over bytes."""
        if self.at != self.end:
            raise FramingError(FramingReason.TRAILING_BYTES, offset=self.at, left=self.end - self.at)


@final
class Writer:
    """Writes the same structures; every method returns the writer so that calls chain."""

    __slots__ = ("_out",)

    def __init__(self) -> None:
        self._out = bytearray()

    def _number(self, value: int, size: int) -> "Writer":
        if not 0 <= value < 1 << (8 * size):
            raise FramingError(FramingReason.LENGTH_OUT_OF_RANGE)
        self._out += value.to_bytes(size, "big")
        return self

    def u8(self, value: int) -> "Writer":
        """An unsigned 8-bit number."""
        return self._number(value, 1)

    def u16(self, value: int) -> "Writer":
        """An unsigned 16-bit number."""
        return self._number(value, 2)

    def u32(self, value: int) -> "Writer":
        """An unsigned 32-bit number."""
        return self._number(value, 4)

    def u64(self, value: int) -> "Writer":
        """An unsigned 64-bit number."""
        return self._number(value, 8)

    def raw(self, value: bytes) -> "Writer":
        """Bytes as they are."""
        self._out += value
        return self

    def opaque(self, value: bytes) -> "Writer":
        """``opaque x<V>``: the length header and the bytes."""
        self._out += length_header(len(value))
        self._out += value
        return self

    def done(self) -> bytes:
        """What was written."""
        return bytes(self._out)
