"""Absence is believed from a signature, or on record; everything else holds."""

from dataclasses import replace
from itertools import product

import pytest
from tests.assurance.handshake_world import devices_of
from tests.assurance.samples import ENVIRONMENT, OTHER_ACCOUNT, OTHER_TENANT, TENANT, device, key

from letterlock.assurance.causes import Cause
from letterlock.assurance.handshake.absence import (
    STATEMENT_AGE_MS,
    Absence,
    Contest,
    Logged,
    NoDevices,
    StatementError,
    StatementReason,
    cause,
    check_statement,
    may_ask,
    sign_statement,
)
from letterlock.model.ids import SubjectId
from letterlock.wire.preimage import KeyFamily

NOW = 1_750_000_000_000
SUBJECT = SubjectId(bytes([5]) * 16)
KEY = key(KeyFamily.SERVER_STATEMENT, 77)
STATEMENT = NoDevices(SUBJECT, 41, bytes([8]) * 32, NOW)
CAPABLE = devices_of(OTHER_ACCOUNT, device(2), device(3))
MIXED = devices_of(OTHER_ACCOUNT, device(2), device(3, capabilities=frozenset({"receipts"})))
EMPTY = devices_of(OTHER_ACCOUNT)


@pytest.mark.attack("A4")
def test_only_a_signature_or_the_record_makes_a_question_possible() -> None:
    """All combinations: whoever can be the relay, the network or nobody at all gets no question."""
    asking = {
        (absence, listed and len(listed.devices), known)
        for absence, listed, known in product(Absence, (None, CAPABLE, MIXED, EMPTY), (True, False))
        if may_ask(absence, listed, "mls10", known)
    }
    assert asking == {
        (Absence.SIGNED_LIST, 0, True),
        (Absence.SIGNED_LIST, 0, False),
        *((Absence.LOGGED_STATEMENT, count, False) for count in (None, 2, 0)),
    }


@pytest.mark.attack("A4")
def test_a_legacy_device_on_the_signed_list_waits() -> None:
    assert cause(Absence.SIGNED_LIST, MIXED, "mls10", known_before=False) is Cause.PEER_DEVICE_CANNOT
    assert cause(Absence.SIGNED_LIST, CAPABLE, "mls10", known_before=False) is Cause.HANDSHAKE_FAILED
    assert cause(Absence.SIGNED_LIST, EMPTY, "mls10", known_before=True) is Cause.PEER_HAS_NO_DEVICE
    assert not may_ask(Absence.SIGNED_LIST, MIXED, "mls10", known_before=False)


def test_who_was_seen_before_has_not_gone_because_somebody_says_so() -> None:
    for absence in set(Absence) - {Absence.SIGNED_LIST}:
        assert cause(absence, None, "mls10", known_before=True) is Cause.CAPABILITY_VANISHED
    assert cause(Absence.LOGGED_STATEMENT, None, "mls10", known_before=False) is Cause.NO_DEVICE_KNOWN
    assert cause(Absence.NEVER_STARTED, None, "mls10", known_before=False) is Cause.TIMED_OUT
    assert cause(Absence.CACHE, None, "mls10", known_before=False) is Cause.TIMED_OUT
    assert cause(Absence.RELAY, None, "mls10", known_before=False) is Cause.HANDSHAKE_FAILED
    assert cause(Absence.SIGNED_LIST, None, "mls10", known_before=False) is Cause.HANDSHAKE_FAILED


def test_a_statement_holds_where_it_was_made_and_for_a_day() -> None:
    signature = sign_statement(STATEMENT, TENANT, ENVIRONMENT, KEY)
    assert NoDevices.parse(STATEMENT.body()) == STATEMENT

    def check(**changed: object) -> StatementReason | None:
        told: dict[str, object] = {
            "statement": STATEMENT,
            "subject": SUBJECT,
            "tenant": TENANT,
            "environment": ENVIRONMENT,
            "key": KEY.public,
            "signature": signature,
            "logged": Logged.PROVEN,
            "contest": Contest.NONE,
            "now_ms": NOW + STATEMENT_AGE_MS,
        }
        try:
            check_statement(**(told | changed))  # type: ignore[arg-type]
        except StatementError as error:
            return error.reason
        return None

    assert check() is None
    assert check(now_ms=NOW) is None
    assert check(now_ms=NOW + STATEMENT_AGE_MS + 1) is StatementReason.TOO_OLD
    assert check(now_ms=NOW - 1) is StatementReason.TOO_OLD
    assert check(tenant=OTHER_TENANT) is StatementReason.SIGNATURE_REFUSED
    assert check(environment="other") is StatementReason.SIGNATURE_REFUSED
    assert check(key=key(KeyFamily.SERVER_STATEMENT, 78).public) is StatementReason.SIGNATURE_REFUSED
    assert check(statement=replace(STATEMENT, size=40)) is StatementReason.SIGNATURE_REFUSED
    assert check(subject=SubjectId(bytes(16))) is StatementReason.ANOTHER_SUBJECT
    assert check(logged=Logged.UNPROVEN) is StatementReason.NOT_IN_THE_LEDGER
    assert check(contest=Contest.CONTESTED) is StatementReason.CONTESTED
    for broken in (STATEMENT.body()[:-1], b"\2" + STATEMENT.body()[1:]):
        with pytest.raises(StatementError):
            NoDevices.parse(broken)
    with pytest.raises(StatementError):
        NoDevices(SUBJECT, 1, b"short", NOW)
