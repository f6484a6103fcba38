"""Evidence to grade: the two-sided rule, the route's ceiling, and what is never shown."""

import json
from dataclasses import replace
from itertools import product

import pytest

from letterlock.assurance.assess import GATEWAY, Assessment, Path, assess, display, security_block
from letterlock.assurance.evidence import (
    CLASSES,
    Attestation,
    Claim,
    DeviceSays,
    Envelope,
    Finding,
    Form,
    Framing,
    Marker,
    Session,
    Source,
    Standing,
    Subject,
    TrackedGroup,
    every_class,
    number,
)
from letterlock.assurance.framing import Binding, letterlock_framing, rcc16_framing
from letterlock.assurance.indicator import BY_GRADE, BY_PROTECTION, Indicator
from letterlock.model.bodies import SealedBody, SealedKind, sealed_by_parser
from letterlock.model.capability import CapabilityRow, Channel, Exposure, Reader
from letterlock.model.ids import DeviceId, MessageId
from letterlock.model.protection import EvidenceGrade, MarkerKind, Protection, Verifier, permits, weakest

P = Protection
G = EvidenceGrade


def row(ceiling: Protection, evidence: EvidenceGrade = G.NONE, *readers: str) -> CapabilityRow:
    return CapabilityRow(
        channel=Channel.RELAY if ceiling is P.E2EE else Channel.SMS,
        title="a row",
        ceiling=ceiling,
        evidence=evidence,
        readers=tuple(Reader(name, frozenset({MarkerKind.READ}), signs=False) for name in readers),
        features=frozenset(),
        storage="",
        metadata=Exposure.HIGH,
        use="",
        max_body=1000,
        source="",
        version=1,
    )


RELAY = Path.of(row(P.E2EE, G.ATTESTED))
SMS = Path.of(row(P.CLEAR, G.NONE, "the carrier"))
BUSINESS_RCS = Path.of(row(P.HOP, G.NONE, "the platform", "the hub"))
ROUTES = {
    "own relay": RELAY,
    "RCS for Business": BUSINESS_RCS,
    "aggregator": Path.of(row(P.HOP, G.NONE, "the aggregator"), row(P.HOP, G.NONE, "the platform")),
    "carrier hub": Path.of(row(P.E2EE, G.FRAMED), row(P.HOP, G.NONE, "the hub")),
    "provider": Path.of(row(P.PROVIDER, G.ASSERTED, "the provider")),
    "SMS": SMS,
    "escrow": Path.of(row(P.ESCROWED, G.FRAMED, "the quorum")),
    "enclave": Path.of(row(P.ENCLAVE, G.FRAMED, "the enclave")),
    "enclave and escrow": Path.of(row(P.ENCLAVE, G.FRAMED), row(P.ESCROWED, G.FRAMED)),
    "nothing known": Path.of(),
}
DEVICE = Session(Source.LISTED_DEVICE, Standing.AUTHORISED)
TENANT_API = Session(Source.TENANT_API, Standing.AUTHORISED)
SEALED = Envelope(Form.SEALED, Claim.E2EE, Framing.LETTERLOCK)
OPEN = Envelope(Form.OPEN, Claim.NONE, Framing.ABSENT)
_CHECKED = {BY_GRADE[grade] for grade in (G.FRAMED, G.TRACKED, G.ATTESTED)}
SUBJECT = Subject(MessageId(bytes(16)), b"group", 7)


def body(kind: SealedKind = SealedKind.PRIVATE_APPLICATION) -> SealedBody:
    return sealed_by_parser(b"ciphertext", kind, b"group", 7, b"")


def test_the_common_case() -> None:
    seen = assess(SEALED, DEVICE, RELAY)
    assert (seen.handle_as, seen.show_as, seen.grade, seen.verifier) == (P.E2EE, P.E2EE, G.FRAMED, Verifier.GATEWAY)
    assert (seen.readers, seen.markers, seen.finding, seen.indicator) == ((), (), None, Indicator.E2EE_FRAMED)
    assert assess(SEALED, DEVICE, RELAY) is seen


def test_every_class_has_a_place_of_its_own() -> None:
    classes = every_class()
    assert len(classes) == CLASSES == 3 * 2 * 4 * 5 * 2
    assert [number(*one) for one in classes] == list(range(CLASSES))


