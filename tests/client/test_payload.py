"""Payloads: what is sent arrives as it was; what breaks its bounds does not; what is not known is said, not dropped."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.test_device import World, take

from letterlock.assurance.envelope import EnvelopeKind
from letterlock.client import events, payload
from letterlock.client.errors import DeviceError, DeviceReason, PayloadError, PayloadReason
from letterlock.client.payload import ActionReply, Media, Payload, Text, Unknown
from letterlock.model.ids import MessageId

MEDIA = Media("image/jpeg", "holiday.jpg", 123_456, "a-Blob_1", bytes(32), bytes(range(32)))
REPLY = ActionReply(bytes(16), "pay:42", "Pay now")
ALL = (Text("Grüße 👋"), Text("x" * payload.MAX_TEXT), MEDIA, REPLY)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    for phone in made.phones:
        if hasattr(phone, "device"):
            phone.device.close()
        await phone.http.aclose()


@pytest.mark.parametrize("said", ALL)
def test_each_type_survives(said: Payload) -> None:
    assert payload.parse(payload.encode(said)) == said


WRONG: tuple[tuple[Payload, PayloadReason], ...] = (
    (Text(""), PayloadReason.OUT_OF_BOUNDS),
    (Text("x" * (payload.MAX_TEXT + 1)), PayloadReason.OUT_OF_BOUNDS),
    (Text("\ud800"), PayloadReason.NOT_TEXT),
    *(
        (msgspec.structs.replace(MEDIA, **change), PayloadReason.OUT_OF_BOUNDS)
        for change in (
            {"media_type": "image"},
            {"media_type": "Image/JPEG"},
            {"media_type": "image/jpeg; a=b"},
            {"media_type": "image/" + "x" * 64},
            {"size": 0},
            {"size": payload.MAX_MEDIA + 1},
            {"locator": "../other"},
            {"locator": ""},
            {"locator": "x" * 129},
            {"key": bytes(31)},
            {"digest": b""},
            {"name": ""},
            {"name": "x" * 256},
        )
    ),
    *(
        (msgspec.structs.replace(MEDIA, name=name), PayloadReason.UNSAFE_NAME)
        for name in ("../x", "a\\b", "..", ".", "gpj.\u202eexe", "a\0b", "a\nb")
    ),
    (msgspec.structs.replace(REPLY, to=b""), PayloadReason.OUT_OF_BOUNDS),
    (msgspec.structs.replace(REPLY, label=""), PayloadReason.OUT_OF_BOUNDS),
    (msgspec.structs.replace(REPLY, label="x" * 26), PayloadReason.OUT_OF_BOUNDS),
    (msgspec.structs.replace(REPLY, postback="x" * 2049), PayloadReason.OUT_OF_BOUNDS),
    (msgspec.structs.replace(REPLY, postback=""), PayloadReason.OUT_OF_BOUNDS),
)


@pytest.mark.parametrize(("said", "reason"), WRONG)
def test_what_breaks_its_bounds_is_neither_sent_nor_taken(
    said: Payload, reason: PayloadReason, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PayloadError) as caught:
        payload.encode(said)
    assert caught.value.reason is reason
    # A sender that does not check.
    with monkeypatch.context() as patched:
        patched.setattr(payload, "_check", lambda said: None)
        try:
            data = payload.encode(said)
        except UnicodeEncodeError:
            return
    with pytest.raises(PayloadError) as caught:
        payload.parse(data)
    assert caught.value.reason is reason


def test_every_other_encoding_is_refused() -> None:
    for said in (Text("ab"), MEDIA, REPLY):
        data = payload.encode(said)
        for end in range(len(data)):
            with pytest.raises(PayloadError):
                payload.parse(data[:end])
        with pytest.raises(PayloadError):
            payload.parse(data + b"\0")
    with pytest.raises(PayloadError) as caught:
        payload.parse(b"\2" + payload.encode(Text("a"))[1:])
    assert caught.value.reason is PayloadReason.UNKNOWN_FORMAT
    with pytest.raises(PayloadError) as caught:
        payload.parse(payload.encode(Text("ab"))[:-1] + b"\xff")
    assert caught.value.reason is PayloadReason.NOT_TEXT


@given(st.binary(max_size=200))
def test_any_bytes_give_a_payload_or_a_typed_error(data: bytes) -> None:
    for candidate in (data, b"\1\0" + data, payload.encode(MEDIA)[:20] + data):
        try:
            found = payload.parse(candidate)
        except PayloadError:
            continue
        if not isinstance(found, Unknown):
            assert payload.encode(found) == candidate


def test_nothing_shows_what_it_says() -> None:
    shown = repr((Text("secret"), MEDIA, REPLY, Unknown(9, b"secret")))
    for word in ("secret", "holiday", "Pay", "a-Blob_1"):
        assert word not in shown


async def test_payloads_travel_and_are_receipted(world: World) -> None:
    alice, bob, ref = await world.pair()
    first = await alice.device.say(ref, Text("Lunch?"))
    await alice.device.say(ref, MEDIA)
    await alice.device.flush()
    await bob.device.sync()
    text, media = await take(bob.device)
    assert isinstance(text, events.PayloadReceived)
    assert isinstance(media, events.PayloadReceived)
    assert (text.payload, media.payload) == (Text("Lunch?"), MEDIA)
    assert (text.account, text.device) == (alice.device.account.value, alice.device.device.value)
    assert "Lunch" not in repr(text)
    await bob.device.mark_read(text)
    answer = ActionReply(text.message, "yes", "Yes!")
    await bob.device.say(ref, answer)
    await bob.device.flush()
    await alice.device.sync()
    found = await take(alice.device)
    assert [event.payload for event in found if isinstance(event, events.PayloadReceived)] == [answer]
    assert alice.device.receipts(first).displayed == {bob.device.device}


async def test_a_type_of_a_later_version_is_an_event_and_a_broken_one_a_finding(world: World) -> None:
    alice, bob, ref = await world.pair()
    record = alice.device.group(ref)
    for body in (b"\1\x03\xe7" + b"later", payload.encode(Text("a")) + b"\0", b"\2"):
        alice.device._outgoings._queue(record, EnvelopeKind.PAYLOAD, MessageId(os.urandom(16)), body)
    await alice.device.flush()
    await bob.device.sync()
    later, *broken = await take(bob.device)
    assert isinstance(later, events.PayloadReceived)
    assert later.payload == Unknown(999, b"later")
    assert [event.reason for event in broken if isinstance(event, events.Finding)] == [
        "payload_malformed",
        "payload_malformed",
    ]
    # What could not be read was not acknowledged as delivered.
    await bob.device.flush()
    await alice.device.sync()
    assert [type(event) for event in await take(alice.device)] == [events.ReceiptSeen]


async def test_a_payload_is_bound_by_the_floor_like_everything_said(world: World) -> None:
    alice, bob, ref = await world.pair()
    with pytest.raises(PayloadError):
        await alice.device.say(ref, Text(""))
    assert alice.device.waiting(0, 10) == []
    await bob.device.publish_list()
    alice.device.directory._leaves.pop(bob.device.engine.leaf_key)
    with pytest.raises(DeviceError) as caught:
        await alice.device.say(ref, Text("hello"))
    assert caught.value.reason is DeviceReason.BELOW_FLOOR
