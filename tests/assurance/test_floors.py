"""Floors: what raises one, what lowers one, and that there is one per peer."""

from dataclasses import replace
from itertools import product

import pytest
from tests.assurance.samples import ACCOUNT, IDENTITY, OTHER_TENANT, TENANT, device, first_list
from tests.assurance.test_assess import DEVICE, OPEN, RELAY, SEALED, SMS, SUBJECT

from letterlock.assurance.assess import Assessment, assess
from letterlock.assurance.causes import ConsentScope
from letterlock.assurance.device_list import first
from letterlock.assurance.evidence import Attestation, Claim, Envelope, Finding, Form, Framing
from letterlock.assurance.floors import (
    Floor,
    FloorBasis,
    FloorError,
    FloorReason,
    all_permit,
    floor_key,
    handling,
    listed,
    lowered_by_consent,
    lowered_by_policy,
    observed,
    unset,
    verified_message,
)
from letterlock.model.ids import DeviceId, SubjectId
from letterlock.model.protection import ConsentKind, EvidenceGrade, Protection, Verifier, is_fall, permits

P = Protection
PEER = SubjectId(bytes([5]) * 16)
KEY = floor_key(TENANT, PEER)
ATTESTED = assess(
    SEALED,
    DEVICE,
    RELAY,
    subject=SUBJECT,
    attested=Attestation(SUBJECT.message_id, DeviceId(bytes(16)), 1, Verifier.GATEWAY),
)


def at(protection: Protection, basis: FloorBasis = FloorBasis.ATTESTED_MESSAGE) -> Floor:
    return Floor(KEY, protection, basis, 4)


def refused(reason: FloorReason) -> pytest.RaisesExc[FloorError]:
    return pytest.RaisesExc(FloorError, check=lambda error: error.reason is reason)


@pytest.mark.attack("A6")
def test_only_attested_evidence_raises_a_floor() -> None:
    """Every grade, shown protection and floor: a spoofed claim changes no floor."""
    for grade, shown, before in product(EvidenceGrade, Protection, Protection):
        seen = replace(ATTESTED, grade=grade, show_as=shown, handle_as=P.E2EE)
        after = observed(at(before), seen)
        if grade is not EvidenceGrade.ATTESTED:
            assert after == at(before)
        else:
            assert not is_fall(before, after.protection) or before is P.UNKNOWN
            assert after.version == 4 + (after.protection is not before)
    risen = observed(unset(KEY), ATTESTED)
    assert risen == Floor(KEY, P.E2EE, FloorBasis.ATTESTED_MESSAGE, 1)
    contradicted = replace(ATTESTED, finding=Finding.FRAMING_DIFFERS)
    assert observed(unset(KEY), contradicted) == unset(KEY)


def test_what_a_device_verified_itself_raises_its_own_floor() -> None:
    for before in Protection:
        raised = Floor(KEY, P.E2EE, FloorBasis.ATTESTED_MESSAGE, 5)
        assert verified_message(at(before)) == (at(before) if before is P.E2EE else raised)


@pytest.mark.attack("A6")
def test_a_claim_changes_handling_and_not_the_floor() -> None:
    spoofed: Assessment = assess(Envelope(Form.SEALED, Claim.E2EE, Framing.ABSENT), DEVICE, RELAY)
    clear = at(P.CLEAR, FloorBasis.POLICY)
    assert handling(clear, spoofed) is P.E2EE
    assert observed(clear, spoofed) is clear
    assert handling(at(P.E2EE), assess(OPEN, DEVICE, SMS)) is P.E2EE
    assert handling(unset(KEY), assess(OPEN, DEVICE, SMS)) is P.CLEAR


@pytest.mark.attack("A19")
def test_sideways_is_no_rise() -> None:
    for before, to in ((P.ENCLAVE, P.ESCROWED), (P.ESCROWED, P.ENCLAVE)):
        assert observed(at(before), replace(ATTESTED, show_as=to)) == at(before)
        assert lowered_by_policy(at(before), to).protection is to
    assert observed(at(P.ENCLAVE), ATTESTED).protection is P.E2EE


def test_a_signed_device_list_raises_when_all_devices_can() -> None:
    assert listed(unset(KEY), first_list(1, 2)) == Floor(KEY, P.E2EE, FloorBasis.SIGNED_DEVICE_LIST, 1)
    assert listed(at(P.E2EE), first_list(1)) == at(P.E2EE)
    assert listed(unset(KEY), first_list()) == unset(KEY)
    old = first(ACCOUNT, 0, IDENTITY.public, [device(1), device(2, capabilities=frozenset({"receipts"}))])
    assert listed(unset(KEY), old) == unset(KEY)


@pytest.mark.attack("A4")
def test_a_device_list_never_lowers_a_floor() -> None:
    old = first(ACCOUNT, 0, IDENTITY.public, [device(1), device(2, capabilities=frozenset())])
    for shown in (old, first_list(), first_list(1)):
        assert listed(at(P.E2EE), shown) == at(P.E2EE)


def test_only_consent_or_policy_lowers() -> None:
    assert lowered_by_policy(at(P.E2EE), P.CLEAR) == Floor(KEY, P.CLEAR, FloorBasis.POLICY, 5)
    for kind in ConsentKind:
        basis = FloorBasis.POLICY if kind is ConsentKind.POLICY else FloorBasis.CONSENT
        lowered = lowered_by_consent(at(P.E2EE), P.HOP, kind, ConsentScope.UNTIL_SECURE)
        assert lowered == Floor(KEY, P.HOP, basis, 5)
        with refused(FloorReason.CONSENT_FOR_ONE_MESSAGE):
            lowered_by_consent(at(P.E2EE), P.HOP, kind, ConsentScope.THIS_MESSAGE)
    for before, to in product(Protection, Protection):
        if to is P.UNKNOWN:
            with refused(FloorReason.NOT_A_FLOOR):
                lowered_by_policy(at(before), to)
        elif is_fall(before, to):
            assert lowered_by_policy(at(before), to).protection is to
        else:
            with pytest.raises(FloorError) as caught:
                lowered_by_policy(at(before), to)
            assert caught.value.reason is FloorReason.NOT_LOWER
            assert caught.value.facts == {"floor": before, "asked": to}


@pytest.mark.attack("A7", "A14")
def test_the_key_is_the_tenant_and_the_peer_and_nothing_else() -> None:
    """No conversation, group, era, alias or face is in the key, so none of them leads to another floor."""
    assert floor_key(TENANT, SubjectId(bytes([5]) * 16)) == KEY
    assert KEY._fields == ("tenant", "peer")
    assert floor_key(OTHER_TENANT, PEER) != KEY
    assert floor_key(TENANT, SubjectId(bytes([6]) * 16)) != KEY


@pytest.mark.attack("A7")
def test_a_group_is_as_strict_as_its_strictest_member() -> None:
    strict, lax, new = at(P.E2EE), at(P.CLEAR), unset(KEY)
    for path, default in product(Protection, Protection):
        assert all_permit([strict, lax], path, default) == permits(P.E2EE, path)
        assert all_permit([lax, new], path, default) == (permits(P.CLEAR, path) and permits(default, path))
