"""The relay follows the public state of groups: real commits of a real engine, and each thing that lowers it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from time import time_ns

import pytest
from tests.relay import mls
from tests.relay.test_relay_with_engine import EnginePhone
from tests.relay.world import Person, World, opened
from tests.wire_mls.group_maker import NOW_S, LeafMaker, Made, by_value, new_extensions

from letterlock.client.engine import CommitBundle
from letterlock.model.clock import ManualClock
from letterlock.model.ids import GroupRef
from letterlock.relay import groups
from letterlock.relay.bundle import Bundle, Welcome
from letterlock.relay.directory import GroupDirectory
from letterlock.relay.errors import RelayError
from letterlock.relay.tracking import Followed, Seen, anchor_again, follow
from letterlock.storage.relay_commands import GroupStanding, RelayReason
from letterlock.wire.mls.group import unpack
from letterlock.wire.mls.structures import Extension
from letterlock.wire.tlog.entries import Finding, decode_entry
from letterlock.wire.tlog.words import FindingCode

pytest.importorskip("rine_mls")
GROUP = b"a group that is followed"
F, LOWERED, LOST = GroupStanding.FOLLOWED, GroupStanding.LOWERED, GroupStanding.LOST


class Chat:
    """Phones with engines in one group of a relay. Every commit goes through it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.phones = {name: EnginePhone(name) for name in ("ann", "bob", "cat", "dan")}
        self.people = {name: Person(name) for name in self.phones}
        self.inside = ["ann"]
        self.ref = GroupRef(bytes(16))
        self._keys = 0

    async def start(self) -> None:
        for name, phone in self.phones.items():
            await self.people[name].enrol(self.world, phone)
        ann = self.phones["ann"]
        self.ref, _, _ = await self.world.groups.create(ann.caller, GROUP, ann.engine.create(GROUP))

    def offer(self, made: CommitBundle, adds: tuple[str, ...] = (), removes: tuple[str, ...] = ()) -> Bundle:
        self._keys += 1
        ids = [self.phones[name].id for name in adds]
        welcomes = [Welcome([one], data) for one, data in zip(ids, made.welcomes, strict=True)]
        gone = [self.phones[name].id for name in removes]
        key = self._keys.to_bytes(16, "big")
        return Bundle(GROUP, made.base_epoch, made.commit, welcomes, made.group_info, ids, gone, key, self._keys)

    async def send(self, by: str, bundle: Bundle, made: CommitBundle) -> None:
        await self.world.groups.commit(self.phones[by].caller, self.ref, bundle)
        self.phones[by].engine.confirm(GROUP)
        for name in self.inside:
            if name != by:
                self.phones[name].engine.process(made.commit)

    async def add(self, by: str, name: str) -> None:
        made = self.phones[by].engine.add(GROUP, self.phones[name].engine.key_packages(1))
        await self.send(by, self.offer(made, adds=(name,)), made)
        self.phones[name].engine.join(made.welcomes[0])
        self.phones[name].engine.confirm(GROUP)
        self.inside.append(name)

    async def remove(self, by: str, name: str) -> None:
        engine = self.phones[by].engine
        key = self.phones[name].engine.leaf_key
        leaf = next(one.leaf for one in engine.roster(GROUP) if one.signature_key == key)
        made = engine.remove(GROUP, [leaf])
        self.inside.remove(name)
        await self.send(by, self.offer(made, removes=(name,)), made)

    async def update(self, by: str, **changed: object) -> None:
        made = self.phones[by].engine.update(GROUP)
        await self.send(by, replace(self.offer(made), **changed), made)  # type: ignore[arg-type]

    def broken_info(self) -> bytes:
        """A GroupInfo of the epoch to come, with a bit of its signature turned; the commit of this name is given up."""
        engine = self.phones["ann"].engine
        engine.discard(GROUP)
        info = engine.update(GROUP).group_info
        engine.discard(GROUP)
        return info[:-1] + bytes([info[-1] ^ 1])

    async def standing(self) -> GroupStanding | None:
        row, _ = await self.world.groups.look(self.phones["ann"].caller, self.ref)
        if row.tracking is not None and row.tracking.standing is not LOST:
            assert row.tracking.epoch == row.epoch
        return None if row.tracking is None else row.tracking.standing

    async def findings(self) -> list[FindingCode]:
        entries = [decode_entry(data) for (data,) in await self.world.rows("SELECT d FROM ledger_entry ORDER BY i")]
        return [one.code for one in entries if isinstance(one, Finding)]

    def tracks(self, name: str, epoch: int | None = None) -> bool:
        head = self.world.group_directory.known(1, self.ref.value)
        assert head is not None
        at = head.epoch if epoch is None else epoch
        return head.tracks(at, self.phones[name].mailbox, self.world.clock.now_ms())


