"""What ``letterlock policy check | explain | prove`` print: plain data, complete, and true to the decision."""

import json

import pytest
from tests.policy.cases import ROWS, SMS, allow, file_with, readable

from letterlock.policy.decision import Action
from letterlock.policy.errors import PolicyError, PolicyReason
from letterlock.policy.facts import CELLS, Ways
from letterlock.policy.file import PROFILES, profile_source
from letterlock.policy.guards import GUARDS
from letterlock.policy.proof import prove
from letterlock.policy.report import (
    FACT_WORDS,
    USUAL,
    check_report,
    explain_report,
    facts_from_words,
    prove_report,
)


def test_check_says_what_mends_a_bad_file() -> None:
    report = check_report(file_with("[fallback]\nunexplained = 'ask'"), ROWS)
    assert report["accepted"] is False
    assert report["guard"] == "silence_opens_nothing"
    assert report["rule"] == "fallback.unexplained"
    assert "available: sms" in str(report["cell"])
    word = check_report(file_with("[fallback]\nunexplained = 'maybe'"), ROWS)
    assert (word["reason"], word["key"], word["line"]) == ("wrong_word", "fallback.unexplained", 5)
    assert word["allowed"] == ["ask", "hold", "refuse", "deliver"]
    assert check_report(b"\xff", ROWS)["key"] is None


def test_check_accepts_the_profiles() -> None:
    for name in PROFILES:
        report = check_report(profile_source(name), ROWS)
        assert report == {
            "accepted": True,
            "name": name,
            "hash": prove(profile_source(name), ROWS).hash.hex(),
            "unused": [],
        }
    assert check_report(file_with(allow(floors='["CLEAR"]')), ROWS)["unused"] == ["notice-by-sms"]


def test_prove_counts_every_cell() -> None:
    report = prove_report(prove(profile_source("standard"), ROWS))
    assert report["cells"] == CELLS
    for division in ("actions", "rules"):
        counts = report[division]
        assert isinstance(counts, dict)
        assert sum(counts.values()) == CELLS
    assert isinstance(report["guards"], list)
    assert len(report["guards"]) == len(GUARDS)
    assert json.loads(json.dumps(report)) == report


def test_every_cell_has_an_explanation() -> None:
    proven = prove(file_with(allow()), ROWS)
    said = set()
    for name, words in FACT_WORDS.items():
        for word in words:
            report = explain_report(proven, facts_from_words({name: word}))
            sentences = report["sentences"]
            assert isinstance(sentences, list)
            assert all(str(sentence)[-1] in '."' for sentence in sentences)
            assert json.loads(json.dumps(report)) == report
            said.add(str(sentences[1]))
    assert len(said) > 4


def test_explain_tells_the_decision_that_runs() -> None:
    proven = prove(profile_source("standard"), ROWS)
    words = {"floor": "E2EE", "channels": "sms", "traffic": "conversation"}
    facts = facts_from_words(words)
    assert facts == readable(ways=Ways.of(SMS))
    explanation = proven.explain(facts)
    assert explanation.decision is proven.decide(facts)
    assert explanation.decision.action is Action.ASK
    assert explanation.sentences[1] == (
        "It does not go: a question goes back, and a yes would open sms (consent required)."
    )
    assert explanation.rule == "fallback.sender_choice"
    assert [name for name, _ in explanation.guards] == [guard.id for guard in GUARDS]
    report = explain_report(proven, facts)
    decision = report["decision"]
    assert isinstance(decision, dict)
    assert (decision["action"], decision["offered"], decision["refusal"]) == ("ask", ["sms"], "consent_required")


def test_wrong_words_of_a_fact_are_answered_with_the_right_ones() -> None:
    with pytest.raises(PolicyError) as caught:
        facts_from_words({"floor": "hunter2"})
    assert (caught.value.reason, caught.value.allowed) == (PolicyReason.WRONG_WORD, FACT_WORDS["floor"])
    assert "hunter2" not in str(caught.value)
    with pytest.raises(PolicyError) as caught:
        facts_from_words({"hunter2": "E2EE"})
    assert (caught.value.reason, caught.value.allowed) == (PolicyReason.UNKNOWN_KEY, tuple(FACT_WORDS))
    assert "hunter2" not in str(caught.value)
    assert set(USUAL) == set(FACT_WORDS)
    assert facts_from_words({"channels": "none"}).ways is Ways.of()
