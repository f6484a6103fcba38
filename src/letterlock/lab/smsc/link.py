"""One connection to the centre: authenticates the bind, keeps the window, delivers what waits for the account."""

import asyncio
import hmac
from collections import deque
from typing import Protocol, cast

from letterlock.model.clock import Clock
from letterlock.wire.sms.pdu import UNBIND_RESP, Bind, BindResp, Body, DeliverSm, Pdu, QuerySm, SubmitSm, error_response
from letterlock.wire.sms.session import Answered, Asked, Event, Expired, Over, Role, Session, State, Timers, Write
from letterlock.wire.sms.terms import INTERFACE_VERSION, RESPONSE_BIT, CommandId, CommandStatus


class Account:
    """What the centre knows about a customer: the password, links that are bound, what waits to be delivered."""

    def __init__(self, system_id: str, password: str) -> None:
        self.system_id = system_id
        self.outbox: deque[DeliverSm] = deque()
        self.links: list[Link] = []
        self._password = password

    def admits(self, password: str) -> bool:
        """Whether this is the password."""
        return hmac.compare_digest(self._password.encode(), password.encode())

    def pump(self) -> None:
        """Delivers what waits, over any link that may take it."""
        for link in self.links:
            link.deliver_waiting()


class Centre(Protocol):
    """What a link asks of its centre."""

    clock: Clock

    @property
    def silent(self) -> bool:
        """Whether to answer nothing."""
        ...

    @property
    def retry_ms(self) -> int:
        """When to deliver again."""
        ...

    def account(self, system_id: str) -> Account | None:
        """The customer of that name."""
        ...

    def submitted(self, link: "Link", pdu: Pdu, message: SubmitSm) -> None:
        """A message was submitted."""
        ...

    def joined(self, link: "Link") -> None:
        """A connection was made."""
        ...

    def left(self, link: "Link") -> None:
        """A connection is gone."""
        ...


class Link(asyncio.Protocol):
    """The centre's end of one connection."""

    def __init__(self, centre: Centre, name: str, timers: Timers) -> None:
        self._centre = centre
        self._name = name
        self._timers = timers
        self._session = Session(Role.SMSC, timers, centre.clock.monotonic_ms())
        self._delivering: dict[int, DeliverSm] = {}
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self.account: Account | None = None

    @property
    def state(self) -> State:
        """The session's state."""
        return self._session.state

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its bases
        self._centre.joined(self)
        self._tick()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Called by asyncio. What was not acknowledged waits again."""
        if self._ticker is not None:
            self._ticker.cancel()
        if self._session.state is not State.CLOSED:
            self._session.close()
        if self.account is not None:
            if self in self.account.links:
                self.account.links.remove(self)
            self.account.outbox.extendleft(reversed(self._delivering.values()))
        self._centre.left(self)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if not self._centre.silent and self._session.state is not State.CLOSED:
            self._handle(self._session.receive(data, self._centre.clock.monotonic_ms()))

    def answer(self, pdu: Pdu, body: Body, status: int = 0) -> None:
        """Answers a request, if the connection is still there."""
        if self._session.state is not State.CLOSED and not self._centre.silent:
            self._write(self._session.respond(pdu, body, status))

    def drop(self) -> None:
        """Breaks the connection."""
        if self._transport is not None:
            self._transport.abort()

    def deliver_waiting(self) -> None:
        """Sends what waits for the account, as far as the window allows."""
        account = self.account
        if account is None or self._session.state not in {State.BOUND_RX, State.BOUND_TRX} or self._centre.silent:
            return
        while account.outbox and self._session.window_free > 0:
            message = account.outbox.popleft()
            sequence, data = self._session.request(message, self._centre.clock.monotonic_ms())
            self._delivering[sequence] = message
            self._write(data)

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Write):
                self._write(event.data)
            elif isinstance(event, Asked):
                self._asked(event.pdu)
            elif isinstance(event, Answered):
                self._delivered(event.sequence, event.pdu.status)
            elif isinstance(event, Expired):
                self._delivered(event.sequence, CommandStatus.RSYSERR)
            elif isinstance(event, Over):
                self._close()

    def _asked(self, pdu: Pdu) -> None:
        body = pdu.body
        if isinstance(body, SubmitSm):
            self._centre.submitted(self, pdu, body)
        elif isinstance(body, Bind):
            self._bind(pdu, body)
        elif isinstance(body, QuerySm):
            self.answer(pdu, error_response(pdu.command), CommandStatus.RQUERYFAIL)
        else:
            self.answer(pdu, UNBIND_RESP)
            self._close()

    def _bind(self, pdu: Pdu, bind: Bind) -> None:
        account = self._centre.account(bind.system_id)
        response = BindResp(CommandId(bind.command | RESPONSE_BIT), self._name, INTERFACE_VERSION)
        if account is None:
            self.answer(pdu, response, CommandStatus.RINVSYSID)
            self._close()
        elif not account.admits(bind.password):
            self.answer(pdu, response, CommandStatus.RINVPASWD)
            self._close()
        else:
            self.account = account
            self.answer(pdu, response)
            account.links.append(self)
            self.deliver_waiting()

    def _delivered(self, sequence: int, status: int) -> None:
        message = self._delivering.pop(sequence, None)
        if message is None or self.account is None:
            return
        if status and status != CommandStatus.RX_P_APPN:
            self.account.outbox.append(message)
            asyncio.get_running_loop().call_later(self._centre.retry_ms / 1_000, self.account.pump)
        else:
            message.octets.destroy()
            self.deliver_waiting()

    def _close(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._flush()
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        if self._out and self._transport is not None and not self._transport.is_closing():
            data = b"".join(self._out)
            self._out.clear()
            self._transport.write(data)

    def _tick(self) -> None:
        if not self._centre.silent:
            self._handle(self._session.tick(self._centre.clock.monotonic_ms()))
        self._ticker = asyncio.get_running_loop().call_later(0.1, self._tick)
