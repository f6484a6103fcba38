"""Each guard asked about decisions made by hand, beside what a person would answer, over whole domains."""

from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import pytest
from tests.policy.cases import RELAY, ROWS, SMS, allow, file_with, readable, row, sealed

from letterlock.model.capability import CapabilityRow, Channel
from letterlock.model.protection import EvidenceGrade, Protection
from letterlock.policy.decision import (
    Action,
    Analytics,
    Archive,
    Decision,
    Fall,
    Indicator,
    Keep,
    Keys,
    LogField,
    Refusal,
    State,
)
from letterlock.policy.evaluate import Ground
from letterlock.policy.facts import Answer, Cause, Cell, Envelope, Facts, Submission, Traffic, Ways, Wish
from letterlock.policy.file import profile_source, read_policy
from letterlock.policy.guards import HANDLING_GUARDS, MAX_E2EE_METADATA_MINUTES, PATH_GUARDS

P = Protection
G = EvidenceGrade
I = Indicator  # noqa: E741
UNKNOWN_SMS = (row(RELAY, P.E2EE), row(SMS, P.UNKNOWN))
DELIVERED = Decision(
    action=Action.DELIVER,
    channels=(SMS,),
    offered=(),
    protection=P.CLEAR,
    fall=Fall.NOT_A_FALL,
    state=State.CLEAR,
    keep=Keep.SHREDDABLE_UNTIL_SENT,
    keys=Keys.DAY,
    retention_ms=60_000,
    metadata_ms=60_000,
    log=frozenset({LogField.STATE}),
    analytics=Analytics.COUNTS,
    archive=Archive.NEVER,
    indicator=I.NOT_ENCRYPTED,
    rule="routing.notification",
    refusal=None,
)
STAYS = replace(
    DELIVERED, action=Action.REFUSE, channels=(), protection=None, refusal=Refusal.BELOW_FLOOR, keep=Keep.NOTHING
)


@cache
def ground(source: str = "", rows: tuple[CapabilityRow, ...] = ROWS) -> Ground:
    return Ground.of(read_policy(source or profile_source("standard")), rows)


def path(name: str, cell: Cell, decision: Decision, on: Ground | None = None) -> bool:
    return next(guard for guard in PATH_GUARDS if guard.id == name).holds(on or ground(), cell, decision)


def handling(name: str, envelope: Envelope, grade: EvidenceGrade, decision: Decision) -> bool:
    return next(guard for guard in HANDLING_GUARDS if guard.id == name).holds(envelope, grade, decision)


def cell_of(facts: Facts, **changed: Any) -> Cell:
    return facts.cell._replace(**changed)


def test_which_guards_are_about_which_envelopes() -> None:
    everything = set(Envelope)
    about = {guard.id: set(guard.about) for guard in PATH_GUARDS}
    assert about.pop("contradiction_is_refused") == {Envelope.CONTRADICTION}
    assert about.pop("bad_claims_go_nowhere") == {Envelope.MALFORMED, Envelope.UNFRAMED, Envelope.FOREIGN}
    assert about.pop("few_traces_means_sealed_alone") == {Envelope.OPEN}
    assert about.pop("sealed_never_to_a_reader") == about.pop("silence_opens_nothing") == {Envelope.SEALED}
    assert list(about) == [
        "no_silent_fall",
        "consent_is_an_answer",
        "allowed_falls_are_written",
        "unknown_never_unasked",
        "made_up_failures_open_nothing",
        "asks_only_who_can_answer",
        "no_hold_against_the_sender",
        "decision_is_whole",
    ]
    assert all(envelopes == everything for envelopes in about.values())
    assert MAX_E2EE_METADATA_MINUTES == 1440


def test_with_few_traces_every_readable_message_is_refused() -> None:
    few = (file_with('[metadata]\ntimes = "quarter_hour"'), file_with('[metadata]\nsender = "not_stored"'))
    cell = readable().cell
    for action in Action:
        decision = replace(STAYS, action=action)
        assert path("few_traces_means_sealed_alone", cell, decision)
        for source in few:
            assert path("few_traces_means_sealed_alone", cell, decision, ground(source)) is (action is Action.REFUSE)


