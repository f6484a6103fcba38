"""A gateway for all attacks of a module, and for each attack its own relay, accounts and groups."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from tests.engines.adapters import Chosen, Make, MakeNamed, Seat, chosen, make, named, sidecar
from tests.malicious_relay.relay import Line, MaliciousRelay

from letterlock.client import events
from letterlock.client.device import Device
from letterlock.client.engine import EngineFactory
from letterlock.client.enrolment import Enrolment, new_identity, prepare, register_account
from letterlock.client.relay import RelayCalls
from letterlock.client.sealing import ClientKey
from letterlock.client.store import DeviceStore
from letterlock.lab.demo.world import GatewayProcess, PhoneClock, start_gateway
from letterlock.model.ids import GroupRef

__all__ = ["chosen", "make", "named", "sidecar"]


@dataclass
class Victim:
    """A device whose only way is the malicious relay."""

    name: str
    device: Device
    line: Line
    http: httpx.AsyncClient
    path: Path
    key: bytes
    factory: EngineFactory

    def stop(self) -> None:
        """The device's process ends."""
        self.device.close()

    def start(self) -> None:
        """And begins again on what is stored."""
        self.device = Device(DeviceStore(self.path, ClientKey(self.key)), self.http, PhoneClock(), self.factory)

    async def say(self, group: GroupRef, words: bytes) -> None:
        """Sends."""
        await self.device.send(group, words)
        await self.device.flush()

    async def told(self) -> list[events.DeviceEvent]:
        """What is new, after looking into the mailbox."""
        await self.device.sync()
        await self.device.flush()
        found = self.device.inbox()
        await self.device.take([position for position, _ in found])
        return [event for _, event in found]

    async def findings(self) -> list[tuple[str, str, bool]]:
        """What was refused, and whether the group stands since."""
        return [
            (event.operation, event.reason, event.stopped)
            for event in await self.told()
            if isinstance(event, events.Finding)
        ]

    async def heard(self) -> list[bytes]:
        """The words that were received and verified; any finding fails."""
        found = await self.told()
        assert not [event for event in found if isinstance(event, events.Finding)]
        return [event.content for event in found if isinstance(event, events.Received)]

    def fingerprint(self, group: GroupRef) -> bytes:
        """What a person compares."""
        return self.device.engine.fingerprint(self.device.group(group).group_id)


@dataclass
class Scene:
    """Devices, and the relay between them."""

    relay: MaliciousRelay
    gateway: GatewayProcess
    folder: Path
    factory: EngineFactory
    spy: Make
    victims: list[Victim] = field(default_factory=list)

    async def enrol(self, name: str, factory: EngineFactory | None = None) -> Victim:
        """A new account with one device, on the adapter under test unless another is named."""
        factory = factory or self.factory
        line = self.relay.line(name)
        http = httpx.AsyncClient(transport=line, base_url="http://relay.invalid")
        seed, public = new_identity()
        enrolment: Enrolment = await register_account(RelayCalls(http, self.gateway.api_key), public)
        path, key = self.folder / f"{name}.db", os.urandom(32)
        store = DeviceStore(path, ClientKey(key))
        prepare(store, enrolment, identity=seed)
        device = Device(store, http, PhoneClock(), factory)
        victim = Victim(name, device, line, http, path, key, factory)
        self.victims.append(victim)
        await device.publish_list(tenant_key=self.gateway.api_key)
        await device.publish_key_packages(5)
        return victim

    async def group(self, *names: str) -> tuple[GroupRef, list[Victim]]:
        """A group of new devices that all know each other's lists, and heard each other once."""
        found = [await self.enrol(name) for name in names]
        first, *others = found
        ref = await first.device.create_group()
        for victim in others:
            await first.device.add_account(ref, victim.device.account)
        for victim in found:
            await victim.device.sync()
        for victim in found:
            await victim.say(ref, b"hello from " + victim.name.encode())
        for _ in range(2):
            for victim in found:
                assert not await victim.findings()
        return ref, found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """One real gateway."""
    made = await start_gateway(tmp_path_factory.mktemp("gateway"))
    yield made
    await made.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def scene(
    adapter: str, chosen: Chosen, named: MakeNamed, gateway: GatewayProcess, tmp_path: Path
) -> AsyncIterator[Scene]:
    """An empty scene on the adapter under test."""
    relay = MaliciousRelay(gateway.url)
    made = Scene(relay, gateway, tmp_path, chosen(adapter), lambda: named(adapter))
    yield made
    for victim in made.victims:
        victim.device.close()
        await victim.http.aclose()


def external_commit(spy: Seat, group_id: bytes, group_info: bytes) -> bytes:
    """What anybody can make of a GroupInfo. The spy is then in a group of that id, one epoch on."""
    if hasattr(spy.engine, "join_by_external_commit"):
        commit: bytes = spy.engine.join_by_external_commit(group_id, group_info)
        return commit
    joined = spy.engine._client.join_by_external_commit(group_info)
    joined.save()
    return bytes(joined.last_commit().commit)
