"""The session handshake between devices: a relay that drops, repeats and reorders, and a peer that lies."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.client.fake_relay import raw
from tests.client.test_device import Phone, World, contents, take

from letterlock.assurance.handshake.checks import End
from letterlock.assurance.handshake.exchange import Step, begin, receive
from letterlock.assurance.handshake.machine import HandshakeState
from letterlock.assurance.handshake.reasons import HandshakeReason
from letterlock.client import events, handshakes
from letterlock.client.enrolment import Enrolment, prepare
from letterlock.client.errors import DeviceError, DeviceReason
from letterlock.client.handshakes import CAPABILITY, Handshakes
from letterlock.client.sealing import ClientKey
from letterlock.client.store import DeviceStore
from letterlock.model.ids import GroupRef
from letterlock.model.protection import Protection
from letterlock.wire.handshake import Answer, Element, Flag, Offer, Tag, parse
from letterlock.wire.preimage import Signer, sign

WORDS = b"the words that wait"
FLAGS = (Flag.YES, Flag.UNKNOWN, Flag.YES)
TAG = Tag("+g.gsma.rcs.mls.mls-version", "v1")


class SigningPhone(Phone):
    """A phone whose device lists the handshake."""

    def fill(self, enrolment: Enrolment, seed: bytes) -> None:
        store = DeviceStore(self.path, ClientKey(self.key))
        prepare(store, enrolment, identity=seed, capabilities=frozenset({CAPABILITY}))
        store.close()


class SigningWorld(World):
    def phone(self) -> Phone:
        self.phones.append(SigningPhone(self.relay, self.folder / f"{len(self.phones)}.db"))
        return self.phones[-1]

    def plain_phone(self) -> Phone:
        return super().phone()

    async def begun(self, *tags: Tag) -> tuple[Phone, Phone, GroupRef]:
        """Alice has offered; nothing of it has left her device."""
        alice, bob = self.phone(), self.phone()
        await alice.enrol()
        await bob.enrol()
        for phone in (alice, bob):
            await phone.device.advertise(tags, FLAGS)
        ref = await alice.device.create_group()
        await alice.device.add_account(ref, bob.device.account)
        return alice, bob, ref

    async def settle(self, *phones: Phone) -> None:
        """Until nothing travels any more."""
        for _ in range(8):
            for phone in phones:
                await phone.device.flush()
                await phone.device.sync()

    def box(self, phone: Phone) -> Any:
        return self.relay.boxes[str(phone.device.device)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[SigningWorld]:
    made = SigningWorld(tmp_path)
    yield made
    for phone in made.phones:
        if hasattr(phone, "device"):
            phone.device.close()
        await phone.http.aclose()


def states(alice: Phone, bob: Phone, ref: GroupRef) -> tuple[HandshakeState, HandshakeState]:
    return (
        alice.device.handshake(ref, bob.device.account).state,
        bob.device.handshake(ref, alice.device.account).state,
    )


async def both_end(world: SigningWorld, alice: Phone, bob: Phone, ref: GroupRef) -> None:
    """Words of either side are given to nobody, and both groups stand."""
    await alice.device.send(ref, WORDS)
    await world.settle(alice, bob)
    assert states(alice, bob, ref) == (HandshakeState.ABORTED, HandshakeState.ABORTED)
    # Whoever saw it says so to the relay, once; the other end only heard of it.
    told = [device for device, _ in world.relay.handshake_reports]
    assert 1 <= len(told) == len(set(told)) <= 2
    for phone in (alice, bob):
        found = await take(phone.device)
        assert contents(found) == []
        assert [one.operation for one in found if isinstance(one, events.Finding) and one.stopped] == ["handshake"]
        assert phone.device.group(ref).stopped == "downgrade_detected"
        with pytest.raises(DeviceError) as caught:
            await phone.device.send(ref, WORDS)
        assert caught.value.reason is DeviceReason.GROUP_STOPPED


async def test_words_that_wait_for_an_agreement_go_with_their_group(world: SigningWorld) -> None:
    alice, bob, ref = await world.begun()
    await alice.device.send(ref, WORDS)
    alice.device._state.close_group(ref, "over")
    await alice.device.forget_group(ref)
    assert await take(alice.device) == [events.Finding(ref.value, "send", "group_forgotten", stopped=False)]
    assert not alice.device._state.store.entries("waiting_words")
    await world.settle(alice, bob)
    assert await take(alice.device) == []
    assert contents(await take(bob.device)) == []


async def test_words_wait_for_the_agreement_and_are_bound_to_it(world: SigningWorld) -> None:
    alice, bob, ref = await world.begun()
    first = await alice.device.send(ref, WORDS)
    assert await alice.device.flush() == 1  # the offer alone
    await bob.device.sync()
    assert contents(await take(bob.device)) == []
    assert states(alice, bob, ref) == (HandshakeState.OFFERED, HandshakeState.ANSWERED)
    second = await bob.device.send(ref, WORDS[::-1])
    await world.settle(alice, bob)
    assert states(alice, bob, ref) == (HandshakeState.AGREED, HandshakeState.AGREED)
    at_bob, at_alice = await take(bob.device), await take(alice.device)
    assert contents(at_bob) == [WORDS]
    assert contents(at_alice) == [WORDS[::-1]]
    assert [one.message for one in at_bob if isinstance(one, events.Received)] == [first.value]
    assert alice.device.receipts(first).attested == {bob.device.device}
    assert bob.device.receipts(second).attested == {alice.device.device}
    agreements = {
        phone.device._outgoings.handshakes.agreement(ref.value, phone.device._state.store.get) for phone in (alice, bob)
    }
    assert len(agreements) == 1
    assert len(agreements.pop()) == 32


async def test_many_words_keep_their_order(world: SigningWorld) -> None:
    alice, bob, ref = await world.begun()
    said = [bytes([number]) * 20 for number in range(6)]
    for words in said[:4]:
        await alice.device.send(ref, words)
    await world.settle(alice, bob)
    for words in said[4:]:
        await alice.device.send(ref, words)
    await world.settle(alice, bob)
    assert contents(await take(bob.device)) == said


async def test_killed_in_the_middle_it_goes_on(world: SigningWorld) -> None:
    alice, bob, ref = await world.begun()
    await alice.device.send(ref, WORDS)
    for _ in range(8):
        for phone in (alice, bob):
            phone.restart()
            await phone.device.flush()
            await phone.device.sync()
    assert contents(await take(bob.device)) == [WORDS]
    assert states(alice, bob, ref) == (HandshakeState.AGREED, HandshakeState.AGREED)


async def test_an_older_device_is_spoken_to_as_before(world: SigningWorld) -> None:
    alice, old = world.phone(), world.plain_phone()
    await alice.enrol()
    await old.enrol()
    ref = await alice.device.create_group()
    await alice.device.add_account(ref, old.device.account)
    await alice.device.send(ref, WORDS)
    await world.settle(alice, old)
    assert contents(await take(old.device)) == [WORDS]
    await old.device.send(ref, WORDS)
    await world.settle(alice, old)
    assert contents(await take(alice.device)) == [WORDS]


async def test_a_third_account_comes_in_and_everybody_is_heard(world: SigningWorld) -> None:
    alice, bob, ref = await world.begun()
    await world.settle(alice, bob)
    carol = world.phone()
    await carol.enrol()
    await alice.device.add_account(ref, carol.device.account)
    await bob.device.sync()
    await bob.device.send(ref, b"bob, under the first agreement")
    await bob.device.flush()
    await carol.device.sync()
    assert contents(await take(carol.device)) == []
    await world.settle(alice, bob, carol)
    assert contents(await take(carol.device)) == [b"bob, under the first agreement"]
    await carol.device.advertise([], FLAGS)
    for phone in (alice, bob, carol):
        await take(phone.device)
        await phone.device.send(ref, str(phone.path).encode())
    await world.settle(alice, bob, carol)
    for phone in (alice, bob, carol):
        found = await take(phone.device)
        assert len(contents(found)) == 2
        assert not [one for one in found if isinstance(one, events.Finding)]


@pytest.mark.attack("A4")
async def test_an_offer_that_saw_an_old_list_is_held_until_the_new_one_is_learnt(world: SigningWorld) -> None:
    """The relay may keep the newest list from Alice: Bob's device does not go on, and nothing is said meanwhile."""
    alice, bob, ref = await world.begun()
    await alice.device.send(ref, WORDS)
    await bob.device.publish_list()
    await world.settle(alice, bob)
    assert states(alice, bob, ref) == (HandshakeState.OFFERED, HandshakeState.HELD)
    assert contents(await take(bob.device)) == []
    assert await alice.device.begin_handshakes(ref) == 1
    await world.settle(alice, bob)
    assert states(alice, bob, ref) == (HandshakeState.AGREED, HandshakeState.AGREED)
    assert contents(await take(bob.device)) == [WORDS]
    assert await alice.device.begin_handshakes(ref) == 0


