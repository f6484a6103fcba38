"""The device stream: one WebSocket, batches both ways; reconnects with jitter and resumes at the cursor."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final, Protocol, final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from letterlock.client.errors import DeviceError, DeviceReason, RelayError
from letterlock.wire import stream

WINDOW: Final = 512
"""Mailbox items taken without an acknowledgement: two full frames."""
BACKOFF_BASE_S: Final = 0.25
BACKOFF_LIMIT_S: Final = 30.0
OPEN_TIMEOUT_S: Final = 10.0
_MAX_EXPONENT: Final = 16


@unique
class StreamEnd(Enum):
    """Why the stream is over for good, or is tried again."""

    STOPPED = "stopped"
    """The application asked."""
    REMOVED = "removed"
    REPLACED = "replaced"
    ROLLED_BACK = "rolled_back"
    RETRY = "retry"
    LOGIN = "login"
    SLOWER = "slower"
    """Too fast, or too much of this device waits for others: again, after ever longer pauses."""


_CLOSE: Final = {
    4401: StreamEnd.LOGIN,
    4403: StreamEnd.REMOVED,
    4409: StreamEnd.REPLACED,
    4410: StreamEnd.ROLLED_BACK,
    4429: StreamEnd.SLOWER,
}


@dataclass(frozen=True, slots=True)
class Sending:
    """One outbox entry on its way: its position there and the submission."""

    position: int
    submission: stream.Submission


class StreamHandler(Protocol):
    """The device, as the stream sees it."""

    async def token(self, renew: bool) -> str:
        """A valid session token; a fresh one when ``renew``.

        Raises:
            RelayError: no login possible now.
        """
        ...

    def cursor(self) -> int:
        """The last mailbox sequence in the stored state."""
        ...

    def state_counter(self) -> int:
        """The counter of the stored state, as it is to be stated now."""
        ...

    async def delivered(self, first_seq: int, items: Sequence[stream.Delivery]) -> int:
        """Takes a run of the mailbox; returns the cursor after its state is durable."""
        ...

    def waiting(self, after: int, limit: int) -> list[Sending]:
        """Outbox entries with a position above ``after``, in order."""
        ...

    async def answered(self, results: Sequence[tuple[Sending, stream.Result]]) -> None:
        """The relay's answers."""
        ...


def backoff(failures: int, draw: Callable[[], float]) -> float:
    """Seconds to wait: uniform in [0, min(limit, base x 2^failures)] (full jitter)."""
    return float(min(BACKOFF_LIMIT_S, BACKOFF_BASE_S * 2 ** min(failures, _MAX_EXPONENT))) * draw()


@final
class DeviceStream:
    """Runs the stream of one device.

    Args:
        url: ``ws://`` or ``wss://``, up to and without ``/v1/stream``.
        handler: the device.
        draw: uniform numbers in [0, 1) for the jitter.
        noticed: told what the server says beside the mail.
    """

    def __init__(
        self,
        url: str,
        handler: StreamHandler,
        draw: Callable[[], float] = random.random,
        noticed: Callable[[stream.NoticeCode], None] = lambda _: None,
    ) -> None:
        self._url: Final = url.rstrip("/") + "/v1/stream"
        self._handler: Final = handler
        self._draw: Final = draw
        self._noticed: Final = noticed
        self._wake: Final = asyncio.Event()
        self._stop: Final = asyncio.Event()
        self.connected: Final = asyncio.Event()

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._wake.set()

    def stop(self) -> None:
        """Ends :meth:`run`."""
        self._stop.set()

    async def run(self) -> StreamEnd:
        """Connects, and again after each loss, until stopped, removed, replaced or rolled back."""
        failures = 0
        renew = doubted = False
        while not self._stop.is_set():
            try:
                end = await self._until_stopped(await self._handler.token(renew))
                failures = 0 if self.connected.is_set() and end is not StreamEnd.SLOWER else failures + 1
                if end is StreamEnd.ROLLED_BACK and not doubted:
                    # An old copy, or overtaken by a call of its own: the login tells which.
                    doubted, end = True, StreamEnd.LOGIN
                elif self.connected.is_set():
                    doubted = False
            except DeviceError as error:
                if error.reason is not DeviceReason.STATE_ROLLED_BACK:
                    raise
                end = StreamEnd.ROLLED_BACK
            except (OSError, TimeoutError, InvalidHandshake, RelayError) as error:
                end = _end_of(error)
                failures += 1
            finally:
                self.connected.clear()
            if end not in {StreamEnd.RETRY, StreamEnd.LOGIN, StreamEnd.SLOWER}:
                return end
            renew = end is StreamEnd.LOGIN
            if not renew or failures:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), backoff(failures, self._draw))
        return StreamEnd.STOPPED

    async def _until_stopped(self, token: str) -> StreamEnd:
        async with connect(
            self._url,
            subprotocols=[Subprotocol(stream.SUBPROTOCOL)],
            additional_headers={"Authorization": f"Bearer {token}"},
            compression=None,
            max_size=stream.MAX_FRAME,
            open_timeout=OPEN_TIMEOUT_S,
            proxy=None,
        ) as socket:
            if socket.subprotocol != stream.SUBPROTOCOL:
                return StreamEnd.RETRY
            connection = _Connection(socket, self._handler, self._wake, self.connected, self._noticed)
            tasks = [asyncio.create_task(connection.receive()), asyncio.create_task(connection.send())]
            stopped = asyncio.create_task(self._stop.wait())
            try:
                done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (*tasks, stopped):
                    task.cancel()
                outcomes = await asyncio.gather(*tasks, stopped, return_exceptions=True)
        if stopped in done:
            return StreamEnd.STOPPED
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, ConnectionClosed | stream.FrameError):
                raise outcome
        return _CLOSE.get(socket.close_code or 0, StreamEnd.RETRY)


