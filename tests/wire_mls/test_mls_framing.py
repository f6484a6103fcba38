from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire_mls.making import KINDS, check_total, load_messages, mutate, private_message, random_body

from letterlock.model.bodies import SealedBody, SealedKind
from letterlock.wire.mls import MAX_MESSAGE, FramingError, FramingReason, parse
from letterlock.wire.mls.codec import Writer, length_header
from letterlock.wire.mls.framing import MIN_CIPHERTEXT

PRIVATE = {1: SealedKind.PRIVATE_APPLICATION, 2: SealedKind.PRIVATE_PROPOSAL, 3: SealedKind.PRIVATE_COMMIT}
ACCEPTED = {
    "mls_welcome": SealedKind.WELCOME,
    "mls_group_info": SealedKind.GROUP_INFO,
    "mls_key_package": SealedKind.KEY_PACKAGE,
    "public_message_proposal": SealedKind.PUBLIC_PROPOSAL,
    "public_message_commit": SealedKind.PUBLIC_COMMIT,
}
# Parts of messages, without the header of one: their first bytes may look like anything.
PARTS = (
    "ratchet_tree",
    "group_secrets",
    "add_proposal",
    "update_proposal",
    "remove_proposal",
    "pre_shared_key_proposal",
    "re_init_proposal",
    "external_init_proposal",
    "group_context_extensions_proposal",
    "commit",
)


def refused(data: bytes, *, limit: int = MAX_MESSAGE) -> FramingReason:
    with pytest.raises(FramingError) as caught:
        parse(data, limit=limit)
    assert caught.value.__context__ is None
    return caught.value.reason


def test_every_official_message_is_what_it_is(vectors: Path) -> None:
    messages = load_messages(vectors)
    assert len(messages) == 300
    counts = dict.fromkeys(SealedKind, 0)
    for entry in messages:
        assert set(entry) == {*ACCEPTED, *PARTS, "private_message", "public_message_application"}
        for name, data in entry.items():
            if name in ACCEPTED:
                body = parse(data)
                assert body.kind is ACCEPTED[name]
            elif name == "private_message":
                body = parse(data)
                assert body.kind is PRIVATE[data[4 + 1 + 16 + 8]]
                assert body.group_id == data[5:21]
                assert body.epoch == int.from_bytes(data[21:29], "big")
                assert body.authenticated_data == b"aad"
            else:
                reason = refused(data)
                assert (reason is FramingReason.PUBLIC_APPLICATION) == (name == "public_message_application")
                continue
            assert body.ciphertext == data
            counts[body.kind] += 1
    assert sum(counts.values()) == 1800
    assert all(counts.values())


def test_headers_that_a_relay_reads(vectors: Path) -> None:
    for entry in load_messages(vectors)[::30]:
        for name in ("public_message_proposal", "public_message_commit"):
            body = parse(entry[name])
            assert (body.group_id, body.authenticated_data) == (entry[name][5:21], b"aad")
        assert parse(entry["mls_group_info"]).group_id == entry["mls_group_info"][9:25]
        for name in ("mls_welcome", "mls_key_package"):
            body = parse(entry[name])
            assert (body.group_id, body.epoch, body.authenticated_data) == (b"", 0, b"")


def test_truncated_at_every_byte_and_one_byte_more(vectors: Path) -> None:
    for entry in load_messages(vectors)[::15]:
        for name in KINDS:
            data = entry[name]
            parse(data)
            for size in range(len(data)):
                refused(data[:size])
            for extra in (b"\x00", b"\xff", data[:4]):
                refused(data + extra)


def test_random_bodies_are_never_taken_for_mls() -> None:
    rng = Random("random bodies")
    taken = 0
    for index in range(100_000):
        body = random_body(rng)
        if index % 2:
            body = bytes((0, 1, 0, rng.randrange(1, 6))) + body
        try:
            parse(body)
        except FramingError:
            continue
        taken += 1
    assert taken == 0
    # The control: the same loop does count what is framed.
    assert parse(private_message(rng.randbytes(64))).kind is SealedKind.PRIVATE_APPLICATION


