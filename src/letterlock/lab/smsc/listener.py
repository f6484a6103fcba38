"""Listening for connections, so that whoever stops listening is left with none.

:class:`asyncio.Server` loses a connection that it takes in the very turn in which it is closed (CPython 3.11: its
transport cannot be made any more, and the socket stays open). Here what was taken belongs to the listener until it is
a connection, and ends with it.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

AT_ONCE: Final = 64
"""Connections that are taken in one turn of the loop; the rest come with the next."""


class Listener:
    """Takes connections on a port of loopback.

    Args:
        make: a protocol for each connection.
        port: 0 for a free one; :attr:`port` tells which.
        tls: with a context, TLS from the first octet.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, make: Callable[[], asyncio.Protocol], port: int, tls: ssl.SSLContext | None) -> None:
        self._make = make
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._socket = socket.create_server(("127.0.0.1", port))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self._taking: dict[asyncio.Task[object], socket.socket] = {}
        self._loop.add_reader(self._socket, self._take)

    async def close(self) -> None:
        """Listens no more. What was not a connection yet never becomes one."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        taking = dict(self._taking)
        for task in taking:
            task.cancel()
        await asyncio.gather(*taking, return_exceptions=True)
        # A transport that was made ends in the loop's next turn; where none was, nobody else has the socket.
        await asyncio.sleep(0)
        for task, taken in taking.items():
            if task.cancelled() or task.exception() is not None:
                taken.close()

    def _take(self) -> None:
        for _ in range(AT_ONCE):
            try:
                taken, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            taken.setblocking(False)
            task: asyncio.Task[object] = self._loop.create_task(self._connect(taken))
            self._taking[task] = taken
            task.add_done_callback(self._taken)

    async def _connect(self, taken: socket.socket) -> object:
        return await self._loop.connect_accepted_socket(self._make, taken, ssl=self._tls)

    def _taken(self, task: "asyncio.Task[object]") -> None:
        taken = self._taking.pop(task)
        if not task.cancelled() and task.exception() is not None:
            # A TLS handshake that failed, for example: the other side has seen it end.
            taken.close()
