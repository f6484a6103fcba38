"""Parent hashes (RFC 9420, section 7.9): made along a path, and checked for a whole tree."""

import hashlib

from letterlock.wire.mls.codec import Writer
from letterlock.wire.mls.group import tree_math
from letterlock.wire.mls.group.errors import FollowError, FollowReason
from letterlock.wire.mls.group.tree import ParentNode, RatchetTree
from letterlock.wire.mls.structures import LeafNode
from letterlock.wire.mls.suites import SIZES, CipherSuite


def parent_hash(suite: CipherSuite, node: ParentNode, sibling_hash: bytes) -> bytes:
    """``ParentHashInput``, hashed: of a parent node and the original tree hash of the child off the path."""
    content = Writer().opaque(node.encryption_key).opaque(node.parent_hash).opaque(sibling_hash).done()
    return hashlib.new(SIZES[suite].hash_name, content).digest()


def check_parent_hashes(tree: RatchetTree) -> None:
    """Every parent node that is not blank was made by a path of a leaf that is still below it (section 7.9.2).

    Raises:
        FollowError: PARENT_HASH.
    """
    resolutions = _resolutions(tree)
    for index in range(1, len(tree.nodes), 2):
        node = tree.parent(index)
        if node is None:
            continue
        left, right = tree_math.left(index), tree_math.right(index)
        if not any(_made_from(tree, node, *sides, resolutions) for sides in ((left, right), (right, left))):
            raise FollowError(FollowReason.PARENT_HASH)


def _made_from(tree: RatchetTree, node: ParentNode, child: int, other: int, resolutions: list[list[int]]) -> bool:
    """Whether the path that made ``node`` came up through ``child``."""
    unmerged = frozenset(node.unmerged)
    # All of the child's resolution came after the path, but for the one node below that the path made too.
    makers = [at for at in resolutions[child] if at % 2 or at // 2 not in unmerged]
    first, last = tree_math.leaf_range(child)
    came_later = sum(1 for leaf in unmerged if first <= leaf < last)
    if len(makers) != 1 or len(resolutions[child]) != came_later + 1:
        return False
    maker = tree.nodes[makers[0]]
    carried = maker.parent_hash if isinstance(maker, LeafNode | ParentNode) else b""
    return carried == parent_hash(tree.suite, node, tree.hash_without(other, unmerged))


def _resolutions(tree: RatchetTree) -> list[list[int]]:
    """Of every node: children before parents, so that each is joined from two known ones."""
    found: list[list[int]] = [[] for _ in tree.nodes]
    for index in sorted(range(len(tree.nodes)), key=tree_math.level):
        held = tree.nodes[index]
        if isinstance(held, ParentNode):
            found[index] = [index, *(2 * leaf for leaf in held.unmerged)]
        elif held is not None:
            found[index] = [index]
        elif index % 2:
            found[index] = found[tree_math.left(index)] + found[tree_math.right(index)]
    return found
