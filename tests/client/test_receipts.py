"""Receipts between devices: who attests what, what is refused, and what no receipt changes."""

import dataclasses
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.client.test_device import Phone, World, contents, take

from letterlock.assurance import receipts
from letterlock.assurance.envelope import EnvelopeKind
from letterlock.assurance.receipts import Receipt, Receipted, ReceiptType
from letterlock.client import events
from letterlock.client.device import Device
from letterlock.client.errors import DeviceError, DeviceReason, EngineError, EngineReason
from letterlock.client.receipts import MAX_REPORTS, digest
from letterlock.client.sent import SENT, SentRecord
from letterlock.model.ids import DeviceId, GroupRef, MessageId
from letterlock.model.protection import EvidenceGrade, Protection
from letterlock.wire.imdn.receipts import ClientFailure


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    for phone in made.phones:
        if hasattr(phone, "device"):
            phone.device.close()
        await phone.http.aclose()


async def three(world: World) -> tuple[Phone, Phone, Phone, GroupRef]:
    alice, bob, ref = await world.pair()
    carol = world.phone()
    await carol.enrol()
    await alice.device.add_account(ref, carol.device.account)
    await bob.device.sync()
    await carol.device.sync()
    for phone in (alice, bob, carol):
        await take(phone.device)
    return alice, bob, carol, ref


async def sent(device: Device, ref: GroupRef, content: bytes = b"words") -> MessageId:
    message = await device.send(ref, content)
    await device.flush()
    return message


async def heard(device: Device) -> list[events.DeviceEvent]:
    await device.sync()
    return await take(device)


def about(device: Device, message: MessageId) -> Receipted:
    data = device._state.store.get(SENT, message.value)
    assert data is not None
    return msgspec.msgpack.decode(data, type=SentRecord).receipted()


async def says(device: Device, ref: GroupRef, kind: ReceiptType, what: Receipted, **more: Any) -> None:
    """The device really signs and sends this, whatever it is."""
    receipt = device._state.book.made(kind, what, **more)
    await slips(device, ref, receipt)


async def slips(device: Device, ref: GroupRef, receipt: bytes) -> None:
    record = device.group(ref)
    device._outgoings._queue(record, EnvelopeKind.RECEIPT, MessageId(os.urandom(16)), receipt)
    await device.flush()


async def test_each_recipient_attests_for_itself(world: World) -> None:
    alice, bob, carol, ref = await three(world)
    message = await sent(alice.device, ref)
    first = alice.device.receipts(message)
    assert first.recipients == {bob.device.device, carol.device.device}
    assert (first.attested, first.displayed, first.failed) == (frozenset(), frozenset(), {})
    assert first.grade(bob.device.device) is EvidenceGrade.FRAMED
    (received,) = await heard(bob.device)
    await bob.device.flush()
    (seen,) = await heard(alice.device)
    assert seen == events.ReceiptSeen(
        ref.value, message.value, bob.device.account.value, bob.device.device.value, "delivered", 1, 2
    )
    shown = alice.device.receipts(message)
    assert shown.attested == {bob.device.device}
    assert shown.grade(bob.device.device) is EvidenceGrade.ATTESTED
    assert shown.grade(carol.device.device) is EvidenceGrade.FRAMED
    await carol.device.sync()
    await carol.device.flush()
    assert isinstance(received, events.Received)
    await bob.device.mark_read(received)
    await bob.device.flush()
    later = [event for event in await heard(alice.device) if isinstance(event, events.ReceiptSeen)]
    assert [(event.kind, event.attested, event.recipients) for event in later] == [("delivered", 2, 2), ("read", 2, 2)]
    alice.restart()
    assert alice.device.receipts(message).displayed == {bob.device.device}
    # Carol heard bob's receipts too; they are about a message of alice's, and mean nothing to her.
    assert not [event for event in await heard(carol.device) if isinstance(event, events.ReceiptSeen | events.Finding)]


