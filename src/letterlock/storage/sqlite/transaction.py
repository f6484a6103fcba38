"""One group commit: what commands see while they are applied, and what is written at its end."""

from collections.abc import Callable
from typing import Final

import apsw

from letterlock.storage.sqlite.order import KeyOrder
from letterlock.storage.sqlite.state import WriterState
from letterlock.wire.tlog.commitments import MIN_SALT, record_salts
from letterlock.wire.tlog.entries import LedgerEntry, encode_entry
from letterlock.wire.tlog.records import BatchBuilder

SALTS_AT_ONCE: Final = 64


class Transaction:
    """The open transaction of a group commit.

    A command's handler writes through :attr:`db`, records its event with :meth:`append` or :meth:`record`, and
    changes the writer's memory only in :meth:`then`, which runs when the handler has succeeded.
    """

    __slots__ = (
        "_effects",
        "_entries_before",
        "_records_before",
        "_salts",
        "db",
        "entries",
        "first_entry",
        "now_ms",
        "order",
        "purge_after_ms",
        "records",
        "seed",
        "state",
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
    ) -> None:
        self.db = db
        self.order = order
        self.state = state
        self.seed = seed
        self.now_ms = now_ms
        self.purge_after_ms = purge_after_ms
        """How long after its end a message's row stays."""
        self.first_entry = state.tree.size
        self.entries: list[bytes] = []
        self.records = BatchBuilder()
        self.unplaced: list[int] = []
        """Message rows that wait for the index of this commit's batch entry, which comes last."""
        self._effects: list[Callable[[], None]] = []
        self._entries_before = 0
        self._records_before = 0
        self._salts = b""

    def append(self, entry: LedgerEntry) -> int:
        """Adds a ledger entry of its own; returns its index, which is final when the transaction is."""
        self.entries.append(encode_entry(entry))
        return self.first_entry + len(self.entries) - 1

    def record(self, record: bytes, message: int = 0) -> int:
        """Adds a per-message record to this commit's batch entry; returns its slot.

        A handler records when nothing can refuse it any more: a record cannot be taken back. ``message`` is the
        number of the message row whose ``entry`` is to be filled in at the end of the commit.
        """
        if message:
            self.unplaced.append(message)
        return self.records.add(record)[0]

    def salt(self) -> bytes:
        """The salt of the next record's commitments; it can be derived again while the batch row lives."""
        at = len(self.records) * MIN_SALT
        if at >= len(self._salts):
            self._salts = record_salts(self.seed, 2 * len(self.records) + SALTS_AT_ONCE)
        return self._salts[at : at + MIN_SALT]

    def then(self, effect: Callable[[], None]) -> None:
        """Runs after the handler has succeeded: for changes of the writer's memory."""
        self._effects.append(effect)

    def begin(self) -> None:
        """A handler starts."""
        self._effects.clear()
        self._entries_before = len(self.entries)
        self._records_before = len(self.records)

    def refuse(self) -> None:
        """Forgets what a refused handler added."""
        if len(self.records) != self._records_before:
            raise AssertionError("a handler recorded an event and was refused after it")
        del self.entries[self._entries_before :]
        self._effects.clear()

    def settle(self) -> None:
        """Runs the handler's effects."""
        for effect in self._effects:
            effect()
        self._effects.clear()
