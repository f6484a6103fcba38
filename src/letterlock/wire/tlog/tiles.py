"""Tiles and entry bundles: the static layout of a log (c2sp.org/tlog-tiles).

A tile of level L holds up to 256 hashes; each stands for 256**L leaves. A partial tile holds those that
exist at the log's size. A bundle holds up to 256 entries, each behind its length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final, Protocol, Self

from letterlock.wire.tlog.errors import MAX_TREE_SIZE, TileError, TileReason, TreeError, TreeReason
from letterlock.wire.tlog.hashes import HASH_SIZE, next_level

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 256
FULL_TILE_BYTES: Final = TILE_WIDTH * HASH_SIZE
MAX_LEVEL: Final = 7
"""Level 8 would stand for 2**64 leaves and more."""
MAX_ENTRY_BYTES: Final = 65_535
"""A bundle writes an entry's length as two bytes."""
_MAX_PATH: Final = 64


@unique
class Resource(Enum):
    """What a path names."""

    CHECKPOINT = "checkpoint"
    TILE = "tile"
    ENTRIES = "entries"


@dataclass(frozen=True, slots=True)
class Address:
    """The coordinates of one file of the layout.

    Attributes:
        kind: what it is.
        level: of a tile; 0 for entries.
        index: which one on its level.
        width: how many hashes or entries it holds; 256 is a full one.
    """

    kind: Resource
    level: int = 0
    index: int = 0
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not (
            0 <= self.level <= MAX_LEVEL
            and 0 <= self.index <= MAX_TREE_SIZE >> TILE_HEIGHT
            and 1 <= self.width <= TILE_WIDTH
            and (self.level == 0 or self.kind is Resource.TILE)
        ):
            raise TileError(TileReason.BAD_COORDINATES)

    @property
    def path(self) -> str:
        """The path under the log's prefix."""
        if self.kind is Resource.CHECKPOINT:
            return "checkpoint"
        groups = [f"{self.index % 1000:03d}"]
        rest = self.index // 1000
        while rest:
            groups.append(f"x{rest % 1000:03d}")
            rest //= 1000
        part = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        where = "entries" if self.kind is Resource.ENTRIES else str(self.level)
        return f"tile/{where}/{'/'.join(reversed(groups))}{part}"

    @classmethod
    def parse(cls, path: str) -> Self:
        """Reads a path; only the one right spelling of an address is accepted.

        Raises:
            TileError: anything else.
        """
        if path == "checkpoint":
            return cls(Resource.CHECKPOINT)
        if len(path) > _MAX_PATH or not path.isascii() or not path.startswith("tile/"):
            raise TileError(TileReason.BAD_PATH)
        body, dot, width_text = path.removeprefix("tile/").partition(".p/")
        where, *groups = body.split("/")
        width = _decimal(width_text) if dot else TILE_WIDTH
        level = 0 if where == "entries" else _decimal(where)
        index = 0
        for group in groups:
            index = index * 1000 + _decimal(group.removeprefix("x"), padded=True)
        made = cls(Resource.ENTRIES if where == "entries" else Resource.TILE, level, index, width)
        if not groups or made.path != path:
            raise TileError(TileReason.BAD_PATH)
        return made


def _decimal(text: str, *, padded: bool = False) -> int:
    if not text.isdigit() or len(text) > 3 or (padded and len(text) != 3):
        raise TileError(TileReason.BAD_PATH)
    return int(text)


def tile_address(level: int, index: int, width: int = TILE_WIDTH) -> Address:
    """The address of a tile."""
    return Address(Resource.TILE, level, index, width)


def bundle_address(index: int, width: int = TILE_WIDTH) -> Address:
    """The address of an entry bundle."""
    return Address(Resource.ENTRIES, 0, index, width)


