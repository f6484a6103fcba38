"""The hot route without a task a request: what uvicorn's protocol parsed is answered by a callback.

An ASGI application costs a scope, an event, a task and two messages for each request, which is more than taking a
sealed message costs. Requests that are small, whole and ordinary leave that way here, straight from the parser; all
others (chunked, large, behind one that is not answered yet, to a peer that does not read) take the way of all routes.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_FAST_BODY: Final = 64 << 10
"""Bytes of a request that is collected here: below uvicorn's own mark for pausing the connection."""

Fields = list[tuple[bytes, bytes]]
Reply = Callable[[int, bytes, bytes], None]
"""Sends the answer: status, body, and header fields without the length, as :func:`rendered`. To be called once."""


def rendered(fields: Fields) -> bytes:
    """Header fields as they go over the wire."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


class Lane(Protocol):
    """What takes the fast requests."""

    def wants(self, method: bytes, url: bytes) -> bool:
        """Whether this is a request of the hot route, in its plainest spelling."""
        ...

    def take(self, url: bytes, fields: Fields, body: bytes, reply: Reply) -> None:
        """Takes a whole request; raises nothing, and calls ``reply`` now or later."""
        ...


class _NobodyWaits:
    """Stands where uvicorn has the event that wakes an application."""

    def set(self) -> None:
        """Nobody to wake."""


_NOBODY_WAITS: Final = _NobodyWaits()
_STATUS_LINE: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode("ascii")) for status in HTTPStatus
}


class _Exchange:
    """One request and its answer: what uvicorn's protocol looks at in a cycle of its own, and no more."""

    __slots__ = ("_protocol", "disconnected", "keep_alive", "message_event", "parts", "response_complete")

    def __init__(self, protocol: "_FastProtocol", keep_alive: bool) -> None:
        self._protocol = protocol
        self.keep_alive = keep_alive
        self.parts: list[bytes] = []
        self.disconnected = False
        self.response_complete = False
        self.message_event = _NOBODY_WAITS

    def reply(self, status: int, body: bytes, fields: bytes) -> None:
        """Sends the whole answer in one write."""
        if self.disconnected or self.response_complete:
            return
        self.response_complete = True
        ending = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        transport = self._protocol.transport
        transport.write(b"%bcontent-length: %d\r\n%b%b%b" % (_STATUS_LINE[status], len(body), fields, ending, body))
        if not self.keep_alive:
            transport.close()
        self._protocol.on_response_complete()


class _FastProtocol(HttpToolsProtocol):
    """uvicorn's own protocol, with one turn-off before a request becomes a task."""

    lane: Lane
    _fast: _Exchange | None = None
    _length = b""
    _answered_at = 0.0

    # uvicorn starts a timer at each answer and stops it at each request. Here one timer a connection looks whether it
    # has been idle for long enough, and otherwise looks again when it will have been.

    def _unset_keepalive_if_required(self) -> None:
        if self.transport.is_closing():
            super()._unset_keepalive_if_required()

    def on_response_complete(self) -> None:
        if self.pipeline or self.timeout_keep_alive_task is None or self.transport.is_closing():
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()
        self._answered_at = self.loop.time()

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self.transport.is_closing():
            return
        before: object = self.cycle
        answered = before is None or self.cycle.response_complete
        left = self._answered_at + self.timeout_keep_alive - self.loop.time() if answered else self.timeout_keep_alive
        if left <= 0:
            self.transport.close()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)

    def on_message_begin(self) -> None:
        # The scope is made later, for requests that need one.
        self._fast = None
        self._length = b""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"expect":
            super().on_header(name, value)
            return
        self.headers.append((name, value))
        if name == b"content-length" and not self._length:
            self._length = value

    def on_headers_complete(self) -> None:
        if self._is_fast():
            self._fast = exchange = _Exchange(self, self.parser.should_keep_alive())
            self.cycle = exchange  # type: ignore[assignment]
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()

    def _is_fast(self) -> bool:
        parser, length = self.parser, self._length
        if not self.lane.wants(parser.get_method(), self.url):
            return False
        before: object = self.cycle
        if before is not None and not self.cycle.response_complete:
            return False
        if self.expect_100_continue or self.flow.write_paused or parser.get_http_version() != "1.1":
            return False
        return 0 < len(length) <= 6 and int(length) <= MAX_FAST_BODY and not parser.should_upgrade()

    def on_body(self, body: bytes) -> None:
        if self._fast is None:
            super().on_body(body)
        else:
            self._fast.parts.append(body)

    def on_message_complete(self) -> None:
        exchange = self._fast
        if exchange is None:
            super().on_message_complete()
            return
        self._fast = None
        parts, exchange.parts = exchange.parts, []
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        self.lane.take(self.url, self.headers, body, exchange.reply)


def fast_protocol(lane: Lane) -> type[Any]:
    """The protocol class for uvicorn's ``http`` setting."""
    return type("FastProtocol", (_FastProtocol,), {"lane": lane})
