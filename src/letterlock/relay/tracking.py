"""What a commit does to a group's public state, as the relay follows it: grade TRACKED rests on this. Pure.

A group is followed from the first GroupInfo that a commit bundle brings. Its leaves must then be the leaf keys that
signed device lists name for its members, no more and no fewer. What is not as it should be never stops a commit, for
members decide what a group is: it lowers the grade and is recorded. What breaks the chain of states leaves the group
LOST until a member anchors it anew.

A group whose GroupContext has an era is one of RCS clients (GSMA RCC.16): its members show certificates. It is followed
where roots for them are configured, and where none are, it is left alone without a word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from letterlock.assurance.receipts import roster_hash
from letterlock.storage.relay_commands import GroupStanding, PublicState
from letterlock.wire.mls import parse_public_commit
from letterlock.wire.mls.group import (
    CredentialReason,
    CredentialRule,
    FollowError,
    FollowReason,
    ListedKeys,
    PublicGroup,
    Rcc16Certificates,
    Root,
    anchor,
    era_of,
    pack,
    reanchor,
    unpack,
)
from letterlock.wire.tlog.words import FindingCode

_NEVER_MS: Final = 2**63 - 1
"""The end of what has none: what a column holds."""
_NOT_FOLLOWED: Final = frozenset({FollowReason.SUITE, FollowReason.NO_TREE, FollowReason.TOO_LARGE})
"""A first GroupInfo of these is no finding: the group is one that nobody promised to follow."""

_OF_CERTIFICATES: Final = frozenset(CredentialReason) - {
    CredentialReason.KIND,
    CredentialReason.NOT_THE_KEY,
    CredentialReason.NOT_LISTED,
}
"""Why a certificate is refused, and not a leaf's kind or key."""

_RULE: Final = ListedKeys(lambda _: True)
"""A leaf is its own key. Whether lists name it is asked of all leaves together, for that may change and mend."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a bundle shows of the group.

    Attributes:
        base_epoch: of the commit.
        commit: MLSMessage.
        private: it is a PrivateMessage.
        group_info: of the epoch after, or None.
        leaves: by mailbox, the listed leaf keys of the members after the commit.
        committer: the mailbox that it came from.
    """

    base_epoch: int
    commit: bytes
    private: bool
    group_info: bytes | None
    leaves: Mapping[int, bytes]
    committer: int

    def __repr__(self) -> str:
        return f"<Seen epoch {self.base_epoch}>"


@dataclass(frozen=True, slots=True)
class Followed:
    """What came of it: the state to store (None: nothing to follow), and what was noticed."""

    public: PublicState | None
    finding: FindingCode | None


def follow(held: PublicState | None, seen: Seen, now_s: int, roots: tuple[Root, ...] = ()) -> Followed:
    """The group's public state after a commit.

    Args:
        held: what is stored; None for a group that was never followed.
        seen: the bundle.
        now_s: seconds since 1970 UTC.
        roots: of RCS clients' certificates.
    """
    if held is None:
        return _begin(seen, now_s, roots)
    if held.standing is GroupStanding.LOST:
        return Followed(held, None)
    if seen.private:
        return _lose(held, FindingCode.GROUP_UNREADABLE)
    try:
        before = unpack(held.state)
        rule = rule_for(before.era, roots)
        if rule is None:
            return _lose(held, None)
        committer = parse_public_commit(seen.commit).sender.index
        after = before.follow(seen.commit, rule, now_s)
    except FollowError as error:
        return _lose(held, _refused(error))
    signer = None if committer is None else before.tree.leaf(committer)
    if signer is None or signer.signature_key != seen.leaves.get(seen.committer):
        # A member's commit, brought by the session of another device.
        return _lose(held, FindingCode.GROUP_COMMIT_INVALID)
    if seen.group_info is not None:
        try:
            after.agrees(seen.group_info)
        except FollowError:
            return _lose(held, FindingCode.GROUP_FORKED)
    return judge(after, seen.leaves, now_s, held.standing)


