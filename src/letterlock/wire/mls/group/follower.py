"""The public state of one MLS group, followed from commit to commit without any key (RFC 9420).

:func:`anchor` takes a GroupInfo and its tree; :meth:`PublicGroup.follow` takes a commit and gives the next value, or
raises and leaves the old one as it is. Whoever runs this knows the roster, and that each step was signed by a member
and is what RFC 9420 permits. It does **not** know that the members could follow the step, for what needs a secret
stays unchecked here:

* the confirmation tag and the membership tag, so a member can sign a commit that the others refuse;
* the path secrets sealed in a path: they are counted, never opened;
* pre-shared keys, ``external_pub`` and whatever lies in a Welcome;
* PrivateMessage: a private proposal or commit is the finding PRIVATE_HANDSHAKE, after which only a new anchor helps.

Nor does it say anything about an application message; that is for the grade's rule.

Suites 1 and 2 are followed. The parts that only hash (trees, parent hashes, transcript hashes) work for all seven and
are tested so. Of the official vectors, those of key schedules, secret trees, message protection and decryption do not
apply, nor do the private halves of treekem and of the passive clients.

What MLS permits and this follower does not: external commits, ReInit, proposals of unknown types, and (RCC.16) a
commit that gives, takes or changes an era. They are typed
findings; :func:`reanchor` goes on behind them and keeps the gap on record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from letterlock.wire.mls.group.commit import Sent, Setting, apply, check_list, check_proposal, needs_path
from letterlock.wire.mls.group.errors import FollowError, FollowReason
from letterlock.wire.mls.group.reading import END_MLS, external_key, read_era, read_handshake, read_info
from letterlock.wire.mls.group.rules import FOREVER_S, CredentialRule, check_leaf, check_tree, requirements, signed
from letterlock.wire.mls.group.transcript import (
    confirmed_transcript_hash,
    interim_transcript_hash,
    proposal_ref,
    signed_content,
)
from letterlock.wire.mls.group.tree import RATCHET_TREE, RatchetTree, parse_tree
from letterlock.wire.mls.proposals import Add, Commit, Proposal, ProposalReference
from letterlock.wire.mls.public import PublicMessage, Sender, SenderKind
from letterlock.wire.mls.structures import Credential, GroupContext
from letterlock.wire.mls.suites import CipherSuite
from letterlock.wire.mls.welcome import GroupInfo

FOLLOWED: Final = frozenset({CipherSuite.X25519_AES128_SHA256_ED25519, CipherSuite.P256_AES128_SHA256_P256})
"""The suites that our own clients and RCC.16 use."""
MAX_WAITING: Final = 256
"""Proposals kept for the epoch's commit: more than a group can need, and bounded for whoever floods it."""
MAX_WAITING_BYTES: Final = 1 << 20
"""Their bytes together: key packages of a whole group at once."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch that was not followed: the last epoch known before it, and the first one known after it."""

    after: int
    resumed: int


@dataclass(frozen=True, slots=True, repr=False)
class RosterEntry:
    """One member."""

    leaf: int
    signature_key: bytes
    credential: Credential


@dataclass(frozen=True, slots=True, repr=False)
class Waiting:
    """A proposal that was sent by itself, with its bytes: they are what is stored."""

    sent: Sent
    message: bytes


