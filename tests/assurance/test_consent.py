"""Consent: what an answer is bound to, how often it is good, and what is never asked."""

from dataclasses import fields, replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.assurance.samples import ENVIRONMENT, OTHER_TENANT, TENANT, key

from letterlock.assurance.causes import OFFERS, Cause, ConsentScope, Says
from letterlock.assurance.consent import (
    MAX_LIFE_MS,
    PROMPT_WINDOW_MS,
    Alternative,
    Answer,
    Asked,
    Challenge,
    ConsentError,
    ConsentReason,
    Grant,
    GrantState,
    Prompt,
    SecurePath,
    Terms,
    allowed_by_policy,
    answered_by_device,
    answered_by_tenant,
    ask,
    ended,
    may_prompt,
    sign_answer,
    spend,
)
from letterlock.model.capability import Channel
from letterlock.model.ids import ChallengeId, MessageId, SubjectId
from letterlock.model.protection import ConsentKind, Protection, is_fall
from letterlock.wire.preimage import KeyFamily, PreimageError

NOW = 1_700_000_000_000
DEVICE = key(KeyFamily.ENVELOPE, 20)
OTHER_DEVICE = key(KeyFamily.ENVELOPE, 21)
CHALLENGE = ChallengeId(bytes([7]) * 16)
TERMS = Terms(
    tenant=TENANT,
    environment=ENVIRONMENT,
    conversation=SubjectId(bytes([8]) * 16),
    message=MessageId(bytes([9]) * 16),
    body_commitment=bytes([1]) * 32,
    destination="+15550100",
    route=Channel.SMS,
    row_version=3,
    before=Protection.E2EE,
    after=Protection.CLEAR,
    readers=("this gateway", "the carrier"),
    cause=Cause.PEER_HAS_NO_DEVICE,
    policy_hash=bytes([2]) * 32,
    transcript=bytes([4]) * 32,
    scope=ConsentScope.THIS_MESSAGE,
    expires_ms=NOW + 60_000,
    nonce=bytes([3]) * 32,
)
MUTATIONS: dict[str, Any] = {
    "tenant": OTHER_TENANT,
    "environment": "prod",
    "conversation": SubjectId(bytes([80]) * 16),
    "message": MessageId(bytes([90]) * 16),
    "body_commitment": bytes([10]) * 32,
    "destination": "+15550101",
    "route": Channel.RELAY,
    "row_version": 4,
    "before": Protection.ESCROWED,
    "after": Protection.HOP,
    "readers": ("this gateway",),
    "cause": Cause.SENDER_CHOSE,
    "policy_hash": bytes([20]) * 32,
    "transcript": bytes([40]) * 32,
    "scope": ConsentScope.UNTIL_SECURE,
    "expires_ms": NOW + 60_001,
    "nonce": bytes([30]) * 32,
}


def refused(reason: ConsentReason) -> pytest.RaisesExc[ConsentError]:
    return pytest.RaisesExc(ConsentError, check=lambda error: error.reason is reason)


def question(**changed: Any) -> Challenge:
    return ask(CHALLENGE, replace(TERMS, **changed), NOW, [])


def grant(**changed: Any) -> Grant:
    asked = question(**changed)
    return answered_by_device(asked, Answer.AGREED, sign_answer(asked, Answer.AGREED, DEVICE), DEVICE.public, NOW)


def test_agreed_signed_spent() -> None:
    given_ = grant()
    assert (given_.kind, given_.state, given_.terms) == (ConsentKind.DEVICE_SIGNED, GrantState.OPEN, TERMS)
    assert spend(given_, TERMS, NOW, SecurePath.MISSING).state is GrantState.SPENT


def test_every_field_has_a_mutation() -> None:
    assert set(MUTATIONS) == {field.name for field in fields(Terms)}
    assert all(getattr(TERMS, name) != value for name, value in MUTATIONS.items())


@pytest.mark.attack("A8")
@pytest.mark.parametrize("name", MUTATIONS)
def test_any_changed_field_voids_the_answer(name: str) -> None:
    signature = sign_answer(question(), Answer.AGREED, DEVICE)
    altered = Challenge(CHALLENGE, replace(TERMS, **{name: MUTATIONS[name]}), ())
    with refused(ConsentReason.SIGNATURE_REFUSED):
        answered_by_device(altered, Answer.AGREED, signature, DEVICE.public, NOW)
    for given_ in (
        answered_by_device(question(), Answer.AGREED, signature, DEVICE.public, NOW),
        answered_by_tenant(question(), Answer.AGREED, NOW),
        allowed_by_policy(CHALLENGE, TERMS, NOW),
    ):
        with refused(ConsentReason.TERMS_CHANGED):
            spend(given_, altered.terms, NOW, SecurePath.MISSING)
        assert spend(given_, TERMS, NOW, SecurePath.MISSING).state is GrantState.SPENT


