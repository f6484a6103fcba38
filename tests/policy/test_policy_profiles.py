"""The shipped profiles, every cell: the invariants, stated once more and without the guards' own code."""

import pytest
from tests.policy.cases import RELAY, ROWS, SMS, allow, file_with, readable, row, sealed

from letterlock.assurance.indicator import BY_PROTECTION
from letterlock.assurance.indicator import Indicator as Shown
from letterlock.model.capability import Channel
from letterlock.model.protection import EvidenceGrade, Protection
from letterlock.model.traces import USUAL, LedgerRhythm, SenderKept, Times, Traces
from letterlock.policy.decision import (
    PATH_SHOWN,
    Action,
    Analytics,
    Archive,
    Decision,
    Fall,
    Indicator,
    Keep,
    Keys,
    Refusal,
)
from letterlock.policy.facts import (
    CELLS,
    Answer,
    Cause,
    Cell,
    Claim,
    Consent,
    Envelope,
    Face,
    Framing,
    OnDowngrade,
    Submission,
    Traffic,
    Ways,
    Wish,
)
from letterlock.policy.file import PROFILES, profile_source
from letterlock.policy.proof import ProvenPolicy, prove

P = Protection
# Which paths keep a floor, written out: the rest are falls.
KEEPS = {
    P.CLEAR: {P.CLEAR, P.HOP, P.PROVIDER, P.ENCLAVE, P.ESCROWED, P.E2EE},
    P.HOP: {P.HOP, P.PROVIDER, P.ENCLAVE, P.ESCROWED, P.E2EE},
    P.PROVIDER: {P.PROVIDER, P.ENCLAVE, P.ESCROWED, P.E2EE},
    P.ENCLAVE: {P.ENCLAVE, P.E2EE},
    P.ESCROWED: {P.ESCROWED, P.E2EE},
    P.E2EE: {P.E2EE},
}
FIRST = {
    "standard": {Traffic.CONVERSATION: P.PROVIDER, Traffic.NOTIFICATION: P.CLEAR},
    "consumer": {Traffic.CONVERSATION: P.E2EE, Traffic.NOTIFICATION: P.PROVIDER},
}
ALLOWING = file_with(allow() + allow("chat-by-sms", "conversation", floors='["E2EE", "PROVIDER"]'), "consumer")


ASKING = ("standard", "consumer")
"""The profiles that have a way down at all, on somebody's word; "high-risk" has none."""


@pytest.fixture(scope="module", params=[*PROFILES, "allowing"])
def proven(request: pytest.FixtureRequest) -> ProvenPolicy:
    source = ALLOWING if request.param == "allowing" else profile_source(request.param)
    return prove(source, ROWS)


@pytest.fixture(scope="module", params=[*ASKING, "allowing"])
def asking(request: pytest.FixtureRequest) -> ProvenPolicy:
    source = ALLOWING if request.param == "allowing" else profile_source(request.param)
    return prove(source, ROWS)


def path(cell: Cell, channel: Channel) -> Protection:
    """Who can read on it, written out: SMS is clear, the relay is blind, and what we read is PROVIDER at most."""
    if channel is SMS:
        return P.CLEAR
    return P.E2EE if cell.envelope is Envelope.SEALED else P.PROVIDER


def is_fall(proven: ProvenPolicy, cell: Cell, channel: Channel) -> bool:
    name = "standard" if proven.policy.name == "standard" else "consumer"
    floor = FIRST[name][cell.traffic] if cell.floor is P.UNKNOWN else cell.floor
    if name == "consumer" and cell.traffic is Traffic.CONVERSATION:
        floor = P.E2EE
    return path(cell, channel) not in KEEPS[floor]


def all_cells(proven: ProvenPolicy) -> list[tuple[Cell, Decision]]:
    table = list(proven.table())
    assert len(table) == CELLS
    return table


