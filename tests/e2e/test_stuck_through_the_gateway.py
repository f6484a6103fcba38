"""A commit that nobody but its maker can take, through a real gateway process: reported, quarantined, replaced."""

import os
from pathlib import Path

import pytest

from letterlock.client import events
from letterlock.client.errors import DeviceError, DeviceReason, RelayError, RelayReason
from letterlock.client.relay import CommitAnswer, GroupView
from letterlock.lab.demo.world import Phone, enrol, start_gateway
from letterlock.model.ids import GroupRef


async def commits_garbage(phone: Phone, group: GroupRef) -> None:
    """An insider's commit whose membership tag is wrong: the relay cannot see that, the other members can."""
    state = phone.device._state
    record = phone.device.group(group)
    made = state.engine.update(record.group_id)
    broken = bytearray(made.commit)
    broken[-1] ^= 1
    body = {
        "group_id": record.group_id,
        "base_epoch": made.base_epoch,
        "commit": bytes(broken),
        "idempotency_key": os.urandom(16),
        "state_counter": state.stated_counter(),
    }
    relay = await phone.device._session.relay()
    await relay.call("POST", f"/v1/groups/{group}/commits", CommitAnswer, body)
    state.engine.discard(record.group_id)


async def view(phone: Phone, group: GroupRef) -> GroupView:
    relay = await phone.device._session.relay()
    return await relay.call("GET", f"/v1/groups/{group}", GroupView)


def findings(phone: Phone) -> list[tuple[str, bool]]:
    return [(event.operation, event.stopped) for _, event in phone.device.inbox() if isinstance(event, events.Finding)]


async def test_a_commit_that_members_cannot_take(tmp_path: Path) -> None:
    gateway = await start_gateway(tmp_path)
    phones = [await enrol(tmp_path, gateway, name, "lab") for name in ("mallory", "bob", "carol", "dora")]
    mallory, bob, carol, dora = phones
    try:
        group = await mallory.device.create_group()
        for phone in (bob, carol, dora):
            await mallory.device.add_account(group, phone.device.account)
        for phone in (bob, carol, dora):
            await phone.device.sync()
        await commits_garbage(mallory, group)
        await bob.device.sync()
        assert findings(bob) == [("commit", True)]
        assert (await view(bob, group)).quarantine is None
        assert await bob.device.report_stuck() == (), "what was reported is not reported again"
        # Dora has not looked yet, and her message goes out; then carol looks, and that ends the group.
        await dora.device.send(group, b"before")
        assert await dora.device.flush() == 1
        await carol.device.sync()
        over = (await view(carol, group)).quarantine
        assert over is not None
        await dora.device.send(group, b"after")
        assert await dora.device.flush() == 0
        assert findings(dora)[-1] == ("send", True)
        with pytest.raises(DeviceError) as stopped:
            await dora.device.send(group, b"again")
        assert stopped.value.reason is DeviceReason.GROUP_STOPPED
        with pytest.raises(RelayError) as refused:
            await mallory.device.refresh_keys(group)
        assert refused.value.reason is RelayReason.GROUP_QUARANTINED
        assert findings(mallory) == [("commit", True)]
        # Nobody is in a new group before somebody makes one.
        assert [phone.device.groups() for phone in phones] == [[group]] * 4
        fresh = await bob.device.replace_group(group)
        for phone in (carol, dora):
            await phone.device.sync()
            assert fresh in phone.device.groups()
        await bob.device.send(fresh, b"here we are")
        await bob.device.flush()
        await carol.device.sync()
        heard = [event.content for _, event in carol.device.inbox() if isinstance(event, events.Received)]
        assert heard == [b"here we are"]
        with pytest.raises(DeviceError) as foreign:
            await dora.device.give_up_group(fresh)
        assert foreign.value.reason is DeviceReason.NOT_THE_AUTHOR
    finally:
        for phone in phones:
            await phone.close()
        await gateway.stop()


async def test_two_accounts_agree_that_it_is_over(tmp_path: Path) -> None:
    gateway = await start_gateway(tmp_path)
    phones = [await enrol(tmp_path, gateway, name, "lab") for name in ("alice", "bob")]
    alice, bob = phones
    try:
        group = await alice.device.create_group()
        await alice.device.add_account(group, bob.device.account)
        await bob.device.sync()
        await alice.device.refresh_keys(group)
        # Bob's device could not take it, say; it keeps what is to be reported until the relay has it.
        await bob.device.sync()
        with pytest.raises(DeviceError) as foreign:
            await bob.device.give_up_group(group)
        assert foreign.value.reason is DeviceReason.NOT_THE_AUTHOR
        told = await alice.device.give_up_group(group)
        assert (told.accounts, told.quarantined) == (1, False)
        with pytest.raises(DeviceError) as stopped:
            await alice.device.send(group, b"x")
        assert stopped.value.reason is DeviceReason.GROUP_STOPPED
        await bob.device.send(group, b"still open for bob")
        assert await bob.device.flush() == 1
    finally:
        for phone in phones:
            await phone.close()
        await gateway.stop()
