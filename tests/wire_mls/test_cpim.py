import base64
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire_mls.making import check_total, mutate, private_message

from letterlock.model.bodies import OpenBody, RevealPurpose, SealedBody, SealedKind
from letterlock.wire.cpim import (
    MLS_CLIENT_TYPE,
    MLS_TYPE,
    CpimError,
    CpimHeaders,
    CpimReason,
    Notification,
    build_open,
    build_receipt,
    build_sealed,
    parse,
)
from letterlock.wire.imdn import Imdn, ReceiptKind, ReceiptStatus
from letterlock.wire.mls import parse as parse_mls

ANYBODY = "sip:anonymous@anonymous.invalid"
AUTHENTICATOR = bytes(range(32))
AUTHENTICATOR_TEXT = base64.b64encode(AUTHENTICATOR).decode()
SEALED = private_message(b"\xff\xfe\r\n\r\n\x00" * 30)
TOP = [
    f"From: <{ANYBODY}>",
    f"To: <{ANYBODY}>",
    "NS: imdn <urn:ietf:params:imdn>",
    "NS: mls <http://www.gsma.com/rcs/mls>",
]
MLS_HEADERS = ["mls.Era-ID: 3", f"mls.Epoch-Authenticator: {AUTHENTICATOR_TEXT}"]
WHOLE = [
    *TOP,
    "imdn.Message-ID: MxVQ6EAOKbQdSnFkRmVUQAAA",
    "DateTime: 2026-11-22T13:02:05.250+01:00",
    "imdn.Disposition-Notification: positive-delivery, negative-delivery, display",
    *MLS_HEADERS,
]


def cpim(lines: list[str], inner: list[str] | None = None, body: bytes = SEALED) -> bytes:
    inner = ["Content-Type: message/mls"] if inner is None else inner
    return ("\r\n".join(lines) + "\r\n\r\n" + "\r\n".join(inner) + "\r\n\r\n").encode() + body


TEXT = ["Content-Type: text/plain;charset=UTF-8"]


def refused(data: bytes) -> CpimReason:
    with pytest.raises(CpimError) as caught:
        parse(data)
    assert caught.value.__context__ is None
    return caught.value.reason


def shown(body: object) -> bytes:
    assert isinstance(body, OpenBody)
    with body.reveal(RevealPurpose.MEASURE) as view:
        return bytes(view)


def test_an_encrypted_message_as_deployed_clients_write_it() -> None:
    message = parse(cpim(WHOLE))
    assert message.headers == CpimHeaders(
        sender=ANYBODY,
        recipients=(ANYBODY,),
        message_id="MxVQ6EAOKbQdSnFkRmVUQAAA",
        sent_at_ms=1_795_348_925_250,
        notifications=frozenset({Notification.POSITIVE_DELIVERY, Notification.NEGATIVE_DELIVERY, Notification.DISPLAY}),
        era_id=3,
        epoch_authenticator=AUTHENTICATOR,
    )
    assert isinstance(message.content, SealedBody)
    assert message.content.ciphertext == SEALED
    assert message.content.kind is SealedKind.PRIVATE_APPLICATION


def test_a_readable_message_is_an_open_body() -> None:
    message = parse(cpim(TOP, TEXT, "Grüße \r\n\r\n!".encode()))
    assert (message.content_type, message.parameters) == ("text/plain", ";charset=UTF-8")
    assert shown(message.content) == "Grüße \r\n\r\n!".encode()
    assert message.headers.era_id is None


