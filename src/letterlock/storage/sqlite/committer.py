"""The group committer: everybody queues plain commands; one batch at a time is applied, and made durable together.

What nearly every batch consists of, accepts and acknowledgements, is staged on the event loop: it needs the interpreter
all the time, and a second thread would only fight for its lock. The wait for the disk is a thread's, and so are all
other commands, which may take long. Loop and thread never use the store at the same time (docs/adr/0001).

The queue is bounded in bytes, and each tenant may hold a share of it; over that a command is refused at once
(503 with Retry-After at the faces), so that overload is never found out by time-outs.
"""

import asyncio
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Final

import structlog

from letterlock.storage.commands import AcceptSealed, Ack
from letterlock.storage.errors import CommitRefused, StorageError, StorageReason
from letterlock.storage.sqlite.core import StoreCore

MAX_BATCH: Final = 256
"""Commands a transaction: the knee of rows a second is at about 100, and staging this many takes the loop 4 ms."""
MAX_QUEUED: Final = 16_384
"""Commands that may wait: a few hundred milliseconds of writing."""
MAX_QUEUED_BYTES: Final = 64 << 20
BUSY_CALLERS: Final = 12
"""Callers in one commit from which on the next one gathers; below it each caller's latency counts."""
GATHER_STEP_S: Final = 0.001
"""A busy committer looks this often whether more callers are still coming."""
GATHER_S: Final = 0.006
"""How long it gathers at most: about as long as a large commit takes, and less than callers wait then anyway."""
SWIFT_S: Final = 0.001
"""A disk that syncs within this is not worth two changes of thread to a lone caller, who then waits on the loop."""
WARY_COMMITS: Final = 256
"""After a slower one so many commits wait in the thread: a disk that stalls holds the loop up once, not each time."""
TENANT_SHARE: Final = 0.5
"""Of the queue for one tenant while others wait too."""

_log: Final = structlog.get_logger("letterlock.store")

Outcomes = list[Any] | StorageError
Settle = Callable[[Outcomes], None]
"""Told the outcomes of its commands, in their order, or why there are none; on the loop."""
Waiter = tuple[Sequence[Any], Settle, int, int]
"""Commands that travel together, who waits for their outcomes, the tenant, and their size in bytes."""

_HOT: Final = frozenset({AcceptSealed, Ack})
_TRUNCATE: Final = object()


