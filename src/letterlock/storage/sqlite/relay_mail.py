"""Mailboxes outside the hot path: emptied because their device is gone, or because they were lost. Never in part."""

from array import array
from typing import Final

import apsw

from letterlock.model.message import MessageState
from letterlock.storage.relay_commands import (
    LoseMailbox,
    MailboxLost,
    MailboxReset,
    PurgeRelay,
    RelayPurged,
    RelayReason,
    ResetMailbox,
    relay_refused,
)
from letterlock.storage.sqlite.rosters import purge_rosters
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.state import MAILBOX_SHIFT, SEQ_MASK
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.storage.waiting_commands import LookAtWaiting, SettleWaiting, WaitingSeen
from letterlock.wire.tlog.entries import Finding, Purge
from letterlock.wire.tlog.words import FindingCode, PurgeKind, Severity

IN_ORDER: Final = 0
LOST: Final = 1
RESET: Final = 2
"""Values of ``device.lost``."""
MAX_COUNTER: Final = 2**63 - 1
"""What a column holds."""
PURGE_BATCH: Final = 2_000
"""Rows of each kind that one purge removes: a few milliseconds of the writer."""

_GIVEN_UP: Final = (
    "UPDATE message SET pending=pending-1, updated_ms=?1,"  # noqa: S608 - numbers of our own enum
    f" state=iif(pending<=1 AND state={int(MessageState.ACCEPTED)}, {int(MessageState.EXPIRED)}, state),"
    " purge_ms=iif(pending<=1, ?2, purge_ms) WHERE seq IN carray(?3)"
)
_DROP_BODIES: Final = (
    "DELETE FROM sealed_body WHERE message IN (SELECT seq FROM message WHERE seq IN carray(?) AND pending<=0)"
)


def caller_alive(tx: Transaction, tenant: int, mailbox: int) -> int:
    """Makes sure that a calling device still exists; gives its ``lost``.

    Raises:
        CommitRefused: it was removed meanwhile.
    """
    row = first(tx.db, "SELECT tenant, revoked_ms, lost FROM device WHERE mailbox=?", (mailbox,))
    if row is None or row[0] != tenant or row[1] is not None:
        raise relay_refused(RelayReason.SESSION_ENDED)
    return int(row[2])


def empty_mailbox(tx: Transaction, mailbox: int) -> int:
    """Deletes every item of a mailbox and keeps its numbering; returns how many there were."""
    db = tx.db
    head = tx.state.mailbox(db, mailbox).head
    low = mailbox << MAILBOX_SHIFT
    dropped = [
        message
        for (message,) in rows(
            db, "DELETE FROM mailbox_item WHERE key BETWEEN ? AND ? RETURNING message", (low, low | SEQ_MASK)
        )
    ]
    run(db, "UPDATE device SET head=? WHERE mailbox=?", (head, mailbox))
    run(db, "DELETE FROM delivery_token WHERE mailbox=?", (mailbox,))
    if dropped:
        tenant = tx.state.mailbox(db, mailbox).tenant
        run(db, _GIVEN_UP, (tx.began(tenant), tx.purged(tenant), apsw.carray(array("q", dropped))))
        run(db, _DROP_BODIES, (apsw.carray(array("q", dropped)),))
        tx.append(Purge(ts=tx.now_ms, kind=PurgeKind.BODIES, rows=len(dropped), before=tx.now_ms))
    return len(dropped)


def silence(tx: Transaction, mailbox: int) -> None:
    """Stops fan-out to a mailbox; its leaves stay in their groups until a commit removes them."""
    groups = [no for (no,) in rows(tx.db, "DELETE FROM group_member WHERE mailbox=? RETURNING group_no", (mailbox,))]
    if not groups:
        return
    tx.db.executemany(
        "INSERT OR IGNORE INTO group_silent (group_no, mailbox) VALUES (?,?)", [(no, mailbox) for no in groups]
    )
    known = tx.state.groups

    def forget() -> None:
        for no in groups:
            known.pop(no, None)

    tx.then(forget)


def lose_mailbox(tx: Transaction, command: LoseMailbox) -> MailboxLost:
    """Empties a mailbox, withdraws the device's key packages and stops fan-out; a removed device's rests go too."""
    row = first(tx.db, "SELECT tenant, revoked_ms FROM device WHERE mailbox=?", (command.mailbox,))
    if row is None or row[0] != command.tenant:
        raise relay_refused(RelayReason.NOT_FOUND)
    if row[1] is None:
        run(tx.db, "UPDATE device SET lost=? WHERE mailbox=?", (LOST, command.mailbox))
        run(tx.db, "DELETE FROM key_package WHERE mailbox=?", (command.mailbox,))
    silence(tx, command.mailbox)
    return MailboxLost(empty_mailbox(tx, command.mailbox))


