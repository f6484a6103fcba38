"""Inclusion and consistency proofs (RFC 9162, sections 2.1.3 and 2.1.4).

Provers follow the recursive definition over ranges of leaves; verifiers follow the bit-by-bit procedures.
They share no code, so that a mistake in one is not confirmed by the other.
"""

from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import Protocol

from letterlock.wire.tlog.errors import MAX_TREE_SIZE, TreeError, TreeReason
from letterlock.wire.tlog.hashes import EMPTY_ROOT, HASH_SIZE, next_level


class HashReader(Protocol):
    """Where a prover gets the hashes of perfect subtrees."""

    def subtree(self, height: int, index: int) -> bytes:
        """The hash over leaves ``index * 2**height`` to ``(index + 1) * 2**height - 1``.

        Raises:
            TreeError: the tree does not hold all of them.
        """
        ...


# --- provers ---------------------------------------------------------------------------------------------


def range_hash(reader: HashReader, first: int, last: int) -> bytes:
    """The tree hash over leaves ``first`` to ``last - 1``; ``first`` is aligned as RFC 9162 splits ranges."""
    count = last - first
    if count == 0:
        return EMPTY_ROOT
    if count & (count - 1) == 0:
        height = count.bit_length() - 1
        return reader.subtree(height, first >> height)
    middle = first + _split(count)
    return _above(range_hash(reader, first, middle), range_hash(reader, middle, last))


def prove_inclusion(reader: HashReader, index: int, size: int) -> list[bytes]:
    """The audit path of leaf ``index`` in the tree of ``size`` leaves, leaf upwards (section 2.1.3.1).

    Raises:
        TreeError: no such leaf, or the reader lacks a hash.
    """
    if not 0 < size <= MAX_TREE_SIZE:
        raise TreeError(TreeReason.BAD_SIZE, size=size)
    if not 0 <= index < size:
        raise TreeError(TreeReason.BAD_INDEX, index=index, size=size)
    path: list[bytes] = []
    first, last = 0, size
    while last - first > 1:
        middle = first + _split(last - first)
        if index < middle:
            path.append(range_hash(reader, middle, last))
            last = middle
        else:
            path.append(range_hash(reader, first, middle))
            first = middle
    path.reverse()
    return path


def prove_consistency(reader: HashReader, older: int, newer: int) -> list[bytes]:
    """The proof that the tree of ``newer`` leaves begins with that of ``older`` (section 2.1.4.1).

    Equal sizes and an older size of zero need no hashes: the proof is empty.

    Raises:
        TreeError: the sizes do not fit, or the reader lacks a hash.
    """
    if not 0 <= older <= newer <= MAX_TREE_SIZE:
        raise TreeError(TreeReason.BAD_SIZE, older=older, newer=newer)
    if older in {0, newer}:
        return []
    proof: list[bytes] = []
    first, last = 0, newer
    while older != last:
        middle = first + _split(last - first)
        if older <= middle:
            proof.append(range_hash(reader, middle, last))
            last = middle
        else:
            proof.append(range_hash(reader, first, middle))
            first = middle
    if first:
        proof.append(range_hash(reader, first, last))
    proof.reverse()
    return proof


def _split(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


def _above(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class InnerTree:
    """A small tree held whole in memory: the per-message records of one commit. Serves as a HashReader."""

    __slots__ = ("_levels",)

    def __init__(self, leaf_hashes: Sequence[bytes]) -> None:
        levels: list[Sequence[bytes]] = [leaf_hashes]
        while len(levels[-1]) > 1:
            levels.append(next_level(levels[-1]))
        self._levels = levels

    @property
    def size(self) -> int:
        """How many leaves it has."""
        return len(self._levels[0])

    @property
    def root(self) -> bytes:
        """Its RFC 6962 root."""
        return self._levels[-1][0] if self._levels[0] else EMPTY_ROOT

    def subtree(self, height: int, index: int) -> bytes:
        """See :class:`HashReader`."""
        if height < 0 or index < 0 or (index + 1) << height > self.size:
            raise TreeError(TreeReason.NO_SUCH_HASH, height=height)
        return self._levels[height][index]

    def prove(self, index: int) -> list[bytes]:
        """The inner path of one leaf."""
        return prove_inclusion(self, index, self.size)


# --- verifiers -------------------------------------------------------------------------------------------


def root_from_inclusion(index: int, size: int, hash_of_leaf: bytes, path: Sequence[bytes]) -> bytes:
    """The root that a path leads to (section 2.1.3.2).

    Raises:
        TreeError: the index, a hash or the path's length does not fit the size.
    """
    if not 0 < size <= MAX_TREE_SIZE:
        raise TreeError(TreeReason.BAD_SIZE)
    if not 0 <= index < size:
        raise TreeError(TreeReason.BAD_INDEX)
    _check_lengths(hash_of_leaf, *path)
    node, last, result = index, size - 1, hash_of_leaf
    for step in path:
        if last == 0:
            raise TreeError(TreeReason.WRONG_PROOF_LENGTH, hashes=len(path))
        if node & 1 or node == last:
            result = sha256(b"\x01" + step + result).digest()
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            result = sha256(b"\x01" + result + step).digest()
        node >>= 1
        last >>= 1
    if last:
        raise TreeError(TreeReason.WRONG_PROOF_LENGTH, hashes=len(path))
    return result


def verify_inclusion(index: int, size: int, hash_of_leaf: bytes, path: Sequence[bytes], root: bytes) -> None:
    """Checks that a leaf is in the tree with this root.

    Raises:
        TreeError: it is not shown to be.
    """
    _check_lengths(root)
    if not compare_digest(root_from_inclusion(index, size, hash_of_leaf, path), root):
        raise TreeError(TreeReason.ROOT_MISMATCH, index=index, size=size)


def verify_consistency(older: int, newer: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Checks that the newer tree begins with the older one (section 2.1.4.2).

    An older size of zero is refused: nothing follows from it. Whoever holds an empty head compares sizes.

    Raises:
        TreeError: consistency is not shown.
    """
    if not 0 < older <= newer <= MAX_TREE_SIZE:
        raise TreeError(TreeReason.BAD_SIZE)
    _check_lengths(old_root, new_root, *proof)
    if (older == newer) == bool(proof):
        raise TreeError(TreeReason.WRONG_PROOF_LENGTH, hashes=len(proof))
    if older == newer:
        if not compare_digest(old_root, new_root):
            raise TreeError(TreeReason.ROOT_MISMATCH, size=older)
        return
    steps = list(proof) if older & (older - 1) else [old_root, *proof]
    node, last = older - 1, newer - 1
    while node & 1:
        node >>= 1
        last >>= 1
    was = now = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise TreeError(TreeReason.WRONG_PROOF_LENGTH, hashes=len(proof))
        if node & 1 or node == last:
            was = sha256(b"\x01" + step + was).digest()
            now = sha256(b"\x01" + step + now).digest()
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            now = sha256(b"\x01" + now + step).digest()
        node >>= 1
        last >>= 1
    if last:
        raise TreeError(TreeReason.WRONG_PROOF_LENGTH, hashes=len(proof))
    if not (compare_digest(was, old_root) and compare_digest(now, new_root)):
        raise TreeError(TreeReason.ROOT_MISMATCH, older=older, newer=newer)


def _check_lengths(*hashes: bytes) -> None:
    for value in hashes:
        if len(value) != HASH_SIZE:
            raise TreeError(TreeReason.BAD_HASH_LENGTH, length=len(value))
