"""A lost device is struck off and removed; a device that lost its state begins anew; a group starts over."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.client.fake_relay import RefusalError
from tests.client.test_device import Phone, World, contents, take

from letterlock.client import events
from letterlock.client.enrolment import Enrolment
from letterlock.client.errors import DeviceError, DeviceReason, GateError, GateReason, RelayError
from letterlock.client.recovery import GroupExposure, Removal
from letterlock.model.ids import DeviceId, GroupRef


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    for phone in made.phones:
        if hasattr(phone, "device"):
            phone.device.close()
        await phone.http.aclose()


def enrolment(phone: Phone) -> tuple[Enrolment, bytes]:
    mine = phone.device._state.keys
    return Enrolment(mine.account_id, mine.tenant_id, mine.environment, mine.audience), mine.identity


async def with_tablet(world: World) -> tuple[Phone, Phone, Phone, GroupRef]:
    """Alice, and bob with a phone and a tablet, in one group."""
    alice, bob, ref = await world.pair()
    tablet = world.phone()
    tablet.fill(enrolment(bob)[0], b"")
    tablet.start()
    await bob.device.publish_list([tablet.device.entry])
    await tablet.device.publish_key_packages(3)
    await tablet.device.learn_account(bob.device.account)
    await alice.device.add_account(ref, bob.device.account)
    for phone in (bob, tablet):
        await phone.device.sync()
        await take(phone.device)
    return alice, bob, tablet, ref


async def test_a_lost_device_is_removed_everywhere_and_reads_no_more(world: World) -> None:
    alice, bob, tablet, ref = await with_tablet(world)
    other = await bob.device.create_group()
    lost = tablet.device.device
    await bob.device._commits.add_devices(other, bob.device.account, [lost])
    await bob.device.create_group()
    before = bob.device.engine.epoch(bob.device.group(ref).group_id)
    stated = await bob.device.remove_lost(lost)
    assert stated.complete
    assert (stated.device, stated.list_version) == (lost, 3)
    # The third group never had it, so it is not in the statement.
    assert set(stated.groups) == {
        GroupExposure(ref, bob.device.group(ref).joined, before, Removal.REMOVED),
        GroupExposure(other, 1, 2, Removal.REMOVED),
    }
    held = bob.device.directory.head(bob.device.account)
    assert held is not None
    assert held.find(lost) is None
    await alice.device.sync()
    await take(alice.device)
    await alice.device.learn_account(bob.device.account)
    await alice.device.send(ref, b"without the tablet")
    await alice.device.flush()
    await bob.device.sync()
    assert contents(await take(bob.device)) == [b"without the tablet"]
    # Even with the ciphertext in hand: the finder is behind by an epoch, and stays there.
    await tablet.device.sync()
    found = await take(tablet.device)
    assert contents(found) == []
    assert events.GroupChanged(ref.value, before, active=False) in found
    again = await bob.device.remove_lost(lost)
    assert (again.list_version, again.groups) == (3, ())


async def test_what_is_not_done_yet_is_stated_and_done_by_calling_again(world: World) -> None:
    _, bob, tablet, ref = await with_tablet(world)
    lost, calls = tablet.device.device, world.relay.calls

    def unreachable(call: str) -> None:
        if call.endswith("/commits"):
            raise RefusalError(503, "overloaded")

    def handled(call: str) -> None:
        try:
            unreachable(call)
        except RefusalError:
            world.relay.lose_answer.add("/commits")

    world.relay.before = handled
    stated = await bob.device.remove_lost(lost)
    # The answer was lost: whether the commit won is not known here.
    assert not stated.complete
    assert [exposure.removal for exposure in stated.groups] == [Removal.PENDING]
    assert stated.list_version == 3
    world.relay.before = lambda call: None
    await bob.device.sync()
    published = calls.count(f"POST accounts/{bob.device.account}/devices")
    after = await bob.device.remove_lost(lost)
    assert after.complete
    assert calls.count(f"POST accounts/{bob.device.account}/devices") == published
    assert lost not in {
        bob.device.directory.device_of(m.identity) for m in bob.device.engine.roster(bob.device.group(ref).group_id)
    }


async def test_only_a_device_with_the_identity_key_strikes_others_off(world: World) -> None:
    _, bob, tablet, ref = await with_tablet(world)
    with pytest.raises(DeviceError) as caught:
        await tablet.device.remove_lost(bob.device.device)
    assert caught.value.reason is DeviceReason.NO_IDENTITY_KEY
    with pytest.raises(DeviceError) as caught:
        await bob.device.remove_lost(bob.device.device)
    assert caught.value.reason is DeviceReason.NOT_THIS_DEVICE
    # A stopped group is stated as what it is: this device cannot remove anybody there.
    bob.device._state.close_group(ref, "log_forked")
    stated = await bob.device.remove_lost(tablet.device.device)
    assert [exposure.removal for exposure in stated.groups] == [Removal.STOPPED]


async def test_a_device_begins_anew_and_is_brought_back_by_a_member(world: World) -> None:
    alice, bob, ref = await world.pair()
    account, identity = enrolment(bob)
    old = bob.device.device
    bob.kill()
    fresh = world.phone()
    fresh.fill(account, identity)
    fresh.start()
    shown = await fresh.device.begin_anew(old, "tenant-key")
    assert (shown.version, [entry.device for entry in shown.devices]) == (2, [fresh.device.device])
    await fresh.device.publish_key_packages(3)
    packages = len(world.relay.packages[str(alice.device.device)])
    await alice.device.repair_group(ref)
    # Only what was missing was claimed.
    assert len(world.relay.packages[str(alice.device.device)]) == packages
    assert len(world.relay.packages[str(fresh.device.device)]) == 2
    await fresh.device.sync()
    await take(fresh.device)
    await alice.device.send(ref, b"welcome back")
    await alice.device.flush()
    await fresh.device.sync()
    assert contents(await take(fresh.device)) == [b"welcome back"]
    record = alice.device.group(ref)
    members = {alice.device.directory.device_of(m.identity) for m in alice.device.engine.roster(record.group_id)}
    assert members == {alice.device.device, fresh.device.device}
    # In step already: nothing is committed.
    epoch = alice.device.engine.epoch(record.group_id)
    assert await alice.device.repair_group(ref) == epoch
    bob.start()


async def test_beginning_anew_is_refused_without_the_key_or_for_nobody(world: World) -> None:
    _, bob, _ = await world.pair()
    account, identity = enrolment(bob)
    without, stranger, fresh = world.phone(), world.phone(), world.phone()
    without.fill(account, b"")
    stranger.fill(account, os.urandom(32))
    fresh.fill(account, identity)
    for phone in (without, stranger, fresh):
        phone.start()
    with pytest.raises(DeviceError) as caught:
        await without.device.begin_anew(bob.device.device, "tenant-key")
    assert caught.value.reason is DeviceReason.NO_IDENTITY_KEY
    with pytest.raises(GateError) as refused:
        await stranger.device.begin_anew(bob.device.device, "tenant-key")
    assert refused.value.reason is GateReason.LIST_REFUSED
    with pytest.raises(GateError) as refused:
        await fresh.device.begin_anew(DeviceId(bytes(16)), "tenant-key")
    assert refused.value.reason is GateReason.UNKNOWN_DEVICE
    with pytest.raises(RelayError):
        await fresh.device.begin_anew(bob.device.device, "no key")
    assert len(world.relay.lists[str(bob.device.account)]) == 1


async def test_a_group_starts_over_and_the_old_one_is_closed_for_everybody(world: World) -> None:
    alice, bob, tablet, ref = await with_tablet(world)
    fresh = await alice.device.replace_group(ref)
    assert fresh != ref
    for phone in (bob, tablet):
        await phone.device.sync()
        found = await take(phone.device)
        assert any(isinstance(event, events.GroupJoined) and event.group == fresh.value for event in found)
    for phone in (alice, bob, tablet):
        with pytest.raises(DeviceError) as caught:
            await phone.device.send(ref, b"old")
        assert caught.value.reason is DeviceReason.GROUP_STOPPED
    await bob.device.send(fresh, b"new")
    await bob.device.flush()
    for phone in (alice, tablet):
        await phone.device.sync()
        assert contents(await take(phone.device)) == [b"new"]
    # A group that is stopped here cannot be closed for others; the new one is made all the same.
    alice.device._state.close_group(fresh, "log_forked")
    third = await alice.device.replace_group(fresh)
    await bob.device.sync()
    assert third in bob.device.groups()


@pytest.mark.attack("A1")
async def test_a_second_welcome_on_a_used_key_package_is_refused(world: World) -> None:
    alice, bob = world.phone(), world.phone()
    await alice.enrol()
    await bob.enrol()
    ref = await alice.device.create_group()
    await alice.device.add_account(ref, bob.device.account)
    box = world.relay.boxes[str(bob.device.device)]
    welcome = dict(box.items[-1])
    await bob.device.sync()
    assert [type(event) for event in await take(bob.device)] == [events.GroupJoined]
    for restarted in (False, True):
        if restarted:
            bob.restart()
        again = GroupRef(os.urandom(16))
        box.head += 1
        box.items.append({**welcome, "sequence": box.head, "group": str(again)})
        await bob.device.sync()
        assert await take(bob.device) == [events.Finding(again.value, "welcome", "not_for_us", stopped=False)]
        assert bob.device.groups() == [ref]