@pytest.mark.attack("A8")
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_grant_for_a_conversation_is_free_in_message_and_content_only(name: str) -> None:
    wide = grant(scope=ConsentScope.UNTIL_SECURE)
    value: Any = ConsentScope.THIS_MESSAGE if name == "scope" else MUTATIONS[name]
    present = replace(wide.terms, **{name: value})
    if name in {"message", "body_commitment"}:
        assert spend(wide, present, NOW, SecurePath.MISSING) == wide
    else:
        with refused(ConsentReason.TERMS_CHANGED):
            spend(wide, present, NOW, SecurePath.MISSING)


@pytest.mark.attack("A8", "A21")
def test_the_answer_the_device_and_the_challenge_are_bound_too() -> None:
    signature = sign_answer(question(), Answer.REFUSED, DEVICE)
    with refused(ConsentReason.SIGNATURE_REFUSED):
        answered_by_device(question(), Answer.AGREED, signature, DEVICE.public, NOW)
    agreed = sign_answer(question(), Answer.AGREED, DEVICE)
    with refused(ConsentReason.SIGNATURE_REFUSED):
        answered_by_device(question(), Answer.AGREED, agreed, OTHER_DEVICE.public, NOW)
    other = ask(ChallengeId(bytes([70]) * 16), TERMS, NOW, [])
    with refused(ConsentReason.SIGNATURE_REFUSED):
        answered_by_device(other, Answer.AGREED, agreed, DEVICE.public, NOW)
    with pytest.raises(PreimageError):
        sign_answer(question(), Answer.AGREED, key(KeyFamily.SESSION, 20))
    with refused(ConsentReason.SIGNATURE_REFUSED):
        answered_by_device(question(), Answer.AGREED, agreed, key(KeyFamily.SESSION, 20).public, NOW)
    assert answered_by_device(question(), Answer.AGREED, agreed, DEVICE.public, NOW).challenge == CHALLENGE


def test_a_refusal_makes_no_grant() -> None:
    signature = sign_answer(question(), Answer.REFUSED, DEVICE)
    with refused(ConsentReason.REFUSED):
        answered_by_device(question(), Answer.REFUSED, signature, DEVICE.public, NOW)
    with refused(ConsentReason.REFUSED):
        answered_by_tenant(question(), Answer.REFUSED, NOW)
    assert answered_by_tenant(question(), Answer.AGREED, NOW).state is GrantState.OPEN


def test_expiry_at_the_answer_and_at_the_use() -> None:
    last, late = TERMS.expires_ms - 1, TERMS.expires_ms
    signature = sign_answer(question(), Answer.AGREED, DEVICE)
    given_ = answered_by_device(question(), Answer.AGREED, signature, DEVICE.public, last)
    assert spend(given_, TERMS, last, SecurePath.MISSING).state is GrantState.SPENT
    with refused(ConsentReason.EXPIRED):
        answered_by_device(question(), Answer.AGREED, signature, DEVICE.public, late)
    with refused(ConsentReason.EXPIRED):
        answered_by_tenant(question(), Answer.AGREED, late)
    with refused(ConsentReason.EXPIRED):
        spend(given_, TERMS, late, SecurePath.MISSING)


def test_a_grant_for_one_message_is_good_once() -> None:
    spent = spend(grant(), TERMS, NOW, SecurePath.MISSING)
    with refused(ConsentReason.ALREADY_SPENT):
        spend(spent, TERMS, NOW, SecurePath.MISSING)
    assert ended(spent) is spent


@pytest.mark.attack("A9")
def test_a_grant_dies_when_the_secure_path_is_back() -> None:
    for scope in ConsentScope:
        given_ = grant(scope=scope)
        assert spend(given_, given_.terms, NOW, SecurePath.MISSING) is not None
        with refused(ConsentReason.SECURE_PATH_BACK):
            spend(given_, given_.terms, NOW, SecurePath.BACK)
        dead = ended(given_)
        for path in SecurePath:
            with refused(ConsentReason.ENDED):
                spend(dead, given_.terms, NOW, path)


