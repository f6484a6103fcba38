"""The device's own floors: what raises them, what does not lower them, and consent (A4, A7, A9, A14)."""

import dataclasses
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.client.fake_relay import Group
from tests.client.test_device import World, contents, take

from letterlock.assurance.causes import Cause, ConsentScope
from letterlock.assurance.device_list import Device as ListedDevice
from letterlock.assurance.device_list import sign_list, successor
from letterlock.assurance.floors import FloorBasis, FloorError
from letterlock.client import events
from letterlock.client.device import Device
from letterlock.client.engine import Joined
from letterlock.client.errors import DeviceError, DeviceReason, GateError, RelayError
from letterlock.client.floors import AUDIENCE, of_account, of_number
from letterlock.client.gate import END_MLS
from letterlock.model.ids import AccountId, ConsentId, GroupRef
from letterlock.model.protection import Protection
from letterlock.wire.preimage import Purpose, Scope, Signature, SignatureError, verify
from letterlock.wire.sms.address import PhoneNumber

NUMBER = PhoneNumber.parse("+49 170 1234567")
SAME = PhoneNumber.parse("0049-170-1234567")
READABLE = (Protection.CLEAR, Protection.HOP, Protection.PROVIDER, Protection.ENCLAVE, Protection.ESCROWED)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    for phone in made.phones:
        if hasattr(phone, "device"):
            phone.device.close()
        await phone.http.aclose()


def refused(device: Device, account: AccountId) -> None:
    """Nothing readable goes to this account, on any path."""
    for path in (*READABLE, Protection.UNKNOWN):
        with pytest.raises(DeviceError) as caught:
            device.clear_copy(of_account(account), path)
        assert caught.value.reason is DeviceReason.BELOW_FLOOR
    assert device.floors.copies() == []


def held(device: Device, account: AccountId, cause: Cause) -> None:
    """For this cause nothing lesser is on offer."""
    for scope in ConsentScope:
        with pytest.raises(DeviceError) as caught:
            device.consent(of_account(account), account, Protection.CLEAR, cause, scope)
        assert caught.value.reason is DeviceReason.HELD
    assert device.floors.consents() == []


def shows(device: Device, owner: Device, devices: list[ListedDevice]) -> None:
    """The device learns a next list of the owner's account, which really is signed."""
    head, identity = owner.directory.head(owner.account), owner._state.keys.identity_key()
    assert head is not None
    assert identity is not None
    signed = sign_list(successor(head, 2, devices), owner._state.keys.tenant_id, "test", identity).encode()
    device.directory.learn(owner.account, [signed])


async def test_a_verified_list_raises_the_floor_and_it_outlives_a_restart(world: World) -> None:
    alice, bob = world.phone(), world.phone()
    await alice.enrol()
    await bob.enrol()
    peer = of_account(bob.device.account)
    before = alice.device.floors.floor(peer)
    assert (before.protection, before.basis, before.version) == (Protection.UNKNOWN, FloorBasis.UNSET, 0)
    # First contact: no floor yet, and still nothing readable.
    refused(alice.device, bob.device.account)
    await alice.device.learn_account(bob.device.account)
    raised = alice.device.floors.floor(peer)
    assert (raised.protection, raised.basis) == (Protection.E2EE, FloorBasis.SIGNED_DEVICE_LIST)
    assert alice.restart().floors.floor(peer) == raised
    refused(alice.device, bob.device.account)


async def test_a_verified_message_raises_the_floor_and_a_forged_one_does_not(world: World) -> None:
    alice, bob, ref = await world.pair()
    peer = of_account(alice.device.account)
    scope = ConsentScope.UNTIL_SECURE
    bob.device.consent(peer, None, Protection.CLEAR, Cause.SENDER_CHOSE, scope)
    record = alice.device.group(ref)
    box = world.relay.boxes[str(bob.device.device)]
    box.put("application", str(ref), alice.device.engine.encrypt(record.group_id, b"no envelope"))
    await bob.device.sync()
    assert bob.device.floors.floor(peer).protection is Protection.CLEAR
    await alice.device.send(ref, b"secure again")
    await alice.device.flush()
    await bob.device.sync()
    after = bob.device.floors.floor(peer)
    assert (after.protection, after.basis) == (Protection.E2EE, FloorBasis.ATTESTED_MESSAGE)


