from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire_mls.making import check_total, mutate

from letterlock.wire.imdn import (
    ClientFailure,
    Imdn,
    ImdnError,
    ImdnReason,
    ReceiptKind,
    ReceiptStatus,
    ServerFailure,
    build,
    parse,
)
from letterlock.wire.rfc3339 import MAX_MS, format_ms, parse_ms

D, P, S = ReceiptKind.DELIVERY, ReceiptKind.PROCESSING, ReceiptKind.DISPLAY
ALLOWED = {
    D: {ReceiptStatus.DELIVERED, ReceiptStatus.FAILED, ReceiptStatus.FORBIDDEN, ReceiptStatus.ERROR},
    P: {ReceiptStatus.PROCESSED, ReceiptStatus.STORED, ReceiptStatus.FORBIDDEN, ReceiptStatus.ERROR},
    S: {ReceiptStatus.DISPLAYED, ReceiptStatus.FORBIDDEN, ReceiptStatus.ERROR},
}
HEAD = "<message-id>Mx1</message-id><datetime>2008-04-04T12:16:49-05:00</datetime>"
DELIVERED = "<delivery-notification><status><delivered/></status></delivery-notification>"


def xml(inside: str, *, namespace: str = ' xmlns="urn:ietf:params:xml:ns:imdn"', before: str = "") -> bytes:
    return f"{before}<imdn{namespace}>{inside}</imdn>".encode()


def failed(arm: str) -> bytes:
    return xml(f"{HEAD}<delivery-notification><status><failed>{arm}</failed></status></delivery-notification>")


def refused(data: bytes) -> ImdnReason:
    with pytest.raises(ImdnError) as caught:
        parse(data)
    assert caught.value.__context__ is None
    return caught.value.reason


def test_the_example_of_rfc_5438() -> None:
    data = b"""<imdn xmlns="urn:ietf:params:xml:ns:imdn">
      <message-id>34jk324j</message-id>
      <datetime>2008-04-04T12:16:49-05:00</datetime>
      <display-notification>
          <status>
             <displayed/>
          </status>
      </display-notification>
   </imdn>"""
    assert parse(data) == Imdn("34jk324j", 1_207_329_409_000, S, ReceiptStatus.DISPLAYED)


def test_every_kind_and_status() -> None:
    for kind in ReceiptKind:
        for status in ReceiptStatus:
            data = xml(f"{HEAD}<{kind.value}><status><{status.value}/></status></{kind.value}>")
            if status in ALLOWED[kind]:
                assert (parse(data).kind, parse(data).status) == (kind, status)
            else:
                assert refused(data) is ImdnReason.STATUS_NOT_ALLOWED


def test_every_failure_reason_by_its_number_and_element() -> None:
    assert [reason.value for reason in ClientFailure] == list(range(1, 14))
    assert [reason.value for reason in ServerFailure] == list(range(1, 17))
    assert ClientFailure(4).token == "failed-to-decrypt"
    assert ServerFailure(15).token == "mls-group-has-end-mls"
    assert {reason.value for reason in ClientFailure if reason.outcome} == {7, 8, 9, 10, 11, 12}
    for client in ClientFailure:
        arm = f"<mls-client-failure-reason><{client.token}/></mls-client-failure-reason>"
        assert parse(failed(arm)).failure is client
    for server in ServerFailure:
        arm = f"<mls-server-failure-reason><{server.token}/></mls-server-failure-reason>"
        assert parse(failed(arm)).failure is server
    assert parse(failed("")).failure is None


def test_one_token_of_two_lists_keeps_its_arm() -> None:
    client = parse(failed("<mls-client-failure-reason><invalid-commit/></mls-client-failure-reason>")).failure
    server = parse(failed("<mls-server-failure-reason><invalid-commit/></mls-server-failure-reason>")).failure
    assert client is ClientFailure.INVALID_COMMIT
    assert server is ServerFailure.INVALID_COMMIT


