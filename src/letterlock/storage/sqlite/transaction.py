"""One group commit: what commands see while they are applied, and what is written at its end."""

import os
from collections.abc import Callable, Mapping
from typing import Final

import apsw

from letterlock.model.traces import USUAL, LedgerRhythm, SenderKept, Traces
from letterlock.storage.sqlite.order import KeyOrder
from letterlock.storage.sqlite.record_books import THIS_COMMIT, Book, CommitBook, IntervalBook
from letterlock.storage.sqlite.state import WriterState
from letterlock.wire.tlog.entries import LedgerEntry, encode_entry
from letterlock.wire.tlog.intervals import interval_end
from letterlock.wire.tlog.records import MAX_BATCH

SEED_SIZE: Final = 32
DEDUPLICATION_MS: Final = 7 * 86_400_000
"""How long a retry finds its first answer: longer than a phone is usually without a network."""


class Transaction:
    """The open transaction of a group commit.

    A command's handler writes through :attr:`db`, records its event with :meth:`append` or :meth:`record`, and
    changes the writer's memory only in :meth:`then`, which runs when the handler has succeeded.
    """

    __slots__ = (
        "_effects",
        "_entries_before",
        "_records_before",
        "book",
        "db",
        "entries",
        "first_entry",
        "now_ms",
        "order",
        "purge_after_ms",
        "records",
        "seed",
        "state",
        "touched",
        "traces",
        "unplaced",
    )

    def __init__(
        self,
        db: apsw.Connection,
        state: WriterState,
        seed: bytes,
        now_ms: int,
        purge_after_ms: int,
        order: KeyOrder,
        traces: Mapping[int, Traces],
    ) -> None:
        self.db = db
        self.order = order
        self.state = state
        self.seed = seed
        self.now_ms = now_ms
        self.purge_after_ms = purge_after_ms
        """How long after its end a message's row stays."""
        self.traces = traces
        """The tenants of whose messages less is kept than usual."""
        self.first_entry = state.tree.size
        self.entries: list[bytes] = []
        self.book = CommitBook(seed)
        """Takes the records of this commit's batch entry."""
        self.records = self.book.batch
        self.touched: list[IntervalBook] = []
        """Intervals that this commit has looked at; their records get rows at its end."""
        self.unplaced: list[int] = []
        """Message rows that wait for the index of this commit's batch entry, which comes last."""
        self._effects: list[Callable[[], None]] = []
        self._entries_before = 0
        self._records_before = 0

    def append(self, entry: LedgerEntry) -> int:
        """Adds a ledger entry of its own; returns its index, which is final when the transaction is."""
        self.entries.append(encode_entry(entry))
        return self.first_entry + len(self.entries) - 1

    def book_of(self, tenant: int) -> Book:
        """Where records about messages of this tenant go."""
        if self.traces.get(tenant, USUAL).ledger is LedgerRhythm.EACH_COMMIT:
            return self.book
        state = self.state
        found = state.interval
        if found is None or len(found) >= MAX_BATCH:
            # One that is full waits beside the next: both close at the same moment.
            until_ms = interval_end(self.now_ms) if found is None else found.until_ms
            state.last_interval += 1
            found = state.interval = IntervalBook(state.last_interval, os.urandom(SEED_SIZE), until_ms)
        if not self.touched or self.touched[-1] is not found:
            self.touched.append(found)
        return found

    def record(self, record: bytes, message: int = 0, book: Book | None = None) -> tuple[int, bytes]:
        """Adds a per-message record to this commit's batch entry, or to another book; gives its slot and hash.

        A handler records when nothing can refuse it any more: a record cannot be taken back. ``message`` is the
        number of the message row whose ``entry`` is to be filled in at the end of the commit.
        """
        into = self.book if book is None else book
        if message and into.place == THIS_COMMIT:
            self.unplaced.append(message)
        return into.add(record)

    def salt(self) -> bytes:
        """The salt of the next record's commitments; it can be derived again while the batch row lives."""
        return self.book.salt()

    def began(self, tenant: int) -> int:
        """Now, as it is stored with a message of this tenant."""
        return self.traces.get(tenant, USUAL).begin(self.now_ms)

    def due(self, tenant: int, until_ms: int) -> int:
        """A time at which something of this tenant's message is due, as it is stored: not before it."""
        return self.traces.get(tenant, USUAL).end(until_ms)

    def purged(self, tenant: int) -> int:
        """When the row of a message of this tenant goes that has its end now."""
        return self.due(tenant, self.now_ms + self.purge_after_ms)

    def remembered(self, tenant: int) -> int:
        """For how long after its stored time an accepted message's key stays."""
        traces = self.traces.get(tenant, USUAL)
        return traces.end(DEDUPLICATION_MS + traces.step_ms - 1)

    def names_sender(self, tenant: int) -> bool:
        """Whether rows about messages of this tenant say which device sent them."""
        return self.traces.get(tenant, USUAL).sender is SenderKept.STORED

    def then(self, effect: Callable[[], None]) -> None:
        """Runs after the handler has succeeded: for changes of the writer's memory."""
        self._effects.append(effect)

    def begin(self) -> None:
        """A handler starts."""
        self._effects.clear()
        self._entries_before = len(self.entries)
        self._records_before = self._recorded()

    def _recorded(self) -> int:
        return len(self.records) + sum(len(book.unsaved) for book in self.touched)

    def refuse(self) -> None:
        """Forgets what a refused handler added."""
        if self._recorded() != self._records_before:
            raise AssertionError("a handler recorded an event and was refused after it")
        del self.entries[self._entries_before :]
        self._effects.clear()

    def settle(self) -> None:
        """Runs the handler's effects."""
        for effect in self._effects:
            effect()
        self._effects.clear()
