"""PublicMessage (RFC 9420, sections 6 and 6.2): handshakes that a relay can follow. Application data is refused."""

from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Final

from letterlock.wire.mls.codec import Reader
from letterlock.wire.mls.errors import FramingError, FramingReason
from letterlock.wire.mls.proposals import Add, Commit, Proposal, read_commit, read_proposal
from letterlock.wire.mls.structures import read_group_id, read_hash

MAX_AUTHENTICATED_DATA: Final = 4096
"""Bytes of authenticated data. It is metadata in clear; both profiles need less than 300."""


@unique
class ContentType(IntEnum):
    """RFC 9420, section 6."""

    APPLICATION = 1
    PROPOSAL = 2
    COMMIT = 3


@unique
class SenderKind(IntEnum):
    """RFC 9420, section 6: in what capacity somebody sends."""

    MEMBER = 1
    """A member, by leaf index."""
    EXTERNAL = 2
    """An external sender listed in the group's extensions, by index."""
    NEW_MEMBER_PROPOSAL = 3
    """Somebody outside who proposes to add themselves."""
    NEW_MEMBER_COMMIT = 4
    """Somebody outside who joins by their own commit: the external commit."""


_ALLOWED: Final = {
    ContentType.PROPOSAL: (SenderKind.MEMBER, SenderKind.EXTERNAL, SenderKind.NEW_MEMBER_PROPOSAL),
    ContentType.COMMIT: (SenderKind.MEMBER, SenderKind.NEW_MEMBER_COMMIT),
}


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends: the kind, and the leaf index (member) or sender index (external), else None."""

    kind: SenderKind
    index: int | None


@dataclass(frozen=True, slots=True, repr=False)
class PublicMessage:
    """A parsed handshake in public framing.

    Attributes:
        content: the encoded FramedContent, which the transcript hash and the signature cover.
        confirmation_tag: of a commit, else empty.
        membership_tag: of a member's message, else empty; only members can check it.
    """

    group_id: bytes
    epoch: int
    sender: Sender
    authenticated_data: bytes
    body: Proposal | Commit
    content: bytes
    signature: bytes
    confirmation_tag: bytes
    membership_tag: bytes


def _read_sender(reader: Reader) -> Sender:
    offset = reader.at
    kind = reader.u8()
    if kind in {SenderKind.MEMBER, SenderKind.EXTERNAL}:
        return Sender(SenderKind(kind), reader.u32())
    if kind in {SenderKind.NEW_MEMBER_PROPOSAL, SenderKind.NEW_MEMBER_COMMIT}:
        return Sender(SenderKind(kind), None)
    raise FramingError(FramingReason.UNKNOWN_SENDER, offset=offset)


def read_public_message(reader: Reader) -> PublicMessage:
    """A proposal or commit in public framing.

    Raises:
        FramingError: malformed; application data; or a sender that may not send such content.
    """
    start = reader.at
    group_id = read_group_id(reader)
    epoch = reader.u64()
    sender = _read_sender(reader)
    authenticated_data = reader.opaque(0, MAX_AUTHENTICATED_DATA)
    offset = reader.at
    kind = reader.u8()
    if kind == ContentType.APPLICATION:
        raise FramingError(FramingReason.PUBLIC_APPLICATION, offset=offset)
    if kind not in _ALLOWED:
        raise FramingError(FramingReason.UNKNOWN_CONTENT_TYPE, offset=offset)
    content_type = ContentType(kind)
    if sender.kind not in _ALLOWED[content_type]:
        raise FramingError(FramingReason.SENDER_NOT_ALLOWED, offset=offset)
    body: Proposal | Commit = read_commit(reader) if content_type is ContentType.COMMIT else read_proposal(reader)
    if sender.kind is SenderKind.NEW_MEMBER_PROPOSAL and not isinstance(body, Add):
        raise FramingError(FramingReason.SENDER_NOT_ALLOWED, offset=offset)
    content = reader.data[start : reader.at]
    signature = reader.opaque(1)
    confirmation_tag = read_hash(reader) if content_type is ContentType.COMMIT else b""
    membership_tag = read_hash(reader) if sender.kind is SenderKind.MEMBER else b""
    return PublicMessage(
        group_id, epoch, sender, authenticated_data, body, content, signature, confirmation_tag, membership_tag
    )