def test_the_kinds_are_never_merged() -> None:
    kinds = [
        grant().kind,
        answered_by_tenant(question(), Answer.AGREED, NOW).kind,
        allowed_by_policy(CHALLENGE, TERMS, NOW).kind,
    ]
    assert kinds == [ConsentKind.DEVICE_SIGNED, ConsentKind.TENANT_ASSERTED, ConsentKind.POLICY]


@pytest.mark.attack("A11", "A4")
@pytest.mark.parametrize("cause", Cause)
def test_a_cause_without_proof_never_leads_to_an_offer(cause: Cause) -> None:
    offer = OFFERS[cause]
    for scope in ConsentScope:
        terms = replace(TERMS, cause=cause, scope=scope)
        if scope in offer.scopes:
            assert ask(CHALLENGE, terms, NOW, []).terms == terms
            assert allowed_by_policy(CHALLENGE, terms, NOW).kind is ConsentKind.POLICY
            continue
        reason = ConsentReason.SCOPE_NOT_OFFERED if offer.may_ask else ConsentReason.CAUSE_NOT_PROVEN
        with refused(reason):
            ask(CHALLENGE, terms, NOW, [])
        with refused(reason):
            allowed_by_policy(CHALLENGE, terms, NOW)
    if offer.says is Says.NOBODY_PROVEN:
        assert not offer.may_ask


@pytest.mark.attack("A10")
def test_what_others_can_bring_about_is_good_for_one_message_only() -> None:
    for offer in OFFERS.values():
        if offer.says in {Says.PEER_DEVICE, Says.LOGGED_STATEMENT}:
            assert offer.scopes == (ConsentScope.THIS_MESSAGE,)
    assert set(OFFERS) == set(Cause)
    assert ConsentScope.UNTIL_SECURE in OFFERS[Cause.SENDER_CHOSE].scopes


@pytest.mark.attack("A10")
def test_one_question_per_cause_and_window() -> None:
    here, there = TERMS.conversation, SubjectId(bytes([80]) * 16)
    cause = Cause.PEER_HAS_NO_DEVICE
    asked = [Asked(here, cause, NOW)]
    assert may_prompt([], here, cause, NOW) is Prompt.ASK
    assert may_prompt(asked, here, cause, NOW + PROMPT_WINDOW_MS - 1) is Prompt.HOLD_ASKED_RECENTLY
    assert may_prompt(asked, here, cause, NOW + PROMPT_WINDOW_MS) is Prompt.ASK
    assert may_prompt(asked, here, cause, NOW - 1) is Prompt.HOLD_ASKED_RECENTLY
    assert may_prompt(asked, there, cause, NOW) is Prompt.ASK
    assert may_prompt(asked, here, Cause.SENDER_CHOSE, NOW) is Prompt.ASK
    assert may_prompt([], here, Cause.RELAY_UNREACHABLE, NOW) is Prompt.HOLD_CAUSE_NOT_PROVEN


@pytest.mark.attack("A10")
@given(st.lists(st.tuples(st.sampled_from(Cause), st.integers(0, 5 * PROMPT_WINDOW_MS)), max_size=60))
def test_induced_failures_bring_no_more_questions(failures: list[tuple[Cause, int]]) -> None:
    earlier: list[Asked] = []
    for cause, at in sorted(failures, key=lambda failure: failure[1]):
        if may_prompt(earlier, TERMS.conversation, cause, at) is Prompt.ASK:
            earlier.append(Asked(TERMS.conversation, cause, at))
    for one, two in product(earlier, earlier):
        assert one is two or one.cause is not two.cause or abs(one.at_ms - two.at_ms) >= PROMPT_WINDOW_MS
    assert {cause for cause, _ in failures if OFFERS[cause].may_ask} == {asked.cause for asked in earlier}


def test_only_falls_are_asked_about() -> None:
    for before, after in product(Protection, Protection):
        terms = replace(TERMS, before=before, after=after)
        if is_fall(before, after):
            ask(CHALLENGE, terms, NOW, [])
        else:
            with pytest.raises(ConsentError) as caught:
                ask(CHALLENGE, terms, NOW, [])
            assert caught.value.reason is ConsentReason.NOT_A_FALL
            assert caught.value.facts == {"before": before, "after": after}


