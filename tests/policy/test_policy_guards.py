"""Each guard: a file that tries to break it is refused naming the cell, beside a file like it that is accepted."""

import dataclasses
from collections.abc import Callable
from functools import cache

import pytest
from tests.policy.cases import RELAY, ROWS, SMS, allow, file_with, readable, row, sealed

from letterlock.model.capability import CapabilityRow
from letterlock.model.protection import EvidenceGrade, Protection
from letterlock.policy import proof
from letterlock.policy.decision import Action, Decision, Fall, Keep
from letterlock.policy.errors import PolicyError, PolicyReason
from letterlock.policy.evaluate import Ground, evaluate
from letterlock.policy.facts import CELLS, Body, Cell, Facts, OnDowngrade, Ways
from letterlock.policy.file import PROFILES, profile_source, read_policy
from letterlock.policy.guards import GUARDS, HANDLING_GUARDS, PATH_GUARDS
from letterlock.policy.proof import ProvenPolicy, prove

P = Protection
ESCROWED = (row(RELAY, P.ESCROWED), row(SMS, P.CLEAR))
UNKNOWN = (row(RELAY, P.E2EE), row(SMS, P.UNKNOWN))
MADE_UP = '["unauthenticated_failure"]'


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """A file that tries something, what it is caught by and at, and a file like it that is fine."""

    guard: str
    bad: str
    words: str
    rule: str
    good: str
    rows: tuple[CapabilityRow, ...] = ROWS


