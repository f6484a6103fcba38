"""Patterns are held against the ordinary encoders, with other bytes before and behind the canary."""

import base64
import binascii
import gzip
import html
import io
import json
import os
import re
import struct
import urllib.parse
import zipfile
import zlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.lab.sweep.encodings import (
    MAX_TEXT,
    MIN_PATTERN,
    Canary,
    CanaryError,
    CanaryReason,
    Encoding,
    packed,
    patterns,
    septets,
)
from letterlock.lab.sweep.matcher import LONG, Matcher, Stream

PLAIN = Canary("plain", "tell nobody @ noon_37 $ (really?)")
GSM = Canary("gsm", "Grüße aus Köln, 5 € bitte {heute}")
UNICODE = Canary("unicode", 'секрет № 1/2 "ключ" 🔑 + ещё')
NUMBER = Canary("number", "491511234567", is_number=True)
TEXTS = (PLAIN, GSM, UNICODE)


def hits(data: bytes, *canaries: Canary, piece: int = 0) -> Counter[tuple[str, Encoding]]:
    counts: Counter[tuple[str, Encoding]] = Counter()

    def found(index: int, encoding: Encoding, _: int) -> None:
        counts[canaries[index].label, encoding] += 1

    stream = Stream(Matcher(canaries), found)
    for at in range(0, len(data), piece or len(data) or 1):
        stream.feed(data[at : at + piece] if piece else data)
    return counts


def found_as(data: bytes, canary: Canary) -> set[Encoding]:
    return {encoding for _, encoding in hits(data, canary)}


@pytest.mark.parametrize("canary", [*TEXTS, NUMBER], ids=lambda canary: canary.label)
def test_character_sets(canary: Canary) -> None:
    for name, encoding in (
        ("utf-8", Encoding.UTF_8),
        ("utf-16-le", Encoding.UTF_16_LE),
        ("utf-16-be", Encoding.UTF_16_BE),
        ("utf-32-le", Encoding.UTF_32_LE),
    ):
        for before in range(9):
            assert encoding in found_as(b"x" * before + canary.secret.encode(name) + b"yz", canary)
    assert Encoding.LATIN_1 in found_as(b"." + "Grüße aus Köln".encode("latin-1"), Canary("l", "Grüße aus Köln"))


@pytest.mark.parametrize("canary", [*TEXTS, NUMBER], ids=lambda canary: canary.label)
def test_hex_and_base64_at_every_alignment(canary: Canary) -> None:
    for name in ("utf-8", "utf-16-be", "utf-16-le"):
        raw = canary.secret.encode(name)
        for before in range(7):
            for behind in range(4):
                data = os.urandom(before) + raw + os.urandom(behind)
                assert Encoding.HEX in found_as(binascii.hexlify(data), canary)
                assert Encoding.HEX in found_as(data.hex().upper().encode(), canary)
                assert found_as(base64.b64encode(data), canary) & {Encoding.BASE64}
                urlsafe = base64.urlsafe_b64encode(data).rstrip(b"=")
                assert found_as(urlsafe, canary) & {Encoding.BASE64, Encoding.BASE64_URL}
    full = Canary("bits", "???>>>~~~ÿÿÿ" + canary.secret)
    raw = base64.urlsafe_b64encode(b"." + full.secret.encode())
    assert found_as(raw, full) == {Encoding.BASE64_URL}


@pytest.mark.parametrize("canary", TEXTS, ids=lambda canary: canary.label)
def test_text_escapes(canary: Canary) -> None:
    text = canary.secret
    everything = {Encoding.UTF_8, Encoding.JSON, Encoding.URL, Encoding.PYTHON_REPR}
    for form in (
        json.dumps({"body": f"a{text}b"}),
        json.dumps({"body": f"a{text}b"}, ensure_ascii=False),
        json.dumps(text).replace("/", "\\/"),
        urllib.parse.quote(f"a{text}b"),
        urllib.parse.quote(f"a{text}b", safe=""),
        urllib.parse.urlencode({"Body": text}),
        repr(f"a{text}b".encode()),
        ascii(f"a{text}b"),
        repr({"body": text}),
    ):
        assert found_as(form.encode(), canary) & everything, form
    lower = re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), urllib.parse.quote(text))
    assert found_as(lower.encode(), canary) & everything


def pack_by_bits(units: bytes, fill: int) -> bytes:
    """A second packer, bit by bit, to hold the first against."""
    bits = [0] * fill + [unit >> bit & 1 for unit in units for bit in range(7)]
    bits += [0] * (-len(bits) % 8)
    return bytes(sum(bit << n for n, bit in enumerate(bits[at : at + 8])) for at in range(0, len(bits), 8))


@given(st.binary(max_size=40).map(lambda raw: bytes(b & 0x7F for b in raw)), st.integers(0, 7))
def test_two_packers_agree(units: bytes, shift: int) -> None:
    assert packed(units, shift) == pack_by_bits(units, shift)


def test_known_packing() -> None:
    assert packed(b"hellohello", 0) == bytes.fromhex("E8329BFD4697D9EC37")  # the well-known PDU example


@pytest.mark.parametrize("canary", [PLAIN, GSM, NUMBER], ids=lambda canary: canary.label)
def test_gsm_packed_anywhere_in_a_message(canary: Canary) -> None:
    for before in range(9):
        for fill in range(7):
            units = septets("Hello you"[:before] + canary.secret + "bye, bye")
            assert units is not None
            data = b"\x05\x00\x03\x07\x02\x01" + pack_by_bits(units, fill)
            assert found_as(data, canary) == {Encoding.GSM_PACKED}
            assert Encoding.HEX in found_as(data.hex().encode(), canary)