@final
class _Connection:
    """One connection: a reader and a writer that share the credit."""

    def __init__(
        self,
        socket: ClientConnection,
        handler: StreamHandler,
        wake: asyncio.Event,
        connected: asyncio.Event,
        noticed: Callable[[stream.NoticeCode], None],
    ) -> None:
        self._socket: Final = socket
        self._handler: Final = handler
        self._wake: Final = wake
        self._connected: Final = connected
        self._noticed: Final = noticed
        self._credit = 0
        self._next_ref = 0
        self._last_position = 0
        self._flying: dict[int, Sending] = {}

    async def receive(self) -> None:
        await self._socket.send(stream.encode_hello(self._handler.cursor(), WINDOW, self._handler.state_counter()))
        first = await self._frame()
        if not isinstance(first, stream.Welcome):
            raise stream.FrameError(stream.FrameReason.BAD_TYPE)
        self._credit = first.credit
        self._connected.set()
        self._wake.set()
        while True:
            frame = await self._frame()
            if isinstance(frame, stream.Deliver):
                cursor = await self._handler.delivered(frame.first_seq, frame.items)
                await self._socket.send(stream.encode_ack(cursor, self._handler.state_counter()))
            elif isinstance(frame, stream.Results):
                await self._handler.answered(self._matched(frame))
                self._wake.set()
            elif isinstance(frame, stream.Notice):
                self._noticed(frame.code)
            elif isinstance(frame, stream.Welcome):
                raise stream.FrameError(stream.FrameReason.BAD_TYPE)

    async def send(self) -> None:
        await self._connected.wait()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._credit:
                batch = self._batch(self._handler.waiting(self._last_position, min(self._credit, stream.MAX_ITEMS)))
                if not batch:
                    break
                first_ref = self._next_ref
                for offset, sending in enumerate(batch):
                    self._flying[(first_ref + offset) & 0xFFFFFFFF] = sending
                self._next_ref = (first_ref + len(batch)) & 0xFFFFFFFF
                self._credit -= len(batch)
                self._last_position = batch[-1].position
                items = [entry.submission for entry in batch]
                await self._socket.send(stream.encode_submit(first_ref, items, self._handler.state_counter()))

    @staticmethod
    def _batch(waiting: list[Sending]) -> list[Sending]:
        """As many as fit into a frame."""
        size = 0
        for count, sending in enumerate(waiting):
            size += len(sending.submission.body) + 64
            if size > stream.MAX_FRAME - 64:
                return waiting[:count]
        return waiting

    def _matched(self, frame: stream.Results) -> list[tuple[Sending, stream.Result]]:
        """Results by reference; an answer to nothing breaks the protocol."""
        found = []
        for offset, result in enumerate(frame.items):
            sending = self._flying.pop((frame.first_ref + offset) & 0xFFFFFFFF, None)
            if sending is None:
                raise stream.FrameError(stream.FrameReason.BAD_VALUE)
            found.append((sending, result))
        self._credit += len(found)
        return found

    async def _frame(self) -> stream.ServerFrame:
        data = await self._socket.recv()
        if not isinstance(data, bytes):
            raise stream.FrameError(stream.FrameReason.BAD_TYPE)
        return stream.decode_server(data)


def _end_of(error: Exception) -> StreamEnd:
    if isinstance(error, InvalidStatus) and error.response.status_code == 401:
        return StreamEnd.LOGIN
    return StreamEnd.RETRY