def reset_mailbox(tx: Transaction, command: ResetMailbox) -> MailboxReset:
    """After a loss: what is there is dropped, everything counts as acknowledged, old key packages are withdrawn.

    Of a mailbox that is in order nothing is dropped: the device is told how far it has acknowledged.
    """
    lost = caller_alive(tx, command.tenant, command.mailbox)
    raise_counter(tx, command.mailbox, command.state_counter)
    box = tx.state.mailbox(tx.db, command.mailbox)
    if lost == IN_ORDER:
        return MailboxReset(box.acked)
    empty_mailbox(tx, command.mailbox)
    head = box.head
    run(tx.db, "UPDATE device SET acked=?, lost=? WHERE mailbox=?", (head, RESET, command.mailbox))
    run(tx.db, "DELETE FROM key_package WHERE mailbox=?", (command.mailbox,))

    def acknowledge() -> None:
        box.acked = head

    tx.then(acknowledge)
    return MailboxReset(head)


def look_at_waiting(tx: Transaction, command: LookAtWaiting) -> WaitingSeen | None:
    """The counters of what waits; None where nobody is near a limit, and nobody asked for them all the same."""
    waiting = tx.state.waiting
    if not (waiting.wanted or command.always):
        return None
    new = len(waiting.over - waiting.noted)
    if new:
        tx.append(Finding(ts=tx.now_ms, code=FindingCode.MAILBOX_QUOTA_REACHED, severity=Severity.WARNING, count=new))
    waiting.noted = set(waiting.over)
    return waiting.seen(tx.state.next_seq)


def settle_waiting(tx: Transaction, command: SettleWaiting) -> None:
    """Takes what the store was found to hold."""
    tx.state.waiting.settle(command.before, command.found, command.sent_by)


def raise_counter(tx: Transaction, mailbox: int, stated: int) -> None:
    """Keeps the highest counter that a device has stated."""
    stated = min(stated, MAX_COUNTER)
    run(
        tx.db,
        "UPDATE device SET state_counter=? WHERE mailbox=? AND state_counter<?",
        (stated, mailbox, stated),
    )


def purge_relay(tx: Transaction, command: PurgeRelay) -> RelayPurged:
    """Removes a bounded number of rows past their time, and records how many."""
    db, now = tx.db, command.now_ms
    sessions = run(
        db,
        "DELETE FROM device_session WHERE token_hash IN"
        " (SELECT token_hash FROM device_session WHERE expires_ms<=? LIMIT ?)",
        (now, PURGE_BATCH),
    )
    packages = run(
        db,
        "DELETE FROM key_package WHERE no IN (SELECT no FROM key_package WHERE expires_ms<=? LIMIT ?)",
        (now, PURGE_BATCH),
    )
    published = rows(db, "SELECT tenant, ref FROM published_package WHERE expires_ms<=? LIMIT ?", (now, PURGE_BATCH))
    db.executemany("DELETE FROM published_package WHERE tenant=? AND ref=?", published)
    old = rows(
        db, "SELECT group_no, seq FROM group_log WHERE created_ms<=? LIMIT ?", (command.commits_before_ms, PURGE_BATCH)
    )
    db.executemany("DELETE FROM group_change WHERE group_no=? AND seq=?", old)
    db.executemany("DELETE FROM group_log WHERE group_no=? AND seq=?", old)
    reports = run(
        db,
        "DELETE FROM group_report WHERE (group_no, base_epoch, account) IN"
        " (SELECT group_no, base_epoch, account FROM group_report WHERE created_ms<=? LIMIT ?)",
        (command.commits_before_ms, PURGE_BATCH),
    )
    rosters = purge_rosters(tx, command.commits_before_ms, PURGE_BATCH)
    for kind, count, before in (
        (PurgeKind.SESSIONS, sessions, now),
        (PurgeKind.KEY_PACKAGES, packages, now),
        (PurgeKind.OTHER, len(old) + reports + rosters, command.commits_before_ms),
    ):
        if count:
            tx.append(Purge(ts=tx.now_ms, kind=kind, rows=count, before=max(0, before)))
    return RelayPurged(sessions, packages, len(published), len(old))