async def test_a_receipt_for_a_message_of_an_earlier_epoch_names_that_epochs_roster(world: World) -> None:
    alice, bob, carol, ref = await three(world)
    message = await sent(alice.device, ref)
    for _ in range(3):
        await carol.device.refresh_keys(ref)
    # Bob takes message and commits, acknowledges, and shows the message two epochs later, after a restart.
    (received, *_) = await heard(bob.device)
    bob.restart()
    assert isinstance(received, events.Received)
    await bob.device.mark_read(received)
    await bob.device.flush()
    kinds = [event.kind for event in await heard(alice.device) if isinstance(event, events.ReceiptSeen)]
    assert kinds == ["delivered", "read"]
    assert alice.device.receipts(message).displayed == {bob.device.device}


@pytest.mark.attack("A3")
async def test_each_false_receipt_is_refused_with_its_finding(world: World) -> None:
    alice, bob, carol, ref = await three(world)
    message, other = await sent(alice.device, ref), await sent(alice.device, ref, b"others")
    await bob.device.sync()
    what, second = about(alice.device, message), about(alice.device, other)
    replace, kind = dataclasses.replace, ReceiptType.DELIVERED
    for false, reason in (
        (replace(what, ciphertext=second.ciphertext), "receipt_of_another_ciphertext"),
        (replace(what, message=second.message), "receipt_of_another_ciphertext"),
        (replace(what, message=MessageId(bytes([1]) * 16)), "receipt_of_a_message_not_sent_from_here"),
        (replace(what, group_id=b"other"), "receipt_of_another_group"),
        (replace(what, epoch=what.epoch - 1), "receipt_of_another_era_or_epoch"),
        (replace(what, era=1), "receipt_of_another_era_or_epoch"),
        (replace(what, roster=bytes(32)), "receipt_of_another_roster"),
    ):
        await says(carol.device, ref, kind, false)
        assert await heard(alice.device) == [events.Finding(ref.value, "application", reason, stopped=False)]
    # Bob's own, genuine receipt in an envelope of carol's.
    lifted = bob.device._state.book.made(kind, what)
    await slips(carol.device, ref, lifted)
    assert await heard(alice.device) == [
        events.Finding(ref.value, "application", "receipt_of_another_device", stopped=False)
    ]
    # And one that carol signs in bob's name.
    keys, mine = carol.device._state.keys, carol.device.directory.head(bob.device.account)
    assert mine is not None
    forged = Receipt(kind, what, None, bob.device.account, bob.device.device, mine.version, mine.digest())
    signed = receipts.sign_receipt(forged, keys.tenant_id, keys.environment, keys.envelope_key())
    await slips(carol.device, ref, signed.encode())
    assert await heard(alice.device) == [
        events.Finding(ref.value, "application", "receipt_of_another_device", stopped=False)
    ]
    assert alice.device.receipts(message).attested == frozenset()
    await slips(carol.device, ref, b"\x01junk")
    assert [event.reason for event in await heard(alice.device) if isinstance(event, events.Finding)] == [
        "receipt_malformed"
    ]
    await says(carol.device, ref, kind, what)
    assert [type(event) for event in await heard(alice.device)] == [events.ReceiptSeen]


@pytest.mark.attack("A3")
async def test_a_receipt_counts_once_and_only_from_a_recipient(world: World) -> None:
    alice, bob, ref = await world.pair()
    message = await sent(alice.device, ref)
    what = about(alice.device, message)
    carol = world.phone()
    await carol.enrol()
    await alice.device.add_account(ref, carol.device.account)
    await carol.device.sync()
    # Carol came later: she may have been told everything, and was no recipient.
    await says(carol.device, ref, ReceiptType.DELIVERED, what)
    found = await heard(alice.device)
    assert found[-1] == events.Finding(
        ref.value, "application", "receipt_of_a_device_that_was_no_recipient", stopped=False
    )
    await bob.device.sync()
    await bob.device.flush()
    assert [type(event) for event in await heard(alice.device)] == [events.ReceiptSeen]
    for kind in (ReceiptType.DELIVERED, ReceiptType.DISPLAYED, ReceiptType.DISPLAYED):
        await says(bob.device, ref, kind, what)
    found = await heard(alice.device)
    assert [event.reason if isinstance(event, events.Finding) else type(event) for event in found] == [
        "receipt_seen_before",
        events.ReceiptSeen,
        "receipt_seen_before",
    ]
    assert alice.device.receipts(message).attested == {bob.device.device}


