"""The device stream: a WebSocket with binary frames (docs/protocol/devices.md, section 8). A bare ASGI handler.

One task receives, one sends. The queue to the device is bounded: what does not fit is read from the store later, so
a slow device costs nobody else anything.
"""

import asyncio
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final, Protocol

import structlog

from letterlock.faces.http.asgi import Receive, Scope, Send, header
from letterlock.faces.http.auth import BEARER, Sessions
from letterlock.faces.http.routes import DevicePrincipal
from letterlock.gateway.acks import AckCollector
from letterlock.gateway.hub import Hub, Mail
from letterlock.gateway.sealed import Offered, SealedAcceptor, Sender
from letterlock.model.clock import Clock
from letterlock.model.errors import LetterlockError
from letterlock.model.ids import TenantId
from letterlock.storage.errors import StorageError
from letterlock.wire import stream as frames
from letterlock.wire.stream import FrameError, ResultStatus, TargetKind

MAX_WINDOW: Final = 4096
"""Items a device may have unacknowledged, whatever it asks for."""
MAX_DELIVER_BYTES: Final = 256 << 10
"""Of a DELIVER frame: large enough to amortise, small enough not to delay others."""
PAGE: Final = 256
"""Items read from the store at once for a device that is behind."""
PACE_S: Final = 0.025
TOGETHER: Final = 12
"""Under load the messages of one device travel together: so many, or whatever has come since the last frame left this
long ago. A frame each way costs the relay as much as three messages do. Without load each goes at once."""
MAX_SUBMITS: Final = 16
"""SUBMIT frames of one connection being committed at once; beyond that the connection is not read."""

CLOSE_PROTOCOL: Final = 4400
CLOSE_UNAUTHENTICATED: Final = 4401
CLOSE_REPLACED: Final = 4409
CLOSE_ROLLED_BACK: Final = 4410
CLOSE_TOO_FAST: Final = 4429
CLOSE_TOO_LARGE: Final = 1009
CLOSE_INTERNAL: Final = 1011
CLOSE_OVERLOADED: Final = 1013

_log: Final = structlog.get_logger("letterlock.stream")


