"""What is read of push subscriptions, on a reader's connection."""

from typing import Final

import apsw

from letterlock.storage.push_commands import SubscriptionRow
from letterlock.storage.sqlite.relay_reads import Reading
from letterlock.storage.sqlite.rows import first, rows
from letterlock.storage.sqlite.state import MAILBOX_SHIFT, SEQ_MASK

_RANGE: Final = f"(s.mailbox << {MAILBOX_SHIFT}) AND ((s.mailbox << {MAILBOX_SHIFT}) | {SEQ_MASK})"
_WAITING: Final = f"EXISTS (SELECT 1 FROM mailbox_item WHERE key BETWEEN {_RANGE})"  # noqa: S608 - our own numbers


class PushReads:
    """The queries of :class:`letterlock.relay.push.Push`; StorageError where reading fails."""

    def __init__(self, readers: Reading) -> None:
        self._readers = readers

    async def subscription(self, mailbox: int, now_ms: int) -> SubscriptionRow | None:
        """A device's subscription that is not over."""

        def look(db: apsw.Connection) -> SubscriptionRow | None:
            row = first(
                db,
                f"SELECT t.id, d.id, s.endpoint_mac, s.sealed, s.generation, {_WAITING} FROM push_subscription s"  # noqa: S608
                " JOIN device d ON d.mailbox=s.mailbox JOIN tenant t ON t.no=s.tenant"
                " WHERE s.mailbox=? AND s.expires_ms>?",
                (mailbox, now_ms),
            )
            if row is None:
                return None
            tenant, device, mac, sealed, generation, waiting = row
            return SubscriptionRow(tenant, device, mac, sealed, generation, waiting != 0)

        return await self._readers.read(look)

    async def subscribed(self) -> tuple[tuple[int, bool], ...]:
        """All mailboxes with a subscription, and whether something waits there: for start-up."""

        def look(db: apsw.Connection) -> tuple[tuple[int, bool], ...]:
            found = rows(db, f"SELECT s.mailbox, {_WAITING} FROM push_subscription s")  # noqa: S608 - our own words
            return tuple((mailbox, waiting != 0) for mailbox, waiting in found)

        return await self._readers.read(look)
