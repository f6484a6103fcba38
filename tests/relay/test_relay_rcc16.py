"""Groups of RCS clients (GSMA RCC.16) on the relay: suite 2, certificates, an era."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.relay import mls
from tests.relay.rcs_chat import ROOTS, rcs_chat
from tests.wire_mls.certificate_maker import END, LEAF, OTHER_KEY, Wish, certified, era, rcs_group
from tests.wire_mls.group_maker import GROUP, NOW_S, Made, by_value, new_extensions

from letterlock.relay.tracking import Followed, Seen, anchor_again, follow
from letterlock.storage.relay_commands import GroupStanding, PublicState
from letterlock.wire.mls.group import FollowError, FollowReason, Rcc16Certificates, Root, anchor, unpack
from letterlock.wire.mls.group.certificates import DAY_S
from letterlock.wire.mls.structures import Extension
from letterlock.wire.tlog.words import FindingCode

F, LOWERED, LOST = GroupStanding.FOLLOWED, GroupStanding.LOWERED, GroupStanding.LOST


def leaves_of(made: Made) -> dict[int, bytes]:
    return {index: signer.public for index, signer in made.members.items()}


def first(made: Made, info: bytes, roots: tuple[Root, ...] = ROOTS, now_s: int = NOW_S) -> Followed:
    """What the relay makes of the first bundle that brings a GroupInfo."""
    return follow(None, Seen(0, mls.commit(GROUP, 0), False, info, leaves_of(made), 0), now_s, roots)


def begun(made: Made, info: bytes) -> PublicState:
    found = first(made, info)
    assert found.finding is None
    assert found.public is not None
    assert found.public.standing is F
    made.state = unpack(found.public.state)
    return found.public


def changed(made: Made, extensions: tuple[Extension, ...] | None, *, by: int = 0, wish: Wish = LEAF) -> Seen:
    """A commit with certificates, which may change the group's extensions."""
    proposals = [] if extensions is None else [by_value(new_extensions(extensions))]
    data = made.commit(by, proposals, made.path(by, leaf=certified(made.members[by], wish)))
    return Seen(made.state.epoch, data, False, None, leaves_of(made), by)


def test_an_rcs_group_is_no_false_alarm_and_followed_where_its_roots_are_configured() -> None:
    made, info = rcs_group("ab", era(1))
    assert first(made, info, ()) == Followed(None, None), "nobody promised to follow it"
    held = begun(made, info)
    assert made.state.era == 1
    after = follow(held, changed(made, None), NOW_S, ROOTS)
    assert after.finding is None
    assert after.public is not None
    assert (after.public.standing, after.public.epoch) == (F, 1)
    assert after.public.until_ms == (LEAF.until - 30 * DAY_S) * 1_000


def test_roots_that_are_gone_end_the_following_without_an_alarm() -> None:
    made, info = rcs_group("ab", era(1))
    held = begun(made, info)
    after = follow(held, changed(made, None), NOW_S)
    assert after == Followed(replace_standing(held, LOST), None)
    with pytest.raises(FollowError) as refused:
        anchor_again(None, info, leaves_of(made), NOW_S)
    assert refused.value.reason is FollowReason.CREDENTIAL
    again, finding = anchor_again(None, info, leaves_of(made), NOW_S, ROOTS)
    assert (again.standing, finding) == (F, None)


def replace_standing(held: PublicState, standing: GroupStanding) -> PublicState:
    return PublicState(held.epoch, standing, held.until_ms, held.gaps, held.state, era=held.era)


def test_certificates_without_an_era_are_no_group_of_either_kind() -> None:
    made, info = rcs_group("ab")
    assert first(made, info) == Followed(None, None)


@pytest.mark.attack("A14")
@pytest.mark.parametrize("extensions", [(era(2),), (), (era(1), END)], ids=["advanced", "taken away", "kept"])
def test_no_commit_changes_the_era(extensions: tuple[Extension, ...]) -> None:
    made, info = rcs_group("ab", era(1))
    held = begun(made, info)
    after = follow(held, changed(made, extensions), NOW_S, ROOTS)
    assert after.public is not None
    if era(1) in extensions:
        assert (after.public.standing, after.finding) == (LOWERED, FindingCode.DOWNGRADE_SUSPECTED)
    else:
        assert (after.public.standing, after.finding) == (LOST, FindingCode.GROUP_COMMIT_INVALID)


