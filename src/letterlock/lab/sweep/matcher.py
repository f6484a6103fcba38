"""Finds many patterns in a stream of bytes, fast enough for hundreds of megabytes.

A pattern of at least 15 bytes covers a whole aligned word of 8 bytes wherever it lies, and a shorter one of at
least 5 bytes a word of 4 bytes that begins at an even place. So a block that shares no such word with any pattern
holds none of them. That test costs the same for one pattern and for thousands; only what it leaves is searched.
"""

import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from letterlock.lab.sweep.encodings import Canary, Encoding, patterns

LONG: Final = 15
"""Bytes of a pattern that always covers an aligned word of 8."""
BLOCK: Final = 64 * 1024
INFLATE_STEP: Final = 64 * 1024
MAX_INFLATED: Final = 256 * 1024 * 1024
"""Bytes out of one compressed member: more is a bomb, and is reported as cut short."""
MAX_OPEN: Final = 64
"""Compressed members followed at once over the border of a piece of input."""
ZIP_HEADER: Final = 30

_ZEROS: Final = bytes(BLOCK + 8)

Found = Callable[[int, Encoding, int], None]
"""Told of each occurrence: which canary, in which encoding, at which offset."""


@dataclass(frozen=True, slots=True)
class _Magic:
    mark: bytes
    encoding: Encoding
    bits: int


_MAGICS: Final = (
    _Magic(b"\x1f\x8b\x08", Encoding.GZIP, 31),
    _Magic(b"\x78\x01", Encoding.ZLIB, 15),
    _Magic(b"\x78\x5e", Encoding.ZLIB, 15),
    _Magic(b"\x78\x9c", Encoding.ZLIB, 15),
    _Magic(b"\x78\xda", Encoding.ZLIB, 15),
    _Magic(b"PK\x03\x04", Encoding.DEFLATE, -15),
)


class Matcher:
    """All patterns of some canaries, ready to search with."""

    def __init__(self, canaries: Sequence[Canary]) -> None:
        self._owners: dict[bytes, list[tuple[int, Encoding]]] = {}
        for index, canary in enumerate(canaries):
            for pattern, encoding in patterns(canary).items():
                self._owners.setdefault(pattern, []).append((index, encoding))
        lengths = [len(pattern) for pattern in self._owners]
        self.overlap: Final = max(lengths, default=1) - 1
        long = [pattern for pattern in self._owners if len(pattern) >= LONG]
        short = [pattern for pattern in self._owners if len(pattern) < LONG]
        self._sieves = (
            _Sieve(long, word=8, stride=8, code="Q", starts=(0,)),
            _Sieve(short, word=4, stride=2, code="I", starts=(0, 2)),
        )

    def search(self, data: bytes, found: Found, seen: int = 0) -> None:
        """Tells of every occurrence in ``data`` that does not end within its first ``seen`` bytes."""
        for sieve in self._sieves:
            for pattern, at in sieve.occurrences(data):
                if at + len(pattern) > seen:
                    for index, encoding in self._owners[pattern]:
                        found(index, encoding, at)


