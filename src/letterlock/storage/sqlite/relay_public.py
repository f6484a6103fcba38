"""The public state of groups in the writer: kept with the commit that made it, lowered with what lowers it."""

from typing import Final

from letterlock.storage.errors import CommitRefused
from letterlock.storage.relay_commands import (
    AnchorGroup,
    GroupAnchored,
    GroupStanding,
    NoteFinding,
    PublicState,
    RelayReason,
    relay_refused,
)
from letterlock.storage.sqlite.relay_mail import caller_alive
from letterlock.storage.sqlite.rosters import keep_roster
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog.commitments import CommitmentKind, commit
from letterlock.wire.tlog.entries import Finding
from letterlock.wire.tlog.words import FindingCode, Severity

IN_FORCE: Final = (
    "SELECT g.ref, p.era FROM mls_group old JOIN mls_group g ON g.tenant=old.tenant AND g.group_id=old.group_id"
    " LEFT JOIN group_public p ON p.group_no=g.no WHERE old.no=? AND g.successor IS NULL"
)
"""The name and the era of the group that is in force under the MLS id of another."""
_FORKED: Final = "SELECT 1 FROM group_authenticator WHERE group_no=? AND epoch=? AND forked=1"
"""Two authenticators were named for this epoch (RCC.16): nothing at this head says which members it is of."""
EXPIRE_BATCH: Final = 1_000
"""Groups that one purge lowers: bounds a transaction."""


def note_finding(tx: Transaction, command: NoteFinding) -> None:
    """Records a finding about an account."""
    subject = commit(CommitmentKind.ACCOUNT, command.salt, command.account)
    tx.append(Finding(ts=tx.now_ms, code=command.code, severity=command.severity, count=1, subject=subject))


def follow_commit(tx: Transaction, group: int, public: PublicState | None, finding: NoteFinding | None) -> None:
    """What a commit made of the group's public state, in the commit's own transaction."""
    if public is not None:
        _put(tx, group, public)
    else:
        # The head moved on without the state: whatever was followed is not followed to the head.
        run(
            tx.db,
            "UPDATE group_public SET standing=? WHERE group_no=? AND standing<>?",
            (int(GroupStanding.LOST), group, int(GroupStanding.LOST)),
        )
    if finding is not None:
        note_finding(tx, finding)


def anchor_group(tx: Transaction, command: AnchorGroup) -> GroupAnchored:
    """Puts a new anchor in force.

    Raises:
        CommitRefused: no such group; not a member; a later era is in its place; the head is another one, or forked.
    """
    caller_alive(tx, command.tenant, command.caller)
    head = first(tx.db, "SELECT tenant, epoch, successor FROM mls_group WHERE no=?", (command.group,))
    if head is None or head[0] != command.tenant:
        raise relay_refused(RelayReason.NOT_FOUND)
    if (
        first(tx.db, "SELECT 1 FROM group_member WHERE group_no=? AND mailbox=?", (command.group, command.caller))
        is None
    ):
        raise relay_refused(RelayReason.NOT_A_MEMBER)
    if head[2] is not None:
        raise wrong_era(tx, command.group)
    if head[1] != command.epoch or first(tx.db, _FORKED, (command.group, command.epoch)) is not None:
        raise relay_refused(RelayReason.BAD_GROUP_INFO)
    _put(tx, command.group, command.public)
    if command.finding is not None:
        note_finding(tx, command.finding)
    return GroupAnchored()


def wrong_era(tx: Transaction, group: int) -> CommitRefused:
    """The refusal of what comes to a group in whose place a later era is, with the era in force."""
    row = first(tx.db, IN_FORCE, (group,))
    return relay_refused(RelayReason.WRONG_ERA, current_era=0 if row is None or row[1] is None else row[1])


def lower_groups_of(tx: Transaction, mailboxes: tuple[int, ...]) -> tuple[int, ...]:
    """Lowers the followed groups that hold a leaf of these devices, which no list names any more."""
    lowered: set[int] = set()
    for mailbox in mailboxes:
        found = rows(
            tx.db,
            "UPDATE group_public SET standing=?2 WHERE standing=?3 AND group_no IN"
            " (SELECT group_no FROM group_member WHERE mailbox=?1 UNION"
            " SELECT group_no FROM group_silent WHERE mailbox=?1) RETURNING group_no",
            (mailbox, int(GroupStanding.LOWERED), int(GroupStanding.FOLLOWED)),
        )
        lowered |= {number for (number,) in found}
    if lowered:
        _lowered(tx, FindingCode.GROUP_ROSTER_DIFFERS, len(lowered))
    return tuple(sorted(lowered))


def expire_groups(tx: Transaction, now_ms: int) -> int:
    """Lowers followed groups in which a leaf's time is over; returns how many."""
    found = rows(
        tx.db,
        "UPDATE group_public SET standing=? WHERE group_no IN"
        " (SELECT group_no FROM group_public WHERE standing=0 AND until_ms<? LIMIT ?) RETURNING group_no",
        (int(GroupStanding.LOWERED), now_ms, EXPIRE_BATCH),
    )
    if found:
        _lowered(tx, FindingCode.GROUP_LEAF_EXPIRED, len(found))
    return len(found)


def _lowered(tx: Transaction, code: FindingCode, groups: int) -> None:
    tx.append(Finding(ts=tx.now_ms, code=code, severity=Severity.WARNING, count=groups))


def _put(tx: Transaction, group: int, public: PublicState) -> None:
    run(
        tx.db,
        "INSERT INTO group_public (group_no, epoch, standing, until_ms, gaps, state, era) VALUES (?,?,?,?,?,?,?)"
        " ON CONFLICT (group_no) DO UPDATE SET epoch=excluded.epoch, standing=excluded.standing,"
        " until_ms=excluded.until_ms, gaps=excluded.gaps, state=excluded.state, era=excluded.era",
        (group, public.epoch, int(public.standing), public.until_ms, public.gaps, public.state, public.era),
    )
    if public.roster:
        keep_roster(tx, group, public.epoch, public.roster, public.leaves)
