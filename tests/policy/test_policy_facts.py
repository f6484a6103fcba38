"""Facts and their cells: the folding is right for every combination, and nothing else is folded."""

import copy
import itertools
import pickle
from collections.abc import Iterator

import pytest
from tests.policy.cases import readable, sealed

from letterlock.model.capability import Channel
from letterlock.model.protection import EvidenceGrade, Protection
from letterlock.policy.facts import (
    CELLS,
    Answer,
    Body,
    Cause,
    Cell,
    Claim,
    Consent,
    Envelope,
    Face,
    Facts,
    Framing,
    OnDowngrade,
    Submission,
    Traffic,
    Ways,
    Wish,
    cells,
    classify,
)
from letterlock.policy.proof import MAX_CELLS

# The meaning of body, claim and framing, spelled out once more: 18 rows.
MEANING = {
    (Body.OPEN, Claim.NONE, Framing.ABSENT): Envelope.OPEN,
    (Body.OPEN, Claim.NONE, Framing.VALID): Envelope.CONTRADICTION,
    (Body.OPEN, Claim.NONE, Framing.INVALID): Envelope.CONTRADICTION,
    (Body.OPEN, Claim.E2EE_AUTHORISED, Framing.ABSENT): Envelope.CONTRADICTION,
    (Body.OPEN, Claim.E2EE_AUTHORISED, Framing.VALID): Envelope.CONTRADICTION,
    (Body.OPEN, Claim.E2EE_AUTHORISED, Framing.INVALID): Envelope.CONTRADICTION,
    (Body.OPEN, Claim.E2EE_FOREIGN, Framing.ABSENT): Envelope.CONTRADICTION,
    (Body.OPEN, Claim.E2EE_FOREIGN, Framing.VALID): Envelope.CONTRADICTION,
    (Body.OPEN, Claim.E2EE_FOREIGN, Framing.INVALID): Envelope.CONTRADICTION,
    (Body.SEALED, Claim.NONE, Framing.VALID): Envelope.SEALED,
    (Body.SEALED, Claim.NONE, Framing.INVALID): Envelope.UNFRAMED,
    (Body.SEALED, Claim.NONE, Framing.ABSENT): Envelope.UNFRAMED,
    (Body.SEALED, Claim.E2EE_AUTHORISED, Framing.VALID): Envelope.SEALED,
    (Body.SEALED, Claim.E2EE_AUTHORISED, Framing.INVALID): Envelope.MALFORMED,
    (Body.SEALED, Claim.E2EE_AUTHORISED, Framing.ABSENT): Envelope.MALFORMED,
    (Body.SEALED, Claim.E2EE_FOREIGN, Framing.VALID): Envelope.FOREIGN,
    (Body.SEALED, Claim.E2EE_FOREIGN, Framing.INVALID): Envelope.FOREIGN,
    (Body.SEALED, Claim.E2EE_FOREIGN, Framing.ABSENT): Envelope.FOREIGN,
}
RAW = 2 * 3 * 3 * 5 * 3 * 7 * 4 * 3 * 2 * 2 * 4 * 4


def every_raw_fact() -> Iterator[tuple[object, ...]]:
    return itertools.product(
        Body,
        Claim,
        Framing,
        EvidenceGrade,
        Submission,
        Protection,
        Ways.every(),
        OnDowngrade,
        Face,
        Traffic,
        Consent,
        Cause,
    )


def check_folding(stride: int) -> int:
    """Every ``stride``-th combination of raw facts has the cell that its words say; returns how many."""
    table, names = cells(), Facts.__struct_fields__
    checked = 0
    for values in itertools.islice(every_raw_fact(), 0, None, stride):
        facts = Facts(**dict(zip(names, values, strict=True)))  # type: ignore[arg-type]
        cell = table[facts.key()]
        meaning = MEANING[facts.body, facts.claim, facts.framing]
        assert cell.envelope is meaning
        if meaning in {Envelope.SEALED, Envelope.OPEN}:
            wish = facts.on_downgrade.value
            if wish == "ask" and facts.face is Face.CANNOT_ASK:
                wish = "ask_impossible"
            answer = "none" if facts.consent is Consent.POLICY else facts.consent.value
            assert cell == Cell(
                meaning,
                facts.grade if meaning is Envelope.SEALED else EvidenceGrade.NONE,
                facts.submission,
                facts.floor,
                facts.ways,
                Answer(answer),
                Wish(wish),
                facts.cause,
                facts.traffic,
            )
        checked += 1
    return checked


def test_meaning_of_body_claim_and_framing() -> None:
    assert len(MEANING) == 18
    assert {parts: classify(*parts) for parts in itertools.product(Body, Claim, Framing)} == MEANING


def test_cells_are_different_and_bounded() -> None:
    assert len(cells()) == len(set(cells())) == CELLS == 48_388
    assert CELLS <= MAX_CELLS
    assert {cell.envelope for cell in cells()} == set(Envelope)


def test_folding_of_a_prime_sample() -> None:
    # 31 shares no factor with any digit, so every digit takes every value.
    assert check_folding(31) == -(-RAW // 31)


@pytest.mark.long
def test_folding_of_all_raw_facts() -> None:
    assert check_folding(1) == RAW


def test_ways_are_all_sets_of_channels() -> None:
    assert len(Ways.every()) == 2 ** len(Channel)
    assert Ways.of(Channel.SMS, Channel.RELAY) is Ways.of(Channel.RELAY, Channel.SMS)
    assert Ways.of().channels == ()
    assert Ways.of().words == "no channel"
    for ways in Ways.every():
        assert copy.copy(ways) is copy.deepcopy(ways) is pickle.loads(pickle.dumps(ways)) is ways
        assert repr(ways) == f"Ways({ways.words})"


def test_facts_are_frozen() -> None:
    facts = sealed()
    with pytest.raises(AttributeError):
        facts.claim = Claim.NONE  # type: ignore[misc]
    assert not hasattr(facts, "__dict__")


def test_cells_speak() -> None:
    assert readable().cell.words == (
        "a readable message without any claim brought by a tenant api; floor E2EE; available: sms; consent: none; "
        "on downgrade: ask; cause: none; traffic: conversation"
    )
    assert "graded FRAMED, brought by a device session" in sealed().cell.words
    assert readable(claim=Claim.E2EE_FOREIGN).cell.words == Envelope.CONTRADICTION.value


def test_an_earlier_decision_by_policy_answers_for_nobody() -> None:
    assert readable(consent=Consent.POLICY).key() == readable(consent=Consent.NONE).key()
    assert readable(consent=Consent.TENANT_ASSERTED).key() != readable(consent=Consent.NONE).key()
