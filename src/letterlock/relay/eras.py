"""What the relay asks of an era of RCS clients (GSMA RCC.16) before it takes the place of the one before. Pure.

A new era is the group made again: the same MLS id, suite and members, the next number, a GroupInfo that its maker
signed. Here, unlike for a commit, everything that is not as it should be is a refusal, and the era in force stays:
whoever could end it with a lesser one would have a lever (A14).
"""

from letterlock.relay.errors import RelayError
from letterlock.relay.tracking import Seen, judge, rule_for
from letterlock.storage.relay_commands import GroupStanding, PublicState, RelayReason
from letterlock.wire.mls.group import FollowError, Root, anchor, ended_of, era_of, signer_of, unpack


def born_downgraded(group_info: bytes | None) -> bool:
    """Whether the first GroupInfo of a group or era says that it is not encrypted; False of what cannot be read."""
    try:
        return group_info is not None and ended_of(group_info)
    except FollowError:
        return False


def check_era(group_info: bytes | None, era: int | None) -> None:
    """A commit's GroupInfo is of the group's own era, where it has one.

    Raises:
        RelayError: WRONG_ERA.
    """
    if group_info is None or era is None:
        return
    try:
        same = era_of(group_info) == era
    except FollowError:
        same = False
    if not same:
        raise RelayError(RelayReason.WRONG_ERA, current_era=era)


def next_era(held: PublicState | None, seen: Seen, now_s: int, roots: tuple[Root, ...]) -> PublicState:
    """The public state that a new era begins with.

    Args:
        held: what is stored of the era in force.
        seen: its first commit bundle; ``leaves`` are those of the members of the era in force.
        now_s: seconds since 1970 UTC.
        roots: of RCS clients' certificates.

    Raises:
        RelayError: ERA_UNKNOWN, BAD_COMMIT, BORN_DOWNGRADED, WRONG_ERA, BAD_GROUP_INFO.
    """
    if held is None or held.era is None:
        raise RelayError(RelayReason.ERA_UNKNOWN)
    if seen.private:
        # RCC.16 commit-in-privatemessage: nobody could follow what comes of it.
        raise RelayError(RelayReason.BAD_COMMIT)
    if born_downgraded(seen.group_info):
        raise RelayError(RelayReason.BORN_DOWNGRADED)
    judged = None if seen.group_info is None else _judged(held, held.era, seen.group_info, seen, now_s, roots)
    if judged is None or judged.standing is not GroupStanding.FOLLOWED:
        raise RelayError(RelayReason.BAD_GROUP_INFO)
    return judged


def _judged(
    held: PublicState, era: int, group_info: bytes, seen: Seen, now_s: int, roots: tuple[Root, ...]
) -> PublicState | None:
    """The group that a GroupInfo tells; None where it does not hold, or another than the committer signed it.

    Raises:
        RelayError: WRONG_ERA.
    """
    try:
        told = era_of(group_info)
        if told is not None and told != era + 1:
            raise RelayError(RelayReason.WRONG_ERA, current_era=era)
        rule = rule_for(told, roots)
        if told is None or rule is None:
            return None
        group = anchor(group_info, rule, now_s)
        signer = group.tree.leaf(signer_of(group_info))
        same = group.suite is unpack(held.state).suite
    except FollowError:
        return None
    if not same or signer is None or signer.signature_key != seen.leaves.get(seen.committer):
        return None
    return judge(group, seen.leaves, now_s, GroupStanding.FOLLOWED).public
