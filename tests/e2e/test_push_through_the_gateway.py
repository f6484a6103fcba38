"""A gateway process and a push service: whoever is away is woken, whoever is here is not, and nothing is lost."""

import base64
import os
import time
from pathlib import Path

import httpx

from letterlock.lab.demo.world import Phone, enrol, received, start_gateway, until
from letterlock.lab.push import LabPushService, PushFault
from letterlock.lab.sweep import Canary, Directory, sweep

WAKE_UP = b"letterlock wake-up"


async def subscribe(phone: Phone, url: str, service: LabPushService) -> str:
    headers = {"authorization": f"Bearer {await phone.device.token(renew=False)}"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as http:
        offer = (await http.get("/v1/push")).json()
        assert offer["offered"]
        endpoint, agent = service.subscribe(base64.b64decode(offer["public_key"]))
        body = {
            "endpoint": endpoint,
            "p256dh": base64.b64encode(agent.public).decode(),
            "auth": base64.b64encode(agent.auth).decode(),
        }
        answer = await http.put(f"/v1/devices/{phone.device.device}/push", json=body)
        assert answer.status_code == 200, answer.text
    return endpoint


async def test_the_phone_that_is_away_is_woken_and_gets_everything(tmp_path: Path) -> None:
    mark = "LETTERCANARY" + os.urandom(8).hex()
    async with LabPushService(time.time).listening() as service:
        gateway = await start_gateway(tmp_path, push_host=service.host)
        alice, bob = await enrol(tmp_path, gateway, "alice", "lab"), await enrol(tmp_path, gateway, "bob", "lab")
        try:
            alice.connect()
            away = await subscribe(bob, gateway.url, service)
            await subscribe(alice, gateway.url, service)
            group = await alice.device.create_group()
            await alice.device.add_account(group, bob.device.account)
            service.faults.append(PushFault(500))
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
