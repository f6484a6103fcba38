"""What makes a leaf and a tree valid (RFC 9420, sections 7.3, 10.1 and 12.4.3.1)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from letterlock.wire.mls.codec import Reader, Writer
from letterlock.wire.mls.errors import FramingError, SignatureError
from letterlock.wire.mls.group import tree_math
from letterlock.wire.mls.group.errors import CredentialError, FollowError, FollowReason
from letterlock.wire.mls.group.parent_hash import check_parent_hashes
from letterlock.wire.mls.group.tree import RatchetTree
from letterlock.wire.mls.signatures import check_signature
from letterlock.wire.mls.structures import Extension, KeyPackage, LeafNode, LeafSource
from letterlock.wire.mls.suites import SIZES, CipherSuite

REQUIRED_CAPABILITIES: Final = 3
EXTERNAL_SENDERS: Final = 5
_KNOWN_EXTENSIONS: Final = frozenset({1, 2, 3, 4, 5})
"""Extensions of RFC 9420 itself: nobody lists them in their capabilities (section 7.2)."""
_KNOWN_PROPOSALS: Final = frozenset(range(1, 8))
CLOCK_LEEWAY_S: Final = 3600
"""How far in the future a lifetime may begin: devices date their key packages by clocks of their own."""
FOREVER_S: Final = (1 << 64) - 1
"""The end of a lifetime that has none: the largest time MLS can write."""


class CredentialRule(Protocol):
    """Who may be in a group: the application's part (RFC 9420, section 5.3.1)."""

    def check(self, leaf: LeafNode, now_s: int) -> int:
        """Until when the leaf's credential holds, in seconds since 1970 UTC.

        Raises:
            CredentialError: it does not hold.
        """
        ...


@dataclass(frozen=True, slots=True, repr=False)
class Requirements:
    """What every leaf of a group must be able to do.

    Attributes:
        extensions: extension types, of required_capabilities and of the group's own extensions.
        proposals: proposal types.
        credentials: credential types.
    """

    extensions: frozenset[int]
    proposals: frozenset[int]
    credentials: frozenset[int]


def requirements(extensions: tuple[Extension, ...]) -> Requirements:
    """What a GroupContext's extensions demand (sections 7.2 and 11.1).

    Raises:
        FollowError: MALFORMED.
    """
    in_use = {extension.kind for extension in extensions}
    proposals: set[int] = set()
    credentials: set[int] = set()
    data = next((one.data for one in extensions if one.kind == REQUIRED_CAPABILITIES), None)
    if data is not None:
        lists = _three_lists(data)
        if lists is None:
            raise FollowError(FollowReason.MALFORMED)
        in_use |= set(lists[0])
        proposals |= set(lists[1])
        credentials |= set(lists[2])
    return Requirements(
        frozenset(in_use - _KNOWN_EXTENSIONS), frozenset(proposals - _KNOWN_PROPOSALS), frozenset(credentials)
    )


def _three_lists(data: bytes) -> tuple[tuple[int, ...], ...] | None:
    reader = Reader(data)
    try:
        lists = tuple(reader.items(Reader.u16) for _ in range(3))
        reader.finish()
    except FramingError:
        return None
    return lists


def check_leaf(
    suite: CipherSuite,
    leaf: LeafNode,
    group_id: bytes,
    index: int,
    needed: Requirements,
    rule: CredentialRule,
    now_s: int,
    late_s: int = 0,
) -> int:
    """A leaf by itself, at its place (section 7.3).

    Args:
        suite: the group's.
        leaf: the leaf.
        group_id: the group's, which the signature covers unless the leaf is a key package's.
        index: its leaf index, likewise.
        needed: what the group demands.
        rule: who may be in the group.
        now_s: seconds since 1970 UTC.
        late_s: how much earlier those who sent the leaf may have taken it: its lifetime may be over as long.

    Returns:
        until when it holds, in seconds since 1970 UTC.

    Raises:
        FollowError: KEY_SIZE, LEAF_SIGNATURE, LIFETIME, CAPABILITIES, CREDENTIAL.
    """
    sizes = SIZES[suite]
    if len(leaf.encryption_key) != sizes.hpke_key or len(leaf.signature_key) != sizes.signature_key:
        raise FollowError(FollowReason.KEY_SIZE, leaf=index)
    content = leaf.content
    if leaf.source is not LeafSource.KEY_PACKAGE:
        content = Writer().raw(content).opaque(group_id).u32(index).done()
    if not signed(suite, leaf.signature_key, b"LeafNodeTBS", content, leaf.signature):
        raise FollowError(FollowReason.LEAF_SIGNATURE, leaf=index)
    until = FOREVER_S
    if leaf.lifetime is not None:
        since, until = leaf.lifetime
        if not since - CLOCK_LEEWAY_S <= now_s <= until + late_s:
            raise FollowError(FollowReason.LIFETIME, leaf=index)
    check_capabilities(leaf, index, needed)
    return min(until, _credential(leaf, index, rule, now_s))


