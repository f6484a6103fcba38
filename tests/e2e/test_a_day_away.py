"""A device is away for a day, by the clock of gateway and devices, and the gateway is killed again and again (S32)."""

import asyncio
import json
import os
import random
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from tests.e2e.moved_gateway import Moved, made
from tests.e2e.test_phones import verify_ledger

from letterlock.client import events
from letterlock.client.device import Device
from letterlock.client.enrolment import new_identity, prepare, register_account
from letterlock.client.relay import RelayCalls
from letterlock.client.sealing import ClientKey
from letterlock.client.store import DeviceStore
from letterlock.lab.demo.world import START_S, GatewayProcess
from letterlock.model.ids import AccountId, GroupRef
from letterlock.storage.sqlite.connection import open_reader

HOUR_MS = 3_600_000
DAY_HOURS = 24


async def start(work: Path, clock_file: Path) -> GatewayProcess:
    folder, settings, log = work / "store", work / "letterlock.toml", work / "gateway.log"
    settings.write_text(f"[server]\nport = 0\n[store]\nfolder = {json.dumps(str(folder))}\npurge_every_s = 1\n")
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.e2e.moved_gateway", str(clock_file), "serve", "--config", str(settings),
            "--announce", stdout=asyncio.subprocess.PIPE, stderr=errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), START_S)
    return GatewayProcess(process, json.loads(line)["url"], folder, log, folder)


class Day:
    """A gateway, devices, one clock, and what was sent."""

    def __init__(self, work: Path, seed: int) -> None:
        self.work = work
        self.chance = random.Random(seed)
        self.clock_file = work / "clock"
        self.clock: Moved = made(self.clock_file)
        self.devices: dict[str, Device] = {}
        self.clients: list[httpx.AsyncClient] = []
        self.sent: dict[str, list[str]] = {}
        self.kills = 0

    async def open(self) -> None:
        self.gateway = await start(self.work, self.clock_file)

    async def enrol(self, name: str) -> Device:
        http = httpx.AsyncClient(base_url=self.gateway.url, timeout=20)
        self.clients.append(http)
        seed, public = new_identity()
        enrolment = await register_account(RelayCalls(http, self.gateway.api_key), public)
        store = DeviceStore(self.work / f"{name}.db", ClientKey(os.urandom(32)))
        prepare(store, enrolment, identity=seed)
        device = Device(store, http, self.clock)
        await device.publish_list(tenant_key=self.gateway.api_key)
        await device.publish_key_packages(5)
        self.devices[name], self.sent[name] = device, []
        return device

    async def kill(self) -> None:
        """At whatever it is doing; then it starts on what is on disk."""
        self.kills += 1
        await self.gateway.kill()
        self.gateway = await start(self.work, self.clock_file)
        for http in self.clients:
            http.base_url = httpx.URL(self.gateway.url)

    async def killed_during(self, work: "asyncio.Task[object]") -> None:
        await asyncio.sleep(self.chance.random() * 0.03)
        await self.kill()
        await asyncio.gather(work, return_exceptions=True)

    async def write(self, name: str, group: GroupRef, count: int) -> None:
        device = self.devices[name]
        for _ in range(count):
            self.sent[name].append(f"{name} {len(self.sent[name])} {os.urandom(6).hex()}")
            await device.send(group, self.sent[name][-1].encode())

    async def settle(self, name: str) -> None:
        while await self.devices[name].flush():
            pass
        while await self.devices[name].sync():
            pass

    def rows(self, query: str) -> list[tuple[int, ...]]:
        with closing(open_reader(self.gateway.folder)) as db:
            return list(db.execute(query))

    async def until_rows(self, query: str, wanted: list[tuple[int, ...]]) -> None:
        for _ in range(300):
            if self.rows(query) == wanted:
                return
            await asyncio.sleep(0.05)
        assert self.rows(query) == wanted

    async def close(self) -> None:
        for device in self.devices.values():
            device.close()
        for http in self.clients:
            await http.aclose()
        await self.gateway.stop()


