"""RFC 6962 hashing (section 2.1) and the frontier: the right edge of a growing tree.

All hashes are SHA-256, 32 bytes. Nothing here does I/O; pushing a leaf costs about one hash on average.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, Self

from letterlock.wire.tlog.errors import MAX_TREE_SIZE, TreeError, TreeReason

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of the tree with no leaves."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf: SHA-256 of 0x00 and the data."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256 of 0x01 and both children."""
    return sha256(b"\x01" + left + right).digest()


def check_hash(value: bytes) -> bytes:
    """Returns a hash that has the right length.

    Raises:
        TreeError: it has not.
    """
    if len(value) != HASH_SIZE:
        raise TreeError(TreeReason.BAD_HASH_LENGTH, length=len(value))
    return value


def fold_peaks(peaks: Sequence[bytes]) -> bytes:
    """The root over the peaks of a tree, tallest first; no peaks is the empty tree."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = sha256(b"\x01" + peak + root).digest()
    return root


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root over leaf hashes, computed level by level; a lone last node moves up unchanged."""
    level = list(leaf_hashes)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        level = next_level(level)
    return level[0]


def next_level(level: Sequence[bytes]) -> list[bytes]:
    """The nodes above one level of a tree; a lone last node moves up unchanged."""
    above = [sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
    if len(level) & 1:
        above.append(level[-1])
    return above


class Frontier:
    """The state from which a tree can grow: its size and the roots of its perfect subtrees, tallest first.

    ``peaks`` holds one hash per one-bit of ``size``. A frontier is what is stored to go on after a restart.
    """

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    @classmethod
    def restore(cls, size: int, peaks: Sequence[bytes]) -> Self:
        """Goes on from stored state.

        Raises:
            TreeError: the size is out of range, or the peaks do not fit it.
        """
        if not 0 <= size <= MAX_TREE_SIZE:
            raise TreeError(TreeReason.BAD_SIZE)
        if len(peaks) != size.bit_count():
            raise TreeError(TreeReason.WRONG_PEAKS, size=size, peaks=len(peaks))
        made = cls()
        made.size = size
        made._peaks = [check_hash(bytes(peak)) for peak in peaks]
        return made

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """The roots of the perfect subtrees, tallest first: for storage."""
        return tuple(self._peaks)

    def push(self, hash_of_leaf: bytes) -> None:
        """Adds one leaf by its hash (32 bytes; the caller has it from :func:`leaf_hash`)."""
        size = self.size
        peaks = self._peaks
        while size & 1:
            hash_of_leaf = sha256(b"\x01" + peaks.pop() + hash_of_leaf).digest()
            size >>= 1
        peaks.append(hash_of_leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root of the tree so far."""
        return fold_peaks(self._peaks)

    def copy(self) -> "Frontier":
        """An independent copy."""
        made = Frontier()
        made.size = self.size
        made._peaks = self._peaks.copy()
        return made

    def __repr__(self) -> str:
        return f"<Frontier size {self.size}>"


def pack_peaks(peaks: Sequence[bytes]) -> bytes:
    """The peaks as one blob for a database column, tallest first."""
    return b"".join(peaks)


def unpack_peaks(blob: bytes) -> tuple[bytes, ...]:
    """Reads a blob of :func:`pack_peaks`.

    Raises:
        TreeError: its length is not a multiple of 32.
    """
    if len(blob) % HASH_SIZE:
        raise TreeError(TreeReason.BAD_HASH_LENGTH, length=len(blob))
    return tuple(blob[at : at + HASH_SIZE] for at in range(0, len(blob), HASH_SIZE))