@asynccontextmanager
async def chat(folder: Path, clock: ManualClock | None = None) -> AsyncGenerator[Chat]:
    async with opened(folder, clock or ManualClock(time_ns() // 1_000_000)) as world:
        made = Chat(world)
        try:
            await made.start()
            yield made
        finally:
            for phone in made.phones.values():
                phone.engine.close()


async def test_a_group_is_followed_from_its_first_group_info_on(tmp_path: Path) -> None:
    async with chat(tmp_path) as one:
        assert await one.standing() is None
        await one.add("ann", "bob")
        assert await one.standing() is F
        await one.add("bob", "cat")
        await one.update("cat")
        await one.remove("ann", "bob")
        assert await one.standing() is F
        assert one.tracks("ann")
        assert one.tracks("cat")
        assert not one.tracks("bob")
        head = one.world.group_directory.known(1, one.ref.value)
        assert head is not None
        assert one.tracks("bob", head.epoch - 1), "its leaf was in the tree then"
        assert not one.tracks("cat", head.epoch + 1)
        stored = await one.world.rows("SELECT state FROM group_public")
        state = unpack(stored[0][0])
        assert {member.signature_key for member in state.roster()} == {
            one.phones[name].engine.leaf_key for name in ("ann", "cat")
        }
        fresh = GroupDirectory(one.world.reads)
        again = await fresh.find(1, one.ref.value)
        assert again is not None
        now = one.world.clock.now_ms()
        assert again.tracks(again.epoch, one.phones["cat"].mailbox, now), "a restart keeps what is stored"
        assert not again.tracks(again.epoch - 1, one.phones["cat"].mailbox, now)
        assert await one.findings() == []


async def lose(one: Chat, bundle: Bundle, by: str = "ann") -> None:
    """A commit that the relay takes and that leaves the group unfollowed, whatever comes after it."""
    assert await one.standing() is F
    await one.world.groups.commit(one.phones[by].caller, one.ref, bundle)
    assert await one.standing() is LOST
    assert not one.tracks("ann")
    assert not one.tracks("bob")


async def test_a_private_commit_needs_an_anchor_that_records_the_gap(tmp_path: Path) -> None:
    async with chat(tmp_path) as one:
        await one.add("ann", "bob")
        base = one.phones["ann"].engine.epoch(GROUP)
        hidden = one.offer(one.phones["ann"].engine.update(GROUP))
        await lose(one, replace(hidden, commit=mls.private(GROUP, base, 3)))
        one.phones["ann"].engine.confirm(GROUP)
        assert await one.findings() == [FindingCode.GROUP_UNREADABLE]
        made = one.phones["ann"].engine.update(GROUP)
        await one.world.groups.commit(one.phones["ann"].caller, one.ref, one.offer(made))
        assert await one.standing() is LOST, "a GroupInfo that comes along is no anchor: somebody must ask for one"
        ann = one.phones["ann"].caller
        for wrong in (b"", hidden.group_info or b"", made.group_info[:-1] + bytes([made.group_info[-1] ^ 1])):
            with pytest.raises(RelayError) as refused:
                await one.world.groups.anchor(ann, one.ref, wrong)
            assert refused.value.reason is RelayReason.BAD_GROUP_INFO
        with pytest.raises(RelayError) as outside:
            await one.world.groups.anchor(one.phones["cat"].caller, one.ref, made.group_info)
        assert outside.value.reason is RelayReason.NOT_A_MEMBER
        assert await one.standing() is LOST
        row = await one.world.groups.anchor(ann, one.ref, made.group_info)
        assert row.tracking is not None
        assert (row.tracking.standing, row.tracking.gaps) == (F, 1)
        assert await one.findings() == [FindingCode.GROUP_UNREADABLE, FindingCode.GROUP_REANCHORED]
        assert one.tracks("ann")
        assert one.tracks("bob")
        again = await one.world.groups.anchor(ann, one.ref, made.group_info)
        assert again.tracking == row.tracking, "a repetition changes nothing"


async def test_a_commit_that_no_member_signed(tmp_path: Path) -> None:
    async with chat(tmp_path) as one:
        await one.add("ann", "bob")
        made = one.phones["ann"].engine.update(GROUP)
        await lose(one, replace(one.offer(made), commit=mls.commit(GROUP, made.base_epoch)))
        assert await one.findings() == [FindingCode.GROUP_COMMIT_INVALID]


async def test_a_commit_from_another_members_session(tmp_path: Path) -> None:
    async with chat(tmp_path) as one:
        await one.add("ann", "bob")
        await lose(one, one.offer(one.phones["ann"].engine.update(GROUP)), by="bob")
        assert await one.findings() == [FindingCode.GROUP_COMMIT_INVALID]


async def test_a_group_info_of_another_history_is_a_fork(tmp_path: Path) -> None:
    async with chat(tmp_path) as one:
        await one.add("ann", "bob")
        engine = one.phones["ann"].engine
        other = engine.update(GROUP).group_info
        engine.discard(GROUP)
        await lose(one, replace(one.offer(engine.update(GROUP)), group_info=other))
        assert await one.findings() == [FindingCode.GROUP_FORKED]


async def test_a_leaf_that_the_bundle_did_not_name(tmp_path: Path) -> None:
    async with chat(tmp_path) as one:
        await one.add("ann", "bob")
        made = one.phones["ann"].engine.add(GROUP, one.phones["cat"].engine.key_packages(1))
        await one.send("ann", one.offer(made, adds=("dan",)), made)
        assert await one.standing() is LOWERED
        assert not one.tracks("ann")
        assert await one.findings() == [FindingCode.GROUP_ROSTER_DIFFERS]
        await one.update("ann")
        assert await one.standing() is LOWERED
        assert await one.findings() == [FindingCode.GROUP_ROSTER_DIFFERS], "noticed once"
        engine = one.phones["ann"].engine
        leaf = next(m.leaf for m in engine.roster(GROUP) if m.signature_key == one.phones["cat"].engine.leaf_key)
        made = engine.remove(GROUP, [leaf])
        await one.send("ann", one.offer(made, removes=("dan",)), made)
        assert await one.standing() is F, "the chain of states was never broken"
        assert one.tracks("bob")


async def test_a_device_that_left_its_list_lowers_its_groups_until_it_is_removed(tmp_path: Path) -> None:
    async with chat(tmp_path) as one:
        await one.add("ann", "bob")
        await one.add("ann", "cat")
        assert one.tracks("ann")
        spare = EnginePhone("bob's new phone")
        await one.people["bob"].publish(one.world, [spare])
        spare.engine.close()
        assert await one.standing() is LOWERED
        assert not one.tracks("ann"), "what is in memory follows at once"
        assert await one.findings() == [FindingCode.GROUP_ROSTER_DIFFERS]
        await one.update("ann")
        assert await one.standing() is LOWERED
        await one.remove("ann", "bob")
        assert await one.standing() is F
        assert one.tracks("cat")


async def test_a_new_leaf_key_on_the_list_lowers_too(tmp_path: Path) -> None:
    async with chat(tmp_path) as one:
        await one.add("ann", "bob")
        bob = one.phones["bob"]
        bob.entry = replace(bob.entry, leaf_key=b"\x07" * 32)
        await one.people["bob"].publish(one.world, [bob])
        assert await one.standing() is LOWERED
        assert not one.tracks("bob")


async def test_a_leaf_whose_time_is_over(tmp_path: Path) -> None:
    clock = ManualClock(time_ns() // 1_000_000)
    async with chat(tmp_path, clock) as one:
        await one.add("ann", "bob")
        assert one.tracks("ann")
        clock.advance(400 * 86_400_000)
        assert not one.tracks("ann"), "the look-up knows the time"
        await one.world.mailboxes.purge()
        assert await one.standing() is LOWERED
        await one.world.mailboxes.purge()
        assert await one.findings() == [FindingCode.GROUP_LEAF_EXPIRED], "noticed once"
        await one.update("bob")
        assert await one.standing() is F, "a path brings a leaf without a lifetime of its own"
        assert one.tracks("ann")


async def test_a_commit_without_a_state_leaves_nothing_followed(tmp_path: Path) -> None:
    """The writer's own guard: the head never moves on under a state that is said to be followed to it."""
    async with chat(tmp_path) as one:
        await one.add("ann", "bob")
        row, _ = await one.world.groups.look(one.phones["ann"].caller, one.ref)
        made = one.phones["ann"].engine.update(GROUP)
        bundle = one.offer(made)
        one.world.groups._follow = _not_followed  # type: ignore[method-assign, assignment]
        await one.world.groups.commit(one.phones["ann"].caller, one.ref, bundle)
        assert await one.standing() is LOST
        assert row.tracking is not None
        assert row.tracking.standing is F


async def _not_followed(*_: object) -> tuple[Followed, frozenset[int]]:
    return Followed(None, None), frozenset()


def test_what_is_never_followed_is_no_finding() -> None:
    for group_info in (None, mls.group_info(GROUP, 1), mls.group_info(GROUP, 1)):
        seen = Seen(0, mls.commit(GROUP, 0), False, group_info, {}, 1)
        assert follow(None, seen, 1) == Followed(None, None)
    broken = Seen(0, mls.commit(GROUP, 0), False, b"nonsense", {}, 1)
    assert follow(None, broken, 1) == Followed(None, FindingCode.GROUP_COMMIT_INVALID)


@pytest.mark.attack("A14")
def test_a_group_that_says_it_ended_is_not_tracked_until_it_says_otherwise() -> None:
    able = {"can_extensions": (0xF001, 0xF002)}
    made = Made.of("ab", 1, (), **able)
    leaves = {index: signer.public for index, signer in made.members.items()}

    def commit(extensions: tuple[Extension, ...]) -> Seen:
        path = made.path(0, leaf=LeafMaker(made.members[0], can_extensions=(0xF001, 0xF002)))
        data = made.commit(0, [by_value(new_extensions(extensions))], path)
        seen = Seen(made.state.epoch, data, False, None, leaves, 0)
        made.follow(data)
        return seen

    info = made.group_info()
    held, finding = anchor_again(None, info, leaves, NOW_S)
    assert (held.standing, finding) == (F, None)
    ended = follow(held, commit((Extension(0xF002, b"end_mls"),)), NOW_S)
    assert ended.public is not None
    assert (ended.public.standing, ended.finding) == (LOWERED, FindingCode.DOWNGRADE_SUSPECTED)
    revived = follow(ended.public, commit(()), NOW_S)
    assert revived.public is not None
    assert (revived.public.standing, revived.finding) == (F, None)


async def test_a_large_group_is_followed_beside_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "LARGE_STATE", 0)
    async with chat(tmp_path) as one:
        await one.add("ann", "bob")
        await one.update("bob")
        assert await one.standing() is F
        assert one.tracks("bob")
        await lose(one, replace(one.offer(one.phones["ann"].engine.update(GROUP)), group_info=one.broken_info()))
        assert await one.findings() == [FindingCode.GROUP_FORKED]