class GroupCommitter:
    """Owns the store. Made on the event loop that awaits its outcomes."""

    def __init__(self, core: StoreCore, loop: asyncio.AbstractEventLoop) -> None:
        self._core = core
        self._loop = loop
        self._queue: deque[Waiter] = deque()
        self._queued = 0
        self._queued_bytes = 0
        self._last_callers = 0
        self._per_tenant: dict[int, int] = defaultdict(int)
        self._bytes_per_tenant: dict[int, int] = defaultdict(int)
        self._listeners: list[Callable[[int], None]] = []
        self._writing = False
        """A batch is being staged or committed: the store is not to be touched from the loop."""
        self._scheduled = False
        self._seen = 0
        self._gather_until = 0.0
        self._wary = WARY_COMMITS
        self._closing = False
        self._quiet: list[asyncio.Future[None]] = []
        self._truncate_again = False
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
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
        future: asyncio.Future[list[Any]] = self._loop.create_future()

        def settle(outcomes: Outcomes) -> None:
            if future.done():
                return
            if isinstance(outcomes, StorageError):
                future.set_exception(outcomes)
            else:
                future.set_result(outcomes)

        self.submit_then(commands, settle, tenant=tenant, size=size)
        return future

    def submit_then(self, commands: Sequence[Any], settle: Settle, *, tenant: int = 0, size: int = 0) -> None:
        """As :meth:`submit`, for who waits for nothing: ``settle`` is called on the loop with the outcomes.

        Raises:
            StorageError: OVERLOADED or CLOSED, at once; nothing is queued, and ``settle`` is not called.
        """
        if self._closing:
            raise StorageError(StorageReason.CLOSED)
        count = len(commands)
        if not count:
            settle([])
            return
        waiting = self._queued
        if waiting + count > MAX_QUEUED or self._queued_bytes + size > MAX_QUEUED_BYTES:
            raise StorageError(StorageReason.OVERLOADED)
        if tenant and waiting > MAX_BATCH and self._per_tenant[tenant] + count > MAX_QUEUED * TENANT_SHARE:
            raise StorageError(StorageReason.OVERLOADED)
        share = MAX_QUEUED_BYTES * TENANT_SHARE
        if tenant and self._queued_bytes > share / 2 and self._bytes_per_tenant[tenant] + size > share:
            raise StorageError(StorageReason.OVERLOADED)
        self._queued = waiting + count
        self._queued_bytes += size
        self._per_tenant[tenant] += count
        self._bytes_per_tenant[tenant] += size
        self._queue.append((commands, settle, tenant, size))
        if not (self._scheduled or self._writing):
            self._schedule()

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
        while (self._queue or self._writing) and self._thread.is_alive():
            if not (self._scheduled or self._writing):
                self._schedule()
            quiet = self._loop.create_future()
            self._quiet.append(quiet)
            await quiet
        self._jobs.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        self._core.close()

    # On the loop: gathering and staging.

    def _schedule(self) -> None:
        self._scheduled = True
        if self.busy and not self._closing:
            self._seen = 0
            self._gather_until = self._loop.time() + GATHER_S
            self._gather()
        else:
            # Whoever else is served in this turn of the loop comes along.
            self._loop.call_soon(self._start)

    def _gather(self) -> None:
        """Waits for callers that are on their way: until nobody has come for a step, or for long enough."""
        queued = self._queued
        if self._seen < queued < MAX_BATCH and self._loop.time() < self._gather_until:
            self._seen = queued
            self._loop.call_later(GATHER_STEP_S, self._gather)
        else:
            self._start()

    def _start(self) -> None:
        self._scheduled = False
        if self._writing or not self._queue:
            return
        self._writing = True
        batch = self._take()
        if batch[0][0][0] is _TRUNCATE:
            self._jobs.put(lambda: self._truncate_for(batch))
            return
        commands = [command for waiter in batch for command in waiter[0]]
        if _HOT.issuperset(map(type, commands)):
            try:
                outcomes = self._core.stage(commands)
            except Exception as error:  # noqa: BLE001 - the thread tries once more, with time to wait, and says why not
                _log.info("stage_failed", error_type=type(error).__name__)
            else:
                if len(batch) == 1 and not (self._queue or self._wary or self._truncate_again):
                    self._write_at_once(batch, outcomes)
                else:
                    self._jobs.put(lambda: self._write(batch, outcomes))
                return
        self._jobs.put(lambda: self._write(batch, None))

    def _write_at_once(self, batch: list[Waiter], staged: list[Any]) -> None:
        """Commits for a lone caller on the loop, as long as the disk is swift."""
        outcomes = self._durable(batch, staged)
        if self._core.log_is_long:
            self._settle(batch, outcomes, self._core.tree_size)
            self._jobs.put(self._tidy)
        else:
            self._finish(batch, outcomes, self._core.tree_size)

    def _take(self) -> list[Waiter]:
        queue = self._queue
        taken = [queue.popleft()]
        if taken[0][0][0] is not _TRUNCATE:
            count = len(taken[0][0])
            while queue and count < MAX_BATCH and queue[0][0][0] is not _TRUNCATE:
                waiter = queue.popleft()
                taken.append(waiter)
                count += len(waiter[0])
            self._last_callers = len(taken)
        return taken

    def _settle(self, batch: list[Waiter], outcomes: Outcomes, tree_size: int) -> None:
        self._take_off(batch)
        at = 0
        for commands, settle, _, _ in batch:
            after = at + len(commands)
            try:
                settle(outcomes if isinstance(outcomes, StorageError) else outcomes[at:after])
            except Exception as error:  # noqa: BLE001 - one caller's fault must not cost the others their outcomes
                _log.error("settle_failed", error_type=type(error).__name__)
            at = after
        if not isinstance(outcomes, StorageError):
            for listener in self._listeners:
                listener(tree_size)

    def _take_off(self, batch: list[Waiter]) -> None:
        """They wait no more: the queue has room for others."""
        counts: dict[int, int] = {}
        sizes: dict[int, int] = {}
        for commands, _, tenant, size in batch:
            counts[tenant] = counts.get(tenant, 0) + len(commands)
            sizes[tenant] = sizes.get(tenant, 0) + size
        self._queued -= sum(counts.values())
        self._queued_bytes -= sum(sizes.values())
        for held, amounts in ((self._per_tenant, counts), (self._bytes_per_tenant, sizes)):
            for tenant, amount in amounts.items():
                held[tenant] -= amount
                if not held[tenant]:
                    del held[tenant]

    def _finish(self, batch: list[Waiter], outcomes: Outcomes, tree_size: int) -> None:
        """The last batch of a job: the store is free again."""
        self._writing = False
        self._settle(batch, outcomes, tree_size)
        if self._queue and not self._scheduled:
            self._schedule()
        for quiet in self._quiet:
            if not quiet.done():
                quiet.set_result(None)
        self._quiet.clear()

    # On the thread: whatever waits for the disk or takes long.

    def _run(self) -> None:
        try:
            while True:
                job = self._jobs.get()
                if job is None:
                    return
                job()
        except Exception as error:  # noqa: BLE001 - without its writer the store takes nothing, and says so
            _log.critical("writer_ended", error_type=type(error).__name__)
            self._closing = True
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._give_up)

    def _give_up(self) -> None:
        left = list(self._queue)
        self._queue.clear()
        self._finish(left, StorageError(StorageReason.CLOSED), self._core.tree_size)

    def _write(self, batch: list[Waiter], staged: list[Any] | None) -> None:
        outcomes = self._durable(batch, staged)
        tell = self._loop.call_soon_threadsafe
        try:
            tidy = self._truncate_again or self._core.log_is_long
        except BaseException:
            tell(self._finish, batch, outcomes, self._core.tree_size)
            raise
        if not tidy:
            tell(self._finish, batch, outcomes, self._core.tree_size)
            return
        # Nobody waits for the log's care but the next commit.
        tell(self._settle, batch, outcomes, self._core.tree_size)
        self._tidy()

    def _tidy(self) -> None:
        if self._truncate_again or self._core.log_is_too_long:
            self._truncate()
        else:
            self._core.restart_log()
        self._loop.call_soon_threadsafe(self._finish, [], [], self._core.tree_size)

    def _durable(self, batch: list[Waiter], staged: list[Any] | None) -> Outcomes:
        """Commits what is staged, or applies the batch; each caller by itself where only some are at fault."""
        try:
            if staged is not None:
                began = time.monotonic()
                self._core.commit()
                swift = time.monotonic() - began < SWIFT_S
                self._wary = max(self._wary - 1, 0) if swift else WARY_COMMITS
                return staged
            return self._core.apply([command for waiter in batch for command in waiter[0]])
        except Exception as error:  # noqa: BLE001 - a bug in one command must not take the writer down
            failure = error if isinstance(error, StorageError) else StorageError(StorageReason.FAILED)
            _log.error("commit_failed", error_type=type(error).__name__, reason=failure.reason.value)
        if failure.reason is not StorageReason.FAILED or len(batch) == 1:
            return failure
        # Nothing was written: each caller's commands by themselves, so that only the faulty ones fail.
        for waiter in batch[:-1]:
            self._loop.call_soon_threadsafe(self._settle, [waiter], self._durable([waiter], None), self._core.tree_size)
        last = self._durable(batch[-1:], None)
        batch[:] = batch[-1:]
        return last

    def _truncate_for(self, batch: list[Waiter]) -> None:
        self._truncate()
        self._loop.call_soon_threadsafe(self._finish, batch, [None], self._core.tree_size)

    def _truncate(self) -> None:
        try:
            self._core.checkpoint(truncate=True)
        except StorageError as error:
            # A reader still holds an old snapshot; readers are bounded in time, so the next commit tries again.
            self._truncate_again = True
            _log.warning("log_not_emptied", reason=error.reason.value)
            return
        self._truncate_again = False