WRITTEN = [reason for reason in ClientFailure if reason is not ClientFailure.RESENT_MESSAGE_FOR_ME_FAILED_TO_DECRYPT]
MESSAGE_IDS = st.from_regex(r"[!-%'-;=?-~]{1,128}", fullmatch=True)
FAILED = st.builds(
    Imdn,
    MESSAGE_IDS,
    st.integers(0, MAX_MS),
    st.just(D),
    st.just(ReceiptStatus.FAILED),
    st.none() | st.sampled_from(WRITTEN) | st.sampled_from(ServerFailure),
)
PAIRS = [(kind, status) for kind in ReceiptKind for status in ReceiptStatus if status in ALLOWED[kind]]
OTHERS = st.builds(lambda name, pair: Imdn(name, 5, *pair), MESSAGE_IDS, st.sampled_from(PAIRS))
RECEIPTS = FAILED | OTHERS


@given(RECEIPTS)
def test_round_trip(receipt: Imdn) -> None:
    assert parse(build(receipt)) == receipt


@pytest.mark.parametrize(
    ("before", "namespace", "inside"),
    [
        ('<?xml version="1.0" encoding="utf-8"?>', None, HEAD + DELIVERED),
        ("<?xml version='1.0'?>\n<!-- a comment -->", None, HEAD + DELIVERED),
        ("", ' xmlns="urn:ietf:params:xml:ns:imdn" xmlns:v="urn:v" v:a="b"', HEAD + DELIVERED + "<v:x><v:y/>z</v:x>"),
        ("", None, HEAD + "<recipient-uri>sip:a@b</recipient-uri><subject>x</subject>" + DELIVERED),
        ("", None, HEAD.replace("Mx1", " Mx1\n") + DELIVERED),
    ],
)
def test_other_shapes_that_are_read(before: str, namespace: str | None, inside: str) -> None:
    data = xml(inside, before=before) if namespace is None else xml(inside, before=before, namespace=namespace)
    assert parse(data).status is ReceiptStatus.DELIVERED


