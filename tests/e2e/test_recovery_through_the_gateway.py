"""A lost device, and one that begins anew, through a real gateway process."""

import os
from pathlib import Path

import httpx

from letterlock.client import events
from letterlock.client.device import Device
from letterlock.client.enrolment import Enrolment, prepare
from letterlock.client.errors import RelayError, RelayReason
from letterlock.client.sealing import ClientKey
from letterlock.client.store import DeviceStore
from letterlock.lab.demo.world import GatewayProcess, Phone, PhoneClock, enrol, received, start_gateway


def beside(work: Path, gateway: GatewayProcess, phone: Phone, name: str, identity: bytes) -> Device:
    """Another device of the phone's account, not listed yet."""
    mine = phone.device._state.keys
    store = DeviceStore(work / f"{name}.db", ClientKey(os.urandom(32)))
    enrolment = Enrolment(mine.account_id, mine.tenant_id, mine.environment, mine.audience)
    prepare(store, enrolment, identity=identity)
    return Device(store, httpx.AsyncClient(base_url=gateway.url, timeout=20), PhoneClock())


async def closed(*devices: Device) -> None:
    for device in devices:
        device.close()
        await device._session._relay.http.aclose()


async def test_lost_and_begun_anew(tmp_path: Path) -> None:
    gateway = await start_gateway(tmp_path)
    alice, bob = await enrol(tmp_path, gateway, "alice", "lab"), await enrol(tmp_path, gateway, "bob", "lab")
    tablet = beside(tmp_path, gateway, bob, "tablet", b"")
    fresh = beside(tmp_path, gateway, bob, "fresh", bob.device._state.keys.identity)
    try:
        await bob.device.publish_list([tablet.entry])
        await tablet.publish_key_packages(2)
        group = await alice.device.create_group()
        await alice.device.add_account(group, bob.device.account)
        for device in (bob.device, tablet):
            await device.sync()
        await alice.device.send(group, b"to all")
        await alice.device.flush()
        await bob.device.sync()
        stated = await bob.device.remove_lost(tablet.device)
        assert stated.complete
        assert [exposure.group for exposure in stated.groups] == [group]
        refused = None
        try:
            await tablet.login()
        except RelayError as error:
            refused = error.reason
        assert refused is RelayReason.UNAUTHENTICATED
        await alice.device.sync()
        await alice.device.send(group, b"without the tablet")
        await alice.device.flush()
        await bob.device.sync()
        assert [event.content for event in received(bob)] == [b"to all", b"without the tablet"]
        # Now bob's phone loses its state, and takes its own place as a new device.
        await fresh.begin_anew(bob.device.device, gateway.api_key)
        await fresh.publish_key_packages(2)
        await alice.device.repair_group(group)
        await fresh.sync()
        await alice.device.send(group, b"welcome back")
        await alice.device.flush()
        await fresh.sync()
        found = [event for _, event in fresh.inbox()]
        assert [event.content for event in found if isinstance(event, events.Received)] == [b"welcome back"]
        assert not [event for event in found if isinstance(event, events.Finding)]
        successor = await alice.device.replace_group(group)
        await fresh.sync()
        assert successor in fresh.groups()
    finally:
        await closed(tablet, fresh)
        await alice.close()
        await bob.close()
        await gateway.stop()