def check_capabilities(leaf: LeafNode, index: int, needed: Requirements) -> None:
    """A leaf says that it can do what it uses itself and what the group needs.

    Raises:
        FollowError: CAPABILITIES.
    """
    can = leaf.capabilities
    own = {extension.kind for extension in leaf.extensions} - _KNOWN_EXTENSIONS
    if (
        not own <= set(can.extensions)
        or not needed.extensions <= set(can.extensions)
        or not needed.proposals <= set(can.proposals)
        or not needed.credentials <= set(can.credentials)
        or leaf.credential.kind not in can.credentials
    ):
        raise FollowError(FollowReason.CAPABILITIES, leaf=index)


def _credential(leaf: LeafNode, index: int, rule: CredentialRule, now_s: int) -> int:
    refused: CredentialError | None = None
    until = 0
    try:
        until = rule.check(leaf, now_s)
    except CredentialError as error:
        refused = error
    if refused is not None:
        raise FollowError(FollowReason.CREDENTIAL, leaf=index, credential=refused.reason)
    return until


def signed(suite: CipherSuite, key: bytes, label: bytes, content: bytes, signature: bytes) -> bool:
    """Whether a labelled signature holds; a key that is none counts as no."""
    try:
        check_signature(suite, key, label, content, signature)
    except SignatureError:
        return False
    return True


def check_key_package(suite: CipherSuite, package: KeyPackage) -> None:
    """A key package of an Add (section 10.1), but for its leaf.

    Raises:
        FollowError: KEY_PACKAGE.
    """
    leaf = package.leaf
    if (
        package.suite != suite
        or len(package.init_key) != SIZES[suite].hpke_key
        or package.init_key == leaf.encryption_key
        or not signed(suite, leaf.signature_key, b"KeyPackageTBS", package.content, package.signature)
    ):
        raise FollowError(FollowReason.KEY_PACKAGE)


def check_tree(tree: RatchetTree) -> None:
    """A tree as it is handed to somebody who joins: unmerged leaves, keys, parent hashes (section 12.4.3.1).

    Raises:
        FollowError: UNMERGED_LEAVES, DUPLICATE_KEY, PARENT_HASH, CAPABILITIES.
    """
    check_unmerged(tree)
    check_together(tree)
    check_parent_hashes(tree)


def check_together(tree: RatchetTree) -> None:
    """What leaves must be to each other: keys of their own, and credentials that all understand.

    Raises:
        FollowError: DUPLICATE_KEY, CAPABILITIES.
    """
    _unique(node.encryption_key for node in tree.nodes if node is not None)
    leaves = [leaf for _, leaf in tree.members()]
    _unique(leaf.signature_key for leaf in leaves)
    in_use = {int(leaf.credential.kind) for leaf in leaves}
    for index, leaf in tree.members():
        if not in_use <= set(leaf.capabilities.credentials):
            raise FollowError(FollowReason.CAPABILITIES, leaf=index)


def _unique(keys: Iterable[bytes]) -> None:
    seen: set[bytes] = set()
    for key in keys:
        if key in seen:
            raise FollowError(FollowReason.DUPLICATE_KEY)
        seen.add(key)


def check_unmerged(tree: RatchetTree) -> None:
    """Each unmerged leaf is a member below its node, and known to every parent node between.

    Raises:
        FollowError: UNMERGED_LEAVES.
    """
    for index in range(1, len(tree.nodes), 2):
        node = tree.parent(index)
        if node is None:
            continue
        first, last = tree_math.leaf_range(index)
        for leaf in node.unmerged:
            if not first <= leaf < last or tree.leaf(leaf) is None:
                raise FollowError(FollowReason.UNMERGED_LEAVES)
            for between in tree_math.direct_path(2 * leaf, index)[:-1]:
                held = tree.parent(between)
                if held is not None and leaf not in held.unmerged:
                    raise FollowError(FollowReason.UNMERGED_LEAVES)
