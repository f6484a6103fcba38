"""One TCP (or TLS) connection that carries one session. Made, used once, and thrown away."""

import asyncio
from collections.abc import Callable
from enum import Enum, unique
from typing import cast

from letterlock.model.clock import Clock
from letterlock.wire.sms.pdu import Body, Pdu
from letterlock.wire.sms.session import Answered, Asked, End, Event, Expired, Over, Role, Session, State, Timers, Write
from letterlock.wire.sms.terms import CommandId

_TICKS_PER_LIMIT = 4
_LONGEST_TICK_MS = 250
_SHORTEST_TICK_MS = 10


@unique
class NoAnswer(Enum):
    """Why a request has no answer."""

    EXPIRED = "expired"
    LOST = "lost"
    """The connection went after the request had been written."""
    NOT_SENT = "not_sent"
    """The connection was gone before."""


class Connection(asyncio.Protocol):
    """Runs a session on a transport: window, ticks, and one future for each request.

    Args:
        timers: window and limits.
        clock: the steady clock is used.
        on_asked: called with each request of the peer; it answers with :meth:`respond`, now or later.
        on_over: called once, when the connection is gone.
    """

    def __init__(
        self,
        timers: Timers,
        clock: Clock,
        on_asked: Callable[["Connection", Pdu], None],
        on_over: Callable[["Connection"], None],
    ) -> None:
        self._clock = clock
        self._on_asked = on_asked
        self._on_over = on_over
        self._timers = timers
        self._session = Session(Role.ESME, timers, clock.monotonic_ms())
        self._answers: dict[int, asyncio.Future[Pdu | NoAnswer]] = {}
        self._window = asyncio.Semaphore(timers.window)
        self._writable = asyncio.Event()
        self._writable.set()
        self._out: list[bytes] = []
        self._tick: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.waiting = 0
        self.gone = asyncio.Event()
        self.end: End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its bases
        limits = (self._timers.response_ms, self._timers.enquire_ms, self._timers.bind_ms)
        step = max(_SHORTEST_TICK_MS, min(_LONGEST_TICK_MS, *(limit // _TICKS_PER_LIMIT for limit in limits)))
        self._schedule(step)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Called by asyncio, also for a connection that we closed."""
        if self._tick is not None:
            self._tick.cancel()
        if self._session.state is not State.CLOSED:
            self._session.close()
        self._out.clear()
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            if not answer.done():
                answer.set_result(NoAnswer.LOST)
        self._writable.set()
        for _ in range(self.waiting + len(answers)):
            self._window.release()
        self.gone.set()
        self._on_over(self)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if self._session.state is not State.CLOSED and self.end is None:
            self._handle(self._session.receive(data, self._clock.monotonic_ms()))

    def pause_writing(self) -> None:
        """Called by asyncio when the peer reads too slowly."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Called by asyncio."""
        self._writable.set()

    async def request(self, body: Body) -> Pdu | NoAnswer:
        """Sends a request and waits for its answer; requests about messages wait for the window first.

        Raises:
            PduError: the body cannot be encoded.
            SessionError: the session is not in a state for it.
        """
        windowed = body.command in {CommandId.SUBMIT_SM, CommandId.QUERY_SM}
        if windowed:
            self.waiting += 1
            try:
                await self._window.acquire()
            finally:
                self.waiting -= 1
        sent = False
        try:
            await self._writable.wait()
            if self.gone.is_set() or self.end is not None:
                return NoAnswer.NOT_SENT
            sequence, data = self._session.request(body, self._clock.monotonic_ms())
            sent = True
        finally:
            if windowed and not sent:
                self._window.release()
        answer: asyncio.Future[Pdu | NoAnswer] = asyncio.get_running_loop().create_future()
        self._answers[sequence] = answer
        self._write(data)
        return await answer

    def respond(self, request: Pdu, body: Body, status: int = 0) -> None:
        """Answers a request of the peer; does nothing when the connection is gone."""
        if not self.gone.is_set() and self._session.state is not State.CLOSED:
            self._write(self._session.respond(request, body, status))

    @property
    def state(self) -> State:
        """The session's state."""
        return self._session.state

    def close(self) -> None:
        """Closes after what was written."""
        if self._transport is not None and not self._transport.is_closing():
            self._flush()
            self._transport.close()

    def abort(self) -> None:
        """Closes at once."""
        if self._transport is not None:
            self._transport.abort()

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Answered):
                self._settle(event.sequence, event.request, event.pdu)
            elif isinstance(event, Write):
                self._write(event.data)
            elif isinstance(event, Asked):
                self._on_asked(self, event.pdu)
            elif isinstance(event, Expired):
                self._settle(event.sequence, event.request, NoAnswer.EXPIRED)
            else:
                self._over(event)

    def _over(self, event: Over) -> None:
        if self.end is None:
            self.end = event.end
            self.close()

    def _settle(self, sequence: int, request: CommandId, result: Pdu | NoAnswer) -> None:
        if request in {CommandId.SUBMIT_SM, CommandId.QUERY_SM}:
            self._window.release()
        answer = self._answers.pop(sequence, None)
        if answer is not None and not answer.done():
            answer.set_result(result)

    def _write(self, data: bytes) -> None:
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        if self._out and self._transport is not None and not self._transport.is_closing():
            data = b"".join(self._out)
            self._out.clear()
            self._transport.write(data)

    def _schedule(self, step_ms: int) -> None:
        self._tick = asyncio.get_running_loop().call_later(step_ms / 1_000, self._on_tick, step_ms)

    def _on_tick(self, step_ms: int) -> None:
        self._handle(self._session.tick(self._clock.monotonic_ms()))
        if not self.gone.is_set():
            self._schedule(step_ms)
