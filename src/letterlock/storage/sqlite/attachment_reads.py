"""What is read of attachments, on a reader's connection."""

import apsw

from letterlock.storage.relay_rows import AttachmentRow, PieceRow
from letterlock.storage.sqlite.relay_reads import Reading
from letterlock.storage.sqlite.rows import first


class AttachmentReads:
    """The queries of :class:`letterlock.relay.attachments.Attachments`; StorageError where reading fails."""

    def __init__(self, readers: Reading) -> None:
        self._readers = readers

    async def attachment(self, tenant: int, attachment: bytes, mailbox: int) -> AttachmentRow | None:
        """An attachment by its id, as a device sees it."""

        def look(db: apsw.Connection) -> AttachmentRow | None:
            row = first(
                db,
                "SELECT a.no, a.uploader, a.size, a.received, k.wrapped_key, k.generation, a.expires_ms,"
                " EXISTS (SELECT 1 FROM attachment_awaited w WHERE w.attachment=a.no AND w.mailbox=?)"
                " FROM attachment a JOIN attachment_key k ON k.attachment=a.no WHERE a.tenant=? AND a.id=?",
                (mailbox, tenant, attachment),
            )
            if row is None:
                return None
            number, uploader, size, received, wrapped, generation, expires, awaited = row
            return AttachmentRow(number, uploader, size, received, wrapped, generation, expires, awaited != 0)

        return await self._readers.read(look)

    async def piece(self, number: int, offset: int) -> PieceRow | None:
        """The piece of an attachment that holds this offset, or the last one before it."""

        def look(db: apsw.Connection) -> PieceRow | None:
            row = first(
                db,
                "SELECT start, sealed FROM attachment_piece WHERE attachment=? AND start<=?"
                " ORDER BY start DESC LIMIT 1",
                (number, offset),
            )
            return None if row is None else PieceRow(*row)

        return await self._readers.read(look)
