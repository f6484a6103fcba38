"""Plain data for ``letterlock policy check | explain | prove``: strings, numbers, lists and tables; no layout."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias, Union

from letterlock.model.capability import CapabilityRow, Channel
from letterlock.model.protection import EvidenceGrade, Protection
from letterlock.policy.decision import Decision, State
from letterlock.policy.errors import Place, PolicyError, PolicyReason
from letterlock.policy.facts import (
    Body,
    Cause,
    Claim,
    Consent,
    Face,
    Facts,
    Framing,
    OnDowngrade,
    Submission,
    Traffic,
    Ways,
)
from letterlock.policy.guards import GUARDS
from letterlock.policy.proof import ProvenPolicy, prove

Plain: TypeAlias = Union[str, int, bool, Sequence["Plain"], Mapping[str, "Plain"], None]  # noqa: UP007

FACT_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "body": tuple(word.value for word in Body),
    "claim": tuple(word.value for word in Claim),
    "framing": tuple(word.value for word in Framing),
    "grade": tuple(word.value for word in EvidenceGrade),
    "submission": tuple(word.value for word in Submission),
    "floor": tuple(word.value for word in Protection),
    "channels": tuple(ways.words.replace(" and ", "+") if ways.channels else "none" for ways in Ways.every()),
    "on_downgrade": tuple(word.value for word in OnDowngrade),
    "face": tuple(word.value for word in Face),
    "traffic": tuple(word.value for word in Traffic),
    "consent": tuple(word.value for word in Consent),
    "cause": tuple(word.value for word in Cause),
}
"""The facts that ``policy explain`` takes, with their words."""

USUAL: Final[dict[str, str]] = {
    "body": "open",
    "claim": "none",
    "framing": "absent",
    "grade": "NONE",
    "submission": "tenant_api",
    "floor": "UNKNOWN",
    "channels": "+".join(channel.value for channel in Channel),
    "on_downgrade": "ask",
    "face": "can_ask",
    "traffic": "notification",
    "consent": "none",
    "cause": "none",
}
"""What ``policy explain`` assumes of a fact that is not given: a plain notice over the API, every channel there."""


def facts_from_words(words: Mapping[str, str]) -> Facts:
    """Facts from words such as ``{"body": "sealed", "framing": "valid", "channels": "relay+sms"}``.

    What is missing is taken from :data:`USUAL`.

    Raises:
        PolicyError: an unknown fact or a wrong word; it lists the right ones.
    """
    for name in words:
        if name not in FACT_WORDS:
            raise PolicyError(PolicyReason.UNKNOWN_KEY, place=Place("the facts"), allowed=tuple(FACT_WORDS))
    said = {**USUAL, **words}
    for name, word in said.items():
        if word not in FACT_WORDS[name]:
            raise PolicyError(PolicyReason.WRONG_WORD, place=Place(name), allowed=FACT_WORDS[name])
    return Facts(
        body=Body(said["body"]),
        claim=Claim(said["claim"]),
        framing=Framing(said["framing"]),
        grade=EvidenceGrade(said["grade"]),
        submission=Submission(said["submission"]),
        floor=Protection(said["floor"]),
        ways=Ways.every()[FACT_WORDS["channels"].index(said["channels"])],
        on_downgrade=OnDowngrade(said["on_downgrade"]),
        face=Face(said["face"]),
        traffic=Traffic(said["traffic"]),
        consent=Consent(said["consent"]),
        cause=Cause(said["cause"]),
    )


def check_report(source: str | bytes, rows: Iterable[CapabilityRow]) -> dict[str, Plain]:
    """Whether a file is accepted; if not, everything that helps to mend it. Never raises for a bad file."""
    try:
        proven = prove(source, rows)
    except PolicyError as error:
        return {
            "accepted": False,
            "reason": error.reason.value,
            "text": str(error),
            "key": error.place.key if error.place is not None else None,
            "line": error.place.line if error.place is not None else None,
            "allowed": list(error.allowed),
            "guard": error.guard or None,
            "rule": error.rule or None,
            "cell": error.cell.words if error.cell is not None else None,
        }
    return {"accepted": True, "name": proven.policy.name, "hash": proven.hash.hex(), "unused": list(proven.unused)}


def prove_report(proven: ProvenPolicy) -> dict[str, Plain]:
    """What was proven: cells, guards, and how the cells are divided among actions, falls and rules."""
    decisions = [decision for _, decision in proven.table()]
    return {
        "name": proven.policy.name,
        "hash": proven.hash.hex(),
        "cells": len(decisions),
        "decisions": len({id(decision) for decision in decisions}),
        "guards": [{"id": guard.id, "holds": guard.sentence} for guard in GUARDS],
        "actions": _counted(decision.action.value for decision in decisions),
        "falls": _counted(decision.fall.value for decision in decisions if decision.channels),
        "rules": _counted(decision.rule for decision in decisions),
        "states": state_report(proven),
        "unused": list(proven.unused),
    }


def explain_report(proven: ProvenPolicy, facts: Facts) -> dict[str, Plain]:
    """One decision with its reasons."""
    explanation = proven.explain(facts)
    return {
        "policy": proven.policy.name,
        "hash": proven.hash.hex(),
        "rule": explanation.rule,
        "sentences": list(explanation.sentences),
        "guards": [{"id": name, "holds": sentence} for name, sentence in explanation.guards],
        "decision": decision_report(explanation.decision),
    }


def decision_report(decision: Decision) -> dict[str, Plain]:
    """A decision in plain words and numbers."""
    return {
        "action": decision.action.value,
        "channels": [channel.value for channel in decision.channels],
        "offered": [channel.value for channel in decision.offered],
        "protection": decision.protection.value if decision.protection is not None else None,
        "fall": decision.fall.value,
        "state": decision.state.value,
        "keep": decision.keep.value,
        "keys": decision.keys.value,
        "retention_ms": decision.retention_ms,
        "metadata_ms": decision.metadata_ms,
        "log": sorted(word.value for word in decision.log),
        "analytics": decision.analytics.value,
        "archive": decision.archive.value,
        "indicator": decision.indicator.value,
        "indicator_text": decision.indicator.text,
        "rule": decision.rule,
        "refusal": decision.refusal.value if decision.refusal is not None else None,
    }


def state_report(proven: ProvenPolicy) -> dict[str, Plain]:
    """What each state gets: the table from which notices and compliance reports are made."""
    table: dict[str, Plain] = {}
    for state in State:
        name = str(getattr(proven.policy.states, state.value))
        rule = proven.policy.rules[name]
        table[state.value] = {
            "rule": name,
            "show_from": rule.show_from.value,
            "keep": rule.keep.value,
            "keys": rule.keys.value,
            "retention_minutes": rule.retention_minutes,
            "log": [word.value for word in rule.log],
            "metadata_minutes": rule.metadata_minutes,
            "analytics": rule.analytics.value,
            "archive": rule.archive.value,
        }
    return table


def _counted(words: Iterable[str]) -> dict[str, Plain]:
    return dict(sorted(Counter(words).items()))
