"""What is read of delivery tokens, on a reader's connection: one look by the hash of what was shown."""

import apsw

from letterlock.storage.delivery_commands import SpentRow, TokenRow
from letterlock.storage.sqlite.relay_reads import Reading
from letterlock.storage.sqlite.rows import first


class DeliveryReads:
    """The queries of :class:`letterlock.gateway.deliveries.Deliveries`; StorageError where reading fails."""

    def __init__(self, readers: Reading) -> None:
        self._readers = readers

    async def token(self, hashed: bytes, key: bytes, now_ms: int) -> TokenRow | SpentRow | None:
        """Where a live token leads; or what came with it, once it is spent.

        Args:
            hashed: of the token.
            key: the store's key of the message that comes with it.
            now_ms: the present.
        """

        def look(db: apsw.Connection) -> TokenRow | SpentRow | None:
            spent = first(db, "SELECT request_mac, record_hash FROM message_key WHERE id=?", (key,))
            if spent is not None:
                return SpentRow(*spent)
            row = first(
                db,
                "SELECT d.tenant, t.id, d.mailbox FROM delivery_token d JOIN tenant t ON t.no=d.tenant"
                " WHERE d.hash=? AND d.expires_ms>?",
                (hashed, now_ms),
            )
            return None if row is None else TokenRow(*row)

        return await self._readers.read(look)
