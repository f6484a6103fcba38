"""What a commit does to a tree: rules for proposals, their order, the path (RFC 9420, sections 7.5 and 12.1-12.4)."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from letterlock.wire.mls.group import tree_math
from letterlock.wire.mls.group.errors import FollowError, FollowReason
from letterlock.wire.mls.group.parent_hash import parent_hash
from letterlock.wire.mls.group.rules import (
    CredentialRule,
    Requirements,
    check_capabilities,
    check_key_package,
    check_leaf,
    check_together,
    requirements,
)
from letterlock.wire.mls.group.tree import ParentNode, RatchetTree
from letterlock.wire.mls.proposals import (
    APPLICATION_USE,
    Add,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    PskKind,
    ReInit,
    Remove,
    Update,
)
from letterlock.wire.mls.public import Sender, SenderKind
from letterlock.wire.mls.structures import Extension, UpdatePath
from letterlock.wire.mls.suites import SIZES, CipherSuite

_EXTERNAL_MAY: Final = (Add, Remove, PreSharedKey, ReInit, GroupContextExtensions)
"""What an external sender may propose (section 12.1.8.1)."""
_NEED_NO_PATH: Final = (Add, PreSharedKey, ReInit)
"""A commit of these alone may come without a path (section 17.4)."""


@dataclass(frozen=True, slots=True, repr=False)
class Sent:
    """A proposal and who made it."""

    proposal: Proposal
    sender: Sender


@dataclass(frozen=True, slots=True, repr=False)
class Setting:
    """What leaves are judged by.

    Attributes:
        suite: the group's.
        group_id: likewise.
        extensions: the group's, before the commit.
        rule: who may be in the group.
        now_s: seconds since 1970 UTC.
        late_s: see :func:`letterlock.wire.mls.group.rules.check_leaf`.
    """

    suite: CipherSuite
    group_id: bytes
    extensions: tuple[Extension, ...]
    rule: CredentialRule
    now_s: int
    late_s: int = 0


@dataclass(slots=True, repr=False)
class Applied:
    """A tree after a commit.

    Attributes:
        tree: the new one.
        extensions: the group's from now on.
        until: by leaf index, until when leaves hold that are new or changed.
        added: leaf indexes of new members.
        removed: leaf indexes of removed ones.
    """

    tree: RatchetTree
    extensions: tuple[Extension, ...]
    until: dict[int, int] = field(default_factory=dict[int, int])
    added: list[int] = field(default_factory=list[int])
    removed: list[int] = field(default_factory=list[int])


def check_proposal(sent: Sent, tree: RatchetTree, setting: Setting) -> None:
    """One proposal by itself (section 12.1): whether this sender may make it, and about whom.

    Raises:
        FollowError: PROPOSAL_ALLOWED, PROPOSAL_TARGET, KEY_PACKAGE, PSK, or what :func:`check_leaf` says.
    """
    proposal, sender = sent.proposal, sent.sender
    if sender.kind is SenderKind.EXTERNAL and not isinstance(proposal, _EXTERNAL_MAY):
        raise FollowError(FollowReason.PROPOSAL_ALLOWED)
    match proposal:
        case Add():
            check_key_package(setting.suite, proposal.key_package)
        case Update():
            if sender.index is None or tree.leaf(sender.index) is None:
                raise FollowError(FollowReason.PROPOSAL_TARGET)
        case Remove():
            if tree.leaf(proposal.removed) is None:
                raise FollowError(FollowReason.PROPOSAL_TARGET, leaf=proposal.removed)
        case PreSharedKey():
            wrong_use = proposal.kind is PskKind.RESUMPTION and proposal.usage != APPLICATION_USE
            if wrong_use or len(proposal.nonce) != SIZES[setting.suite].hash_size:
                raise FollowError(FollowReason.PSK)
        case ExternalInit():
            raise FollowError(FollowReason.PROPOSAL_ALLOWED)
        case GroupContextExtensions() | ReInit():
            pass


def check_list(proposals: tuple[Sent, ...], committer: int) -> None:
    """The proposals of a regular commit together (section 12.2), as far as no tree is needed.

    Raises:
        FollowError: PROPOSAL_ALLOWED, PROPOSAL_TARGET, PROPOSAL_DUPLICATE, REINIT.
    """
    touched: set[int] = set()
    joining: set[bytes] = set()
    shared: set[PreSharedKey] = set()
    contexts = 0
    for sent in proposals:
        match sent.proposal:
            case Update():
                assert sent.sender.index is not None, "only members may update"
                _once(touched, sent.sender.index, committer)
            case Remove(removed):
                _once(touched, removed, committer)
            case Add(key_package):
                if key_package.leaf.signature_key in joining:
                    raise FollowError(FollowReason.PROPOSAL_DUPLICATE)
                joining.add(key_package.leaf.signature_key)
            case PreSharedKey() as psk:
                if psk in shared:
                    raise FollowError(FollowReason.PROPOSAL_DUPLICATE)
                shared.add(psk)
            case GroupContextExtensions():
                contexts += 1
                if contexts > 1:
                    raise FollowError(FollowReason.PROPOSAL_DUPLICATE)
            case ReInit():
                # Whether alone, as it must be, or not: a group that ends is not followed to its end.
                raise FollowError(FollowReason.REINIT)
            case ExternalInit():
                raise FollowError(FollowReason.PROPOSAL_ALLOWED)


def _once(touched: set[int], leaf: int, committer: int) -> None:
    if leaf == committer or leaf in touched:
        raise FollowError(FollowReason.PROPOSAL_TARGET, leaf=leaf)
    touched.add(leaf)


def needs_path(proposals: Iterable[Sent]) -> bool:
    """Whether a commit of these must have a path (section 12.4)."""
    kinds = [sent.proposal for sent in proposals]
    return not kinds or any(not isinstance(kind, _NEED_NO_PATH) for kind in kinds)


def apply(
    tree: RatchetTree, proposals: tuple[Sent, ...], path: UpdatePath | None, committer: int, setting: Setting
) -> Applied:
    """Proposals in the order of section 12.3, then the path.

    Raises:
        FollowError: a leaf, a key or the path is not valid, or the tree would be too large.
    """
    extensions = next(
        (one.proposal.extensions for one in proposals if isinstance(one.proposal, GroupContextExtensions)), None
    )
    now = setting if extensions is None else replace(setting, extensions=extensions)
    needed = requirements(now.extensions)
    applied = _apply_proposals(tree, proposals, now, needed)
    if path is not None:
        before = tree.leaf(committer)
        assert before is not None, "the caller found the committer in the tree"
        applied.tree = merge_path(applied.tree, path, committer, frozenset(applied.added))
        applied.until[committer] = check_leaf(
            now.suite, path.leaf, now.group_id, committer, needed, now.rule, now.now_s
        )
    check_together(applied.tree)
    if extensions is not None:
        for index, leaf in applied.tree.members():
            check_capabilities(leaf, index, needed)
    return applied


def _apply_proposals(tree: RatchetTree, proposals: tuple[Sent, ...], now: Setting, needed: Requirements) -> Applied:
    editor = tree.edit()
    applied = Applied(tree, now.extensions)
    for sent in proposals:
        if isinstance(sent.proposal, Update):
            index, leaf = sent.sender.index, sent.proposal.leaf
            assert index is not None, "only members may update"
            before = tree.leaf(index)
            if before is not None and before.encryption_key == leaf.encryption_key:
                raise FollowError(FollowReason.DUPLICATE_KEY, leaf=index)
            applied.until[index] = check_leaf(
                now.suite, leaf, now.group_id, index, needed, now.rule, now.now_s, now.late_s
            )
            editor.update(index, leaf)
    for sent in proposals:
        if isinstance(sent.proposal, Remove):
            editor.remove(sent.proposal.removed)
            applied.removed.append(sent.proposal.removed)
    for sent in proposals:
        if isinstance(sent.proposal, Add):
            leaf = sent.proposal.key_package.leaf
            index = editor.add(leaf)
            applied.until[index] = check_leaf(
                now.suite, leaf, now.group_id, index, needed, now.rule, now.now_s, now.late_s
            )
            applied.added.append(index)
    applied.tree = editor.done()
    return applied


def merge_path(tree: RatchetTree, path: UpdatePath, committer: int, added: frozenset[int]) -> RatchetTree:
    """The public part of an UpdatePath put into a tree (section 7.5): keys, parent hashes, the leaf.

    The sealed path secrets are counted and not opened: only members can.

    Args:
        tree: with the commit's proposals applied.
        path: the committer's.
        committer: leaf index.
        added: leaf indexes of members that this commit adds; for them no secret is sealed in the path.

    Raises:
        FollowError: PATH_SHAPE, PATH_KEY, KEY_SIZE, PARENT_HASH.
    """
    filtered = tree.filtered_path(committer)
    if len(path.nodes) != len(filtered):
        raise FollowError(FollowReason.PATH_SHAPE)
    known = {node.encryption_key for node in tree.nodes if node is not None}
    fresh = [path.leaf.encryption_key, *(node.encryption_key for node in path.nodes)]
    if len(set(fresh)) != len(fresh) or not known.isdisjoint(fresh):
        raise FollowError(FollowReason.PATH_KEY)
    if any(len(key) != SIZES[tree.suite].hpke_key for key in fresh):
        raise FollowError(FollowReason.KEY_SIZE)
    editor = tree.edit()
    editor.blank_path(committer)
    above = b""
    # From the top down: each parent hash covers the node above it.
    for place, new in zip(reversed(filtered), reversed(path.nodes), strict=True):
        left, right = tree_math.left(place), tree_math.right(place)
        first, last = tree_math.leaf_range(left)
        other = right if first <= committer < last else left
        sealed_for = [at for at in tree.resolution(other) if at % 2 or at // 2 not in added]
        if len(new.secrets) != len(sealed_for):
            raise FollowError(FollowReason.PATH_SHAPE)
        node = ParentNode(new.encryption_key, above, ())
        editor.put(place, node)
        above = parent_hash(tree.suite, node, tree.hashes[other])
    if path.leaf.parent_hash != above:
        raise FollowError(FollowReason.PARENT_HASH)
    editor.put(2 * committer, path.leaf)
    return editor.done()