@pytest.mark.attack("A4")
async def test_a_capability_that_the_relay_hides_ends_in_waiting(world: World) -> None:
    alice, bob, ref = await world.pair()
    account, floor = bob.device.account, alice.device.floors.floor(of_account(bob.device.account))

    def no_packages(call: str, answer: dict[str, Any]) -> None:
        if call.endswith("claim"):
            answer["packages"], answer["exhausted"] = [], [str(bob.device.device)]

    def no_devices(call: str, answer: dict[str, Any]) -> None:
        if "device-list" in call:
            answer["versions"], answer["current_version"] = [], 0

    def older_list(call: str, answer: dict[str, Any]) -> None:
        if call.endswith("claim"):
            answer["version"] = 0

    for lie in (no_packages, no_devices, older_list):
        world.relay.tamper = lie
        with pytest.raises((DeviceError, GateError)):
            await alice.device.add_account(ref, account)
        assert alice.device.floors.floor(of_account(account)) == floor
        refused(alice.device, account)
    # Not even somebody at the device is asked: nobody with a key said that the peer cannot.
    for cause in set(Cause) - {Cause.SENDER_CHOSE}:
        held(alice.device, account, cause)


@pytest.mark.attack("A4")
async def test_an_account_that_was_never_seen_is_no_reason_to_send_readable(world: World) -> None:
    alice = world.phone()
    await alice.enrol()
    stranger = AccountId(os.urandom(16))
    with pytest.raises((RelayError, KeyError)):
        await alice.device.claim(stranger)
    for cause in set(Cause) - {Cause.SENDER_CHOSE}:
        held(alice.device, stranger, cause)
    refused(alice.device, stranger)


@pytest.mark.attack("A4")
async def test_an_old_device_on_the_list_drags_nothing_down(world: World) -> None:
    alice, bob, ref = await world.pair()
    shows(alice.device, bob.device, [dataclasses.replace(bob.device.entry, capabilities=frozenset({"sms"}))])
    assert alice.device.floors.floor(of_account(bob.device.account)).protection is Protection.E2EE
    held(alice.device, bob.device.account, Cause.PEER_DEVICE_CANNOT)
    refused(alice.device, bob.device.account)
    await alice.device.send(ref, b"as before")


@pytest.mark.attack("A14")
async def test_a_group_that_is_born_downgraded_is_not_joined_and_a_new_one_inherits_the_floor(world: World) -> None:
    alice, bob, _ = await world.pair()
    floor = bob.device.floors.floor(of_account(alice.device.account))
    engine = bob.device._state.engine

    class Downgraded:
        def __getattr__(self, name: str) -> Any:
            return getattr(engine, name)

        def join(self, welcome: bytes) -> Joined:
            return dataclasses.replace(engine.join(welcome), context_extensions=(END_MLS,))

    bob.device._state.engine = Downgraded()
    born = await alice.device.create_group()
    await alice.device.add_account(born, bob.device.account)
    await bob.device.sync()
    assert await take(bob.device) == [
        events.Finding(born.value, "welcome", "group_says_that_it_is_not_encrypted", stopped=False)
    ]
    assert born not in bob.device.groups()
    held(bob.device, alice.device.account, Cause.PEER_ENDED_ENCRYPTION)
    refused(bob.device, alice.device.account)
    bob.device._state.engine = engine
    fresh = await alice.device.create_group()
    await alice.device.add_account(fresh, bob.device.account)
    await bob.device.sync()
    assert fresh in bob.device.groups()
    assert bob.device.floors.floor(of_account(alice.device.account)) == floor
    refused(bob.device, alice.device.account)


async def test_nothing_is_sent_to_a_leaf_that_its_account_has_disowned(world: World) -> None:
    alice, bob, ref = await world.pair()
    await bob.device.send(ref, b"queued")
    shows(alice.device, bob.device, [])
    with pytest.raises(DeviceError) as caught:
        await alice.device.send(ref, b"to whom?")
    assert (caught.value.reason, caught.value.facts["path"]) == (DeviceReason.BELOW_FLOOR, Protection.UNKNOWN)
    assert alice.device.waiting(0, 10) == []
    alice.restart()
    await alice.device.remove_device(ref, bob.device.device)
    await alice.device.send(ref, b"alone")
    assert len(alice.device.waiting(0, 10)) == 1


