"""A gateway process and a push service: whoever is away is woken, whoever is here is not, and nothing is lost."""

import os
import time
from pathlib import Path

import pytest

from letterlock.client.errors import DeviceError, DeviceReason, RelayError, RelayReason
from letterlock.lab.demo.world import Phone, enrol, received, start_gateway, until
from letterlock.lab.push import LabPushService, UserAgent
from letterlock.lab.sweep import Canary, Directory, sweep
from letterlock.wire.webpush import Subscription

WAKE_UP = b"letterlock wake-up"


async def subscribe(phone: Phone, service: LabPushService) -> str:
    endpoint, agent = service.subscribe(await phone.device.wake_key())
    assert await phone.device.wake_at(Subscription(endpoint, agent.public, agent.auth)) > time.time() * 1_000
    return endpoint


async def test_the_phone_that_is_away_is_woken_and_gets_everything(tmp_path: Path) -> None:
    mark = "LETTERCANARY" + os.urandom(8).hex()
    async with LabPushService(time.time).listening() as service:
        gateway = await start_gateway(tmp_path, push_host=service.host)
        alice, bob = await enrol(tmp_path, gateway, "alice", "lab"), await enrol(tmp_path, gateway, "bob", "lab")
        try:
            alice.connect()
            away = await subscribe(bob, service)
            await subscribe(alice, service)
            group = await alice.device.create_group()
            await alice.device.add_account(group, bob.device.account)
            for number in range(10):
                await alice.device.send(group, f"{mark} {number}".encode())
            assert await until(lambda: bool(service.woken))
            assert service.refused == []
            assert {woken.endpoint for woken in service.woken} == {away}
            assert {woken.content.rstrip(b"\0") for woken in service.woken} == {WAKE_UP}
            assert len(service.woken) == 1, "one for all ten"
            bob.connect()
            assert await until(lambda: len(received(bob)) == 10)
            seen = tmp_path / "seen"
            seen.mkdir()
            (seen / "requests").write_bytes(bytes(service.seen))
            names = [alice.device.account, alice.device.device, bob.device.account, bob.device.device, group]
            canaries = [Canary("text", mark), *(Canary(f"id {n}", one.value.hex()) for n, one in enumerate(names))]
            report = sweep(canaries, [Directory(seen, "what the push service saw")])
            assert report.proven
            assert report.hits == 0
            found = sweep([Canary("address", away[-32:])], [Directory(gateway.folder, "store")])
            assert found.proven
            assert found.hits == 0
            assert away[-32:] not in gateway.log.read_text()
        finally:
            await alice.close()
            await bob.close()
            await gateway.stop()


async def test_a_device_hears_why_it_will_not_be_woken(tmp_path: Path) -> None:
    agent = UserAgent()
    gateway = await start_gateway(tmp_path)
    alice = await enrol(tmp_path, gateway, "alice", "lab")
    try:
        with pytest.raises(DeviceError) as none:
            await alice.device.wake_key()
        assert none.value.reason is DeviceReason.PUSH_NOT_OFFERED
        with pytest.raises(RelayError) as found:
            await alice.device.wake_at(Subscription("https://push.example.net/x", agent.public, agent.auth))
        assert found.value.reason is RelayReason.CONFLICT
        await alice.device.wake_no_more()
    finally:
        await alice.close()
        await gateway.stop()
    (tmp_path / "other").mkdir()
    gateway = await start_gateway(tmp_path / "other", push_host="push.example.net")
    bob = await enrol(tmp_path, gateway, "bob", "lab")
    try:
        with pytest.raises(RelayError) as found:
            await bob.device.wake_at(Subscription("https://10.0.0.1/x", agent.public, agent.auth))
        assert found.value.reason is RelayReason.REFUSED
        assert len(await bob.device.wake_key()) == len(agent.public)
        await bob.device.wake_at(Subscription("https://push.example.net/x", agent.public, agent.auth))
        await bob.device.wake_no_more()
        await bob.device.wake_no_more()
    finally:
        await bob.close()
        await gateway.stop()