@dataclass(frozen=True, slots=True, repr=False)
class PublicGroup:
    """A group's public state at one epoch. Each step makes a new value.

    Attributes:
        context: the GroupContext.
        tree: the ratchet tree, to which ``context.tree_hash`` belongs.
        interim: the interim transcript hash, which the next commit builds on.
        until: by leaf index, until when the leaf and its credential hold, in seconds since 1970 UTC.
        waiting: proposals of this epoch that a commit may refer to, by their reference.
        anchored: the epoch of the GroupInfo that following began with.
        gaps: how many stretches were not followed.
        last_gap: the last of them.
    """

    context: GroupContext
    tree: RatchetTree
    interim: bytes
    until: Mapping[int, int]
    waiting: Mapping[bytes, Waiting]
    anchored: int
    gaps: int = 0
    last_gap: Gap | None = None

    def __repr__(self) -> str:
        return f"<PublicGroup epoch {self.context.epoch}>"

    @property
    def suite(self) -> CipherSuite:
        """The group's cipher suite."""
        return self.tree.suite

    @property
    def group_id(self) -> bytes:
        """The group's id."""
        return self.context.group_id

    @property
    def epoch(self) -> int:
        """The epoch."""
        return self.context.epoch

    @property
    def fingerprint(self) -> bytes:
        """The confirmed transcript hash: equal for two who saw the same history. Empty at epoch 0."""
        return self.context.confirmed_transcript_hash

    @property
    def ended(self) -> bool:
        """The group's extensions say that it takes no more encrypted messages (RCC.16)."""
        return any(extension.kind == END_MLS for extension in self.context.extensions)

    @property
    def era(self) -> int | None:
        """The group's era (RCC.16): the same in all its epochs. None for a group of another kind."""
        return read_era(self.context.extensions)

    @property
    def good_until(self) -> int:
        """Until when every member's leaf and credential hold, in seconds since 1970 UTC."""
        return min(self.until.values())

    def roster(self) -> tuple[RosterEntry, ...]:
        """The members, by leaf index."""
        return tuple(RosterEntry(index, leaf.signature_key, leaf.credential) for index, leaf in self.tree.members())

    def expired(self, now_s: int) -> tuple[int, ...]:
        """The leaf indexes of members whose leaf or credential holds no longer."""
        return tuple(leaf for leaf, until in sorted(self.until.items()) if until < now_s)

    def recheck(self, rule: CredentialRule, now_s: int) -> "PublicGroup":
        """All leaves under the rule as it is today: device lists and certificates change without a commit.

        Raises:
            FollowError: the first leaf that does not hold.
        """
        return replace(self, until=_check_leaves(self.context, self.tree, rule, now_s))

    def propose(self, message: bytes, rule: CredentialRule, now_s: int) -> "PublicGroup":
        """Takes a proposal in public framing, to which a commit of this epoch may refer.

        Args:
            message: MLSMessage.
            rule: who may be in the group.
            now_s: seconds since 1970 UTC.

        Raises:
            FollowError: see :class:`FollowReason`.
        """
        handshake = read_handshake(message)
        body = handshake.body
        if isinstance(body, Commit):
            raise FollowError(FollowReason.MALFORMED)
        self._check_sender(handshake)
        sent = Sent(body, handshake.sender)
        check_proposal(sent, self.tree, self._setting(rule, now_s))
        ref = proposal_ref(self.suite, handshake)
        waiting = {**self.waiting, ref: Waiting(sent, bytes(message))}
        if len(waiting) > MAX_WAITING or sum(len(one.message) for one in waiting.values()) > MAX_WAITING_BYTES:
            raise FollowError(FollowReason.TOO_LARGE, limit=MAX_WAITING)
        return replace(self, waiting=waiting)

    def follow(self, message: bytes, rule: CredentialRule, now_s: int, *, late_s: int = 0) -> "PublicGroup":
        """Takes the commit that ends this epoch.

        Args:
            message: MLSMessage.
            rule: who may be in the group.
            now_s: seconds since 1970 UTC.
            late_s: how long the commit may have waited on its way; a lifetime may be over as long.

        Returns:
            the state of the next epoch.

        Raises:
            FollowError: see :class:`FollowReason`.
        """
        handshake = read_handshake(message)
        commit = handshake.body
        if not isinstance(commit, Commit):
            raise FollowError(FollowReason.MALFORMED)
        committer = self._check_sender(handshake)
        setting = self._setting(rule, now_s, late_s)
        proposals = tuple(self._resolve(one, handshake.sender) for one in commit.proposals)
        check_list(proposals, committer)
        for sent in proposals:
            check_proposal(sent, self.tree, setting)
        if commit.path is None and needs_path(proposals):
            raise FollowError(FollowReason.PATH_MISSING)
        applied = apply(self.tree, proposals, commit.path, committer, setting)
        if read_era(applied.extensions) != self.era:
            raise FollowError(FollowReason.ERA)
        confirmed = confirmed_transcript_hash(self.suite, self.interim, handshake.content, handshake.signature)
        context = replace(
            self.context,
            epoch=self.epoch + 1,
            tree_hash=applied.tree.tree_hash,
            confirmed_transcript_hash=confirmed,
            extensions=applied.extensions,
        )
        kept = {leaf: until for leaf, until in self.until.items() if leaf not in applied.removed}
        return replace(
            self,
            context=context,
            tree=applied.tree,
            interim=interim_transcript_hash(self.suite, confirmed, handshake.confirmation_tag),
            until=kept | applied.until,
            waiting={},
        )

    def agrees(self, group_info: bytes) -> None:
        """A GroupInfo of this epoch tells this very state, and a member signed it.

        Raises:
            FollowError: MALFORMED, WRONG_GROUP, WRONG_EPOCH, SIGNER, GROUP_INFO_SIGNATURE, FORK.
        """
        info = read_info(group_info)
        if info.context.group_id != self.group_id:
            raise FollowError(FollowReason.WRONG_GROUP)
        if info.context.epoch != self.epoch:
            raise FollowError(FollowReason.WRONG_EPOCH, own=self.epoch, shown=info.context.epoch)
        _check_info_signature(info, self.tree)
        interim = interim_transcript_hash(self.suite, info.context.confirmed_transcript_hash, info.confirmation_tag)
        if info.context != self.context or interim != self.interim:
            raise FollowError(FollowReason.FORK)

    def _setting(self, rule: CredentialRule, now_s: int, late_s: int = 0) -> Setting:
        return Setting(self.suite, self.group_id, self.context.extensions, rule, now_s, late_s)

    def _check_sender(self, handshake: PublicMessage) -> int:
        """Group, epoch, sender and signature; the sender's leaf index, or -1 for one who is outside."""
        if handshake.group_id != self.group_id:
            raise FollowError(FollowReason.WRONG_GROUP)
        if handshake.epoch != self.epoch:
            raise FollowError(FollowReason.WRONG_EPOCH, own=self.epoch, shown=handshake.epoch)
        sender = handshake.sender
        leaf = -1
        key: bytes | None = None
        match sender.kind:
            case SenderKind.NEW_MEMBER_COMMIT:
                raise FollowError(FollowReason.EXTERNAL_COMMIT)
            case SenderKind.MEMBER:
                assert sender.index is not None, "the parser reads an index for a member"
                leaf = sender.index
                held = self.tree.leaf(leaf)
                key = None if held is None else held.signature_key
            case SenderKind.EXTERNAL:
                assert sender.index is not None, "the parser reads an index for an external sender"
                key = external_key(self.context.extensions, sender.index)
            case SenderKind.NEW_MEMBER_PROPOSAL:
                assert isinstance(handshake.body, Add), "the parser lets somebody new send an Add alone"
                key = handshake.body.key_package.leaf.signature_key
        if key is None:
            raise FollowError(FollowReason.SENDER)
        content = signed_content(handshake, self.context)
        if not signed(self.suite, key, b"FramedContentTBS", content, handshake.signature):
            raise FollowError(FollowReason.SIGNATURE)
        return leaf

    def _resolve(self, one: Proposal | ProposalReference, sender: Sender) -> Sent:
        if not isinstance(one, ProposalReference):
            return Sent(one, sender)
        held = self.waiting.get(one.ref)
        if held is None:
            raise FollowError(FollowReason.PROPOSAL_UNKNOWN)
        return held.sent


