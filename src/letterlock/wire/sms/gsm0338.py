"""The GSM 7-bit default alphabet and its extension table (3GPP TS 23.038, section 6.2.1).

Unpacked: one septet in each octet, as SMPP carries it. Packed: as a handset's memory or an air-side trace
holds it; the forensic sweep searches for that form too.
"""

from typing import Final

from letterlock.wire.sms.errors import TextError, TextReason

ESCAPE: Final = 0x1B

_BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅå"
    "Δ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ"
    " !\"#¤%&'()*+,-./"
    "0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNO"
    "PQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmno"
    "pqrstuvwxyzäöñüà"
)
_EXTENSION: Final[dict[int, str]] = {
    0x0A: "\f",
    0x14: "^",
    0x28: "{",
    0x29: "}",
    0x2F: "\\",
    0x3C: "[",
    0x3D: "~",
    0x3E: "]",
    0x40: "|",
    0x65: "€",
}
_REPLACEMENT: Final = "\ufffd"
_UNENCODABLE: Final = 0xFFFF


class _Table(dict[int, int | str]):
    """A table for ``str.translate`` that marks what is not in the alphabet."""

    __slots__ = ()

    def __missing__(self, key: int) -> int:
        return _UNENCODABLE


_ENCODE: Final = _Table({ord(char): code for code, char in enumerate(_BASIC) if code != ESCAPE})
_ENCODE.update({ord(char): f"\x1b{chr(code)}" for code, char in _EXTENSION.items()})


def encode(text: str) -> bytes:
    """Septets of the text, one in each octet; extension characters as ESC and a second octet.

    Raises:
        TextError: UNENCODABLE, when a character is in neither table.
    """
    septets = text.translate(_ENCODE)
    if not septets.isascii():
        raise TextError(TextReason.UNENCODABLE)
    return septets.encode("ascii")


def decode(septets: bytes) -> str:
    """The text of unpacked septets.

    Raises:
        TextError: BAD_OCTETS, on an octet over 0x7F, an ESC at the end, or an unknown extension.
    """
    text = _decode(septets)
    if text is None:
        raise TextError(TextReason.BAD_OCTETS)
    return text


def decode_lossy(septets: bytes) -> str:
    """As :func:`decode`, but shows what it can: an unknown extension as the basic character (TS 23.038, section
    6.2.1.1), anything else that is no septet as U+FFFD. Total: every input gives a text.
    """  # noqa: D205 - the source belongs to the sentence
    out: list[str] = []
    octets = iter(septets)
    for octet in octets:
        if octet != ESCAPE:
            out.append(_BASIC[octet] if octet < len(_BASIC) else _REPLACEMENT)
            continue
        second = next(octets, None)
        if second is None or second >= len(_BASIC) or second == ESCAPE:
            out.append(_REPLACEMENT)
        else:
            out.append(_EXTENSION.get(second, _BASIC[second]))
    return "".join(out)


def _decode(septets: bytes) -> str | None:
    if not septets.isascii():
        return None
    head, *escaped = septets.split(b"\x1b")
    out = [head.decode("ascii").translate(_BASIC)]
    for piece in escaped:
        char = _EXTENSION.get(piece[0]) if piece else None
        if char is None:
            return None
        out.append(char)
        out.append(piece[1:].decode("ascii").translate(_BASIC))
    return "".join(out)


def pack(septets: bytes, fill_bits: int = 0) -> bytes:
    """Packs unpacked septets, eight in seven octets (TS 23.038, section 6.1.2.1).

    Args:
        septets: values under 0x80.
        fill_bits: 0 to 6 zero bits in front, as behind a user data header.

    Raises:
        TextError: BAD_OCTETS, when an octet is over 0x7F.
        ValueError: fill_bits outside 0 to 6.
    """
    if not 0 <= fill_bits < 7:
        raise ValueError("fill bits are 0 to 6")
    if not septets.isascii():
        raise TextError(TextReason.BAD_OCTETS)
    whole = 0
    for septet in reversed(septets):
        whole = whole << 7 | septet
    bits = 7 * len(septets) + fill_bits
    return (whole << fill_bits).to_bytes((bits + 7) // 8, "little")


def unpack(octets: bytes, count: int, fill_bits: int = 0) -> bytes:
    """The inverse of :func:`pack`; ``count`` tells how many septets are in there.

    Raises:
        TextError: BAD_OCTETS, when there are fewer octets than that needs.
        ValueError: fill_bits outside 0 to 6, or a negative count.
    """
    if not 0 <= fill_bits < 7 or count < 0:
        raise ValueError("fill bits are 0 to 6 and counts are positive")
    if len(octets) * 8 < count * 7 + fill_bits:
        raise TextError(TextReason.BAD_OCTETS)
    whole = int.from_bytes(octets, "little") >> fill_bits
    return bytes(whole >> 7 * index & 0x7F for index in range(count))
