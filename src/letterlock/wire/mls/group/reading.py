"""Reads what a follower is handed: GroupInfo and handshakes, as FollowError where the strict parser refuses."""

from typing import Final

from letterlock.wire.mls.codec import Reader
from letterlock.wire.mls.errors import FramingError
from letterlock.wire.mls.framing import MAX_GROUP_MESSAGE, message_format
from letterlock.wire.mls.group.errors import FollowError, FollowReason
from letterlock.wire.mls.group.rules import EXTERNAL_SENDERS
from letterlock.wire.mls.public import PublicMessage, read_public_message
from letterlock.wire.mls.structures import Extension, read_credential
from letterlock.wire.mls.welcome import GroupInfo, read_group_info

ERA: Final = 0xF001
"""GSMA RCC.16: the extension of a GroupContext with the number of the group's era."""
END_MLS: Final = 0xF002
"""GSMA RCC.16, section 9.1.1: the extension by which a group says that it takes no more encrypted messages."""
_ERA_BYTES: Final = 4

_PUBLIC, _PRIVATE, _GROUP_INFO = 1, 2, 4
_APPLICATION = 1


def read_info(data: bytes) -> GroupInfo:
    """An MLSMessage with a GroupInfo.

    Raises:
        FollowError: MALFORMED.
    """
    info: GroupInfo | None = None
    try:
        if len(data) <= MAX_GROUP_MESSAGE and message_format(data) == _GROUP_INFO:
            reader = Reader(bytes(data), 4)
            info = read_group_info(reader)
            reader.finish()
    except FramingError:
        info = None
    if info is None:
        raise FollowError(FollowReason.MALFORMED)
    return info


def read_era(extensions: tuple[Extension, ...]) -> int | None:
    """The era that a group's extensions tell: a ``uint32`` from 1 on (RCC.16); None for a group of another kind.

    Raises:
        FollowError: ERA.
    """
    data = next((one.data for one in extensions if one.kind == ERA), None)
    if data is None:
        return None
    era = int.from_bytes(data, "big")
    if len(data) != _ERA_BYTES or era == 0:
        raise FollowError(FollowReason.ERA)
    return era


def era_of(group_info: bytes) -> int | None:
    """The era of the group that a GroupInfo is of; nothing else of it is checked.

    Args:
        group_info: MLSMessage.

    Raises:
        FollowError: MALFORMED, ERA.
    """
    return read_era(read_info(group_info).context.extensions)


def ended_of(group_info: bytes) -> bool:
    """Whether a GroupInfo says, in the group's context or beside it, that the group is not encrypted any more.

    Args:
        group_info: MLSMessage.

    Raises:
        FollowError: MALFORMED.
    """
    info = read_info(group_info)
    return any(one.kind == END_MLS for one in (*info.context.extensions, *info.extensions))


def signer_of(group_info: bytes) -> int:
    """The leaf that a GroupInfo says it is signed by; the signature is not checked.

    Args:
        group_info: MLSMessage.

    Raises:
        FollowError: MALFORMED.
    """
    return read_info(group_info).signer


def read_handshake(data: bytes) -> PublicMessage:
    """An MLSMessage with a proposal or commit in public framing.

    Raises:
        FollowError: PRIVATE_HANDSHAKE, MALFORMED.
    """
    message: PublicMessage | None = None
    private = False
    try:
        if len(data) <= MAX_GROUP_MESSAGE:
            wire_format = message_format(data)
            reader = Reader(bytes(data), 4)
            if wire_format == _PUBLIC:
                message = read_public_message(reader)
                reader.finish()
            elif wire_format == _PRIVATE:
                private = _is_handshake(reader)
    except FramingError:
        message = None
    if private:
        raise FollowError(FollowReason.PRIVATE_HANDSHAKE)
    if message is None:
        raise FollowError(FollowReason.MALFORMED)
    return message


def _is_handshake(reader: Reader) -> bool:
    reader.opaque()
    reader.u64()
    return reader.u8() != _APPLICATION


def external_key(extensions: tuple[Extension, ...], index: int) -> bytes | None:
    """The signature key of an external sender (RFC 9420, section 12.1.8.1); None if there is no such sender."""
    data = next((one.data for one in extensions if one.kind == EXTERNAL_SENDERS), b"")
    try:
        reader = Reader(data)
        keys = reader.items(_read_external_sender)
        reader.finish()
    except FramingError:
        return None
    return keys[index] if index < len(keys) else None


def _read_external_sender(reader: Reader) -> bytes:
    key = reader.opaque(1)
    read_credential(reader)
    return key