def test_bad_claims_are_set_aside() -> None:
    cell = readable().cell
    for action, refusal in product(Action, (None, *Refusal)):
        decision = replace(STAYS, action=action, refusal=refusal)
        aside = action is Action.REFUSE and refusal is Refusal.CLAIM_CONTRADICTS_BODY
        assert path("contradiction_is_refused", cell, decision) is aside
        assert path("bad_claims_go_nowhere", cell, decision) is (action in {Action.REFUSE, Action.QUARANTINE})


@pytest.mark.parametrize("ceiling", P)
def test_a_sealed_body_goes_only_where_nobody_else_reads(ceiling: Protection) -> None:
    on = ground(rows=(row(RELAY, P.E2EE), row(SMS, ceiling)))
    cell = sealed().cell
    secret = ceiling in {P.E2EE, P.ENCLAVE, P.ESCROWED}
    for channels, holds in (((), True), ((RELAY,), True), ((SMS,), secret), ((RELAY, SMS), secret)):
        decision = replace(DELIVERED, channels=channels)
        assert path("sealed_never_to_a_reader", cell, decision, on) is holds
        # And what is offered, where the secure path is missing without a reason.
        offer = replace(STAYS, action=Action.ASK, offered=channels)
        assert path("silence_opens_nothing", cell_of(sealed(), cause=Cause.NONE), offer, on) is holds
        assert path("silence_opens_nothing", cell_of(sealed(), cause=Cause.SECURE_FAILED), offer, on)


@pytest.mark.attack("A19")
def test_no_fall_without_a_word() -> None:
    """Floor by floor: from UNKNOWN, the policy's own floor for a conversation holds."""
    allowed = {P.CLEAR: True, P.UNKNOWN: False}
    for floor, fall in product(P, Fall):
        cell = cell_of(readable(), floor=floor, traffic=Traffic.CONVERSATION)
        holds = fall is not Fall.NOT_A_FALL or allowed.get(floor, False)
        assert path("no_silent_fall", cell, replace(DELIVERED, fall=fall)) is holds
        assert path("no_silent_fall", cell, replace(DELIVERED, channels=(), fall=fall))
    # Of several channels, one below the floor is enough.
    cell = cell_of(readable(), floor=P.PROVIDER)
    assert path("no_silent_fall", cell, replace(DELIVERED, channels=(RELAY,)))
    assert not path("no_silent_fall", cell, replace(DELIVERED, channels=(RELAY, SMS)))


def test_a_consented_fall_has_an_answer() -> None:
    for fall, submission, answer in product(Fall, Submission, Answer):
        cell = cell_of(readable(), submission=submission, answer=answer)
        if fall is not Fall.CONSENTED:
            holds = True
        elif submission is Submission.DEVICE_SESSION:
            holds = answer is Answer.DEVICE_SIGNED
        elif submission is Submission.DELIVERY_TOKEN:
            holds = False
        else:
            holds = answer in {Answer.DEVICE_SIGNED, Answer.TENANT_ASSERTED}
        assert path("consent_is_an_answer", cell, replace(DELIVERED, fall=fall)) is holds


def test_an_allowed_fall_follows_its_own_rule_to_the_letter() -> None:
    on = ground(file_with(allow()))
    cell = cell_of(readable(), traffic=Traffic.NOTIFICATION, cause=Cause.NOT_REACHABLE_ATTESTED)
    fits = replace(DELIVERED, fall=Fall.POLICY_ALLOWED, rule="allow.notice-by-sms")
    assert path("allowed_falls_are_written", cell, fits, on)
    for changed in (
        replace(fits, rule="allow.other"),
        replace(fits, rule="routing.notification"),
        replace(fits, channels=(RELAY,)),
        replace(fits, channels=(SMS, RELAY)),
        replace(fits, channels=()),
    ):
        assert not path("allowed_falls_are_written", cell, changed, on)
        assert path("allowed_falls_are_written", cell, replace(changed, fall=Fall.CONSENTED), on)
        assert path("allowed_falls_are_written", cell, replace(changed, fall=Fall.NOT_A_FALL), on)
    for other in (cell._replace(cause=Cause.SECURE_FAILED), cell._replace(traffic=Traffic.CONVERSATION)):
        assert not path("allowed_falls_are_written", other, fits, on)
    assert not path("allowed_falls_are_written", cell, fits)  # no such rule in the other file