def test_open_content_names_this_gateway_as_a_reader() -> None:
    for name, path in ROUTES.items():
        for session in (DEVICE, TENANT_API):
            seen = assess(OPEN, session, path)
            assert seen.readers[0] == GATEWAY
            assert seen.show_as is weakest((P.PROVIDER, path.ceiling)), name
            assert seen.handle_as is seen.show_as
            assert seen.grade is G.NONE
            assert seen.verifier is Verifier.NOBODY
    assert assess(OPEN, DEVICE, RELAY).show_as is P.PROVIDER
    assert assess(OPEN, DEVICE, SMS).show_as is P.CLEAR
    assert assess(OPEN, DEVICE, SMS).readers == (GATEWAY, "the carrier")
    assert assess(SEALED, DEVICE, RELAY).readers == ()


# What our comparisons are worth, by who brings the message: once more, by hand.
WORTH = {
    Framing.ABSENT: (G.ASSERTED, G.ASSERTED, G.ASSERTED, G.NONE, G.ASSERTED),
    Framing.DIFFERS: (G.ASSERTED, G.ASSERTED, G.ASSERTED, G.NONE, G.ASSERTED),
    Framing.LETTERLOCK: (G.FRAMED, G.ASSERTED, G.ASSERTED, G.NONE, G.ASSERTED),
    Framing.RCC16: (G.FRAMED, G.FRAMED, G.FRAMED, G.FRAMED, G.FRAMED),
}
READ = {P.CLEAR, P.HOP, P.PROVIDER}


def told(path: Path, envelope: Envelope, session: Session) -> tuple[object, ...]:
    """What must be said of a message: handled as, shown as, grade, finding, indicator."""
    if envelope.form is Form.OPEN:
        show = weakest([P.PROVIDER, path.ceiling])
        claimed = envelope.claim is Claim.E2EE or envelope.framing in {
            Framing.DIFFERS,
            Framing.LETTERLOCK,
            Framing.RCC16,
        }
        if claimed:
            return P.E2EE, show, G.NONE, Finding.CLAIM_CONTRADICTS_BODY, BY_PROTECTION[show]
        return show, show, G.NONE, None, BY_PROTECTION[show]
    unknown = path.ceiling if path.ceiling in READ else weakest([P.UNKNOWN, path.ceiling])
    if envelope.form is Form.UNPARSED:
        return P.E2EE, unknown, G.NONE, Finding.NOT_MLS, Indicator.QUARANTINED
    if session.standing is Standing.FOREIGN:
        return P.E2EE, unknown, G.NONE, Finding.CLAIM_NOT_AUTHORISED, BY_PROTECTION[unknown]
    if path.ceiling in READ:
        return P.E2EE, path.ceiling, G.NONE, Finding.CLAIM_ABOVE_ROUTE, BY_PROTECTION[path.ceiling]
    grade = WORTH[envelope.framing][list(Source).index(session.source)]
    grade = min(grade, path.evidence, key=list(G).index)
    finding = Finding.FRAMING_DIFFERS if envelope.framing is Framing.DIFFERS else None
    if grade in {G.NONE, G.ASSERTED}:
        shown = Indicator.E2EE_CLAIMED if grade is G.ASSERTED and unknown is P.UNKNOWN else BY_PROTECTION[unknown]
        return P.E2EE, unknown, grade, finding, shown
    show = path.ceiling
    return P.E2EE, show, grade, finding, BY_GRADE[grade] if show is P.E2EE else BY_PROTECTION[show]


@pytest.mark.attack("A3", "A16")
@pytest.mark.parametrize("name", ROUTES)
def test_every_class_on_every_route_is_told_once_more(name: str) -> None:
    known = ROUTES[name]
    for checker in (Verifier.GATEWAY, Verifier.DEVICE):
        path = Path(known.rows, known.markers, checker)
        assert (path.ceiling, path.evidence, path.readers) == (known.ceiling, known.evidence, known.readers)
        for envelope, session in every_class():
            seen = assess(envelope, session, path)
            assert (seen.handle_as, seen.show_as, seen.grade, seen.finding, seen.indicator) == told(
                path, envelope, session
            )
            assert seen.verifier is (checker if seen.grade is G.FRAMED else Verifier.NOBODY)
            assert seen.readers == ((GATEWAY, *path.readers) if envelope.form is Form.OPEN else path.readers)
            assert (seen.framing, seen.markers) == (envelope.framing, ())


