"""Faults of a handshake, each put on the wire between two ends, each with what it must come to at either end."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from tests.assurance.handshake_world import (
    CAPABILITIES,
    CHOICE,
    NOW,
    Bend,
    Side,
    devices_of,
    nonce,
    only,
    pair,
    run,
    straight,
)
from tests.assurance.samples import OTHER_ACCOUNT, device

from letterlock.assurance.causes import OFFERS
from letterlock.assurance.device_list import successor
from letterlock.assurance.handshake.exchange import expire
from letterlock.assurance.handshake.machine import HandshakeState
from letterlock.assurance.handshake.reasons import RULES, HandshakeReason, Outcome
from letterlock.model.protection import Protection
from letterlock.wire.handshake import Answer, Element, Finish, Flag, FloorSeen, Offer, parse

S, R = HandshakeState, HandshakeReason
DAY = 24 * 3_600_000


def nothing(element: Element) -> bytes | None:
    return None


def cut(element: Element) -> bytes:
    return element.encode()[:-1]


def stripped(element: Element) -> bytes:
    """A tag taken out on the way; the signature stays."""
    content = element.content
    assert isinstance(content, Offer | Answer)
    fewer = replace(content.capabilities, tags=content.capabilities.tags[1:])
    return replace(element, content=replace(content, capabilities=fewer)).encode()


def weaker(element: Element) -> bytes:
    content = element.content
    assert isinstance(content, Offer | Answer)
    return replace(element, content=replace(content, choice=replace(content.choice, suite=1))).encode()


def added(element: Element) -> bytes:
    """A ghost device among those that the offer names."""
    content = element.content
    assert isinstance(content, Offer)
    return replace(element, content=replace(content, devices=(*content.devices, device(9).device))).encode()


def turned(element: Element) -> bytes:
    """A refusal made into an agreement, or the other way round."""
    content = element.content
    assert isinstance(content, Finish)
    return replace(element, content=replace(content, verdict=type(content.verdict)(3 - content.verdict))).encode()


def of_another_session(kind: type) -> Bend:
    """What a session of yesterday, between the same devices in the same conversation, had in this place."""
    ann, bob = pair()
    ann.turns = bob.turns = 1000
    old = next(data for data in run(ann, bob) if isinstance(parse(data).content, kind))
    return only(kind, lambda element: old)


Prepare = Callable[[Side, Side], None]


def as_ever(ann: Side, bob: Side) -> None:
    pass


def bob_s_clock(by: int) -> Prepare:
    def prepare(ann: Side, bob: Side) -> None:
        bob.now = NOW + by

    return prepare


def bob_lost_a_tag(ann: Side, bob: Side) -> None:
    """The network showed Ann a Bob without his tags, and she believed it."""
    ann.peer = replace(ann.peer, known=replace(CAPABILITIES, tags=()))


def bob_shown_without_encryption(ann: Side, bob: Side) -> None:
    ann.peer = replace(ann.peer, known=replace(CAPABILITIES, flags=(Flag.NO, Flag.NO, Flag.YES)))


def bob_has_a_newer_list(ann: Side, bob: Side) -> None:
    """The relay keeps Bob's newest list from Ann: a device that he removed would still be spoken to."""
    bob.own = successor(bob.own, NOW, [device(2)])


def ann_sees_a_forked_list(ann: Side, bob: Side) -> None:
    ann.peer = replace(ann.peer, devices=devices_of(OTHER_ACCOUNT, device(2), device(5)))


def ann_s_device_is_not_on_the_list(ann: Side, bob: Side) -> None:
    bob.peer = replace(bob.peer, devices=devices_of(ann.account, device(6)))


def another_floor(ann_s: Protection, bob_s: Protection) -> Prepare:
    def prepare(ann: Side, bob: Side) -> None:
        ann.end_changes, bob.end_changes = {"floor": FloorSeen(ann_s, 1)}, {"floor": FloorSeen(bob_s, 1)}

    return prepare