def test_an_unknown_path_is_taken_with_consent_alone() -> None:
    on = ground(rows=UNKNOWN_SMS)
    for fall in Fall:
        for channels in ((SMS,), (RELAY, SMS)):
            taken = replace(DELIVERED, channels=channels, fall=fall)
            assert path("unknown_never_unasked", readable().cell, taken, on) is (fall is Fall.CONSENTED)
        assert path("unknown_never_unasked", readable().cell, replace(DELIVERED, channels=(RELAY,), fall=fall), on)
        assert path("unknown_never_unasked", readable().cell, replace(DELIVERED, channels=(), fall=fall), on)


@pytest.mark.attack("A11")
def test_what_anybody_could_have_made_up_opens_nothing() -> None:
    for cause, action, fall, offered in product(Cause, Action, Fall, ((), (SMS,))):
        cell = cell_of(readable(), cause=cause)
        for channels, certain in (((), True), ((RELAY,), True), ((SMS,), False), ((RELAY, SMS), False)):
            decision = replace(DELIVERED, action=action, fall=fall, offered=offered, channels=channels)
            calm = fall is Fall.NOT_A_FALL and action is not Action.ASK and not offered and certain
            holds = cause is not Cause.UNAUTHENTICATED_FAILURE or calm
            assert path("made_up_failures_open_nothing", cell, decision) is holds


def test_who_is_asked_and_what_is_held() -> None:
    for wish, action in product(Wish, Action):
        cell, decision = cell_of(readable(), wish=wish), replace(STAYS, action=action)
        assert path("asks_only_who_can_answer", cell, decision) is (action is not Action.ASK or wish is Wish.ASK)
        held_against = wish is Wish.REFUSE and action is Action.HOLD
        assert path("no_hold_against_the_sender", cell, decision) is not held_against


def test_a_whole_decision_and_everything_that_makes_it_less() -> None:
    both: Cell = cell_of(readable(), ways=Ways.of(RELAY, SMS))
    asks = replace(STAYS, action=Action.ASK, offered=(SMS,))
    least = replace(DELIVERED, channels=(RELAY, SMS))
    for whole in (DELIVERED, least, replace(DELIVERED, channels=(RELAY,), protection=P.PROVIDER), STAYS, asks):
        assert path("decision_is_whole", both, whole)
        assert not path("decision_is_whole", both, replace(whole, offered=() if whole.offered else (SMS,)))
        refusal = None if whole.refusal else Refusal.BELOW_FLOOR
        assert not path("decision_is_whole", both, replace(whole, refusal=refusal))
    for action in (Action.HOLD, Action.QUARANTINE):
        assert path("decision_is_whole", both, replace(STAYS, action=action))
    for broken in (
        replace(DELIVERED, channels=()),
        replace(DELIVERED, protection=None),
        replace(DELIVERED, protection=P.PROVIDER),
        replace(least, protection=P.PROVIDER),
        replace(STAYS, channels=(SMS,)),
        replace(STAYS, protection=P.CLEAR),
        replace(STAYS, fall=Fall.CONSENTED),
        replace(STAYS, fall=Fall.POLICY_ALLOWED),
        replace(asks, protection=P.CLEAR),
        replace(asks, fall=Fall.CONSENTED),
    ):
        assert not path("decision_is_whole", both, broken)
    # A channel that is not there is neither taken nor offered.
    there: tuple[tuple[Channel, ...], ...] = ((RELAY,), ())
    for ways in there:
        cell = cell_of(readable(), ways=Ways.of(*ways))
        assert not path("decision_is_whole", cell, DELIVERED)
        assert not path("decision_is_whole", cell, asks)
        assert path("decision_is_whole", cell, STAYS)


