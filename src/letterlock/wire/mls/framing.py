"""MLSMessage (RFC 9420, section 6) without any key: what kind it is, of which group and epoch.

Framing is not proof. Whoever knows a group id and an epoch can put plaintext where ciphertext belongs, and nobody
without the group's keys can tell; what this parser gives is grade FRAMED material at most.
"""

from typing import Final

from letterlock.model.bodies import SealedBody, SealedKind, sealed_by_parser
from letterlock.wire.mls.codec import Reader, read_length
from letterlock.wire.mls.errors import FramingError, FramingReason
from letterlock.wire.mls.proposals import Commit
from letterlock.wire.mls.public import MAX_AUTHENTICATED_DATA, read_public_message
from letterlock.wire.mls.structures import AEAD_TAG, MAX_GROUP_ID, MLS10, read_key_package
from letterlock.wire.mls.welcome import read_group_info, read_welcome

MAX_MESSAGE: Final = 64 * 1024
"""Bytes of a message by default: text, receipts, descriptors of attachments, everyday handshakes."""
MAX_GROUP_MESSAGE: Final = 1024 * 1024
"""What a caller passes as ``limit`` where a tree may be inside: a Welcome with the tree of 1000 members is 301 kB."""

SENDER_DATA: Final = 12 + AEAD_TAG
"""Bytes of encrypted sender data: leaf index, generation, reuse guard (RFC 9420, section 6.3.2), and the tag."""
MIN_CIPHERTEXT: Final = AEAD_TAG + 16
"""Bytes of the shortest ciphertext: the tag, two length headers, and a signature, which no scheme makes in 14 bytes."""

_HEADER: Final = 4
_PRIVATE: Final = b"\x00\x01\x00\x02"
_PRIVATE_KINDS: Final = {
    1: SealedKind.PRIVATE_APPLICATION,
    2: SealedKind.PRIVATE_PROPOSAL,
    3: SealedKind.PRIVATE_COMMIT,
}
_PUBLIC, _WELCOME, _GROUP_INFO, _KEY_PACKAGE = 1, 3, 4, 5


def parse(data: bytes, *, limit: int = MAX_MESSAGE) -> SealedBody:
    """Reads one MLSMessage to its last byte.

    Accepts PrivateMessage, PublicMessage with a proposal or commit, Welcome, GroupInfo and KeyPackage. A Welcome and
    a KeyPackage name no group: their group id is empty and their epoch 0.

    Args:
        data: the message.
        limit: how many bytes it may have.

    Raises:
        FramingError: for everything else. The error holds reasons and offsets only.
    """
    if data.__class__ is not bytes:
        data = bytes(data)  # a view or a bytearray could change after it was parsed
    size = len(data)
    if size > limit:
        raise FramingError(FramingReason.TOO_LARGE, size=size, limit=limit)
    if data[:_HEADER] == _PRIVATE:
        body = _private(data, size)
        if body is None:
            raise FramingError(FramingReason.TRUNCATED, offset=size)
        return body
    wire_format = message_format(data)
    reader = Reader(data, _HEADER)
    kind, group_id, epoch, authenticated_data = _read(wire_format, reader)
    reader.finish()
    return sealed_by_parser(data, kind, group_id, epoch, authenticated_data)


def message_format(data: bytes) -> int:
    """The wire format of an MLSMessage of version mls10.

    Raises:
        FramingError: cut off, or of another version.
    """
    if len(data) < _HEADER:
        raise FramingError(FramingReason.TRUNCATED, offset=len(data))
    if data[0] << 8 | data[1] != MLS10:
        raise FramingError(FramingReason.UNKNOWN_VERSION, offset=0)
    return data[2] << 8 | data[3]


def _read(wire_format: int, reader: Reader) -> tuple[SealedKind, bytes, int, bytes]:
    if wire_format == _PUBLIC:
        message = read_public_message(reader)
        kind = SealedKind.PUBLIC_COMMIT if isinstance(message.body, Commit) else SealedKind.PUBLIC_PROPOSAL
        return kind, message.group_id, message.epoch, message.authenticated_data
    if wire_format == _WELCOME:
        read_welcome(reader)
        return SealedKind.WELCOME, b"", 0, b""
    if wire_format == _GROUP_INFO:
        context = read_group_info(reader).context
        return SealedKind.GROUP_INFO, context.group_id, context.epoch, b""
    if wire_format == _KEY_PACKAGE:
        read_key_package(reader)
        return SealedKind.KEY_PACKAGE, b"", 0, b""
    raise FramingError(FramingReason.UNKNOWN_WIRE_FORMAT, offset=2)


def _private(data: bytes, size: int) -> SealedBody | None:
    """PrivateMessage, the path of nearly every message: written out flat, for calls are what costs here.

    The offsets only grow and the last one must equal ``size``, so a slice that came out short cannot pass. An index
    beyond the end means truncated: None, so that the caller's error carries no other exception with it.
    """
    at = _HEADER
    try:
        length = data[at]
        if length < 0x40:
            at += 1
        else:
            length, at = read_length(data, at, size)
        if not 0 < length <= MAX_GROUP_ID:
            raise FramingError(FramingReason.LENGTH_OUT_OF_RANGE, offset=at, length=length)
        end = at + length
        group_id = data[at:end]
        at = end + 9
        epoch = int.from_bytes(data[end : end + 8], "big")
        kind = _PRIVATE_KINDS.get(data[at - 1])
        if kind is None:
            raise FramingError(FramingReason.UNKNOWN_CONTENT_TYPE, offset=at - 1)

        length = data[at]
        if length < 0x40:
            at += 1
        else:
            length, at = read_length(data, at, size)
        if length > MAX_AUTHENTICATED_DATA:
            raise FramingError(FramingReason.LENGTH_OUT_OF_RANGE, offset=at, length=length)
        end = at + length
        authenticated_data = data[at:end]

        if data[end] != SENDER_DATA:
            raise FramingError(FramingReason.LENGTH_OUT_OF_RANGE, offset=end)
        length, at = read_length(data, end + 1 + SENDER_DATA, size)
    except IndexError:
        return None
    if length < MIN_CIPHERTEXT:
        raise FramingError(FramingReason.LENGTH_OUT_OF_RANGE, offset=at, length=length)
    end = at + length
    if end != size:
        reason = FramingReason.TRUNCATED if end > size else FramingReason.TRAILING_BYTES
        raise FramingError(reason, offset=min(end, size))
    return sealed_by_parser(data, kind, group_id, epoch, authenticated_data)
