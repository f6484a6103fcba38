"""Receipts of RCS devices that are not ours: every status, reason and signature, as one table."""

from itertools import product

import pytest

from letterlock.assurance.foreign_receipts import (
    MAX_REPORTS,
    MAX_RESENDS,
    ForeignWord,
    History,
    Signed,
    weigh,
)
from letterlock.assurance.remedies import Remedy, remedy
from letterlock.wire.imdn.reader import parse
from letterlock.wire.imdn.receipts import (
    ClientFailure,
    Imdn,
    ReceiptKind,
    ReceiptStatus,
    ServerFailure,
    build,
)

FAILURES: list[ClientFailure | ServerFailure | None] = [None, *ClientFailure, *ServerFailure]
D = ReceiptKind.DELIVERY


def failed(failure: ClientFailure | ServerFailure | None) -> Imdn:
    return Imdn("Mx" + "m" * 22, 5, D, ReceiptStatus.FAILED, failure)


DELIVERED = Imdn("Mx" + "m" * 22, 5, D, ReceiptStatus.DELIVERED)
DISPLAYED = Imdn("Mx" + "m" * 22, 5, ReceiptKind.DISPLAY, ReceiptStatus.DISPLAYED)


def test_a_signed_receipt_is_a_confirmation_by_a_device_and_never_more() -> None:
    for sent, word in ((DELIVERED, ForeignWord.DELIVERED), (DISPLAYED, ForeignWord.DISPLAYED)):
        verdict = weigh(parse(build(sent)), Signed.CHECKED, History())
        assert (verdict.word, verdict.remedy, verdict.finding) == (word, Remedy.NOTHING, False)
        assert verdict.word.confirms
        assert verdict.word.value.startswith("Recipient device confirmed")
    for shown in ForeignWord:
        assert not any(word in shown.value.lower() for word in ("verified", "attested", "encrypted"))


@pytest.mark.attack("A11")
def test_an_unsigned_or_forged_receipt_confirms_nothing_and_is_a_finding() -> None:
    for receipt, signed in product((DELIVERED, DISPLAYED), (Signed.ABSENT, Signed.REFUSED)):
        verdict = weigh(receipt, signed, History())
        assert (verdict.word, verdict.finding) == (ForeignWord.NOTHING, True)
    for failure in FAILURES:
        assert weigh(failed(failure), Signed.REFUSED, History()).finding


@pytest.mark.attack("A11")
def test_outcomes_never_lead_to_a_resend_whatever_came_before() -> None:
    """All reasons, signatures and histories: a resend after a signed failure to decrypt, and after nothing else."""
    histories = [History(r, f, c) for r, f, c in product(range(7), range(4), (False, True))]
    resent = set()
    for failure, signed, history in product(FAILURES, Signed, histories):
        verdict = weigh(failed(failure), signed, history)
        if verdict.may_resend:
            resent.add((failure, signed))
            assert not history.confirmed
            assert history.reports < MAX_REPORTS
            assert history.failed_resends < MAX_RESENDS
        if isinstance(failure, ClientFailure) and 7 <= failure <= 12:
            assert verdict.remedy is Remedy.NOTHING
            assert not verdict.may_resend
    assert resent == {(ClientFailure.FAILED_TO_DECRYPT, Signed.CHECKED)}


def test_every_reason_has_its_remedy_and_a_server_speaks_without_a_leaf_key() -> None:
    for client in ClientFailure:
        assert weigh(failed(client), Signed.CHECKED, History()).remedy is remedy(client)
        assert weigh(failed(client), Signed.ABSENT, History()).finding, "devices sign their reasons"
    for server in ServerFailure:
        assert weigh(failed(server), Signed.ABSENT, History()).remedy is remedy(server)


def test_a_bare_failure_proves_nothing_and_a_late_one_contradicts() -> None:
    bare = weigh(failed(None), Signed.ABSENT, History())
    assert (bare.word, bare.remedy, bare.finding) == (ForeignWord.UNPROVEN_FAILURE, Remedy.NOTHING, False)
    late = weigh(failed(ClientFailure.FAILED_TO_DECRYPT), Signed.CHECKED, History(confirmed=True))
    assert (late.word, late.finding, late.may_resend) == (ForeignWord.NOTHING, True, False)


def test_reports_and_resends_are_bounded() -> None:
    lost = failed(ClientFailure.FAILED_TO_DECRYPT)
    assert weigh(lost, Signed.CHECKED, History(reports=MAX_REPORTS)).word is ForeignWord.NOTHING
    assert weigh(lost, Signed.CHECKED, History(failed_resends=MAX_RESENDS)).remedy is Remedy.REPAIR_GROUP
    for status in (ReceiptStatus.FORBIDDEN, ReceiptStatus.ERROR):
        verdict = weigh(Imdn("Mx1", 5, D, status), Signed.CHECKED, History())
        assert (verdict.word, verdict.finding) == (ForeignWord.NOTHING, False)
