"""The authenticated data of application messages: in clear on the wire, so a relay can compare message ids.

Two profiles, told apart by their first two bytes:

* ``rcc16`` (GSMA RCC.16, section 7.5.3, as deployed): ``uint16 1 | opaque message_id<V> | uint32 era | resent``,
  where ``resent`` is one zero byte or the component of a resent message; its layout is not public, so it is kept
  as it is.
* ``letterlock``: ``uint16 0x4C4C | uint8 1 | 16 bytes of the message id``.
"""

import re
from dataclasses import dataclass
from typing import Final

from letterlock.model.ids import ID_BYTES, MessageId
from letterlock.wire.mls.codec import Reader, Writer
from letterlock.wire.mls.errors import FramingError, FramingReason

RCC16_VERSION: Final = 1
MAX_MESSAGE_ID: Final = 128
"""Bytes of an RCC.16 message id; deployed ones have 24 to 28."""
MAX_RESENT: Final = 1024
"""Bytes of a resent-message component."""
_MESSAGE_ID: Final = re.compile(rb"[!-~]{1,128}")

LETTERLOCK_MAGIC: Final = 0x4C4C
LETTERLOCK_VERSION: Final = 1


@dataclass(frozen=True, slots=True, repr=False)
class Rcc16Aad:
    """RCC.16 authenticated data.

    Attributes:
        message_id: visible ASCII; must equal the CPIM ``imdn.Message-ID`` (section 7.5.3.1).
        era: of the group.
        resent: the resent-message component, or empty.
    """

    message_id: str
    era: int
    resent: bytes = b""


@dataclass(frozen=True, slots=True)
class LetterlockAad:
    """Our own profile's authenticated data."""

    message_id: MessageId


def parse_rcc16_aad(data: bytes) -> Rcc16Aad:
    """Reads RCC.16 authenticated data.

    Raises:
        FramingError: another version (NOT_THIS_PROFILE), malformed, or out of bounds.
    """
    reader = Reader(data)
    if reader.u16() != RCC16_VERSION:
        raise FramingError(FramingReason.NOT_THIS_PROFILE)
    message_id = reader.opaque(1, MAX_MESSAGE_ID)
    if not _MESSAGE_ID.fullmatch(message_id):
        raise FramingError(FramingReason.UNKNOWN_VALUE, offset=2)
    era = reader.u32()
    offset = reader.at
    tail = reader.take(reader.end - offset)
    if not tail:
        raise FramingError(FramingReason.TRUNCATED, offset=offset)
    if tail[0] == 0:
        if len(tail) != 1:
            raise FramingError(FramingReason.TRAILING_BYTES, offset=offset + 1)
        tail = b""
    if len(tail) > MAX_RESENT:
        raise FramingError(FramingReason.LENGTH_OUT_OF_RANGE, offset=offset, length=len(tail))
    return Rcc16Aad(message_id.decode("ascii"), era, tail)


def build_rcc16_aad(aad: Rcc16Aad) -> bytes:
    """Writes RCC.16 authenticated data.

    Raises:
        FramingError: a message id or a resent component that could not be read again.
    """
    if not aad.message_id.isascii() or not _MESSAGE_ID.fullmatch(aad.message_id.encode("ascii")):
        raise FramingError(FramingReason.UNKNOWN_VALUE)
    if len(aad.resent) > MAX_RESENT or aad.resent[:1] == b"\x00":
        raise FramingError(FramingReason.LENGTH_OUT_OF_RANGE)
    writer = Writer().u16(RCC16_VERSION).opaque(aad.message_id.encode("ascii")).u32(aad.era)
    return writer.raw(aad.resent or b"\x00").done()


def parse_letterlock_aad(data: bytes) -> LetterlockAad:
    """Reads our own profile's authenticated data.

    Raises:
        FramingError: another profile or version (NOT_THIS_PROFILE), or malformed.
    """
    reader = Reader(data)
    if reader.u16() != LETTERLOCK_MAGIC or reader.u8() != LETTERLOCK_VERSION:
        raise FramingError(FramingReason.NOT_THIS_PROFILE)
    message_id = MessageId(reader.take(ID_BYTES))
    reader.finish()
    return LetterlockAad(message_id)


def build_letterlock_aad(aad: LetterlockAad) -> bytes:
    """Writes our own profile's authenticated data."""
    return Writer().u16(LETTERLOCK_MAGIC).u8(LETTERLOCK_VERSION).raw(aad.message_id.value).done()
