"""Stuck groups in the writer: who reported which commit, and the groups that take nothing any more because of it.

A commit that members cannot take leaves them behind while the relay goes on. Two accounts that say so about the same
commit end the group; one account never does, however many devices it has (A15).
"""

from dataclasses import replace
from typing import Final

from letterlock.storage.errors import CommitReason
from letterlock.storage.relay_commands import CommitReported, RelayReason, ReportCommit, relay_refused
from letterlock.storage.sqlite.relay_mail import caller_alive
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.state import MAILBOX_SHIFT
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog.commitments import CommitmentKind, commit
from letterlock.wire.tlog.entries import Finding
from letterlock.wire.tlog.words import FindingCode, Severity

ACCOUNTS_NEEDED: Final = 2
"""Accounts that must report the same commit."""
REPORTS_KEPT: Final = 4
"""Of one account in one group at a time: an honest device is stopped by its first."""


def quarantined(tx: Transaction, group: int) -> bool:
    """Whether a group takes nothing any more."""
    return first(tx.db, "SELECT 1 FROM group_quarantine WHERE group_no=?", (group,)) is not None


def report_commit(tx: Transaction, command: ReportCommit) -> CommitReported:
    """Keeps a report, and quarantines the group when enough accounts have made it.

    Raises:
        CommitRefused: no such group; not a member; a report that does not fit or comes too late; too many.
    """
    db, group = tx.db, command.group
    caller_alive(tx, command.tenant, command.caller)
    head = first(db, "SELECT tenant, ref FROM mls_group WHERE no=?", (group,))
    if head is None or head[0] != command.tenant:
        raise relay_refused(RelayReason.NOT_FOUND)
    if first(db, "SELECT 1 FROM group_member WHERE group_no=? AND mailbox=?", (group, command.caller)) is None:
        raise relay_refused(RelayReason.NOT_A_MEMBER)
    author = _author(tx, command)
    over = quarantined(tx, group)
    key = (group, command.base_epoch, command.account)
    if first(db, "SELECT 1 FROM group_report WHERE group_no=? AND base_epoch=? AND account=?", key) is not None:
        return CommitReported(_counted(tx, group, command.base_epoch, author), over, repeated=True)
    kept = rows(db, "SELECT count(*) FROM group_report WHERE group_no=? AND account=?", (group, command.account))[0][0]
    if kept >= REPORTS_KEPT:
        raise relay_refused(RelayReason.REPORT_QUOTA)
    run(
        db,
        "INSERT INTO group_report (group_no, base_epoch, account, mailbox, created_ms) VALUES (?,?,?,?,?)",
        (*key, command.caller, tx.now_ms),
    )
    told = commit(CommitmentKind.ACCOUNT, command.salts[0], command.account)
    tx.append(
        Finding(ts=tx.now_ms, code=FindingCode.GROUP_COMMIT_REPORTED, severity=Severity.WARNING, count=1, subject=told)
    )
    counted = _counted(tx, group, command.base_epoch, author)
    if not over and counted >= ACCOUNTS_NEEDED:
        _quarantine(tx, command, head[1], counted)
        over = True
    return CommitReported(counted, over, repeated=False)