class _Sieve:
    """Patterns that all cover a word of ``word`` bytes at a multiple of ``stride``."""

    def __init__(self, chosen: Sequence[bytes], word: int, stride: int, code: str, starts: tuple[int, ...]) -> None:
        self._stride = stride
        self._word = word
        self._code = code
        self._starts = starts
        self._reach = max(map(len, chosen), default=0)
        # The machine's byte order, for the words of the data are read in it.
        self._by_word: dict[int, list[bytes]] = {}
        for pattern in chosen:
            for at in range(stride):
                number = int.from_bytes(pattern[at : at + word], sys.byteorder)
                self._by_word.setdefault(number, []).append(pattern)
        self._words = frozenset(self._by_word)

    def occurrences(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        """Every pattern in the data, and where it begins; each occurrence once."""
        if not self._words:
            return
        view = memoryview(data)
        for start in range(0, len(data), BLOCK):
            if 0 not in self._words and data[start : start + BLOCK + 8] == _ZEROS:
                continue  # much of a process's memory: no word of any pattern begins here
            shared: set[int] = set()
            for offset in self._starts:
                length = min(BLOCK, len(data) - start - offset)
                length -= length % self._word
                if length > 0:
                    words = view[start + offset : start + offset + length].cast(self._code)  # type: ignore[call-overload]
                    shared |= self._words.intersection(words)
            if shared:
                yield from self._in_block(data, start, {pattern for word in shared for pattern in self._by_word[word]})

    def _in_block(self, data: bytes, start: int, candidates: set[bytes]) -> Iterator[tuple[bytes, int]]:
        low, high = max(0, start - self._stride), min(len(data), start + BLOCK + self._reach)
        for pattern in candidates:
            for at in _occurrences(pattern, data, low, high):
                # The block in which the pattern's first whole word begins is the one that counts it.
                first = -(-at // self._stride) * self._stride
                if start <= first < start + BLOCK:
                    yield pattern, at


def _occurrences(pattern: bytes, data: bytes, low: int, high: int) -> Iterator[int]:
    at = data.find(pattern, low, high)
    while at >= 0:
        yield at
        at = data.find(pattern, at + 1, high)


class Stream:
    """One stream of bytes, given piece by piece; also looks into gzip, zlib and zip members that begin in it."""

    def __init__(self, matcher: Matcher, found: Found, inflate: bool = True) -> None:
        self._matcher = matcher
        self._found = found
        self._inflate = inflate
        self._tail = b""
        self._tail_at = 0
        self._members: list[_Member] = []
        self.cut_short = 0

    def feed(self, piece: bytes) -> None:
        """Searches the next piece."""
        if self._inflate:
            for member in self._members:
                member.feed(memoryview(piece))
                self.cut_short += member.cut_short
            self._members = [member for member in self._members if member.open]
        data = self._tail + piece
        base = self._tail_at
        self._matcher.search(data, lambda i, e, at: self._found(i, e, base + at), seen=len(self._tail))
        if self._inflate:
            self._begin_members(data, len(self._tail))
        keep = min(len(data), max(self._matcher.overlap, ZIP_HEADER))
        self._tail, self._tail_at = data[len(data) - keep :], base + len(data) - keep

    def _begin_members(self, data: bytes, seen: int) -> None:
        view = memoryview(data)
        for magic in _MAGICS:
            for at in _occurrences(magic.mark, data, 0, len(data)):
                start = _deflate_start(data, at) if magic.encoding is Encoding.DEFLATE else at
                # What was whole in the piece before was begun then.
                header = ZIP_HEADER if magic.encoding is Encoding.DEFLATE else len(magic.mark)
                if start is None or at + header <= seen:
                    continue
                member = _Member(self._matcher, self._found, magic, self._tail_at + at)
                member.feed(view[start:])
                self.cut_short += member.cut_short
                if member.open:
                    self._members.append(member)
        self.cut_short += len(self._members[:-MAX_OPEN])
        del self._members[:-MAX_OPEN]


def _deflate_start(data: bytes, at: int) -> int | None:
    """Where the compressed bytes of a zip entry begin (PKWARE APPNOTE, section 4.3.7); None if not deflated."""
    header = data[at : at + ZIP_HEADER]
    if len(header) < ZIP_HEADER or header[8:10] != b"\x08\x00":
        return None
    return at + ZIP_HEADER + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")


class _Member:
    """A compressed member: what comes out of it is searched too, but not opened again."""

    def __init__(self, matcher: Matcher, found: Found, magic: _Magic, at: int) -> None:
        self._engine = zlib.decompressobj(magic.bits)
        self._inner = Stream(matcher, lambda index, _, __: found(index, magic.encoding, at), inflate=False)
        self._left = MAX_INFLATED
        self.open = True
        self.cut_short = 0

    def feed(self, view: memoryview) -> None:
        for start in range(0, len(view), INFLATE_STEP):
            step: bytes | memoryview = view[start : start + INFLATE_STEP]
            while step and self.open:
                try:
                    out = self._engine.decompress(step, INFLATE_STEP * 16)
                except zlib.error:
                    self.open = False
                    return
                self._inner.feed(out)
                self._left -= len(out)
                if self._engine.eof:
                    self.open = False
                elif self._left <= 0:
                    self.open, self.cut_short = False, 1
                step = self._engine.unconsumed_tail
            if not self.open:
                return
