"""A new era of a group of RCS clients (GSMA RCC.16): the group made again, in the place of the one before."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.relay import mls
from tests.relay.rcs_chat import ROOTS, RcsChat, rcs_chat
from tests.relay.test_relay_with_messages import command, message
from tests.relay.world import TENANTS, Phone, World, enrolled, opened
from tests.wire_mls.certificate_maker import END, LEAF, OTHER_KEY, era
from tests.wire_mls.group_maker import GROUP, NOW_S

from letterlock.model.clock import ManualClock
from letterlock.model.ids import GroupRef
from letterlock.relay.bundle import Welcome
from letterlock.relay.errors import RelayError, WrongEpochError
from letterlock.storage.attachment_commands import BeginAttachment
from letterlock.storage.commands import Accepted
from letterlock.storage.errors import CommitReason, CommitRefused
from letterlock.storage.relay_commands import (
    AnchorGroup,
    EraAdvanced,
    GroupStanding,
    PublicState,
    RelayReason,
    ReportCommit,
)
from letterlock.storage.relay_rows import Superseded
from letterlock.storage.sqlite.fsck import check_store
from letterlock.storage.sqlite.relay_eras import DAY_MS, ERAS_A_DAY
from letterlock.wire.mls.group import Root
from letterlock.wire.stream import ItemKind
from letterlock.wire.tlog.commitments import CommitmentKind, commit
from letterlock.wire.tlog.entries import Finding, decode_entry
from letterlock.wire.tlog.words import FindingCode

R = RelayReason


async def refusal(call: Any) -> RelayError:
    with pytest.raises(RelayError) as refused:
        await call
    return refused.value


async def begun(chat: RcsChat) -> RcsChat:
    """A group with both in it."""
    await chat.commit(chat.adding())
    assert await chat.standing() == "FOLLOWED"
    return chat


async def sends(world: World, phone: Phone, ref: GroupRef, name: bytes, epoch: int = 1) -> Any:
    head = await world.group_directory.find(1, ref.value)
    assert head is not None
    return (await world.committer.submit((message(world, phone, head.number, epoch, name),)))[0]


async def mailbox(world: World, phone: Phone) -> list[tuple[int, bytes]]:
    page = await world.mailboxes.page(TENANTS[1], phone.mailbox, 0, 100)
    return [(item.row.kind, item.row.group) for item in page.items]


async def test_a_new_era_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    async with rcs_chat(tmp_path, era(1)) as chat:
        await begun(chat)
        world, (ann, bob), old = chat.world, chat.phones, chat.ref
        assert isinstance(await sends(world, ann, old, b"of the first era"), Accepted)
        made = await chat.advance(chat.again(era(2)).adding())
        new = GroupRef(made.ref)
        assert (made.era, made.commit.epoch, made.commit.repeated) == (2, 1, False)
        # What was accepted for the old era is still delivered; then comes the Welcome to the new one.
        assert await mailbox(world, bob) == [
            (ItemKind.WELCOME, old.value), (ItemKind.APPLICATION, old.value), (ItemKind.WELCOME, new.value)
        ]  # fmt: skip
        assert await mailbox(world, ann) == []
        before, _ = await world.groups.look(ann.caller, old)
        assert (before.era, before.tracking) == (1, None)
        assert before.superseded == Superseded(new.value, 2)
        after, members = await world.groups.look(bob.caller, new)
        assert (after.era, after.group_id, after.superseded) == (2, GROUP, None)
        assert after.tracking is not None
        assert after.tracking.standing is GroupStanding.FOLLOWED
        assert len(members) == 2
        head = await world.group_directory.find(1, new.value)
        assert head is not None
        assert all(head.tracks(1, phone.mailbox, world.clock.now_ms()) for phone in chat.phones)
        assert isinstance(await sends(world, bob, new, b"of the second"), Accepted)


async def test_it_is_one_entry_of_the_ledger_that_an_audit_can_open(tmp_path: Path) -> None:
    async with rcs_chat(tmp_path, era(1)) as chat:
        await begun(chat)
        await chat.advance(chat.again(era(2)).adding())
        assert await chat.findings() == [FindingCode.GROUP_ERA_ADVANCED]
        salt, entry = (await chat.world.rows("SELECT salt, entry FROM group_era"))[0]
        found = decode_entry((await chat.world.rows("SELECT d FROM ledger_entry WHERE i=?", entry))[0][0])
        assert isinstance(found, Finding)
        assert found.subject == commit(CommitmentKind.GROUP, salt, chat.ref.value)
        assert [one.name for one in check_store(chat.world.core._db, {7}) if one.bad] == []


async def test_an_older_era_takes_nothing_more(tmp_path: Path) -> None:
    async with rcs_chat(tmp_path, era(1)) as chat:
        await begun(chat)
        world, (ann, _), old = chat.world, chat.phones, chat.ref
        first = await sends(world, ann, old, b"before")
        await chat.advance(chat.again(era(2)).adding())
        refused = await sends(world, ann, old, b"after")
        assert isinstance(refused, CommitRefused)
        assert refused.reason is CommitReason.WRONG_ERA
        repeated = await sends(world, ann, old, b"before")
        assert isinstance(repeated, Accepted)
        assert (repeated.duplicate, repeated.record_hash) == (True, first.record_hash)
        for call in (
            chat.commit(chat.renewing()),
            chat.advance(chat.again(era(2)).adding()),
            chat.advance(chat.again(era(3)).adding()),
            world.groups.anchor(ann.caller, old, chat.info()),
        ):
            error = await refusal(call)
            assert (error.reason, error.facts["current_era"]) == (R.WRONG_ERA, 2)
        # The writer says so too, to whom had looked before.
        number = (await world.rows("SELECT no FROM mls_group WHERE ref=?", old.value))[0][0]
        anchored = AnchorGroup(1, ann.mailbox, number, 1, PublicState(1, GroupStanding.FOLLOWED, 0, 0, b""), None)
        begin = BeginAttachment(1, ann.mailbox, number, bytes(16), 65_536, bytes(32), 7, 2**50, 1 << 30, 100)
        late = command(world, ann, number, chat.renewing())
        for asked in (anchored, begin, late):
            answer = (await world.committer.submit((asked,)))[0]
            assert isinstance(answer, CommitRefused)
            assert (answer.facts["relay"], answer.facts["current_era"]) == (R.WRONG_ERA, 2)


async def test_it_outlives_a_restart_and_eras_follow_each_other(tmp_path: Path) -> None:
    async with rcs_chat(tmp_path, era(1)) as chat:
        await begun(chat)
        second = chat.again(era(2))
        second.ref = GroupRef((await chat.advance(second.adding())).ref)
        third = await second.advance(second.again(era(3)).adding())
        assert third.era == 3
    async with opened(tmp_path, ManualClock(NOW_S * 1_000), (1, 2), ROOTS) as world:
        for old, own in ((chat.ref, 1), (second.ref, 2)):
            refused = await sends(world, chat.phones[0], old, b"after")
            assert isinstance(refused, CommitRefused)
            assert refused.reason is CommitReason.WRONG_ERA
            row, _ = await world.groups.look(chat.phones[1].caller, old)
            assert (row.era, row.superseded) == (own, Superseded(third.ref, 3))
        assert isinstance(await sends(world, chat.phones[0], GroupRef(third.ref), b"words"), Accepted)


async def test_a_repetition_gets_the_first_answer_and_two_at_once_make_one_era(tmp_path: Path) -> None:
    async with rcs_chat(tmp_path, era(1)) as chat:
        await begun(chat)
        offered = chat.again(era(2)).adding(), chat.again(era(2)).adding()
        done = await asyncio.gather(*(chat.advance(one) for one in offered), return_exceptions=True)
        (made,) = [one for one in done if isinstance(one, EraAdvanced)]
        (lost,) = [one for one in done if isinstance(one, RelayError)]
        assert (lost.reason, lost.facts["current_era"]) == (R.WRONG_ERA, 2)
        won = offered[done.index(made)]
        size = await chat.world.count("ledger_entry")
        again = await chat.advance(won)
        assert (again.ref, again.era, again.commit.repeated) == (made.ref, 2, True)
        assert (again.commit.chain, again.commit.record_hash) == (made.commit.chain, made.commit.record_hash)
        assert await chat.world.count("ledger_entry") == size, "a repetition records nothing"
        other = replace(won, commit=won.commit + b".")
        assert (await refusal(chat.advance(other))).reason is R.IDEMPOTENCY_CONFLICT
        assert len(await chat.world.rows("SELECT no FROM mls_group WHERE group_id=?", GROUP)) == 2


async def test_the_same_request_twice_at_once_gets_one_answer(tmp_path: Path) -> None:
    async with rcs_chat(tmp_path, era(1)) as chat:
        await begun(chat)
        bundle = chat.again(era(2)).adding()
        one, two = await asyncio.gather(chat.advance(bundle), chat.advance(bundle))
        assert one.ref == two.ref
        assert sorted((one.commit.repeated, two.commit.repeated)) == [False, True]


@pytest.mark.attack("A14")
async def test_an_era_that_is_born_downgraded_is_refused_and_the_one_in_force_stays(tmp_path: Path) -> None:
    async with rcs_chat(tmp_path, era(1)) as chat:
        await begun(chat)
        world, (ann, bob) = chat.world, chat.phones
        waiting = await mailbox(world, bob)
        assert (await refusal(chat.advance(chat.again(era(2), END).adding()))).reason is R.BORN_DOWNGRADED
        assert await chat.findings() == [FindingCode.DOWNGRADE_SUSPECTED]
        assert await chat.standing() == "FOLLOWED"
        assert await mailbox(world, bob) == waiting, "nobody was welcomed"
        assert isinstance(await sends(world, ann, chat.ref, b"as before"), Accepted)
        assert (await chat.advance(chat.again(era(2)).adding())).era == 2


@pytest.mark.attack("A14")
@pytest.mark.parametrize("roots", [ROOTS, ()], ids=["followed", "not followed"])
async def test_a_first_group_that_is_born_downgraded_is_refused(tmp_path: Path, roots: tuple[Root, ...]) -> None:
    async with rcs_chat(tmp_path, era(1), END, roots=roots) as chat:
        assert (await refusal(chat.commit(chat.adding()))).reason is R.BORN_DOWNGRADED
        assert await chat.findings() == [FindingCode.DOWNGRADE_SUSPECTED]
        assert await mailbox(chat.world, chat.phones[1]) == [], "nobody was welcomed"


@pytest.mark.attack("A14")
async def test_a_group_that_ended_comes_back_in_an_era_that_has_not(tmp_path: Path) -> None:
    async with rcs_chat(tmp_path, era(1)) as chat:
        await begun(chat)
        await chat.commit(chat.renewing(extensions=(era(1), END)))
        assert await chat.standing() == "LOWERED"
        assert (await refusal(chat.advance(chat.again(era(2), END).adding()))).reason is R.BORN_DOWNGRADED
        assert (await chat.advance(chat.again(era(2)).adding())).era == 2


@pytest.mark.attack("A14")
@pytest.mark.parametrize("number", [1, 3, 2**32 - 1], ids=["the same", "one left out", "the last"])
async def test_only_the_next_era_comes_after_an_era(tmp_path: Path, number: int) -> None:
    async with rcs_chat(tmp_path, era(1)) as chat:
        await begun(chat)
        error = await refusal(chat.advance(chat.again(era(number)).adding()))
        assert (error.reason, error.facts["current_era"]) == (R.WRONG_ERA, 1)
        assert (await chat.advance(chat.again(era(2)).adding())).era == 2


async def test_an_era_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    async with rcs_chat(tmp_path, era(1)) as chat:
        await begun(chat)
        world, (ann, bob) = chat.world, chat.phones
        (eve,) = await enrolled(world, "eve")
        whole = chat.again(era(2)).adding()
        to_eve = [Welcome([eve.id], mls.welcome(suite=2))]
        short = replace(LEAF, until=NOW_S + 29 * DAY_MS // 1_000)
        of_bob = chat.again(era(2))
        of_bob.adding()
        offered: list[tuple[RelayReason, Any]] = [
            (R.BAD_GROUP_INFO, replace(whole, group_info=None)),
            (R.BAD_GROUP_INFO, chat.again().adding()),
            (R.BAD_GROUP_INFO, chat.again(era(2), wish=replace(LEAF, by=OTHER_KEY)).adding()),
            (R.BAD_GROUP_INFO, chat.again(era(2), wish=short).adding()),
            (R.BAD_GROUP_INFO, replace(whole, group_info=of_bob.info(signer=1))),
            (R.BAD_COMMIT, replace(whole, commit=mls.private(GROUP, 0, 3))),
            (R.BAD_COMMIT, replace(whole, group_id=b"another")),
            (R.EXTERNAL_COMMIT, replace(whole, commit=mls.commit(GROUP, 0, sender=4))),
            (R.BAD_WELCOME, replace(whole, welcomes=[Welcome([bob.id], b"none")])),
            (R.BAD_MEMBERS, replace(whole, adds=[])),
            (R.BAD_MEMBERS, replace(whole, adds=[eve.id], welcomes=to_eve)),
            (R.BAD_EPOCH, replace(whole, base_epoch=2)),
        ]
        for reason, bundle in offered:
            assert (await refusal(chat.advance(bundle))).reason is reason, reason
        assert (await refusal(world.groups.advance_era(eve.caller, chat.ref, whole))).reason is R.NOT_A_MEMBER
        assert (await refusal(world.groups.advance_era(ann.caller, GroupRef(bytes(16)), whole))).reason is R.NOT_FOUND
        assert len(await world.rows("SELECT no FROM mls_group")) == 1
        assert await chat.standing() == "FOLLOWED"
        assert (await chat.advance(whole)).era == 2


async def test_an_era_that_was_never_known_has_none_after_it(tmp_path: Path) -> None:
    async with rcs_chat(tmp_path, era(1), roots=()) as chat:
        await chat.commit(chat.adding())
        assert (await refusal(chat.advance(chat.again(era(2)).adding()))).reason is R.ERA_UNKNOWN


async def test_a_quarantined_group_is_not_advanced(tmp_path: Path) -> None:
    async with rcs_chat(tmp_path, era(1)) as chat:
        await begun(chat)
        world = chat.world
        await chat.commit(chat.renewing())
        number, message_id = (await world.rows("SELECT group_no, message_id FROM group_log WHERE base_epoch=1"))[0]
        for phone, sequence in zip(chat.phones, (0, 2), strict=True):
            account = phone.account.value
            salts = (b"s" * 16, b"t" * 16)
            report = ReportCommit(1, phone.mailbox, account, number, 1, message_id, bytes(32), sequence, salts)
            await world.committer.submit((report,))
        assert (await refusal(chat.advance(chat.again(era(2)).adding()))).reason is R.GROUP_QUARANTINED


async def test_eras_of_a_day_are_counted(tmp_path: Path) -> None:
    async with rcs_chat(tmp_path, era(1)) as chat:
        await begun(chat)
        last = chat
        for number in range(2, ERAS_A_DAY + 2):
            later = last.again(era(number))
            later.ref = GroupRef((await last.advance(later.adding())).ref)
            last = later
        bundle = last.again(era(ERAS_A_DAY + 2)).adding()
        assert (await refusal(last.advance(bundle))).reason is R.ERA_QUOTA
        chat.world.clock.advance(DAY_MS)
        assert (await last.advance(bundle)).era == ERAS_A_DAY + 2


async def test_a_commit_stays_in_its_era(tmp_path: Path) -> None:
    """A bundle whose GroupInfo is of another era is refused, and a late one is told the epoch and the era."""
    async with rcs_chat(tmp_path, era(2)) as chat:
        await begun(chat)
        for extensions in ((era(1),), (era(3),), ()):
            bundle = chat.renewing(group_info=chat.info(epoch=2, extensions=extensions))
            error = await refusal(chat.commit(bundle))
            assert (error.reason, error.facts["current_era"]) == (R.WRONG_ERA, 2)
        assert (await chat.commit(chat.renewing())).epoch == 2
        late = await refusal(chat.commit(chat.renewing()))
        assert isinstance(late, WrongEpochError)
        assert (late.facts["current_epoch"], late.facts["current_era"]) == (2, 2)
        assert await chat.standing() == "FOLLOWED"