@pytest.mark.parametrize("text", ["", "Hello", "From: <sip:a@b>\r\n", "ÄÖÜ", "{}", "\x00\x01\x00\x02", "A" * 5000])
def test_text_is_never_taken_for_mls(text: str) -> None:
    refused(text.encode())


@pytest.mark.attack("A3")
def test_framing_is_not_proof_plaintext_in_a_shell_is_framed() -> None:
    """What a parser without keys cannot tell, kept in sight: nothing that it returns may be read as proof."""
    plaintext = b"transfer 1000 to account 4711, said in clear to everybody"
    body = parse(private_message(plaintext))
    assert body.kind is SealedKind.PRIVATE_APPLICATION
    assert plaintext in body.ciphertext
    assert set(SealedBody.__slots__) == {"authenticated_data", "ciphertext", "epoch", "group_id", "kind"}


@given(
    group_id=st.binary(min_size=1, max_size=255),
    epoch=st.integers(0, 2**64 - 1),
    content_type=st.sampled_from((1, 2, 3)),
    aad=st.binary(max_size=300),
    ciphertext=st.binary(min_size=MIN_CIPHERTEXT, max_size=200),
)
def test_a_private_message_gives_back_what_was_put_in(
    group_id: bytes, epoch: int, content_type: int, aad: bytes, ciphertext: bytes
) -> None:
    data = private_message(
        ciphertext, group_id=group_id, epoch=epoch, content_type=content_type, authenticated_data=aad
    )
    body = parse(data)
    assert (body.kind, body.group_id, body.epoch) == (PRIVATE[content_type], group_id, epoch)
    assert (body.authenticated_data, body.ciphertext) == (aad, data)
    for size in range(0, len(data), 7):
        refused(data[:size])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", FramingReason.TRUNCATED),
        (b"\x00\x01\x00", FramingReason.TRUNCATED),
        (b"\x00\x02\x00\x02" + private_message()[4:], FramingReason.UNKNOWN_VERSION),
        (b"\x00\x01\x00\x00" + private_message()[4:], FramingReason.UNKNOWN_WIRE_FORMAT),
        (b"\x00\x01\x00\x06" + private_message()[4:], FramingReason.UNKNOWN_WIRE_FORMAT),
        (b"\x00\x01\x01\x02" + private_message()[4:], FramingReason.UNKNOWN_WIRE_FORMAT),
        (private_message(group_id=b""), FramingReason.LENGTH_OUT_OF_RANGE),
        (private_message(group_id=b"g" * 256), FramingReason.LENGTH_OUT_OF_RANGE),
        (private_message(content_type=0), FramingReason.UNKNOWN_CONTENT_TYPE),
        (private_message(content_type=4), FramingReason.UNKNOWN_CONTENT_TYPE),
        (private_message(sender_data=b"s" * 27), FramingReason.LENGTH_OUT_OF_RANGE),
        (private_message(sender_data=b"s" * 29), FramingReason.LENGTH_OUT_OF_RANGE),
        (private_message().replace(b"\x1c" + b"\x5d" * 28, b"\x1b" + b"\x5d" * 28), FramingReason.LENGTH_OUT_OF_RANGE),
        (private_message(b"c" * (MIN_CIPHERTEXT - 1)), FramingReason.LENGTH_OUT_OF_RANGE),
        (private_message(authenticated_data=b"a" * 4097), FramingReason.LENGTH_OUT_OF_RANGE),
        (private_message() + b"x", FramingReason.TRAILING_BYTES),
        (private_message()[:-1], FramingReason.TRUNCATED),
    ],
)
def test_refusals_of_private_messages(data: bytes, reason: FramingReason) -> None:
    assert refused(data) is reason


@pytest.mark.parametrize(
    "data",
    [
        private_message(group_id=b"g"),
        private_message(group_id=b"g" * 255),
        private_message(b"c" * MIN_CIPHERTEXT),
        private_message(authenticated_data=b"a" * 4096),
        private_message(authenticated_data=b""),
        private_message(epoch=2**64 - 1),
    ],
)
def test_the_neighbours_of_those_refusals(data: bytes) -> None:
    assert parse(data).ciphertext == data


