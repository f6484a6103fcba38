"""Bytes that are taken from the front, never past the end; and what is written the same way."""

from typing import Final, final

from letterlock.wire.handshake.errors import ElementError, ElementReason


@final
class Source:
    """Reads big-endian numbers and length-prefixed fields.

    Raises:
        ElementError: TRUNCATED, TRAILING_BYTES.
    """

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data: Final = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next bytes."""
        end = self._at + count
        if end > len(self._data):
            raise ElementError(ElementReason.TRUNCATED, offset=self._at)
        piece, self._at = self._data[self._at : end], end
        return piece

    def number(self, width: int) -> int:
        """An unsigned number of ``width`` bytes."""
        return int.from_bytes(self.take(width))

    def counted(self, width: int, limit: int) -> range:
        """As many turns as a count says.

        Raises:
            ElementError: TOO_MANY.
        """
        count = self.number(width)
        if count > limit:
            raise ElementError(ElementReason.TOO_MANY, count=count)
        return range(count)

    def name(self) -> str:
        """A length of one byte, and that many bytes of ASCII."""
        piece = self.take(self.number(1))
        if not piece.isascii():
            raise ElementError(ElementReason.NOT_A_NAME, offset=self._at)
        return piece.decode("ascii")

    def end(self) -> None:
        """Nothing may follow."""
        if self._at != len(self._data):
            raise ElementError(ElementReason.TRAILING_BYTES, offset=self._at)


def named(text: str) -> bytes:
    """One byte of length, and the text."""
    return len(text).to_bytes(1) + text.encode("ascii")
