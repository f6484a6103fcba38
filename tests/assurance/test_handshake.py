"""The session handshake: it agrees, or nothing is delivered; and no edit, order or replay makes it agree on less."""

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import partial
from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.assurance.handshake_world import (
    CAPABILITIES,
    CHOICE,
    CONVERSATION,
    MARKER,
    NOW,
    Side,
    devices_of,
    nonce,
    only,
    pair,
    run,
    session_key,
)
from tests.assurance.samples import ENVIRONMENT, OTHER_ACCOUNT, OTHER_TENANT, TENANT, device

from letterlock.assurance.causes import OFFERS
from letterlock.assurance.handshake.checks import Peer, best, vanished
from letterlock.assurance.handshake.exchange import Handshake, expire, receive, witnessed
from letterlock.assurance.handshake.machine import (
    DELIVERING,
    TRANSITIONS,
    HandshakeEvent,
    HandshakeState,
    MachineError,
    diagram,
    step,
)
from letterlock.assurance.handshake.reasons import RULES, HandshakeError, HandshakeReason, Outcome
from letterlock.model.errors import Fault
from letterlock.model.protection import Protection, permits
from letterlock.wire.handshake import (
    Answer,
    Capabilities,
    Element,
    Finish,
    Flag,
    FloorSeen,
    Offer,
    PlatformFlag,
    Tag,
    Verdict,
    parse,
)
from letterlock.wire.preimage import KeyFamily, Purpose, SoftwareKey, Suite, sign

S, E, R = HandshakeState, HandshakeEvent, HandshakeReason
PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol" / "handshake.md"


def test_both_ends_come_to_one_agreement() -> None:
    ann, bob = pair()
    elements = [parse(data) for data in run(ann, bob)]
    assert [type(element.content) for element in elements] == [Offer, Answer, Finish]
    assert ann.handshake.state is bob.handshake.state is S.AGREED
    assert ann.agreements == bob.agreements
    assert len(ann.agreements[0]) == 32
    assert ann.delivered
    assert bob.delivered
    assert ann.peer.known == bob.peer.known == CAPABILITIES
    assert not [one for side in (ann, bob) for one in side.steps if one.reason or one.finding]


def test_every_element_has_one_encoding() -> None:
    ann, bob = pair(known=True)
    for data in run(ann, bob):
        assert parse(data).encode() == data


def test_two_devices_of_the_peer_answer_and_both_count() -> None:
    ann, bob = pair()
    tablet = Side(3, OTHER_ACCOUNT, bob.own, bob.peer)
    (offer,) = ann.begin()
    (first,) = bob.receive(offer)
    (second,) = tablet.receive(offer)
    (counts_bob,) = ann.receive(first)
    assert ann.delivered
    for side in (bob, tablet):
        assert side.receive(counts_bob) == ()
    assert bob.delivered
    assert tablet.handshake.state is S.ANSWERED
    (counts_both,) = ann.receive(second)
    for side in (bob, tablet):
        side.receive(counts_both)
        assert side.delivered
        assert side.agreements == ann.agreements
    content = parse(counts_both).content
    assert isinstance(content, Finish)
    assert content.earlier == (ann.agreements[0],)
    assert [named for named, _ in content.answers] == [device(2).device, device(3).device]


def test_whoever_looks_on_can_check_the_agreement() -> None:
    ann, bob = pair()
    offer, _, finish = (parse(data) for data in run(ann, bob))
    tablet = Side(3, OTHER_ACCOUNT, bob.own, bob.peer)
    assert witnessed(finish, offer, tablet.end, tablet.peer) == ann.agreements[0]
    with pytest.raises(HandshakeError):
        witnessed(finish, offer, tablet.end, Peer(devices_of(OTHER_ACCOUNT, device(2))))
    other = ann.resigned(offer, nonce=nonce("another"))
    with pytest.raises(HandshakeError) as caught:
        witnessed(finish, parse(other), tablet.end, tablet.peer)
    assert caught.value.reason is R.ANOTHER_OFFER