def test_no_fall_without_a_word_for_it(proven: ProvenPolicy) -> None:
    """S2: from any state, nothing below the floor leaves but CONSENTED or POLICY_ALLOWED."""
    falls = dict.fromkeys(Fall, 0)
    for cell, decision in all_cells(proven):
        for channel in decision.channels:
            if is_fall(proven, cell, channel):
                assert decision.fall in {Fall.CONSENTED, Fall.POLICY_ALLOWED}, cell.words
                falls[decision.fall] += 1
            else:
                assert decision.fall is Fall.NOT_A_FALL, cell.words
                falls[Fall.NOT_A_FALL] += 1
        if decision.fall is Fall.CONSENTED:
            assert cell.answer is not Answer.NONE
            assert cell.submission is not Submission.DELIVERY_TOKEN, "nobody known has agreed"
            assert cell.cause is not Cause.UNAUTHENTICATED_FAILURE
            if cell.submission is Submission.DEVICE_SESSION or proven.policy.e2ee_first:
                assert cell.answer is Answer.DEVICE_SIGNED
        if decision.fall is Fall.POLICY_ALLOWED:
            assert cell.cause is Cause.NOT_REACHABLE_ATTESTED
            assert decision.channels == (SMS,)
    assert falls[Fall.NOT_A_FALL] > 0
    assert (falls[Fall.CONSENTED] > 0) == (proven.policy.name != "high-risk")
    assert (falls[Fall.POLICY_ALLOWED] > 0) == (proven.policy.name == "changed")


def test_three_rules_for_every_state_and_policy(proven: ProvenPolicy) -> None:
    """S36: no payload, short metadata, consent."""
    for cell, decision in all_cells(proven):
        if cell.envelope is not Envelope.OPEN:
            assert decision.keep in {Keep.NOTHING, Keep.SEALED_UNTIL_DELIVERED}
            assert decision.metadata_ms <= 60 * 60_000
            assert decision.analytics in {Analytics.NONE, Analytics.COUNTS}
            assert decision.archive is Archive.NEVER
            assert SMS not in decision.channels
        elif decision.keep is not Keep.NOTHING:
            assert decision.keep in {Keep.SHREDDABLE_UNTIL_SENT, Keep.SHREDDABLE_WHILE_HELD}
            assert decision.keys is not Keys.NONE
        if any(is_fall(proven, cell, channel) for channel in decision.channels):
            assert decision.fall is not Fall.NOT_A_FALL
        assert (decision.keep is Keep.NOTHING) == (decision.retention_ms == 0)
        assert decision.metadata_ms > 0


def test_the_shape_of_every_decision(proven: ProvenPolicy) -> None:
    for cell, decision in all_cells(proven):
        named = {*decision.channels, *decision.offered}
        assert named <= set(cell.ways.channels)
        delivers = decision.action is Action.DELIVER
        assert bool(decision.channels) == delivers
        assert (decision.refusal is None) == delivers
        if delivers:
            assert decision.protection in {path(cell, channel) for channel in decision.channels}
        if decision.action is Action.ASK:
            assert cell.wish is Wish.ASK
            assert decision.offered
            assert decision.refusal is Refusal.CONSENT_REQUIRED
            assert decision.keep is Keep.NOTHING
        if cell.wish is Wish.REFUSE:
            assert decision.action is not Action.HOLD


@pytest.mark.attack("A11")
def test_made_up_failures_open_nothing(proven: ProvenPolicy) -> None:
    held = 0
    for cell, decision in all_cells(proven):
        if cell.cause is Cause.UNAUTHENTICATED_FAILURE:
            assert SMS not in decision.channels
            assert decision.offered == ()
            assert decision.fall is Fall.NOT_A_FALL
            assert decision.action in {Action.DELIVER, Action.HOLD, Action.REFUSE}
            held += decision.action is Action.HOLD
    assert (held > 0) == (proven.policy.name != "high-risk")


def test_a_signed_failure_gets_its_question(asking: ProvenPolicy) -> None:
    asked = asking.decide(readable(ways=Ways.of(SMS), cause=Cause.SECURE_FAILED))
    assert (asked.action, asked.offered) == (Action.ASK, (SMS,))


@pytest.mark.attack("A4")
def test_a_suppressed_capability_puts_nothing_clear_on_offer(asking: ProvenPolicy) -> None:
    for floor in Protection:
        held = asking.decide(sealed(ways=Ways.of(SMS), floor=floor))
        assert (held.action, held.offered, held.keep) == (Action.HOLD, (), Keep.SEALED_UNTIL_DELIVERED)
        assert held.refusal is Refusal.SECURE_PATH_MISSING
    # Beside it: what the peer's own signed list says is believed, and asked about.
    fitting = asking.decide(sealed(ways=Ways.of(SMS), cause=Cause.NOT_REACHABLE_ATTESTED))
    assert (fitting.action, fitting.offered, fitting.channels) == (Action.ASK, (SMS,), ())


