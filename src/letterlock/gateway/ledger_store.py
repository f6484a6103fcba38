"""The ledger's store as its signer sees it: reads from a reader, notes through the writer. Used on a thread."""

import asyncio
from collections.abc import Sequence

from letterlock.gateway.writer import Writer
from letterlock.storage.maintenance_commands import SaveCheckpoint
from letterlock.storage.sqlite.ledger_rows import LedgerRows
from letterlock.storage.sqlite.reader import Readers


class LedgerStoreBridge:
    """Implements :class:`letterlock.ledger.ports.LedgerStore`."""

    def __init__(self, readers: Readers, writer: Writer, loop: asyncio.AbstractEventLoop) -> None:
        self._readers = readers
        self._writer = writer
        self._loop = loop

    def head(self) -> tuple[int, bytes]:
        """Size and packed peaks of the last commit."""
        return self._readers.read_now(lambda db: LedgerRows(db).head())

    def entries(self, first: int, last: int) -> Sequence[bytes]:
        """Entries ``first`` to ``last - 1``."""
        return self._readers.read_now(lambda db: LedgerRows(db).entries(first, last))

    def full_tile(self, level: int, index: int) -> bytes | None:
        """A full tile."""
        return self._readers.read_now(lambda db: LedgerRows(db).full_tile(level, index))

    def last_checkpoint(self) -> bytes | None:
        """The signed note of the greatest size."""
        return self._readers.read_now(lambda db: LedgerRows(db).last_checkpoint())

    def save_checkpoint(self, size: int, note: bytes) -> None:
        """Adds a signed note; durable when it returns."""
        asyncio.run_coroutine_threadsafe(self._writer.run(SaveCheckpoint(size, note)), self._loop).result()