def test_a_path_is_as_good_as_its_worst_row() -> None:
    path = Path.of(row(P.E2EE, G.ATTESTED), row(P.ESCROWED, G.FRAMED, "the quorum"), row(P.E2EE, G.TRACKED))
    assert (path.ceiling, path.evidence, path.readers) == (P.ESCROWED, G.FRAMED, ("the quorum",))
    nothing = Path.of()
    assert (nothing.ceiling, nothing.evidence, nothing.readers, nothing.rows) == (P.UNKNOWN, G.NONE, (), ())


@pytest.mark.parametrize("name", ROUTES)
def test_nothing_is_ever_shown_above_the_route(name: str) -> None:
    """S87, over every class of facts, route and statement."""
    path = ROUTES[name]
    tracked = TrackedGroup(b"group", 7, Verifier.GATEWAY)
    attested = Attestation(SUBJECT.message_id, DeviceId(bytes(16)), 1, Verifier.DEVICE)
    for (envelope, session), says, subject in product(every_class(), DeviceSays, (None, SUBJECT)):
        seen = assess(envelope, session, path, says=says, tracked=tracked, attested=attested, subject=subject)
        assert weakest((seen.show_as, path.ceiling)) is seen.show_as
        assert seen.show_as is P.UNKNOWN or permits(seen.show_as, path.ceiling)
        if seen.show_as is P.E2EE:
            assert path.ceiling is P.E2EE
            assert seen.grade.rank >= G.FRAMED.rank
            assert envelope.form is Form.SEALED
            assert session.standing is Standing.AUTHORISED
            assert seen.finding is None
        if envelope.form is not Form.OPEN or envelope.claim is Claim.E2EE:
            assert seen.handle_as is P.E2EE, "claimed E2EE is handled so, whatever is shown"
        if says is DeviceSays.NOT_E2EE:
            assert seen.show_as in {P.CLEAR, P.HOP, P.UNKNOWN}
            assert seen.grade is G.NONE
        if says is DeviceSays.E2EE and subject is None:
            assert seen is assess(envelope, session, path), "a statement never raises"
        assert display(seen) is not Indicator.E2EE_VERIFIED
        assert seen.finding is None or seen.indicator not in _CHECKED


@pytest.mark.parametrize("name", [name for name in ROUTES if name != "own relay"])
def test_a_claim_on_a_readable_route_shows_the_route(name: str) -> None:
    path = ROUTES[name]
    for envelope in (SEALED, Envelope(Form.OPEN, Claim.E2EE, Framing.ABSENT)):
        seen = assess(envelope, DEVICE, path, says=DeviceSays.E2EE)
        assert seen.show_as is not P.E2EE
        assert seen.handle_as is P.E2EE
    assert assess(SEALED, DEVICE, RELAY, says=DeviceSays.E2EE).show_as is P.E2EE


@pytest.mark.attack("A16")
def test_claims_that_contradict_are_findings() -> None:
    cases = [
        (Envelope(Form.OPEN, Claim.E2EE, Framing.ABSENT), DEVICE, RELAY, Finding.CLAIM_CONTRADICTS_BODY),
        (Envelope(Form.OPEN, Claim.NONE, Framing.RCC16), DEVICE, RELAY, Finding.CLAIM_CONTRADICTS_BODY),
        (Envelope(Form.UNPARSED, Claim.E2EE, Framing.ABSENT), DEVICE, RELAY, Finding.NOT_MLS),
        (Envelope(Form.UNPARSED, Claim.NONE, Framing.ABSENT), DEVICE, SMS, Finding.NOT_MLS),
        (SEALED, DEVICE, SMS, Finding.CLAIM_ABOVE_ROUTE),
        (SEALED, Session(Source.LISTED_DEVICE, Standing.FOREIGN), RELAY, Finding.CLAIM_NOT_AUTHORISED),
        (Envelope(Form.SEALED, Claim.E2EE, Framing.DIFFERS), DEVICE, RELAY, Finding.FRAMING_DIFFERS),
        (SEALED, DEVICE, RELAY, None),
        (OPEN, DEVICE, SMS, None),
    ]
    for envelope, session, path, finding in cases:
        assert assess(envelope, session, path).finding is finding
    quarantined = assess(Envelope(Form.UNPARSED, Claim.E2EE, Framing.ABSENT), DEVICE, RELAY)
    assert (quarantined.handle_as, quarantined.show_as, quarantined.indicator) == (
        P.E2EE,
        P.UNKNOWN,
        Indicator.QUARANTINED,
    )