@pytest.mark.attack("A16")
def test_a_claim_is_no_way_around_archive_and_moderation(proven: ProvenPolicy) -> None:
    for claim in (Claim.E2EE_AUTHORISED, Claim.E2EE_FOREIGN):
        refused = proven.decide(readable(claim=claim, floor=P.CLEAR))
        assert (refused.action, refused.refusal) == (Action.REFUSE, Refusal.CLAIM_CONTRADICTS_BODY)
        assert refused.keep is Keep.NOTHING
    framed = proven.decide(readable(framing=Framing.VALID, floor=P.CLEAR))
    assert (framed.action, framed.refusal) == (Action.REFUSE, Refusal.CLAIM_CONTRADICTS_BODY)
    # Claimed E2EE that is not MLS: set apart, never opened; and a true one bound for a readable route: not sent.
    for framing in (Framing.INVALID, Framing.ABSENT):
        apart = proven.decide(sealed(framing=framing))
        assert (apart.action, apart.refusal) == (Action.QUARANTINE, Refusal.E2EE_NOT_FRAMED)
        assert apart.indicator is Indicator.QUARANTINED
    assert proven.decide(sealed(ways=Ways.of(SMS), floor=P.CLEAR)).channels == ()
    # Beside them: the same body without a claim, and the same claim on a sealed body.
    plain = proven.decide(readable(traffic=Traffic.NOTIFICATION, floor=P.CLEAR))
    sent = (Action.DELIVER, (SMS,))
    assert (plain.action, plain.channels) == ((Action.REFUSE, ()) if proven.policy.name == "high-risk" else sent)
    assert proven.decide(sealed()).channels == (RELAY,)


def test_claims_from_elsewhere_are_refused_unopened(proven: ProvenPolicy) -> None:
    for framing in Framing:
        foreign = proven.decide(sealed(claim=Claim.E2EE_FOREIGN, framing=framing))
        assert (foreign.action, foreign.refusal) == (Action.REFUSE, Refusal.CLAIM_NOT_AUTHORISED)
    for framing in (Framing.INVALID, Framing.ABSENT):
        bare = proven.decide(sealed(claim=Claim.NONE, framing=framing))
        assert (bare.action, bare.refusal) == (Action.REFUSE, Refusal.E2EE_NOT_FRAMED)
    assert proven.decide(sealed(claim=Claim.NONE)).action is Action.DELIVER


def test_what_each_grade_is_shown_as(proven: ProvenPolicy) -> None:
    shown = {grade: proven.decide(sealed(grade=grade)).indicator for grade in EvidenceGrade}
    assert shown == {
        EvidenceGrade.NONE: Indicator.E2EE_CLAIMED,
        EvidenceGrade.ASSERTED: Indicator.E2EE_CLAIMED,
        EvidenceGrade.FRAMED: Indicator.E2EE_FRAMED,
        EvidenceGrade.TRACKED: Indicator.E2EE_GROUP_CHECKED,
        EvidenceGrade.ATTESTED: Indicator.E2EE_RECEIPT_CHECKED,
    }
    assert not any("verified" in indicator.text.lower() for indicator in Indicator)
    assert len({indicator.text for indicator in Indicator}) == len(Indicator)
    assert all(indicator.text.count(". ") <= 1 for indicator in Indicator)


