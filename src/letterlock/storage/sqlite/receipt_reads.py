"""What the worker that checks receipts reads: the ones that wait, and what the store knows of who signed them."""

from collections.abc import Callable
from typing import Final

import apsw

from letterlock.storage.receipt_commands import ReceiptCounts, Signatory, WaitingReceipt
from letterlock.storage.sqlite.relay_reads import Reading
from letterlock.storage.sqlite.rows import first, rows

_WAITING: Final = (
    "SELECT w.no, w.tenant, t.id, w.message, w.handed_by, w.receipt, g.no, g.ref, g.group_id, k.request_mac, m.sender,"
    " d.id, coalesce(p.era, e.era-1, 0) FROM receipt_waiting w JOIN message m ON m.seq=w.message"
    " JOIN tenant t ON t.no=w.tenant"
    " JOIN mls_group g ON g.no=m.group_no JOIN device d ON d.mailbox=m.sender"
    " LEFT JOIN group_public p ON p.group_no=g.no LEFT JOIN group_era e ON e.group_no=g.no"
    " JOIN message_key k ON k.seq=m.seq AND k.id=?2"
    " WHERE w.no=?1"
)


class ReceiptReads:
    """The queries of :class:`letterlock.relay.receipts.ReceiptDesk`; StorageError where reading fails."""

    def __init__(self, readers: Reading, key_of: Callable[[bytes], bytes]) -> None:
        self._readers = readers
        self._key_of = key_of

    async def waiting(self, limit: int) -> tuple[WaitingReceipt, ...]:
        """The oldest that wait."""

        def work(db: apsw.Connection) -> tuple[WaitingReceipt, ...]:
            found = []
            query = "SELECT w.no, m.id FROM receipt_waiting w JOIN message m ON m.seq=w.message ORDER BY w.no LIMIT ?"
            for no, message_id in rows(db, query, (limit,)):
                row = first(db, _WAITING, (no, self._key_of(message_id)))
                if row is not None:
                    found.append(WaitingReceipt(*row))
            return tuple(found)

        return await self._readers.read(work)

    async def signatory(
        self, tenant: int, device: bytes, list_version: int, group: int, epoch: int
    ) -> Signatory | None:
        """The device that a receipt names; None where the tenant has none of that name."""

        def work(db: apsw.Connection) -> Signatory | None:
            row = first(db, "SELECT mailbox, account, revoked_ms FROM device WHERE tenant=? AND id=?", (tenant, device))
            if row is None:
                return None
            mailbox, account, revoked_ms = row
            named = first(
                db,
                "SELECT signed, list_hash FROM device_list_version WHERE tenant=? AND account=? AND version=?",
                (tenant, account, list_version),
            )
            head = first(
                db,
                "SELECT a.list_version, v.signed FROM account a JOIN device_list_version v ON v.tenant=a.tenant"
                " AND v.account=a.id AND v.version=a.list_version WHERE a.tenant=? AND a.id=?",
                (tenant, account),
            )
            roster = first(db, "SELECT digest, leaves FROM group_roster WHERE group_no=? AND epoch=?", (group, epoch))
            return Signatory(
                mailbox,
                account,
                revoked_ms is not None,
                None if named is None else (named[0], named[1]),
                (0, b"") if head is None else (head[0], head[1]),
                None if roster is None else (roster[0], roster[1]),
                _was_member(db, group, epoch, mailbox),
            )

        return await self._readers.read(work)


def _was_member(db: apsw.Connection, group: int, epoch: int, mailbox: int) -> bool:
    """Whether a device's leaf was in a group at an epoch: as it is now, with the changes since then taken back."""
    later = first(
        db,
        "SELECT c.added FROM group_change c JOIN group_log l ON l.group_no=c.group_no AND l.seq=c.seq"
        " WHERE c.group_no=? AND c.mailbox=? AND l.base_epoch>=? ORDER BY c.seq LIMIT 1",
        (group, mailbox, epoch),
    )
    if later is not None:
        return not later[0]
    here = (
        "SELECT 1 FROM group_member WHERE group_no=?1 AND mailbox=?2 UNION"
        " SELECT 1 FROM group_silent WHERE group_no=?1 AND mailbox=?2"
    )
    return first(db, here, (group, mailbox)) is not None


def receipt_counts(db: apsw.Connection, message: int) -> ReceiptCounts | None:
    """What was checked of one message; None where no receipt of it was ever handed in."""
    waiting = rows(db, "SELECT count(*) FROM receipt_waiting WHERE message=?", (message,))[0][0]
    attested, displayed, recipients = rows(
        db,
        "SELECT count(DISTINCT mailbox), count(*) FILTER (WHERE kind=2), coalesce(max(recipients), 0)"
        " FROM message_receipt WHERE message=?",
        (message,),
    )[0]
    refused = rows(db, "SELECT reason, count FROM receipt_refused WHERE message=? ORDER BY reason", (message,))
    if not waiting and not attested and not refused:
        return None
    return ReceiptCounts(attested, displayed, recipients, waiting, tuple((reason, count) for reason, count in refused))
