"""Devices against a relay in memory: the whole life, bad luck, and a relay that lies (A1, A2, A18)."""

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.client.fake_relay import FakeRelay, Group, b64, raw

from letterlock.assurance.device_list import sign_list, successor
from letterlock.assurance.envelope import EnvelopeError
from letterlock.client import events
from letterlock.client.device import Device
from letterlock.client.engine import PAST_EPOCHS
from letterlock.client.enrolment import Enrolment, new_identity, prepare, register_account
from letterlock.client.errors import DeviceError, DeviceReason, GateError, GateReason, RelayError, RelayReason
from letterlock.client.groups import MAX_GAP, Heard
from letterlock.client.inbound import Item
from letterlock.client.relay import MailboxItem, RelayCalls, SessionAnswer
from letterlock.client.rine import RineEngine
from letterlock.client.sealing import ClientKey
from letterlock.client.store import DeviceStore
from letterlock.model.clock import ManualClock
from letterlock.model.ids import AccountId, DeviceId, GroupRef

DAY_MS = 24 * 3600 * 1000
CANARY = b"CANARY-device-19c0"


class Phone:
    """A device with its file, which can be killed and started again."""

    def __init__(self, relay: FakeRelay, path: Path) -> None:
        self.relay = relay
        self.path = path
        self.key = os.urandom(32)
        self.http = relay.client()
        # The engine takes the time of its key packages from the system.
        self.clock = ManualClock(time.time_ns() // 1_000_000)
        self.device: Device

    def start(self) -> Device:
        self.device = Device(DeviceStore(self.path, ClientKey(self.key)), self.http, self.clock)
        return self.device

    def kill(self) -> None:
        """What is in memory is lost; the file stays as it is."""
        self.device.engine.close()
        db = self.device._state.store._db
        assert db is not None
        db.close()
        self.device._state.store._db = None

    async def enrol(self) -> Device:
        seed, public = new_identity()
        enrolment = await register_account(RelayCalls(self.http, "tenant-key"), public)
        self.fill(enrolment, seed)
        device = self.start()
        await device.publish_list(tenant_key="tenant-key")
        await device.publish_key_packages(5)
        return device

    def fill(self, enrolment: Enrolment, seed: bytes) -> None:
        store = DeviceStore(self.path, ClientKey(self.key))
        prepare(store, enrolment, identity=seed)
        store.close()

    def restart(self) -> Device:
        self.kill()
        return self.start()


class World:
    def __init__(self, folder: Path) -> None:
        self.relay = FakeRelay()
        self.folder = folder
        self.phones: list[Phone] = []

    def phone(self) -> Phone:
        self.phones.append(Phone(self.relay, self.folder / f"{len(self.phones)}.db"))
        return self.phones[-1]

    async def pair(self) -> tuple[Phone, Phone, GroupRef]:
        alice, bob = self.phone(), self.phone()
        await alice.enrol()
        await bob.enrol()
        ref = await alice.device.create_group()
        await alice.device.add_account(ref, bob.device.account)
        await bob.device.sync()
        await take(bob.device)
        return alice, bob, ref


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    for phone in made.phones:
        if hasattr(phone, "device"):
            phone.device.close()
        await phone.http.aclose()


async def take(device: Device) -> list[events.DeviceEvent]:
    found = device.inbox()
    await device.take([position for position, _ in found])
    return [event for _, event in found]


def contents(found: list[events.DeviceEvent]) -> list[bytes]:
    return [event.content for event in found if isinstance(event, events.Received)]


async def test_a_message_there_and_its_receipts_back(world: World) -> None:
    alice, bob, ref = await world.pair()
    message = await alice.device.send(ref, CANARY)
    assert await alice.device.flush() == 1
    assert await bob.device.sync() == 1
    (received,) = await take(bob.device)
    assert isinstance(received, events.Received)
    assert (received.content, received.message) == (CANARY, message.value)
    assert (received.account, received.device) == (alice.device.account.value, alice.device.device.value)
    await bob.device.mark_read(received)
    await bob.device.flush()
    await alice.device.sync()
    receipts = await take(alice.device)
    assert [event.kind for event in receipts if isinstance(event, events.ReceiptSeen)] == ["delivered", "read"]
    assert all(isinstance(event, events.ReceiptSeen) and event.message == message.value for event in receipts)
    assert CANARY.decode() not in repr(received)


async def test_three_accounts_and_a_removal(world: World) -> None:
    alice, bob, ref = await world.pair()
    carol = world.phone()
    await carol.enrol()
    await bob.device.add_account(ref, carol.device.account)
    for phone in (alice, carol):
        await phone.device.sync()
    assert [type(event) for event in await take(carol.device)] == [events.GroupJoined]
    await carol.device.send(ref, b"all three")
    await carol.device.flush()
    for phone in (alice, bob):
        await phone.device.sync()
        assert contents(await take(phone.device)) == [b"all three"]
    await alice.device.remove_device(ref, carol.device.device)
    for phone in (bob, carol):
        await phone.device.sync()
    # A removed device stays at the last epoch that it was part of.
    assert await take(carol.device) == [events.GroupChanged(ref.value, 3, active=False)]
    with pytest.raises(DeviceError) as caught:
        await carol.device.send(ref, b"still?")
    assert caught.value.reason is DeviceReason.GROUP_STOPPED
    await bob.device.refresh_keys(ref)
    await alice.device.sync()
    assert alice.device.engine.epoch(alice.device.group(ref).group_id) == 5
    assert alice.device.group(ref).chain == world.relay.groups[str(ref)].chain


async def test_words_that_wait_when_their_group_is_forgotten_go_to_nobody(world: World) -> None:
    alice, bob, ref = await world.pair()
    await alice.device.send(ref, b"received")
    await alice.device.flush()
    await bob.device.send(ref, b"never sent")
    await alice.device.remove_device(ref, bob.device.device)
    await bob.device.sync()
    await take(bob.device)
    await bob.device.forget_group(ref)
    assert await take(bob.device) == [events.Finding(ref.value, "send", "group_forgotten", stopped=False)]
    await alice.device.add_account(ref, bob.device.account)
    bob.restart()
    await bob.device.sync()
    await bob.device.flush()
    # Two messages: what was dropped must not look lost to members who stayed, whatever it was.
    await bob.device.send(ref, b"back")
    await bob.device.flush()
    assert not [event for event in await take(bob.device) if isinstance(event, events.Finding)]
    await bob.device.send(ref, b"here again")
    await bob.device.flush()
    await alice.device.sync()
    found = await take(alice.device)
    assert contents(found) == [b"back", b"here again"]
    assert not [event for event in found if isinstance(event, events.Finding)]


async def test_a_removed_device_is_welcomed_back_once_it_wants_to(world: World) -> None:
    alice, bob, ref = await world.pair()
    await alice.device.remove_device(ref, bob.device.device)
    await alice.device.send(ref, b"without bob")
    await alice.device.flush()
    await bob.device.sync()
    assert [type(event) for event in await take(bob.device)] == [events.GroupChanged]
    # Nothing is rejoined silently: not before bob says that the old group may go.
    await alice.device.add_account(ref, bob.device.account)
    await bob.device.sync()
    assert await take(bob.device) == [events.Finding(ref.value, "welcome", "group_exists", stopped=False)]
    with pytest.raises(DeviceError) as caught:
        await alice.device.forget_group(ref)
    assert caught.value.reason is DeviceReason.GROUP_GOES_ON
    await bob.device.forget_group(ref)
    assert ref not in bob.device.groups()
    assert not bob.device.engine.group_ids()
    await alice.device.remove_device(ref, bob.device.device)
    await alice.device.add_account(ref, bob.device.account)
    await bob.device.sync()
    found = await take(bob.device)
    assert found[-1] == events.GroupJoined(ref.value, 6)
    assert {event.reason for event in found if isinstance(event, events.Finding)} == {"unknown_group"}
    bob.restart()
    for one, other in ((alice, bob), (bob, alice)):
        await one.device.send(ref, b"together again")
        await one.device.flush()
        await other.device.sync()
        assert contents(await take(other.device)) == [b"together again"]


async def test_a_device_that_was_added_and_removed_while_it_was_away_goes_on(world: World) -> None:
    alice, bob, ref = await world.pair()
    carol, dave = world.phone(), world.phone()
    for phone in (carol, dave):
        await phone.enrol()
    await alice.device.add_account(ref, carol.device.account)
    await alice.device.remove_device(ref, carol.device.device)
    # Bob is behind: one commit brings in somebody whom he does not know, the next one removes him.
    await alice.device.add_account(ref, dave.device.account)
    await alice.device.remove_device(ref, bob.device.device)
    other = await dave.device.create_group()
    for phone in (carol, bob):
        await dave.device.add_account(other, phone.device.account)
    for phone, expected in (
        (carol, [("welcome", "roster_cannot_be_checked", False), ("commit", "unknown_group", False)]),
        (bob, [("commit", "roster_cannot_be_checked", True)]),
    ):
        await phone.device.sync()
        found = await take(phone.device)
        assert [(e.operation, e.reason, e.stopped) for e in found if isinstance(e, events.Finding)] == expected
        # Nothing of it stands in the way of the rest.
        assert [event.group for event in found if isinstance(event, events.GroupJoined)] == [other.value]


async def test_what_was_sealed_before_joining_is_no_finding(world: World) -> None:
    alice, bob, ref = await world.pair()
    await bob.device.send(ref, b"slow, from before")
    carol = world.phone()
    await carol.enrol()
    await alice.device.add_account(ref, carol.device.account)
    await bob.device.flush()
    await bob.device.send(ref, b"also from before")
    for phone in (alice, carol, bob):
        await phone.device.sync()
    await bob.device.flush()
    await alice.device.sync()
    await carol.device.sync()
    assert [type(event) for event in await take(carol.device)] == [events.GroupJoined]
    assert contents(await take(alice.device)) == [b"slow, from before", b"also from before"]
    await bob.device.send(ref, b"to all")
    await bob.device.flush()
    await carol.device.sync()
    assert [event.content for event in await take(carol.device) if isinstance(event, events.Received)] == [b"to all"]


async def test_a_gap_is_said_when_the_sender_knows_that_the_relay_had_it(world: World) -> None:
    """Sealed in one go, the later ones do not know yet what becomes of the first: it may still be sealed anew."""
    alice, bob, ref = await world.pair()
    box = world.relay.boxes[str(bob.device.device)]
    for number in range(3):
        await alice.device.send(ref, b"%d" % number)
    await alice.device.flush()
    cursor, items = bob.device.cursor(), list(box.items)
    box.items, box.head = [items[0] | {"sequence": cursor + 1}, items[2] | {"sequence": cursor + 2}], cursor + 2
    await bob.device.sync()
    assert not [event for event in await take(bob.device) if isinstance(event, events.Finding)]
    await alice.device.send(ref, b"3")
    await alice.device.flush()
    await bob.device.sync()
    missing = events.Finding(ref.value, "application", "messages_missing", stopped=False)
    assert [event for event in await take(bob.device) if isinstance(event, events.Finding)] == [missing]


def test_what_is_awaited_and_what_is_missing() -> None:
    heard = Heard(1, [])
    heard, missing = heard.then(4, 0)
    assert (heard, missing) == (Heard(4, [2, 3]), False)
    # Sealed anew, the third comes after the fourth.
    heard, missing = heard.then(3, 1)
    assert (heard, missing) == (Heard(4, [2]), False)
    heard, missing = heard.then(5, 3)
    assert (heard, missing) == (Heard(5, []), True)
    # Said once; what comes all the same fills nothing.
    assert heard.then(2, 4) == (Heard(5, []), False)
    assert heard.then(6, 5) == (Heard(6, []), False)
    wide, missing = heard.then(5 + MAX_GAP + 2, 0)
    assert missing
    assert wide == Heard(5 + MAX_GAP + 2, [])
    full = Heard(1, []).then(MAX_GAP + 2, 0)[0]
    assert len(full.awaited) == MAX_GAP
    beyond, missing = full.then(MAX_GAP + 4, 0)
    assert (len(beyond.awaited), missing) == (MAX_GAP, True)


async def test_a_gap_in_a_senders_numbers_is_said_once(world: World) -> None:
    alice, bob, ref = await world.pair()
    box = world.relay.boxes[str(bob.device.device)]
    for number in range(5):
        await alice.device.send(ref, b"%d" % number)
        await alice.device.flush()
    # The relay keeps the second and the fourth to itself, and counts as if they had never been.
    cursor, items = bob.device.cursor(), list(box.items)
    assert len(items) == 5
    box.items = [item | {"sequence": cursor + at} for at, item in enumerate(items[::2], 1)]
    box.head = cursor + 3
    await bob.device.sync()
    found = await take(bob.device)
    assert contents(found) == [b"0", b"2", b"4"]
    missing = events.Finding(ref.value, "application", "messages_missing", stopped=False)
    assert [event for event in found if isinstance(event, events.Finding)] == [missing] * 2
    # What comes late is taken, and is no new gap.
    box.put("application", str(ref), raw(items[3]["body"]))
    await bob.device.sync()
    found = await take(bob.device)
    assert contents(found) == [b"3"]
    assert not [event for event in found if isinstance(event, events.Finding)]


async def test_a_second_device_of_the_account_is_linked_by_a_new_list(world: World) -> None:
    alice, bob, ref = await world.pair()
    tablet = world.phone()
    mine = bob.device._state.keys
    tablet.fill(Enrolment(mine.account_id, mine.tenant_id, mine.environment, mine.audience), b"")
    other = tablet.start()
    shown = await bob.device.publish_list([other.entry])
    assert shown.version == 2
    await other.login()
    await other.learn_account(other.account, mine.identity_key().public)  # type: ignore[union-attr]
    await other.publish_key_packages(2)
    with pytest.raises(DeviceError) as caught:
        await other.publish_list()
    assert caught.value.reason is DeviceReason.NO_IDENTITY_KEY
    await alice.device.add_account(ref, bob.device.account)
    await other.sync()
    await alice.device.send(ref, b"to both")
    await alice.device.flush()
    await bob.device.sync()
    await other.sync()
    assert contents(await take(bob.device)) == contents(await take(other)) == [b"to both"]


async def test_a_removed_device_is_no_sender_any_more(world: World) -> None:
    alice, bob, ref = await world.pair()
    await bob.device.send(ref, b"while listed")
    await bob.device.flush()
    await alice.device.sync()
    assert contents(await take(alice.device)) == [b"while listed"]
    # The account signs a second version: alice fetches it when bob's envelope names it.
    await bob.device.publish_list()
    await bob.device.send(ref, b"under version 2")
    await bob.device.flush()
    await alice.device.sync()
    assert contents(await take(alice.device)) == [b"under version 2"]
    assert alice.device.directory.version(bob.device.account) == 2
    held = alice.device.directory.head(bob.device.account)
    assert held is not None
    identity = bob.device._state.keys.identity_key()
    assert identity is not None
    without = successor(held, 1, [])
    signed = sign_list(without, bob.device._state.keys.tenant_id, bob.device._state.keys.environment, identity).encode()
    alice.device.directory.learn(bob.device.account, [signed])
    await bob.device.send(ref, b"no longer listed")
    await bob.device.flush()
    await alice.device.sync()
    assert await take(alice.device) == [
        events.Finding(ref.value, "application", "sender_not_on_the_signed_list", stopped=False)
    ]


# -- bad luck ---------------------------------------------------------------------------------------------------------


async def test_persist_before_send_survives_a_kill_between(world: World) -> None:
    alice, bob, ref = await world.pair()
    await alice.device.send(ref, b"one")
    alice.restart()
    await alice.device.send(ref, b"two")
    assert await alice.device.flush() == 2
    await bob.device.sync()
    assert contents(await take(bob.device)) == [b"one", b"two"]


async def test_a_lost_answer_sends_once(world: World) -> None:
    alice, bob, ref = await world.pair()
    await alice.device.send(ref, b"once")
    world.relay.lose_answer.add("/messages")
    with pytest.raises(RelayError) as caught:
        await alice.device.flush()
    assert caught.value.reason is RelayReason.UNREACHABLE
    alice.restart()
    assert await alice.device.flush() == 1
    assert await alice.device.flush() == 0
    await bob.device.sync()
    assert contents(await take(bob.device)) == [b"once"]


async def test_applied_once_when_killed_before_the_acknowledgement(world: World) -> None:
    alice, bob, ref = await world.pair()
    await alice.device.send(ref, b"hello")
    await alice.device.flush()
    world.relay.lose_answer.add("mailbox/ack")
    with pytest.raises(RelayError):
        await bob.device.sync()
    world.relay.boxes[str(bob.device.device)].acknowledged = 1
    again = list(world.relay.boxes[str(alice.device.device)].items)
    bob.restart()
    await bob.device.sync()
    assert contents(await take(bob.device)) == [b"hello"]
    assert again == world.relay.boxes[str(alice.device.device)].items


async def test_redelivered_items_are_skipped(world: World) -> None:
    alice, bob, ref = await world.pair()
    await alice.device.send(ref, b"hello")
    await alice.device.flush()
    box = world.relay.boxes[str(bob.device.device)]
    items = list(box.items)
    await bob.device.sync()
    cursor = bob.device.cursor()
    old = [
        Item.of_mailbox(MailboxItem(i["sequence"], i["kind"], i["group"], i["message_id"], 1, raw(i["body"])))
        for i in items
    ]
    await bob.device._receiving.take_items(old)
    assert bob.device.cursor() == cursor
    assert contents(await take(bob.device)) == [b"hello"]


async def test_a_crash_in_the_middle_of_a_commit_that_won(world: World) -> None:
    alice, bob, ref = await world.pair()
    world.relay.lose_answer.add("/commits")
    with pytest.raises(RelayError):
        await alice.device.refresh_keys(ref)
    alice.restart()
    await alice.device.sync()
    await bob.device.sync()
    await alice.device.send(ref, b"after")
    await alice.device.flush()
    await bob.device.sync()
    assert contents(await take(bob.device)) == [b"after"]
    assert len(world.relay.groups[str(ref)].log) == 2


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_a_commit_of_a_device_that_is_removed_meanwhile_holds_up_nothing(world: World, lost: str) -> None:
    """Its fate is asked for again when the device is no member any more: either way it goes on to its mailbox."""
    alice, bob, ref = await world.pair()

    def unreachable(call: str) -> None:
        if call.endswith("/commits"):
            raise httpx.ConnectError("lost")

    if lost == "answer":
        world.relay.lose_answer.add("/commits")
    else:
        world.relay.before = unreachable
    with pytest.raises(RelayError) as caught:
        await bob.device.refresh_keys(ref)
    assert caught.value.reason is RelayReason.UNREACHABLE
    world.relay.before = lambda call: None
    await alice.device.sync()
    await alice.device.remove_device(ref, bob.device.device)
    await bob.device.sync()
    await bob.device.sync()
    assert bob.device.group(ref).stopped
    assert not [event for event in await take(bob.device) if isinstance(event, events.Finding)]
    with pytest.raises(DeviceError) as ended:
        await bob.device.send(ref, b"from outside")
    assert ended.value.reason is DeviceReason.GROUP_STOPPED


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_a_commit_that_is_tried_again_learns_first_what_became_of_it(world: World, lost: str) -> None:
    """What others committed since is no fault of theirs: it is taken once the own commit counts, or never will."""
    alice, bob, ref = await world.pair()

    def unreachable(call: str) -> None:
        if call.endswith("/commits"):
            raise httpx.ConnectError("lost")

    if lost == "answer":
        world.relay.lose_answer.add("/commits")
    else:
        world.relay.before = unreachable
    with pytest.raises(RelayError):
        await alice.device.refresh_keys(ref)
    world.relay.before = lambda call: None
    await bob.device.refresh_keys(ref)
    await alice.device.refresh_keys(ref)
    await bob.device.sync()
    for phone in (alice, bob):
        assert not [event for event in await take(phone.device) if isinstance(event, events.Finding)]
        assert not phone.device.group(ref).stopped
    assert alice.device.group(ref).chain == bob.device.group(ref).chain == world.relay.groups[str(ref)].chain


async def test_own_commits_do_not_run_away_from_what_waits_in_the_mailbox(world: World) -> None:
    """A device that commits again and again takes first what came before: later its keys would be gone."""
    alice, bob, ref = await world.pair()
    await alice.device.send(ref, b"before all of them")
    await alice.device.flush()
    for _ in range(PAST_EPOCHS + 2):
        await bob.device.refresh_keys(ref)
    await bob.device.sync()
    found = await take(bob.device)
    assert contents(found) == [b"before all of them"]
    assert not [event for event in found if isinstance(event, events.Finding)]


async def test_a_lost_race_is_proposed_again(world: World) -> None:
    alice, bob, ref = await world.pair()
    carol = world.phone()
    await carol.enrol()

    raced: list[bool] = []
    original = alice.device._pending.submit

    async def late(ref: GroupRef) -> int:
        if not raced:
            raced.append(True)
            await bob.device.refresh_keys(ref)
        return await original(ref)

    alice.device._pending.submit = late  # type: ignore[method-assign]
    assert await alice.device.add_account(ref, carol.device.account) == 4
    await carol.device.sync()
    await bob.device.sync()
    prints = {phone.device.engine.fingerprint(phone.device.group(ref).group_id) for phone in (alice, bob, carol)}
    assert len(prints) == 1


async def test_a_device_that_the_winner_of_the_race_added_is_not_added_again(world: World) -> None:
    alice, bob, ref = await world.pair()
    carol = world.phone()
    await carol.enrol()
    # Bob's commit wins while alice has not heard of it.
    assert await bob.device.add_account(ref, carol.device.account) == 3
    assert await alice.device.add_account(ref, carol.device.account) == 3
    assert await alice.device.add_account(ref, carol.device.account) == 3
    await carol.device.sync()
    assert [type(event) for event in await take(carol.device)] == [events.GroupJoined]
    await alice.device.send(ref, b"once in it")
    await alice.device.flush()
    await carol.device.sync()
    assert contents(await take(carol.device)) == [b"once in it"]
    assert len(world.relay.groups[str(ref)].log) == 2


async def test_too_old_messages_are_sealed_again(world: World) -> None:
    alice, bob, ref = await world.pair()
    await alice.device.send(ref, b"slow")
    for _ in range(5):
        await bob.device.refresh_keys(ref)
    await alice.device.sync()
    assert await alice.device.flush() == 0
    assert await alice.device.flush() == 1
    await bob.device.sync()
    assert contents(await take(bob.device)) == [b"slow"]


async def test_too_old_messages_wait_for_the_fate_of_a_commit(world: World) -> None:
    alice, bob, ref = await world.pair()
    await alice.device.send(ref, b"slow")

    def lost(call: str) -> None:
        if call.endswith("/commits"):
            raise httpx.ConnectError("lost")

    world.relay.before = lost
    with pytest.raises(RelayError):
        await alice.device.refresh_keys(ref)
    world.relay.before = lambda call: None
    for _ in range(5):
        await bob.device.refresh_keys(ref)
    for _ in range(2):
        assert await alice.device.flush() == 0
    await alice.device.sync()
    assert not [event for event in await take(alice.device) if isinstance(event, events.Finding)]
    assert await alice.device.flush() == 0
    assert await alice.device.flush() == 1
    await bob.device.sync()
    assert contents(await take(bob.device)) == [b"slow"]


async def test_a_new_member_misses_nothing_that_was_taken_before_it_came(world: World) -> None:
    """Words that are sealed anew come after later ones; who joins in between cannot have had those."""
    alice, bob, ref = await world.pair()
    carol = world.phone()
    await carol.enrol()
    await alice.device.send(ref, b"first")
    for _ in range(PAST_EPOCHS + 2):
        await bob.device.refresh_keys(ref)
    await alice.device.sync()
    await alice.device.send(ref, b"second")
    assert await alice.device.flush() == 1
    await bob.device.add_account(ref, carol.device.account)
    for _ in range(PAST_EPOCHS + 2):
        await bob.device.refresh_keys(ref)
    await alice.device.sync()
    assert [await alice.device.flush(), await alice.device.flush()] == [0, 1]
    await alice.device.send(ref, b"third")
    await alice.device.flush()
    for phone in (bob, carol):
        await phone.device.sync()
        found = await take(phone.device)
        assert contents(found)[-2:] == [b"first", b"third"]
        assert not [event for event in found if isinstance(event, events.Finding)]


async def test_a_new_member_may_come_late_and_find_others_gone(world: World) -> None:
    alice, bob, ref = await world.pair()
    carol, dave = world.phone(), world.phone()
    for phone in (carol, dave):
        await phone.enrol()
    await alice.device.add_account(ref, carol.device.account)
    await alice.device.add_account(ref, dave.device.account)
    await alice.device.remove_device(ref, carol.device.device)
    # Dave was welcomed among four; of one of them the relay says only that it is gone.
    await dave.device.sync()
    assert [type(event) for event in await take(dave.device)] == [events.GroupJoined, events.GroupChanged]
    await dave.device.send(ref, b"late but there")
    await dave.device.flush()
    await bob.device.sync()
    assert contents(await take(bob.device)) == [b"late but there"]


async def test_a_store_that_fails_leaves_memory_as_it_was(world: World) -> None:
    alice, bob, ref = await world.pair()
    db = alice.device._state.store._db
    assert db is not None
    db.pragma("max_page_count", db.pragma("page_count"))
    with pytest.raises(Exception, match="disk full"):
        await alice.device.send(ref, bytes(40_000))
    db.pragma("max_page_count", 1_000_000)
    await alice.device.send(ref, b"fits")
    await alice.device.flush()
    await bob.device.sync()
    assert contents(await take(bob.device)) == [b"fits"]


async def test_a_gap_is_noticed_and_nothing_is_taken(world: World) -> None:
    alice, bob, ref = await world.pair()
    for number in range(3):
        await alice.device.send(ref, b"%d" % number)
    await alice.device.flush()
    box = world.relay.boxes[str(bob.device.device)]
    hidden = box.items.pop(0)
    with pytest.raises(DeviceError) as caught:
        await bob.device.sync()
    assert caught.value.reason is DeviceReason.MAILBOX_GAP
    box.items.insert(0, hidden)
    await bob.device.sync()
    assert contents(await take(bob.device)) == [b"0", b"1", b"2"]


# -- a relay that lies ------------------------------------------------------------------------------------------------


@pytest.mark.attack("A1")
async def test_a_ghost_device_in_a_claim_is_refused_and_nothing_is_sent(world: World) -> None:
    alice, _, ref = await world.pair()
    ghost = RineEngine(os.urandom(32))
    package = b64(ghost.key_packages(1)[0])
    ghost.close()
    commits = len(world.relay.groups[str(ref)].log)
    dave = world.phone()
    await dave.enrol()

    def replace(call: str, answer: dict[str, Any]) -> None:
        if call.endswith("claim"):
            answer["packages"][0]["key_package"] = package

    def append(call: str, answer: dict[str, Any]) -> None:
        if call.endswith("claim"):
            answer["packages"].append({"device_id": "dev_" + "ab" * 16, "key_package": package, "last_resort": False})

    def double(call: str, answer: dict[str, Any]) -> None:
        if call.endswith("claim"):
            answer["packages"].append(answer["packages"][0])

    for lie, reason in (
        (replace, GateReason.LEAF_NOT_LISTED),
        (append, GateReason.UNKNOWN_DEVICE),
        (double, GateReason.DUPLICATE_DEVICE),
    ):
        world.relay.tamper = lie
        with pytest.raises(GateError) as caught:
            await alice.device.add_account(ref, dave.device.account)
        assert caught.value.reason is reason
        assert len(world.relay.groups[str(ref)].log) == commits
    world.relay.tamper = lambda call, answer: None
    await alice.device.add_account(ref, dave.device.account)
    assert len(world.relay.groups[str(ref)].log) == commits + 1


@pytest.mark.attack("A1")
async def test_a_list_signed_by_somebody_else_is_refused(world: World) -> None:
    alice, bob, ref = await world.pair()
    mallory = world.phone()
    await mallory.enrol()
    forged = world.relay.lists[str(mallory.device.account)]
    true = world.relay.lists[str(bob.device.account)]
    world.relay.lists[str(bob.device.account)] = forged + forged
    with pytest.raises(GateError) as caught:
        await alice.device.add_account(ref, bob.device.account)
    assert caught.value.reason is GateReason.LIST_REFUSED
    world.relay.lists[str(bob.device.account)] = []
    with pytest.raises((GateError, IndexError)):
        await alice.device.learn_account(bob.device.account)
    world.relay.lists[str(bob.device.account)] = true
    _, stranger = new_identity()
    with pytest.raises(GateError):
        await alice.device.learn_account(bob.device.account, stranger)
    assert (await alice.device.learn_account(bob.device.account)).version == 1


@pytest.mark.attack("A2")
async def test_an_external_commit_never_reaches_the_engine(world: World) -> None:
    alice, bob, ref = await world.pair()
    record = alice.device.group(ref)
    bundle = alice.device.engine.update(record.group_id)
    alice.device.engine.discard(record.group_id)
    ghost = RineEngine(os.urandom(32))
    # What a relay can do with a GroupInfo that it stored.
    info = alice.device.engine._group(record.group_id).group_info()  # type: ignore[attr-defined]
    external = bytes(ghost._client.join_by_external_commit(info).last_commit().commit)  # type: ignore[union-attr]
    ghost.close()
    assert bundle.commit != external
    called: list[bytes] = []
    original = bob.device.engine.process

    class Watched:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def process(self, message: bytes) -> Any:
            called.append(message)
            return original(message)

    bob.device._state.engine = Watched(bob.device._state.engine)
    world.relay.boxes[str(bob.device.device)].put("commit", str(ref), external)
    await bob.device.sync()
    assert await take(bob.device) == [events.Finding(ref.value, "commit", "external_commit", stopped=True)]
    assert called == []
    with pytest.raises(DeviceError) as caught:
        await bob.device.send(ref, b"x")
    assert caught.value.reason is DeviceReason.GROUP_STOPPED
    ((who, report),) = world.relay.reports
    assert (who, report["kind"], raw(report["commit_hash"])) == (
        str(bob.device.device),
        "invalid_commit",
        hashlib.sha256(external).digest(),
    )
    # The engine itself would have taken it: the gate is what refuses.
    original(external)
    assert len(bob.device.engine.roster(record.group_id)) == 3


@pytest.mark.attack("A1")
async def test_an_added_leaf_without_a_signed_list_stops_the_commit(world: World) -> None:
    alice, bob, ref = await world.pair()
    record = alice.device.group(ref)
    ghost = RineEngine(os.urandom(32))
    bundle = alice.device.engine.add(record.group_id, ghost.key_packages(1))
    ghost.close()
    world.relay.boxes[str(bob.device.device)].put("commit", str(ref), bundle.commit)
    await bob.device.sync()
    assert await take(bob.device) == [events.Finding(ref.value, "commit", "leaf_not_on_the_signed_list", stopped=True)]
    assert len(bob.device.engine.roster(record.group_id)) == 2


@pytest.mark.attack("A1")
async def test_a_welcome_into_a_group_with_an_unlisted_leaf_is_thrown_away(world: World) -> None:
    _, bob, _ = await world.pair()
    mallory = RineEngine(os.urandom(32))
    mallory.create(b"mallory's group")
    package = world.relay.packages[str(bob.device.device)].pop(0)
    welcome = mallory.add(b"mallory's group", [package]).welcomes[0]
    mallory.close()
    ref = GroupRef(os.urandom(16))
    world.relay.groups[str(ref)] = Group(b"mallory's group", 2, bytes(32), [str(bob.device.device)])
    world.relay.boxes[str(bob.device.device)].put("welcome", str(ref), welcome)
    await bob.device.sync()
    assert await take(bob.device) == [
        events.Finding(ref.value, "welcome", "leaf_not_on_the_signed_list", stopped=False)
    ]
    assert ref not in bob.device.groups()
    assert b"mallory's group" not in bob.device.engine.group_ids()


async def test_a_claimed_key_package_whose_time_is_over_is_not_used(world: World) -> None:
    alice, bob, ref = await world.pair()
    carol = world.phone()
    await carol.enrol()
    alice.clock.advance(366 * DAY_MS)
    commits = len(world.relay.groups[str(ref)].log)
    with pytest.raises(GateError) as caught:
        await alice.device.add_account(ref, carol.device.account)
    assert caught.value.reason is GateReason.EXPIRED
    assert len(world.relay.groups[str(ref)].log) == commits
    alice.clock.wall_ms -= 366 * DAY_MS
    bob.clock.advance(400 * DAY_MS)
    await alice.device.add_account(ref, carol.device.account)
    await bob.device.sync()
    assert await take(bob.device) == [events.Finding(ref.value, "commit", "lifetime_over", stopped=True)]
    carol.clock.wall_ms -= DAY_MS
    await carol.device.sync()
    assert await take(carol.device) == [events.Finding(ref.value, "welcome", "lifetime_not_begun", stopped=False)]


@pytest.mark.attack("A18")
async def test_a_restored_old_copy_may_not_log_in(world: World, tmp_path: Path) -> None:
    alice, bob, ref = await world.pair()
    alice.kill()
    copy = tmp_path / "backup"
    shutil.copy(alice.path, copy)
    alice.start()
    await alice.device.send(ref, b"newer")
    await alice.device.flush()
    await alice.device.sync()
    await alice.device.login()
    alice.kill()
    shutil.copy(copy, alice.path)
    for leftover in alice.path.parent.glob(alice.path.name + "-*"):
        leftover.unlink()
    alice.start()
    with pytest.raises(DeviceError) as caught:
        await alice.device.login()
    assert caught.value.reason is DeviceReason.STATE_ROLLED_BACK
    await bob.device.login()


@pytest.mark.attack("A18")
async def test_a_copy_with_a_live_token_is_refused_when_it_sends_and_one_that_was_overtaken_is_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, ref = await world.pair()
    name = str(alice.device.device)
    await alice.device.send(ref, b"first")
    world.relay.counters[name] += 100
    with pytest.raises(DeviceError) as caught:
        await alice.device.flush()
    assert caught.value.reason is DeviceReason.STATE_ROLLED_BACK
    assert world.relay.boxes[str(bob.device.device)].items == []
    # A call of its own was faster: the login is above whatever it stated, and the send is repeated.
    state = alice.device._state
    now = world.relay.counters[name] = state.store.state_counter
    stated = [now - 1]
    monkeypatch.setattr(state, "stated_counter", lambda: stated.pop() if stated else state.store.state_counter)
    before = world.relay.logins
    assert await alice.device.flush() == 1
    assert world.relay.logins == before + 1


async def test_two_logins_at_once_are_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, _, _ = await world.pair()
    session = alice.device._session
    log_in = session._log_in

    async def slowly() -> SessionAnswer:
        await asyncio.sleep(0)
        return await log_in()

    monkeypatch.setattr(session, "_log_in", slowly)
    before = world.relay.logins
    one, two = await asyncio.gather(alice.device.token(renew=True), alice.device.token(renew=True))
    assert one == two
    assert world.relay.logins == before + 1


async def test_while_a_login_is_under_way_calls_state_the_counter_before_it(world: World) -> None:
    alice, _, _ = await world.pair()
    before = alice.device.state_counter()
    stated: list[int] = []

    def tamper(call: str, answer: dict[str, Any]) -> None:
        if call.endswith("/session"):
            stated.append(alice.device.state_counter())

    world.relay.tamper = tamper
    await alice.device.login()
    assert stated == [before]
    assert alice.device.state_counter() == before + 1


async def test_a_relay_that_tells_another_story_is_found_out(world: World) -> None:
    alice, _, ref = await world.pair()

    def fork(call: str, answer: dict[str, Any]) -> None:
        if call.endswith("/commits"):
            answer["chain"] = b64(bytes(32))

    world.relay.tamper = fork
    await alice.device.refresh_keys(ref)
    assert await take(alice.device) == [events.Finding(ref.value, "commit", "log_forked", stopped=True)]


async def test_messages_of_strangers_and_junk_are_findings(world: World) -> None:
    alice, bob, ref = await world.pair()
    record = alice.device.group(ref)
    box = world.relay.boxes[str(bob.device.device)]
    box.put("application", str(ref), alice.device.engine.encrypt(record.group_id, b"no envelope around me"))
    box.put("application", str(ref), b"not mls")
    box.put("application", str(GroupRef(bytes(16))), b"not ours")
    box.put("novelty", str(ref), b"?")
    box.put("welcome", str(GroupRef(bytes(16))), b"not mls")
    await alice.device.send(ref, b"real")
    await alice.device.flush()
    await bob.device.sync()
    found = await take(bob.device)
    assert [(event.operation, event.reason) for event in found if isinstance(event, events.Finding)] == [
        ("application", "envelope_version_unknown"),
        ("application", "wrong_kind"),
        ("application", "unknown_group"),
        ("unknown", "proposal_kind_not_allowed"),
        ("welcome", "wrong_kind"),
    ]
    assert contents(found) == [b"real"]


async def test_answers_that_are_none_are_typed_errors(world: World) -> None:
    alice = world.phone()
    device = await alice.enrol()
    group = await device.create_group()

    def spoil(call: str, answer: dict[str, Any]) -> None:
        answer.clear()

    world.relay.tamper = spoil
    for act in (
        device.login,
        device.create_group,
        lambda: device.learn_account(AccountId(bytes(16))),
        lambda: device.refresh_keys(group),
    ):
        with pytest.raises((RelayError, KeyError)) as caught:
            await act()
        if isinstance(caught.value, RelayError):
            assert caught.value.reason is RelayReason.BAD_ANSWER


async def test_refusals_are_typed(world: World) -> None:
    alice, _, ref = await world.pair()
    with pytest.raises(EnvelopeError):
        await alice.device.send(ref, bytes(60_000))
    with pytest.raises(DeviceError) as caught:
        await alice.device.send(GroupRef(bytes(16)), b"x")
    assert caught.value.reason is DeviceReason.UNKNOWN_GROUP
    with pytest.raises(GateError):
        await alice.device.remove_device(ref, DeviceId(bytes(16)))
    store = DeviceStore(world.folder / "empty.db", ClientKey(bytes(32)))
    async with httpx.AsyncClient() as http:
        with pytest.raises(DeviceError) as caught:
            Device(store, http, ManualClock())
    assert caught.value.reason is DeviceReason.NOT_ENROLLED
    store.close()


async def test_no_words_rest_readable_on_the_device(world: World) -> None:
    alice, bob, ref = await world.pair()
    await alice.device.send(ref, CANARY)
    await alice.device.flush()
    await bob.device.sync()
    for phone in (alice, bob):
        for file in phone.path.parent.glob("*"):
            assert CANARY not in file.read_bytes()
    assert contents([event for _, event in bob.device.inbox()]) == [CANARY]


async def test_a_report_is_kept_until_the_relay_has_it(world: World) -> None:
    alice, bob, ref = await world.pair()
    bundle = alice.device.engine.update(alice.device.group(ref).group_id)
    alice.device.engine.discard(alice.device.group(ref).group_id)
    broken = bundle.commit[:-1] + bytes([bundle.commit[-1] ^ 1])

    def unreachable(call: str) -> None:
        if call.endswith("/reports"):
            raise httpx.ConnectError("down")

    world.relay.before = unreachable
    world.relay.boxes[str(bob.device.device)].put("commit", str(ref), broken)
    assert await bob.device.sync() == 1
    assert world.relay.reports == []
    bob.restart()
    with pytest.raises(RelayError) as caught:
        await bob.device.report_stuck()
    assert caught.value.reason is RelayReason.UNREACHABLE
    world.relay.before = lambda call: None
    assert [told.accounts for told in await bob.device.report_stuck()] == [1]
    assert [raw(body["commit_hash"]) for _, body in world.relay.reports] == [hashlib.sha256(broken).digest()]
    assert await bob.device.report_stuck() == ()


async def test_a_fork_is_no_report(world: World) -> None:
    alice, bob, ref = await world.pair()
    await alice.device.refresh_keys(ref)
    await bob.device.sync()
    record = bob.device.group(ref)
    other = alice.device.engine.update(record.group_id).commit
    alice.device.engine.discard(record.group_id)
    # Two epochs ahead of bob: what is missing is the relay's doing.
    world.relay.groups[str(ref)].epoch += 1
    await take(bob.device)
    box = world.relay.boxes[str(bob.device.device)]
    bob.device._state.groups[ref.value] = record.after(record.applied[-1][0] + 1, b"another", record.chain, "")
    box.put("commit", str(ref), other)
    await bob.device.sync()
    assert await take(bob.device) == [events.Finding(ref.value, "commit", "log_forked", stopped=True)]
    assert world.relay.reports == []


async def test_over_the_quota_what_was_refused_goes_first_when_there_is_room(world: World) -> None:
    alice, bob, ref = await world.pair()
    for words in (b"one", b"two", b"three"):
        await alice.device.send(ref, words)

    def fill(call: str) -> None:
        # The first call is taken, the ones after it are not.
        world.relay.full = sum(made.endswith("/messages") for made in world.relay.calls) > 1

    world.relay.before = fill
    assert await alice.device.flush() == 1
    calls = sum(made.endswith("/messages") for made in world.relay.calls)
    assert calls == 2, "nothing is sent past a message that was refused"
    world.relay.before = lambda call: None
    world.relay.full = False
    alice.restart()
    assert await alice.device.flush() == 2
    await bob.device.sync()
    assert [event.content for event in await take(bob.device) if isinstance(event, events.Received)] == [
        b"one",
        b"two",
        b"three",
    ]
