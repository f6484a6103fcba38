"""What a commit does to a group's public state, as the relay follows it: grade TRACKED rests on this. Pure.

A group is followed from the first GroupInfo that a commit bundle brings. Its leaves must then be the leaf keys that
signed device lists name for its members, no more and no fewer. What is not as it should be never stops a commit, for
members decide what a group is: it lowers the grade and is recorded. What breaks the chain of states leaves the group
LOST until a member anchors it anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from letterlock.assurance.receipts import roster_hash
from letterlock.storage.relay_commands import GroupStanding, PublicState
from letterlock.wire.mls import parse_public_commit
from letterlock.wire.mls.group import (
    FollowError,
    FollowReason,
    ListedKeys,
    PublicGroup,
    anchor,
    pack,
    reanchor,
    unpack,
)
from letterlock.wire.tlog.words import FindingCode

_NEVER_MS: Final = 2**63 - 1
"""The end of what has none: what a column holds."""
_NOT_FOLLOWED: Final = frozenset({FollowReason.SUITE, FollowReason.NO_TREE, FollowReason.TOO_LARGE})
"""A first GroupInfo of these is no finding: the group is one that nobody promised to follow."""

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


def follow(held: PublicState | None, seen: Seen, now_s: int) -> Followed:
    """The group's public state after a commit.

    Args:
        held: what is stored; None for a group that was never followed.
        seen: the bundle.
        now_s: seconds since 1970 UTC.
    """
    if held is None:
        return _begin(seen, now_s)
    if held.standing is GroupStanding.LOST:
        return Followed(held, None)
    if seen.private:
        return _lose(held, FindingCode.GROUP_UNREADABLE)
    try:
        before = unpack(held.state)
        committer = parse_public_commit(seen.commit).sender.index
        after = before.follow(seen.commit, _RULE, now_s)
    except FollowError:
        return _lose(held, FindingCode.GROUP_COMMIT_INVALID)
    signer = None if committer is None else before.tree.leaf(committer)
    if signer is None or signer.signature_key != seen.leaves.get(seen.committer):
        # A member's commit, brought by the session of another device.
        return _lose(held, FindingCode.GROUP_COMMIT_INVALID)
    if seen.group_info is not None:
        try:
            after.agrees(seen.group_info)
        except FollowError:
            return _lose(held, FindingCode.GROUP_FORKED)
    return _judge(after, seen.leaves, now_s, held.standing)


def anchor_again(
    held: PublicState | None, group_info: bytes, leaves: Mapping[int, bytes], now_s: int
) -> tuple[PublicState, FindingCode | None]:
    """A new anchor that a member asks for, behind whatever could not be followed.

    Args:
        held: what is stored.
        group_info: MLSMessage of the head's epoch.
        leaves: by mailbox, the listed leaf keys of the members.
        now_s: seconds since 1970 UTC.

    Raises:
        FollowError: not an anchor for this group, or its leaves are not the members' (CREDENTIAL).
    """
    if held is None:
        group = anchor(group_info, _RULE, now_s)
    elif held.standing is GroupStanding.LOST:
        group = reanchor(unpack(held.state), group_info, _RULE, now_s)
    else:
        group = unpack(held.state)
        group.agrees(group_info)
    judged = _judge(group, leaves, now_s, GroupStanding.FOLLOWED)
    assert judged.public is not None, "a judged group has a state"
    if judged.public.standing is not GroupStanding.FOLLOWED:
        raise FollowError(FollowReason.CREDENTIAL)
    again = held is not None and held.standing is GroupStanding.LOST
    return judged.public, FindingCode.GROUP_REANCHORED if again else None


def _begin(seen: Seen, now_s: int) -> Followed:
    if seen.private or seen.group_info is None:
        return Followed(None, None)
    try:
        group = anchor(seen.group_info, _RULE, now_s)
    except FollowError as error:
        return Followed(None, None if error.reason in _NOT_FOLLOWED else FindingCode.GROUP_COMMIT_INVALID)
    return _judge(group, seen.leaves, now_s, GroupStanding.FOLLOWED)


def _judge(group: PublicGroup, leaves: Mapping[int, bytes], now_s: int, before: GroupStanding) -> Followed:
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
    public = PublicState(group.epoch, standing, until_ms, group.gaps, pack(group), roster, len(members))
    return Followed(public, finding if before is GroupStanding.FOLLOWED else None)


def _lose(held: PublicState, finding: FindingCode) -> Followed:
    lost = PublicState(held.epoch, GroupStanding.LOST, held.until_ms, held.gaps, held.state)
    return Followed(lost, finding)
