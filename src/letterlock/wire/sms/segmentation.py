"""Cutting octets of a long message into parts (3GPP TS 23.040, section 9.2.3.24.1; SMPP 3.4, section 5.3.2.22 to 24).

No cut falls inside an ESC pair or a surrogate pair, and nothing is ever shortened: too long is a refusal.
Works on octets whose alphabet is known; the encoder wraps what comes out.
"""

from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

from letterlock.wire.sms.errors import ReassemblyError, ReassemblyReason, TextError, TextReason
from letterlock.wire.sms.gsm0338 import ESCAPE

MAX_PARTS: Final = 255
"""Total and number are one octet each."""
DEFAULT_MAX_PARTS: Final = 10
"""1,530 characters of GSM text: each part is paid and delivered as a message of its own."""

_CONCAT_8: Final = 0x00
_CONCAT_16: Final = 0x08


@unique
class Alphabet(Enum):
    """What the octets are; the value is (septets or octets of a single message, octets of one unit)."""

    GSM7 = (160, 1)
    UCS2 = (140, 2)


@unique
class LongStyle(Enum):
    """How the parts of a long message say that they belong together."""

    UDH_8BIT = "udh_8bit"
    """User data header with an 8-bit reference: understood by every handset."""
    UDH_16BIT = "udh_16bit"
    """User data header with a 16-bit reference."""
    SAR = "sar"
    """SMPP TLVs; the SMSC writes the header."""
    PAYLOAD = "payload"
    """One PDU with ``message_payload``; the SMSC cuts."""


_PART_OCTETS: Final[dict[tuple[Alphabet, LongStyle], int]] = {
    (Alphabet.GSM7, LongStyle.UDH_8BIT): 153,
    (Alphabet.UCS2, LongStyle.UDH_8BIT): 134,
    (Alphabet.GSM7, LongStyle.UDH_16BIT): 152,
    (Alphabet.UCS2, LongStyle.UDH_16BIT): 132,
    # The SAR reference has 16 bits, so the SMSC may need the larger header.
    (Alphabet.GSM7, LongStyle.SAR): 152,
    (Alphabet.UCS2, LongStyle.SAR): 132,
    # Only to count: the SMSC cuts, most often with the 8-bit header.
    (Alphabet.GSM7, LongStyle.PAYLOAD): 153,
    (Alphabet.UCS2, LongStyle.PAYLOAD): 134,
}


@dataclass(frozen=True, slots=True)
class Concat:
    """The place of one part: reference, how many there are, and which this is (from 1)."""

    reference: int
    total: int
    number: int
    wide: bool = False


def cuts(octets: bytes, alphabet: Alphabet, style: LongStyle, max_parts: int) -> list[int]:
    """Where each part ends; one element when the text fits into a single message.

    Raises:
        TextError: TOO_MANY_PARTS.
    """
    single, _ = alphabet.value
    if len(octets) <= single:
        return [len(octets)]
    size = _PART_OCTETS[alphabet, style]
    ends: list[int] = []
    start = 0
    while start < len(octets):
        end = min(start + size, len(octets))
        if end < len(octets) and _splits_pair(octets, end, alphabet):
            end -= alphabet.value[1]
        ends.append(end)
        start = end
        if len(ends) > min(max_parts, MAX_PARTS):
            raise TextError(TextReason.TOO_MANY_PARTS, limit=min(max_parts, MAX_PARTS))
    return ends


def _splits_pair(octets: bytes, end: int, alphabet: Alphabet) -> bool:
    if alphabet is Alphabet.GSM7:
        return octets[end - 1] == ESCAPE
    return 0xD8 <= octets[end - 2] <= 0xDB


def user_data_header(concat: Concat) -> bytes:
    """The header with one concatenation element, its length octet included.

    Raises:
        TextError: BAD_REFERENCE, when the reference does not fit.
    """
    if not 0 <= concat.reference <= (0xFFFF if concat.wide else 0xFF):
        raise TextError(TextReason.BAD_REFERENCE)
    if concat.wide:
        return bytes([6, _CONCAT_16, 4, concat.reference >> 8, concat.reference & 0xFF, concat.total, concat.number])
    return bytes([5, _CONCAT_8, 3, concat.reference, concat.total, concat.number])


def split_header(octets: bytes) -> tuple[Concat | None, int]:
    """Reads a user data header at the front of the octets; unknown elements are skipped.

    Returns:
        The concatenation element, if there is one, and where the text begins.

    Raises:
        ReassemblyError: BAD_PART, when the header overruns, or numbers a part outside 1..total.
    """
    if not octets or 1 + octets[0] > len(octets):
        raise ReassemblyError(ReassemblyReason.BAD_PART)
    end = 1 + octets[0]
    at = 1
    found: Concat | None = None
    while at < end:
        if at + 2 > end or at + 2 + octets[at + 1] > end:
            raise ReassemblyError(ReassemblyReason.BAD_PART)
        kind, value = octets[at], octets[at + 2 : at + 2 + octets[at + 1]]
        at += 2 + len(value)
        if kind == _CONCAT_8 and len(value) == 3:
            found = checked(Concat(value[0], value[1], value[2]))
        elif kind == _CONCAT_16 and len(value) == 4:
            found = checked(Concat(value[0] << 8 | value[1], value[2], value[3], wide=True))
        elif kind in {_CONCAT_8, _CONCAT_16}:
            raise ReassemblyError(ReassemblyReason.BAD_PART)
    return found, end


def checked(concat: Concat) -> Concat:
    """The same value.

    Raises:
        ReassemblyError: BAD_PART, when the number is outside 1..total.
    """
    if not 1 <= concat.number <= concat.total <= MAX_PARTS:
        raise ReassemblyError(ReassemblyReason.BAD_PART)
    return concat