class Pages(Protocol):
    """Reads a mailbox for a device that is behind."""

    async def state(self, mailbox: int) -> tuple[int, int]:
        """The mailbox's newest and acknowledged sequence."""
        ...

    async def page(self, tenant: TenantId, mailbox: int, after: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        """Up to ``limit`` items after a sequence: sequence, item head, body."""
        ...


class StreamMetrics(Protocol):
    """What the stream counts."""

    def connected(self, change: int) -> None:
        """A connection began (+1) or ended (-1)."""
        ...

    def submitted(self, statuses: Sequence[int]) -> None:
        """Submissions were answered: the status of each."""
        ...

    def delivered(self, count: int) -> None:
        """Items went out."""
        ...

    def acknowledged(self, count: int) -> None:
        """Items were acknowledged."""
        ...


class DeviceStream:
    """Serves ``/v1/stream``."""

    def __init__(
        self,
        sessions: Sessions,
        session_version: Callable[[], int],
        acceptor: SealedAcceptor,
        acks: AckCollector,
        pages: Pages,
        hub: Hub,
        clock: Clock,
        metrics: StreamMetrics,
        busy: Callable[[], bool],
        hear: Callable[[int, int], int],
    ) -> None:
        self.sessions = sessions
        self.session_version = session_version
        self.acceptor = acceptor
        self.acks = acks
        self.pages = pages
        self.hub = hub
        self.clock = clock
        self.metrics = metrics
        self.busy = busy
        self.hear = hear

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, from upgrade to close."""
        await receive()
        authorization = header(scope, b"authorization") or b""
        hashed = sha256(authorization.removeprefix(BEARER)).digest()
        device = self.sessions.device(hashed) if authorization.startswith(BEARER) else None
        if scope["path"] != "/v1/stream" or frames.SUBPROTOCOL not in scope.get("subprotocols", ()):
            await send({"type": "websocket.close", "code": CLOSE_PROTOCOL})
            return
        await send({"type": "websocket.accept", "subprotocol": frames.SUBPROTOCOL})
        if device is None:
            await send({"type": "websocket.close", "code": CLOSE_UNAUTHENTICATED})
            return
        self.metrics.connected(1)
        connection = _Connection(self, device, hashed, receive, send)
        try:
            code = await connection.run()
        except FrameError as error:
            _log.info("frame_refused", reason=error.reason.value)
            code = CLOSE_PROTOCOL
        except StorageError as error:
            _log.warning("stream_store_refused", reason=error.reason.value)
            code = CLOSE_OVERLOADED
        except LetterlockError as error:
            _log.warning("stream_refused", error_type=type(error).__name__)
            code = CLOSE_PROTOCOL
        except OSError:
            # How a server says that the peer has gone while we were sending.
            code = 0
        except Exception as error:  # noqa: BLE001 - the last line: the type is logged, the text could hold content
            _log.error("stream_failed", error_type=type(error).__name__)
            code = CLOSE_INTERNAL
        finally:
            self.metrics.connected(-1)
        if code:
            try:
                await send({"type": "websocket.close", "code": code})
            except Exception as error:  # noqa: BLE001 - the peer is gone already; which error says so depends on timing
                _log.debug("close_not_sent", error_type=type(error).__name__)


class _Connection:
    """The state of one connection: the caller's task receives, a second one sends everything."""

    def __init__(
        self, owner: DeviceStream, device: DevicePrincipal, token_hash: bytes, receive: Receive, send: Send
    ) -> None:
        self._owner = owner
        self._device = device
        self._token_hash = token_hash
        self._receive = receive
        self._send = send
        self._mail: Mail
        self._window = 0
        self._acked = 0
        self._wanted_ack = 0
        self._delivered_at = float("-inf")
        self._in_flight = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: list[tuple[int, bytes]] = []
        """Frames, each with the credits that it gives back when it goes out."""
        self._paced: asyncio.TimerHandle | None = None
        self._refused = False
        """A submission met the mailbox quota: nothing that comes after it is taken on this connection."""

    async def run(self) -> int:
        """Serves the connection to its end; returns the close code, 0 if it is closed already."""
        hello = await self._next()
        if hello is None:
            return 0
        if not isinstance(hello, frames.Hello):
            return CLOSE_PROTOCOL
        head, acked = await self._owner.pages.state(self._device.mailbox)
        heard = self._owner.hear(self._device.mailbox, hello.state_counter)
        if hello.applied < acked or hello.state_counter < heard:
            return CLOSE_ROLLED_BACK
        if hello.applied > head:
            return CLOSE_PROTOCOL
        self._window = min(hello.window, MAX_WINDOW)
        self._acked = self._wanted_ack = acked
        self._mail = Mail(self._device.mailbox, hello.applied, head)
        self._owner.hub.join(self._mail)
        try:
            await self._send_frame(frames.encode_welcome(head, frames.INITIAL_CREDIT))
            # What was committed between the look at the mailbox and joining was announced to nobody.
            newest, _ = await self._owner.pages.state(self._device.mailbox)
            self._owner.hub.notify(((self._device.mailbox, newest),))
            if hello.applied > acked:
                self._acknowledge(hello.applied, hello.state_counter)
            return await self._both()
        finally:
            self._owner.hub.leave(self._mail)
            if self._paced is not None:
                self._paced.cancel()

    async def _both(self) -> int:
        """Receives here and sends in a task, until one of the two ends: who only does half of it helps nobody.

        Thousands of devices are idle, so a connection has two tasks and not three.
        """
        receiver = asyncio.current_task()
        assert receiver is not None
        sender = asyncio.create_task(self._send_all())
        receiving = True

        def ended(_: asyncio.Task[int]) -> None:
            if receiving:
                receiver.cancel()

        sender.add_done_callback(ended)
        try:
            code = await self._receive_all()
        except asyncio.CancelledError:
            # By the sender's end alone, or by somebody else too.
            if not sender.done() or sender.cancelled() or receiver.uncancel():
                raise
            code = sender.result()
        finally:
            receiving = False
            sender.cancel()
            # What is being committed stays committed; only its answer has nobody to go to.
            await asyncio.gather(sender, return_exceptions=True)
        return code

    async def _next(self) -> frames.ClientFrame | None:
        message = await self._receive()
        if message["type"] != "websocket.receive":
            return None
        data = message.get("bytes")
        if data is None:
            raise FrameError(frames.FrameReason.BAD_TYPE)
        return frames.decode_client(data)

    async def _receive_all(self) -> int:
        while True:
            frame = await self._next()
            if frame is None:
                return 0
            # Only the newest stream of a device lives, so what follows a good HELLO is of the same state, or newer.
            self._owner.hear(self._device.mailbox, frame.state_counter)
            sender = self._checked(frame.state_counter)
            if sender is None:
                return CLOSE_UNAUTHENTICATED
            if isinstance(frame, frames.Submit):
                self._in_flight += len(frame.items)
                if self._in_flight > frames.INITIAL_CREDIT:
                    return CLOSE_PROTOCOL
                await self._submit(frame, sender)
            elif isinstance(frame, frames.Ack):
                if frame.applied > self._mail.head:
                    return CLOSE_PROTOCOL
                self._acknowledge(frame.applied, frame.state_counter)
            else:
                return CLOSE_PROTOCOL

    def _checked(self, stated: int) -> Sender | None:
        """The session and the revocation version that it is good at; None when it has ended."""
        device = self._device
        if self._owner.sessions.device(self._token_hash) is None:
            return None
        return Sender(device.tenant, device.tenant_id, device.mailbox, self._owner.session_version(), stated)

    async def _submit(self, frame: frames.Submit, sender: Sender) -> None:
        """Starts committing a frame; frames enter the writer's queue in the order in which they came."""
        if self._refused:
            over = (int(ResultStatus.MAILBOX_QUOTA), frames.NO_ID, frames.NO_HASH)
            self._answer(frame.first_ref, [over] * len(frame.items))
            return
        tenant = self._device.tenant
        offered = [
            Offered(item.target if item.target_kind is TargetKind.GROUP else _NOBODY, item.message_ref, item.body)
            for item in frame.items
        ]
        for one in offered:
            if not self._owner.acceptor.knows(tenant, one.group):
                await self._owner.acceptor.load_group(tenant, one.group)
        task = asyncio.create_task(self._commit(sender, frame.first_ref, offered))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if len(self._tasks) >= MAX_SUBMITS:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def _commit(self, sender: Sender, first_ref: int, offered: list[Offered]) -> None:
        try:
            outcomes = await self._owner.acceptor.accept(sender, offered, lambda: self._checked(sender.state_counter))
            answers = [(int(one.status), one.message_id, one.record_hash) for one in outcomes]
        except Exception as error:  # noqa: BLE001 - whatever it was: each submission gets its answer
            if not isinstance(error, StorageError):
                _log.error("submission_failed", error_type=type(error).__name__)
            answers = [(int(ResultStatus.OVERLOADED), frames.NO_ID, frames.NO_HASH)] * len(offered)
        self._answer(first_ref, answers)

    def _answer(self, first_ref: int, answers: list[tuple[int, bytes, bytes]]) -> None:
        if any(status == ResultStatus.MAILBOX_QUOTA for status, _, _ in answers):
            self._refused = True
        self._results.append((len(answers), frames.encode_results(first_ref, answers)))
        self._owner.metrics.submitted([status for status, _, _ in answers])
        self._mail.wake.set()

    def _acknowledge(self, applied: int, stated: int) -> None:
        """Hands the newest acknowledgement on; the window moves at once, the deletion follows."""
        if applied > self._wanted_ack or applied > self._acked:
            self._wanted_ack = max(self._wanted_ack, applied)
            self._owner.acks.want(self._device.tenant, self._device.mailbox, applied, self._acknowledged, stated)
            if self._mail.sent >= self._acked + self._window:
                self._mail.wake.set()

    def _acknowledged(self, applied: int, count: int) -> None:
        self._acked = max(self._acked, applied)
        self._owner.metrics.acknowledged(count)

    async def _send_frame(self, frame: bytes) -> None:
        await self._send({"type": "websocket.send", "bytes": frame})

    async def _send_all(self) -> int:
        """The only task that sends after WELCOME; returns the close code."""
        mail = self._mail
        loop = asyncio.get_running_loop()
        while True:
            while self._results:
                # Credit comes back when the answer goes out, not before: a device that does not read gets no more.
                credit, frame = self._results.pop(0)
                self._in_flight -= credit
                await self._send_frame(frame)
            if mail.replaced:
                return CLOSE_REPLACED
            if mail.low:
                mail.low = False
                await self._send_frame(frames.encode_notice(frames.NoticeCode.KEY_PACKAGES_LOW))
            if mail.asked:
                mail.asked = False
                await self._send_frame(frames.encode_notice(frames.NoticeCode.QUESTION_WAITING))
            if self._refused:
                # Its device begins again with what was refused first: so its messages stay in their order.
                return CLOSE_TOO_FAST
            if self._owner.sessions.device(self._token_hash) is None:
                return CLOSE_UNAUTHENTICATED
            mail.wake.clear()
            if mail.sent < min(mail.head, self._wanted_ack + self._window):
                hurry = mail.head - mail.sent >= TOGETHER or not self._owner.busy()
                wait = 0.0 if hurry else self._delivered_at + PACE_S - loop.time()
                if wait <= 0:
                    await self._deliver(loop)
                    continue
                if self._paced is None:
                    self._paced = loop.call_later(wait, self._look_again)
                    mail.patient = TOGETHER
            await mail.wake.wait()

    def _look_again(self) -> None:
        self._paced = None
        self._mail.patient = 0
        self._mail.wake.set()

    async def _deliver(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sends the next run of the mailbox, from memory or from the store."""
        mail = self._mail
        up_to = self._wanted_ack + self._window
        if mail.behind:
            await self._send_page(up_to)
            return
        first, parts, count = mail.take(up_to, frames.MAX_ITEMS, MAX_DELIVER_BYTES)
        if count:
            self._delivered_at = loop.time()
            await self._send_frame(frames.encode_deliver(first, parts, count))
            self._owner.metrics.delivered(count)

    async def _send_page(self, up_to: int) -> None:
        """Sends what the store has next."""
        mail = self._mail
        limit = min(PAGE, up_to - mail.sent)
        known = mail.head
        items = await self._owner.pages.page(self._device.tenant_id, mail.mailbox, mail.sent, limit)
        if not items:
            # Emptied: nothing is left up to what was known before the look; what has come since is still to be sent.
            mail.fed(known)
            return
        at = 0
        while at < len(items):
            first = items[at][0]
            parts: list[bytes] = []
            count = size = 0
            while at < len(items) and items[at][0] == first + count and count < frames.MAX_ITEMS:
                _, head, body = items[at]
                size += len(head) + len(body)
                if count and size > MAX_DELIVER_BYTES:
                    break
                parts += (head, body)
                count += 1
                at += 1
            await self._send_frame(frames.encode_deliver(first, parts, count))
            self._owner.metrics.delivered(count)
        mail.fed(items[-1][0])


_NOBODY: Final = bytes(16)
"""A group that does not exist: devices submit to groups."""