ATTEMPTS = (
    Attempt(
        "contradiction_is_refused",
        '[claims]\ncontradiction = "deliver"',
        "a readable message that is claimed or framed as end-to-end encrypted",
        "claims.contradiction",
        '[claims]\ncontradiction = "refuse"',
    ),
    Attempt(
        "contradiction_is_refused",
        '[claims]\ncontradiction = "quarantine"',
        "a readable message that is claimed or framed",
        "claims.contradiction",
        '[claims]\nmalformed = "refuse"',
    ),
    *(
        Attempt("bad_claims_go_nowhere", f'[claims]\n{word} = "deliver"', told, f"claims.{word}", good)
        for word, told, good in (
            ("malformed", "whose ciphertext has no valid framing", '[claims]\nmalformed = "refuse"'),
            ("unframed", "ciphertext without a claim", '[claims]\nunframed = "quarantine"'),
            ("foreign", "somebody who may not speak for the conversation", '[claims]\nforeign = "quarantine"'),
        )
    ),
    Attempt(
        "sealed_never_to_a_reader",
        '[routing]\nsealed = ["relay", "sms"]',
        "a sealed message with valid framing, graded NONE, brought by a device session; floor CLEAR; available: sms",
        "routing.sealed",
        '[routing]\nsealed = ["relay"]',
    ),
    Attempt(
        "no_silent_fall",
        '[fallback]\nsender_choice = "deliver"',
        "floor HOP; available: sms; consent: none",
        "fallback.sender_choice",
        '[fallback]\nsender_choice = "refuse"',
    ),
    Attempt(
        "sealed_never_to_a_reader",
        '[fallback]\nnot_reachable_attested = "deliver"\n[routing]\nsealed = []\nnotification = ["sms"]',
        "cause: not reachable attested",
        "fallback.not_reachable_attested",
        '[fallback]\nnot_reachable_attested = "hold"',
    ),
    Attempt(
        "no_silent_fall",
        '[fallback]\nsideways = "deliver"',
        "floor ENCLAVE; available: relay; consent: none",
        "fallback.sideways",
        '[fallback]\nsideways = "hold"',
        ESCROWED,
    ),
    Attempt(
        "few_traces_means_sealed_alone",
        '[metadata]\nsender = "not_stored"',
        "a readable message without any claim brought by a device session",
        "fallback.no_route",
        '[metadata]\nsender = "stored"',
    ),
    Attempt(
        "consent_is_an_answer",
        '[consent]\ntenant_api = ["tenant_asserted", "none"]',
        "brought by a tenant api; floor HOP; available: sms; consent: none",
        "consent.tenant_api",
        '[consent]\ntenant_api = ["tenant_asserted"]',
    ),
    Attempt(
        "consent_is_an_answer",
        '[consent]\ndevice_session = ["device_signed", "tenant_asserted"]',
        "brought by a device session; floor HOP; available: sms; consent: tenant asserted",
        "consent.device_session",
        "[consent]\ndevice_session = []",
    ),
    Attempt(
        "unknown_never_unasked",
        allow(floors='["CLEAR"]'),
        "available: sms; consent: none; on downgrade: ask; cause: not reachable attested",
        "allow.notice-by-sms",
        allow(floors='["CLEAR"]', channel="relay"),
        UNKNOWN,
    ),
    Attempt(
        "made_up_failures_open_nothing",
        '[fallback]\nunauthenticated_failure = "ask"',
        "cause: unauthenticated failure",
        "fallback.unauthenticated_failure",
        '[fallback]\nunauthenticated_failure = "refuse"',
    ),
    Attempt(
        "sealed_never_to_a_reader",
        '[fallback]\nunauthenticated_failure = "deliver"\n[routing]\nsealed = []',
        "cause: unauthenticated failure",
        "fallback.unauthenticated_failure",
        '[fallback]\nunauthenticated_failure = "hold"\n[routing]\nsealed = []',
    ),
    Attempt(
        "made_up_failures_open_nothing",
        allow(causes=MADE_UP),
        "floor HOP; available: sms; consent: none; on downgrade: ask; cause: unauthenticated failure",
        "allow.notice-by-sms",
        allow(causes='["secure_failed"]'),
    ),
    Attempt(
        "made_up_failures_open_nothing",
        allow(causes=MADE_UP, floors='["E2EE"]', channel="relay"),
        "floor E2EE; available: relay; consent: none; on downgrade: ask; cause: unauthenticated failure",
        "allow.notice-by-sms",
        allow(floors='["E2EE"]', channel="relay"),
    ),
    Attempt(
        "silence_opens_nothing",
        '[fallback]\nunexplained = "ask"',
        "available: sms; consent: none; on downgrade: ask; cause: none",
        "fallback.unexplained",
        '[fallback]\nunexplained = "refuse"',
    ),
    Attempt(
        "asks_only_who_can_answer",
        '[fallback]\ncannot_ask = "ask"',
        "on downgrade: ask impossible",
        "fallback.cannot_ask",
        '[fallback]\ncannot_ask = "refuse"',
    ),
    Attempt(
        "e2ee_keeps_only_sealed",
        '[rules.sealed]\nkeep = "shreddable_until_sent"\nkeys = "day"',
        "a sealed message with valid framing",
        "fallback.no_route",
        '[rules.sealed]\nkeep = "sealed_until_delivered"\nretention_minutes = 60',
    ),
    Attempt(
        "e2ee_keeps_only_sealed",
        '[states]\nquarantined = "passing"',
        "whose ciphertext has no valid framing",
        "claims.malformed",
        '[states]\nquarantined = "sealed"',
    ),
    Attempt(
        "e2ee_counts_only",
        '[rules.sealed]\nanalytics = "labels"',
        "a sealed message with valid framing",
        "fallback.no_route",
        '[rules.passing]\nanalytics = "labels"',
    ),
    Attempt(
        "e2ee_archive_by_device",
        '[rules.sealed]\narchive = "permitted"',
        "a sealed message with valid framing",
        "fallback.no_route",
        '[rules.sealed]\narchive = "device_consent"\n[rules.passing]\narchive = "permitted"',
    ),
    Attempt(
        "e2ee_log_has_no_size",
        '[rules.sealed]\nlog = ["state", "exact_size"]',
        "a sealed message with valid framing",
        "fallback.no_route",
        '[rules.sealed]\nlog = ["state", "size_bucket"]\n[rules.passing]\nlog = ["state", "exact_size"]',
    ),
    Attempt(
        "e2ee_metadata_is_short",
        "[rules.sealed]\nmetadata_minutes = 1441",
        "a sealed message with valid framing",
        "fallback.no_route",
        "[rules.sealed]\nmetadata_minutes = 1440\n[rules.passing]\nmetadata_minutes = 1441",
    ),
    Attempt(
        "shown_by_evidence",
        '[rules.sealed]\nshow_from = "NONE"',
        "a sealed message with valid framing, graded NONE,",
        "routing.sealed",
        '[rules.sealed]\nshow_from = "TRACKED"',
    ),
    Attempt(
        "shown_by_evidence",
        '[rules.sealed]\nshow_from = "ASSERTED"',
        "a sealed message with valid framing, graded ASSERTED,",
        "routing.sealed",
        '[rules.sealed]\nshow_from = "ATTESTED"',
    ),
    Attempt(
        "waiting_body_has_a_key",
        '[rules.passing]\nkeys = "none"',
        "a readable message without any claim",
        "routing.notification",
        '[rules.passing]\nkeys = "month"',
    ),
    Attempt(
        "waiting_body_has_a_key",
        '[states]\nclear = "sealed"',
        "a readable message without any claim",
        "routing.notification",
        '[states]\nclear = "waiting"',
    ),
    Attempt(
        "not_taken_not_kept",
        '[states]\nrefused = "sealed"',
        "available: no channel; consent: none; on downgrade: refuse",
        "fallback.no_route",
        '[states]\nquarantined = "trace"',
    ),
    Attempt(
        "waiting_ends",
        '[rules.waiting]\nkeep = "nothing"\nretention_minutes = 0',
        "a readable message without any claim",
        "fallback.no_route",
        "[rules.waiting]\nretention_minutes = 1",
    ),
    Attempt(
        "waiting_ends",
        "[rules.passing]\nretention_minutes = 0",
        "a readable message without any claim",
        "routing.notification",
        "[rules.passing]\nretention_minutes = 1",
    ),
)
# No word of the schema can break these two; below, decisions made by hand do.
BY_HAND = {"allowed_falls_are_written", "no_hold_against_the_sender", "decision_is_whole"}


