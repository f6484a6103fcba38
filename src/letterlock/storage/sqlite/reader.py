"""Reading beside the writer: a few read-only connections on threads, each query bounded in time.

A reader that stays keeps the write-ahead log from starting over, so none may stay.
"""

import asyncio
import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import apsw

from letterlock.storage.sqlite.connection import open_reader, storage_errors

READERS: Final = 2
"""Connections: page cache and CPU of a small machine; queries take microseconds to a few milliseconds."""
MAX_READ_S: Final = 2.0
"""After this a query is interrupted."""
STEPS_BETWEEN_LOOKS: Final = 10_000

T = TypeVar("T")


class Readers:
    """Runs queries on threads of their own."""

    def __init__(self, folder: Path, count: int = READERS) -> None:
        self._free: queue.SimpleQueue[apsw.Connection] = queue.SimpleQueue()
        self._all = [open_reader(folder) for _ in range(count)]
        for connection in self._all:
            self._free.put(connection)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="letterlock-reader")

    async def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """Runs ``work`` with a connection, in one snapshot.

        Raises:
            StorageError: the store failed, or the query took too long.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.read_now, work)

    def read_now(self, work: Callable[[apsw.Connection], T]) -> T:
        """As :meth:`read`, on the calling thread: for start-up and tools."""
        connection = self._free.get()
        deadline = time.monotonic() + MAX_READ_S
        connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_BETWEEN_LOOKS)
        try:
            with storage_errors():
                connection.execute("BEGIN").fetchall()
                try:
                    return work(connection)
                finally:
                    connection.execute("ROLLBACK").fetchall()
        finally:
            connection.set_progress_handler(None)
            self._free.put(connection)

    def close(self) -> None:
        """Waits for running queries and closes the connections."""
        self._pool.shutdown(wait=True)
        for connection in self._all:
            connection.close()
