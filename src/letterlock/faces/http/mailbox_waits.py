"""Mailboxes over plain HTTP for devices that wait: a long poll, and Server-Sent Events (WHATWG HTML, section 9.2).

Both are woken by the hub and read the store only when there is something to read. A device has one connection that
waits, the stream included: a newer one replaces it.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from enum import StrEnum, unique
from typing import Final

import msgspec
import structlog

from letterlock.faces.http import device_schemas as s
from letterlock.faces.http.auth import Sessions
from letterlock.faces.http.device_calls import guard, number_parameter, own_device, problems, query_number
from letterlock.faces.http.devices import DEFAULT_PAGE, item_answer
from letterlock.faces.http.problems import Code, Problem
from letterlock.faces.http.routes import Access, Answer, Call, DevicePrincipal, Route, Streaming
from letterlock.gateway.hub import Doorbell, Hub
from letterlock.model.clock import Clock
from letterlock.model.errors import LetterlockError
from letterlock.relay.limits import ITEMS_PER_PAGE
from letterlock.relay.mailboxes import Item, Mailboxes, Page
from letterlock.storage.relay_commands import RelayReason

MAX_WAIT_S: Final = 60
"""Of a long poll: proxies end what is silent for longer."""
DEFAULT_WAIT_S: Final = 25
HEARTBEAT_S: Final = 20.0
"""Between two signs of life on a silent event stream; each looks whether the session still holds."""
EVENT_PAGE: Final = 100
EVENT_PAGE_BYTES: Final = 1 << 20
"""What an event stream reads at once, and so what one that is not read holds in memory."""
MAX_REREADS: Final = 3
"""A row moves to another storage key at most once in minutes; more than that is not a race."""
EVENT_STREAM: Final = "text/event-stream"
MAX_SEQUENCE: Final = 2**32 - 1
_REFUSED: Final = (
    RelayReason.NOT_FOUND,
    RelayReason.NOT_YOUR_DEVICE,
    RelayReason.STATE_ROLLED_BACK,
    RelayReason.ACK_AHEAD,
)


@unique
class End(StrEnum):
    """Why nothing more is delivered on a connection: the code of its last event, or of the answer."""

    UNAUTHENTICATED = "unauthenticated"
    REPLACED = "replaced"
    """Another connection of the same device waits for its mailbox now."""
    RESTARTING = "restarting"
    OVERLOADED = "overloaded"


_STATUS: Final = {End.UNAUTHENTICATED: 401, End.REPLACED: 409, End.RESTARTING: 503, End.OVERLOADED: 503}
_log: Final = structlog.get_logger("letterlock.stream")
_encode: Final = msgspec.json.Encoder().encode


class MailboxWaits:
    """Serves devices that wait over HTTP.

    Args:
        mailboxes: reads them.
        hub: tells when there is more.
        sessions: whether a token still holds.
        clock: wall time, for the session's end.
        connected: told when an event stream begins (+1) or ends (-1).
        delivered: told how many items went out.
    """

    def __init__(
        self,
        mailboxes: Mailboxes,
        hub: Hub,
        sessions: Sessions,
        clock: Clock,
        connected: Callable[[int], None],
        delivered: Callable[[int], None],
    ) -> None:
        self._mailboxes = mailboxes
        self._hub = hub
        self._sessions = sessions
        self._clock = clock
        self._connected = connected
        self._delivered = delivered

    async def wait(self, device: DevicePrincipal, after: int, limit: int, seconds: int) -> Page:
        """The next page, as soon as there is one; an empty one when the time is over.

        Raises:
            RelayError: NOT_FOUND, STATE_ROLLED_BACK, ACK_AHEAD.
            Problem: the session ended, another connection came, or the gateway is about to stop.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        bell = await self._join(device, after)
        try:
            while True:
                why = self._over(device, bell)
                if why is not None:
                    raise Problem(why, _STATUS[why])
                if bell.head > after:
                    page = await self._mailboxes.page(device.tenant_id, device.mailbox, after, limit)
                    self._delivered(len(page.items))
                    return page
                left = until - loop.time()
                if left <= 0:
                    return Page((), bell.head)
                await self._rest(device, bell, left)
        finally:
            self._hub.leave(bell)

    async def events(self, device: DevicePrincipal, after: int) -> Streaming:
        """Everything after a sequence, and then whatever comes.

        Raises:
            RelayError: NOT_FOUND, STATE_ROLLED_BACK, ACK_AHEAD.
        """
        # Refused before the answer begins; the generator, which may never be started, joins by itself.
        await self._mailboxes.standing(device.mailbox, after)
        return Streaming(self._events(device, after), EVENT_STREAM)

    async def _events(self, device: DevicePrincipal, after: int) -> AsyncGenerator[bytes]:
        bell = await self._join(device, after)
        self._connected(1)
        sent, rereads = after, 0
        try:
            yield _event("head", _encode({"head": bell.head}))
            while (why := self._over(device, bell)) is None:
                for told in _told(bell):
                    yield told
                if bell.head <= sent:
                    if not await self._rest(device, bell, HEARTBEAT_S):
                        yield b": waiting\n\n"
                    continue
                known = bell.head
                page = await self._mailboxes.page(device.tenant_id, device.mailbox, sent, EVENT_PAGE, EVENT_PAGE_BYTES)
                for item in page.items:
                    yield _item_event(item)
                    sent, rereads = item.row.sequence, 0
                    self._delivered(1)
                    if self._over(device, bell) is not None:
                        break
                else:
                    if page.items:
                        continue
                    if not page.moved:
                        # Emptied: nothing is left up to what was known before the look.
                        sent = max(sent, known)
                        continue
                    rereads += 1
                    if rereads >= MAX_REREADS:
                        why = End.OVERLOADED
                        break
            yield _event("end", _encode({"code": str(why)}))
        except LetterlockError as error:
            _log.warning("events_refused", error_type=type(error).__name__)
            yield _event("end", _encode({"code": str(End.OVERLOADED)}))
        finally:
            self._connected(-1)
            self._hub.leave(bell)

    async def _join(self, device: DevicePrincipal, after: int) -> Doorbell:
        state = await self._mailboxes.standing(device.mailbox, after)
        bell = Doorbell(device.mailbox, state.head)
        self._hub.join(bell)
        try:
            # What was committed between the look at the mailbox and joining was announced to nobody.
            newest = await self._mailboxes.standing(device.mailbox, after)
        except BaseException:
            self._hub.leave(bell)
            raise
        self._hub.notify(((device.mailbox, newest.head),))
        return bell

    def _over(self, device: DevicePrincipal, bell: Doorbell) -> End | None:
        """Why nothing more is delivered here."""
        if bell.replaced:
            return End.REPLACED
        if self._sessions.device(device.token_hash) is None:
            return End.UNAUTHENTICATED
        return End.RESTARTING if self._hub.closing else None

    async def _rest(self, device: DevicePrincipal, bell: Doorbell, seconds: float) -> bool:
        """Waits until the bell rings, the session ends, or for so long; whether it rang."""
        ends = max(0.0, (device.expires_ms - self._clock.now_ms()) / 1_000)
        try:
            await asyncio.wait_for(bell.wake.wait(), min(seconds, ends + 0.001))
        except TimeoutError:
            return False
        bell.wake.clear()
        return True

    # The routes.

    async def _wait_call(self, call: Call) -> Answer:
        device = own_device(call)
        after = query_number(call, "after", 0, 0, MAX_SEQUENCE)
        limit = query_number(call, "limit", DEFAULT_PAGE, 1, ITEMS_PER_PAGE)
        seconds = query_number(call, "seconds", DEFAULT_WAIT_S, 0, MAX_WAIT_S)
        page = await self.wait(device, after, limit, seconds)
        return Answer(200, s.MailboxAnswer([item_answer(item) for item in page.items], page.head))

    async def _events_call(self, call: Call) -> Streaming:
        device = own_device(call)
        after = query_number(call, "after", 0, 0, MAX_SEQUENCE)
        resumed = call.headers.get(b"last-event-id")
        if resumed is not None:
            if not (resumed.isdigit() and len(resumed) <= 10 and int(resumed) <= MAX_SEQUENCE):
                raise Problem(Code.BAD_PARAMETER, detail="Last-Event-ID is not an id of this stream.")
            after = int(resumed)
        return await self.events(device, after)

    def routes(self) -> tuple[Route, ...]:
        """The entries of the route table."""
        base = "/v1/devices/{device_id}/mailbox"
        refused = problems(*_REFUSED)
        after = number_parameter("after", "Only items after this sequence.", 0, MAX_SEQUENCE)
        return (
            Route(
                "GET", f"{base}/wait", "waitForMailbox", "A page of this device's mailbox, as soon as there is one.",
                Access.DEVICE, guard(self._wait_call), None, {200: s.MailboxAnswer},
                {**refused, 409: (*refused[409], End.REPLACED), 503: (End.RESTARTING,)},
                (
                    after,
                    number_parameter("limit", "At most so many items.", 1, ITEMS_PER_PAGE),
                    number_parameter("seconds", "How long to wait at most.", 0, MAX_WAIT_S),
                ),
            ),
            Route(
                "GET", f"{base}/events", "streamMailbox", "This device's mailbox as Server-Sent Events.",
                Access.DEVICE, guard(self._events_call), None, {200: None}, refused, (after,),
                media_type=EVENT_STREAM,
            ),
        )  # fmt: skip


def _event(name: str, data: bytes, identity: bytes = b"") -> bytes:
    return b"event: %b\n%bdata: %b\n\n" % (name.encode(), identity, data)


def _told(bell: Doorbell) -> list[bytes]:
    """What the device is to be told beside its mail, once."""
    found = [name for name, wanted in (("key_packages_low", bell.low), ("question_waiting", bell.asked)) if wanted]
    bell.low = bell.asked = False
    return [_event(name, b"{}") for name in found]


def _item_event(item: Item) -> bytes:
    return _event("item", _encode(item_answer(item)), b"id: %d\n" % item.row.sequence)
