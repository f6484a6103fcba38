"""Pages of a mailbox for the device stream: read sealed, unsealed here, in the form that frames take."""

from collections.abc import Sequence
from typing import Final, Protocol

from letterlock.custody.sealing import SealingError, StorageKey, unseal_sealed
from letterlock.custody.storage_keys import StorageKeyError
from letterlock.model.ids import MessageId, TenantId
from letterlock.storage.errors import StorageError, StorageReason
from letterlock.storage.relay_rows import ItemRow
from letterlock.storage.sqlite.relay_reads import RelayReads
from letterlock.wire.stream import MAX_BODY, encode_delivery_item

MAX_PAGE_BYTES: Final = 1 << 20
MAX_REREADS: Final = 3
"""A row moves to another storage key at most once in minutes; more than that is not a race."""


class OpeningKeys(Protocol):
    """The storage keys of the generations."""

    def get(self, generation: int) -> StorageKey:
        """To open what lies there."""
        ...


class MailPages:
    """Implements what the stream needs of mailboxes."""

    def __init__(self, reads: RelayReads, keys: OpeningKeys) -> None:
        self._reads = reads
        self._keys = keys

    async def state(self, mailbox: int) -> tuple[int, int]:
        """The mailbox's newest and acknowledged sequence."""
        row = await self._reads.mailbox(mailbox)
        return (0, 0) if row is None else (row.head, row.acked)

    async def page(self, tenant: TenantId, mailbox: int, after: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        """Up to ``limit`` items after a sequence: sequence, item head, body.

        A body that is larger than a frame takes comes empty: the device reads it over HTTP.

        Raises:
            StorageError: the first of them does not open, however often it is read.
        """
        for _ in range(MAX_REREADS):
            rows = await self._reads.page(mailbox, after, limit, MAX_PAGE_BYTES)
            items = self._opened(tenant, rows)
            if items or not rows:
                return items
        # No page at all would mean that nothing is left, and the device would be taken past what it has not seen.
        raise StorageError(StorageReason.FAILED)

    def _opened(self, tenant: TenantId, rows: Sequence[ItemRow]) -> list[tuple[int, bytes, bytes]]:
        items = []
        for row in rows:
            try:
                body = unseal_sealed(self._keys.get(row.generation), tenant, MessageId(row.message_id), row.sealed)
            except (SealingError, StorageKeyError):
                # Rewrapped between the read and here: what follows is read again from this place.
                break
            if len(body) > MAX_BODY:
                body = b""
            head = encode_delivery_item(
                row.kind, row.message_id, row.group or bytes(16), row.accepted_ms, row.protection, row.grade,
                row.verifier, len(body),
            )  # fmt: skip
            items.append((row.sequence, head, body))
        return items