# -- the table --------------------------------------------------------------------------------------------------------
def test_every_pair_is_a_step_or_an_error_and_changes_nothing() -> None:
    assert set(TRANSITIONS) == set(S)
    assert {S.AGREED} == DELIVERING
    for state, event in product(S, E):
        if event in TRANSITIONS[state]:
            assert step(state, event) is TRANSITIONS[state][event]
        else:
            with pytest.raises(MachineError) as caught:
                step(state, event)
            assert caught.value.fault is Fault.LOCAL
            assert caught.value.facts == {"state": state, "event": event}


def test_it_is_agreed_only_by_an_answer_or_a_finish_and_an_end_is_for_good() -> None:
    into = {event for row in TRANSITIONS.values() for event, after in row.items() if after is S.AGREED}
    assert into == {E.ANSWER_TAKEN, E.FINISH_TAKEN}
    assert not TRANSITIONS[S.ABORTED]
    for state in set(S) - {S.ABORTED}:
        assert step(state, E.MISMATCH) is S.ABORTED
        assert step(state, E.PEER_ABORTED) is S.ABORTED


def test_the_page_shows_this_table() -> None:
    assert f"```mermaid\n{diagram()}```\n" in PAGE.read_text(encoding="utf-8")


def test_every_reason_has_a_rule_and_the_page_names_it() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert set(RULES) == set(R)
    for reason, rule in RULES.items():
        assert f"| `{reason.value}` | {rule.outcome.value} |" in text


@pytest.mark.attack("A4")
def test_no_fault_of_a_handshake_offers_a_lesser_path() -> None:
    assert not [reason for reason, rule in RULES.items() if OFFERS[rule.cause].may_ask]
    assert {rule.outcome for rule in RULES.values()} == set(Outcome)
    assert [reason for reason, rule in RULES.items() if rule.outcome is Outcome.GO_ON] == [R.CAPABILITY_VANISHED]


# -- edits under authenticated keys -----------------------------------------------------------------------------------
def both_ended(ann: Side, bob: Side) -> bool:
    return ann.handshake.state is bob.handshake.state is S.ABORTED and not ann.delivered and not bob.delivered


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_a_changed_byte_of_any_element_ends_it_at_both_ends(data: st.DataObject) -> None:
    which: type[Offer | Answer | Finish] = data.draw(st.sampled_from([Offer, Answer, Finish]))
    ann, bob = pair(known=True)

    def change(element: Element) -> bytes:
        plain = bytearray(element.encode())
        at = data.draw(st.integers(0, len(plain) - 1))
        plain[at] ^= data.draw(st.integers(1, 255))
        return bytes(plain)

    changed: list[bytes] = []

    def bend(element: bytes) -> bytes:
        if not changed and element[5] == which.kind:
            changed.append(change(parse(element)))
            return changed[0]
        return element

    run(ann, bob, bend, bend)
    assert changed
    states = {ann.handshake.state, bob.handshake.state}
    # A version number of a list that nobody has yet only holds; nothing is delivered at the end that was lied to.
    victim = ann if which is Answer else bob
    assert not victim.delivered
    assert states == {S.ABORTED} or victim.handshake.state is S.HELD


