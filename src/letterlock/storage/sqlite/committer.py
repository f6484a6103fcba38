"""The group committer: one thread writes, everybody else queues plain commands and awaits the outcome.

The queue is bounded in bytes, and each tenant may hold a share of it; over that a command is refused at once
(503 with Retry-After at the faces), so that overload is never found out by time-outs.
"""

import asyncio
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from letterlock.storage.errors import CommitRefused, StorageError, StorageReason
from letterlock.storage.sqlite.core import StoreCore

MAX_BATCH: Final = 512
"""Commands a transaction at most: the knee of rows a second is at about 100, and latency grows beyond."""
MAX_QUEUED: Final = 16_384
"""Commands that may wait: a few hundred milliseconds of writing."""
MAX_QUEUED_BYTES: Final = 64 << 20
BUSY_CALLERS: Final = 12
"""Callers in one commit from which on the next one gathers; below it each caller's latency counts."""
GATHER_S: Final = 0.003
"""How long a busy writer gathers: about as long as a commit takes, and far less than callers wait then anyway."""
TENANT_SHARE: Final = 0.5
"""Of the queue for one tenant while others wait too."""
TRUNCATE_AT: Final = 64 << 20
"""WAL bytes at which the writer itself truncates: a passive checkpoint never lets the log start over under load."""

_log: Final = structlog.get_logger("letterlock.store")

_TRUNCATE: Final = object()

Waiter = tuple[Sequence[Any], "asyncio.Future[list[Any]]", int, int]
"""Commands that travel together, who waits for their outcomes, the tenant, and their size in bytes."""