def test_the_downgrade_of_the_walkthrough() -> None:
    """A conversation at E2EE, a readable message, SMS alone: refused, asked, then sent on a person's word."""
    standard = prove(profile_source("standard"), ROWS)
    refused = standard.decide(readable(on_downgrade=OnDowngrade.REFUSE))
    assert (refused.action, refused.refusal, refused.keep) == (Action.REFUSE, Refusal.BELOW_FLOOR, Keep.NOTHING)
    asked = standard.decide(readable())
    assert (asked.action, asked.offered, asked.keep) == (Action.ASK, (SMS,), Keep.NOTHING)
    held = standard.decide(readable(on_downgrade=OnDowngrade.HOLD))
    assert (held.action, held.keep) == (Action.HOLD, Keep.SHREDDABLE_WHILE_HELD)
    assert held.retention_ms == 1440 * 60_000
    mute = standard.decide(readable(face=Face.CANNOT_ASK))
    assert (mute.action, mute.rule) == (Action.HOLD, "fallback.cannot_ask")
    yes = standard.decide(readable(consent=Consent.TENANT_ASSERTED))
    assert (yes.action, yes.channels, yes.fall) == (Action.DELIVER, (SMS,), Fall.CONSENTED)
    assert yes.indicator is Indicator.FELL_BY_TENANT
    assert (yes.protection, yes.keep) == (P.CLEAR, Keep.SHREDDABLE_UNTIL_SENT)
    signed = standard.decide(readable(consent=Consent.DEVICE_SIGNED))
    assert signed.indicator is Indicator.FELL_BY_DEVICE
    device = standard.decide(readable(submission=Submission.DEVICE_SESSION, consent=Consent.TENANT_ASSERTED))
    assert device.action is Action.ASK
    nowhere = standard.decide(readable(ways=Ways.of()))
    assert (nowhere.action, nowhere.refusal) == (Action.HOLD, Refusal.NO_ROUTE)


def test_answered_sealed_messages_are_not_asked_about_again(asking: ProvenPolicy) -> None:
    facts = {"ways": Ways.of(SMS), "cause": Cause.SECURE_FAILED}
    assert asking.decide(sealed(**facts)).action is Action.ASK
    assert asking.decide(sealed(**facts, consent=Consent.DEVICE_SIGNED)).action is Action.HOLD


def test_the_consumer_takes_no_word_but_the_devices() -> None:
    consumer = prove(profile_source("consumer"), ROWS)
    assert consumer.decide(readable(consent=Consent.TENANT_ASSERTED)).action is Action.ASK
    assert consumer.decide(readable(consent=Consent.DEVICE_SIGNED)).fall is Fall.CONSENTED


def test_high_risk_takes_sealed_messages_and_nothing_else() -> None:
    proven = prove(profile_source("high-risk"), ROWS)
    assert proven.policy.metadata.traces == Traces(
        Times.QUARTER_HOUR, SenderKept.NOT_STORED, LedgerRhythm.EACH_INTERVAL
    )
    assert proven.decide(sealed()).channels == (RELAY,)
    for cell, decision in all_cells(proven):
        if cell.envelope is Envelope.OPEN:
            assert decision.action is Action.REFUSE, cell.words
        assert decision.action not in {Action.ASK, Action.HOLD}
        assert SMS not in decision.channels
    # Beside it: the others keep exact times and the sender, and take readable messages.
    for name in ASKING:
        other = prove(profile_source(name), ROWS)
        assert other.policy.metadata.traces == USUAL
        assert other.decide(readable(floor=P.CLEAR, traffic=Traffic.NOTIFICATION)).channels == (SMS,)


def test_a_written_rule_allows_a_fall_and_says_why() -> None:
    proven = prove(file_with(allow()), ROWS)
    facts = readable(
        floor=P.PROVIDER, traffic=Traffic.NOTIFICATION, cause=Cause.NOT_REACHABLE_ATTESTED, face=Face.CANNOT_ASK
    )
    allowed = proven.decide(facts)
    assert (allowed.action, allowed.fall, allowed.rule) == (Action.DELIVER, Fall.POLICY_ALLOWED, "allow.notice-by-sms")
    assert allowed.indicator is Indicator.FELL_BY_POLICY
    assert any("A notice that finds no device may go by SMS." in line for line in proven.explain(facts).sentences)
    assert proven.unused == ()
    # Beside it: without the rule, with another cause, with a higher floor.
    assert prove(profile_source("standard"), ROWS).decide(facts).action is Action.HOLD
    for other in (
        readable(floor=P.PROVIDER, traffic=Traffic.NOTIFICATION, cause=Cause.SECURE_FAILED),
        readable(floor=P.E2EE, traffic=Traffic.NOTIFICATION, cause=Cause.NOT_REACHABLE_ATTESTED),
        readable(floor=P.PROVIDER, traffic=Traffic.CONVERSATION, cause=Cause.NOT_REACHABLE_ATTESTED),
    ):
        assert proven.decide(other).action is Action.ASK