def test_headers_are_found_by_namespace_and_not_by_prefix() -> None:
    lines = [
        TOP[0],
        TOP[1],
        "NS: imdn <http://www.gsma.com/rcs/mls>",
        "NS: mls <urn:ietf:params:imdn>",
        "mls.Message-ID: the-id",
        "imdn.Era-ID: 5",
        f"imdn.Epoch-Authenticator: {AUTHENTICATOR_TEXT}",
    ]
    headers = parse(cpim(lines)).headers
    assert (headers.message_id, headers.era_id) == ("the-id", 5)
    # The usual prefix without its namespace is a stranger's header.
    stranger = ["NS: mls <http://example.org/other>", *MLS_HEADERS]
    assert refused(cpim([*TOP[:2], *stranger])) is CpimReason.MISSING_MLS_HEADER
    assert refused(cpim([*TOP[:2], *MLS_HEADERS])) is CpimReason.UNDECLARED_NAMESPACE
    assert refused(cpim([*TOP[:2], *MLS_HEADERS, *TOP[2:]])) is CpimReason.UNDECLARED_NAMESPACE


def test_names_match_in_the_case_of_either_vendor_but_once() -> None:
    other = [*TOP, "mls.Era-Id: 3", f"mls.epoch-authenticator: {AUTHENTICATOR_TEXT}"]
    assert parse(cpim(other)).headers.era_id == 3
    assert refused(cpim([*other, "mls.Era-ID: 4"])) is CpimReason.DUPLICATE_HEADER


@pytest.mark.parametrize("again", [WHOLE[0], *WHOLE[4:]])
def test_a_header_that_decides_stands_once(again: str) -> None:
    assert refused(cpim([*WHOLE, again])) is CpimReason.DUPLICATE_HEADER
    alias = again.replace("imdn.", "i.").replace("mls.", "m.")
    aliases = ["NS: i <urn:ietf:params:imdn>", "NS: m <http://www.gsma.com/rcs/mls>", alias]
    assert refused(cpim([*WHOLE, *aliases])) is CpimReason.DUPLICATE_HEADER


def test_several_recipients_subjects_and_strangers_are_fine() -> None:
    more = ["To: Bob <tel:+15550100>", "Subject:;lang=fr Bonjour", "NS: x <urn:x>", "x.Any: thing", "x.Any: thing"]
    message = parse(cpim([*WHOLE, *more]))
    assert message.headers.recipients == (ANYBODY, "tel:+15550100")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (TOP[1:], CpimReason.MISSING_ADDRESS),
        ([TOP[0]], CpimReason.MISSING_ADDRESS),
        (["From: sip:a@b", *TOP[1:]], CpimReason.BAD_ADDRESS),
        (["From: <nobody>", *TOP[1:]], CpimReason.BAD_ADDRESS),
        (["From: <sip:a@b><sip:c@d>", *TOP[1:]], CpimReason.BAD_ADDRESS),
        (["From: a> <sip:c@d>", *TOP[1:]], CpimReason.BAD_ADDRESS),
        (["From: <sip:a b@c>", *TOP[1:]], CpimReason.BAD_ADDRESS),
        (["From: <sip:é@c>", *TOP[1:]], CpimReason.BAD_ADDRESS),
        ([*TOP, "imdn.Message-ID: a b"], CpimReason.BAD_MESSAGE_ID),
        ([*TOP, "imdn.Message-ID: " + "m" * 129], CpimReason.BAD_MESSAGE_ID),
        ([*TOP, "imdn.Message-ID:;x=y id"], CpimReason.BAD_LINE),
        ([*TOP, "DateTime: yesterday"], CpimReason.BAD_DATETIME),
        ([*TOP, "DateTime: 2026-02-30T00:00:00Z"], CpimReason.BAD_DATETIME),
        ([*TOP, "imdn.Disposition-Notification: display, display"], CpimReason.BAD_NOTIFICATION),
        ([*TOP, "imdn.Disposition-Notification: dis play"], CpimReason.BAD_NOTIFICATION),
        ([*TOP, "No colon"], CpimReason.BAD_LINE),
        ([*TOP, "Subject:no space"], CpimReason.BAD_LINE),
        ([*TOP, " folded: line"], CpimReason.BAD_LINE),
        ([*TOP, "a.b.c: d"], CpimReason.BAD_LINE),
        ([*TOP, "NS: imdn <urn:other>"], CpimReason.BAD_NAMESPACE),
        ([*TOP, "NS: <urn:new:default>"], CpimReason.BAD_NAMESPACE),
        ([*TOP, "NS: x urn:x"], CpimReason.BAD_NAMESPACE),
        ([*TOP, "Require: imdn.Unheard-Of"], CpimReason.UNSUPPORTED_REQUIREMENT),
        ([*TOP, "Require: y.Unheard-Of"], CpimReason.UNDECLARED_NAMESPACE),
        ([*TOP, "Subject: a\tb"], CpimReason.CONTROL_CHARACTER),
        ([*TOP, "Subject: a\nFrom: <sip:x@y>"], CpimReason.CONTROL_CHARACTER),
        ([*TOP, "Subject: a\rb"], CpimReason.CONTROL_CHARACTER),
        ([*TOP, "Subject: a\x00b"], CpimReason.CONTROL_CHARACTER),
        ([*TOP, "Subject: a\u2028b"], CpimReason.CONTROL_CHARACTER),
        ([*TOP, *["x: y"] * 64], CpimReason.TOO_MANY_HEADERS),
        ([*TOP, "Subject: " + "x" * 8200], CpimReason.NO_HEADER_END),
    ],
)
def test_header_blocks_that_are_refused(lines: list[str], reason: CpimReason) -> None:
    assert refused(cpim(lines, TEXT, b"text")) is reason


