"""Where a log that does not verify is damaged: the slow path, taken only once something is known to be wrong.

The signed root vouches for hashes from the top down: a tile counts as authentic when its hash is the one that its
authentic parent holds, whether its bytes come from the log's tiles or are computed from the log's entries. An entry
whose hash is not the authentic one at its place is the damage, to the very index. Where neither source leads to
the parent's hash, only a range can be named.
"""

from dataclasses import dataclass
from enum import Enum, unique
from itertools import product

from letterlock.wire.tlog.errors import TileError
from letterlock.wire.tlog.growth import edge_widths, peaks_of_edge
from letterlock.wire.tlog.hashes import HASH_SIZE, fold_peaks, leaf_hash
from letterlock.wire.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, LogReader, split_tile, tile_root, width_at


@unique
class Damage(Enum):
    """What kind of damage."""

    MISSING = "missing"
    MALFORMED = "malformed"
    CHANGED = "changed"
    REORDERED = "reordered"
    TILE = "tile"
    REWRITTEN = "rewritten"


@dataclass(frozen=True, slots=True)
class Place:
    """The first damage: it lies at ``first`` or later, and below ``before``."""

    kind: Damage
    first: int
    before: int


@dataclass(frozen=True, slots=True)
class _Bundle:
    """What could be read of a bundle: leaf hashes in order, and what stopped the reading."""

    hashes: tuple[bytes, ...]
    fault: Damage | None


def diagnose(reader: LogReader, size: int, root: bytes) -> Place:
    """Finds the first damage of a log whose signed head has this size and root.

    If nothing is found to be damaged, the answer is still a place: the whole range, as rewritten.
    """
    return _Diagnosis(reader, size).run(root)


