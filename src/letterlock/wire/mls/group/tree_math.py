"""Indexes of a ratchet tree kept as an array (RFC 9420, section 4.1 and appendix C).

The tree is always full: ``leaves`` is a power of two, leaves stand at the even indexes, parents at the odd ones.
"""


def width(leaves: int) -> int:
    """Nodes of a tree of so many leaves."""
    return 2 * leaves - 1


def root(leaves: int) -> int:
    """The index of the root."""
    return leaves - 1


def level(node: int) -> int:
    """0 for a leaf, one more for each step up."""
    return (node ^ (node + 1)).bit_length() - 1


def left(node: int) -> int:
    """The left child of a parent node."""
    return node ^ (1 << (level(node) - 1))


def right(node: int) -> int:
    """The right child of a parent node."""
    return node ^ (3 << (level(node) - 1))


def parent(node: int) -> int:
    """The parent of a node that is not the root."""
    height = level(node)
    return (node | 1 << height) & ~(2 << height)


def sibling(node: int) -> int:
    """The other child of the same parent."""
    return node ^ (2 << level(node))


def direct_path(node: int, top: int) -> list[int]:
    """The ancestors from the parent up to ``top``."""
    path: list[int] = []
    while node != top:
        node = parent(node)
        path.append(node)
    return path


def leaf_range(node: int) -> tuple[int, int]:
    """The leaf indexes below a node: the first, and the one after the last."""
    reach = (1 << level(node)) - 1
    return (node - reach) // 2, (node + reach) // 2 + 1
