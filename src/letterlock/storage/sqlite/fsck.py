"""Whether the rows of a store fit each other, its ledger and its keys. Reads only, in the caller's snapshot."""
# ruff: noqa: S608 - statements are made of our own words and numbers

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import apsw

from letterlock.custody.sealing import OVERHEAD
from letterlock.ledger.appender import restore_state
from letterlock.ledger.errors import LedgerError
from letterlock.model.message import MessageState
from letterlock.storage.columns import GENERATION_TABLES
from letterlock.storage.sqlite.ledger_rows import LedgerRows
from letterlock.storage.sqlite.rows import first, rows
from letterlock.storage.sqlite.state import MAILBOX_SHIFT, SEQ_MASK
from letterlock.wire.tlog.entries import Batch, Interval, decode_entry
from letterlock.wire.tlog.errors import EntryError
from letterlock.wire.tlog.intervals import IntervalRecords
from letterlock.wire.tlog.records import BatchBuilder
from letterlock.wire.tlog.tiles import TILE_HEIGHT

_QUARANTINED: Final = int(MessageState.QUARANTINED)
_WAITING: Final = f"({int(MessageState.QUEUED)}, {int(MessageState.HELD)})"

_QUERIES: Final[dict[str, tuple[str, str]]] = {
    "mailbox_items_have_messages": (
        "items of mailboxes whose message is gone",
        "SELECT key FROM mailbox_item WHERE message NOT IN (SELECT seq FROM message)",
    ),
    "mailbox_items_have_devices": (
        "items of mailboxes without a device",
        f"SELECT key FROM mailbox_item WHERE key >> {MAILBOX_SHIFT} NOT IN (SELECT mailbox FROM device)",
    ),
    "mailbox_items_are_unacknowledged": (
        "items that their device has acknowledged already",
        f"SELECT key FROM mailbox_item, device WHERE mailbox = key >> {MAILBOX_SHIFT} AND key & {SEQ_MASK} <= acked",
    ),
    "mailbox_items_have_bodies": (
        "items whose message has no sealed body",
        """SELECT key FROM mailbox_item WHERE message NOT IN (SELECT message FROM sealed_body)
           AND message NOT IN (SELECT message FROM group_log)""",
    ),
    "sealed_bodies_are_awaited": (
        "sealed bodies that no mailbox waits for",
        f"""SELECT message FROM sealed_body WHERE message NOT IN (SELECT message FROM mailbox_item)
            AND message NOT IN (SELECT seq FROM message WHERE state = {_QUARANTINED})""",
    ),
    "sealed_bodies_have_messages": (
        "sealed bodies whose message is gone",
        "SELECT message FROM sealed_body WHERE message NOT IN (SELECT seq FROM message)",
    ),
    "readable_bodies_are_awaited": (
        "sealed readable bodies whose message does not wait any more",
        f"""SELECT message FROM shreddable_body WHERE message NOT IN
            (SELECT seq FROM message WHERE state IN {_WAITING})""",
    ),
    "waiting_messages_have_bodies": (
        "messages that wait to be sent and have no body",
        f"SELECT seq FROM message WHERE state IN {_WAITING} AND seq NOT IN (SELECT message FROM shreddable_body)",
    ),
    "waiting_messages_are_in_the_outbox": (
        "messages that wait to be sent and are not in the outbox",
        f"SELECT seq FROM message WHERE state IN {_WAITING} AND seq NOT IN (SELECT message FROM outbox)",
    ),
    "numbers_are_not_used_twice": (
        "messages whose number is above the reserved ones",
        "SELECT seq FROM message WHERE seq > (SELECT value FROM counter WHERE name = 'message_seq')",
    ),
    "messages_point_into_the_ledger": (
        "messages whose ledger entry does not exist",
        "SELECT seq FROM message WHERE entry >= (SELECT size FROM ledger_head)",
    ),
    "messages_have_their_interval": (
        "messages whose interval is neither open nor in the ledger",
        """SELECT seq FROM message WHERE entry < -1 AND -2 - entry NOT IN (SELECT no FROM record_interval)
           AND -2 - entry NOT IN (SELECT interval FROM record_batch WHERE interval IS NOT NULL)""",
    ),
    "waiting_records_have_no_hole": (
        "open intervals whose records are not numbered from 0 on",
        """SELECT interval FROM waiting_record GROUP BY interval
           HAVING count(*) <> max(slot) + 1 OR min(slot) <> 0""",
    ),
    "members_are_devices": (
        "members of groups without a device",
        "SELECT group_no FROM group_member WHERE mailbox NOT IN (SELECT mailbox FROM device)",
    ),
    "eras_follow_each_other": (
        "groups with a later era in their place of which nothing is recorded, or the other way round",
        "SELECT no FROM mls_group WHERE (successor IS NULL) = (no IN (SELECT group_no FROM group_era)) OR successor=no",
    ),
    "attachments_are_awaited": (
        "whole attachments that nobody may fetch any more",
        """SELECT no FROM attachment WHERE received = size AND no IN (SELECT attachment FROM attachment_key)
           AND no NOT IN (SELECT attachment FROM attachment_awaited)""",
    ),
    "attachments_hold_what_they_say": (
        "attachments whose pieces are not as long together as was received",
        f"""SELECT no FROM attachment a WHERE no IN (SELECT attachment FROM attachment_key) AND received <>
            (SELECT coalesce(sum(length(sealed) - {OVERHEAD}), 0) FROM attachment_piece WHERE attachment = a.no)""",
    ),
}


