"""The session handshake through a real gateway: killed in the middle, and a peer that lies; the ledger knows of it."""

import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from letterlock.assurance.handshake.checks import End
from letterlock.assurance.handshake.exchange import receive
from letterlock.assurance.handshake.machine import HandshakeState
from letterlock.client import events, handshakes
from letterlock.client.device import Device
from letterlock.client.enrolment import new_identity, prepare, register_account
from letterlock.client.handshakes import CAPABILITY
from letterlock.client.relay import RelayCalls
from letterlock.client.sealing import ClientKey
from letterlock.client.store import DeviceStore
from letterlock.lab.demo.world import GatewayProcess, PhoneClock, start_gateway
from letterlock.wire.handshake import Answer, Element, parse
from letterlock.wire.preimage import Signer, sign
from letterlock.wire.tlog.entries import Finding, decode_entry

WORDS = b"after the agreement"


class Signing:
    """A device that lists the handshake; it finds the gateway again where it was started anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.key = os.urandom(32)
        self.http: httpx.AsyncClient
        self.device: Device

    async def enrol(self, gateway: GatewayProcess) -> None:
        self.http = httpx.AsyncClient(base_url=gateway.url, timeout=20)
        seed, public = new_identity()
        enrolment = await register_account(RelayCalls(self.http, gateway.api_key), public)
        store = DeviceStore(self.path, ClientKey(self.key))
        prepare(store, enrolment, identity=seed, capabilities=frozenset({CAPABILITY}))
        self.device = Device(store, self.http, PhoneClock())
        await self.device.publish_list(tenant_key=gateway.api_key)
        await self.device.publish_key_packages(5)

    async def close(self) -> None:
        self.device.close()
        await self.http.aclose()

    async def at(self, gateway: GatewayProcess) -> None:
        """The same device, started again, at the gateway's new address."""
        await self.close()
        self.http = httpx.AsyncClient(base_url=gateway.url, timeout=20)
        self.device = Device(DeviceStore(self.path, ClientKey(self.key)), self.http, PhoneClock())

    async def turn(self) -> None:
        await self.device.flush()
        await self.device.sync()

    def contents(self) -> list[bytes]:
        return [event.content for _, event in self.device.inbox() if isinstance(event, events.Received)]


async def test_a_gateway_killed_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    gateway = await start_gateway(tmp_path)
    alice, bob = Signing(tmp_path / "alice.db"), Signing(tmp_path / "bob.db")
    await alice.enrol(gateway)
    await bob.enrol(gateway)
    try:
        ref = await alice.device.create_group()
        await alice.device.add_account(ref, bob.device.account)
        await alice.device.send(ref, WORDS)
        for _ in range(3):
            await alice.turn()
            await gateway.kill()
            gateway = await start_gateway(tmp_path)
            for phone in (alice, bob):
                await phone.at(gateway)
            await bob.turn()
        await alice.turn()
        await bob.turn()
        assert bob.contents() == [WORDS]
        for phone, other in ((alice, bob), (bob, alice)):
            assert phone.device.handshake(ref, other.device.account).state is HandshakeState.AGREED
    finally:
        await alice.close()
        await bob.close()
        await gateway.stop()


@pytest.mark.attack("A4")
async def test_a_strip_ends_both_delivers_nothing_and_stands_in_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stripped(data: bytes, end: End, signer: Signer) -> bytes:
        """The answer says that it was shown an offerer without suites: what a strip of the exchange would do."""
        element = parse(data)
        if not isinstance(element.content, Answer):
            return data
        said = element.content
        content = replace(said, seen=replace(said.seen, capabilities=replace(said.capabilities, suites=())))
        scope = element.party.scope(end.conversation, end.tenant, end.environment)
        return Element(content, element.party, sign(signer, content.purpose, scope, content.body())).encode()

    def lying(before, data, end, peer, nonce, signer):  # type: ignore[no-untyped-def]
        step = receive(before, data, end, peer, nonce, signer)
        return replace(step, send=tuple(stripped(one, end, signer) for one in step.send))

    monkeypatch.setattr(handshakes, "receive", lying)
    gateway = await start_gateway(tmp_path)
    alice, bob = Signing(tmp_path / "alice.db"), Signing(tmp_path / "bob.db")
    await alice.enrol(gateway)
    await bob.enrol(gateway)
    try:
        ref = await alice.device.create_group()
        await alice.device.add_account(ref, bob.device.account)
        await alice.device.send(ref, WORDS)
        for _ in range(5):
            await alice.turn()
            await bob.turn()
        assert bob.contents() == alice.contents() == []
        for phone in (alice, bob):
            assert phone.device.group(ref).stopped == "downgrade_detected"
    finally:
        await alice.close()
        await bob.close()
        await gateway.stop()
    assert "capability_suppressed" in findings(gateway.folder)


def findings(folder: Path) -> list[str]:
    """The findings of the stopped gateway's ledger."""
    with sqlite3.connect(folder / "letterlock.db") as store:
        entries = [decode_entry(row[0]) for row in store.execute("SELECT d FROM ledger_entry ORDER BY i")]
    return [entry.code.value for entry in entries if isinstance(entry, Finding)]