def test_and_their_neighbours() -> None:
    for lines in (
        ['From: "An, o" <sip:a@b>', *TOP[1:]],
        [*TOP, "imdn.Message-ID: " + "m" * 128],
        [*TOP, "Require: imdn.Message-ID, Subject"],
        [*TOP, "imdn.Disposition-Notification: display, something-new"],
        [*TOP, *["x: y"] * 60],
        [*TOP, "Subject: " + "x" * 7000],
        [*TOP, "DateTime: 2024-02-29T23:59:59Z"],
    ):
        assert parse(cpim(lines, TEXT, b"text")).content_type == "text/plain"


@pytest.mark.parametrize("era", ["", "-1", "+1", "01", "1.0", "0x1", "4294967296", "99999999999", "١", " 1", "1 "])
def test_an_era_is_a_plain_decimal_of_32_bits(era: str) -> None:
    assert refused(cpim([*TOP, f"mls.Era-ID: {era}", MLS_HEADERS[1]])) is CpimReason.BAD_ERA


@pytest.mark.parametrize("era", ["0", "1", "4294967295"])
def test_eras_that_are(era: str) -> None:
    assert parse(cpim([*TOP, f"mls.Era-ID: {era}", MLS_HEADERS[1]])).headers.era_id == int(era)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "!!!",
        base64.b64encode(bytes(31)).decode(),
        base64.b64encode(bytes(33)).decode(),
        AUTHENTICATOR_TEXT.rstrip("="),
        AUTHENTICATOR_TEXT[:-2] + "9=",
        AUTHENTICATOR_TEXT + " ",
        base64.urlsafe_b64encode(b"\xff" * 32).decode(),
        "é" * 44,
    ],
)
def test_an_authenticator_is_the_one_base64_of_32_bytes(text: str) -> None:
    assert (
        refused(cpim([*TOP, MLS_HEADERS[0], f"mls.Epoch-Authenticator: {text}"])) is CpimReason.BAD_EPOCH_AUTHENTICATOR
    )


@pytest.mark.parametrize("left", MLS_HEADERS)
def test_an_mls_body_needs_both_headers(left: str) -> None:
    assert refused(cpim([*TOP, left])) is CpimReason.MISSING_MLS_HEADER
    assert refused(cpim(TOP)) is CpimReason.MISSING_MLS_HEADER


@pytest.mark.parametrize("kind", ["message/mls", "Message/MLS", "message/mls-rcs-client", "message/mls-new-one"])
def test_what_claims_mls_and_is_not_never_becomes_readable(kind: str) -> None:
    for body in (b"plaintext", b"", SEALED + b"x", SEALED[:-1]):
        assert refused(cpim(WHOLE, [f"Content-Type: {kind}"], body)) is CpimReason.BODY_NOT_MLS


