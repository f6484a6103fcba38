"""Devices on two MLS implementations in one group, through a real gateway process."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tests.engines.adapters import FOREIGN, TABLE, Chosen

from letterlock.client import events
from letterlock.client.device import Device
from letterlock.client.engines import DEFAULT
from letterlock.lab.demo.world import GatewayProcess, Phone, enrol, received, start_gateway
from letterlock.model.ids import GroupRef

pytestmark = [pytest.mark.foreign, pytest.mark.needs("node")]


@asynccontextmanager
async def phones(folder: Path, chosen: Chosen, *engines: str) -> AsyncIterator[tuple[GatewayProcess, list[Phone]]]:
    async with AsyncExitStack() as stack:
        gateway = await start_gateway(folder)
        stack.push_async_callback(gateway.stop)
        made = []
        for number, name in enumerate(engines):
            made.append(await enrol(folder, gateway, f"phone{number}", "lab", chosen(name)))
            stack.push_async_callback(made[-1].close)
        yield gateway, made


async def everybody_hears_everybody(group: GroupRef, phones: list[Phone], round_: int) -> None:
    said = {phone: f"{phone.name} in round {round_}".encode() for phone in phones}
    for phone in phones:
        await phone.device.send(group, said[phone])
        await phone.device.flush()
    for phone in phones:
        await phone.device.sync()
        heard = [event.content for event in received(phone)]
        assert set(heard) >= {words for other, words in said.items() if other is not phone}
        assert len(heard) == len(set(heard))
    for work in (Device.flush, Device.sync):  # receipts there and back
        for phone in phones:
            await work(phone.device)
    prints = {phone.device.engine.fingerprint(phone.device.group(group).group_id) for phone in phones}
    assert len(prints) == 1


@pytest.mark.parametrize("first", TABLE)
async def test_a_mixed_group_lives_its_life(tmp_path: Path, chosen: Chosen, first: str) -> None:
    second = FOREIGN if first == DEFAULT else DEFAULT
    async with phones(tmp_path, chosen, first, second, first, second) as (_, everybody):
        ann, bob, carol, dave = everybody
        group = await ann.device.create_group()
        await ann.device.add_account(group, bob.device.account)
        await bob.device.sync()
        await everybody_hears_everybody(group, [ann, bob], 1)
        # Each adds one of its own kind.
        await bob.device.add_account(group, dave.device.account)
        await ann.device.sync()
        await ann.device.add_account(group, carol.device.account)
        for phone in (bob, carol, dave):
            await phone.device.sync()
        await everybody_hears_everybody(group, everybody, 2)
        for phone in everybody:
            await phone.device.refresh_keys(group)
            for other in everybody:
                await other.device.sync()
        await everybody_hears_everybody(group, everybody, 3)
        # Each removes one of the other kind.
        await bob.device.remove_device(group, carol.device.device)
        for phone in (ann, dave, carol):
            await phone.device.sync()
        await ann.device.remove_device(group, dave.device.device)
        for phone in (bob, dave):
            await phone.device.sync()
        await everybody_hears_everybody(group, [ann, bob], 4)
        for phone in (carol, dave):
            assert b"in round 4" not in b"".join(event.content for event in received(phone))
            assert not [event for _, event in phone.device.inbox() if isinstance(event, events.Finding)]
        receipts = [event for _, event in ann.device.inbox() if isinstance(event, events.ReceiptSeen)]
        # Rounds 1 to 4 were heard by 1, 3, 3 and 1 others; each says so once.
        assert len(receipts) == 8


@pytest.mark.parametrize("first", TABLE)
async def test_a_gateway_that_is_killed_between_two_engines(tmp_path: Path, chosen: Chosen, first: str) -> None:
    second = FOREIGN if first == DEFAULT else DEFAULT
    async with AsyncExitStack() as stack:
        gateway = await start_gateway(tmp_path)
        ann = await enrol(tmp_path, gateway, "ann", "lab", chosen(first))
        bob = await enrol(tmp_path, gateway, "bob", "lab", chosen(second))
        for phone in (ann, bob):
            stack.push_async_callback(phone.close)
        group = await ann.device.create_group()
        await ann.device.add_account(group, bob.device.account)
        texts = [f"message {number}".encode() for number in range(10)]
        for text in texts[:5]:
            await ann.device.send(group, text)
        await ann.device.flush()
        await gateway.kill()
        for text in texts[5:]:
            await ann.device.send(group, text)
        gateway = await start_gateway(tmp_path)
        stack.push_async_callback(gateway.stop)
        for phone in (ann, bob):
            phone.http.base_url = gateway.url
        await ann.device.flush()
        while await bob.device.sync():
            pass
        assert [event.content for event in received(bob)] == texts
        assert not ann.device.waiting(0, 10)
