"""The writer's memory: what it would otherwise read in every commit. Always rebuilt from the database."""

from dataclasses import dataclass, field
from typing import Final

import apsw

from letterlock.model.errors import Fact
from letterlock.storage.errors import CommitReason, CommitRefused
from letterlock.storage.sqlite import ledger_rows
from letterlock.storage.sqlite.record_books import IntervalBook
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.waiting import Waiting, WaitingLimits
from letterlock.wire.tlog.growth import TreeState

SEQ_BLOCK: Final = 65_536
"""Message numbers are reserved in blocks, so that a purged number is never used again and no commit pays for it."""
MAILBOX_SHIFT: Final = 32
SEQ_MASK: Final = (1 << MAILBOX_SHIFT) - 1
CACHED_GROUPS: Final = 50_000
CACHED_MAILBOXES: Final = 200_000


@dataclass(slots=True)
class Mailbox:
    """A mailbox's newest and acknowledged sequence."""

    tenant: int
    head: int
    acked: int


@dataclass(slots=True)
class Group:
    """What ordering needs of an MLS group."""

    tenant: int
    epoch: int
    members: tuple[int, ...]
    over: CommitReason | None = None
    """Why it takes nothing any more."""


@dataclass(slots=True)
class WriterState:
    """Everything here mirrors committed rows; after a failed transaction it is thrown away and loaded again."""

    tree: TreeState
    next_seq: int
    seq_limit: int
    policy_version: int
    session_version: int
    last_interval: int = 0
    interval: IntervalBook | None = None
    """The interval that takes records now; None until there is one."""
    mailboxes: dict[int, Mailbox] = field(default_factory=dict)
    groups: dict[int, Group] = field(default_factory=dict)
    waiting: Waiting = field(default_factory=lambda: Waiting(WaitingLimits()))
    """The one thing here that mirrors no rows: too high after a failed transaction, until the store is counted."""

    def make_room(self) -> None:
        """Forgets what can be read again; only between transactions, since a commit counts on what it has loaded."""
        if len(self.mailboxes) >= CACHED_MAILBOXES:
            self.mailboxes.clear()
        if len(self.groups) >= CACHED_GROUPS:
            self.groups.clear()

    def mailbox(self, db: apsw.Connection, number: int) -> Mailbox:
        """A mailbox, from memory or rows.

        Raises:
            CommitRefused: there is none.
        """
        known = self.mailboxes.get(number)
        if known is not None:
            return known
        row = first(db, "SELECT tenant, head, acked FROM device WHERE mailbox=?", (number,))
        if row is None:
            raise refused(CommitReason.NOT_FOUND)
        tenant, head, acked = row
        low = number << MAILBOX_SHIFT
        newest = rows(db, "SELECT max(key) FROM mailbox_item WHERE key BETWEEN ? AND ?", (low, low | SEQ_MASK))[0][0]
        found = Mailbox(tenant, max(head, acked, (newest or 0) & SEQ_MASK), acked)
        self.mailboxes[number] = found
        return found

    def group(self, db: apsw.Connection, number: int) -> Group:
        """A group's head and members, from memory or rows.

        Raises:
            CommitRefused: there is none.
        """
        known = self.groups.get(number)
        if known is not None:
            return known
        row = first(db, "SELECT tenant, epoch, successor FROM mls_group WHERE no=?", (number,))
        if row is None:
            raise refused(CommitReason.NOT_FOUND)
        members = rows(db, "SELECT mailbox FROM group_member WHERE group_no=? ORDER BY mailbox", (number,))
        over = None if row[2] is None else CommitReason.WRONG_ERA
        if first(db, "SELECT 1 FROM group_quarantine WHERE group_no=?", (number,)) is not None:
            over = CommitReason.GROUP_QUARANTINED
        found = Group(row[0], row[1], tuple(m for (m,) in members), over)
        self.groups[number] = found
        return found

    def take_seq(self, db: apsw.Connection) -> int:
        """The next message number, reserving a block when the last one is used up."""
        if self.next_seq >= self.seq_limit:
            self.seq_limit = self.next_seq + SEQ_BLOCK
            self.write_seq_limit(db)
        self.next_seq += 1
        return self.next_seq

    def write_seq_limit(self, db: apsw.Connection) -> None:
        """Writes how far numbers are reserved: again, when the command that reserved them was refused."""
        run(db, "UPDATE counter SET value=? WHERE name='message_seq'", (self.seq_limit,))


def load(db: apsw.Connection) -> WriterState:
    """The writer's memory, from rows."""
    counters: dict[str, int] = dict(rows(db, "SELECT name, value FROM counter"))
    return WriterState(
        tree=ledger_rows.restore(db),
        next_seq=counters["message_seq"],
        seq_limit=counters["message_seq"],
        policy_version=counters["policy_version"],
        session_version=counters["session_version"],
        last_interval=counters["record_interval"],
        interval=_open_interval(db),
    )


def _open_interval(db: apsw.Connection) -> IntervalBook | None:
    row = first(db, "SELECT no, seed, until_ms FROM record_interval ORDER BY no DESC LIMIT 1")
    if row is None:
        return None
    count = rows(db, "SELECT count(*) FROM waiting_record WHERE interval=?", (row[0],))[0][0]
    no, seed, until_ms = row
    return IntervalBook(no, seed, until_ms, rows=count, kept=True)


def refused(reason: CommitReason, **facts: Fact) -> CommitRefused:
    """A refusal of one command."""
    return CommitRefused(reason, **facts)
