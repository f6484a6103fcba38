"""What the writer is asked for attachments. Plain data; pieces are sealed before they come here."""

from msgspec import Struct


class BeginAttachment(Struct, frozen=True):
    """Make room for an attachment to a group, or find the one that this device has begun under the same id.

    Attributes:
        caller: the uploading device's mailbox.
        wrapped_key: the attachment's key under the generation's, for a new one.
        expires_ms: when it goes if it is not complete by then.
        most_bytes, most: what the caller's account may have stored.
    """

    tenant: int
    caller: int
    group: int
    id: bytes
    size: int
    wrapped_key: bytes
    generation: int
    expires_ms: int
    most_bytes: int
    most: int


class AttachmentStands(Struct, frozen=True):
    """How far an upload is.

    Attributes:
        begun: this call made it.
    """

    size: int
    received: int
    expires_ms: int
    begun: bool = False


class AppendAttachment(Struct, frozen=True):
    """The next piece. ``expires_ms`` is when the attachment goes if this piece completes it."""

    tenant: int
    caller: int
    id: bytes
    start: int
    length: int
    sealed: bytes
    expires_ms: int


class ReleaseAttachment(Struct, frozen=True):
    """A recipient has it, or does not want it. The last one's word deletes it."""

    tenant: int
    caller: int
    id: bytes


class PurgeAttachments(Struct, frozen=True):
    """Remove what is past its time: at most ``limit`` pieces."""

    now_ms: int
    limit: int


class AttachmentsPurged(Struct, frozen=True):
    """How many rows went; ``more`` if there is more to do."""

    attachments: int
    pieces: int
    more: bool