@pytest.mark.parametrize("header", [b"\x40\x07", b"\x80\x00\x00\x07", b"\xc7"])
def test_lengths_must_be_minimal(header: bytes) -> None:
    data = private_message(group_id=b"a group")
    assert refused(data[:4] + header + data[5:]) is FramingReason.LENGTH_NOT_MINIMAL


def test_the_ciphertext_length_must_be_minimal() -> None:
    head = private_message(b"c" * 100)
    bare = head[: -100 - len(length_header(100))]
    assert parse(bare + b"\x40\x64" + b"c" * 100).epoch == 7
    assert refused(bare + b"\x80\x00\x00\x64" + b"c" * 100) is FramingReason.LENGTH_NOT_MINIMAL


def test_size_limit() -> None:
    data = private_message(b"c" * MAX_MESSAGE)
    assert refused(data) is FramingReason.TOO_LARGE
    assert parse(data, limit=len(data)).ciphertext == data
    assert refused(data, limit=len(data) - 1) is FramingReason.TOO_LARGE


def test_a_buffer_that_could_change_is_copied() -> None:
    buffer = bytearray(private_message())
    body = parse(buffer)  # type: ignore[arg-type]
    buffer[:] = bytes(len(buffer))
    assert body.ciphertext == private_message()


def member_proposal(sender: bytes, content_type: int, content: bytes, tail: bytes) -> bytes:
    head = Writer().u16(1).u16(1).opaque(b"g").u64(0).raw(sender).opaque(b"").u8(content_type)
    return head.raw(content).opaque(b"signature").raw(tail).done()


REMOVE = bytes.fromhex("000300000001")
MEMBER = bytes.fromhex("0100000000")
TAG = b"\x20" + b"t" * 32


def test_public_senders_and_their_tags() -> None:
    assert parse(member_proposal(MEMBER, 2, REMOVE, TAG)).kind is SealedKind.PUBLIC_PROPOSAL
    assert parse(member_proposal(b"\x02\x00\x00\x00\x00", 2, REMOVE, b"")).kind is SealedKind.PUBLIC_PROPOSAL
    assert parse(member_proposal(MEMBER, 3, b"\x00\x00", TAG + TAG)).kind is SealedKind.PUBLIC_COMMIT
    assert parse(member_proposal(b"\x04", 3, b"\x00\x00", TAG)).kind is SealedKind.PUBLIC_COMMIT
    for data, reason in (
        (member_proposal(MEMBER, 2, REMOVE, b""), FramingReason.TRUNCATED),
        (member_proposal(MEMBER, 2, REMOVE, b"\x1f" + b"t" * 31), FramingReason.LENGTH_OUT_OF_RANGE),
        (member_proposal(b"\x02\x00\x00\x00\x00", 2, REMOVE, TAG), FramingReason.TRAILING_BYTES),
        (member_proposal(b"\x02\x00\x00\x00\x00", 3, b"\x00\x00", TAG), FramingReason.SENDER_NOT_ALLOWED),
        (member_proposal(b"\x03", 3, b"\x00\x00", TAG), FramingReason.SENDER_NOT_ALLOWED),
        (member_proposal(b"\x04", 2, REMOVE, b""), FramingReason.SENDER_NOT_ALLOWED),
        (member_proposal(b"\x03", 2, REMOVE, b""), FramingReason.SENDER_NOT_ALLOWED),
        (member_proposal(b"\x00", 2, REMOVE, b""), FramingReason.UNKNOWN_SENDER),
        (member_proposal(b"\x05", 2, REMOVE, b""), FramingReason.UNKNOWN_SENDER),
        (member_proposal(MEMBER, 1, REMOVE, TAG), FramingReason.PUBLIC_APPLICATION),
        (member_proposal(MEMBER, 4, REMOVE, TAG), FramingReason.UNKNOWN_CONTENT_TYPE),
        (member_proposal(MEMBER, 2, b"\x00\x08", TAG), FramingReason.UNKNOWN_PROPOSAL),
        (member_proposal(MEMBER, 3, b"\x00\x02", TAG + TAG), FramingReason.UNKNOWN_VALUE),
        (member_proposal(MEMBER, 3, b"\x01\x03\x00", TAG + TAG), FramingReason.UNKNOWN_VALUE),
    ):
        assert refused(data) is reason