def test_a_refused_question_says_what_about_it() -> None:
    """Cause and scope of every pair that no question may have; the others are asked."""
    for cause, scope in product(Cause, ConsentScope):
        terms = replace(TERMS, cause=cause, scope=scope)
        if scope in OFFERS[cause].scopes:
            assert ask(CHALLENGE, terms, NOW, []).terms == terms
            assert allowed_by_policy(CHALLENGE, terms, NOW).challenge == CHALLENGE
            continue
        with pytest.raises(ConsentError) as caught:
            ask(CHALLENGE, terms, NOW, [])
        if OFFERS[cause].scopes:
            assert caught.value.reason is ConsentReason.SCOPE_NOT_OFFERED
            assert caught.value.facts == {"cause": cause, "scope": scope}
        else:
            assert caught.value.reason is ConsentReason.CAUSE_NOT_PROVEN
            assert caught.value.facts == {"cause": cause}


def test_the_life_of_a_question_is_bounded() -> None:
    ask(CHALLENGE, replace(TERMS, expires_ms=NOW + MAX_LIFE_MS), NOW, [])
    for expires in (NOW, NOW - 1, NOW + MAX_LIFE_MS + 1):
        with refused(ConsentReason.LIFE_OUT_OF_RANGE):
            ask(CHALLENGE, replace(TERMS, expires_ms=expires), NOW, [])


def test_one_can_always_wait_or_not_send() -> None:
    assert question().alternatives == (Alternative.WAIT, Alternative.DISCARD)
    asked = ask(CHALLENGE, TERMS, NOW, [Alternative.NOTICE_ONLY, Alternative.WAIT])
    assert asked.alternatives == (Alternative.WAIT, Alternative.DISCARD, Alternative.NOTICE_ONLY)


def test_malformed_terms_are_refused() -> None:
    malformed: list[dict[str, Any]] = [
        {"body_commitment": b""},
        {"policy_hash": bytes(31)},
        {"nonce": bytes(33)},
        {"destination": ""},
        {"destination": "x" * 256},
        {"destination": "\ud800"},
        {"readers": ("",)},
        {"readers": tuple("abcdefghijklmnopq")},
        {"row_version": -1},
        {"expires_ms": 2**63},
    ]
    for changed in malformed:
        with refused(ConsentReason.MALFORMED):
            replace(TERMS, **changed)
    assert replace(TERMS, readers=tuple("abcdefghijklmnop")).readers


def test_terms_at_their_bounds_are_fine_and_beyond_are_not() -> None:
    largest = 2**63 - 1
    fine: list[dict[str, Any]] = [
        {"row_version": 0},
        {"row_version": largest},
        {"expires_ms": 0},
        {"expires_ms": largest},
        {"destination": "x"},
        {"destination": "x" * 255},
        {"readers": ("é" * 127, "y")},
        {"readers": ()},
    ]
    for changed in fine:
        assert replace(TERMS, **changed).encode()
    beyond: list[dict[str, Any]] = [
        {"row_version": 2**63},
        {"row_version": 2**64},
        {"expires_ms": -1},
        {"expires_ms": 2**63},
        {"readers": ("é" * 128, "y")},
    ]
    for changed in beyond:
        with refused(ConsentReason.MALFORMED):
            replace(TERMS, **changed)


def test_the_bytes_that_are_signed_are_these() -> None:
    """The format, once more: one byte, then each field behind four bytes of its length."""

    def behind(value: bytes) -> bytes:
        return bytes((0, 0, 0, len(value))) + value

    readers = behind(b"this gateway") + behind(b"the carrier")
    fields_ = (
        bytes([8]) * 16, bytes([9]) * 16, bytes([1]) * 32, b"+15550100", b"sms", bytes(7) + b"\x03", b"E2EE", b"CLEAR",
        readers, b"peer_has_no_device", bytes([2]) * 32, bytes([4]) * 32, b"this_message",
        (NOW + 60_000).to_bytes(8, "big"), bytes([3]) * 32,
    )  # fmt: skip
    assert TERMS.encode() == b"\x02" + b"".join(behind(one) for one in fields_)


@given(st.lists(st.text("ab", min_size=1, max_size=3), max_size=3), st.text("ab", min_size=1, max_size=3))
def test_terms_with_other_words_have_other_bytes(readers: list[str], destination: str) -> None:
    one = replace(TERMS, readers=tuple(readers), destination=destination)
    two = replace(TERMS, readers=tuple("".join(readers)), destination=destination)
    assert (one.encode() == two.encode()) == (one == two)


def test_reprs_hold_no_address_and_no_digest() -> None:
    shown = repr(grant()) + repr(question())
    assert TERMS.destination not in shown
    assert repr(TERMS.body_commitment) not in shown
    assert repr(TERMS.nonce) not in shown