async def test_no_receipt_changes_what_was_decided_before(world: World) -> None:
    alice, bob, carol, ref = await three(world)
    message = await sent(alice.device, ref)
    decided = alice.device.receipts(message).decided
    assert (decided.protection, decided.grade) == (Protection.E2EE, EvidenceGrade.FRAMED)
    for phone in (bob, carol):
        (received,) = contents_of(await heard(phone.device))
        await phone.device.mark_read(received)
        await phone.device.flush()
    assert len([event for event in await heard(alice.device) if isinstance(event, events.ReceiptSeen)]) == 4
    after = alice.device.receipts(message)
    assert after.decided == decided
    assert after.displayed == {bob.device.device, carol.device.device}
    # A message that was not sent does not become one that was.
    with pytest.raises(DeviceError) as caught:
        alice.device.receipts(MessageId(bytes(16)))
    assert caught.value.reason is DeviceReason.UNKNOWN_MESSAGE


def contents_of(found: list[events.DeviceEvent]) -> list[events.Received]:
    return [event for event in found if isinstance(event, events.Received)]


class Failing:
    """An engine that cannot open the messages it is told about."""

    def __init__(self, inner: Any, failing: set[bytes]) -> None:
        self.inner = inner
        self.failing = failing

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def process(self, message: bytes) -> Any:
        if digest(message) in self.failing:
            raise EngineError(EngineReason.REFUSED)
        return self.inner.process(message)


async def test_a_message_that_cannot_be_opened_is_reported_and_sent_again_by_the_application(world: World) -> None:
    alice, bob, _, ref = await three(world)
    message = await sent(alice.device, ref)
    bob.device._state.engine = Failing(bob.device._state.engine, {about(alice.device, message).ciphertext})
    assert await heard(bob.device) == [events.Finding(ref.value, "application", "refused_by_the_engine", stopped=False)]
    await bob.device.flush()
    assert await heard(alice.device) == [
        events.DeliveryFailed(ref.value, message.value, bob.device.account.value, bob.device.device.value, 4, "resend")
    ]
    shown = alice.device.receipts(message)
    assert (shown.attested, shown.failed) == (frozenset(), {bob.device.device: ClientFailure.FAILED_TO_DECRYPT})
    assert alice.device.waiting(0, 10) == []
    again = await alice.device.send(ref, b"words", resends=message)
    assert again != message
    await alice.device.flush()
    assert contents(await heard(bob.device)) == [b"words"]
    with pytest.raises(DeviceError) as caught:
        await alice.device.send(ref, b"words", resends=MessageId(bytes(16)))
    assert caught.value.reason is DeviceReason.UNKNOWN_MESSAGE