@pytest.mark.attack("A14")
async def test_what_was_sealed_for_a_downgraded_roster_is_not_sealed_again(world: World) -> None:
    alice, bob, ref = await world.pair()
    await alice.device.send(ref, b"slow")
    for _ in range(5):
        await bob.device.refresh_keys(ref)
    await alice.device.sync()
    shows(alice.device, bob.device, [])
    assert await alice.device.flush() == 0
    assert alice.device.waiting(0, 10) == []
    assert (await take(alice.device))[-1] == events.Finding(
        ref.value, "send", "below_the_floor_kept_on_this_device", stopped=False
    )


@pytest.mark.attack("A9")
async def test_a_consent_for_one_message_is_good_for_one_and_dies_when_the_floor_moves(world: World) -> None:
    alice, bob, ref = await world.pair()
    peer = of_account(bob.device.account)
    floor = alice.device.floors.floor(peer)

    def agree() -> ConsentId:
        return alice.device.consent(peer, None, Protection.CLEAR, Cause.SENDER_CHOSE, ConsentScope.THIS_MESSAGE)

    first = agree()
    assert alice.device.floors.floor(peer) == floor
    with pytest.raises(DeviceError):
        alice.device.clear_copy(peer, Protection.HOP)  # agreed was to CLEAR, and to nothing else
    alice.restart()
    copy = alice.device.clear_copy(peer, Protection.CLEAR)
    assert copy.consent == first
    with pytest.raises(DeviceError):
        alice.device.clear_copy(peer, Protection.CLEAR)
    (made,) = alice.device.floors.copies()
    assert (made.message, made.consent, made.path) == (copy.message.value, first.value, Protection.CLEAR)
    agree()
    # Down and up again: the floor is the same word, and not the one that was agreed about.
    alice.device.consent(peer, None, Protection.CLEAR, Cause.SENDER_CHOSE, ConsentScope.UNTIL_SECURE)
    await bob.device.send(ref, b"secure again")
    await bob.device.flush()
    await alice.device.sync()
    assert contents(await take(alice.device)) == [b"secure again"]
    with pytest.raises(DeviceError):
        alice.device.clear_copy(peer, Protection.CLEAR)


@pytest.mark.attack("A9")
async def test_a_consent_until_secure_lowers_the_floor_until_the_peer_is_heard_again(world: World) -> None:
    alice, bob, ref = await world.pair()
    peer = of_account(bob.device.account)
    until = alice.device.consent(peer, None, Protection.CLEAR, Cause.SENDER_CHOSE, ConsentScope.UNTIL_SECURE)
    lowered = alice.device.floors.floor(peer)
    assert (lowered.protection, lowered.basis) == (Protection.CLEAR, FloorBasis.CONSENT)
    for _ in range(2):
        assert alice.device.clear_copy(peer, Protection.CLEAR).consent == until
    await bob.device.send(ref, b"here again")
    await bob.device.flush()
    await alice.device.sync()
    with pytest.raises(DeviceError) as caught:
        alice.device.clear_copy(peer, Protection.CLEAR)
    assert caught.value.reason is DeviceReason.BELOW_FLOOR
    with pytest.raises(FloorError):
        alice.device.consent(peer, None, Protection.E2EE, Cause.SENDER_CHOSE, ConsentScope.UNTIL_SECURE)
    with pytest.raises(FloorError):
        alice.device.consent(peer, None, Protection.UNKNOWN, Cause.SENDER_CHOSE, ConsentScope.UNTIL_SECURE)


