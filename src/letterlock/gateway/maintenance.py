"""What runs beside the messages: purging, key generations, signed heads, checkpoints of the write-ahead log."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import structlog

from letterlock.custody.generations import References
from letterlock.custody.sealing import StorageKey
from letterlock.custody.storage_keys import StorageKeys
from letterlock.gateway.writer import Writer
from letterlock.ledger.heads import HeadSigner
from letterlock.model.clock import Clock
from letterlock.storage.maintenance_commands import (
    CountReferences,
    Destroyed,
    IntendDestruction,
    Purge,
    Purged,
    Rewrap,
)

PURGE_LIMIT: Final = 2_000
"""Rows of a kind in one transaction: a few milliseconds of the writer."""
MAX_ROUNDS: Final = 1_000
"""Purges in a row at the most: what is left waits for the next time."""
REWRAP_LIMIT: Final = 500

_log: Final = structlog.get_logger("letterlock.maintenance")


class TruncatingWriter(Writer, Protocol):
    """The writer's queue, and the care of its log."""

    async def truncate(self) -> None:
        """Moves the write-ahead log into the database and empties it of old pages."""
        ...


class Purger:
    """Deletes what is overdue, and empties the write-ahead log of it."""

    def __init__(self, writer: TruncatingWriter, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._shard = 0

    async def run(self) -> int:
        """One purge, until nothing is due; how many rows went."""
        total = 0
        for _ in range(MAX_ROUNDS):
            purged: Purged = await self._writer.run(Purge(self._clock.now_ms(), PURGE_LIMIT, self._shard))
            total += purged.total
            if max(purged.messages, purged.expired, purged.keys, purged.records) < PURGE_LIMIT:
                break
        self._shard += 1
        # Rows are overwritten when they are deleted; the log of old pages must go too.
        await self._writer.truncate()
        return total


class GenerationRows:
    """The rows of a storage-key transition; called on a thread, the work is the writer's."""

    def __init__(self, writer: Writer, loop: asyncio.AbstractEventLoop) -> None:
        self._writer = writer
        self._loop = loop

    def references(self) -> Mapping[int, References]:
        """How many committed rows refer to each generation."""
        found: Mapping[int, References] = self._ask(CountReferences())
        return found

    def rewrap(self, source: StorageKey, target: StorageKey, held: bool) -> int:
        """Moves some rows."""
        moved: int = self._ask(Rewrap(source, target, held, REWRAP_LIMIT))
        return moved

    def intend_destruction(self, generation: int) -> None:
        """The intent, with its entry."""
        self._ask(IntendDestruction(generation))

    def destroyed(self, generation: int) -> None:
        """The outcome, with its entry."""
        self._ask(Destroyed(generation))

    def _ask(self, command: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(self._writer.run(command), self._loop).result()


class Maintenance:
    """Runs the periodic work; one failure is logged and does not end it."""

    def __init__(
        self,
        purger: Purger,
        storage_keys: StorageKeys,
        generation_rows: GenerationRows,
        heads: HeadSigner,
        clock: Clock,
        *,
        purge_every_s: float,
        sign_every_s: float,
    ) -> None:
        self._purger = purger
        self._storage_keys = storage_keys
        self._rows = generation_rows
        self._heads = heads
        self._clock = clock
        self._purge_every_s = purge_every_s
        self._sign_every_s = sign_every_s
        self._tasks: list[asyncio.Task[None]] = []
        self._more: list[tuple[str, float, Callable[[], Awaitable[object]]]] = []

    def add(self, name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        """Adds periodic work of another part; before :meth:`start`."""
        self._more.append((name, seconds, work))

    def start(self) -> None:
        """Starts the periodic work."""
        self._tasks = [
            asyncio.create_task(self._every(self._purge_every_s, "purge", self._purge)),
            asyncio.create_task(self._every(self._purge_every_s, "storage_keys", self.turn_keys)),
            asyncio.create_task(self._every(self._sign_every_s, "sign_head", self.sign)),
            *(asyncio.create_task(self._every(seconds, name, work)) for name, seconds, work in self._more),
        ]

    async def stop(self) -> None:
        """Ends the periodic work."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _every(self, seconds: float, name: str, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - a full disk is an OSError; the work must go on when it has space
                _log.error("maintenance_failed", operation=name, error_type=type(error).__name__)

    async def _purge(self) -> None:
        await self._purger.run()

    async def turn_keys(self) -> None:
        """Creates, rewraps and destroys storage keys as their windows end."""
        await asyncio.get_running_loop().run_in_executor(
            None, self._storage_keys.maintain, self._clock.now_ms(), self._rows
        )

    async def sign(self) -> None:
        """Signs the ledger's head, if it has grown."""
        await asyncio.get_running_loop().run_in_executor(None, self._heads.sign)