def test_types_and_kinds() -> None:
    commit = private_message(content_type=3)
    assert refused(cpim(WHOLE, body=commit)) is CpimReason.WRONG_MLS_KIND
    control = parse(cpim(WHOLE, [f"Content-Type: {MLS_CLIENT_TYPE}"], commit))
    assert isinstance(control.content, SealedBody)
    assert control.content.kind is SealedKind.PRIVATE_COMMIT
    assert refused(cpim(WHOLE, ["Content-Type: message/mls-rcs-server-kick"])) is CpimReason.FORBIDDEN_TYPE


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        ([], CpimReason.BAD_LINE),
        (["Content-Length: 4"], CpimReason.BAD_CONTENT_TYPE),
        (["Content-Type: plain"], CpimReason.BAD_CONTENT_TYPE),
        (["Content-Type: text/plain", "content-type: message/mls"], CpimReason.DUPLICATE_HEADER),
        (["Content-Type: text/plain", "Content-Length: 3"], CpimReason.LENGTH_MISMATCH),
        (["Content-Type: text/plain", "Content-Length: 5"], CpimReason.LENGTH_MISMATCH),
        (["Content-Type: text/plain", "Content-Length: +4"], CpimReason.LENGTH_MISMATCH),
        (["Content-Type: text/plain", "Content-Length: ٤"], CpimReason.LENGTH_MISMATCH),
        (["Content-Type: text/plain", "Content-Transfer-Encoding: base64"], CpimReason.UNSUPPORTED_ENCODING),
        (["Content-Type: text/plain", " folded"], CpimReason.BAD_LINE),
        (["Content-Type: message/imdn+xml"], CpimReason.BODY_NOT_IMDN),
    ],
)
def test_inner_headers_that_are_refused(inner: list[str], reason: CpimReason) -> None:
    assert refused(cpim(TOP, inner, b"text")) is reason


def test_inner_headers_that_are_not() -> None:
    for inner in (
        ["Content-Type:text/plain"],
        ["content-type:  Text/Plain "],
        ["Content-Type: text/plain", "Content-Length: 4", "Content-Transfer-Encoding: Binary", "Content-ID: <x>"],
    ):
        message = parse(cpim(TOP, inner, b"text"))
        assert message.content_type == "text/plain"
        assert shown(message.content) == b"text"


def test_size_not_utf8_and_missing_ends() -> None:
    good = cpim(WHOLE)
    with pytest.raises(CpimError) as caught:
        parse(good, limit=len(good) - 1)
    assert caught.value.reason is CpimReason.TOO_LARGE
    assert parse(good, limit=len(good)).headers.era_id == 3
    assert refused(b"Subject: \xff\r\n" + good) is CpimReason.NOT_UTF8
    assert refused(b"") is CpimReason.NO_HEADER_END
    assert refused(good.replace(b"\r\n", b"\n")) is CpimReason.NO_HEADER_END
    for size in range(len(good) - 1):
        refused(good[:size])


def test_readable_content_cut_anywhere_in_its_headers_is_refused() -> None:
    good = cpim(TOP, TEXT, b"")
    assert shown(parse(good).content) == b""
    for size in range(len(good)):
        refused(good[:size])


CANARY = "CANARY5d1e"