def test_gsm_unpacked_and_what_the_alphabet_lacks() -> None:
    units = septets(GSM.secret)
    assert units is not None
    assert found_as(b"\x00\x00" + units + b"\x00", GSM) == {Encoding.GSM_UNPACKED}
    assert septets(UNICODE.secret) is None
    assert septets("@£$\x0c^{}\\[~]|€") == bytes(
        (0, 1, 2, 27, 10, 27, 20, 27, 40, 27, 41, 27, 47, 27, 60, 27, 61, 27, 62, 27, 64, 27, 101)
    )
    assert septets("\x1b") is None
    assert not {Encoding.GSM_PACKED, Encoding.GSM_UNPACKED} & set(patterns(UNICODE).values())


@pytest.mark.parametrize("digits", ["491511234567", "4915112345678", "49151123456789", "123456789012345"])
@pytest.mark.parametrize("prefix", ["", "0", "00", "001"])
def test_semi_octets(digits: str, prefix: str) -> None:
    canary = Canary("n", digits, is_number=True)
    filled = prefix + digits + ("F" if len(prefix + digits) % 2 else "")
    swapped = bytes(int(filled[at + 1] + filled[at], 16) for at in range(0, len(filled), 2))
    plain = bytes(int(filled[at : at + 2], 16) for at in range(0, len(filled), 2))
    if len(digits) >= 13 or len(prefix) % 2 == 0:
        assert Encoding.SEMI_OCTETS in found_as(b"\x0b\x91" + swapped + b"\x00", canary)
        assert Encoding.SEMI_OCTETS in found_as(b"\x0b\x91" + plain + b"\x00", canary)
        assert Encoding.HEX in found_as(swapped.hex().upper().encode(), canary)


@pytest.mark.parametrize("digits", ["491511234567", "4915112345678", "999999000111777"])
def test_numbers_as_integers(digits: str) -> None:
    canary = Canary("n", digits, is_number=True)
    for form in (">Q", "<Q"):
        assert Encoding.INTEGER in found_as(b"\x13" + struct.pack(form, int(digits)) + b"\x13", canary)


@pytest.mark.parametrize("canary", [*TEXTS, NUMBER], ids=lambda canary: canary.label)
@pytest.mark.parametrize("piece", [0, 1, 7, 100])
def test_compressed_members(canary: Canary, piece: int) -> None:
    text = os.urandom(40).hex().encode() + canary.secret.encode() + os.urandom(40).hex().encode()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr("name", text)
    for level in (1, 6, 9):
        for data, encoding in (
            (gzip.compress(text, level), Encoding.GZIP),
            (zlib.compress(text, level), Encoding.ZLIB),
            (archive.getvalue(), Encoding.DEFLATE),
        ):
            if encoding is Encoding.DEFLATE and piece and piece < 40:
                continue  # a header in two pieces is covered where it fits in the tail
            counts = hits(b"before" + data + b"behind", canary, piece=piece)
            assert counts[canary.label, encoding] == 1


@pytest.mark.parametrize("piece", [1, 2, 5, 13, 64, 1000, 0])
def test_every_occurrence_counts_once_however_the_stream_is_cut(piece: int) -> None:
    data = b"".join(os.urandom(n % 50) + PLAIN.secret.encode() + NUMBER.secret.encode() for n in range(60))
    counts = hits(data, PLAIN, NUMBER, piece=piece)
    assert counts["plain", Encoding.UTF_8] == 60
    assert counts["number", Encoding.UTF_8] == 60


def test_large_data_and_block_borders() -> None:
    border = 64 * 1024
    needle = PLAIN.secret.encode()
    for at in [*range(border - len(needle) - 9, border + 10), 0, 3 * border - len(needle)]:
        data = bytearray(3 * border)
        data[at : at + len(needle)] = needle
        assert hits(bytes(data), PLAIN) == {("plain", Encoding.UTF_8): 1}


def test_nothing_is_found_where_nothing_is() -> None:
    noise = os.urandom(3_000_000)
    assert not hits(noise, *TEXTS, NUMBER)
    assert not hits(html.escape("tell nobody at noon " * 10_000).encode(), *TEXTS, NUMBER)


def test_patterns_are_long_enough_and_plenty() -> None:
    for canary in (*TEXTS, NUMBER):
        made = patterns(canary)
        assert all(len(pattern) >= MIN_PATTERN for pattern in made)
        assert len(made) > 30
        assert max(map(len, made)) > LONG


@pytest.mark.parametrize(
    ("secret", "number", "reason"),
    [
        ("short", False, CanaryReason.TOO_SHORT),
        ("", False, CanaryReason.TOO_SHORT),
        ("x" * 50, False, CanaryReason.TOO_PLAIN),
        ("ab" * MAX_TEXT, False, CanaryReason.TOO_LONG),
        ("12345678901", True, CanaryReason.TOO_SHORT),
        ("+491511234567", True, CanaryReason.NOT_DIGITS),
        ("४९१५११२३४५६७", True, CanaryReason.NOT_DIGITS),
    ],
)
def test_what_cannot_be_a_canary(secret: str, number: bool, reason: CanaryReason) -> None:
    with pytest.RaisesExc(CanaryError, check=lambda error: error.reason is reason):
        Canary("label", secret, number)
    assert "secret" not in repr(Canary("label", "a secret text"))
