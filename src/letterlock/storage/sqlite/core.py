"""The writer: applies a batch of commands in one transaction, ledger entries included. Synchronous, one caller."""

import os
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw
import structlog

from letterlock.model.clock import Clock
from letterlock.model.errors import LetterlockError
from letterlock.model.traces import Traces
from letterlock.storage.commands import AcceptSealed, Ack
from letterlock.storage.errors import CommitRefused, StorageError, StorageReason
from letterlock.storage.sqlite import state as writer_state
from letterlock.storage.sqlite.connection import BUSY_MS, open_writer, storage_errors
from letterlock.storage.sqlite.hot import HotBatch
from letterlock.storage.sqlite.interval_ops import RECORDS_KEPT_MS, keep_waiting
from letterlock.storage.sqlite.ledger_rows import grow
from letterlock.storage.sqlite.order import AS_THEY_COME, KeyOrder
from letterlock.storage.sqlite.transaction import SEED_SIZE, Transaction
from letterlock.storage.sqlite.waiting import Waiting, WaitingLimits
from letterlock.wire.tlog.growth import TreeState

Command = Any
Outcome = Any
Handler = Callable[[Transaction, Any], Any]

_T = TypeVar("_T")

_log: Final = structlog.get_logger("letterlock.store")

LONG_LOG: Final = 4_096
"""Pages of the write-ahead log (16 MiB) after which it starts over: overwriting costs a third less than growing."""
TOO_LONG_LOG: Final = 4 * LONG_LOG
"""Pages (64 MiB): only a reader that stays lets the log get that far."""


