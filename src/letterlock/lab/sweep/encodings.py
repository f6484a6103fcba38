"""How a text or a number may look where it should not be: every encoding as byte patterns.

A pattern holds only bytes that do not depend on what stands before or after the canary. So where an encoding packs
bits (base64, GSM 7-bit, semi-octets), there is one pattern for each alignment, without its shared first and last byte.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import ClassVar, Final
from urllib.parse import quote, quote_plus

from letterlock.model.errors import Fault, OperationError, Reason

MIN_PATTERN: Final = 6
"""Bytes: shorter ones are found by chance (six once in 2^48 positions of random data)."""
MIN_DIGITS: Final = 12
MIN_TEXT: Final = 10
"""Characters: packed in 7 bits and cut to whole bytes, that is still a pattern of 6 bytes at every alignment."""
MAX_TEXT: Final = 2_000

# 3GPP TS 23.038, section 6.2.1: the default alphabet; and 6.2.1.1: what stands behind its escape.
_GSM: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_ESCAPED: Final = {"\f": 10, "^": 20, "{": 40, "}": 41, "\\": 47, "[": 60, "~": 61, "]": 62, "|": 64, "€": 101}


@unique
class CanaryReason(Reason):
    """Why something cannot serve as a canary."""

    TOO_SHORT = "canary_too_short"
    TOO_LONG = "canary_too_long"
    NOT_DIGITS = "number_is_not_digits"
    TOO_PLAIN = "canary_repeats_one_character"


class CanaryError(OperationError[CanaryReason]):
    """A canary that could not be told from chance, or not be encoded."""

    fault: ClassVar[Fault] = Fault.LOCAL


@unique
class Encoding(Enum):
    """A way in which a canary can be hidden in bytes."""

    UTF_8 = "utf-8"
    LATIN_1 = "latin-1"
    UTF_16_LE = "utf-16-le"
    UTF_16_BE = "utf-16-be"
    UTF_32_LE = "utf-32-le"
    HEX = "hex"
    BASE64 = "base64"
    BASE64_URL = "base64url"
    URL = "url"
    JSON = "json"
    PYTHON_REPR = "python-repr"
    GSM_UNPACKED = "gsm7-unpacked"
    GSM_PACKED = "gsm7-packed"
    SEMI_OCTETS = "semi-octets"
    INTEGER = "integer"
    GZIP = "gzip"
    ZLIB = "zlib"
    DEFLATE = "zip-deflate"


COMPRESSED: Final = frozenset({Encoding.GZIP, Encoding.ZLIB, Encoding.DEFLATE})
"""Found by opening what is compressed, not by a pattern."""


@dataclass(frozen=True, slots=True)
class Canary:
    """Something that must not be found.

    Attributes:
        label: what reports call it; says nothing about it.
        secret: the text, or the digits of a number without ``+``.
        is_number: whether it is a number.
    """

    label: str
    secret: str = field(repr=False)
    is_number: bool = False

    def __post_init__(self) -> None:
        if self.is_number and not (self.secret.isascii() and self.secret.isdigit()):
            raise CanaryError(CanaryReason.NOT_DIGITS)
        shortest = MIN_DIGITS if self.is_number else MIN_TEXT
        if len(self.secret) < shortest:
            raise CanaryError(CanaryReason.TOO_SHORT, shortest=shortest)
        if len(self.secret) > MAX_TEXT:
            raise CanaryError(CanaryReason.TOO_LONG, longest=MAX_TEXT)
        if len(set(self.secret)) < 3:
            raise CanaryError(CanaryReason.TOO_PLAIN)


def septets(text: str) -> bytes | None:
    """One byte for each septet of GSM 03.38, or None for a text outside its alphabet."""
    out = bytearray()
    for character in text:
        if character in _GSM_ESCAPED:
            out += bytes((27, _GSM_ESCAPED[character]))
        elif character in _GSM and character != "\x1b":
            out.append(_GSM.index(character))
        else:
            return None
    return bytes(out)


def packed(units: bytes, shift: int) -> bytes:
    """Septets packed into octets, the first beginning at bit ``shift`` of the first octet (3GPP TS 23.038, 6.1.2.1)."""
    bits = sum(unit << (shift + 7 * at) for at, unit in enumerate(units))
    return bits.to_bytes(-(-(shift + 7 * len(units)) // 8), "little")


def _whole_octets(units: bytes, shift: int) -> bytes:
    octets = packed(units, shift)
    end = len(octets) if (shift + 7 * len(units)) % 8 == 0 else -1
    return octets[(1 if shift else 0) : end]


def _base64(raw: bytes, altchars: bytes | None) -> Iterator[bytes]:
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + raw, altchars).rstrip(b"=")
        first = -(-shift * 8 // 6)  # the first digit that holds no bit of what stands before
        whole = (shift + len(raw)) * 8 // 6  # digits that hold no bit of what stands behind
        yield text[first:whole]


def _semi_octets(digits: str) -> Iterator[bytes]:
    """Swapped pairs (3GPP TS 23.040, 9.1.2.3) and unswapped ones, beginning at either half of an octet."""
    for start in (0, 1):
        pairs = [digits[at : at + 2] for at in range(start, len(digits) - 1, 2)]
        yield bytes(int(pair[1] + pair[0], 16) for pair in pairs)
        yield bytes(int(pair, 16) for pair in pairs)


def _integers(digits: str) -> Iterator[bytes]:
    """As databases and binary formats hold it; a leading zero is lost."""
    value = int(digits)
    size = -(-value.bit_length() // 8)
    if size >= MIN_PATTERN:
        yield value.to_bytes(size, "big")
        yield value.to_bytes(size, "little")
    elif size:
        yield value.to_bytes(8, "big")
        yield value.to_bytes(8, "little")


def _binary_forms(canary: Canary) -> Iterator[tuple[Encoding, bytes]]:
    text = canary.secret
    yield Encoding.UTF_8, text.encode()
    yield Encoding.UTF_16_LE, text.encode("utf-16-le")
    yield Encoding.UTF_16_BE, text.encode("utf-16-be")
    yield Encoding.UTF_32_LE, text.encode("utf-32-le")
    if not text.isascii() and all(ord(character) < 256 for character in text):
        yield Encoding.LATIN_1, text.encode("latin-1")
    units = septets(text)
    if units is not None:
        if units != text.encode():
            yield Encoding.GSM_UNPACKED, units
        for shift in range(8):
            yield Encoding.GSM_PACKED, _whole_octets(units, shift)
    if canary.is_number:
        for form in _semi_octets(text):
            yield Encoding.SEMI_OCTETS, form
        for form in _integers(text):
            yield Encoding.INTEGER, form


def _json_forms(text: str) -> Iterator[bytes]:
    """What a JSON writer may make of it: all beyond ASCII escaped, or only what must be; every letter escaped."""
    short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f", "\b": "\\b"}
    units = text.encode("utf-16-be")
    every = [f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2)]
    escaped, lean = [], []
    for character in text:
        pair = character.encode("utf-16-be")
        code = "".join(f"\\u{pair[at] << 8 | pair[at + 1]:04x}" for at in range(0, len(pair), 2))
        plain = short.get(character, code if ord(character) < 32 else character)
        lean.append(plain)
        escaped.append(plain if character.isascii() else code)
    for form in ("".join(every), "".join(escaped)):
        yield form.encode()
        yield form.upper().replace("\\U", "\\u").encode() if form == "".join(every) else _upper_escapes(form).encode()
    yield "".join(lean).encode()
    yield "".join(escaped).replace("/", "\\/").encode()


def _upper_escapes(form: str) -> str:
    pieces = form.split("\\u")
    return pieces[0] + "".join("\\u" + piece[:4].upper() + piece[4:] for piece in pieces[1:])


def _lower_percent(form: str) -> str:
    pieces = form.split("%")
    return pieces[0] + "".join("%" + piece[:2].lower() + piece[2:] for piece in pieces[1:])


def _text_forms(canary: Canary) -> Iterator[tuple[Encoding, bytes]]:
    text = canary.secret
    raw = text.encode()
    for form in _json_forms(text):
        yield Encoding.JSON, form
    everything = "".join(f"%{byte:02X}" for byte in raw)
    for url in (quote(text, safe=""), quote(text), quote_plus(text), quote_plus(text, safe="*-._"), everything):
        yield Encoding.URL, url.encode()
        yield Encoding.URL, _lower_percent(url).encode()
    yield Encoding.PYTHON_REPR, repr(raw)[2:-1].encode()
    yield Encoding.PYTHON_REPR, repr(text)[1:-1].encode()
    yield Encoding.PYTHON_REPR, ascii(text)[1:-1].encode()
    yield Encoding.PYTHON_REPR, "".join(f"\\x{byte:02x}" for byte in raw).encode()


def patterns(canary: Canary) -> dict[bytes, Encoding]:
    """Every pattern of a canary; one that two encodings share belongs to the simpler of them."""
    found: dict[bytes, Encoding] = {}

    def add(encoding: Encoding, pattern: bytes) -> None:
        if len(pattern) >= MIN_PATTERN:
            found.setdefault(pattern, encoding)

    binary = list(_binary_forms(canary))
    for encoding, form in binary:
        add(encoding, form)
    for encoding, form in _text_forms(canary):
        add(encoding, form)
    for _, form in binary:
        if form.hex() in canary.secret:
            continue  # unswapped digits in hex are the digits again
        add(Encoding.HEX, form.hex().encode())
        add(Encoding.HEX, form.hex().upper().encode())
    for source, form in binary:
        if source in {Encoding.UTF_8, Encoding.UTF_16_LE, Encoding.UTF_16_BE, Encoding.LATIN_1, Encoding.GSM_UNPACKED}:
            for pattern in _base64(form, None):
                add(Encoding.BASE64, pattern)
            for pattern in _base64(form, b"-_"):
                add(Encoding.BASE64_URL, pattern)
    return found