def edits(element: Element) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of an element, stripped or changed, as a lie that is signed."""
    content = element.content
    fewer = replace(CAPABILITIES, tags=())
    values: dict[str, list[Any]] = {
        "nonce": [nonce("other")],
        "peer": [device(3).device if isinstance(content, Answer) else element.party.account],
        "seen": [],
        "choice": [replace(CHOICE, suite=1), replace(CHOICE, version=2), replace(CHOICE, protection=Protection.HOP)],
        "markers": [(replace(MARKER, key=bytes(32)),), (replace(MARKER, kinds=frozenset()),)],
        "floor": [],
        "capabilities": [replace(CAPABILITIES, suites=(1,)), replace(CAPABILITIES, versions=())],
        "made_ms": [NOW + 10**10, 0],
        "offer": [nonce("no offer")],
        "answers": [(), ((device(2).device, nonce("other")),)],
        "devices": [(device(2).device,), (device(2).device, device(3).device, device(4).device)],
    }
    if not isinstance(content, Finish):
        values["seen"] = [
            replace(content.seen, list_version=2),
            replace(content.seen, list_hash=nonce("another list")),
            replace(content.seen, capabilities=fewer),
            replace(content.seen, capabilities=replace(CAPABILITIES, suites=(1,))),
            replace(content.seen, capabilities=replace(CAPABILITIES, flags=(Flag.NO,) * 3)),
        ]
    for one in fields(content):
        for value in values.get(one.name, []):
            yield one.name, {one.name: value}


@pytest.mark.attack("A4", "A5")
@pytest.mark.parametrize("kind", [Offer, Answer, Finish])
def test_every_field_is_compared_with_what_the_other_end_knows(kind: type) -> None:
    """The lie is signed by the device's own key: only the comparisons stand between it and an agreement."""
    tried = set()
    ann, bob = pair(known=True)
    sample = next(element for element in map(parse, run(ann, bob)) if isinstance(element.content, kind))
    for name, changed in edits(sample):
        ann, bob = pair(known=True)
        liar = bob if kind is Answer else ann
        bend = only(kind, partial(liar.resigned, **changed))
        run(ann, bob, bend, bend)
        victim = ann if kind is Answer else bob
        tried.add(name)
        if name == "nonce" and kind is Offer:
            # Another nonce alone is another offer: its answer does not fit the one that was made.
            assert ann.handshake.state is S.ABORTED
        elif name == "nonce":
            # Nobody counts on a nonce but by the element's name; the answerer refuses a finish of another answer.
            assert bob.handshake.state is S.ABORTED
        elif kind is Finish and changed == {"answers": ()}:
            assert victim.handshake.state is S.ANSWERED
        else:
            assert victim.handshake.state in {S.ABORTED, S.HELD}, (name, changed)
        assert not victim.delivered or name == "nonce", (name, changed)
    assert tried >= ({"answers", "offer"} if kind is Finish else {"nonce", "seen", "choice", "markers", "capabilities"})


@pytest.mark.attack("A5")
def test_a_mirrored_offer_ends_it() -> None:
    ann, bob = pair()
    (offer,) = ann.begin()
    (told,) = ann.receive(offer)
    assert ann.handshake.reason is R.REFLECTED
    bob.receive(told)
    assert both_ended(ann, bob)


@pytest.mark.attack("A5")
def test_an_offer_for_somebody_else_ends_it() -> None:
    """Ann's offer to Bob, shown to Carol: roles and identities are in what is signed."""
    ann, bob = pair()
    (offer,) = ann.begin()
    carol_list = devices_of(ann.account, device(1))
    carol = Side(
        4, type(ann.account)(bytes([7]) * 16), replace(carol_list, account=type(ann.account)(bytes([7]) * 16)), bob.peer
    )
    carol.receive(offer)
    assert carol.handshake.state is S.ABORTED
    assert carol.handshake.reason is R.ANOTHER_PEER


@pytest.mark.attack("A21", "A17")
def test_no_element_holds_elsewhere() -> None:
    """Another conversation, tenant, environment or purpose; each next to the one that is accepted."""
    ann, bob = pair()
    (offer,) = ann.begin()
    for changed in (
        {"conversation": bytes(16)},
        {"tenant": OTHER_TENANT},
        {"environment": "another"},
        {},
    ):
        _, bob = pair()
        bob.end_changes = changed
        bob.receive(offer)
        assert bob.handshake.state is (S.ABORTED if changed else S.ANSWERED)
    element = parse(offer)
    scope = element.party.scope(CONVERSATION, TENANT, ENVIRONMENT)
    for purpose in Purpose:
        _, bob = pair()
        signer = SoftwareKey(purpose.family, Suite.ED25519, bytes([151]) * 32)
        signature = sign(signer, purpose, scope, element.content.body())
        bob.receive(replace(element, signature=signature).encode())
        assert (bob.handshake.state is S.ANSWERED) is (purpose is Purpose.HANDSHAKE_OFFER)