def bob_told_of_another_key(ann: Side, bob: Side) -> None:
    """One server, and two keys of its markers: it, or somebody in its place, tells each end another story."""
    bob.end_changes = {"markers": (replace(bob.end.markers[0], key=bytes(32)),)}


def old_capabilities(ann: Side, bob: Side) -> None:
    bob.end_changes = {"advertised": (replace(CAPABILITIES, observed_ms=NOW - DAY - 1),)}


def bob_cannot(ann: Side, bob: Side) -> None:
    bob.end_changes = {"advertised": (replace(CAPABILITIES, suites=(7,)),)}


@dataclass(frozen=True)
class Fault:
    name: str
    ann: HandshakeState
    ann_reason: HandshakeReason | None
    bob: HandshakeState
    bob_reason: HandshakeReason | None
    prepare: Prepare = as_ever
    there: Bend = straight
    back: Bend = straight


END, HELD = S.ABORTED, S.HELD
TOLD = R.PEER_ABORTED
FAULTS = [
    Fault("offer lost", S.OFFERED, None, S.IDLE, None, there=only(Offer, nothing)),
    Fault("answer lost", S.OFFERED, None, S.ANSWERED, None, back=only(Answer, nothing)),
    Fault("finish lost", S.AGREED, None, S.ANSWERED, None, there=only(Finish, nothing)),
    Fault("offer cut short", END, TOLD, END, R.NOT_READ, there=only(Offer, cut)),
    Fault("answer cut short", END, R.NOT_READ, END, TOLD, back=only(Answer, cut)),
    Fault("finish cut short", END, TOLD, END, R.NOT_READ, there=only(Finish, cut)),
    Fault("tag stripped from the offer", END, TOLD, END, R.SIGNATURE_REFUSED, there=only(Offer, stripped)),
    Fault("tag stripped from the answer", END, R.SIGNATURE_REFUSED, END, TOLD, back=only(Answer, stripped)),
    Fault("weaker suite put into the offer", END, TOLD, END, R.SIGNATURE_REFUSED, there=only(Offer, weaker)),
    Fault("weaker suite put into the answer", END, R.SIGNATURE_REFUSED, END, TOLD, back=only(Answer, weaker)),
    Fault("ghost device put into the offer", END, TOLD, END, R.SIGNATURE_REFUSED, there=only(Offer, added)),
    Fault("verdict turned", END, TOLD, END, R.SIGNATURE_REFUSED, there=only(Finish, turned)),
    Fault("offer of another session", END, R.ANOTHER_OFFER, END, TOLD, there=of_another_session(Offer)),
    Fault("answer of another session", END, R.ANOTHER_OFFER, END, TOLD, back=of_another_session(Answer)),
    Fault("finish of another session", END, TOLD, END, R.ANOTHER_OFFER, there=of_another_session(Finish)),
    Fault("tags of Bob stripped before the offer", END, TOLD, END, R.SEEN_DIFFERS, bob_lost_a_tag),
    Fault("Bob shown as unencrypted", END, TOLD, END, R.SEEN_DIFFERS, bob_shown_without_encryption),
    Fault("Bob's newest list suppressed", S.OFFERED, None, HELD, R.LIST_BEHIND, bob_has_a_newer_list),
    Fault("Bob's list forked", END, R.LIST_FORKED, END, R.LIST_FORKED, ann_sees_a_forked_list),
    Fault("Ann's device struck off", END, R.PEER_ABORTED, END, R.UNKNOWN_SIGNER, ann_s_device_is_not_on_the_list),
    Fault("a peer that lies about its floor: lower", S.AGREED, None, S.AGREED, None,
          another_floor(Protection.CLEAR, Protection.E2EE)),
    Fault("a peer that lies about its floor: higher", S.AGREED, None, S.AGREED, None,
          another_floor(Protection.E2EE, Protection.CLEAR)),
    Fault("two keys of one server's markers", END, TOLD, END, R.MARKERS_DIFFER, bob_told_of_another_key),
    Fault("Bob's clock an hour and more behind", S.OFFERED, None, HELD, R.CLOCK_SKEW, bob_s_clock(-3_600_001)),
    Fault("Bob's clock an hour and more ahead", HELD, R.CLOCK_SKEW, S.ANSWERED, None, bob_s_clock(3_600_001)),
    Fault("offer a month old", S.OFFERED, None, HELD, R.TOO_OLD, bob_s_clock(31 * DAY)),
    Fault("cached capabilities, stale", HELD, R.CAPABILITIES_STALE, S.ANSWERED, None, old_capabilities),
    Fault("nothing in common", S.OFFERED, None, HELD, R.NOTHING_IN_COMMON, bob_cannot),
]  # fmt: skip