@pytest.mark.parametrize("failure", list(ClientFailure))
async def test_outcomes_are_never_sent_again(world: World, failure: ClientFailure) -> None:
    alice, bob, ref = await world.pair()
    message = await sent(alice.device, ref)
    what = dataclasses.replace(about(alice.device, message), message=receipts.NO_MESSAGE, sender=receipts.NO_SENDER)
    await says(bob.device, ref, ReceiptType.FAILED, what, failure=failure)
    assert [type(event) for event in await heard(alice.device)] == [events.DeliveryFailed]
    if 7 <= failure <= 12:
        with pytest.raises(DeviceError) as caught:
            await alice.device.send(ref, b"words", resends=message)
        assert caught.value.reason is DeviceReason.NO_RESEND
    else:
        await alice.device.send(ref, b"words", resends=message)
    # Delivered after all: the signed receipt counts, and a failure after it contradicts.
    await says(bob.device, ref, ReceiptType.DELIVERED, about(alice.device, message))
    await says(bob.device, ref, ReceiptType.FAILED, what, failure=ClientFailure.INVALID_COMMIT)
    found = await heard(alice.device)
    assert [event.reason if isinstance(event, events.Finding) else type(event) for event in found] == [
        events.ReceiptSeen,
        "failure_reported_after_delivery",
    ]
    assert alice.device.receipts(message).failed == {}


async def test_junk_makes_a_device_talk_only_so_much(world: World) -> None:
    alice, bob, ref = await world.pair()
    box = world.relay.boxes[str(bob.device.device)]
    genuine = alice.device._outgoings.sealed(
        alice.device.group(ref), EnvelopeKind.CONTENT, MessageId(os.urandom(16)), b"x", 1
    ).body
    for number in range(MAX_REPORTS + 5):
        spoilt = genuine[:-1] + bytes([genuine[-1] ^ (number + 1)])
        box.put("application", str(ref), spoilt)
    box.put("application", str(ref), b"not mls")
    await bob.device.sync()
    assert len(bob.device.waiting(0, 100)) == MAX_REPORTS
    # None of them is a message that alice sent, so none means anything to her.
    await bob.device.flush()
    assert await heard(alice.device) == []
    await alice.device.refresh_keys(ref)
    await bob.device.sync()
    box.put("application", str(ref), genuine[:-1] + b"\0")
    await bob.device.sync()
    assert len(bob.device.waiting(0, 100)) == 1


async def test_a_report_that_cannot_be_made_holds_up_nothing(world: World) -> None:
    alice, bob, ref = await world.pair()
    first = await sent(alice.device, ref)
    engine = Failing(bob.device._state.engine, {about(alice.device, first).ciphertext})

    def mute(group_id: bytes, plaintext: bytes) -> bytes:
        raise EngineError(EngineReason.COMMIT_PENDING)

    engine.encrypt = mute  # type: ignore[attr-defined]
    bob.device._state.engine = engine
    assert await heard(bob.device) == [events.Finding(ref.value, "application", "refused_by_the_engine", stopped=False)]
    bob.device._state.engine = engine.inner
    await sent(alice.device, ref, b"next")
    assert contents(await heard(bob.device)) == [b"next"]


async def test_a_message_sealed_again_is_receipted_as_it_was_sent(world: World) -> None:
    alice, bob, ref = await world.pair()
    message = await alice.device.send(ref, b"slow")
    first = about(alice.device, message)
    for _ in range(5):
        await bob.device.refresh_keys(ref)
    await alice.device.sync()
    await take(alice.device)
    assert (await alice.device.flush(), await alice.device.flush()) == (0, 1)
    assert about(alice.device, message).ciphertext != first.ciphertext
    await bob.device.sync()
    await bob.device.flush()
    assert [type(event) for event in await heard(alice.device)] == [events.ReceiptSeen]
    assert alice.device.receipts(message).attested == {bob.device.device}


async def test_what_was_sent_is_forgotten_when_asked(world: World) -> None:
    alice, bob, ref = await world.pair()
    old = await sent(alice.device, ref)
    alice.clock.advance(1000)
    new = await sent(alice.device, ref)
    assert await alice.device.forget_sent(alice.clock.now_ms()) == 1
    with pytest.raises(DeviceError):
        alice.device.receipts(old)
    await bob.device.sync()
    await bob.device.flush()
    found = await heard(alice.device)
    assert [type(event) for event in found] == [events.Finding, events.ReceiptSeen]
    assert alice.device.receipts(new).attested == {DeviceId(bob.device.device.value)}
