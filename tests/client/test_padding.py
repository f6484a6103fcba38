"""What the relay sees of lengths: eight sizes, whatever is said, and receipts among them."""

import itertools
from pathlib import Path

import pytest
from tests.client.test_device import Phone, World, contents, take

from letterlock.assurance.envelope import MAX_CONTENT, SIZES, EnvelopeError, EnvelopeReason
from letterlock.client import events
from letterlock.client.payload import MAX_TEXT, Text
from letterlock.model.ids import GroupRef

LENGTHS = (
    0,
    1,
    2,
    10,
    100,
    250,
    310,
    311,
    312,
    313,
    400,
    800,
    1_000,
    2_000,
    5_000,
    12_000,
    30_000,
    48_000,
    MAX_CONTENT,
)


async def spoken(phone: Phone, ref: GroupRef) -> list[int]:
    """The sizes of what waits to be sent, as they go over the wire; then it is sent."""
    sizes = [len(one.submission.body) for one in phone.device.waiting(0, 256)]
    while await phone.device.flush():
        pass
    return sizes


async def test_a_relay_sees_eight_sizes_whatever_is_said(tmp_path: Path) -> None:
    world = World(tmp_path)
    alice, bob, ref = await world.pair()
    for size in LENGTHS:
        await alice.device.send(ref, b"x" * size)
    for size in (1, 300, MAX_TEXT):
        await alice.device.say(ref, Text("y" * size))
    sizes = await spoken(alice, ref)
    assert len(sizes) == len(LENGTHS) + 3
    assert len(set(sizes)) == len(SIZES)
    assert set(sizes[-3:]) <= set(sizes[:-3]), "a payload looks like a content"
    await bob.device.sync()
    heard = await take(bob.device)
    assert [len(one) for one in contents(heard)] == list(LENGTHS)
    for one in heard:
        if isinstance(one, events.Received):
            await bob.device.mark_read(one)
    receipts = await spoken(bob, ref)
    assert len(receipts) >= 2 * len(LENGTHS)
    assert set(receipts) == {min(sizes)}, "a receipt looks like a short text"
    for phone in world.phones:
        phone.device.close()
        await phone.http.aclose()


async def test_what_is_too_long_is_refused_before_it_is_encrypted(tmp_path: Path) -> None:
    world = World(tmp_path)
    alice, _, ref = await world.pair()
    before = alice.device.state_counter()
    with pytest.raises(EnvelopeError) as caught:
        await alice.device.send(ref, bytes(MAX_CONTENT + 1))
    assert caught.value.reason is EnvelopeReason.TOO_LARGE
    assert (alice.device.state_counter(), alice.device.waiting(0, 9)) == (before, [])
    for phone in world.phones:
        phone.device.close()
        await phone.http.aclose()


def test_each_size_has_room_for_twice_as_much_as_the_one_before() -> None:
    assert all(after <= 2 * before for before, after in itertools.pairwise(SIZES))