@pytest.mark.attack("A14")
def test_no_commit_gives_an_era_to_a_group_that_had_none() -> None:
    able = {"can_extensions": (0xF001, 0xF002)}
    made = Made.of("ab", 1, (), **able)
    assert made.state.era is None
    path = made.path(0, leaf=replace(certified(made.members[0]), certificates=()))
    data = made.commit(0, [by_value(new_extensions((era(1),)))], path)
    held, _ = anchor_again(None, made.group_info(), leaves_of(made), NOW_S)
    after = follow(held, Seen(0, data, False, None, leaves_of(made), 0), NOW_S, ROOTS)
    assert after.finding is FindingCode.GROUP_COMMIT_INVALID
    with pytest.raises(FollowError) as refused:
        made.follow(data)
    assert refused.value.reason is FollowReason.ERA


@pytest.mark.parametrize("data", [b"", b"\0\0\1", b"\0\0\0\0\1", b"\0\0\0\0"])
def test_an_era_is_a_number_from_one_on(data: bytes) -> None:
    made, info = rcs_group("ab", Extension(0xF001, data))
    assert first(made, info) == Followed(None, FindingCode.GROUP_COMMIT_INVALID)
    with pytest.raises(FollowError) as refused:
        anchor(info, Rcc16Certificates(ROOTS), NOW_S)
    assert refused.value.reason is FollowReason.ERA


@pytest.mark.parametrize(
    "wish",
    [
        replace(LEAF, until=NOW_S - 1),
        replace(LEAF, until=NOW_S + 29 * DAY_S),
        replace(LEAF, names=()),
        replace(LEAF, uses=()),
        replace(LEAF, by=OTHER_KEY),
    ],
    ids=["expired", "little left", "no address", "no use", "another authority"],
)
def test_a_certificate_that_does_not_hold_is_a_finding_of_its_own(wish: Wish) -> None:
    made, info = rcs_group("ab", era(1), b=wish)
    assert first(made, info) == Followed(None, FindingCode.GROUP_CREDENTIAL_REFUSED)
    made, info = rcs_group("ab", era(1))
    held = begun(made, info)
    after = follow(held, changed(made, None, by=1, wish=wish), NOW_S, ROOTS)
    assert after.public is not None
    assert (after.public.standing, after.finding) == (LOST, FindingCode.GROUP_CREDENTIAL_REFUSED)
    assert follow(held, changed(made, None, by=1), NOW_S, ROOTS).finding is None


def test_a_roster_with_fewer_than_thirty_days_left_is_lowered_until_the_member_renews() -> None:
    short = replace(LEAF, until=NOW_S + 40 * DAY_S)
    made, info = rcs_group("ab", era(1), b=short)
    held = begun(made, info)
    late = NOW_S + 10 * DAY_S + 1
    lowered = follow(held, changed(made, None), late, ROOTS)
    assert lowered.public is not None
    assert (lowered.public.standing, lowered.finding) == (LOWERED, FindingCode.GROUP_LEAF_EXPIRED)
    made.state = unpack(lowered.public.state)
    renewed = replace(LEAF, until=NOW_S + 66 * DAY_S)
    mended = follow(lowered.public, changed(made, None, by=1, wish=renewed), late, ROOTS)
    assert mended.public is not None
    assert (mended.public.standing, mended.finding) == (F, None)


async def test_the_relay_follows_an_rcs_group_and_tracks_its_messages(tmp_path: Path) -> None:
    async with rcs_chat(tmp_path, era(1)) as one:
        await one.commit(one.adding())
        assert await one.standing() == "FOLLOWED"
        assert await one.findings() == []
        head = one.world.group_directory.known(1, one.ref.value)
        assert head is not None
        now = one.world.clock.now_ms()
        assert all(head.tracks(1, phone.mailbox, now) for phone in one.phones)
        assert not head.tracks(1, one.phones[1].mailbox, (LEAF.until - 30 * DAY_S) * 1_000 + 1)


async def test_the_relay_leaves_an_rcs_group_alone_without_roots(tmp_path: Path) -> None:
    async with rcs_chat(tmp_path, era(1), roots=()) as one:
        await one.commit(one.adding())
        assert await one.standing() is None
        assert await one.findings() == []


async def test_a_certificate_that_does_not_hold_enters_the_ledger(tmp_path: Path) -> None:
    async with rcs_chat(tmp_path, era(1), wish=replace(LEAF, uses=())) as one:
        await one.commit(one.adding())
        assert await one.standing() is None
        assert await one.findings() == [FindingCode.GROUP_CREDENTIAL_REFUSED]
