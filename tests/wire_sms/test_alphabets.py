"""GSM 03.38 and UCS-2: round trips, refusals, totality."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from letterlock.wire.sms import gsm0338, ucs2
from letterlock.wire.sms.errors import TextError, TextReason

BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = "\f^{}\\[~]|€"
gsm_text = st.text(st.sampled_from(BASIC + EXTENSION), max_size=400)


def test_the_tables_are_whole() -> None:
    assert len(set(BASIC)) == 127
    assert [gsm0338.encode(char)[0] for char in BASIC] == [code for code in range(128) if code != 0x1B]
    pairs = {0x0A: "\f", 0x14: "^", 0x28: "{", 0x29: "}", 0x2F: "\\", 0x3C: "[", 0x3D: "~", 0x3E: "]", 0x40: "|"}
    assert {gsm0338.encode(char): char for char in EXTENSION} == {
        bytes([0x1B, code]): char for code, char in (pairs | {0x65: "€"}).items()
    }


def test_every_other_character_is_refused() -> None:
    for code in range(0x11000):
        char = chr(code)
        if char in BASIC + EXTENSION:
            assert gsm0338.decode(gsm0338.encode(char)) == char
        else:
            with pytest.raises(TextError):
                gsm0338.encode(char)


def test_a_foreign_codec_agrees() -> None:
    codec = pytest.importorskip("aiosmpplib.codec")
    info = codec.find_codec_info("gsm0338", None)
    for char in (BASIC + EXTENSION).replace("\f", ""):
        assert info.encode(char, "strict")[0] == gsm0338.encode(char)


@given(gsm_text, st.integers(0, 6))
def test_gsm_round_trip_packed_and_unpacked(text: str, fill: int) -> None:
    septets = gsm0338.encode(text)
    assert gsm0338.decode(septets) == gsm0338.decode_lossy(septets) == text
    packed = gsm0338.pack(septets, fill)
    assert len(packed) == (7 * len(septets) + fill + 7) // 8
    assert gsm0338.unpack(packed, len(septets), fill) == septets


def test_packing_as_the_standard_shows_it() -> None:
    assert gsm0338.pack(gsm0338.encode("hellohello")) == bytes.fromhex("e8329bfd4697d9ec37")
    assert gsm0338.pack(gsm0338.encode("hello"), 1) == bytes.fromhex("d06536fb0d")


@given(st.binary(max_size=200))
@example(b"\x1b")
@example(b"\x1b\x1b\x65")
@example(b"\x80")
def test_gsm_decoding_is_total(octets: bytes) -> None:
    shown = gsm0338.decode_lossy(octets)
    try:
        assert gsm0338.decode(octets) == shown
    except TextError:
        assert "\ufffd" in shown or gsm0338.encode(shown) != octets
    else:
        assert gsm0338.encode(shown) == octets


@given(st.binary(max_size=100), st.integers(0, 200), st.integers(0, 6))
def test_unpacking_is_total(octets: bytes, count: int, fill: int) -> None:
    try:
        septets = gsm0338.unpack(octets, count, fill)
    except TextError:
        assert len(octets) * 8 < count * 7 + fill
    else:
        assert len(septets) == count
        assert septets.isascii()


def test_packing_refuses_what_is_no_septet() -> None:
    with pytest.raises(TextError):
        gsm0338.pack(b"\x80")
    for fill in (-1, 7):
        with pytest.raises(ValueError):
            gsm0338.pack(b"a", fill)
        with pytest.raises(ValueError):
            gsm0338.unpack(b"a", 1, fill)


def test_unknown_extensions_show_their_basic_character() -> None:
    assert gsm0338.decode_lossy(b"\x1bA\x1b") == "A\ufffd"
    with pytest.raises(TextError):
        gsm0338.decode(b"\x1bA")


@given(st.text(max_size=200))
def test_ucs2_round_trip(text: str) -> None:
    octets = ucs2.encode(text)
    assert ucs2.decode(octets) == ucs2.decode_lossy(octets) == text


@pytest.mark.parametrize("octets", [b"a", b"\xd8\x00", b"\xdc\x00\xd8\x00", b"\xd8\x00\x00a"])
def test_ucs2_refuses_halves(octets: bytes) -> None:
    with pytest.raises(TextError) as caught:
        ucs2.decode(octets)
    assert caught.value.reason is TextReason.BAD_OCTETS
    assert caught.value.__context__ is None
    assert "\ufffd" in ucs2.decode_lossy(octets)


def test_ucs2_refuses_a_lone_surrogate_and_the_error_holds_no_text() -> None:
    with pytest.raises(TextError) as caught:
        ucs2.encode("secret \ud800")
    assert caught.value.reason is TextReason.UNENCODABLE
    assert caught.value.__context__ is None
    assert "secret" not in repr(caught.value) + str(caught.value)