async def test_an_offer_without_an_answer_is_made_anew_after_its_time(world: SigningWorld) -> None:
    alice, bob, ref = await world.begun()
    assert await alice.device.begin_handshakes(ref) == 0
    alice.clock.advance(31 * 24 * 3_600_000)
    assert await alice.device.begin_handshakes(ref) == 1
    bob.clock.advance(31 * 24 * 3_600_000)
    await alice.device.send(ref, WORDS)
    await world.settle(alice, bob)
    assert states(alice, bob, ref)[0] is HandshakeState.AGREED
    assert contents(await take(bob.device)) == [WORDS]


# -- what the relay can do --------------------------------------------------------------------------------------------


@pytest.mark.attack("A4")
async def test_without_an_answer_it_waits_whatever_else_arrives(world: SigningWorld) -> None:
    """The relay keeps the offer from Bob: nothing is sent, nothing is asked, and later it goes on."""
    alice, bob, ref = await world.begun()
    await alice.device.send(ref, WORDS)
    await alice.device.flush()
    kept = world.box(bob).items.pop()
    world.box(bob).head -= 1
    await world.settle(alice, bob)
    assert states(alice, bob, ref) == (HandshakeState.OFFERED, HandshakeState.IDLE)
    assert contents(await take(bob.device)) == []
    assert alice.device.floors.consents() == []
    world.box(bob).put(kept["kind"], kept["group"], bytes.fromhex("00"))
    await world.settle(alice, bob)
    assert states(alice, bob, ref) == (HandshakeState.OFFERED, HandshakeState.IDLE)
    world.box(bob).put(kept["kind"], kept["group"], raw(kept["body"]))
    await world.settle(alice, bob)
    assert contents(await take(bob.device)) == [WORDS]