# What the evidence carries at most, once more.
MOST = {
    G.NONE: I.E2EE_CLAIMED,
    G.ASSERTED: I.E2EE_CLAIMED,
    G.FRAMED: I.E2EE_FRAMED,
    G.TRACKED: I.E2EE_GROUP_CHECKED,
    G.ATTESTED: I.E2EE_RECEIPT_CHECKED,
}


@pytest.mark.attack("A3")
def test_what_is_shown_is_carried_by_its_evidence() -> None:
    for envelope, grade, protection, indicator in product(Envelope, G, (None, *P), I):
        decision = replace(DELIVERED, protection=protection, indicator=indicator)
        holds = True
        if indicator in set(MOST.values()):
            carried = indicator in {I.E2EE_CLAIMED, MOST[grade]}
            holds = envelope is Envelope.SEALED and protection is P.E2EE and carried
        assert handling("shown_by_evidence", envelope, grade, decision) is holds


@pytest.mark.parametrize("envelope", Envelope)
def test_what_is_kept_of_end_to_end_encrypted_messages(envelope: Envelope) -> None:
    is_open = envelope is Envelope.OPEN
    for keep in Keep:
        sealed_only = keep in {Keep.NOTHING, Keep.SEALED_UNTIL_DELIVERED}
        decision = replace(DELIVERED, keep=keep)
        assert handling("e2ee_keeps_only_sealed", envelope, G.FRAMED, decision) is (is_open or sealed_only)
    for analytics in Analytics:
        decision = replace(DELIVERED, analytics=analytics)
        counts = analytics in {Analytics.NONE, Analytics.COUNTS}
        assert handling("e2ee_counts_only", envelope, G.FRAMED, decision) is (is_open or counts)
    for archive in Archive:
        decision = replace(DELIVERED, archive=archive)
        assert handling("e2ee_archive_by_device", envelope, G.FRAMED, decision) is (
            is_open or archive in {Archive.NEVER, Archive.DEVICE_CONSENT}
        )
    for field in LogField:
        decision = replace(DELIVERED, log=frozenset({LogField.STATE, field}))
        assert handling("e2ee_log_has_no_size", envelope, G.FRAMED, decision) is (
            is_open or field is not LogField.EXACT_SIZE
        )
    day = 24 * 60 * 60 * 1000
    for metadata_ms, short in ((0, True), (day, True), (day + 1, False)):
        decision = replace(DELIVERED, metadata_ms=metadata_ms)
        assert handling("e2ee_metadata_is_short", envelope, G.FRAMED, decision) is (is_open or short)


def test_how_bodies_wait() -> None:
    shreddable = {Keep.SHREDDABLE_UNTIL_SENT, Keep.SHREDDABLE_WHILE_HELD}
    for envelope, keep, keys, action in product(Envelope, Keep, Keys, Action):
        decision = replace(DELIVERED, keep=keep, keys=keys, action=action)
        wrapped = keep is Keep.NOTHING or (keep in shreddable and keys is not Keys.NONE)
        assert handling("waiting_body_has_a_key", envelope, G.NONE, decision) is (
            envelope is not Envelope.OPEN or wrapped
        )
        taken = action in {Action.DELIVER, Action.HOLD, Action.QUARANTINE}
        assert handling("not_taken_not_kept", envelope, G.NONE, decision) is (taken or keep is Keep.NOTHING)
        for retention_ms in (0, 1, 60_000):
            waiting = replace(decision, retention_ms=retention_ms)
            nothing = action is not Action.HOLD and retention_ms == 0
            holds = nothing if keep is Keep.NOTHING else retention_ms > 0
            assert handling("waiting_ends", envelope, G.NONE, waiting) is holds