def anchor(group_info: bytes, rule: CredentialRule, now_s: int, *, tree: bytes | None = None) -> PublicGroup:
    """Begins to follow a group: from a GroupInfo that a member signed, with its tree.

    That the state is the group's own, and not one that its signer made up, cannot be seen from it: an anchor is
    believed as far as the signer's leaf is, and as far as later commits of others build on it.

    Args:
        group_info: MLSMessage.
        rule: who may be in the group.
        now_s: seconds since 1970 UTC.
        tree: the ratchet_tree extension's data, where the GroupInfo does not carry it.

    Raises:
        FollowError: see :class:`FollowReason`.
    """
    info = read_info(group_info)
    context = info.context
    read_era(context.extensions)
    found = _tree_of(info, tree)
    check_tree(found)
    until = _check_leaves(context, found, rule, now_s)
    interim = interim_transcript_hash(found.suite, context.confirmed_transcript_hash, info.confirmation_tag)
    return PublicGroup(context, found, interim, until, {}, context.epoch)


def own_state(group_info: bytes) -> PublicGroup:
    """The state that a member's own engine tells of itself.

    Hashes and the signature are compared. Each leaf was judged when it came in, so none is judged again.

    Args:
        group_info: MLSMessage, with its tree.

    Raises:
        FollowError: MALFORMED, SUITE, NO_TREE, TREE_HASH, SIGNER, GROUP_INFO_SIGNATURE, or what a tree is refused for.
    """
    info = read_info(group_info)
    found = _tree_of(info, None)
    until = {index: FOREVER_S if one.lifetime is None else one.lifetime[1] for index, one in found.members()}
    interim = interim_transcript_hash(found.suite, info.context.confirmed_transcript_hash, info.confirmation_tag)
    return PublicGroup(info.context, found, interim, until, {}, info.context.epoch)


