"""Encrypted attachments in the writer. One is gone when its key row is; its pieces follow in bounded steps."""

from typing import Final

from letterlock.custody.attachments import COLUMN_KEY
from letterlock.custody.sealing import StorageKey, reseal
from letterlock.model.ids import AttachmentId, TenantId
from letterlock.storage.attachment_commands import (
    AppendAttachment,
    AttachmentsPurged,
    AttachmentStands,
    BeginAttachment,
    PurgeAttachments,
    ReleaseAttachment,
)
from letterlock.storage.errors import CommitReason
from letterlock.storage.relay_commands import RelayReason, relay_refused
from letterlock.storage.sqlite.relay_mail import caller_alive
from letterlock.storage.sqlite.relay_public import wrong_era
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog.entries import Purge
from letterlock.wire.tlog.words import PurgeKind

PIECES_AT_ONCE: Final = 16
"""Pieces that go with the last acknowledgement itself (4 MiB): overwriting more would hold up the writer."""
KEYS_AT_ONCE: Final = 200
"""Attachments that one purge ends."""


def begin_attachment(tx: Transaction, command: BeginAttachment) -> AttachmentStands:
    """Makes an attachment, or tells how far the caller's own is.

    Raises:
        CommitRefused: the id is another's or of another size or group; the caller is no member, or alone in the
            group; its account has stored as much as it may.
    """
    db, caller = tx.db, command.caller
    caller_alive(tx, command.tenant, caller)
    row = first(
        db,
        "SELECT a.uploader, a.group_no, a.size, a.received, a.expires_ms, k.attachment FROM attachment a"
        " LEFT JOIN attachment_key k ON k.attachment=a.no WHERE a.tenant=? AND a.id=?",
        (command.tenant, command.id),
    )
    if row is not None:
        uploader, group, size, received, expires, key = row
        same = uploader == caller and size == command.size and group in {None, command.group}
        if not same or key is None or expires <= tx.now_ms:
            raise relay_refused(RelayReason.ATTACHMENT_EXISTS)
        return AttachmentStands(size, received, expires)
    _recipients(tx, command.group, caller)
    count, stored = rows(
        db,
        "SELECT count(*), coalesce(sum(a.size), 0) FROM attachment a JOIN device d ON d.mailbox=a.uploader"
        " WHERE d.tenant=?1 AND d.account=(SELECT account FROM device WHERE mailbox=?2)",
        (command.tenant, caller),
    )[0]
    if count >= command.most or stored + command.size > command.most_bytes:
        raise relay_refused(RelayReason.ATTACHMENT_QUOTA, limit=command.most_bytes)
    number = rows(
        db,
        "INSERT INTO attachment (tenant, id, uploader, group_no, size, expires_ms) VALUES (?,?,?,?,?,?) RETURNING no",
        (command.tenant, command.id, caller, command.group, command.size, command.expires_ms),
    )[0][0]
    run(
        db,
        "INSERT INTO attachment_key (attachment, wrapped_key, generation) VALUES (?,?,?)",
        (number, command.wrapped_key, command.generation),
    )
    return AttachmentStands(command.size, 0, command.expires_ms, begun=True)


def _recipients(tx: Transaction, group: int, caller: int) -> list[int]:
    found = tx.state.group(tx.db, group)
    if caller not in found.members:
        raise relay_refused(RelayReason.NOT_A_MEMBER)
    if found.over is CommitReason.WRONG_ERA:
        raise wrong_era(tx, group)
    if found.over is not None:
        raise relay_refused(RelayReason.GROUP_QUARANTINED)
    others = [mailbox for mailbox in found.members if mailbox != caller]
    if not others:
        raise relay_refused(RelayReason.NO_RECIPIENTS)
    return others


def append_attachment(tx: Transaction, command: AppendAttachment) -> AttachmentStands:
    """Takes the next piece. With the last one, the group's members of now are who may fetch it.

    Raises:
        CommitRefused: no such upload of this device; not the next piece; beyond the end; as for the beginning.
    """
    db = tx.db
    caller_alive(tx, command.tenant, command.caller)
    row = first(
        db,
        "SELECT a.no, a.group_no, a.size, a.received, a.expires_ms FROM attachment a JOIN attachment_key k"
        " ON k.attachment=a.no WHERE a.tenant=? AND a.id=? AND a.uploader=? AND a.expires_ms>?",
        (command.tenant, command.id, command.caller, tx.now_ms),
    )
    if row is None:
        raise relay_refused(RelayReason.NOT_FOUND)
    number, group, size, received, expires = row
    if command.start != received:
        raise relay_refused(RelayReason.WRONG_OFFSET, offset=received)
    received += command.length
    if received > size:
        raise relay_refused(RelayReason.ATTACHMENT_SIZE)
    if received == size:
        awaited = _recipients(tx, group, command.caller)
        db.executemany(
            "INSERT INTO attachment_awaited (attachment, mailbox) VALUES (?,?)", [(number, box) for box in awaited]
        )
        group, expires = None, command.expires_ms
    run(
        db,
        "INSERT INTO attachment_piece (attachment, start, sealed) VALUES (?,?,?)",
        (number, command.start, command.sealed),
    )
    run(
        db,
        "UPDATE attachment SET received=?, group_no=?, expires_ms=? WHERE no=?",
        (received, group, expires, number),
    )
    return AttachmentStands(size, received, expires)