class _Diagnosis:
    __slots__ = ("_bundles", "_computed", "_reader", "_size", "_tile_fault")

    def __init__(self, reader: LogReader, size: int) -> None:
        self._reader = reader
        self._size = size
        self._bundles = [self._bundle(index) for index in range(-(-size // TILE_WIDTH))]
        self._computed: dict[tuple[int, int], bytes | None] = {}
        self._tile_fault: Place | None = None

    def run(self, root: bytes) -> Place:
        edge = self._authentic_edge(root)
        if edge is None:
            return Place(Damage.REWRITTEN, 0, max(self._size, 1))
        authentic: dict[int, bytes] = {}
        unknown: list[tuple[int, int]] = []
        for level, data in enumerate(edge):
            if data:
                self._descend(level, (self._size >> (TILE_HEIGHT * level)) // TILE_WIDTH, data, authentic, unknown)
        places = [Place(Damage.REWRITTEN, first, before) for first, before in unknown]
        places += self._first_bad_entry(authentic)
        places.sort(key=lambda place: place.first)
        if places:
            return places[0]
        return self._tile_fault or Place(Damage.REWRITTEN, 0, max(self._size, 1))

    def _bundle(self, index: int) -> _Bundle:
        width = width_at(self._size, 0, index)
        data = self._reader.bundle(index, width)
        if data is None:
            return _Bundle((), Damage.MISSING)
        hashes: list[bytes] = []
        at = 0
        while len(hashes) < width:
            start = at + 2
            at = start + int.from_bytes(data[at:start], "big")
            if at > len(data):
                return _Bundle(tuple(hashes), Damage.MALFORMED)
            hashes.append(leaf_hash(data[start:at]))
        return _Bundle(tuple(hashes), None if at == len(data) else Damage.MALFORMED)

    def _from_entries(self, level: int, index: int) -> bytes | None:
        """A tile's bytes as the entries give them; None where entries are missing."""
        key = (level, index)
        if key not in self._computed:
            self._computed[key] = self._compute(level, index)
        return self._computed[key]

    def _compute(self, level: int, index: int) -> bytes | None:
        width = width_at(self._size, level, index)
        if level == 0:
            bundle = self._bundles[index]
            return b"".join(bundle.hashes) if len(bundle.hashes) == width else None
        below = [self._from_entries(level - 1, index * TILE_WIDTH + place) for place in range(width)]
        parts = [tile_root(split_tile(data, TILE_WIDTH)) for data in below if data is not None]
        return b"".join(parts) if len(parts) == width else None

    def _stored(self, level: int, index: int) -> bytes | None:
        width = width_at(self._size, level, index)
        data = self._reader.tile(level, index, width)
        return data if data is not None and len(data) == width * HASH_SIZE else None

    def _present(self, level: int, index: int) -> bool:
        return self._reader.tile(level, index, width_at(self._size, level, index)) is not None

    def _authentic_edge(self, root: bytes) -> tuple[bytes, ...] | None:
        """The partial tiles that lead to the signed root, each as stored or as the entries give it."""
        choices: list[list[bytes]] = []
        for level, width in enumerate(edge_widths(self._size)):
            if not width:
                choices.append([b""])
                continue
            index = (self._size >> (TILE_HEIGHT * level)) // TILE_WIDTH
            found = (self._from_entries(level, index), self._stored(level, index))
            choices.append(list(dict.fromkeys(data for data in found if data is not None)))
        for edge in product(*choices):
            if fold_peaks(peaks_of_edge(edge)) == root:
                return edge
        return None

    def _descend(
        self, level: int, index: int, data: bytes, authentic: dict[int, bytes], unknown: list[tuple[int, int]]
    ) -> None:
        """Goes from an authentic tile to those below it."""
        if self._stored(level, index) != data:
            first = min((index * TILE_WIDTH + self._differs(level, index, data)) << (TILE_HEIGHT * level), self._size)
            if self._tile_fault is None or first < self._tile_fault.first:
                kind = Damage.TILE if self._present(level, index) else Damage.MISSING
                self._tile_fault = Place(kind, first, first + (1 << (TILE_HEIGHT * level)))
        if level == 0:
            authentic[index] = data
            return
        span = 1 << (TILE_HEIGHT * level)
        for place, wanted in enumerate(split_tile(data, len(data) // HASH_SIZE)):
            child = index * TILE_WIDTH + place
            for found in (self._from_entries(level - 1, child), self._stored(level - 1, child)):
                if found is not None and tile_root(split_tile(found, TILE_WIDTH)) == wanted:
                    self._descend(level - 1, child, found, authentic, unknown)
                    break
            else:
                unknown.append((child * span, (child + 1) * span))

    def _differs(self, level: int, index: int, data: bytes) -> int:
        """The place of the first hash of the stored tile that is not the authentic one."""
        stored = self._reader.tile(level, index, width_at(self._size, level, index)) or b""
        for place in range(len(data) // HASH_SIZE):
            at = place * HASH_SIZE
            if stored[at : at + HASH_SIZE] != data[at : at + HASH_SIZE]:
                return place
        return len(data) // HASH_SIZE - 1

    def _first_bad_entry(self, authentic: dict[int, bytes]) -> list[Place]:
        for index in sorted(authentic):
            bundle = self._bundles[index]
            wanted = self._hashes(authentic[index])
            for place, value in enumerate(wanted):
                first = index * TILE_WIDTH + place
                if place >= len(bundle.hashes):
                    return [Place(bundle.fault or Damage.MISSING, first, first + 1)]
                if bundle.hashes[place] != value:
                    return [Place(self._changed_or_moved(bundle.hashes[place], value, authentic), first, first + 1)]
            if bundle.fault is not None:
                # All entries are right, and something follows them.
                first = index * TILE_WIDTH + len(wanted) - 1
                return [Place(bundle.fault, first, first + 1)]
        return []

    def _changed_or_moved(self, found: bytes, wanted: bytes, authentic: dict[int, bytes]) -> Damage:
        belongs = any(found in self._hashes(data) for data in authentic.values())
        is_elsewhere = any(wanted in bundle.hashes for bundle in self._bundles)
        return Damage.REORDERED if belongs and is_elsewhere else Damage.CHANGED

    @staticmethod
    def _hashes(data: bytes) -> list[bytes]:
        try:
            return split_tile(data, len(data) // HASH_SIZE)
        except TileError:
            return []