def test_no_error_and_no_repr_holds_a_byte_of_the_input() -> None:
    texts = []
    for at in range(len(WHOLE)):
        for line in (f"{WHOLE[at]}{CANARY}", f"{CANARY}{WHOLE[at]}", f"{CANARY}: \x01", f"x.{CANARY}: y"):
            try:
                texts.append(repr(parse(cpim([*WHOLE[:at], line, *WHOLE[at + 1 :]], body=CANARY.encode()))))
            except CpimError as error:
                texts.append(f"{error} {error!r} {error.args} {error.facts} {error.__context__!r} {error.__cause__!r}")
    message = parse(cpim([*TOP, f"Subject: {CANARY}", f"imdn.Message-ID: {CANARY}"], TEXT, CANARY.encode()))
    texts += [repr(message), repr(message.headers), repr(message.content)]
    with pytest.raises(CpimError) as undecodable:
        parse(f"Subject: {CANARY}".encode() + b"\xff\r\n\r\n\r\n\r\n")
    texts.append(f"{undecodable.value} {undecodable.value.__context__!r}")
    assert len(texts) == 4 * len(WHOLE) + 4
    assert not [text for text in texts if CANARY in text]


URI = st.from_regex(r"(tel:\+[0-9]{3,15}|sip:[a-z0-9.]{1,20}@[a-z]{1,10}\.invalid)", fullmatch=True)
HEADERS = st.builds(
    CpimHeaders,
    sender=URI,
    recipients=st.lists(URI, min_size=1, max_size=4).map(tuple),
    message_id=st.none() | st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128),
    sent_at_ms=st.none() | st.integers(0, 253_402_300_799_999),
    notifications=st.frozensets(st.sampled_from(Notification)),
    era_id=st.integers(0, 2**32 - 1),
    epoch_authenticator=st.binary(min_size=32, max_size=32),
)


@given(HEADERS, st.binary(min_size=32, max_size=200))
def test_sealed_round_trip(headers: CpimHeaders, ciphertext: bytes) -> None:
    body = parse_mls(private_message(ciphertext))
    message = parse(build_sealed(headers, body))
    assert message.headers == headers
    assert message.content_type == MLS_TYPE
    assert isinstance(message.content, SealedBody)
    assert message.content.ciphertext == body.ciphertext


@given(HEADERS, st.binary(max_size=200))
def test_open_round_trip(headers: CpimHeaders, content: bytes) -> None:
    body = OpenBody(content)
    message = parse(shown(build_open(headers, body, "text/plain", ";charset=UTF-8")))
    assert message.headers == headers
    assert shown(message.content) == content == shown(body)


def test_receipt_round_trip() -> None:
    receipt = Imdn("Mx1", 1_000, ReceiptKind.DELIVERY, ReceiptStatus.DELIVERED)
    message = parse(build_receipt(CpimHeaders(ANYBODY, (ANYBODY,), message_id="r1", era_id=3), receipt))
    assert message.content == receipt
    assert message.headers.era_id == 3
    assert message.headers.epoch_authenticator is None


PLAIN = CpimHeaders(ANYBODY, (ANYBODY,))


@pytest.mark.parametrize("parameters", ["; ", ";charset=UTF-8 ", " ;charset=UTF-8"])
def test_parameters_that_would_not_be_given_back_are_not_built(parameters: str) -> None:
    with pytest.raises(CpimError) as refused:
        build_open(PLAIN, OpenBody(b"text"), "text/plain", parameters)
    assert refused.value.reason is CpimReason.BAD_CONTENT_TYPE
    kept = build_open(PLAIN, OpenBody(b"text"), "text/plain", parameters.strip())
    assert parse(shown(kept)).parameters == parameters.strip()


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_nothing_can_be_smuggled_into_headers(uri: str, message_id: str, kind: str, parameters: str) -> None:
    for headers, content_type, tail in (
        (CpimHeaders(f"sip:{uri}", (ANYBODY,)), "text/plain", ""),
        (CpimHeaders(ANYBODY, (f"sip:{uri}",)), "text/plain", ""),
        (CpimHeaders(ANYBODY, (ANYBODY,), message_id=message_id), "text/plain", ""),
        (PLAIN, f"text/{kind}", ""),
        (PLAIN, "text/plain", f";{parameters}"),
    ):
        try:
            built = build_open(headers, OpenBody(b"text"), content_type, tail)
        except CpimError:
            continue
        message = parse(shown(built))
        assert (message.headers, message.content_type, message.parameters) == (headers, content_type, tail)
        assert shown(message.content) == b"text"


