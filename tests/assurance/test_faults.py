"""Handshake faults: each one holds or refuses; and every word that people read is there, and short."""

import re
from collections.abc import Mapping
from enum import Enum

import pytest

from letterlock.assurance.causes import OFFERS, Cause, ConsentScope
from letterlock.assurance.faults import RULES, FaultOutcome, HandshakeFault, Repair, outcome
from letterlock.assurance.indicator import Indicator
from letterlock.assurance.texts import SENTENCES, english

F = HandshakeFault
HOLD, REFUSE = FaultOutcome.HOLD, FaultOutcome.REFUSE
EXPECTED = [
    (F.ERA_MISSING, REFUSE),
    (F.AUTHENTICATOR_MISSING, REFUSE),
    (F.AUTHENTICATOR_WRONG, REFUSE),
    (F.STALE_EPOCH, REFUSE),
    (F.STALE_ERA, REFUSE),
    (F.FUTURE_EPOCH, HOLD),
    (F.AAD_ID_MISMATCH, REFUSE),
    (F.CAPABILITY_VANISHED, HOLD),
    (F.KEY_PACKAGES_EMPTY, HOLD),
    (F.END_MLS, HOLD),
    (F.PLAINTEXT_INNER_TYPE, REFUSE),
    (F.KICK_TYPE_FROM_NETWORK, REFUSE),
    (F.NOT_MLS, REFUSE),
    (F.WELCOME_LOST, HOLD),
    (F.FORKED_AUTHENTICATORS, HOLD),
    (F.EXPIRED_LEAF, HOLD),
    (F.UNLISTED_LEAF, REFUSE),
    (F.PRIVATE_COMMIT, REFUSE),
    (F.INVALID_COMMIT, REFUSE),
    (F.EXTERNAL_COMMIT, REFUSE),
    (F.NON_MEMBER, REFUSE),
    (F.DEVICE_LIST_REFUSED, HOLD),
    (F.TIMED_OUT, HOLD),
]


@pytest.mark.parametrize(("fault", "expected"), EXPECTED, ids=lambda value: value.value)
def test_a_fault_holds_or_refuses(fault: HandshakeFault, expected: FaultOutcome) -> None:
    assert outcome(fault) is expected


def test_there_is_no_other_outcome_and_no_other_fault() -> None:
    assert {fault for fault, _ in EXPECTED} == set(F) == set(RULES)
    assert {one.value for one in FaultOutcome} == {"hold", "refuse"}


@pytest.mark.attack("A4", "A11", "A14")
def test_no_fault_by_itself_offers_a_lesser_path() -> None:
    """Only a member's signed end of encryption may be asked about, and for one message."""
    asking = {fault: OFFERS[rule.cause].scopes for fault, rule in RULES.items() if OFFERS[rule.cause].may_ask}
    assert asking == {F.END_MLS: (ConsentScope.THIS_MESSAGE,)}
    assert not OFFERS[RULES[F.CAPABILITY_VANISHED].cause].may_ask
    assert not OFFERS[Cause.PEER_DEVICE_CANNOT].may_ask


def tables() -> dict[str, Mapping[Enum, str]]:
    return {name: getattr(english(), name) for name in SENTENCES}


def test_every_word_is_there_and_short() -> None:
    checked = 0
    assert {"cause", "says", "scope", "alternative", "state", "outcome", "repair"} <= set(tables())
    everything: list[tuple[type[Enum], Mapping[Enum, str]]] = [
        *((SENTENCES[name], table) for name, table in tables().items()),
        (Indicator, {one: one.text for one in Indicator}),
    ]
    for kind, table in everything:
        assert set(table) == set(kind)
        assert len(set(table.values())) == len(table), "two states never read the same"
        for text in table.values():
            checked += 1
            assert text.endswith(".")
            assert 1 <= len(re.findall(r"\.(?: |$)", text)) <= 2
            assert len(text) <= 140
    assert checked > 60
    assert set(english().repair) == set(Repair)


def test_only_the_device_says_verified() -> None:
    words = [text for table in tables().values() for text in table.values()]
    words += [one.text for one in Indicator if one is not Indicator.E2EE_VERIFIED]
    assert not any("verified" in text.lower() for text in words)
    assert "verified on this device" in Indicator.E2EE_VERIFIED.text