class StoreCore:
    """Owns the writing connection and the writer's memory.

    Args:
        folder: where the database lives; it must be locked by the caller.
        handlers: what each command but the hot ones does.
        clock: for the times that rows and entries get.
        purge_after_ms: how long after delivery a message's row stays (S88).
        waiting: how much of one sender, and of one tenant, may wait in mailboxes.
        order: under which keys message ids are kept; always the same for a store.
        traces: by number, the tenants of whose messages less is kept than usual; whoever has it may add to it.
    """

    def __init__(
        self,
        folder: Path,
        handlers: dict[type, Handler],
        clock: Clock,
        *,
        purge_after_ms: int = 600_000,
        waiting: WaitingLimits | None = None,
        order: KeyOrder = AS_THEY_COME,
        traces: Mapping[int, Traces] | None = None,
    ) -> None:
        self._order = order
        self._traces = {} if traces is None else traces
        self._db = open_writer(folder)
        self._handlers = handlers
        self._clock = clock
        self.purge_after_ms = purge_after_ms
        self.busy_ms = BUSY_MS
        """How long :meth:`apply` waits for a lock of another connection."""
        self._forgotten = False
        self._staged: TreeState | None = None
        self._log_pages = 0
        self._restart_at = LONG_LOG
        try:
            with storage_errors():
                self._state = writer_state.load(self._db)
            self._state.waiting = Waiting(waiting or WaitingLimits())
        except BaseException:
            self._db.close()
            raise
        self._db.set_wal_hook(self._log_grew)

    def _log_grew(self, _: apsw.Connection, __: str, pages: int) -> int:
        if pages < self._log_pages:
            self._restart_at = LONG_LOG
        self._log_pages = pages
        return apsw.SQLITE_OK

    @property
    def tree_size(self) -> int:
        """How many entries the ledger has; all of them durable."""
        return self._state.tree.size

    @property
    def log_is_too_long(self) -> bool:
        """Whether starting over has failed so often that the log is to be emptied, readers or not."""
        return self._log_pages >= TOO_LONG_LOG

    @property
    def log_is_long(self) -> bool:
        """Whether :meth:`restart_log` is due."""
        return self._log_pages >= self._restart_at

    def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        """Applies a batch in one durable transaction.

        Returns:
            one outcome a command: its result, or a :class:`CommitRefused` where the command alone was refused.

        Raises:
            StorageError: nothing of the batch was written; the writer's memory is as the database says.
        """
        self._db.set_busy_timeout(self.busy_ms)
        outcomes = self._whole(lambda: self._stage(commands))
        self.commit()
        return outcomes

    def stage(self, commands: Sequence[Command]) -> list[Outcome]:
        """The first half of :meth:`apply`: the transaction is open until :meth:`commit`. Waits for no lock.

        Raises:
            StorageError: as :meth:`apply`; no transaction is open.
        """
        self._db.set_busy_timeout(0)
        return self._whole(lambda: self._stage(commands))

    def commit(self) -> None:
        """Makes durable what was staged: this is what waits for the disk.

        Raises:
            StorageError: as :meth:`apply`.
        """
        self._whole(self._commit)

    def _whole(self, step: Callable[[], _T]) -> _T:
        """Runs a step; after a failure the transaction is gone and the memory is read again."""
        if self._forgotten:
            self._recover()
        try:
            with storage_errors():
                return step()
        except BaseException:
            self._forgotten = True
            try:
                self._recover()
            except LetterlockError:
                # The first failure is the one to tell. What is in memory is of no use until the database answers.
                _log.error("writer_memory_not_reloaded")
            raise

    def _recover(self) -> None:
        with storage_errors():
            if self._db.in_transaction:
                self._db.execute("ROLLBACK").fetchall()
            waiting = self._state.waiting
            self._state = writer_state.load(self._db)
            self._state.waiting = waiting
        self._forgotten = False
        self._staged = None

    def _stage(self, commands: Sequence[Command]) -> list[Outcome]:
        db = self._db
        self._state.make_room()
        db.execute("BEGIN IMMEDIATE").fetchall()
        seed, now = os.urandom(SEED_SIZE), self._clock.now_ms()
        tx = Transaction(db, self._state, seed, now, self.purge_after_ms, self._order, self._traces)
        hot = HotBatch(tx, [c for c in commands if type(c) is AcceptSealed])
        outcomes: list[Outcome] = []
        for command in commands:
            kind = type(command)
            if kind is AcceptSealed:
                outcomes.append(hot.accept(command))
            elif kind is Ack:
                try:
                    outcomes.append(hot.ack(command))
                except CommitRefused as refusal:
                    outcomes.append(refusal)
            else:
                hot.make_visible()
                outcomes.append(self._run(tx, self._handlers[kind], command))
        hot.write()
        self._record(tx)
        self._staged = grow(db, self._state.tree, tx.entries)
        return outcomes

    def _commit(self) -> None:
        if self._staged is None:
            raise AssertionError("nothing is staged")
        self._db.execute("COMMIT").fetchall()
        self._state.tree, self._staged = self._staged, None

    def _run(self, tx: Transaction, handler: Handler, command: Command) -> Outcome:
        tx.begin()
        reserved = self._state.seq_limit
        tx.db.execute("SAVEPOINT command").fetchall()
        try:
            outcome = handler(tx, command)
        except CommitRefused as refusal:
            tx.db.execute("ROLLBACK TO command").fetchall()
            tx.db.execute("RELEASE command").fetchall()
            if self._state.seq_limit != reserved:
                self._state.write_seq_limit(tx.db)
            tx.refuse()
            return refusal
        tx.db.execute("RELEASE command").fetchall()
        tx.settle()
        return outcome

    def _record(self, tx: Transaction) -> None:
        """The batch entry, and the records that it stands for; and those that wait for another."""
        keep_waiting(tx)
        if not len(tx.records):
            return
        entry = tx.append(tx.records.entry(tx.now_ms))
        tx.db.execute(
            "INSERT INTO record_batch (entry, seed, records, expires_ms) VALUES (?,?,?,?)",
            (entry, tx.seed, b"\n".join(tx.records.records), tx.now_ms + RECORDS_KEPT_MS),
        ).fetchall()
        if tx.unplaced:
            tx.db.execute(
                "UPDATE message SET entry=? WHERE seq IN carray(?)", (entry, apsw.carray(array("q", tx.unplaced)))
            ).fetchall()

    def checkpoint(self, *, truncate: bool) -> None:
        """Moves the write-ahead log into the database; truncating also empties the log of old pages."""
        mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if truncate else apsw.SQLITE_CHECKPOINT_PASSIVE
        self._db.set_busy_timeout(self.busy_ms)
        with storage_errors():
            self._db.wal_checkpoint(mode=mode)
        if truncate:
            self._log_pages, self._restart_at = 0, LONG_LOG

    def restart_log(self) -> None:
        """Moves a long log into the database, so that the next commit writes from its start.

        A reader may hold that up; the log then grows on, and the next try comes after as many pages again. What stands
        in the overwritten log until then is emptied by the truncations of each purge.
        """
        self.checkpoint(truncate=False)
        self._restart_at = self._log_pages + LONG_LOG

    def read_back(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """For start-up alone: rows, through the writing connection."""
        with storage_errors():
            return self._db.execute(sql, values).fetchall()

    def close(self) -> None:
        """Truncates the write-ahead log and closes."""
        try:
            self.checkpoint(truncate=True)
        except StorageError as error:
            if error.reason is not StorageReason.LOCKED:
                raise
        finally:
            self._db.close()