def test_elements_in_any_wrong_order_or_twice_never_agree_on_their_own() -> None:
    ann, bob = pair()
    elements = run(ann, bob)
    for order in permutations(range(3)):
        _, fresh = pair()
        for index in order:
            fresh.receive(elements[index])
        # An answer of one's own is never taken; only offer then finish could be, and the finish counts an answer
        # that this fresh device did not give.
        assert not fresh.delivered
    ann, bob = pair()
    elements = run(ann, bob)
    for side in (ann, bob):
        side.receive(elements[0] if side is bob else elements[1])
        assert side.handshake.state is S.ABORTED
        assert side.handshake.reason is R.REPLAYED


def test_an_old_session_s_elements_end_a_new_one() -> None:
    """Crossed sessions: the answer of the first handshake, in the second."""
    ann, bob = pair()
    _, old_answer, old_finish = run(ann, bob)
    (offer,) = ann.begin()
    ann.receive(old_answer)
    assert ann.handshake.reason is R.REPLAYED
    fresh_ann, fresh_bob = pair()
    fresh_ann.turns = 7
    fresh_ann.begin()
    (told,) = fresh_ann.receive(old_answer)
    assert fresh_ann.handshake.reason is R.ANOTHER_OFFER
    fresh_bob.receive(told)
    assert both_ended(fresh_ann, fresh_bob)
    _, late_bob = pair()
    late_bob.turns = 40
    late_bob.receive(offer)
    late_bob.receive(old_finish)
    assert late_bob.handshake.reason is R.ANOTHER_OFFER


def test_when_both_begin_one_offer_counts_at_both_ends() -> None:
    for ann_first in (True, False):
        ann, bob = pair()
        (from_ann,), (from_bob,) = ann.begin(), bob.begin()
        if ann_first:
            (answer,) = bob.receive(from_ann)
            assert ann.receive(from_bob) == ()
        else:
            assert ann.receive(from_bob) == ()
            (answer,) = bob.receive(from_ann)
        (finish,) = ann.receive(answer)
        bob.receive(finish)
        assert ann.delivered
        assert bob.delivered
        assert ann.agreements == bob.agreements


def test_silence_holds_and_a_late_answer_is_still_taken() -> None:
    ann, bob = pair()
    (offer,) = ann.begin()
    assert expire(ann.handshake, NOW + 10, patience_ms=11).handshake is ann.handshake
    held = expire(ann.handshake, NOW + 11, patience_ms=11)
    assert held.reason is R.UNANSWERED
    ann.handshake = held.handshake
    assert not held.handshake.delivers
    (answer,) = bob.receive(offer)
    (finish,) = ann.receive(answer)
    bob.receive(finish)
    assert ann.delivered
    assert bob.delivered
    assert expire(bob.handshake, NOW * 2).handshake is bob.handshake


def test_an_end_is_told_once_and_taken_by_whoever_began() -> None:
    ann, bob = pair(known=True)
    bob.end_changes = {"advertised": (replace(CAPABILITIES, tags=()),)}
    elements = run(ann, bob)
    last = parse(elements[-1]).content
    assert isinstance(last, Finish)
    assert last.verdict is Verdict.DOWNGRADE_DETECTED
    assert len(elements) == 2
    assert ann.handshake.reason is R.PEER_ABORTED
    assert bob.handshake.reason is R.SEEN_DIFFERS
    with pytest.raises(HandshakeError):
        receive(bob.handshake, elements[0], bob.end, bob.peer, nonce("x"), session_key(2))
    with pytest.raises(MachineError):
        bob.begin()


