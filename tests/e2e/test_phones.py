"""Phones in processes of their own, through a real gateway process."""

import asyncio
import os
import random
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import httpx
import pytest

from letterlock.lab.demo.centre import CentreProcess
from letterlock.lab.demo.world import GatewayProcess, start_gateway
from letterlock.lab.phones import ANDROID_RCS, IOS_26_3, PhoneError, PhoneProcess, commands
from letterlock.lab.phones.phone import Phone
from letterlock.lab.phones.submit import submit_raw
from letterlock.lab.pytest_plugin import (
    PhoneMaker,
    letterlock_gateway,
    letterlock_phone,
    letterlock_smsc,
)
from letterlock.lab.scenarios.maker import shell

__all__ = ["letterlock_gateway", "letterlock_phone", "letterlock_smsc"]

TRACKED = {"protection": "E2EE", "grade": "TRACKED", "verifier": "gateway"}
ATTESTED = {"protection": "E2EE", "grade": "ATTESTED", "verifier": "device"}


async def conversation(alice: PhoneProcess, bob: PhoneProcess) -> str:
    group: str = (await alice.tell("create_group"))["group"]
    await alice.tell("add", group=group, account=bob.account)
    await bob.shown(1, "joined")
    return group


async def settled(phone: PhoneProcess) -> None:
    for _ in range(1000):
        if not (await phone.tell("status"))["waiting"]:
            return
        await asyncio.sleep(0.02)
    pytest.fail("the outbox does not become empty")


def verify_ledger(folder: Path) -> None:
    command = [sys.executable, "-m", "letterlock.app.cli", "ledger", "verify", "--data", str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command, check=True, capture_output=True, env=environment)


async def test_both_ways_with_both_receipts(letterlock_phone: PhoneMaker) -> None:
    alice, bob = await letterlock_phone(IOS_26_3), await letterlock_phone(ANDROID_RCS)
    group = await conversation(alice, bob)
    there = (await alice.tell("say", group=group, text="canary there"))["message"]
    (shown,) = await bob.shown(1)
    assert shown["text"] == "canary there"
    # Android's profile sends a read receipt of its own; the iPhone's owner has to ask for it.
    kinds = [one["what"] for one in await alice.shown(1, "read") if one.get("message") == there]
    assert sorted(kinds) == ["delivered", "read"]
    back = (await bob.tell("say", group=group, text="canary back"))["message"]
    assert (await alice.shown(1))[-1]["text"] == "canary back"
    assert [one["what"] for one in await bob.shown(1, "delivered")] == ["delivered"]
    await alice.tell("read", message=back)
    assert [one["message"] for one in await bob.shown(1, "read")] == [back]


@pytest.mark.attack("A3")
async def test_the_same_words_on_every_surface(
    letterlock_gateway: GatewayProcess, letterlock_phone: PhoneMaker
) -> None:
    """S12: what the API answers and what the stream delivers; only the device says more, of what it opened itself."""
    alice, bob = await letterlock_phone(IOS_26_3), await letterlock_phone(ANDROID_RCS)
    made = await alice.tell("create_group")
    group, epoch = made["group"], (await alice.tell("add", group=made["group"], account=bob.account))["epoch"]
    await bob.shown(1, "joined")
    await alice.tell("say", group=group, text="canary shown")
    (shown,) = await bob.shown(1)
    assert shown["server_says"] == TRACKED
    assert {name: shown[name] for name in ATTESTED} == ATTESTED
    # Plaintext in a shell with the right group and epoch, from a leaf of it: all that any server can tell is the group.
    body = shell(bytes.fromhex(made["group_id"]), epoch, b"canary in a shell" + bytes(40))
    answer = await alice.tell("raw", group=group, body=b64encode(body).decode())
    assert answer["status"] == "accepted"
    assert {name: answer["security"][name] for name in TRACKED} == TRACKED
    (refused,) = await bob.shown(1, "not shown")
    assert (refused["id"], refused["server_says"]) == (answer["message_id"], TRACKED)
    assert not {"text", "grade", "protection"} & set(refused)
    # What is no MLS message at all is quarantined, and reaches nobody.
    answer = await alice.tell("raw", group=group, body=b64encode(b"canary, readable").decode())
    assert answer["status"] == "quarantined"
    assert answer["security"]["grade"] == "NONE"
    assert await bob.screen() == []