def release_attachment(tx: Transaction, command: ReleaseAttachment) -> None:
    """Takes a recipient's word; harmless where it has been given, or where there is nothing to release."""
    caller_alive(tx, command.tenant, command.caller)
    row = first(tx.db, "SELECT no FROM attachment WHERE tenant=? AND id=?", (command.tenant, command.id))
    if row is not None:
        _done_with(tx, row[0], command.caller)


def forget_attachments_of(tx: Transaction, mailbox: int) -> None:
    """A device is removed: nothing waits for it any more, and its unfinished uploads end."""
    for (number,) in rows(tx.db, "SELECT attachment FROM attachment_awaited WHERE mailbox=?", (mailbox,)):
        _done_with(tx, number, mailbox)
    for (number,) in rows(tx.db, "SELECT no FROM attachment WHERE uploader=? AND received<size", (mailbox,)):
        _end(tx, number)


def _done_with(tx: Transaction, number: int, mailbox: int) -> None:
    gone = run(tx.db, "DELETE FROM attachment_awaited WHERE attachment=? AND mailbox=?", (number, mailbox))
    if gone and first(tx.db, "SELECT 1 FROM attachment_awaited WHERE attachment=?", (number,)) is None:
        _end(tx, number)


def _end(tx: Transaction, number: int) -> None:
    """Deletes the key, with which the attachment is gone, and as many pieces as are quickly overwritten."""
    db = tx.db
    run(db, "DELETE FROM attachment_key WHERE attachment=?", (number,))
    run(db, "DELETE FROM attachment_awaited WHERE attachment=?", (number,))
    run(
        db,
        "DELETE FROM attachment_piece WHERE no IN (SELECT no FROM attachment_piece WHERE attachment=? LIMIT ?)",
        (number, PIECES_AT_ONCE),
    )
    run(db, "UPDATE attachment SET expires_ms=? WHERE no=?", (tx.now_ms, number))
    run(
        db,
        "DELETE FROM attachment WHERE no=?1 AND NOT EXISTS (SELECT 1 FROM attachment_piece WHERE attachment=?1)",
        (number,),
    )
    tx.append(Purge(ts=tx.now_ms, kind=PurgeKind.BODIES, rows=1, before=tx.now_ms))


def purge_attachments(tx: Transaction, command: PurgeAttachments) -> AttachmentsPurged:
    """Ends what is past its time, and overwrites a bounded number of pieces."""
    db, now = tx.db, command.now_ms
    due = rows(
        db,
        "SELECT a.no FROM attachment a JOIN attachment_key k ON k.attachment=a.no WHERE a.expires_ms<=? LIMIT ?",
        (now, KEYS_AT_ONCE),
    )
    db.executemany("DELETE FROM attachment_key WHERE attachment=?", due)
    db.executemany("DELETE FROM attachment_awaited WHERE attachment=?", due)
    pieces = run(
        db,
        "DELETE FROM attachment_piece WHERE no IN (SELECT p.no FROM attachment a JOIN attachment_piece p"
        " ON p.attachment=a.no WHERE a.expires_ms<=? LIMIT ?)",
        (now, command.limit),
    )
    gone = run(
        db,
        "DELETE FROM attachment WHERE expires_ms<=? AND no NOT IN (SELECT attachment FROM attachment_piece)"
        " AND no NOT IN (SELECT attachment FROM attachment_key)",
        (now,),
    )
    if due:
        tx.append(Purge(ts=tx.now_ms, kind=PurgeKind.BODIES, rows=len(due), before=now))
    return AttachmentsPurged(gone, pieces, len(due) == KEYS_AT_ONCE or pieces == command.limit)


def rewrap_attachment_keys(tx: Transaction, old: StorageKey, new: StorageKey, limit: int) -> int:
    """Moves attachments' keys from one generation to another, at most ``limit``; the pieces are not touched."""
    found = rows(
        tx.db,
        "SELECT a.no, t.id, a.id, k.wrapped_key FROM attachment_key k JOIN attachment a ON a.no=k.attachment"
        " JOIN tenant t ON t.no=a.tenant WHERE k.generation=? LIMIT ?",
        (old.generation, limit),
    )
    for number, tenant, attachment, wrapped in found:
        again = reseal(old, new, TenantId(tenant), AttachmentId(attachment), COLUMN_KEY, wrapped)
        run(
            tx.db,
            "UPDATE attachment_key SET wrapped_key=?, generation=? WHERE attachment=?",
            (again, new.generation, number),
        )
    return len(found)
