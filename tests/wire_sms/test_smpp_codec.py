"""The SMPP codec: round trips, every refusal, totality, a foreign codec."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.model.bodies import OpenBody, RevealPurpose
from letterlock.wire.sms import gsm0338, ucs2
from letterlock.wire.sms.address import NO_ADDRESS, PhoneNumber, SmppAddress, sender_address
from letterlock.wire.sms.encode import encode
from letterlock.wire.sms.errors import PduError, PduReason, ReassemblyError, ReceiptError, ReceiptReason, TextError
from letterlock.wire.sms.pdu import (
    GENERIC_NACK,
    UNBIND,
    Bind,
    BindResp,
    Body,
    DeliverSm,
    DeliverSmResp,
    Pdu,
    QuerySm,
    QuerySmResp,
    Simple,
    SubmitSm,
    SubmitSmResp,
    Tlv,
    error_response,
)
from letterlock.wire.sms.receipts import IdSource, Receipt, parse_receipt
from letterlock.wire.sms.segmentation import split_header
from letterlock.wire.sms.smpp import Framer, decode
from letterlock.wire.sms.terms import (
    MAX_PDU_OCTETS,
    Carried,
    CommandId,
    CommandStatus,
    MessageState,
    TlvTag,
)

ALICE = SmppAddress.of_number(PhoneNumber.parse("+491701234567"))
BANK = sender_address("My Bank")
printable = st.characters(min_codepoint=0x20, max_codepoint=0x7E)


def octets_of(body: OpenBody) -> bytes:
    with body.reveal(RevealPurpose.COMMIT_DIGEST) as view:
        return bytes(view)


def strings(most: int) -> st.SearchStrategy[str]:
    return st.text(printable, max_size=most - 1)


octet = st.integers(0, 255)
times = st.sampled_from(["", "261122120000000+", "000001000000000R"])
addresses = st.sampled_from([ALICE, BANK, NO_ADDRESS, sender_address("22122")])
tlvs = st.dictionaries(st.integers(0x1400, 0x3FFF), st.binary(max_size=50), max_size=5).map(
    lambda found: tuple(Tlv(tag, value) for tag, value in found.items())
)
messages = st.builds(
    SubmitSm,
    addresses,
    addresses,
    st.binary(max_size=254).map(OpenBody),
    octet,
    octet,
    octet,
    st.sampled_from(Carried),
    tlvs,
    strings(6),
    octet,
    octet,
    times,
    times,
    octet,
    octet,
)
binds = st.builds(
    Bind,
    st.sampled_from([CommandId.BIND_RECEIVER, CommandId.BIND_TRANSMITTER, CommandId.BIND_TRANSCEIVER]),
    strings(16),
    strings(9),
    strings(13),
    octet,
    octet,
    octet,
    strings(41),
)
others: st.SearchStrategy[Body] = st.one_of(
    binds,
    st.builds(BindResp, st.just(CommandId.BIND_TRANSCEIVER_RESP), strings(16), st.none() | octet),
    st.builds(SubmitSmResp, strings(65)),
    st.just(DeliverSmResp()),
    st.builds(QuerySm, strings(65), addresses),
    st.builds(QuerySmResp, strings(65), times, st.sampled_from(MessageState), octet),
    st.sampled_from([CommandId.ENQUIRE_LINK, CommandId.UNBIND_RESP, CommandId.GENERIC_NACK]).map(Simple),
)
sequences = st.integers(1, 0x7FFFFFFF)


@given(others, sequences)
def test_round_trip_of_what_has_no_content(body: Body, sequence: int) -> None:
    again = decode(encode(Pdu(body, sequence)))
    assert (again.body, again.sequence, again.status) == (body, sequence, 0)


FIELDS = [name for name in SubmitSm.__slots__ if name != "octets"]


@given(messages, sequences)
def test_round_trip_of_messages(message: SubmitSm, sequence: int) -> None:
    again = decode(encode(Pdu(message, sequence))).body
    assert isinstance(again, SubmitSm)
    assert octets_of(again.octets) == octets_of(message.octets)
    assert [getattr(again, name) for name in FIELDS] == [getattr(message, name) for name in FIELDS]


@given(messages)
def test_deliver_sm_is_submit_sm_with_receipts(message: SubmitSm) -> None:
    fields = {name: getattr(message, name) for name in SubmitSm.__slots__}
    again = decode(encode(Pdu(DeliverSm(**fields), 1))).body
    assert isinstance(again, DeliverSm)
    if message.esm_class & 0x3C in {0x04, 0x20}:
        assert again.octets.size == 0
        assert again.receipt is not None
    else:
        assert again.receipt is None
        assert octets_of(again.octets) == octets_of(message.octets)


def test_a_receipts_text_is_dropped_where_it_is_decoded() -> None:
    text = OpenBody(b"id:77 sub:001 stat:DELIVRD err:000 text:CANARY")
    again = decode(encode(Pdu(DeliverSm(ALICE, BANK, text, esm_class=4), 1))).body
    assert isinstance(again, DeliverSm)
    assert again.octets.size == 0
    assert again.receipt == Receipt("77", IdSource.TEXT, MessageState.DELIVERED, None, "000")
    unreadable = decode(encode(Pdu(DeliverSm(ALICE, BANK, OpenBody(b"CANARY"), esm_class=4), 1))).body
    assert isinstance(unreadable, DeliverSm)
    assert (unreadable.receipt, unreadable.octets.size) == (ReceiptReason.NO_ID, 0)


def test_a_foreign_codec_agrees() -> None:
    smpp34 = pytest.importorskip("smpp34")
    ours = encode(Pdu(SubmitSm(BANK, ALICE, OpenBody(b"hello"), 8, 0x40, 1, tlvs=(Tlv(0x1400, b"x"),)), 7))
    theirs = smpp34.SubmitSm(
        "My Bank",
        "491701234567",
        b"hello",
        source_addr_ton=5,
        dest_addr_ton=1,
        dest_addr_npi=1,
        esm_class=0x40,
        data_coding=8,
        registered_delivery=1,
        tlvs=[smpp34.Tlv(0x1400, b"x")],
        sequence_number=7,
    ).encode()
    assert ours == theirs


def frame(command: int, body: bytes, *, status: int = 0, length: int | None = None) -> bytes:
    return struct.pack(">IIII", 16 + len(body) if length is None else length, command, status, 5) + body


def submit(
    *, service: bytes = b"\0", source: bytes = b"\1\1" + b"491701234567\0", target: bytes = b"\1\1" + b"491701234568\0",
    schedule: bytes = b"\0", sm: bytes = b"\5hello", rest: bytes = b"",
) -> bytes:  # fmt: skip
    return frame(4, service + source + target + b"\0\0\0" + schedule + b"\0" + b"\1\0\0\0" + sm + rest)


@pytest.mark.parametrize(
    ("octets", "reason", "answer"),
    [
        (b"", PduReason.BAD_LENGTH, CommandStatus.RINVCMDLEN),
        (frame(4, b"", length=15), PduReason.BAD_LENGTH, CommandStatus.RINVCMDLEN),
        (frame(0x15, b"", length=17), PduReason.BAD_LENGTH, CommandStatus.RINVCMDLEN),
        (frame(0x15, bytes(MAX_PDU_OCTETS)), PduReason.BAD_LENGTH, CommandStatus.RINVCMDLEN),
        (frame(0x99, b""), PduReason.UNKNOWN_COMMAND, CommandStatus.RINVCMDID),
        (frame(4, b""), PduReason.TRUNCATED, CommandStatus.RINVCMDLEN),
        (frame(9, b"sys\0pw"), PduReason.TRUNCATED, CommandStatus.RINVCMDLEN),
        (frame(9, b"s" * 16 + b"\0pw\0\0\x34\0\0\0"), PduReason.STRING_TOO_LONG, CommandStatus.RINVPARLEN),
        (frame(9, b"s\0" + b"p" * 9 + b"\0\0\x34\0\0\0"), PduReason.STRING_TOO_LONG, CommandStatus.RINVPARLEN),
        (submit(source=b"\1\1" + b"1" * 21 + b"\0"), PduReason.STRING_TOO_LONG, CommandStatus.RINVPARLEN),
        (submit(source=b"\1\1" + b"1" * 5_000 + b"\0"), PduReason.STRING_TOO_LONG, CommandStatus.RINVPARLEN),
        (submit(source=b"\1\1\xff\xfe\0"), PduReason.BAD_STRING, CommandStatus.RINVPARAM),
        (submit(target=b"\1\1" + b"12\r\n34\0"), PduReason.BAD_STRING, CommandStatus.RINVPARAM),
        (submit(target=b"\7\1" + b"1234567\0"), PduReason.BAD_TON_NPI, CommandStatus.RINVDSTTON),
        (submit(target=b"\1\2" + b"1234567\0"), PduReason.BAD_TON_NPI, CommandStatus.RINVDSTTON),
        (submit(schedule=b"tomorrow at noon\0"), PduReason.BAD_TIME, CommandStatus.RINVSCHED),
        (submit(sm=b"\6hello"), PduReason.BAD_SM_LENGTH, CommandStatus.RINVMSGLEN),
        (submit(sm=b"\xff" + bytes(255)), PduReason.BAD_SM_LENGTH, CommandStatus.RINVMSGLEN),
        (submit(sm=b""), PduReason.TRUNCATED, CommandStatus.RINVCMDLEN),
        (submit(rest=b"\x14\0\0"), PduReason.BAD_TLV, CommandStatus.RINVOPTPARSTREAM),
        (submit(rest=b"\x14\0\0\5ab"), PduReason.BAD_TLV, CommandStatus.RINVOPTPARSTREAM),
        (submit(rest=b"\x14\0\0\1a" * 2), PduReason.BAD_TLV, CommandStatus.RINVOPTPARSTREAM),
        (submit(rest=b"\x02\x0c\0\1a"), PduReason.BAD_TLV, CommandStatus.RINVOPTPARSTREAM),
        (
            submit(rest=b"".join(struct.pack(">HH", 0x1400 + tag, 0) for tag in range(65))),
            PduReason.TOO_MANY_TLVS,
            CommandStatus.RINVOPTPARSTREAM,
        ),
        (submit(rest=b"\x04\x24\0\1a"), PduReason.TWO_BODIES, CommandStatus.ROPTPARNOTALLWD),
        (frame(0x15, b"x"), PduReason.TRAILING_OCTETS, CommandStatus.RINVCMDLEN),
        (frame(0x8000_0003, b"1\0\0\x09\0"), PduReason.BAD_VALUE, CommandStatus.RINVPARAM),
    ],
)
def test_every_refusal(octets: bytes, reason: PduReason, answer: CommandStatus) -> None:
    with pytest.raises(PduError) as caught:
        decode(octets)
    assert (caught.value.reason, caught.value.answer) == (reason, answer)


def test_the_same_without_the_fault_is_accepted() -> None:
    body = decode(submit(rest=b"\x14\0\0\2ab" + b"\x02\x0c\0\2\0\1")).body
    assert isinstance(body, SubmitSm)
    assert octets_of(body.octets) == b"hello"
    assert body.tlvs == (Tlv(0x1400, b"ab"), Tlv(TlvTag.SAR_MSG_REF_NUM, b"\0\1"))
    payload = decode(submit(sm=b"\0", rest=b"\x04\x24\0\1a")).body
    assert isinstance(payload, SubmitSm)
    assert (payload.carried, payload.tlvs) == (Carried.PAYLOAD, ())


def test_every_refusal_has_an_answer() -> None:
    for reason in PduReason:
        assert PduError(reason).answer in CommandStatus
    for command in CommandId:
        response = error_response(command)
        assert response.command == (command | 0x8000_0000 if command < 0x8000_0000 else CommandId.GENERIC_NACK)
        assert decode(encode(Pdu(response, 1, CommandStatus.RSYSERR))).status == CommandStatus.RSYSERR


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (SubmitSm(SmppAddress(ALICE.ton, ALICE.npi, "49170\x0012"), ALICE, OpenBody(b"")), PduReason.BAD_ADDRESS),
        (SubmitSm(ALICE, SmppAddress(ALICE.ton, ALICE.npi, "1" * 30), OpenBody(b"")), PduReason.BAD_ADDRESS),
        (SubmitSm(ALICE, ALICE, OpenBody(bytes(255))), PduReason.BAD_SM_LENGTH),
        (SubmitSm(ALICE, ALICE, OpenBody(b""), data_coding=256), PduReason.BAD_VALUE),
        (SubmitSm(ALICE, ALICE, OpenBody(b""), service_type="a\0b"), PduReason.BAD_STRING),
        (SubmitSm(ALICE, ALICE, OpenBody(b""), service_type="toolong"), PduReason.STRING_TOO_LONG),
        (SubmitSm(ALICE, ALICE, OpenBody(b""), validity="soon"), PduReason.BAD_TIME),
        (SubmitSm(ALICE, ALICE, OpenBody(b""), tlvs=(Tlv(0x424, b"x"),)), PduReason.BAD_TLV),
        (SubmitSm(ALICE, ALICE, OpenBody(b""), tlvs=(Tlv(0x1400, b"x"),) * 2), PduReason.BAD_TLV),
        (SubmitSm(ALICE, ALICE, OpenBody(b""), tlvs=(Tlv(0x427, b"xx"),)), PduReason.BAD_TLV),
        (
            SubmitSm(ALICE, ALICE, OpenBody(b""), tlvs=tuple(Tlv(0x1400 + n, b"") for n in range(65))),
            PduReason.TOO_MANY_TLVS,
        ),
        (SubmitSm(ALICE, ALICE, OpenBody(bytes(65_535)), carried=Carried.PAYLOAD), PduReason.BAD_LENGTH),
        (SubmitSm(ALICE, ALICE, OpenBody(bytes(65_536)), carried=Carried.PAYLOAD), PduReason.BAD_TLV),
        (Bind(CommandId.BIND_RECEIVER, "a", "passwords"), PduReason.STRING_TOO_LONG),
        (Bind(CommandId.BIND_RECEIVER, "a\0b", "pw"), PduReason.BAD_STRING),
    ],
)
def test_what_cannot_be_a_pdu_is_not_made_into_one(body: Body, reason: PduReason) -> None:
    with pytest.raises(PduError) as caught:
        encode(Pdu(body, 1))
    assert caught.value.reason is reason
    assert caught.value.__context__ is None or reason is not PduReason.BAD_ADDRESS


@pytest.mark.parametrize("pdu", [Pdu(UNBIND, -1), Pdu(UNBIND, 0x8000_0000), Pdu(GENERIC_NACK, 1, -1)])
def test_header_fields_are_checked(pdu: Pdu) -> None:
    with pytest.raises(PduError):
        encode(pdu)


@given(st.lists(others.map(lambda body: encode(Pdu(body, 3))), min_size=1, max_size=6), st.data())
def test_frames_do_not_depend_on_how_octets_arrive(frames: list[bytes], data: st.DataObject) -> None:
    found: list[bytes] = []
    stream, framer = b"".join(frames), Framer()
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += framer.feed(stream[:size])
        stream = stream[size:]
    assert (found, framer.pending) == (frames, 0)


@pytest.mark.parametrize("length", [0, 15, MAX_PDU_OCTETS + 1, 2**24, 2**32 - 1])
def test_a_frame_beyond_the_limits_ends_the_stream_at_once(length: int) -> None:
    framer = Framer()
    with pytest.raises(PduError) as caught:
        list(framer.feed(struct.pack(">IIII", length, 4, 0, 1)))
    assert caught.value.reason is PduReason.BAD_LENGTH


def test_nothing_shows_content_addresses_or_passwords() -> None:
    shown = repr(
        [
            Pdu(SubmitSm(BANK, ALICE, OpenBody(b"CANARY"), tlvs=(Tlv(0x1400, b"CANARY"),)), 1),
            Pdu(Bind(CommandId.BIND_RECEIVER, "me", "CANARY", address_range="CANARY"), 1),
        ]
    )
    assert "CANARY" not in shown
    assert "170123" not in shown
    assert "Bank" not in shown


SEEDS = [
    submit(),
    submit(rest=b"\x14\0\0\2ab" + b"\x02\x0c\0\2\0\1" + b"\x02\x0e\0\1\2" + b"\x02\x0f\0\1\1"),
    submit(sm=b"\0", rest=b"\x04\x24\0\5hello"),
    frame(5, submit(sm=b"\x17id:1 stat:DELIVRD text:")[16:]),
    frame(9, b"sys\0pw\0type\0\x34\0\0\0"),
    frame(0x8000_0004, b"abc\0"),
    frame(0x8000_0009, b"centre\0\x02\x10\0\1\x34"),
    frame(0x15, b""),
]


def mutated(rng: random.Random) -> bytes:
    octets = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randint(0, 4)):
        match rng.randint(0, 3):
            case 0:
                octets[rng.randrange(len(octets))] = rng.randrange(256)
            case 1:
                del octets[rng.randrange(len(octets)) :]
                octets = octets or bytearray(b"\0")
            case 2:
                at = rng.randrange(len(octets))
                octets[at:at] = rng.randbytes(rng.randint(1, 8))
            case _:
                octets += rng.randbytes(rng.randint(1, 8))
    if rng.random() < 0.8:
        octets[0:4] = len(octets).to_bytes(4, "big")
    return bytes(octets)


def refusal_of(pdu: Pdu) -> PduReason | None:
    try:
        encode(pdu)
    except PduError as error:
        return error.reason
    return None


def fuzz_codec(count: int, seed: int) -> int:
    rng, accepted = random.Random(seed), 0
    for _ in range(count):
        octets = mutated(rng)
        try:
            pdu = decode(octets)
        except PduError:
            continue
        accepted += 1
        if pdu.sequence <= 0x7FFFFFFF:
            assert refusal_of(pdu) in {None, PduReason.BAD_ADDRESS}  # we read addresses that we would not write
    return accepted


def fuzz_text(count: int, seed: int) -> int:
    rng, accepted = random.Random(seed), 0
    for _ in range(count):
        octets = rng.randbytes(rng.randint(0, 40))
        gsm0338.decode_lossy(octets)
        ucs2.decode_lossy(octets)
        for strict in (gsm0338.decode, ucs2.decode):
            try:
                strict(octets)
            except TextError:
                continue
            accepted += 1
    return accepted


def fuzz_receipts(count: int, seed: int) -> int:
    rng, accepted = random.Random(seed), 0
    words = [b"id:", b"stat:", b"DELIVRD", b" ", b"12", b"text:", b"done date:", b"err:", b"\0", b"\xff", b"ID:aF"]
    for _ in range(count):
        text = b"".join(rng.choices(words, k=rng.randint(0, 9)))
        tags = {tag: rng.randbytes(rng.randint(0, 3)) for tag in (0x1E, 0x427) if rng.random() < 0.3}
        try:
            parse_receipt(tags, text)
        except ReceiptError:
            continue
        accepted += 1
    return accepted


def fuzz_headers(count: int, seed: int) -> int:
    rng, accepted = random.Random(seed), 0
    for _ in range(count):
        octets = bytes(rng.choices([0, 1, 2, 3, 4, 5, 6, 8, 200], k=rng.randint(0, 12)))
        try:
            split_header(octets)
        except ReassemblyError:
            continue
        accepted += 1
    return accepted


FUZZERS = [fuzz_codec, fuzz_text, fuzz_receipts, fuzz_headers]


@pytest.mark.parametrize("fuzzer", FUZZERS)
def test_parsers_are_total(fuzzer: object) -> None:
    assert callable(fuzzer)
    assert 0 < fuzzer(10_000, 1) < 20_000


@pytest.mark.long
@pytest.mark.parametrize("fuzzer", FUZZERS)
def test_parsers_are_total_on_a_million_inputs(fuzzer: object) -> None:
    assert callable(fuzzer)
    assert 0 < fuzzer(1_000_000, 2) < 2_000_000