async def test_an_empty_list_signed_by_the_peer_may_be_asked_about_and_anothers_may_not(world: World) -> None:
    alice, bob, _ = await world.pair()
    shows(alice.device, bob.device, [])
    peer = of_account(bob.device.account)
    # The list alone lowers nothing.
    assert alice.device.floors.floor(peer).protection is Protection.E2EE
    refused(alice.device, bob.device.account)
    cause, scope = Cause.PEER_HAS_NO_DEVICE, ConsentScope.THIS_MESSAGE
    for other in (of_account(alice.device.account), of_number(NUMBER)):
        with pytest.raises(DeviceError) as caught:
            alice.device.consent(other, bob.device.account, Protection.CLEAR, cause, scope)
        assert caught.value.reason is DeviceReason.HELD
    alice.device.consent(peer, bob.device.account, Protection.CLEAR, cause, scope)
    assert alice.device.clear_copy(peer, Protection.CLEAR).consent is not None


async def test_what_was_agreed_to_is_kept_with_the_devices_signature(world: World) -> None:
    alice, bob, _ = await world.pair()
    peer = of_account(bob.device.account)
    alice.device.consent(peer, None, Protection.HOP, Cause.SENDER_CHOSE, ConsentScope.THIS_MESSAGE)
    (agreed,) = alice.device.floors.consents()
    assert (agreed.before, agreed.to, agreed.cause) == (Protection.E2EE, Protection.HOP, Cause.SENDER_CHOSE)
    keys = alice.device._state.keys
    key, scope = alice.device.entry.envelope_key, Scope(keys.tenant_id, keys.environment, AUDIENCE)
    verify(key, Purpose.CONSENT, scope, agreed.statement(), Signature.parse(agreed.signature))
    for spoilt in (
        {"to": Protection.CLEAR},
        {"scope": ConsentScope.UNTIL_SECURE},
        {"at_ms": agreed.at_ms + 1},
        {"peer": bytes(16)},
        {"floor_versions": [9]},
    ):
        data = {name: getattr(agreed, name) for name in agreed.__struct_fields__} | spoilt
        with pytest.raises(SignatureError):
            verify(key, Purpose.CONSENT, scope, type(agreed)(**data).statement(), Signature.parse(agreed.signature))
    assert "HOP" in repr(agreed)
    assert repr(peer) == "<Peer account>"


@pytest.mark.attack("A7")
async def test_a_number_is_one_peer_in_every_spelling_and_as_strict_as_its_account(world: World) -> None:
    alice, bob, _ = await world.pair()
    assert of_number(NUMBER) == of_number(SAME)
    device, peer = alice.device, of_number(NUMBER)
    device.consent(peer, None, Protection.CLEAR, Cause.SENDER_CHOSE, ConsentScope.UNTIL_SECURE)
    device.clear_copy(of_number(SAME), Protection.CLEAR)
    device.floors.link(SAME, bob.device.account)
    with pytest.raises(DeviceError) as caught:
        device.clear_copy(peer, Protection.CLEAR)
    assert caught.value.reason is DeviceReason.BELOW_FLOOR
    with pytest.raises(DeviceError) as caught:
        device.floors.link(NUMBER, alice.device.account)
    assert caught.value.reason is DeviceReason.ALIAS_TAKEN
    device.floors.link(NUMBER, bob.device.account)
    device.consent(peer, None, Protection.CLEAR, Cause.SENDER_CHOSE, ConsentScope.UNTIL_SECURE)
    assert device.floors.floor(of_account(bob.device.account)).protection is Protection.CLEAR
    device.clear_copy(peer, Protection.CLEAR)


async def test_a_consent_reaches_no_further_than_its_cause_offers(world: World) -> None:
    alice, bob, _ = await world.pair()
    ref = GroupRef(os.urandom(16))
    world.relay.groups[str(ref)] = Group(b"x", 0, bytes(32), [str(alice.device.device)])
    peer = of_account(bob.device.account)
    with pytest.raises(DeviceError):
        await alice.device.send(ref, b"x")
    # Sideways is a fall too: agreed to ENCLAVE, asked for ESCROWED.
    alice.device.consent(peer, None, Protection.ENCLAVE, Cause.SENDER_CHOSE, ConsentScope.UNTIL_SECURE)
    with pytest.raises(DeviceError) as caught:
        alice.device.clear_copy(peer, Protection.ESCROWED)
    assert caught.value.reason is DeviceReason.BELOW_FLOOR
    alice.device.clear_copy(peer, Protection.ENCLAVE)
