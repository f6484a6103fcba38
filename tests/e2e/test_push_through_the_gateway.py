"""A gateway process and a push service: whoever is away is woken, whoever is here is not, and nothing is lost."""

import os
import time
from pathlib import Path

import pytest

from letterlock.client.errors import DeviceError, DeviceReason, RelayError, RelayReason
from letterlock.lab.demo.world import Phone, enrol, received, start_gateway, until
from letterlock.lab.push import LabApns, LabFcm, LabPushService, PushFault, UserAgent
from letterlock.lab.sweep import Canary, Directory, sweep
from letterlock.wire.push_targets import ApnsTarget, FcmTarget, WebTarget
from letterlock.wire.webpush import Subscription

WAKE_UP = b"letterlock wake-up"


async def subscribe(phone: Phone, service: LabPushService) -> str:
    endpoint, agent = service.subscribe(await phone.device.wake_key())
    assert await phone.device.wake_at(WebTarget(Subscription(endpoint, agent.public, agent.auth))) > time.time() * 1_000
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
            await alice.device.wake_at(WebTarget(Subscription("https://push.example.net/x", agent.public, agent.auth)))
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
            await bob.device.wake_at(WebTarget(Subscription("https://10.0.0.1/x", agent.public, agent.auth)))
        assert found.value.reason is RelayReason.REFUSED
        assert len(await bob.device.wake_key()) == len(agent.public)
        await bob.device.wake_at(WebTarget(Subscription("https://push.example.net/x", agent.public, agent.auth)))
        await bob.device.wake_no_more()
        await bob.device.wake_no_more()
    finally:
        await bob.close()
        await gateway.stop()


def apns_settings(service: LabApns, folder: Path) -> str:
    key = folder / "AuthKey.p8"
    key.touch(mode=0o600)
    key.write_bytes(service.key_pem)
    return (
        f'[apns]\nhost = "{service.host}"\nca = "{service.ca_file}"\nkey = "file:{key}"\n'
        f'key_id = "{service.KEY_ID}"\nteam_id = "{service.TEAM}"\ntopic = "{service.TOPIC}"\n'
    )


def fcm_settings(service: LabFcm, folder: Path) -> str:
    account = folder / "account.json"
    account.touch(mode=0o600)
    account.write_bytes(service.account_file())
    return f'[fcm]\nhost = "{service.host}"\nservice_account = "file:{account}"\n'


async def test_phones_of_apple_and_google_are_woken_though_pushes_fail_and_the_gateway_restarts(tmp_path: Path) -> None:
    mark = "LETTERCANARY" + os.urandom(8).hex()
    async with LabApns(time.time, tmp_path).listening() as apple, LabFcm(time.time).listening() as google:
        more = apns_settings(apple, tmp_path) + fcm_settings(google, tmp_path)
        gateway = await start_gateway(tmp_path, further=more)
        alice, bob, eve = [await enrol(tmp_path, gateway, name, "lab") for name in ("alice", "bob", "eve")]
        try:
            alice.connect()
            for_bob, for_eve = apple.device(), google.device()
            await bob.device.wake_at(ApnsTarget(for_bob))
            await eve.device.wake_at(FcmTarget(for_eve))
            # The first try of each fails; a push that fails costs no message and is tried again.
            apple.faults.append(PushFault(0))
            google.faults.append(PushFault(503, "UNAVAILABLE"))
            group = await alice.device.create_group()
            for other in (bob, eve):
                await alice.device.add_account(group, other.device.account)
            for number in range(5):
                await alice.device.send(group, f"{mark} {number}".encode())
            assert await until(lambda: apple.requests > 0 and google.requests > 1)
            await gateway.kill()
            gateway = await start_gateway(tmp_path, further=more)
            assert await until(lambda: bool(apple.woken) and bool(google.woken)), "who waits is woken after a start"
            assert [woken.token for woken in apple.woken] == [for_bob]
            assert [woken.token for woken in google.woken] == [for_eve]
            assert (apple.refused, google.refused) == ([], [])
            for phone in (bob, eve):
                phone.moved(gateway)
                phone.connect()
            assert await until(lambda: len(received(bob)) == len(received(eve)) == 5)
            seen = tmp_path / "seen"
            seen.mkdir()
            (seen / "apple").write_bytes(bytes(apple.seen))
            (seen / "google").write_bytes(bytes(google.seen))
            names = [alice.device.account, alice.device.device, bob.device.account, eve.device.account, group]
            canaries = [Canary("text", mark), *(Canary(f"id {n}", one.value.hex()) for n, one in enumerate(names))]
            report = sweep(canaries, [Directory(seen, "what the push services saw")])
            assert report.proven
            assert report.hits == 0
            secrets = [Canary("apns token", for_bob.hex()), Canary("fcm token", for_eve[-40:])]
            found = sweep(secrets, [Directory(gateway.folder, "store")])
            assert found.proven
            assert found.hits == 0
            assert not any(secret in gateway.log.read_text() for secret in (for_bob.hex(), for_eve[-40:]))
        finally:
            for phone in (alice, bob, eve):
                await phone.close()
            await gateway.stop()


async def test_a_key_that_apple_refuses_is_said_to_the_operator_and_loses_nothing(tmp_path: Path) -> None:
    async with LabApns(time.time, tmp_path).listening() as apple:
        more = apns_settings(apple, tmp_path).replace(apple.TEAM, "TEAM654321")
        gateway = await start_gateway(tmp_path, further=more)
        alice, bob = await enrol(tmp_path, gateway, "alice", "lab"), await enrol(tmp_path, gateway, "bob", "lab")
        try:
            alice.connect()
            token = apple.device()
            await bob.device.wake_at(ApnsTarget(token))
            with pytest.raises(RelayError) as found:
                await bob.device.wake_at(FcmTarget("x" * 100))
            assert found.value.reason is RelayReason.CONFLICT, "no such push service is named"
            group = await alice.device.create_group()
            await alice.device.add_account(group, bob.device.account)
            await alice.device.send(group, b"still here")
            assert await until(lambda: "push_key_refused" in gateway.log.read_text())
            assert token.hex() not in gateway.log.read_text()
            assert apple.refused[0] == (403, "InvalidProviderToken")
            bob.connect()
            assert await until(lambda: len(received(bob)) == 1)
        finally:
            await alice.close()
            await bob.close()
            await gateway.stop()