def _author(tx: Transaction, command: ReportCommit) -> bytes:
    """The account whose device made the commit, once the report fits the commit and the reporter.

    Raises:
        CommitRefused: BAD_REPORT, REPORT_STALE.
    """
    db, group = tx.db, command.group
    logged = first(
        db,
        "SELECT l.seq, l.message_id, l.message, l.committer, d.account FROM group_log l"
        " JOIN device d ON d.mailbox=l.committer WHERE l.group_no=? AND l.base_epoch=?",
        (group, command.base_epoch),
    )
    if logged is None or logged[1] != command.message_id:
        raise relay_refused(RelayReason.REPORT_STALE)
    seq, _, message, committer, author = logged
    caller = command.caller
    since = "SELECT 1 FROM group_change WHERE group_no=? AND seq>=? AND mailbox=? AND added=1"
    later = "SELECT 1 FROM group_log WHERE group_no=? AND seq>? AND committer=?"
    if first(db, since, (group, seq, caller)) is not None or first(db, later, (group, seq, caller)) is not None:
        # It came in by this commit or after it, or has built on it: it is not stuck at it.
        raise relay_refused(RelayReason.REPORT_STALE)
    if caller == committer:
        if command.sequence:
            raise relay_refused(RelayReason.BAD_REPORT)
        return bytes(author)
    box = tx.state.mailbox(db, caller)
    if not 1 <= command.sequence <= box.head:
        raise relay_refused(RelayReason.BAD_REPORT)
    if command.sequence > box.acked:
        item = first(db, "SELECT message FROM mailbox_item WHERE key=?", (caller << MAILBOX_SHIFT | command.sequence,))
        if item is None or item[0] != message:
            raise relay_refused(RelayReason.BAD_REPORT)
    return bytes(author)


def _counted(tx: Transaction, group: int, base_epoch: int, author: bytes) -> int:
    """How many accounts count for a commit.

    Who made the commit does not count: it has no reason to be stuck at it. In a group of two accounts nobody else is
    left, so there both must say so: the one that is stuck, and the author as well.
    """
    told = rows(tx.db, "SELECT account FROM group_report WHERE group_no=? AND base_epoch=?", (group, base_epoch))
    accounts = {account for (account,) in told}
    return len(accounts if _accounts(tx, group) <= ACCOUNTS_NEEDED else accounts - {author})


def _accounts(tx: Transaction, group: int) -> int:
    found = rows(
        tx.db,
        "SELECT count(DISTINCT account) FROM device WHERE mailbox IN (SELECT mailbox FROM group_member WHERE"
        " group_no=?1 UNION SELECT mailbox FROM group_silent WHERE group_no=?1)",
        (group,),
    )
    return int(found[0][0])


def _quarantine(tx: Transaction, command: ReportCommit, ref: bytes, accounts: int) -> None:
    salt = command.salts[1]
    entry = tx.append(
        Finding(
            ts=tx.now_ms, code=FindingCode.GROUP_QUARANTINED, severity=Severity.CRITICAL, count=accounts,
            subject=commit(CommitmentKind.GROUP, salt, ref),
        )
    )  # fmt: skip
    run(
        tx.db,
        "INSERT INTO group_quarantine (group_no, base_epoch, commit_hash, salt, entry, created_ms)"
        " VALUES (?,?,?,?,?,?)",
        (command.group, command.base_epoch, command.commit_hash, salt, entry, tx.now_ms),
    )
    known = tx.state.groups

    def remember() -> None:
        group = known.get(command.group)
        if group is not None:
            known[command.group] = replace(group, over=CommitReason.GROUP_QUARANTINED)

    tx.then(remember)


def note_replacement(tx: Transaction, group: int, creator: int, salt: bytes) -> None:
    """Records that a member of a quarantined group makes a new one in its place.

    Raises:
        CommitRefused: NOT_A_MEMBER, NOT_QUARANTINED.
    """
    if first(tx.db, "SELECT 1 FROM group_member WHERE group_no=? AND mailbox=?", (group, creator)) is None:
        raise relay_refused(RelayReason.NOT_A_MEMBER)
    found = first(
        tx.db,
        "SELECT g.ref FROM group_quarantine q JOIN mls_group g ON g.no=q.group_no WHERE q.group_no=?",
        (group,),
    )
    if found is None:
        raise relay_refused(RelayReason.NOT_QUARANTINED)
    tx.append(
        Finding(
            ts=tx.now_ms, code=FindingCode.GROUP_REPLACED, severity=Severity.NOTICE, count=1,
            subject=commit(CommitmentKind.GROUP, salt, found[0]),
        )
    )  # fmt: skip
