"""UCS-2 as SMS uses it: UTF-16 in network order, pairs of surrogates included (3GPP TS 23.038, section 6.2.3)."""

from letterlock.wire.sms.errors import TextError, TextReason


def encode(text: str) -> bytes:
    """Two octets for each unit; characters beyond the BMP as surrogate pairs.

    Raises:
        TextError: UNENCODABLE, when the text has a lone surrogate.
    """
    try:
        return text.encode("utf-16-be")
    except UnicodeEncodeError:
        pass  # that exception holds the text: ours must not have it as its context
    raise TextError(TextReason.UNENCODABLE)


def decode(octets: bytes) -> str:
    """The text of the octets.

    Raises:
        TextError: BAD_OCTETS, on an odd number of octets or a lone surrogate.
    """
    try:
        return octets.decode("utf-16-be")
    except UnicodeDecodeError:
        pass
    raise TextError(TextReason.BAD_OCTETS)


def decode_lossy(octets: bytes) -> str:
    """As :func:`decode`, with U+FFFD for what is not text. Total: every input gives a text."""
    return octets.decode("utf-16-be", errors="replace")