def test_a_foreign_element_cannot_stand_for_ours() -> None:
    foreign = ' xmlns="urn:ietf:params:xml:ns:imdn" xmlns:v="urn:v"'
    hidden = f"<v:x>{DELIVERED}</v:x>"
    assert refused(xml(HEAD + hidden, namespace=foreign)) is ImdnReason.MISSING_ELEMENT
    assert refused(xml(HEAD + DELIVERED.replace("<delivered/>", "<v:delivered/>"), namespace=foreign)) is (
        ImdnReason.MISSING_ELEMENT
    )


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", ImdnReason.MALFORMED_XML),
        (b"<imdn", ImdnReason.MALFORMED_XML),
        (xml(HEAD + DELIVERED) + b"<more/>", ImdnReason.MALFORMED_XML),
        (xml(HEAD + DELIVERED) + b"\x00", ImdnReason.MALFORMED_XML),
        (xml(HEAD + DELIVERED + "&x;"), ImdnReason.MALFORMED_XML),
        (xml(HEAD.replace("Mx1", "M\xff")).replace("\xff".encode(), b"\xff"), ImdnReason.MALFORMED_XML),
        (xml(HEAD + DELIVERED, before="<!DOCTYPE imdn>"), ImdnReason.FORBIDDEN_XML),
        (xml(HEAD + DELIVERED, before=LAUGHS), ImdnReason.FORBIDDEN_XML),
        (xml(HEAD + DELIVERED, before='<!DOCTYPE x SYSTEM "file:///etc/passwd">'), ImdnReason.FORBIDDEN_XML),
        (xml(HEAD + DELIVERED, before="<?php x?>"), ImdnReason.FORBIDDEN_XML),
        (xml(HEAD + DELIVERED, before='<?xml version="1.0" encoding="UTF-16"?>'), ImdnReason.FORBIDDEN_XML),
        (xml(HEAD + DELIVERED, namespace=""), ImdnReason.WRONG_ROOT),
        (xml(HEAD + DELIVERED, namespace=' xmlns="urn:other"'), ImdnReason.WRONG_ROOT),
        (b'<other xmlns="urn:ietf:params:xml:ns:imdn"/>', ImdnReason.WRONG_ROOT),
        (xml(""), ImdnReason.MISSING_ELEMENT),
        (xml(HEAD), ImdnReason.MISSING_ELEMENT),
        (xml("<message-id>Mx1</message-id>" + DELIVERED), ImdnReason.MISSING_ELEMENT),
        (xml(HEAD + HEAD + DELIVERED), ImdnReason.DUPLICATE_ELEMENT),
        (xml(HEAD + DELIVERED + DELIVERED), ImdnReason.DUPLICATE_ELEMENT),
        (xml(HEAD + DELIVERED + DELIVERED.replace("delivery", "display")), ImdnReason.UNEXPECTED_ELEMENT),
        (xml(HEAD + DELIVERED.replace("<delivered/>", "<delivered/><failed/>")), ImdnReason.UNEXPECTED_ELEMENT),
        (xml(HEAD + DELIVERED.replace("delivered", "arrived")), ImdnReason.UNEXPECTED_ELEMENT),
        (xml(HEAD + DELIVERED.replace("status", "state")), ImdnReason.UNEXPECTED_ELEMENT),
        (xml(HEAD + "<delivery-notification/>"), ImdnReason.MISSING_ELEMENT),
        (xml(HEAD + DELIVERED.replace("<delivered/>", "ok<delivered/>")), ImdnReason.UNEXPECTED_TEXT),
        (xml(HEAD + DELIVERED.replace("<delivered/>", "<delivered>ok</delivered>")), ImdnReason.UNEXPECTED_TEXT),
        (xml(HEAD + DELIVERED.replace("<delivered/>", "<delivered><x/></delivered>")), ImdnReason.UNEXPECTED_ELEMENT),
        (xml("text" + HEAD + DELIVERED), ImdnReason.UNEXPECTED_TEXT),
        (xml(HEAD.replace("Mx1", "<b/>") + DELIVERED), ImdnReason.UNEXPECTED_ELEMENT),
        (xml(HEAD.replace("Mx1", "") + DELIVERED), ImdnReason.BAD_MESSAGE_ID),
        (xml(HEAD.replace("Mx1", "M 1") + DELIVERED), ImdnReason.BAD_MESSAGE_ID),
        (xml(HEAD.replace("Mx1", "M&lt;1") + DELIVERED), ImdnReason.BAD_MESSAGE_ID),
        (xml(HEAD.replace("Mx1", "M" * 129) + DELIVERED), ImdnReason.BAD_MESSAGE_ID),
        (xml(HEAD.replace("Mx1", "M" * 1025) + DELIVERED), ImdnReason.TOO_COMPLEX),
        (xml(HEAD.replace("2008-04", "2008-13") + DELIVERED), ImdnReason.BAD_DATETIME),
        (xml(HEAD + DELIVERED + "<a/>" * 64), ImdnReason.TOO_COMPLEX),
        (xml("<a>" * 13 + "</a>" * 13), ImdnReason.TOO_COMPLEX),
        (xml(HEAD + DELIVERED + " " * 8192), ImdnReason.TOO_LARGE),
        (failed("<mls-client-failure-reason/>"), ImdnReason.MISSING_ELEMENT),
        (
            failed("<mls-client-failure-reason><failure_to_decrypt/></mls-client-failure-reason>"),
            ImdnReason.UNKNOWN_FAILURE_REASON,
        ),
        (
            failed("<mls-client-failure-reason><incorrect-era/></mls-client-failure-reason>"),
            ImdnReason.UNKNOWN_FAILURE_REASON,
        ),
        (failed("<why-reason><incorrect-era/></why-reason>"), ImdnReason.UNEXPECTED_ELEMENT),
        (
            failed(
                "<mls-client-failure-reason><invalid-commit/></mls-client-failure-reason>"
                "<mls-server-failure-reason><invalid-commit/></mls-server-failure-reason>"
            ),
            ImdnReason.FAILURE_REASON_NOT_ALLOWED,
        ),
        (
            failed("<mls-server-failure-reason><incorrect-era/></mls-server-failure-reason>").replace(
                b"failed>", b"error>"
            ),
            ImdnReason.FAILURE_REASON_NOT_ALLOWED,
        ),
    ],
)
def test_what_is_refused(data: bytes, reason: ImdnReason) -> None:
    assert refused(data) is reason


