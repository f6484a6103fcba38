"""Eras in the writer (GSMA RCC.16): a group made again in the place of the one before, with everybody welcomed anew.

What was accepted for the old group stays in mailboxes and is delivered; it takes nothing more. Its public state goes,
for it names people and nothing is followed there any more.
"""

from dataclasses import replace
from typing import Final

from msgspec import structs

from letterlock.storage.errors import CommitReason
from letterlock.storage.relay_commands import (
    AdvanceEra,
    CreateGroup,
    EraAdvanced,
    GroupCommitted,
    RelayReason,
    relay_refused,
)
from letterlock.storage.sqlite.relay_groups import commit_group, new_group
from letterlock.storage.sqlite.relay_mail import caller_alive
from letterlock.storage.sqlite.relay_public import wrong_era
from letterlock.storage.sqlite.relay_stuck import quarantined
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog.commitments import CommitmentKind, commit
from letterlock.wire.tlog.entries import Finding
from letterlock.wire.tlog.words import FindingCode, Severity

DAY_MS: Final = 24 * 3_600_000
ERAS_A_DAY: Final = 10
"""Of one group: each costs every member a key package, and RCC.16 clients repair at most two groups an hour."""

ERA_MADE: Final = (
    "SELECT g.ref, e.era, l.request_hash, l.base_epoch+1, l.log_head, l.record_hash FROM group_era e"
    " JOIN mls_group old ON old.no=e.group_no JOIN mls_group g ON g.no=old.successor"
    " JOIN group_log l ON l.group_no=g.no AND l.seq=1 WHERE e.group_no=? AND l.committer=? AND l.idempotency_key=?"
)
"""The era that a device made of a group under an idempotency key, with its first commit."""
_LAST_DAY: Final = (
    "SELECT count(*) FROM mls_group g JOIN group_era e ON e.group_no=g.no"
    " WHERE g.tenant=? AND g.group_id=? AND g.successor IS NOT NULL AND e.created_ms>?"
)


def advance_era(tx: Transaction, command: AdvanceEra) -> EraAdvanced:
    """Puts a new era in the place of a group's, in one transaction with its entry.

    Raises:
        CommitRefused: no such group; not a member; not the next era; a group that is quarantined, or whose era is not
            known; other members than the group has; too many in a day; or what a commit is refused for.
    """
    db, number, request = tx.db, command.group, command.commit
    caller_alive(tx, request.tenant, request.caller)
    old = first(db, "SELECT tenant, ref, group_id, successor FROM mls_group WHERE no=?", (number,))
    if old is None or old[0] != request.tenant:
        raise relay_refused(RelayReason.NOT_FOUND)
    _, ref, group_id, successor = old
    made = first(db, ERA_MADE, (number, request.caller, request.idempotency_key))
    if made is not None:
        if made[2] != request.request_hash:
            raise relay_refused(RelayReason.IDEMPOTENCY_CONFLICT)
        made_ref, era, _, epoch, chain, record_hash = made
        return EraAdvanced(made_ref, era, GroupCommitted(epoch, chain, record_hash, (), repeated=True))
    members = {one for (one,) in rows(db, "SELECT mailbox FROM group_member WHERE group_no=?", (number,))}
    if request.caller not in members:
        raise relay_refused(RelayReason.NOT_A_MEMBER)
    if quarantined(tx, number):
        raise relay_refused(RelayReason.GROUP_QUARANTINED)
    if successor is not None:
        raise wrong_era(tx, number)
    held = first(db, "SELECT era FROM group_public WHERE group_no=?", (number,))
    if held is None or held[0] is None:
        raise relay_refused(RelayReason.ERA_UNKNOWN)
    if command.era != held[0] + 1:
        raise relay_refused(RelayReason.WRONG_ERA, current_era=held[0])
    if _welcomed(tx, command) != members - {request.caller}:
        raise relay_refused(RelayReason.BAD_MEMBERS)
    if rows(db, _LAST_DAY, (request.tenant, group_id, tx.now_ms - DAY_MS))[0][0] >= ERAS_A_DAY:
        raise relay_refused(RelayReason.ERA_QUOTA)
    # Out of the way of the new row first: one group is in force under an MLS id.
    run(db, "UPDATE mls_group SET successor=no WHERE no=?", (number,))
    create = CreateGroup(
        request.tenant, request.caller, command.ref, group_id, request.base_epoch, command.chain
    )  # fmt: skip
    made_no = new_group(tx, create)
    run(db, "UPDATE mls_group SET successor=? WHERE no=?", (made_no, number))
    subject = commit(CommitmentKind.GROUP, command.salt, ref)
    entry = tx.append(
        Finding(
            ts=tx.now_ms, code=FindingCode.GROUP_ERA_ADVANCED, severity=Severity.NOTICE, count=1, subject=subject
        )
    )  # fmt: skip
    run(
        db,
        "INSERT INTO group_era (group_no, era, salt, entry, created_ms) VALUES (?,?,?,?,?)",
        (number, command.era, command.salt, entry, tx.now_ms),
    )
    run(db, "DELETE FROM group_public WHERE group_no=?", (number,))
    run(db, "DELETE FROM group_authenticator WHERE group_no=?", (number,))
    done = commit_group(tx, structs.replace(request, group=made_no))
    known = tx.state.groups

    def remember() -> None:
        group = known.get(number)
        if group is not None:
            known[number] = replace(group, over=CommitReason.WRONG_ERA)

    tx.then(remember)
    return EraAdvanced(command.ref, command.era, done)


def _welcomed(tx: Transaction, command: AdvanceEra) -> set[int]:
    """Whom the first commit adds; the commit itself refuses devices that do not exist."""
    request = command.commit
    query = "SELECT mailbox FROM device WHERE tenant=? AND id=? AND revoked_ms IS NULL"
    return {number for device in request.adds for (number,) in rows(tx.db, query, (request.tenant, device))}
