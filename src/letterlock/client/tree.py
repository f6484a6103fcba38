"""The leaves of a ratchet tree (RFC 9420, section 12.4.3.3), read from a GroupInfo that an engine exports."""

from dataclasses import dataclass, field
from typing import Final

from letterlock.wire.mls import FramingError, FramingReason, parse_group_info
from letterlock.wire.mls.codec import Reader
from letterlock.wire.mls.structures import LeafNode, LeafSource, read_leaf_node

RATCHET_TREE: Final = 2
"""The extension type (RFC 9420, section 17.3)."""
_LEAF: Final = 1
_PARENT: Final = 2


@dataclass(frozen=True, slots=True)
class TreeLeaf:
    """One occupied leaf: what it signs with, and who its basic credential says it is."""

    leaf: int
    signature_key: bytes = field(repr=False)
    identity: bytes = field(repr=False)
    lifetime: tuple[int, int] | None


def leaves(group_info: bytes) -> tuple[TreeLeaf, ...]:
    """The occupied leaves, by index.

    Args:
        group_info: MLSMessage with a GroupInfo that carries its tree.

    Raises:
        FramingError: malformed, or without a tree.
    """
    extensions = parse_group_info(group_info).extensions
    data = next((extension.data for extension in extensions if extension.kind == RATCHET_TREE), None)
    if data is None:
        raise FramingError(FramingReason.UNKNOWN_VALUE)
    outer = Reader(data)
    nodes = outer.vector()
    outer.finish()
    found: list[TreeLeaf] = []
    index = 0
    while nodes.at < nodes.end:
        # Leaves stand at the even places of the array (RFC 9420, appendix C).
        node = _node(nodes, index % 2 == 0) if nodes.optional() else None
        if node is not None:
            found.append(TreeLeaf(index // 2, node.signature_key, node.credential.identity, node.lifetime))
        index += 1
    return tuple(found)


def _node(reader: Reader, even: bool) -> LeafNode | None:
    offset = reader.at
    kind = reader.u8()
    if kind == _LEAF and even:
        return _leaf(reader)
    if kind == _PARENT and not even:
        reader.opaque(1)
        reader.opaque()
        reader.items(Reader.u32)
        return None
    raise FramingError(FramingReason.UNKNOWN_VALUE, offset=offset)


def _leaf(reader: Reader) -> LeafNode:
    start = reader.at
    for source in LeafSource:
        reader.at = start
        try:
            return read_leaf_node(reader, source)
        except FramingError as error:
            if error.reason is not FramingReason.WRONG_LEAF_SOURCE:
                raise
    raise FramingError(FramingReason.WRONG_LEAF_SOURCE, offset=start)