@pytest.mark.parametrize(
    ("message_id", "sent_at", "kind", "status", "failure", "reason"),
    [
        ("", 0, D, ReceiptStatus.DELIVERED, None, ImdnReason.BAD_MESSAGE_ID),
        ("a<b", 0, D, ReceiptStatus.DELIVERED, None, ImdnReason.BAD_MESSAGE_ID),
        ("a&b", 0, D, ReceiptStatus.DELIVERED, None, ImdnReason.BAD_MESSAGE_ID),
        ("a\n", 0, D, ReceiptStatus.DELIVERED, None, ImdnReason.BAD_MESSAGE_ID),
        ("a", -1, D, ReceiptStatus.DELIVERED, None, ImdnReason.BAD_DATETIME),
        ("a", MAX_MS + 1, D, ReceiptStatus.DELIVERED, None, ImdnReason.BAD_DATETIME),
        ("a", 0, D, ReceiptStatus.DISPLAYED, None, ImdnReason.STATUS_NOT_ALLOWED),
        ("a", 0, D, ReceiptStatus.DELIVERED, ServerFailure(1), ImdnReason.FAILURE_REASON_NOT_ALLOWED),
    ],
)
def test_impossible_receipts_cannot_be_made(
    message_id: str,
    sent_at: int,
    kind: ReceiptKind,
    status: ReceiptStatus,
    failure: ServerFailure | None,
    reason: ImdnReason,
) -> None:
    with pytest.raises(ImdnError) as caught:
        Imdn(message_id, sent_at, kind, status, failure)
    assert caught.value.reason is reason


def test_the_reason_that_breaks_a_deployed_client_is_never_written() -> None:
    resent = ClientFailure.RESENT_MESSAGE_FOR_ME_FAILED_TO_DECRYPT
    with pytest.raises(ImdnError):
        build(Imdn("a", 0, D, ReceiptStatus.FAILED, resent))
    assert b"failed-to-decrypt" in build(Imdn("a", 0, D, ReceiptStatus.FAILED, ClientFailure.FAILED_TO_DECRYPT))


def test_errors_and_reprs_hold_no_content() -> None:
    canary = "CANARY5d1e"
    good = xml(f"<subject>{canary}</subject>" + HEAD.replace("Mx1", canary) + DELIVERED)
    assert canary not in repr(parse(good))
    for at in range(len(good)):
        for data in (good[:at], good[:at] + b"&" + good[at:], good[:at] + b"\x01" + good[at:]):
            try:
                parse(data)
            except ImdnError as error:
                told = f"{error} {error!r} {error.args} {error.facts} {error.__context__!r}"
                if canary in told:
                    pytest.fail("an error holds content")


@settings(max_examples=300)
@given(st.binary(max_size=200), st.text(max_size=200))
def test_total(data: bytes, text: str) -> None:
    for whole in (data, text.encode("utf-8", "replace"), xml(text.encode("utf-8", "replace").decode())):
        check_total(parse, ImdnError, whole)


def test_mutated() -> None:
    rng = Random("imdn")
    seeds = (build(Imdn("Mx1", 5, S, ReceiptStatus.DISPLAYED)), failed(""), xml(HEAD + DELIVERED))
    outcomes = {True: 0, False: 0}
    for _ in range(20_000):
        outcomes[check_total(parse, ImdnError, mutate(rng.choice(seeds), rng))] += 1
    assert min(outcomes.values()) > 20


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.001Z", 1),
        ("1970-01-01T01:00:00.5+01:00", 500),
        ("1970-01-01T00:00:00.123456789Z", 123),
        ("1969-12-31T23:00:00-01:00", 0),
        ("9999-12-31T23:59:59.999Z", MAX_MS),
        ("1969-12-31T23:59:59Z", None),
        ("2026-11-22T00:00:60Z", None),
        ("2026-11-22T24:00:00Z", None),
        ("2026-11-22t00:00:00z", None),
        ("2026-11-22T00:00:00", None),
        ("2026-11-22T00:00:00+24:00", None),
        ("2026-11-22T00:00:00+00:60", None),
        ("2026-11-22 00:00:00Z", None),
        ("2026-11-22T00:00:00.Z", None),
        ("0000-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59-00:01", None),
        ("٢026-11-22T00:00:00Z", None),
    ],
)
def test_dates(text: str, milliseconds: int | None) -> None:
    assert parse_ms(text) == milliseconds


@given(st.integers(0, MAX_MS))
def test_dates_round_trip(milliseconds: int) -> None:
    assert parse_ms(format_ms(milliseconds)) == milliseconds


@pytest.mark.parametrize("milliseconds", [-1, MAX_MS + 1])
def test_dates_beyond_the_range_are_not_written(milliseconds: int) -> None:
    with pytest.raises(ValueError, match="1970"):
        format_ms(milliseconds)