class GroupCommitter:
    """Owns the writer thread. Made on the event loop that awaits its outcomes."""

    def __init__(self, core: StoreCore, loop: asyncio.AbstractEventLoop) -> None:
        self._core = core
        self._loop = loop
        self._queue: deque[Waiter] = deque()
        self._queued = 0
        self._queued_bytes = 0
        self._last_callers = 0
        self._per_tenant: dict[int, int] = defaultdict(int)
        self._bytes_per_tenant: dict[int, int] = defaultdict(int)
        self._truncate_again = False
        self._wake = threading.Event()
        self._closing = False
        self._listeners: list[Callable[[int], None]] = []
        self._thread = threading.Thread(target=self._run, name="letterlock-writer", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Commands waiting."""
        return self._queued

    @property
    def busy(self) -> bool:
        """Whether commits serve many callers: then gathering a little longer costs less than it saves."""
        return self._last_callers >= BUSY_CALLERS

    def on_commit(self, listener: Callable[[int], None]) -> None:
        """Calls ``listener(tree size)`` on the loop after every commit."""
        self._listeners.append(listener)

    def submit(self, commands: Sequence[Any], *, tenant: int = 0, size: int = 0) -> "asyncio.Future[list[Any]]":
        """Queues commands that travel together: one transaction, one wake-up, outcomes in the same order.

        The future's list has a result or a :class:`CommitRefused` for each command.

        Raises:
            StorageError: OVERLOADED or CLOSED, at once; nothing is queued.
        """
        if self._closing:
            raise StorageError(StorageReason.CLOSED)
        count = len(commands)
        if not count:
            nothing: asyncio.Future[list[Any]] = self._loop.create_future()
            nothing.set_result([])
            return nothing
        waiting = self._queued
        if waiting + count > MAX_QUEUED or self._queued_bytes + size > MAX_QUEUED_BYTES:
            raise StorageError(StorageReason.OVERLOADED)
        if tenant and waiting > MAX_BATCH and self._per_tenant[tenant] + count > MAX_QUEUED * TENANT_SHARE:
            raise StorageError(StorageReason.OVERLOADED)
        share = MAX_QUEUED_BYTES * TENANT_SHARE
        if tenant and self._queued_bytes > share / 2 and self._bytes_per_tenant[tenant] + size > share:
            raise StorageError(StorageReason.OVERLOADED)
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._queued = waiting + count
        self._queued_bytes += size
        self._per_tenant[tenant] += count
        self._bytes_per_tenant[tenant] += size
        self._queue.append((commands, future, tenant, size))
        # Append first, look at the event after: the writer clears it before it drains, so no command is left behind.
        if not self._wake.is_set():
            self._wake.set()
        return future

    async def run(self, command: Any, *, tenant: int = 0, size: int = 0) -> Any:
        """Queues one command and awaits its outcome.

        Raises:
            CommitRefused: the writer did not apply it.
            StorageError: the store failed, or takes no more.
        """
        outcome = (await self.submit((command,), tenant=tenant, size=size))[0]
        if isinstance(outcome, CommitRefused):
            raise outcome
        return outcome

    async def truncate(self) -> None:
        """Moves the write-ahead log into the database and empties it of old pages, between two commits."""
        await self.submit((_TRUNCATE,))

    async def close(self) -> None:
        """Writes what is queued, then stops the thread and closes the store."""
        self._closing = True
        self._wake.set()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        self._core.close()

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:  # noqa: BLE001 - without its writer the store takes nothing, and says so
            _log.critical("writer_ended", error_type=type(error).__name__)
            self._closing = True
            left = list(self._queue)
            self._queue.clear()
            if left and not self._loop.is_closed():
                closed = StorageError(StorageReason.CLOSED)
                self._loop.call_soon_threadsafe(self._settle, left, closed, self._core.tree_size)

    def _serve(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._queue:
                if self.busy and not self._closing:
                    time.sleep(GATHER_S)
                batch = self._take()
                try:
                    self._write(batch)
                except BaseException:
                    # Those that have their outcomes already are left alone.
                    self._queue.extendleft(reversed(batch))
                    raise
            if self._closing and not self._queue:
                return

    def _take(self) -> list[Waiter]:
        taken: list[Waiter] = []
        count = 0
        while self._queue and count < MAX_BATCH:
            waiter = self._queue.popleft()
            taken.append(waiter)
            count += len(waiter[0])
        self._last_callers = len(taken)
        return taken

    def _write(self, batch: list[Waiter]) -> None:
        outcomes: list[Any] | StorageError
        truncates = [waiter for waiter in batch if waiter[0][0] is _TRUNCATE]
        if truncates:
            batch = [waiter for waiter in batch if waiter[0][0] is not _TRUNCATE]
        try:
            outcomes = self._core.apply([command for waiter in batch for command in waiter[0]]) if batch else []
        except Exception as error:  # noqa: BLE001 - a bug in one command must not take the writer down
            outcomes = error if isinstance(error, StorageError) else StorageError(StorageReason.FAILED)
            _log.error("commit_failed", error_type=type(error).__name__, reason=outcomes.reason.value)
            if outcomes.reason is StorageReason.FAILED and len(batch) > 1:
                # Nothing was written: each caller's commands by themselves, so that only the faulty ones fail.
                for waiter in batch:
                    self._write([waiter])
                batch, outcomes = [], []
        self._loop.call_soon_threadsafe(self._settle, batch, outcomes, self._core.tree_size)
        if truncates or self._truncate_again or self._core.wal_bytes > TRUNCATE_AT:
            self._truncate()
        if truncates:
            done: list[Any] = [None] * len(truncates)
            self._loop.call_soon_threadsafe(self._settle, truncates, done, self._core.tree_size)

    def _truncate(self) -> None:
        try:
            self._core.checkpoint(truncate=True)
        except StorageError as error:
            # A reader still holds an old snapshot; readers are bounded in time, so the next commit tries again.
            self._truncate_again = True
            _log.warning("log_not_emptied", reason=error.reason.value)
            return
        self._truncate_again = False

    def _settle(self, batch: list[Waiter], outcomes: list[Any] | StorageError, tree_size: int) -> None:
        at = 0
        for commands, future, tenant, size in batch:
            count = len(commands)
            self._queued -= count
            self._queued_bytes -= size
            for held, amount in ((self._per_tenant, count), (self._bytes_per_tenant, size)):
                held[tenant] -= amount
                if not held[tenant]:
                    del held[tenant]
            if not future.done():
                if isinstance(outcomes, StorageError):
                    future.set_exception(outcomes)
                else:
                    future.set_result(outcomes[at : at + count])
            at += count
        if not isinstance(outcomes, StorageError):
            for listener in self._listeners:
                listener(tree_size)
