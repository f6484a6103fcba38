"""The ratchet tree as a value: parsed, written, hashed (RFC 9420, sections 4.1.1, 7.7, 7.8 and 12.4.3.3).

Hashes of subtrees are kept beside the nodes, so a change costs one path of hashes and not a tree of them. Whether a
tree is *valid* is for :mod:`letterlock.wire.mls.group.rules` to say.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, final

from letterlock.wire.mls.codec import Reader, Writer
from letterlock.wire.mls.errors import FramingError
from letterlock.wire.mls.group import tree_math
from letterlock.wire.mls.group.errors import FollowError, FollowReason
from letterlock.wire.mls.structures import LeafNode, read_leaf_node
from letterlock.wire.mls.suites import HASH_SIZES, SIZES, CipherSuite

MAX_LEAVES: Final = 2048
"""Leaves of a followed tree: twice the largest group we allow for."""
RATCHET_TREE: Final = 2
"""The extension type of a tree in a GroupInfo (RFC 9420, section 17.3)."""
_LEAF: Final = 1
_PARENT: Final = 2


@dataclass(frozen=True, slots=True, repr=False)
class ParentNode:
    """RFC 9420, section 7.1. ``unmerged`` are leaf indexes, in rising order."""

    encryption_key: bytes
    parent_hash: bytes
    unmerged: tuple[int, ...]


Node = LeafNode | ParentNode


@final
class RatchetTree:
    """A full tree of ``width(leaves)`` nodes; None is a blank node. Never changed: see :class:`TreeEditor`.

    Attributes:
        suite: whose hash is used.
        nodes: by node index.
        hashes: the tree hash of each node's subtree.
    """

    __slots__ = ("hashes", "nodes", "suite")

    def __init__(self, suite: CipherSuite, nodes: tuple[Node | None, ...], hashes: tuple[bytes, ...]) -> None:
        self.suite: Final = suite
        self.nodes: Final = nodes
        self.hashes: Final = hashes

    @property
    def leaves(self) -> int:
        """The number of leaves, blank ones included: a power of two."""
        return (len(self.nodes) + 1) // 2

    @property
    def root(self) -> int:
        """The root's node index."""
        return tree_math.root(self.leaves)

    @property
    def tree_hash(self) -> bytes:
        """Of the whole tree (section 7.8)."""
        return self.hashes[self.root]

    def leaf(self, index: int) -> LeafNode | None:
        """The leaf at a leaf index; None if it is blank or beyond the tree."""
        if not 0 <= index < self.leaves:
            return None
        node = self.nodes[2 * index]
        assert node is None or isinstance(node, LeafNode), "the parser puts leaves at even places only"
        return node

    def parent(self, node: int) -> ParentNode | None:
        """The parent node at an odd node index; None if it is blank."""
        found = self.nodes[node]
        assert found is None or isinstance(found, ParentNode), "the parser puts parents at odd places only"
        return found

    def members(self) -> Iterator[tuple[int, LeafNode]]:
        """The leaves that are not blank, with their leaf indexes."""
        for index in range(self.leaves):
            leaf = self.leaf(index)
            if leaf is not None:
                yield index, leaf

    def resolution(self, node: int) -> list[int]:
        """The node indexes that cover all members below a node (section 4.1.1)."""
        found: list[int] = []
        todo = [node]
        while todo:
            at = todo.pop()
            held = self.nodes[at]
            if held is None:
                if at % 2:
                    todo += (tree_math.right(at), tree_math.left(at))
                continue
            found.append(at)
            if isinstance(held, ParentNode):
                found += [2 * leaf for leaf in held.unmerged]
        return found

    def filtered_path(self, leaf: int) -> list[int]:
        """The ancestors of a leaf whose other child has a member below it (section 4.1.2), lowest first."""
        path: list[int] = []
        below = 2 * leaf
        for above in tree_math.direct_path(below, self.root):
            if self.resolution(tree_math.sibling(below)):
                path.append(above)
            below = above
        return path

    def hash_without(self, node: int, gone: frozenset[int]) -> bytes:
        """The tree hash of a subtree as it was before these leaves came (section 7.9)."""
        first, last = tree_math.leaf_range(node)
        here = frozenset(leaf for leaf in gone if first <= leaf < last)
        if not here:
            return self.hashes[node]
        if node % 2 == 0:
            return _hash(self.suite, _leaf_input(node // 2, None))
        held = self.parent(node)
        if held is not None:
            kept = tuple(leaf for leaf in held.unmerged if leaf not in here)
            held = ParentNode(held.encryption_key, held.parent_hash, kept)
        below = self.hash_without(tree_math.left(node), here), self.hash_without(tree_math.right(node), here)
        return _hash(self.suite, _parent_input(held, *below))

    def encode(self) -> bytes:
        """The ratchet_tree extension's data (section 12.4.3.3): no blank nodes at the end."""
        last = max((index for index, node in enumerate(self.nodes) if node is not None), default=-1)
        out = Writer()
        for node in self.nodes[: last + 1]:
            if node is None:
                out.u8(0)
            elif isinstance(node, LeafNode):
                out.u8(1).u8(_LEAF).raw(encode_leaf(node))
            else:
                out.u8(1).u8(_PARENT).raw(encode_parent(node))
        return Writer().opaque(out.done()).done()

    def edit(self) -> "TreeEditor":
        """A changeable copy."""
        return TreeEditor(self.suite, list(self.nodes), list(self.hashes))


@final
class TreeEditor:
    """A tree under change; :meth:`done` makes the value. Operations of RFC 9420, section 7.7 and 12.1."""

    __slots__ = ("_hashes", "nodes", "suite")

    def __init__(self, suite: CipherSuite, nodes: list[Node | None], hashes: list[bytes | None]) -> None:
        self.suite: Final = suite
        self.nodes = nodes
        self._hashes = hashes

    @property
    def leaves(self) -> int:
        """The number of leaves now."""
        return (len(self.nodes) + 1) // 2

    def put(self, node: int, value: Node | None) -> None:
        """Sets one node and forgets the hashes above it."""
        self.nodes[node] = value
        self._hashes[node] = None
        for above in tree_math.direct_path(node, tree_math.root(self.leaves)):
            self._hashes[above] = None

    def blank_path(self, leaf: int) -> None:
        """Blanks all ancestors of a leaf."""
        for above in tree_math.direct_path(2 * leaf, tree_math.root(self.leaves)):
            self.put(above, None)

    def update(self, leaf: int, value: LeafNode) -> None:
        """A leaf replaced by an Update proposal (section 12.1.2)."""
        self.put(2 * leaf, value)
        self.blank_path(leaf)

    def remove(self, leaf: int) -> None:
        """A leaf removed (section 12.1.3), and the tree made as small as it can be."""
        self.put(2 * leaf, None)
        self.blank_path(leaf)
        while self.leaves > 1 and not any(self.nodes[self.leaves :: 2]):
            half = len(self.nodes) // 2
            del self.nodes[half:]
            del self._hashes[half:]

    def add(self, value: LeafNode) -> int:
        """A leaf added at the leftmost blank place (section 12.1.1); returns its leaf index.

        Raises:
            FollowError: TOO_LARGE.
        """
        index = next((at for at in range(self.leaves) if self.nodes[2 * at] is None), self.leaves)
        if index == self.leaves:
            if 2 * self.leaves > MAX_LEAVES:
                raise FollowError(FollowReason.TOO_LARGE, limit=MAX_LEAVES)
            more = len(self.nodes) + 1
            self.nodes += [None] * more
            self._hashes += [None] * more
        self.put(2 * index, value)
        for above in tree_math.direct_path(2 * index, tree_math.root(self.leaves)):
            held = self.nodes[above]
            if isinstance(held, ParentNode):
                unmerged = tuple(sorted((*held.unmerged, index)))
                self.put(above, ParentNode(held.encryption_key, held.parent_hash, unmerged))
        return index

    def done(self) -> RatchetTree:
        """The tree as a value, with all hashes."""
        self._hash(tree_math.root(self.leaves))
        return RatchetTree(self.suite, tuple(self.nodes), tuple(one or b"" for one in self._hashes))

    def _hash(self, node: int) -> bytes:
        known = self._hashes[node]
        if known is not None:
            return known
        held = self.nodes[node]
        if node % 2 == 0:
            assert not isinstance(held, ParentNode), "leaves stand at even places"
            found = _hash(self.suite, _leaf_input(node // 2, held))
        else:
            assert not isinstance(held, LeafNode), "parents stand at odd places"
            below = self._hash(tree_math.left(node)), self._hash(tree_math.right(node))
            found = _hash(self.suite, _parent_input(held, *below))
        self._hashes[node] = found
        return found


def parse_tree(suite: CipherSuite, data: bytes) -> RatchetTree:
    """Reads a ratchet_tree extension's data.

    Raises:
        FollowError: MALFORMED, TOO_LARGE, BLANK_AT_END, NODE_KIND, KEY_SIZE.
    """
    refused = False
    found: list[Node | None] = []
    try:
        found = _read_nodes(data)
    except FramingError:
        refused = True
    if refused:
        raise FollowError(FollowReason.MALFORMED)
    if not found or found[-1] is None:
        raise FollowError(FollowReason.BLANK_AT_END)
    sizes = SIZES[suite]
    for node in found:
        if node is not None and (
            len(node.encryption_key) != sizes.hpke_key
            or (isinstance(node, LeafNode) and len(node.signature_key) != sizes.signature_key)
        ):
            raise FollowError(FollowReason.KEY_SIZE)
    return tree_of(suite, found)


def tree_of(suite: CipherSuite, nodes: Iterable[Node | None]) -> RatchetTree:
    """A tree of these nodes, made full with blank ones."""
    given = list(nodes)
    leaves = 1
    while tree_math.width(leaves) < len(given):
        leaves *= 2
    full = tree_math.width(leaves)
    return TreeEditor(suite, given + [None] * (full - len(given)), [None] * full).done()


def _read_nodes(data: bytes) -> list[Node | None]:
    outer = Reader(data)
    nodes = outer.vector()
    outer.finish()
    found: list[Node | None] = []
    while nodes.at < nodes.end:
        if len(found) >= tree_math.width(MAX_LEAVES):
            raise FollowError(FollowReason.TOO_LARGE, limit=MAX_LEAVES)
        found.append(_read_node(nodes, len(found) % 2 == 0) if nodes.optional() else None)
    return found


def _read_node(reader: Reader, even: bool) -> Node:
    kind = reader.u8()
    if kind != (_LEAF if even else _PARENT):
        raise FollowError(FollowReason.NODE_KIND)
    if even:
        return read_leaf_node(reader)
    key, above = reader.opaque(1), reader.opaque(0, max(HASH_SIZES))
    unmerged = reader.items(Reader.u32)
    if any(after <= before for before, after in pairwise(unmerged)):
        raise FollowError(FollowReason.UNMERGED_LEAVES)
    return ParentNode(key, above, unmerged)


def encode_leaf(leaf: LeafNode) -> bytes:
    """A leaf node as it was read."""
    return Writer().raw(leaf.content).opaque(leaf.signature).done()


def encode_parent(node: ParentNode) -> bytes:
    """A parent node (section 7.1)."""
    unmerged = Writer()
    for leaf in node.unmerged:
        unmerged.u32(leaf)
    return Writer().opaque(node.encryption_key).opaque(node.parent_hash).opaque(unmerged.done()).done()


def _leaf_input(index: int, leaf: LeafNode | None) -> bytes:
    out = Writer().u8(_LEAF).u32(index).u8(leaf is not None)
    return (out.raw(encode_leaf(leaf)) if leaf is not None else out).done()


def _parent_input(held: ParentNode | None, left: bytes, right: bytes) -> bytes:
    out = Writer().u8(_PARENT).u8(held is not None)
    if held is not None:
        out.raw(encode_parent(held))
    return out.opaque(left).opaque(right).done()


def _hash(suite: CipherSuite, content: bytes) -> bytes:
    return hashlib.new(SIZES[suite].hash_name, content).digest()