async def test_raw_bytes_overtaken_by_the_phones_own_calls_are_sent_again(
    letterlock_gateway: GatewayProcess, tmp_path: Path
) -> None:
    phone = Phone(tmp_path, IOS_26_3)
    try:
        await phone.do(commands.Enrol(letterlock_gateway.url, letterlock_gateway.api_key))
        group = (await phone.do(commands.CreateGroup()))["group"]
        statuses: list[int] = []

        async def overtake(request: httpx.Request) -> None:
            if request.url.path.endswith("/messages") and not statuses:
                # The request is written, its counter in it; before it arrives, a newer one is stated.
                await phone.device.login()

        async def note(response: httpx.Response) -> None:
            if response.request.url.path.endswith("/messages"):
                statuses.append(response.status_code)

        async with httpx.AsyncClient(base_url=letterlock_gateway.url) as http:
            http.event_hooks = {"request": [overtake], "response": [note]}
            (result,) = await submit_raw(http, phone.device, group, [(os.urandom(16), b"canary, readable")])
        assert statuses == [409, 200]
        assert result["status"] == "quarantined"
    finally:
        await phone.close()


async def test_a_profile_is_on_the_signed_list(
    letterlock_gateway: GatewayProcess, letterlock_phone: PhoneMaker
) -> None:
    from base64 import b64decode

    from letterlock.assurance.device_list import parse_signed

    phone = await letterlock_phone(ANDROID_RCS)
    headers = {"Authorization": f"Bearer {letterlock_gateway.api_key}"}
    async with httpx.AsyncClient(base_url=letterlock_gateway.url, headers=headers) as http:
        answer = (await http.get(f"/v1/accounts/{phone.account}/device-list")).json()
    signed = parse_signed(b64decode(answer["versions"][0]["device_list"]))
    assert signed.content.devices[0].capabilities == ANDROID_RCS.tags


async def test_a_phone_answers_bad_commands_and_goes_on(letterlock_phone: PhoneMaker) -> None:
    phone = await letterlock_phone(IOS_26_3)
    for do, details in (("fly", {}), ("say", {"group": 1}), ("say", {"group": "grp_", "text": "canary"})):
        with pytest.raises(PhoneError) as refused:
            await phone.tell(do, **details)
        assert "canary" not in str(refused.value)
    assert (await phone.tell("status"))["groups"] == []


async def test_away_and_back_again(letterlock_phone: PhoneMaker) -> None:
    alice, bob = await letterlock_phone(IOS_26_3), await letterlock_phone(ANDROID_RCS)
    group = await conversation(alice, bob)
    texts: list[str] = []
    for absence in range(3):
        await bob.tell("disconnect")
        for number in range(10):
            texts.append(f"canary {absence} {number}")
            await alice.tell("say", group=group, text=texts[-1])
        await settled(alice)
        assert await bob.screen() == []
        await bob.tell("connect")
        shown = [one["text"] for one in await bob.shown(10) if one["what"] == "message"]
        assert shown == texts[-10:]


async def test_the_centre_is_there(letterlock_smsc: CentreProcess) -> None:
    assert await letterlock_smsc.tell(do="stats") == {"ok": True, "submits": 0, "links": 0}


@pytest.mark.parametrize("cycles", [10, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
async def test_kill_9_under_load(tmp_path: Path, cycles: int) -> None:
    """Open streams, both ways; the gateway is killed at random moments: nothing lost, nothing twice, in order."""
    chance = random.Random(cycles)
    gateway = await start_gateway(tmp_path)
    phones: list[PhoneProcess] = []
    try:
        for profile in (IOS_26_3, ANDROID_RCS):
            folder = tmp_path / profile.name
            folder.mkdir()
            phones.append(await PhoneProcess.start(profile, folder))
            await phones[-1].enrol(gateway.url, gateway.api_key)
            await phones[-1].tell("connect")
        alice, bob = phones
        group = await conversation(alice, bob)
        sent: dict[PhoneProcess, list[str]] = {alice: [], bob: []}
        seen: dict[PhoneProcess, list[str]] = {alice: [], bob: []}

        async def look(phone: PhoneProcess) -> None:
            shown = await phone.screen()
            assert not [one for one in shown if one["what"] == "not shown"]
            seen[phone] += [one["text"] for one in shown if one["what"] == "message"]

        for cycle in range(cycles):
            for number in range(5):
                for phone in phones:
                    sent[phone].append(f"canary {cycle} {number} {os.urandom(4).hex()}")
                    await phone.tell("say", group=group, text=sent[phone][-1])
            await asyncio.sleep(chance.random() * 0.1)
            await gateway.kill()
            gateway = await start_gateway(tmp_path)
            if cycle % 10 == 0:
                await asyncio.sleep(1.2)
                verify_ledger(gateway.folder)
            for phone in phones:
                await phone.tell("moved", url=gateway.url)
                await phone.tell("connect")
        async with asyncio.timeout(120):
            while seen[alice] != sent[bob] or seen[bob] != sent[alice]:
                for phone in phones:
                    await look(phone)
                await asyncio.sleep(0.05)
        for phone in phones:
            await settled(phone)
        await asyncio.sleep(1.2)
        for phone in phones:
            await look(phone)
        assert (seen[alice], seen[bob]) == (sent[bob], sent[alice])
        verify_ledger(gateway.folder)
    finally:
        for phone in phones:
            await phone.stop()
        await gateway.stop()