def width_at(size: int, level: int, index: int) -> int:
    """How many hashes tile ``index`` of a level holds when the log has ``size`` entries: 0 to 256."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH))


def tiles_at(size: int) -> Iterator[Address]:
    """All tiles of a log of this size, level by level; empty ones do not exist."""
    for level in range(MAX_LEVEL + 1):
        hashes = size >> (TILE_HEIGHT * level)
        if not hashes:
            return
        for index in range((hashes + TILE_WIDTH - 1) // TILE_WIDTH):
            yield tile_address(level, index, width_at(size, level, index))


def bundles_at(size: int) -> Iterator[Address]:
    """All entry bundles of a log of this size."""
    for index in range((size + TILE_WIDTH - 1) // TILE_WIDTH):
        yield bundle_address(index, width_at(size, 0, index))


def split_tile(data: bytes, width: int) -> list[bytes]:
    """The hashes of a tile.

    Raises:
        TileError: it does not hold exactly ``width`` of them.
    """
    if len(data) != width * HASH_SIZE:
        raise TileError(TileReason.BAD_LENGTH, length=len(data), width=width)
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


def tile_root(hashes: Sequence[bytes]) -> bytes:
    """The hash over a full tile's hashes, or over any number of them that is a power of two."""
    level = hashes
    while len(level) > 1:
        level = next_level(level)
    return level[0]


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Entries behind their lengths.

    Raises:
        TileError: an entry is too long for its length field.
    """
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise TileError(TileReason.ENTRY_TOO_LARGE, length=len(entry))
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def split_bundle(data: bytes, width: int) -> list[bytes]:
    """The entries of a bundle.

    Raises:
        TileError: it does not hold exactly ``width`` of them.
    """
    entries: list[bytes] = []
    at, end = 0, len(data)
    for _ in range(width):
        start = at + 2
        if start > end:
            raise TileError(TileReason.TRUNCATED, entries=len(entries), width=width)
        at = start + (data[start - 2] << 8 | data[start - 1])
        if at > end:
            raise TileError(TileReason.TRUNCATED, entries=len(entries), width=width)
        entries.append(data[start:at])
    if at != end:
        raise TileError(TileReason.TRAILING_BYTES, width=width)
    return entries


class LogReader(Protocol):
    """Where an exported log, or a running one, is read from. ``None`` means: not there."""

    def checkpoint(self) -> bytes | None:
        """The signed checkpoint."""
        ...

    def tile(self, level: int, index: int, width: int) -> bytes | None:
        """A tile's bytes; ``width`` below 256 asks for the partial one."""
        ...

    def bundle(self, index: int, width: int) -> bytes | None:
        """An entry bundle's bytes."""
        ...


class TileHashes:
    """Serves provers from tiles, at one size of the log. Keeps the tiles it has read."""

    __slots__ = ("_kept", "_reader", "_size")

    def __init__(self, reader: LogReader, size: int) -> None:
        self._reader = reader
        self._size = size
        self._kept: dict[tuple[int, int], list[list[bytes]]] = {}

    def subtree(self, height: int, index: int) -> bytes:
        """See :class:`letterlock.wire.tlog.proofs.HashReader`.

        Raises:
            TreeError: beyond the size, or the tile is missing.
            TileError: the tile is malformed.
        """
        if height < 0 or index < 0 or (index + 1) << height > self._size:
            raise TreeError(TreeReason.NO_SUCH_HASH, height=height)
        level, inside = divmod(height, TILE_HEIGHT)
        per_tile = TILE_WIDTH >> inside
        return self._rows(level, index // per_tile)[inside][index % per_tile]

    def _rows(self, level: int, tile_index: int) -> list[list[bytes]]:
        kept = self._kept.get((level, tile_index))
        if kept is not None:
            return kept
        width = width_at(self._size, level, tile_index)
        data = self._reader.tile(level, tile_index, width)
        if data is None:
            raise TreeError(TreeReason.NO_SUCH_HASH, level=level, tile=tile_index)
        rows = [split_tile(data, width)]
        while len(rows[-1]) > 1 and len(rows) < TILE_HEIGHT:
            # Only pairs: a lone last hash is not a perfect subtree of the next height.
            pairs = len(rows[-1]) & ~1
            rows.append(next_level(rows[-1][:pairs]))
        self._kept[level, tile_index] = rows
        return rows