async def test_every_element_twice_is_taken_once(world: SigningWorld) -> None:
    alice, bob, ref = await world.begun()
    await alice.device.send(ref, WORDS)
    for _ in range(8):
        for phone, other in ((alice, bob), (bob, alice)):
            before = len(world.box(other).items)
            await phone.device.flush()
            for item in list(world.box(other).items)[before:]:
                world.box(other).put(item["kind"], item["group"], raw(item["body"]))
            await other.device.sync()
    assert contents(await take(bob.device)) == [WORDS]
    assert states(alice, bob, ref) == (HandshakeState.AGREED, HandshakeState.AGREED)


async def test_a_finish_that_is_kept_back_leaves_the_words_unshown_until_it_comes(world: SigningWorld) -> None:
    alice, bob, ref = await world.begun()
    await alice.device.send(ref, WORDS)
    await alice.device.flush()
    await bob.device.sync()
    await bob.device.flush()
    await alice.device.sync()
    await alice.device.flush()
    finish, words = world.box(bob).items[-2:]
    del world.box(bob).items[-2:]
    world.box(bob).head -= 2
    world.box(bob).put(words["kind"], words["group"], raw(words["body"]))
    await bob.device.sync()
    assert contents(await take(bob.device)) == []
    world.box(bob).put(finish["kind"], finish["group"], raw(finish["body"]))
    await bob.device.sync()
    assert contents(await take(bob.device)) == [WORDS]


# -- what a peer can do, and somebody with its keys -------------------------------------------------------------------


def resigned(element: Element, end: End, signer: Signer, **changed: Any) -> bytes:
    content = replace(element.content, **changed)
    scope = element.party.scope(end.conversation, end.tenant, end.environment)
    return Element(content, element.party, sign(signer, content.purpose, scope, content.body())).encode()


Bend = Callable[[Element, End, Signer], bytes]


def fewer_tags(element: Element, end: End, signer: Signer) -> bytes:
    """Edited after signing: the tags are gone."""
    content = element.content
    assert isinstance(content, Offer | Answer)
    return replace(element, content=replace(content, capabilities=replace(content.capabilities, tags=()))).encode()


