"""People whose tenant sends for them: devices of one account, in this process, on a real engine and a real store."""

import os
from pathlib import Path
from typing import Any

import httpx
from tests.open_messages.world import World

from letterlock.app.clock import SystemClock
from letterlock.app.gateway import API_KEY_FILE
from letterlock.client.device import Device
from letterlock.client.enrolment import Enrolment, new_identity, prepare, register_account
from letterlock.client.relay import RelayCalls
from letterlock.client.sealing import ClientKey
from letterlock.client.store import DeviceStore


class Person:
    """An account with its first device; more can be added."""

    def __init__(self, world: World, enrolment: Enrolment, device: Device) -> None:
        self.world = world
        self.enrolment = enrolment
        self.device = device
        self.opened = [device]

    @property
    def sender(self) -> str:
        return str(self.enrolment.account)

    async def another_device(self) -> Device:
        """A second device of the account, on its list from now on."""
        store = DeviceStore(self.world.folder / f"{os.urandom(4).hex()}.device", ClientKey(os.urandom(32)))
        prepare(store, self.enrolment)
        device = Device(store, http_of(self.world), SystemClock())
        await self.device.publish_list([device.entry])
        self.opened.append(device)
        return device

    async def token(self, device: Device | None = None) -> str:
        return await (device or self.device).token(renew=False)

    async def call(self, method: str, path: str, body: Any = None, device: Device | None = None) -> httpx.Response:
        """A call of a device of this person, below its own path."""
        one = device or self.device
        headers = {"authorization": f"Bearer {await self.token(one)}"}
        async with http_of(self.world) as http:
            return await http.request(method, f"/v1/devices/{one.device}{path}", json=body, headers=headers)

    def close(self) -> None:
        for device in self.opened:
            device.close()


class Present(httpx.AsyncBaseTransport):
    """To the gateway that is there now: it may have been started again since."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await httpx.ASGITransport(self._world.gateway.face).handle_async_request(request)


def http_of(world: World) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=Present(world), base_url="http://gateway")


async def person(world: World, api_key: str = "") -> Person:
    """Enrols an account and its device, as an adopter would."""
    key = api_key or (world.folder / API_KEY_FILE).read_text().strip()
    http = http_of(world)
    seed, public = new_identity()
    enrolment = await register_account(RelayCalls(http, key), public)
    folder: Path = world.folder
    store = DeviceStore(folder / f"{os.urandom(4).hex()}.device", ClientKey(os.urandom(32)))
    prepare(store, enrolment, identity=seed)
    device = Device(store, http, SystemClock())
    await device.publish_list(tenant_key=key)
    await device.login()
    return Person(world, enrolment, device)
