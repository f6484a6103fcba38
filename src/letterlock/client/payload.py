"""What a message says, typed and bounded: text, a reference to encrypted media, a reply to a suggested action. Pure.

Inside an envelope of kind payload; numbers big-endian::

    u8 format = 1 | u16 type | then each field of the type, in order: u32 length, bytes

Text is UTF-8. A type that this version does not know is :class:`Unknown` and reaches the application as that; a known
type that breaks its bounds is refused as a whole. Nothing is dropped silently.
"""

import re
from typing import Final

import msgspec

from letterlock.client.errors import PayloadError, PayloadReason
from letterlock.model.ids import ID_BYTES

FORMAT: Final = 1
MAX_TEXT: Final = 32 * 1024
"""Bytes of a text: under what an envelope carries, with room for padding."""
MAX_NAME: Final = 255
"""Bytes of a file name: what file systems take."""
MAX_MEDIA: Final = 100 * 1024 * 1024
"""Bytes of one medium: what RCS file transfer carries."""
MAX_LABEL: Final = 25
"""Characters of a suggestion's label (RCS business messaging)."""
MAX_POSTBACK: Final = 2048
"""Bytes of what a suggestion sends back (RCS business messaging)."""
KEY_BYTES: Final = 32
DIGEST_BYTES: Final = 32
_HEAD: Final = 3
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}")
_LOCATOR: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


class Text(msgspec.Struct, frozen=True, tag="text"):
    """Words."""

    text: str

    def __repr__(self) -> str:
        return "<Text>"


class Media(msgspec.Struct, frozen=True, tag="media"):
    """Where an encrypted medium lies, and what opens it.

    Attributes:
        media_type: RFC 6838, lower case, without parameters.
        name: for people; never a path.
        size: bytes of the medium before encryption.
        locator: names the blob; no address.
        key: 32 bytes.
        digest: SHA-256 of the blob as it is stored.
    """

    media_type: str
    name: str
    size: int
    locator: str
    key: bytes
    digest: bytes

    def __repr__(self) -> str:
        return "<Media>"


class ActionReply(msgspec.Struct, frozen=True, tag="action_reply"):
    """A person chose a suggestion: which message offered it, what it sends back, what it was called."""

    to: bytes
    postback: str
    label: str

    def __repr__(self) -> str:
        return "<ActionReply>"


class Unknown(msgspec.Struct, frozen=True, tag="unknown"):
    """A type of a later version: its number, and its bytes as they came."""

    number: int
    body: bytes

    def __repr__(self) -> str:
        return f"<Unknown payload {self.number}, {len(self.body)} bytes>"


Payload = Text | Media | ActionReply
"""What this version sends."""
ReceivedPayload = Text | Media | ActionReply | Unknown

_TEXT: Final = 1
_MEDIA: Final = 2
_ACTION_REPLY: Final = 3
_FIELDS: Final = {_TEXT: 1, _MEDIA: 6, _ACTION_REPLY: 3}


def encode(payload: Payload) -> bytes:
    """The one encoding of a payload.

    Raises:
        PayloadError: out of its bounds.
    """
    _check(payload)
    kind, fields = _fields(payload)
    return bytes((FORMAT,)) + kind.to_bytes(2) + b"".join(len(one).to_bytes(4) + one for one in fields)


def _fields(payload: Payload) -> tuple[int, tuple[bytes, ...]]:
    if isinstance(payload, Text):
        return _TEXT, (payload.text.encode(),)
    if isinstance(payload, ActionReply):
        return _ACTION_REPLY, (payload.to, payload.postback.encode(), payload.label.encode())
    return _MEDIA, (
        payload.media_type.encode(),
        payload.name.encode(),
        payload.size.to_bytes(8),
        payload.locator.encode(),
        payload.key,
        payload.digest,
    )


def parse(data: bytes) -> ReceivedPayload:
    """Reads a payload to its last byte.

    Raises:
        PayloadError: MALFORMED, UNKNOWN_FORMAT, or a field out of its bounds.
    """
    if len(data) < _HEAD:
        raise PayloadError(PayloadReason.MALFORMED, length=len(data))
    if data[0] != FORMAT:
        raise PayloadError(PayloadReason.UNKNOWN_FORMAT, format=data[0])
    kind = int.from_bytes(data[1:_HEAD])
    if kind not in _FIELDS:
        return Unknown(kind, data[_HEAD:])
    fields = _split(data, _FIELDS[kind])
    try:
        found = _read(kind, fields)
    except UnicodeDecodeError:
        raise PayloadError(PayloadReason.NOT_TEXT) from None
    _check(found)
    return found


def _read(kind: int, fields: list[bytes]) -> Payload:
    if kind == _TEXT:
        return Text(fields[0].decode())
    if kind == _MEDIA:
        media_type, name, size, locator, key, digest = fields
        if len(size) != 8:
            raise PayloadError(PayloadReason.MALFORMED)
        return Media(media_type.decode(), name.decode(), int.from_bytes(size), locator.decode(), key, digest)
    to, postback, label = fields
    return ActionReply(to, postback.decode(), label.decode())


def _split(data: bytes, count: int) -> list[bytes]:
    at, fields = _HEAD, []
    for _ in range(count):
        end = at + 4 + int.from_bytes(data[at : at + 4])
        if at + 4 > len(data) or end > len(data):
            raise PayloadError(PayloadReason.MALFORMED, offset=at)
        fields.append(data[at + 4 : end])
        at = end
    if at != len(data):
        raise PayloadError(PayloadReason.MALFORMED, offset=at)
    return fields


def _check(payload: Payload) -> None:
    try:
        match payload:
            case Text(text=text):
                _bounded(text, 1, MAX_TEXT)
            case Media():
                _check_media(payload)
            case ActionReply():
                _bounded(payload.postback, 1, MAX_POSTBACK)
                if len(payload.to) != ID_BYTES or not 1 <= len(payload.label) <= MAX_LABEL:
                    raise PayloadError(PayloadReason.OUT_OF_BOUNDS)
                _bounded(payload.label, 1, 4 * MAX_LABEL)
    except UnicodeEncodeError:
        raise PayloadError(PayloadReason.NOT_TEXT) from None


def _check_media(media: Media) -> None:
    _bounded(media.name, 1, MAX_NAME)
    # A name is shown and may become a file: it must not say where, nor hide its end.
    if media.name in {".", ".."} or any(sign in "/\\" or not sign.isprintable() for sign in media.name):
        raise PayloadError(PayloadReason.UNSAFE_NAME)
    if (
        not _MEDIA_TYPE.fullmatch(media.media_type)
        or not _LOCATOR.fullmatch(media.locator)
        or not 0 < media.size <= MAX_MEDIA
        or len(media.key) != KEY_BYTES
        or len(media.digest) != DIGEST_BYTES
    ):
        raise PayloadError(PayloadReason.OUT_OF_BOUNDS)


def _bounded(text: str, low: int, high: int) -> None:
    length = len(text.encode())
    if not low <= length <= high:
        raise PayloadError(PayloadReason.OUT_OF_BOUNDS, length=length)
