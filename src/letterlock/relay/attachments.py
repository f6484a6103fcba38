"""Encrypted attachments: taken in pieces, kept sealed, handed to those who were members, gone with the last word.

The relay sees a size (one of eight), who uploads, and who fetches; what it is, and what opens it, travels inside MLS.
"""

import hmac
from dataclasses import dataclass, field
from typing import Final, Protocol

from letterlock.custody.attachments import AttachmentSeal, new_attachment_key
from letterlock.custody.storage_keys import StorageKeyError
from letterlock.model.clock import Clock
from letterlock.model.ids import AttachmentId, GroupRef
from letterlock.relay.errors import RelayError
from letterlock.relay.groups import Caller
from letterlock.relay.limits import (
    ATTACHMENT_BYTES,
    ATTACHMENT_TTL_MS,
    ATTACHMENT_UPLOAD_MS,
    ATTACHMENTS,
    PIECES_PER_PURGE,
)
from letterlock.relay.ports import Committer, Entropy, Reads, SealingKeys, settle
from letterlock.storage.attachment_commands import (
    AppendAttachment,
    AttachmentsPurged,
    AttachmentStands,
    BeginAttachment,
    PurgeAttachments,
    ReleaseAttachment,
)
from letterlock.storage.relay_commands import RelayReason
from letterlock.storage.relay_rows import AttachmentRow, PieceRow
from letterlock.wire.attachment import BLOB_SIZES

_LOOKS: Final = 2
"""At a row whose key may move to another generation between the look and its use; that does not happen twice."""


class AttachmentReads(Protocol):
    """The store's queries. Every one raises StorageError where the store fails."""

    async def attachment(self, tenant: int, attachment: bytes, mailbox: int) -> AttachmentRow | None:
        """An attachment by its id, as a device sees it."""
        ...

    async def piece(self, number: int, offset: int) -> PieceRow | None:
        """The piece that holds this offset, or the last one before it."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a blob: the endpoints' ciphertext."""

    offset: int
    content: bytes = field(repr=False)
    size: int
    """Of the whole blob."""


class Attachments:
    """Begins, appends, hands out, releases.

    Args:
        committer: the writer.
        groups: the store's queries about groups.
        reads: those about attachments.
        keys: storage keys.
        clock: wall time.
        entropy: for keys and nonces.
    """

    def __init__(
        self,
        committer: Committer,
        groups: Reads,
        reads: AttachmentReads,
        keys: SealingKeys,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._committer = committer
        self._groups = groups
        self._reads = reads
        self._keys = keys
        self._clock = clock
        self._entropy = entropy

    async def begin(self, caller: Caller, ref: GroupRef, attachment: AttachmentId, size: int) -> AttachmentStands:
        """Makes room for a blob of this size, or tells how far the caller's upload of this id is.

        Raises:
            RelayError: NOT_FOUND, NOT_A_MEMBER, NO_RECIPIENTS, GROUP_QUARANTINED, ATTACHMENT_SIZE,
                ATTACHMENT_EXISTS, ATTACHMENT_QUOTA.
        """
        if size not in BLOB_SIZES:
            raise RelayError(RelayReason.ATTACHMENT_SIZE)
        group, member = await self._groups.member_group(caller.tenant, ref.value, caller.mailbox)
        if group is None:
            raise RelayError(RelayReason.NOT_FOUND)
        if not member:
            raise RelayError(RelayReason.NOT_A_MEMBER)
        now = self._clock.now_ms()
        key = self._keys.current(now)
        command = BeginAttachment(
            caller.tenant,
            caller.mailbox,
            group.number,
            attachment.value,
            size,
            new_attachment_key(key, caller.tenant_id, attachment, self._entropy),
            key.generation,
            now + ATTACHMENT_UPLOAD_MS,
            ATTACHMENT_BYTES,
            ATTACHMENTS,
        )
        return await settle(self._committer, command, AttachmentStands, tenant=caller.tenant)

    async def append(self, caller: Caller, attachment: AttachmentId, offset: int, piece: bytes) -> AttachmentStands:
        """Takes the next piece. A piece that is there already, the same bytes at the same place, is not an error.

        Raises:
            RelayError: NOT_FOUND; WRONG_OFFSET with the ``offset`` to go on from; ATTACHMENT_SIZE, NOT_A_MEMBER,
                NO_RECIPIENTS, GROUP_QUARANTINED.
        """
        row, seal = await self._open(caller, attachment)
        if row.uploader != caller.mailbox:
            raise RelayError(RelayReason.NOT_FOUND)
        if offset < row.received:
            if await self._is_there(row, seal, offset, piece):
                return AttachmentStands(row.size, row.received, row.expires_ms)
            raise RelayError(RelayReason.WRONG_OFFSET, offset=row.received)
        command = AppendAttachment(
            caller.tenant,
            caller.mailbox,
            attachment.value,
            offset,
            len(piece),
            seal.seal(offset, piece, self._entropy),
            self._clock.now_ms() + ATTACHMENT_TTL_MS,
        )
        return await settle(self._committer, command, AttachmentStands, tenant=caller.tenant, size=len(command.sealed))

    async def _is_there(self, row: AttachmentRow, seal: AttachmentSeal, offset: int, piece: bytes) -> bool:
        found = await self._reads.piece(row.number, offset)
        if found is None or found.start != offset:
            return False
        return hmac.compare_digest(seal.open(found.start, found.sealed), piece)

    async def piece(self, caller: Caller, attachment: AttachmentId, offset: int) -> Piece:
        """The blob from an offset on, up to the end of a piece as it was uploaded.

        Raises:
            RelayError: NOT_FOUND: no such blob, not whole yet, past its time, or not for this device;
                WRONG_OFFSET at or beyond the end.
            SealingError: it does not open.
        """
        row, seal = await self._open(caller, attachment)
        if not row.awaited:
            raise RelayError(RelayReason.NOT_FOUND)
        if offset >= row.size:
            raise RelayError(RelayReason.WRONG_OFFSET, offset=row.size)
        found = await self._reads.piece(row.number, offset)
        if found is None:
            raise RelayError(RelayReason.NOT_FOUND)
        return Piece(offset, seal.open(found.start, found.sealed)[offset - found.start :], row.size)

    async def release(self, caller: Caller, attachment: AttachmentId) -> None:
        """The caller has it, durably. With the last recipient's word it is deleted. Says nothing of what there was."""
        command = ReleaseAttachment(caller.tenant, caller.mailbox, attachment.value)
        await settle(self._committer, command, type(None), tenant=caller.tenant)

    async def _open(self, caller: Caller, attachment: AttachmentId) -> tuple[AttachmentRow, AttachmentSeal]:
        for looks_left in reversed(range(_LOOKS)):
            row = await self._reads.attachment(caller.tenant, attachment.value, caller.mailbox)
            if row is None or row.expires_ms <= self._clock.now_ms():
                raise RelayError(RelayReason.NOT_FOUND)
            try:
                key = self._keys.get(row.generation)
            except StorageKeyError:
                if not looks_left:
                    raise
                continue
            return row, AttachmentSeal(key, caller.tenant_id, attachment, row.wrapped_key)
        raise AssertionError("the last look returned or raised")

    async def purge(self) -> int:
        """Removes what is past its time, step by step; returns how many pieces went. To be run often."""
        pieces = 0
        while True:
            command = PurgeAttachments(self._clock.now_ms(), PIECES_PER_PURGE)
            done = await settle(self._committer, command, AttachmentsPurged, tenant=0)
            pieces += done.pieces
            if not done.more:
                return pieces