@dataclass(frozen=True, slots=True)
class Checked:
    """One check.

    Attributes:
        name: a stable word.
        says: what was looked for.
        bad: how many rows are not as they should be; None where it could not be checked.
        first: the first of them, by its number; None where there are none.
    """

    name: str
    says: str
    bad: int | None
    first: int | None = None


def check_store(db: apsw.Connection, generations: Collection[int] | None) -> list[Checked]:
    """Makes all checks.

    Args:
        db: in a snapshot, so that a running gateway does not move under it.
        generations: the storage keys that exist; None where the keys cannot be looked at.
    """
    done = [_file(db), _foreign_keys(db)]
    done += [_query(db, name, says, sql) for name, (says, sql) in _QUERIES.items()]
    done += [step(db) for step in (_ledger_rows, _ledger_state, _tiles, _batches)]
    done.append(_generations(db, generations))
    return done


def _file(db: apsw.Connection) -> Checked:
    says = "pages and indexes of the database that are damaged"
    found = [text for (text,) in rows(db, "PRAGMA quick_check") if text != "ok"]
    return Checked("file_is_whole", says, len(found))


def _foreign_keys(db: apsw.Connection) -> Checked:
    found = rows(db, "PRAGMA foreign_key_check")
    number = found[0][1] if found else None
    return Checked("references_hold", "rows that refer to a row that is not there", len(found), number)


def _query(db: apsw.Connection, name: str, says: str, sql: str) -> Checked:
    count = rows(db, f"SELECT count(*) FROM ({sql})")[0][0]
    one = first(db, f"{sql} LIMIT 1") if count else None
    return Checked(name, says, count, None if one is None else one[0])


def _ledger_rows(db: apsw.Connection) -> Checked:
    """Entries 0 to size - 1, and no other."""
    size = LedgerRows(db).head()[0]
    count, highest = rows(db, "SELECT count(*), coalesce(max(i), -1) FROM ledger_entry")[0]
    missing, beyond = max(0, size - count), max(0, highest + 1 - size)
    bad = missing + beyond
    lost = None
    if bad:
        gap = first(
            db, "SELECT min(i) FROM (SELECT -1 AS i UNION ALL SELECT i FROM ledger_entry) AS a"
            " WHERE NOT EXISTS (SELECT 1 FROM ledger_entry AS b WHERE b.i = a.i + 1)",
        )  # fmt: skip
        lost = None if gap is None else gap[0] + 1
    return Checked("ledger_has_all_entries", "entries that are missing, or beyond the ledger's head", bad, lost)


def _ledger_state(db: apsw.Connection) -> Checked:
    says = "the newest entries and tiles do not lead to the ledger's head"
    try:
        restore_state(LedgerRows(db))
    except (LedgerError, ValueError):
        return Checked("ledger_head_fits_rows", says, 1)
    return Checked("ledger_head_fits_rows", says, 0)


def _tiles(db: apsw.Connection) -> Checked:
    size = LedgerRows(db).head()[0]
    wanted = {(level, n) for level in range(8) for n in range((size >> (TILE_HEIGHT * level)) >> TILE_HEIGHT)}
    found = set(rows(db, "SELECT l, n FROM ledger_tile"))
    return Checked("ledger_has_all_tiles", "hash tiles that are missing, or too many", len(wanted ^ found))


def _batches(db: apsw.Connection) -> Checked:
    """The records of a batch lead to the root that its entry, which is in the signed tree, says."""
    bad, where = 0, None
    for entry, records, seed, data in rows(
        db, "SELECT b.entry, b.records, b.seed, e.d FROM record_batch b LEFT JOIN ledger_entry e ON e.i = b.entry"
        " ORDER BY b.entry",
    ):  # fmt: skip
        if data is None or not _leads_to(records, seed, data):
            bad += 1
            where = entry if where is None else where
    return Checked("records_fit_their_entries", "batches of records that do not lead to their entry", bad, where)


def _leads_to(records: bytes, seed: bytes, data: bytes) -> bool:
    builder = BatchBuilder()
    try:
        entry = decode_entry(data)
        if isinstance(entry, Interval):
            return IntervalRecords(records.split(b"\n"), seed).entry(entry.ts) == entry
        for record in records.split(b"\n"):
            builder.add(record)
        return isinstance(entry, Batch) and builder.entry(entry.ts) == entry
    except EntryError:
        return False


def _generations(db: apsw.Connection, existing: Collection[int] | None) -> Checked:
    name, says = "storage_keys_exist", "generations of storage keys that rows need and that do not exist"
    if existing is None:
        return Checked(name, says, None)
    needed = {
        number for table in GENERATION_TABLES for (number,) in rows(db, f"SELECT DISTINCT generation FROM {table}")
    }
    lost = sorted(needed - set(existing))
    return Checked(name, says, len(lost), lost[0] if lost else None)