def texts(device: Device, sender: Device) -> list[str]:
    """What a device shows of another, in the order in which it shows it."""
    found = [event for _, event in device.inbox() if isinstance(event, events.Received)]
    return [event.content.decode() for event in found if event.device == sender.device.value]


@pytest.mark.parametrize(
    ("every_h", "kills", "messages"),
    [(6, 2, 10), pytest.param(1, 16, 24, marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
)
async def test_a_day_away_and_the_relay_killed_in_between(
    tmp_path: Path, every_h: int, kills: int, messages: int
) -> None:
    day = Day(tmp_path, kills)
    await day.open()
    try:
        alice, bob, carol = [await day.enrol(name) for name in ("alice", "bob", "carol")]
        dave = await day.enrol("dave")
        group = await alice.create_group()
        for other in (bob, carol):
            await alice.add_account(group, AccountId(other.account.value))
        await bob.sync()
        await carol.sync()
        await day.write("alice", group, messages)
        await day.settle("alice")
        first = "SELECT message, generation FROM sealed_body ORDER BY message LIMIT 1"
        ((oldest, generation),) = day.rows(first)
        began = day.clock.now_ms()

        hours = list(range(every_h, DAY_HOURS + 1, every_h))
        dies = set(day.chance.sample(hours, min(kills, len(hours))))
        for at, hour in enumerate(hours):
            day.clock.move(every_h * HOUR_MS)
            for name in ("alice", "carol"):
                await day.write(name, group, messages)
            if hour in dies:
                both = asyncio.gather(alice.flush(), carol.flush(), return_exceptions=True)
                await day.killed_during(asyncio.ensure_future(both))
            for name in ("alice", "carol"):
                await day.settle(name)
            if at == 0:
                await alice.add_account(group, AccountId(dave.account.value))
                await day.settle("dave")
            elif at == len(hours) // 2:
                await carol.refresh_keys(group)
                await alice.publish_key_packages(3)
            elif at == len(hours) - 2:
                await alice.remove_device(group, dave.device)
            # A purge, a turn of the storage keys and a signed head come each second.
            await asyncio.sleep(1.1)
        assert day.clock.now_ms() - began >= DAY_HOURS * HOUR_MS
        assert day.kills == len(dies)
        # The oldest body still waits, and its storage key is another by now: the first one is destroyed.
        ((still, turned),) = day.rows(first)
        assert still == oldest
        assert turned > generation
        assert texts(bob, alice) == []

        # Back again; and the gateway dies once more while the mailbox is read.
        await day.killed_during(asyncio.create_task(bob.sync()))
        for _ in range(3):  # what was said, the receipts for it, and what only has to be taken
            for name in ("bob", "alice", "carol", "dave"):
                await day.settle(name)
        for sender in (alice, carol):
            name = "alice" if sender is alice else "carol"
            assert len(day.sent[name]) >= messages * len(hours)
            assert texts(bob, sender) == day.sent[name]
        assert texts(carol, alice) == day.sent["alice"]
        assert texts(alice, carol) == day.sent["carol"]
        for device in (alice, bob, carol):
            assert not [event for _, event in device.inbox() if isinstance(event, events.Finding)]
            assert not device.group(group).stopped
        # Everything is acknowledged: no content is left at once, and no row of a message once its minutes are over.
        assert day.rows("SELECT count(*) FROM mailbox_item") == [(0,)]
        assert day.rows("SELECT count(*) FROM sealed_body") == [(0,)]
        assert day.rows("SELECT count(*) FROM message")[0][0] > 0
        day.clock.move(HOUR_MS)
        await day.until_rows("SELECT count(*) FROM message", [(0,)])
        await asyncio.sleep(1.2)
        verify_ledger(day.gateway.folder)
    finally:
        await day.close()
