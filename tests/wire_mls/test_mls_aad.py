import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.model.ids import MessageId
from letterlock.wire.mls import (
    FramingError,
    FramingReason,
    LetterlockAad,
    Rcc16Aad,
    build_letterlock_aad,
    build_rcc16_aad,
    parse_letterlock_aad,
    parse_rcc16_aad,
)

MX = "MxVQ6EAOKbQdSnFkRmVUQAAA"
VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)


def refused(data: bytes) -> FramingReason:
    with pytest.raises(FramingError) as caught:
        parse_rcc16_aad(data)
    return caught.value.reason


def test_the_layout_that_is_deployed() -> None:
    data = b"\x00\x01" + bytes([len(MX)]) + MX.encode() + b"\x00\x00\x00\x03" + b"\x00"
    assert parse_rcc16_aad(data) == Rcc16Aad(MX, 3)
    assert build_rcc16_aad(Rcc16Aad(MX, 3)) == data
    resent = data[:-1] + b"\x01component"
    assert parse_rcc16_aad(resent) == Rcc16Aad(MX, 3, b"\x01component")
    assert build_rcc16_aad(Rcc16Aad(MX, 3, b"\x01component")) == resent


@given(VISIBLE, st.integers(0, 2**32 - 1), st.binary(max_size=60).filter(lambda tail: tail[:1] != b"\x00"))
def test_rcc16_round_trip(message_id: str, era: int, resent: bytes) -> None:
    aad = Rcc16Aad(message_id, era, resent)
    assert parse_rcc16_aad(build_rcc16_aad(aad)) == aad


@given(st.binary(max_size=60), st.booleans())
def test_what_is_read_is_what_would_be_written(tail: bytes, headed: bool) -> None:
    data = b"\x00\x01" + tail if headed else tail
    try:
        aad = parse_rcc16_aad(data)
    except FramingError:
        return
    assert build_rcc16_aad(aad) == data


def test_rcc16_refusals() -> None:
    good = build_rcc16_aad(Rcc16Aad(MX, 1))
    for size in range(len(good)):
        refused(good[:size])
    assert refused(good + b"\x00") is FramingReason.TRAILING_BYTES
    assert refused(b"\x00\x02" + good[2:]) is FramingReason.NOT_THIS_PROFILE
    assert refused(b"\x00\x01\x00" + bytes(4) + b"\x00") is FramingReason.LENGTH_OUT_OF_RANGE
    assert refused(b"\x00\x01\x40\x81" + b"m" * 129 + bytes(5)) is FramingReason.LENGTH_OUT_OF_RANGE
    assert refused(b"\x00\x01\x03a b" + bytes(5)) is FramingReason.UNKNOWN_VALUE
    assert refused(b"\x00\x01\x02\xc3\xa9" + bytes(5)) is FramingReason.UNKNOWN_VALUE
    assert refused(good[:-1] + b"r" * 1025) is FramingReason.LENGTH_OUT_OF_RANGE
    assert parse_rcc16_aad(good[:-1] + b"r" * 1024).resent == b"r" * 1024


@pytest.mark.parametrize(
    "aad",
    [
        Rcc16Aad("", 1),
        Rcc16Aad("a b", 1),
        Rcc16Aad("é", 1),
        Rcc16Aad("m" * 129, 1),
        Rcc16Aad("a\r\n", 1),
        Rcc16Aad(MX, -1),
        Rcc16Aad(MX, 2**32),
        Rcc16Aad(MX, 1, b"\x00x"),
        Rcc16Aad(MX, 1, b"r" * 1025),
    ],
)
def test_what_could_not_be_read_is_not_written(aad: Rcc16Aad) -> None:
    with pytest.raises(FramingError):
        build_rcc16_aad(aad)


@given(st.binary(min_size=16, max_size=16))
def test_letterlock_round_trip(value: bytes) -> None:
    aad = LetterlockAad(MessageId(value))
    data = build_letterlock_aad(aad)
    assert parse_letterlock_aad(data) == aad
    assert len(data) == 19
    for wrong in (data[:-1], data + b"\x00", b"\x00\x01" + data[2:], data[:2] + b"\x02" + data[3:], b""):
        with pytest.raises(FramingError):
            parse_letterlock_aad(wrong)


def test_the_profiles_are_told_apart() -> None:
    ours = build_letterlock_aad(LetterlockAad(MessageId(bytes(16))))
    theirs = build_rcc16_aad(Rcc16Aad(MX, 1))
    assert refused(ours) is FramingReason.NOT_THIS_PROFILE
    with pytest.raises(FramingError) as caught:
        parse_letterlock_aad(theirs)
    assert caught.value.reason is FramingReason.NOT_THIS_PROFILE