# -- floors and capabilities ------------------------------------------------------------------------------------------
@pytest.mark.attack("A19", "A6")
def test_every_choice_is_compared_with_both_floors() -> None:
    """A peer's floor can make this end stricter for the moment; a lower one that it claims changes nothing."""
    for mine, theirs in product(Protection, Protection):
        ann, bob = pair()
        ann.end_changes, bob.end_changes = {"floor": FloorSeen(theirs, 3)}, {"floor": FloorSeen(mine, 5)}
        run(ann, bob)
        assert bob.delivered  # E2EE is what was chosen, and every floor permits it
        assert bob.end.floor == FloorSeen(mine, 5)
    for mine, theirs, chosen in product(Protection, Protection, Protection):
        ann, bob = pair()
        ann.end_changes, bob.end_changes = {"floor": FloorSeen(theirs, 3)}, {"floor": FloorSeen(mine, 5)}
        bob.receive(ann.begin(replace(CHOICE, protection=chosen))[0])
        if chosen is Protection.E2EE:
            assert bob.handshake.state is S.ANSWERED
            continue
        permitted = permits(mine, chosen) and permits(theirs, chosen)
        assert bob.handshake.reason is (R.WEAKER_CHOICE if permitted else R.BELOW_FLOOR)


@pytest.mark.attack("A4")
def test_a_vanished_capability_is_a_finding_and_no_reason_to_step_down() -> None:
    less = replace(CAPABILITIES, tags=CAPABILITIES.tags[:1])
    assert vanished(CAPABILITIES, less)
    ann, bob = pair(known=True)
    ann.peer = replace(ann.peer, known=CAPABILITIES)
    bob.end_changes = {"advertised": (less, CAPABILITIES)}
    run(ann, bob)
    assert ann.delivered
    assert [one.finding for one in ann.steps if one.finding] == [R.CAPABILITY_VANISHED]
    assert ann.handshake.state is S.AGREED
    nothing = replace(CAPABILITIES, versions=())
    ann, bob = pair(known=True)
    bob.end_changes = {"advertised": (nothing, CAPABILITIES)}
    run(ann, bob)
    assert bob.handshake.state is S.HELD
    assert bob.handshake.reason is R.NOTHING_IN_COMMON
    assert not ann.delivered


def test_unknown_is_never_read_as_no() -> None:
    unknown = replace(CAPABILITIES, flags=(Flag.UNKNOWN,) * 3)
    assert unknown.flag(PlatformFlag.SERVICE_SUPPORTS_E2EE) is Flag.UNKNOWN
    assert not vanished(unknown, CAPABILITIES)
    assert vanished(CAPABILITIES, unknown)
    assert not vanished(None, unknown)
    ann, bob = pair()
    bob.end_changes = {"advertised": (unknown,)}
    run(ann, bob)
    assert ann.delivered
    assert best(CAPABILITIES, unknown) == CHOICE
    assert best(CAPABILITIES, replace(unknown, suites=(9,))) is None


def test_more_than_before_is_not_vanished() -> None:
    more = replace(CAPABILITIES, tags=tuple(sorted((*CAPABILITIES.tags, Tag("+g.more")))), suites=(2, 1, 3))
    assert not vanished(CAPABILITIES, more)
    for less in (
        replace(more, suites=(2,)),
        replace(more, versions=()),
        replace(more, tags=(Tag(CAPABILITIES.tags[0].name, "9"), *CAPABILITIES.tags[1:])),
    ):
        assert vanished(CAPABILITIES, less)


def test_capabilities_age() -> None:
    for age, state in ((24 * 3_600_000, S.ANSWERED), (24 * 3_600_000 + 1, S.HELD), (-1, S.HELD)):
        ann, bob = pair()
        ann.end_changes = {"advertised": (Capabilities(NOW - age, CAPABILITIES.tags, (1,), (2, 1)),)}
        bob.receive(ann.begin()[0])
        assert bob.handshake.state is state


def test_clocks_may_differ_by_an_hour() -> None:
    for skew, state in ((3_600_000, S.ANSWERED), (3_600_001, S.HELD)):
        ann, bob = pair()
        bob.now = NOW - skew
        bob.receive(ann.begin()[0])
        assert bob.handshake.state is state


def test_a_signer_of_another_family_is_no_session_key() -> None:
    ann, _ = pair()
    with pytest.raises(Exception, match="family"):
        receive(
            Handshake(), b"", ann.end, ann.peer, nonce("x"), SoftwareKey(KeyFamily.ENVELOPE, Suite.ED25519, bytes(32))
        )
