"""Devices that send without a session, against a whole gateway with the profile "high-risk": what gets where, what the
relay is told, and that nothing ever falls back."""

import json
import os
import time
from base64 import b64decode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from letterlock.app.gateway import Gateway, open_gateway
from letterlock.app.settings import from_tree
from letterlock.client import events
from letterlock.client.device import Device
from letterlock.client.enrolment import new_identity, prepare, register_account
from letterlock.client.errors import DeviceError, DeviceReason, RelayError, RelayReason
from letterlock.client.inbound import Item
from letterlock.client.relay import RelayCalls
from letterlock.client.sealing import ClientKey
from letterlock.client.store import DeviceStore
from letterlock.client.tokens import BUNDLE, HELD, LOW, Bundle
from letterlock.model.clock import ManualClock
from letterlock.model.ids import GroupRef
from letterlock.storage.sqlite.connection import open_reader
from letterlock.wire.delivery import HEAD_BYTES
from letterlock.wire.stream import ItemKind


class Line(httpx.AsyncBaseTransport):
    """One device's way to the gateway: what went over it, and what is lost on it."""

    def __init__(self, gateway: Gateway) -> None:
        self._inner = httpx.ASGITransport(gateway.face)
        self.requests: list[httpx.Request] = []
        self.lose_answers = 0
        self.down = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("down")
        self.requests.append(request)
        response = await self._inner.handle_async_request(request)
        if self.lose_answers:
            self.lose_answers -= 1
            await response.aread()
            raise httpx.ReadError("lost on the way back")
        return response