def test_who_brings_it_decides_what_our_framing_is_worth() -> None:
    cases = [
        (Framing.LETTERLOCK, Source.LISTED_DEVICE, G.FRAMED),
        (Framing.LETTERLOCK, Source.UNLISTED_DEVICE, G.ASSERTED),
        (Framing.LETTERLOCK, Source.TENANT_API, G.ASSERTED),
        (Framing.LETTERLOCK, Source.NETWORK, G.NONE),
        (Framing.RCC16, Source.NETWORK, G.FRAMED),
        (Framing.ABSENT, Source.LISTED_DEVICE, G.ASSERTED),
        (Framing.DIFFERS, Source.LISTED_DEVICE, G.ASSERTED),
        (Framing.DIFFERS, Source.NETWORK, G.NONE),
    ]
    for framing, source, grade in cases:
        envelope = Envelope(Form.SEALED, Claim.E2EE, framing)
        assert assess(envelope, Session(source, Standing.AUTHORISED), RELAY).grade is grade
        foreign = assess(envelope, Session(source, Standing.FOREIGN), RELAY)
        assert (foreign.grade, foreign.show_as, foreign.verifier) == (G.NONE, P.UNKNOWN, Verifier.NOBODY)
    asserted = assess(SEALED, TENANT_API, RELAY)
    assert (asserted.handle_as, asserted.show_as) == (P.E2EE, P.UNKNOWN)
    assert asserted.indicator is Indicator.E2EE_CLAIMED


def test_a_row_caps_the_grade() -> None:
    capped = Path.of(row(P.E2EE, G.ASSERTED))
    seen = assess(SEALED, DEVICE, capped)
    assert (seen.grade, seen.show_as) == (G.ASSERTED, P.UNKNOWN)
    assert assess(SEALED, DEVICE, RELAY).grade is G.FRAMED


def test_higher_grades_demand_evidence_about_this_message() -> None:
    tracked = TrackedGroup(b"group", 7, Verifier.THIRD_PARTY)
    attested = Attestation(SUBJECT.message_id, DeviceId(bytes(16)), 3, Verifier.GATEWAY)

    def grade(envelope: Envelope = SEALED, path: Path = RELAY, **evidence: object) -> EvidenceGrade:
        return assess(envelope, DEVICE, path, subject=SUBJECT, **evidence).grade  # type: ignore[arg-type]

    assert grade() is G.FRAMED
    assert grade(tracked=tracked) is G.TRACKED
    assert grade(attested=attested) is G.ATTESTED
    assert grade(tracked=tracked, attested=attested) is G.ATTESTED
    assert grade(tracked=replace(tracked, epoch=8)) is G.FRAMED
    assert grade(tracked=replace(tracked, group_id=b"other")) is G.FRAMED
    assert grade(attested=replace(attested, message_id=MessageId(bytes([1]) * 16))) is G.FRAMED
    differs = Envelope(Form.SEALED, Claim.E2EE, Framing.DIFFERS)
    assert grade(differs, tracked=tracked, attested=attested) is G.ASSERTED
    framed_only = Path.of(row(P.E2EE, G.FRAMED))
    assert grade(path=framed_only, tracked=tracked, attested=attested) is G.FRAMED
    to_tracked = Path.of(row(P.E2EE, G.TRACKED))
    assert grade(path=to_tracked, attested=attested) is G.FRAMED
    assert grade(path=to_tracked, tracked=tracked, attested=attested) is G.TRACKED
    assert assess(SEALED, DEVICE, RELAY, tracked=tracked, attested=attested).grade is G.FRAMED
    raised = assess(SEALED, DEVICE, RELAY, subject=SUBJECT, tracked=tracked)
    assert (raised.verifier, raised.indicator) == (Verifier.THIRD_PARTY, Indicator.E2EE_GROUP_CHECKED)