def another_suite(element: Element, end: End, signer: Signer) -> bytes:
    content = element.content
    assert isinstance(content, Offer | Answer)
    return resigned(element, end, signer, choice=replace(content.choice, suite=7))


def no_encryption(element: Element, end: End, signer: Signer) -> bytes:
    content = element.content
    assert isinstance(content, Offer | Answer)
    return resigned(element, end, signer, choice=replace(content.choice, protection=Protection.CLEAR))


def saw_less(element: Element, end: End, signer: Signer) -> bytes:
    """What it was shown of the other end lacked something: the strip of a capability exchange, told in good faith."""
    content = element.content
    assert isinstance(content, Offer | Answer)
    shown = replace(content.capabilities, tags=(), flags=(Flag.NO, Flag.NO, Flag.NO), suites=())
    return resigned(element, end, signer, seen=replace(content.seen, capabilities=shown))


def forked_list(element: Element, end: End, signer: Signer) -> bytes:
    content = element.content
    assert isinstance(content, Offer | Answer)
    return resigned(element, end, signer, seen=replace(content.seen, list_hash=bytes(32)))


def cut(element: Element, end: End, signer: Signer) -> bytes:
    return element.encode()[:-3]


@pytest.mark.attack("A4", "A5")
@pytest.mark.parametrize("kind", [Offer, Answer])
@pytest.mark.parametrize(
    "bend", [fewer_tags, another_suite, no_encryption, saw_less, forked_list, cut], ids=lambda bend: bend.__name__
)
async def test_what_does_not_fit_ends_it_at_both_ends_and_nothing_is_delivered(
    world: SigningWorld, monkeypatch: pytest.MonkeyPatch, kind: type, bend: Bend
) -> None:
    def bent(step: Step, end: End, signer: Signer) -> Step:
        send = [bend(parse(data), end, signer) if isinstance(parse(data).content, kind) else data for data in step.send]
        return replace(step, send=tuple(send))

    monkeypatch.setattr(
        handshakes,
        "begin",
        lambda before, end, peer, choice, nonce, signer: bent(
            begin(before, end, peer, choice, nonce, signer), end, signer
        ),
    )
    monkeypatch.setattr(
        handshakes,
        "receive",
        lambda before, data, end, peer, nonce, signer: bent(
            receive(before, data, end, peer, nonce, signer), end, signer
        ),
    )
    alice, bob, ref = await world.begun(TAG)
    await both_end(world, alice, bob, ref)


async def test_content_of_a_signing_device_without_agreement_is_shown_to_nobody(
    world: SigningWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stripped as a whole: as if Alice's device knew nothing of the handshake that its signed line promises."""
    with monkeypatch.context() as patched:
        patched.setattr(Handshakes, "begin", lambda self, record, get: ((), ()))
        patched.setattr(Handshakes, "waits", lambda self, record, get: False)
        alice, bob, ref = await world.begun()
        await alice.device.send(ref, WORDS)
        await world.settle(alice, bob)
    found = await take(bob.device)
    assert contents(found) == []
    reasons = [one.reason for one in found if isinstance(one, events.Finding)]
    assert reasons == [str(HandshakeReason.OUT_OF_ORDER)]


async def test_what_was_advertised_before_may_still_be_what_a_peer_saw(world: SigningWorld) -> None:
    alice, bob, _ = await world.begun()
    await world.settle(alice, bob)
    await bob.device.advertise([TAG], FLAGS)
    second = await alice.device.create_group()
    await alice.device.add_account(second, bob.device.account)
    await world.settle(alice, bob)
    assert states(alice, bob, second) == (HandshakeState.AGREED, HandshakeState.AGREED)
    await bob.device.advertise([], FLAGS)
    third = await bob.device.create_group()
    await bob.device.add_account(third, alice.device.account)
    await world.settle(alice, bob)
    assert states(alice, bob, third) == (HandshakeState.AGREED, HandshakeState.AGREED)
    vanished = [one.reason for one in await take(alice.device) if isinstance(one, events.Finding)]
    assert vanished == [str(HandshakeReason.CAPABILITY_VANISHED)]
    assert alice.device.group(third).stopped == ""