class Phone:
    def __init__(self, gateway: Gateway, path: Path, *, apart: bool = True) -> None:
        self.session, self.apart = Line(gateway), Line(gateway)
        self.http = httpx.AsyncClient(transport=self.session, base_url="http://gateway.test")
        self.other = httpx.AsyncClient(transport=self.apart, base_url="http://gateway.test") if apart else None
        self.path, self.key = path, os.urandom(32)
        self.clock = ManualClock(time.time_ns() // 1_000_000)
        self.device: Device

    def start(self) -> Device:
        self.device = Device(DeviceStore(self.path, ClientKey(self.key)), self.http, self.clock, apart=self.other)
        return self.device

    async def enrol(self, key: str) -> None:
        seed, public = new_identity()
        enrolment = await register_account(RelayCalls(self.http, key), public)
        store = DeviceStore(self.path, ClientKey(self.key))
        prepare(store, enrolment, identity=seed)
        store.close()
        self.start()
        await self.device.publish_list(tenant_key=key)
        await self.device.publish_key_packages(5)

    async def turn(self) -> None:
        """Everything that waits is sent, everything that came is taken."""
        while await self.device.flush():
            pass
        if self.other is not None:
            await self.device.flush_hidden()
        await self.device.sync()

    def heard(self) -> list[events.DeviceEvent]:
        return [event for _, event in self.device.inbox()]

    def texts(self) -> list[bytes]:
        return [event.content for event in self.heard() if isinstance(event, events.Received)]

    def findings(self) -> list[tuple[str, str]]:
        return [(event.operation, event.reason) for event in self.heard() if isinstance(event, events.Finding)]

    def sent_openly(self) -> int:
        """Messages over the session so far."""
        return sum(one.url.path.endswith("/messages") for one in self.session.requests)


class World:
    def __init__(self, folder: Path, gateway: Gateway, key: str) -> None:
        self.folder, self.gateway, self.key = folder, gateway, key
        self.phones: list[Phone] = []

    async def phone(self, *, apart: bool = True) -> Phone:
        made = Phone(self.gateway, self.folder / f"{len(self.phones)}.db", apart=apart)
        await made.enrol(self.key)
        self.phones.append(made)
        return made

    async def group(self, *phones: Phone) -> GroupRef:
        first, *others = phones
        ref = await first.device.create_group()
        for other in others:
            await first.device.add_account(ref, other.device.account)
        await self.turns()
        return ref

    async def turns(self, count: int = 3) -> None:
        for _ in range(count):
            for phone in self.phones:
                await phone.turn()

    async def hidden(self, *phones: Phone) -> GroupRef:
        """A group whose members have handed out tokens and send by them."""
        ref = await self.group(*phones)
        for phone in phones:
            assert await phone.device.hand_out_tokens(ref) == len(phones) - 1
            await self.turns(1)
        await self.turns(1)
        for phone in phones:
            assert phone.device.can_hide(ref)
            await phone.device.hide(ref)
        return ref

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        db = open_reader(self.folder / "store")
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()


@asynccontextmanager
async def world_of(folder: Path, profile: str = "high-risk") -> AsyncGenerator[World]:
    settings = {"store": {"folder": str(folder / "store")}, "policy": {"profile": profile}, "log": {"level": "error"}}
    (folder / "store").mkdir()
    gateway = await open_gateway(from_tree(settings))
    key = (folder / "store" / "api-key").read_text().strip()
    made = World(folder, gateway, key)
    try:
        yield made
    finally:
        for phone in made.phones:
            phone.device.close()
            await phone.http.aclose()
            if phone.other is not None:
                await phone.other.aclose()
        await gateway.close()


async def test_messages_and_receipts_travel_without_a_session(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        alice, bob = await world.phone(), await world.phone()
        ref = await world.hidden(alice, bob)
        openly = [phone.sent_openly() for phone in (alice, bob)]
        for text in (b"one", b"two"):
            await alice.device.send(ref, text)
        await bob.device.send(ref, b"and back")
        await world.turns()
        assert (bob.texts(), alice.texts()) == ([b"one", b"two"], [b"and back"])
        seen = [event for event in alice.heard() if isinstance(event, events.ReceiptSeen)]
        assert len(seen) == 2
        assert (alice.findings(), bob.findings()) == ([], [])
        assert [phone.sent_openly() for phone in (alice, bob)] == openly, "nothing more over the session"
        for phone in (alice, bob):
            asked = phone.apart.requests
            assert len(asked) >= 3
            assert {one.url.path for one in asked} == {"/v1/deliveries"}
            for one in asked:
                assert not {"authorization", "cookie"} & set(one.headers)
                assert set(json.loads(one.content)) == {"token", "body"}
        # Nothing of the sender or the group is in the relay's rows of them, nor in what it was given.
        delivered = world.rows("SELECT sender, group_no FROM message WHERE grade=1")
        assert len(delivered) >= 6
        assert set(delivered) == {(None, None)}
        group_id = alice.device.group(ref).group_id
        assert all(group_id not in b64decode(json.loads(one.content)["body"]) for one in alice.apart.requests)
        sizes = {len(json.loads(one.content)["body"]) for one in alice.apart.requests + bob.apart.requests}
        assert len(sizes) == 1, "a short text, and a receipt"


async def test_a_group_of_three_each_copy_with_its_own_token(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        phones = [await world.phone() for _ in range(3)]
        ref = await world.hidden(*phones)
        await phones[0].device.send(ref, b"to both")
        assert await phones[0].device.flush() == 0
        assert await phones[0].device.flush_hidden() == 2
        bodies = [one.content for one in phones[0].apart.requests]
        assert len(set(bodies)) == len(bodies)
        await world.turns()
        assert [phone.texts() for phone in phones[1:]] == [[b"to both"]] * 2
        assert [phone.findings() for phone in phones] == [[]] * 3


async def test_without_tokens_nothing_is_sealed_and_nothing_goes_another_way(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        alice, bob = await world.phone(), await world.phone()
        ref = await world.group(alice, bob)
        assert not alice.device.can_hide(ref)
        await alice.device.hide(ref)
        openly, counter = alice.sent_openly(), alice.device.state_counter()
        with pytest.raises(DeviceError) as caught:
            await alice.device.send(ref, b"never openly")
        assert caught.value.reason is DeviceReason.NO_DELIVERY_TOKENS
        assert caught.value.facts["device"] == bob.device.device
        assert (alice.device.state_counter(), alice.device.waiting(0, 9)) == (counter, [])
        await world.turns()
        assert alice.sent_openly() == openly
        assert bob.texts() == []
        # A receipt is not sent openly either; the device is told.
        await bob.device.send(ref, b"hello")
        await world.turns()
        assert alice.texts() == [b"hello"]
        assert alice.findings() == [("receipt", "no_delivery_tokens_of_a_member")]
        assert alice.sent_openly() == openly
        # Beside it: by an explicit word it goes over the session again.
        await alice.device.hide_no_more(ref)
        await alice.device.send(ref, b"openly")
        await world.turns()
        assert bob.texts() == [b"openly"]


async def test_without_a_connection_apart_nothing_can_be_hidden(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        alice, bob = await world.phone(apart=False), await world.phone()
        ref = await world.group(alice, bob)
        with pytest.raises(DeviceError) as caught:
            await alice.device.hide(ref)
        assert caught.value.reason is DeviceReason.NO_WAY_APART
        await bob.device.hide(ref)


async def test_lost_answers_and_crashes_send_nothing_twice_and_use_no_token_twice(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        alice, bob = await world.phone(), await world.phone()
        ref = await world.hidden(alice, bob)
        await alice.device.send(ref, b"once")
        alice.apart.lose_answers = 2
        for _ in range(2):
            with pytest.raises(RelayError):
                await alice.device.flush_hidden()
        alice.device.close()
        alice.start()
        assert await alice.device.flush_hidden() == 1, "the first answer, once more"
        tried = alice.apart.requests[-3:]
        assert len({one.content for one in tried}) == 1
        alice.apart.down = True
        await alice.device.send(ref, b"while away")
        with pytest.raises(RelayError) as caught:
            await alice.device.flush_hidden()
        assert caught.value.reason is RelayReason.UNREACHABLE
        alice.apart.down = False
        await world.turns()
        assert bob.texts() == [b"once", b"while away"]
        shown = [json.loads(one.content) for one in alice.apart.requests]
        by_token: dict[str, set[str]] = {}
        for one in shown:
            by_token.setdefault(one["token"], set()).add(one["body"])
        assert all(len(bodies) == 1 for bodies in by_token.values())
        assert (alice.findings(), bob.findings()) == ([], [])


async def test_tokens_run_low_and_more_are_handed_out_hidden_too(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        alice, bob = await world.phone(), await world.phone()
        ref = await world.hidden(alice, bob)
        openly = [phone.sent_openly() for phone in (alice, bob)]
        for number in range(BUNDLE):
            await alice.device.send(ref, b"%d" % number)
            if number % 8 == 7:
                await world.turns(2)
        await world.turns()
        assert bob.texts() == [b"%d" % number for number in range(BUNDLE)]
        assert [phone.sent_openly() for phone in (alice, bob)] == openly
        assert alice.device.can_hide(ref)
        assert (alice.findings(), bob.findings()) == ([], [])
        more = alice.device._state.store.get(HELD, bob.device.device.value)
        assert more is not None
        assert sum(one.count - one.next for one in msgspec.msgpack.decode(more, type=list[Bundle])) > LOW


async def test_a_recipient_takes_its_tokens_back(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        alice, bob = await world.phone(), await world.phone()
        ref = await world.hidden(alice, bob)
        await alice.device.send(ref, b"in time")
        await alice.device.flush_hidden()
        assert await bob.device.revoke_tokens(alice.device.device) == BUNDLE - len(alice.apart.requests)
        await alice.device.send(ref, b"too late")
        await alice.device.flush_hidden()
        assert alice.findings() == [("send", "no_delivery_tokens_of_a_member")], (
            "each of them was tried, and none openly"
        )
        await bob.device.sync()
        assert bob.texts() == [b"in time"]


async def test_what_a_relay_makes_up_is_no_message(tmp_path: Path) -> None:
    async with world_of(tmp_path) as world:
        alice, bob = await world.phone(), await world.phone()
        ref = await world.hidden(alice, bob)
        await alice.device.send(ref, b"real")
        await alice.device.flush_hidden()
        real = b64decode(json.loads(alice.apart.requests[-1].content)["body"])
        cursor = bob.device.cursor()
        for at, body in enumerate((b"short", real[:HEAD_BYTES] + bytes(200), b"\1" + bytes(300)), 1):
            await bob.device._receiving.take_items([Item(cursor + at, ItemKind.DELIVERY, b"", 0, body)])
        assert bob.findings() == [
            ("delivery", "not_a_sealed_delivery"),
            ("delivery", "delivery_not_authentic"),
            ("delivery", "delivery_for_a_token_that_was_not_handed_out"),
        ]
        assert bob.texts() == []


async def test_where_policy_has_no_tokens_the_device_is_told(tmp_path: Path) -> None:
    async with world_of(tmp_path, "standard") as world:
        alice, bob = await world.phone(), await world.phone()
        ref = await world.group(alice, bob)
        with pytest.raises(RelayError) as caught:
            await alice.device.hand_out_tokens(ref)
        assert caught.value.reason is RelayReason.CONFLICT
