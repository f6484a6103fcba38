"""Messages of RCS clients (GSMA RCC.16) in the writer: as any sealed message, once their epoch's authenticator fits."""

from letterlock.storage.commands import Accepted, AcceptRcs
from letterlock.storage.errors import CommitReason, CommitRefused
from letterlock.storage.relay_commands import GroupStanding
from letterlock.storage.sqlite.hot import PAST_EPOCHS, HotBatch
from letterlock.storage.sqlite.message_ops import check_relied, find_duplicate
from letterlock.storage.sqlite.rows import first, run
from letterlock.storage.sqlite.state import refused
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog.entries import Finding
from letterlock.wire.tlog.words import FindingCode, Severity


def accept_rcs(tx: Transaction, command: AcceptRcs) -> Accepted | CommitRefused:
    """Takes a message whose authenticator is the first that was named for its group and epoch.

    Returns:
        what was accepted; or AUTHENTICATORS_FORKED, which is no exception here, for the finding stays.

    Raises:
        CommitRefused: as for any sealed message.
    """
    known = find_duplicate(tx, command.tenant, command.message_id, command.request_mac)
    if known is not None:
        return known
    check_relied(tx, command.relied, command.tenant)
    if tx.state.waiting.refuses(command.tenant, command.sender):
        raise refused(CommitReason.MAILBOX_QUOTA)
    batch = HotBatch(tx, (command,))
    batch.targets(command, named=True)
    if not _same_authenticator(tx, command):
        return refused(CommitReason.AUTHENTICATORS_FORKED)
    accepted = batch.accept(command)
    if isinstance(accepted, CommitRefused):
        raise accepted
    batch.make_visible()
    return accepted


def _same_authenticator(tx: Transaction, command: AcceptRcs) -> bool:
    """Whether nobody named another one; the first other one is a finding, and lowers what is said of the group."""
    db, group, epoch = tx.db, command.group, command.epoch
    held = first(db, "SELECT digest, forked FROM group_authenticator WHERE group_no=? AND epoch=?", (group, epoch))
    if held is None:
        run(
            db,
            "INSERT INTO group_authenticator (group_no, epoch, digest) VALUES (?,?,?)",
            (group, epoch, command.authenticator),
        )
        oldest = tx.state.group(db, group).epoch - PAST_EPOCHS
        run(db, "DELETE FROM group_authenticator WHERE group_no=? AND epoch<?", (group, oldest))
        return True
    if held[0] == command.authenticator:
        return True
    if not held[1]:
        run(db, "UPDATE group_authenticator SET forked=1 WHERE group_no=? AND epoch=?", (group, epoch))
        run(
            db,
            "UPDATE group_public SET standing=? WHERE group_no=? AND standing=?",
            (int(GroupStanding.LOWERED), group, int(GroupStanding.FOLLOWED)),
        )
        code, severity = FindingCode.EPOCH_AUTHENTICATOR_FORKED, Severity.CRITICAL
        tx.append(Finding(ts=tx.now_ms, code=code, severity=severity, count=1))
    return False