@pytest.mark.attack("A3")
def test_plaintext_in_a_shell_is_never_shown_as_verified() -> None:
    """To a relay the shell passes every comparison: the words must not say more than the framing."""
    shell = sealed_by_parser(b"plain words in a shell", SealedKind.PRIVATE_APPLICATION, b"group", 7, b"")
    framing = letterlock_framing(
        shell, b"group", 7, SealedKind.PRIVATE_APPLICATION, Binding.BY_SESSION, SUBJECT.message_id
    )
    envelope = Envelope(Form.SEALED, Claim.E2EE, framing)
    tracked = TrackedGroup(b"group", 7, Verifier.GATEWAY)
    for seen in (
        assess(envelope, DEVICE, RELAY),
        assess(envelope, DEVICE, RELAY, subject=SUBJECT, tracked=tracked),
        assess(envelope, DEVICE, Path.of(row(P.E2EE, G.ATTESTED), checked_by=Verifier.DEVICE)),
    ):
        for viewer in Verifier:
            assert display(seen, viewer) is not Indicator.E2EE_VERIFIED
            assert "verified" not in display(seen, viewer).text
        assert "verified" not in json.dumps(security_block(seen))
    attested = Attestation(SUBJECT.message_id, DeviceId(bytes(16)), 1, Verifier.DEVICE)
    genuine = assess(SEALED, DEVICE, RELAY, subject=SUBJECT, attested=attested)
    assert display(genuine, Verifier.DEVICE) is Indicator.E2EE_VERIFIED


@pytest.mark.attack("A3")
def test_verified_is_for_the_viewers_own_check_alone() -> None:
    shown = {}
    for checker, viewer in product(Verifier, Verifier):
        attested = Attestation(SUBJECT.message_id, DeviceId(bytes(16)), 1, checker)
        seen = assess(SEALED, DEVICE, RELAY, subject=SUBJECT, attested=attested)
        shown[checker, viewer] = display(seen, viewer)
    assert [pair for pair, indicator in shown.items() if indicator is Indicator.E2EE_VERIFIED] == [
        (Verifier.DEVICE, Verifier.DEVICE)
    ]
    assert set(shown.values()) == {Indicator.E2EE_VERIFIED, Indicator.E2EE_RECEIPT_CHECKED}


def test_a_statement_of_the_platform_only_lowers() -> None:
    lowered = assess(SEALED, DEVICE, RELAY, says=DeviceSays.NOT_E2EE)
    assert (lowered.show_as, lowered.grade, lowered.indicator) == (P.HOP, G.NONE, Indicator.SERVER_READS)
    assert lowered.verifier is Verifier.NOBODY
    apart = assess(Envelope(Form.UNPARSED, Claim.E2EE, Framing.ABSENT), DEVICE, ROUTES["provider"])
    stays = assess(
        Envelope(Form.UNPARSED, Claim.E2EE, Framing.ABSENT), DEVICE, ROUTES["provider"], says=DeviceSays.NOT_E2EE
    )
    assert (apart.show_as, stays.show_as) == (P.PROVIDER, P.HOP)
    assert (apart.indicator, stays.indicator) == (Indicator.QUARANTINED, Indicator.QUARANTINED)
    assert lowered.handle_as is P.E2EE
    assert assess(SEALED, DEVICE, RELAY, says=DeviceSays.E2EE).show_as is P.E2EE
    assert assess(OPEN, DEVICE, SMS, says=DeviceSays.NOT_E2EE) == assess(OPEN, DEVICE, SMS)


def test_a_marker_that_reads_lowers_the_path_and_names_the_reader() -> None:
    routing = Marker("relay.example", frozenset({MarkerKind.ROUTE, MarkerKind.STORE}))
    reading = Marker("filter.example", frozenset({MarkerKind.PROCESS}))
    blind = assess(SEALED, DEVICE, Path.of(row(P.E2EE, G.FRAMED), markers=(routing,)))
    assert (blind.show_as, blind.readers, blind.markers) == (P.E2EE, (), (routing,))
    read = assess(SEALED, DEVICE, Path.of(row(P.E2EE, G.FRAMED), markers=(routing, reading)))
    assert (read.show_as, read.readers, read.finding) == (
        P.PROVIDER,
        ("filter.example",),
        Finding.CLAIM_ABOVE_ROUTE,
    )


