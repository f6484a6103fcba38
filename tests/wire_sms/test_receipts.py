"""Delivery receipts: both forms, ids in any base, and never a piece of the message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.wire.sms.errors import ReceiptError, ReceiptReason
from letterlock.wire.sms.receipts import (
    RECEIPT_WORDS,
    IdBase,
    IdForms,
    IdSource,
    Receipt,
    normalise_id,
    parse_receipt,
)
from letterlock.wire.sms.terms import MessageState, TlvTag

TEXT = b"id:0123456789 sub:001 dlvrd:001 submit date:2611221200 done date:2611221201 stat:DELIVRD err:000 text:"


def test_the_text_form() -> None:
    receipt = parse_receipt({}, TEXT + b"CANARY id:9 stat:REJECTD")
    assert receipt == Receipt("0123456789", IdSource.TEXT, MessageState.DELIVERED, "2611221201", "000")
    assert "CANARY" not in repr(receipt)


@pytest.mark.parametrize(("state", "word"), list(RECEIPT_WORDS.items()))
def test_every_state_in_both_forms(state: MessageState, word: str) -> None:
    assert parse_receipt({}, f"id:1 stat:{word.lower()}".encode()).state is state
    tlvs: dict[int, bytes] = {TlvTag.RECEIPTED_MESSAGE_ID: b"a1\0", TlvTag.MESSAGE_STATE: bytes([state])}
    assert parse_receipt(tlvs, b"") == Receipt("a1", IdSource.TLV, state)
    assert state.is_final == (state not in {MessageState.ENROUTE, MessageState.ACCEPTED, MessageState.UNKNOWN})


def test_tlvs_come_first() -> None:
    tlvs = {
        int(TlvTag.RECEIPTED_MESSAGE_ID): b"tlv",
        int(TlvTag.MESSAGE_STATE): b"\x05",
        int(TlvTag.NETWORK_ERROR_CODE): b"\x03\x00\x21",
    }
    receipt = parse_receipt(tlvs, TEXT)
    assert (receipt.message_id, receipt.state, receipt.error) == ("tlv", MessageState.UNDELIVERABLE, "000")
    assert parse_receipt(tlvs, b"").error == "033"


@pytest.mark.parametrize(
    ("tlvs", "text", "reason"),
    [
        ({}, b"", ReceiptReason.NO_ID),
        ({}, b"stat:DELIVRD", ReceiptReason.NO_ID),
        ({}, b"stat:DELIVRD text:id:5", ReceiptReason.NO_ID),
        ({}, b"id:5", ReceiptReason.NO_STATE),
        ({}, b"id:5 text:stat:DELIVRD", ReceiptReason.NO_STATE),
        ({}, b"id:5 stat:NONSENS", ReceiptReason.UNKNOWN_STATE),
        ({}, b"id:" + b"5" * 65 + b" stat:DELIVRD", ReceiptReason.BAD_ID),
        ({}, b"id:\x01 stat:DELIVRD", ReceiptReason.BAD_ID),
        ({TlvTag.RECEIPTED_MESSAGE_ID: b"a\0b"}, b"stat:DELIVRD", ReceiptReason.BAD_ID),
        ({TlvTag.RECEIPTED_MESSAGE_ID: b"a", TlvTag.MESSAGE_STATE: b"\x09"}, b"", ReceiptReason.UNKNOWN_STATE),
    ],
)
def test_receipts_that_say_too_little(tlvs: dict[int, bytes], text: bytes, reason: ReceiptReason) -> None:
    with pytest.raises(ReceiptError) as caught:
        parse_receipt(tlvs, text)
    assert caught.value.reason is reason


def test_odd_dates_and_codes_are_left_out() -> None:
    receipt = parse_receipt({}, b"id:1 done date:yesterday stat:EXPIRED err:no-such-code-here")
    assert receipt == Receipt("1", IdSource.TEXT, MessageState.EXPIRED)


@given(st.integers(0, 16**16))
def test_ids_in_hex_and_decimal_are_one(number: int) -> None:
    forms = IdForms(IdBase.HEX, IdBase.HEX, IdBase.DECIMAL)
    answered = normalise_id(f"{number:X}", forms.response)
    assert answered == normalise_id(f"{number:016x}", forms.response)
    assert answered == parse_receipt({}, f"id:{number:010d} stat:DELIVRD".encode()).normalised_id(forms)
    tlv: dict[int, bytes] = {TlvTag.RECEIPTED_MESSAGE_ID: f"{number:x}".encode()}
    assert answered == parse_receipt(tlv, b"stat:DELIVRD").normalised_id(forms)


@given(st.text(max_size=80), st.sampled_from(list(IdBase)))
def test_normalising_is_total_and_settles(text: str, base: IdBase) -> None:
    once = normalise_id(text, base)
    if base is not IdBase.HEX:
        assert normalise_id(once, base) == once
    if base is IdBase.AS_IS:
        assert once == text


@given(
    st.one_of(st.binary(max_size=300), st.binary(max_size=60).map(lambda tail: TEXT[:-5] + tail)),
    st.dictionaries(st.sampled_from([0x1E, 0x427, 0x423]), st.binary(max_size=70)),
)
def test_reading_is_total(text: bytes, tlvs: dict[int, bytes]) -> None:
    try:
        receipt = parse_receipt(tlvs, text)
    except ReceiptError:
        return
    assert 0 < len(receipt.message_id) <= 64


@given(st.binary(max_size=100))
def test_nothing_behind_text_is_ever_kept(tail: bytes) -> None:
    assert parse_receipt({}, TEXT + tail) == parse_receipt({}, TEXT)