PSK = bytes.fromhex("0004")


def test_every_kind_of_proposal() -> None:
    group = b"\x01g"
    good = (
        PSK + b"\x01\x02id\x05nonce",
        PSK + b"\x02\x01" + group + bytes(8) + b"\x05nonce",
        b"\x00\x05" + group + b"\x00\x01\x00\x01\x00",
        b"\x00\x06\x03kem",
        b"\x00\x07\x00",
        b"\x00\x07\x08\xf0\x01\x01a\xf0\x02\x01b",
    )
    for content in good:
        assert parse(member_proposal(MEMBER, 2, content, TAG)).kind is SealedKind.PUBLIC_PROPOSAL
    for content, reason in (
        (PSK + b"\x03\x02id\x05nonce", FramingReason.UNKNOWN_VALUE),
        (PSK + b"\x02\x04" + group + bytes(8) + b"\x05nonce", FramingReason.UNKNOWN_VALUE),
        (b"\x00\x05" + group + b"\x00\x02\x00\x01\x00", FramingReason.UNKNOWN_VERSION),
        (b"\x00\x05" + group + b"\x00\x01\x00\x00\x00", FramingReason.UNKNOWN_VALUE),
        (b"\x00\x06\x00", FramingReason.LENGTH_OUT_OF_RANGE),
        (b"\x00\x07\x08\xf0\x01\x01a\xf0\x01\x01b", FramingReason.DUPLICATE_EXTENSION),
    ):
        assert refused(member_proposal(MEMBER, 2, content, TAG)) is reason


def test_a_welcome_names_somebody() -> None:
    sealed = b"\x01k\x10" + b"c" * 16
    info = b"\x10" + b"i" * 16

    def welcome(secrets: bytes, suite: int = 1, group_info: bytes = info) -> bytes:
        return Writer().u16(1).u16(3).u16(suite).opaque(secrets).raw(group_info).done()

    one = b"\x20" + b"r" * 32 + sealed
    assert parse(welcome(one)).kind is SealedKind.WELCOME
    assert parse(welcome(one + one)).kind is SealedKind.WELCOME
    assert parse(welcome(one, suite=0xF057)).kind is SealedKind.WELCOME
    assert refused(welcome(b"")) is FramingReason.LENGTH_OUT_OF_RANGE
    assert refused(welcome(one, suite=0)) is FramingReason.UNKNOWN_VALUE
    assert refused(welcome(one, suite=7)) is FramingReason.LENGTH_OUT_OF_RANGE
    assert refused(welcome(one, group_info=b"\x0f" + b"i" * 15)) is FramingReason.LENGTH_OUT_OF_RANGE


@settings(max_examples=500)
@given(st.binary(max_size=300), st.integers(0, 6))
def test_total(tail: bytes, wire_format: int) -> None:
    for data in (tail, bytes((0, 1, 0, wire_format)) + tail):
        check_total(parse, FramingError, data)


def test_mutated_official_messages_give_a_value_or_a_typed_error(vectors: Path) -> None:
    rng = Random("mutations")
    messages = load_messages(vectors)
    outcomes = {True: 0, False: 0}
    for _ in range(40_000):
        data = mutate(rng.choice(messages)[rng.choice(KINDS)], rng)
        outcomes[check_total(parse, FramingError, data)] += 1
    # Both happen: a changed ciphertext byte is still framing, a changed length is not.
    assert min(outcomes.values()) > 1000


def test_errors_and_reprs_hold_no_content() -> None:
    canary = b"CANARY-7f3a"
    good = private_message(canary * 20, group_id=canary, authenticated_data=canary)
    assert "CANARY" not in repr(parse(good))
    for size in range(len(good)):
        with pytest.raises(FramingError) as caught:
            parse(good[:size])
        assert "CANARY" not in f"{caught.value} {caught.value!r} {caught.value.args} {caught.value.facts}"