def test_our_profile_compares_everything_that_was_declared() -> None:
    good = MessageId(bytes(16))
    kind = SealedKind.PRIVATE_APPLICATION
    cases = [
        (letterlock_framing(body(), b"group", 7, kind, Binding.BY_SESSION, good), Framing.LETTERLOCK),
        (letterlock_framing(body(), b"group", 7, kind, Binding.BY_SESSION, good, good), Framing.LETTERLOCK),
        (letterlock_framing(body(), b"other", 7, kind, Binding.BY_SESSION, good), Framing.DIFFERS),
        (letterlock_framing(body(), b"group", 6, kind, Binding.BY_SESSION, good), Framing.DIFFERS),
        (
            letterlock_framing(body(), b"group", 7, SealedKind.PRIVATE_COMMIT, Binding.BY_SESSION, good),
            Framing.DIFFERS,
        ),
        (letterlock_framing(body(), b"group", 7, kind, Binding.ABSENT, good), Framing.DIFFERS),
        (
            letterlock_framing(body(), b"group", 7, kind, Binding.BY_SESSION, good, MessageId(bytes([1]) * 16)),
            Framing.DIFFERS,
        ),
    ]
    for seen, expected in cases:
        assert seen is expected


def test_rcc16_needs_both_headers_and_the_authenticated_data() -> None:
    good: dict[str, object] = {
        "cpim_era": 1,
        "cpim_authenticator": bytes(32),
        "cpim_message_id": "Mx1",
        "aad_message_id": "Mx1",
        "aad_era": 1,
    }

    def framing(sealed: SealedBody | None = None, /, **changed: object) -> Framing:
        return rcc16_framing(sealed or body(), **(good | changed))  # type: ignore[arg-type]

    assert framing() is Framing.RCC16
    assert framing(known_authenticator=bytes(32)) is Framing.RCC16
    assert framing(known_authenticator=bytes([1]) * 32) is Framing.DIFFERS
    for name, value in (
        ("cpim_era", None),
        ("cpim_era", 2),
        ("cpim_authenticator", None),
        ("cpim_authenticator", bytes(31)),
        ("cpim_message_id", None),
        ("cpim_message_id", "Mx2"),
        ("aad_message_id", None),
        ("aad_era", None),
        ("aad_era", 2),
    ):
        assert framing(None, **{name: value}) is Framing.DIFFERS, name
    assert framing(cpim_message_id=None, aad_message_id=None) is Framing.DIFFERS
    assert framing(cpim_era=None, aad_era=None) is Framing.DIFFERS
    assert framing(body(SealedKind.PRIVATE_COMMIT)) is Framing.DIFFERS


def test_the_security_block_has_stable_names_and_json_types() -> None:
    marker = Marker("relay.example", frozenset({MarkerKind.STORE, MarkerKind.ROUTE}))
    seen = assess(SEALED, DEVICE, Path.of(row(P.E2EE, G.FRAMED), markers=(marker,)))
    block = security_block(seen)
    assert block == {
        "protection": "E2EE",
        "grade": "FRAMED",
        "verifier": "gateway",
        "handled_as": "E2EE",
        "framing": "letterlock",
        "readers": [],
        "markers": [{"server": "relay.example", "kinds": ["ROUTE", "STORE"]}],
        "finding": None,
        "indicator": "indicator.e2ee_framed",
    }
    assert json.loads(json.dumps(block)) == block
    assert security_block(seen) is not block
    assert security_block(assess(Envelope(Form.OPEN, Claim.E2EE, Framing.ABSENT), DEVICE, SMS))["finding"] == (
        "claim_contradicts_body"
    )


def test_blocks_tell_the_classes_apart() -> None:
    """S9: every two protections, and every two grades, differ on every surface."""
    seen = assess(SEALED, DEVICE, RELAY)
    by_protection = {json.dumps(security_block(replace(seen, show_as=one))) for one in Protection}
    by_grade = {json.dumps(security_block(replace(seen, grade=one))) for one in EvidenceGrade}
    assert (len(by_protection), len(by_grade)) == (len(Protection), len(EvidenceGrade))
    assert set(BY_PROTECTION) == set(Protection) - {P.E2EE}
    assert len(set(BY_PROTECTION.values())) == len(BY_PROTECTION)
    assert len(set(BY_GRADE.values())) == len(BY_GRADE) == len(EvidenceGrade)
    assert not any(isinstance(value, bool) for value in security_block(seen).values())


def test_assessments_are_frozen() -> None:
    seen: Assessment = assess(SEALED, DEVICE, RELAY)
    assert seen.protection is seen.show_as
    with pytest.raises(AttributeError):
        seen.show_as = P.CLEAR  # type: ignore[misc]