@pytest.mark.parametrize("bad", ["a\r\nmls.Era-ID: 9", "a\nb", "a\rb", "a b", "a>b", "", "é", "a\x00"])
def test_header_injection_is_refused_on_building(bad: str) -> None:
    body = OpenBody(b"text")
    for headers in (
        CpimHeaders(f"sip:{bad}" if bad else "", (ANYBODY,)),
        CpimHeaders(ANYBODY, (f"sip:{bad}" if bad else "",)),
    ):
        with pytest.raises(CpimError) as caught:
            build_open(headers, body, "text/plain")
        assert caught.value.reason is CpimReason.BAD_ADDRESS
    for kind, parameters in ((f"text/{bad}", ""), ("text/plain", f"x{bad}"), ("text/plain", f";x=\r\n{bad}")):
        with pytest.raises(CpimError) as type_caught:
            build_open(PLAIN, body, kind, parameters)
        assert type_caught.value.reason is CpimReason.BAD_CONTENT_TYPE


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (CpimHeaders(ANYBODY, ()), CpimReason.MISSING_ADDRESS),
        (CpimHeaders(ANYBODY, (ANYBODY,) * 60), CpimReason.TOO_MANY_HEADERS),
        (CpimHeaders(ANYBODY, (ANYBODY,), message_id="a\r\nb"), CpimReason.BAD_MESSAGE_ID),
        (CpimHeaders(ANYBODY, (ANYBODY,), sent_at_ms=-1), CpimReason.BAD_DATETIME),
        (CpimHeaders(ANYBODY, (ANYBODY,), era_id=2**32), CpimReason.BAD_ERA),
        (CpimHeaders(ANYBODY, (ANYBODY,), epoch_authenticator=b"short"), CpimReason.BAD_EPOCH_AUTHENTICATOR),
    ],
)
def test_headers_that_are_not_written(headers: CpimHeaders, reason: CpimReason) -> None:
    with pytest.raises(CpimError) as caught:
        build_open(headers, OpenBody(b"text"), "text/plain")
    assert caught.value.reason is reason


def test_type_and_body_must_belong_together_on_building() -> None:
    body = parse_mls(SEALED)
    full = CpimHeaders(ANYBODY, (ANYBODY,), era_id=1, epoch_authenticator=AUTHENTICATOR)
    assert build_sealed(full, body).endswith(SEALED)
    for kind in ("text/plain", "message/mls-rcs-server-kick", "MESSAGE/MLS"):
        with pytest.raises(CpimError):
            build_sealed(full, body, kind)
    for headers in (PLAIN, CpimHeaders(ANYBODY, (ANYBODY,), era_id=1)):
        with pytest.raises(CpimError) as caught:
            build_sealed(headers, body)
        assert caught.value.reason is CpimReason.MISSING_MLS_HEADER
    with pytest.raises(CpimError) as commit:
        build_sealed(full, parse_mls(private_message(content_type=3)))
    assert commit.value.reason is CpimReason.WRONG_MLS_KIND
    for kind in ("message/mls", "Message/Mls-x", "message/imdn+xml"):
        with pytest.raises(CpimError) as claimed:
            build_open(full, OpenBody(b"text"), kind)
        assert claimed.value.reason is CpimReason.FORBIDDEN_TYPE


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_total(data: bytes) -> None:
    for whole in (data, b"From: <sip:a@b>\r\nTo: <sip:a@b>\r\n" + data, cpim(WHOLE) + data, cpim(WHOLE, TEXT, data)):
        check_total(parse, CpimError, whole)


def test_mutated() -> None:
    rng = Random("cpim")
    seeds = (cpim(WHOLE), cpim(TOP, TEXT, b"text"))
    outcomes = {True: 0, False: 0}
    for _ in range(20_000):
        outcomes[check_total(parse, CpimError, mutate(rng.choice(seeds), rng))] += 1
    assert min(outcomes.values()) > 500
