"""uvicorn's own WebSocket protocol, made light: thousands of connected devices say nothing most of the time."""

from collections import deque
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from letterlock.gateway.hub import Bell


class Inbox:
    """As much of :class:`asyncio.Queue` as the protocol uses, for one who reads; nearly nothing while it is empty."""

    __slots__ = ("_bell", "_items")

    def __init__(self) -> None:
        self._bell = Bell()
        self._items: deque[Any] | None = None

    def put_nowait(self, item: Any) -> None:
        """Adds to the end."""
        if self._items is None:
            self._items = deque()
        self._items.append(item)
        self._bell.set()

    async def get(self) -> Any:
        """The oldest; waits for one."""
        while not self._items:
            self._bell.clear()
            await self._bell.wait()
        item = self._items.popleft()
        if not self._items:
            self._items = None
        return item

    def empty(self) -> bool:
        """Whether there is none."""
        return not self._items


class LeanSocket(WebSocketsSansIOProtocol):
    """Forgets the handshake, and makes its queue when something is in it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue = Inbox()  # type: ignore[assignment]

    def start_keepalive(self) -> None:
        """Called once a connection is accepted: nobody looks at the request and its answer any more."""
        super().start_keepalive()
        self.request.headers.clear()
        self.response.headers.clear()
        self.scope["headers"] = []
