"""How a log grows: a pure step from a state and new entries to the next state and the tiles that became full.

The cost of a commit is one leaf hash and about one node hash for each entry, and a copy of the right edge
(at most 8 KiB a level). A step that is not wanted after all, because its transaction failed, is just dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Final, Self

from letterlock.wire.tlog.errors import MAX_TREE_SIZE, TileError, TileReason, TreeError, TreeReason
from letterlock.wire.tlog.hashes import HASH_SIZE, fold_peaks
from letterlock.wire.tlog.tiles import MAX_ENTRY_BYTES, MAX_LEVEL, TILE_HEIGHT, TILE_WIDTH, split_tile, tile_root

_TILE_MASK: Final = TILE_WIDTH - 1


@dataclass(frozen=True, slots=True)
class FullTile:
    """A tile that is complete and will never change."""

    level: int
    index: int
    data: bytes


def peaks_of_edge(edge: Sequence[bytes]) -> tuple[bytes, ...]:
    """The peaks of a tree, tallest first, from its partial tiles (level 0 first).

    Raises:
        TileError: a partial tile is not a whole number of hashes.
    """
    peaks: list[bytes] = []
    for data in reversed(edge):
        hashes = split_tile(data, len(data) // HASH_SIZE)
        at = 0
        for height in range(TILE_HEIGHT - 1, -1, -1):
            width = 1 << height
            if len(hashes) & width:
                peaks.append(tile_root(hashes[at : at + width]))
                at += width
    return tuple(peaks)


@dataclass(frozen=True, slots=True)
class TreeState:
    """What a log needs to grow.

    Attributes:
        size: entries so far.
        peaks: roots of the perfect subtrees, tallest first; what is stored in the head row.
        edge: the hashes of the partial tile of each level, level 0 first; read back from rows after a restart.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()
    edge: tuple[bytes, ...] = ()

    @classmethod
    def restore(cls, size: int, peaks: Sequence[bytes], edge: Sequence[bytes]) -> Self:
        """Goes on from stored state; the edge must lead to the peaks.

        Raises:
            TreeError: it does not, or the size is out of range.
        """
        if not 0 <= size <= MAX_TREE_SIZE:
            raise TreeError(TreeReason.BAD_SIZE)
        widths = [len(data) for data in edge]
        if widths != [HASH_SIZE * width for width in edge_widths(size)]:
            raise TreeError(TreeReason.WRONG_PEAKS, size=size)
        if peaks_of_edge(edge) != tuple(peaks):
            raise TreeError(TreeReason.WRONG_PEAKS, size=size)
        return cls(size, tuple(peaks), tuple(edge))

    @property
    def root(self) -> bytes:
        """The root over all entries."""
        return fold_peaks(self.peaks)


def edge_widths(size: int) -> list[int]:
    """How many hashes the partial tile of each level holds; levels that do not exist yet are left out."""
    widths: list[int] = []
    while size and len(widths) <= MAX_LEVEL:
        widths.append(size & _TILE_MASK)
        size >>= TILE_HEIGHT
    return widths


@dataclass(frozen=True, slots=True)
class Integration:
    """One step of growth.

    Attributes:
        state: after it.
        first: the index of the first new entry.
        leaf_hashes: of the new entries, in order.
        tiles: that became full, lower levels first at each place.
    """

    state: TreeState
    first: int
    leaf_hashes: tuple[bytes, ...]
    tiles: tuple[FullTile, ...]


def integrate(state: TreeState, entries: Sequence[bytes]) -> Integration:
    """Adds entries to a log.

    Raises:
        TileError: an entry is larger than the format's 65,535 bytes.
    """
    leaves: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise TileError(TileReason.ENTRY_TOO_LARGE, length=len(entry))
        leaves.append(sha256(b"\x00" + entry).digest())
    return integrate_hashes(state, leaves)


def integrate_hashes(state: TreeState, leaves: Sequence[bytes]) -> Integration:
    """Adds entries by their leaf hashes."""
    size = state.size
    peaks = list(state.peaks)
    edge = [[data] if data else [] for data in state.edge] or [[]]
    tiles: list[FullTile] = []
    waiting = iter(leaves)
    while True:
        # To the end of the level-0 tile at the most: within it no other level changes.
        part = list(islice(waiting, TILE_WIDTH - (size & _TILE_MASK)))
        if not part:
            break
        edge[0] += part
        for node in part:
            rest, above = size, node
            while rest & 1:
                above = sha256(b"\x01" + peaks.pop() + above).digest()
                rest >>= 1
            peaks.append(above)
            size += 1
        if not size & _TILE_MASK:
            _promote(size, edge, tiles)
    state_after = TreeState(size, tuple(peaks), tuple(b"".join(parts) for parts in edge) if size else ())
    return Integration(state_after, state.size, tuple(leaves), tuple(tiles))


def _promote(size: int, edge: list[list[bytes]], tiles: list[FullTile]) -> None:
    """Closes the tiles that end at this size; their roots go into the level above."""
    level = 0
    count = size
    while count and not count & _TILE_MASK:
        data = b"".join(edge[level])
        count >>= TILE_HEIGHT
        tiles.append(FullTile(level, count - 1, data))
        edge[level] = []
        level += 1
        if level == len(edge):
            edge.append([])
        edge[level].append(tile_root(split_tile(data, TILE_WIDTH)))