@pytest.mark.attack("A11", "A16", "A19")
@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: f"{attempt.guard}:{attempt.bad.split()[-1]}")
def test_a_file_cannot_override_a_guard(attempt: Attempt) -> None:
    with pytest.raises(PolicyError) as caught:
        prove(file_with(attempt.bad), attempt.rows)
    error = caught.value
    assert error.reason is PolicyReason.GUARD_FAILED
    assert error.guard == attempt.guard
    assert error.cell is not None
    assert attempt.words in error.cell.words
    assert error.rule == attempt.rule
    told = str(error)
    assert error.cell.words in told
    assert error.sentence == next(guard.sentence for guard in GUARDS if guard.id == attempt.guard)
    assert error.sentence in told
    assert attempt.rule in told
    assert prove(file_with(attempt.good), attempt.rows).policy.name == "changed"


def test_every_guard_is_attempted() -> None:
    assert {attempt.guard for attempt in ATTEMPTS} | BY_HAND == {guard.id for guard in GUARDS}
    assert len({guard.id for guard in GUARDS}) == len(GUARDS) == 22


HOLDING = readable(on_downgrade=OnDowngrade.HOLD)
NOTICE = readable(floor=P.CLEAR)
DEVICE = sealed()


@cache
def standard() -> ProvenPolicy:
    return prove(profile_source("standard"), ROWS)