def anchor_again(
    held: PublicState | None,
    group_info: bytes,
    leaves: Mapping[int, bytes],
    now_s: int,
    roots: tuple[Root, ...] = (),
) -> tuple[PublicState, FindingCode | None]:
    """A new anchor that a member asks for, behind whatever could not be followed.

    Args:
        held: what is stored.
        group_info: MLSMessage of the head's epoch.
        leaves: by mailbox, the listed leaf keys of the members.
        now_s: seconds since 1970 UTC.
        roots: of RCS clients' certificates.

    Raises:
        FollowError: not an anchor for this group, its leaves are not the members', or its members show certificates
            and there are no roots for them (CREDENTIAL).
    """
    rule = rule_for(era_of(group_info), roots)
    if rule is None:
        raise FollowError(FollowReason.CREDENTIAL)
    if held is None:
        group = anchor(group_info, rule, now_s)
    elif held.standing is GroupStanding.LOST:
        group = reanchor(unpack(held.state), group_info, rule, now_s)
    else:
        group = unpack(held.state)
        group.agrees(group_info)
    judged = judge(group, leaves, now_s, GroupStanding.FOLLOWED)
    assert judged.public is not None, "a judged group has a state"
    if judged.public.standing is not GroupStanding.FOLLOWED:
        raise FollowError(FollowReason.CREDENTIAL)
    again = held is not None and held.standing is GroupStanding.LOST
    return judged.public, FindingCode.GROUP_REANCHORED if again else None


def rule_for(era: int | None, roots: tuple[Root, ...]) -> CredentialRule | None:
    """Who may be in a group with this era; None where nobody here can tell."""
    if era is None:
        return _RULE
    return Rcc16Certificates(roots) if roots else None


def _begin(seen: Seen, now_s: int, roots: tuple[Root, ...]) -> Followed:
    if seen.private or seen.group_info is None:
        return Followed(None, None)
    rule: CredentialRule | None = None
    try:
        rule = rule_for(era_of(seen.group_info), roots)
        if rule is None:
            return Followed(None, None)
        group = anchor(seen.group_info, rule, now_s)
    except FollowError as error:
        # Certificates in a group without an era: neither of the two kinds that are followed.
        other = rule is _RULE and error.facts.get("credential") is CredentialReason.KIND
        return Followed(None, None if other or error.reason in _NOT_FOLLOWED else _refused(error))
    return judge(group, seen.leaves, now_s, GroupStanding.FOLLOWED)


def judge(group: PublicGroup, leaves: Mapping[int, bytes], now_s: int, before: GroupStanding) -> Followed:
    """Whether the leaves are those of the members, hold, and go on; what was noticed before is not noticed again."""
    finding: FindingCode | None = None
    if sorted(one.signature_key for one in group.roster()) != sorted(leaves.values()):
        finding = FindingCode.GROUP_ROSTER_DIFFERS
    elif group.expired(now_s):
        finding = FindingCode.GROUP_LEAF_EXPIRED
    elif group.ended:
        # RCC.16: the group takes no more encrypted messages. Whoever still sends some is not told that all is well.
        finding = FindingCode.DOWNGRADE_SUSPECTED
    standing = GroupStanding.FOLLOWED if finding is None else GroupStanding.LOWERED
    until_ms, members = min(group.good_until * 1_000, _NEVER_MS), group.roster()
    roster = b""
    if standing is GroupStanding.FOLLOWED:
        roster = roster_hash(group.group_id, group.epoch, [(one.leaf, one.signature_key) for one in members])
    public = PublicState(group.epoch, standing, until_ms, group.gaps, pack(group), roster, len(members), group.era)
    return Followed(public, finding if before is GroupStanding.FOLLOWED else None)


def _refused(error: FollowError) -> FindingCode:
    """What is recorded of something that could not be followed; certificates have a finding of their own."""
    known = error.facts.get("credential") in _OF_CERTIFICATES
    return FindingCode.GROUP_CREDENTIAL_REFUSED if known else FindingCode.GROUP_COMMIT_INVALID


def _lose(held: PublicState, finding: FindingCode | None) -> Followed:
    lost = PublicState(held.epoch, GroupStanding.LOST, held.until_ms, held.gaps, held.state, era=held.era)
    return Followed(lost, finding)