@pytest.mark.attack("A4", "A5", "A17")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_a_fault_comes_to_what_the_table_says(fault: Fault) -> None:
    ann, bob = pair()
    fault.prepare(ann, bob)
    run(ann, bob, fault.there, fault.back)
    assert (ann.handshake.state, ann.handshake.reason) == (fault.ann, fault.ann_reason)
    assert (bob.handshake.state, bob.handshake.reason) == (fault.bob, fault.bob_reason)
    for side, state in ((ann, fault.ann), (bob, fault.bob)):
        assert side.delivered is (state is S.AGREED)
    if END in {fault.ann, fault.bob}:
        assert fault.ann is fault.bob, "both ends end it"


def test_without_a_fault_it_is_agreed() -> None:
    """The acceptance next to the refusals: the very same wire, unbent."""
    ann, bob = pair()
    run(ann, bob)
    assert ann.delivered
    assert bob.delivered


def test_there_are_twenty_and_each_outcome_is_among_them() -> None:
    assert len(FAULTS) >= 20
    found = {reason for fault in FAULTS for reason in (fault.ann_reason, fault.bob_reason) if reason}
    assert {RULES[reason].outcome for reason in found} == {Outcome.HOLD, Outcome.DOWNGRADE_DETECTED}
    assert not any(OFFERS[RULES[reason].cause].may_ask for reason in found)


def test_a_device_that_was_away_in_the_middle_goes_on_where_it_stood() -> None:
    """A restart of anything in between changes nothing: where an end stands is a value, and nobody else keeps it."""
    ann, bob = pair()
    (offer,) = ann.begin()
    (answer,) = bob.receive(offer)
    ann.handshake = expire(ann.handshake, NOW + 1, patience_ms=1).handshake
    assert ann.handshake.state is HELD
    kept, again = Side(1, ann.account, ann.own, ann.peer, ann.handshake), Side(2, bob.account, bob.own, bob.peer)
    again.handshake = bob.handshake
    kept.turns = 50
    (finish,) = kept.receive(answer)
    again.receive(finish)
    assert kept.delivered
    assert again.delivered


def test_once_a_list_is_learnt_a_held_answer_is_taken() -> None:
    ann, bob = pair()
    newer = successor(bob.own, NOW, [device(2), device(3), device(8)])
    (offer,) = ann.begin()
    (answer,) = bob.receive(offer)
    told = bob.signed(parse(answer).content, replace(bob.end.party, list_version=2, list_hash=newer.digest()))
    assert ann.receive(told) == ()
    assert ann.handshake.reason is R.LIST_BEHIND
    ann.peer = replace(ann.peer, devices=newer)
    assert len(ann.receive(told)) == 1
    assert ann.delivered


@pytest.mark.attack("A4")
def test_a_stolen_session_key_alone_does_not_choose_for_the_other_end() -> None:
    """With Ann's own session key the attacker signs a weaker offer: Bob computes the best choice himself."""
    ann, bob = pair()
    (offer,) = ann.begin()
    for choice in (replace(CHOICE, suite=1), replace(CHOICE, protection=Protection.ENCLAVE)):
        _, bob = pair()
        bob.receive(ann.resigned(parse(offer), choice=choice, nonce=nonce(str(choice.suite))))
        assert bob.handshake.state is END
        assert not bob.delivered