def _changed(**parts: object) -> Callable[[Decision], Decision]:
    return lambda decision: dataclasses.replace(decision, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("guard", "facts", "spoil"),
    [
        ("allowed_falls_are_written", NOTICE, _changed(fall=Fall.POLICY_ALLOWED, rule="allow.unwritten")),
        ("no_hold_against_the_sender", readable(on_downgrade=OnDowngrade.REFUSE), _changed(action=Action.HOLD)),
        ("decision_is_whole", DEVICE, _changed(channels=())),
        ("decision_is_whole", DEVICE, _changed(protection=None)),
        ("decision_is_whole", NOTICE, _changed(protection=P.PROVIDER)),
        ("decision_is_whole", NOTICE, _changed(action=Action.HOLD)),
        ("decision_is_whole", DEVICE, _changed(offered=(SMS,))),
        ("decision_is_whole", NOTICE, _changed(channels=(RELAY,))),
        ("decision_is_whole", HOLDING, _changed(refusal=None)),
        ("decision_is_whole", HOLDING, _changed(fall=Fall.CONSENTED)),
        ("decision_is_whole", HOLDING, _changed(channels=(SMS,))),
    ],
)
def test_a_spoilt_decision_is_caught(guard: str, facts: Facts, spoil: Callable[[Decision], Decision]) -> None:
    proven = standard()
    ground = Ground.of(proven.policy, ROWS)
    check = next(one for one in PATH_GUARDS if one.id == guard)
    decision = proven.decide(facts)
    assert check.holds(ground, facts.cell, decision)
    assert not check.holds(ground, facts.cell, spoil(decision))


@pytest.mark.parametrize("name", PROFILES)
def test_shortcuts_of_the_proof_hide_nothing(name: str) -> None:
    """What the proof asks once per decision, or for one grade only, is so in every single cell."""
    proven = prove(profile_source(name), ROWS)
    ground = Ground.of(proven.policy, ROWS)
    for cell, decision in proven.table():
        assert evaluate(ground, cell) == decision
        for path in PATH_GUARDS:
            assert cell.envelope not in path.about or path.holds(ground, cell, decision)
        for handling in HANDLING_GUARDS:
            assert handling.holds(cell.envelope, cell.grade, decision)


def test_open_bodies_may_be_kept_and_sealed_ones_may_not() -> None:
    guard = next(one for one in HANDLING_GUARDS if one.id == "e2ee_keeps_only_sealed")
    kept = dataclasses.replace(prove(profile_source("standard"), ROWS).decide(HOLDING), keep=Keep.SHREDDABLE_WHILE_HELD)
    cells: dict[Body, Cell] = {Body.OPEN: HOLDING.cell, Body.SEALED: DEVICE.cell}
    assert {body: guard.holds(cell.envelope, cell.grade, kept) for body, cell in cells.items()} == {
        Body.OPEN: True,
        Body.SEALED: False,
    }


def test_the_proof_names_the_first_cell_of_all() -> None:
    with pytest.raises(PolicyError) as caught:
        prove(file_with('[rules.sealed]\nshow_from = "NONE"'), ROWS)
    assert caught.value.cell is not None
    assert caught.value.cell.grade is EvidenceGrade.NONE


def test_a_table_at_its_bound_is_proven_and_beyond_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    source = profile_source("standard")
    monkeypatch.setattr(proof, "MAX_CELLS", CELLS)
    assert prove(source, ROWS).rows == ROWS
    monkeypatch.setattr(proof, "MAX_CELLS", CELLS - 1)
    with pytest.raises(PolicyError) as caught:
        prove(source, ROWS)
    assert caught.value.reason is PolicyReason.TOO_MANY_CELLS
    assert str(CELLS) in caught.value.sentence
    assert str(CELLS - 1) in caught.value.sentence


def test_what_the_proof_rests_on_is_what_was_read() -> None:
    source = profile_source("standard")
    proven = prove(source, ROWS)
    assert proven.policy == read_policy(source)
    assert proven.rows == ROWS
    with pytest.raises(AttributeError):
        proven.hash = b""  # type: ignore[misc]


def test_a_grade_changes_what_is_shown_and_never_where_a_message_goes() -> None:
    rows = (row(RELAY, P.E2EE), row(SMS, P.E2EE))
    proven = prove(file_with('[routing]\nsealed = ["relay", "sms"]'), rows)
    for channels in ((RELAY,), (SMS,), (RELAY, SMS)):
        decisions = [proven.decide(sealed(ways=Ways.of(*channels), grade=grade)) for grade in EvidenceGrade]
        assert [decision.channels for decision in decisions] == [channels] * len(EvidenceGrade)
        assert len({decision.indicator for decision in decisions}) == 4
        assert len({dataclasses.replace(one, indicator=decisions[0].indicator) for one in decisions}) == 1