def reanchor(
    before: PublicGroup, group_info: bytes, rule: CredentialRule, now_s: int, *, tree: bytes | None = None
) -> PublicGroup:
    """Goes on after something that could not be followed, and keeps on record that it was not.

    Args:
        before: the last state that was followed.
        group_info: MLSMessage, of the same group and a later epoch.
        rule: who may be in the group.
        now_s: seconds since 1970 UTC.
        tree: see :func:`anchor`.

    Raises:
        FollowError: NOT_LATER, WRONG_GROUP, SUITE, ERA, or what :func:`anchor` says.
    """
    after = anchor(group_info, rule, now_s, tree=tree)
    if after.group_id != before.group_id:
        raise FollowError(FollowReason.WRONG_GROUP)
    if after.suite is not before.suite:
        raise FollowError(FollowReason.SUITE, suite=int(after.suite))
    if after.era != before.era:
        raise FollowError(FollowReason.ERA)
    if after.epoch <= before.epoch:
        raise FollowError(FollowReason.NOT_LATER, own=before.epoch, shown=after.epoch)
    return replace(after, gaps=before.gaps + 1, last_gap=Gap(before.epoch, after.epoch))


def _tree_of(info: GroupInfo, beside: bytes | None) -> RatchetTree:
    """The tree that a GroupInfo tells, signed by one of its leaves."""
    context = info.context
    if context.suite not in FOLLOWED:
        raise FollowError(FollowReason.SUITE, suite=context.suite)
    carried = next((one.data for one in info.extensions if one.kind == RATCHET_TREE), beside)
    if carried is None:
        raise FollowError(FollowReason.NO_TREE)
    found = parse_tree(CipherSuite(context.suite), carried)
    if found.tree_hash != context.tree_hash:
        raise FollowError(FollowReason.TREE_HASH)
    _check_info_signature(info, found)
    return found


def _check_leaves(context: GroupContext, tree: RatchetTree, rule: CredentialRule, now_s: int) -> dict[int, int]:
    needed = requirements(context.extensions)
    return {
        index: check_leaf(tree.suite, leaf, context.group_id, index, needed, rule, now_s)
        for index, leaf in tree.members()
    }


def _check_info_signature(info: GroupInfo, tree: RatchetTree) -> None:
    signer = tree.leaf(info.signer)
    if signer is None:
        raise FollowError(FollowReason.SIGNER)
    if not signed(tree.suite, signer.signature_key, b"GroupInfoTBS", info.content, info.signature):
        raise FollowError(FollowReason.GROUP_INFO_SIGNATURE)