def test_a_rule_that_no_message_can_use_is_reported() -> None:
    assert prove(file_with(allow(floors='["CLEAR"]')), ROWS).unused == ("notice-by-sms",)


def test_e2ee_first_is_one_toggle() -> None:
    """S43: the very next message is decided otherwise."""
    facts = readable(floor=P.CLEAR, ways=Ways.of(RELAY, SMS))
    off = prove(file_with("e2ee_first = false"), ROWS)
    on = prove(file_with("e2ee_first = true"), ROWS)
    assert off.decide(facts).channels == (RELAY, SMS)
    assert on.decide(facts).action is Action.ASK
    assert on.decide(sealed(floor=P.CLEAR)).channels == (RELAY,)
    assert off.hash != on.hash
    # Strongest first, whatever order the file prefers; without the toggle the file's order counts.
    text = '[routing]\nnotification = ["sms", "relay"]'
    notice = readable(floor=P.CLEAR, ways=Ways.of(RELAY, SMS), traffic=Traffic.NOTIFICATION)
    assert prove(file_with("e2ee_first = true\n" + text), ROWS).decide(notice).channels == (RELAY, SMS)
    assert prove(file_with(text), ROWS).decide(notice).channels == (SMS, RELAY)


@pytest.mark.attack("A19")
def test_sideways_is_a_fall() -> None:
    moves = ((P.ENCLAVE, P.ESCROWED), (P.ESCROWED, P.ENCLAVE))
    for floor, ceiling in moves:
        rows = (row(RELAY, ceiling), row(SMS, P.CLEAR))
        assert prove(profile_source("high-risk"), rows).decide(sealed(floor=floor)).action is Action.REFUSE
        for name in ASKING:
            proven = prove(profile_source(name), rows)
            sideways = 0
            for cell, decision in proven.table():
                if cell.envelope is Envelope.SEALED and cell.floor is floor and RELAY in decision.channels:
                    assert decision.fall is Fall.CONSENTED, cell.words
                    sideways += 1
            assert sideways > 0
            asked = proven.decide(sealed(floor=floor))
            assert (asked.action, asked.offered) == (Action.ASK, (RELAY,))
            agreed = proven.decide(sealed(floor=floor, consent=Consent.DEVICE_SIGNED))
            assert (agreed.fall, agreed.protection) == (Fall.CONSENTED, ceiling)
            # Beside it: the same path under its own floor is no fall.
            notice = proven.decide(sealed(floor=ceiling, traffic=Traffic.NOTIFICATION))
            assert (notice.fall, notice.channels) == (Fall.NOT_A_FALL, (RELAY,))


def test_an_unknown_path_is_taken_only_on_a_persons_word() -> None:
    rows = (row(RELAY, P.E2EE), row(SMS, P.UNKNOWN))
    assert all(SMS not in decision.channels for _, decision in prove(profile_source("high-risk"), rows).table())
    for name in ASKING:
        proven = prove(profile_source(name), rows)
        taken = [
            (cell, decision)
            for cell, decision in proven.table()
            if SMS in decision.channels and cell.envelope is Envelope.OPEN
        ]
        assert taken
        assert all(decision.fall is Fall.CONSENTED for _, decision in taken)
        assert all(cell.answer is not Answer.NONE for cell, _ in taken)
        assert proven.decide(readable(floor=P.CLEAR)).action is Action.ASK


def test_policy_shows_the_words_and_texts_of_assurance_and_never_verified() -> None:
    shared = {one.value: one for one in Shown}
    own = {one for one in Indicator if one.value not in shared}
    assert own == {
        Indicator.FELL_BY_DEVICE, Indicator.FELL_BY_TENANT, Indicator.FELL_BY_POLICY, Indicator.NEEDS_ANSWER,
        Indicator.HELD, Indicator.REFUSED,
    }  # fmt: skip
    assert set(shared) - {one.value for one in Indicator} == {Shown.E2EE_VERIFIED.value}
    assert all(one.text == shared[one.value].text for one in set(Indicator) - own)
    assert {key: one.value for key, one in PATH_SHOWN.items()} == {key: one.value for key, one in BY_PROTECTION.items()}
