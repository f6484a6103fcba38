"""The client of a message centre: keeps one link bound, sends messages, hands over receipts and inbound messages."""

import asyncio
import secrets
import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Final, Self

from letterlock.model.bodies import OpenBody
from letterlock.model.clock import Clock
from letterlock.model.ids import MessageId
from letterlock.transports.smpp.config import Endpoint, SmppConfig
from letterlock.transports.smpp.connection import Connection, NoAnswer
from letterlock.transports.smpp.errors import LinkFault, SubmitError, SubmitReason
from letterlock.transports.smpp.inbound import InboundDesk
from letterlock.transports.smpp.values import Inbound, LinkState, ReceiptNotice, SubmitResult
from letterlock.wire.sms.address import PhoneNumber, SmppAddress, sender_address
from letterlock.wire.sms.encode import Segment, segment
from letterlock.wire.sms.errors import AddressError, PduError, SessionError, TextError, TextReason
from letterlock.wire.sms.pdu import UNBIND, UNBIND_RESP, Bind, BindResp, DeliverSm, Pdu, SubmitSm, SubmitSmResp
from letterlock.wire.sms.reassembly import Part
from letterlock.wire.sms.receipts import normalise_id
from letterlock.wire.sms.session import End
from letterlock.wire.sms.terms import REGISTERED_RECEIPT, CommandId, CommandStatus

_BACK_OFF: Final = {
    CommandStatus.RTHROTTLED: SubmitReason.THROTTLED,
    CommandStatus.RMSGQFUL: SubmitReason.QUEUE_FULL,
}
_TEMPORARY: Final = frozenset(
    {
        CommandStatus.RSYSERR,
        CommandStatus.RSUBMITFAIL,
        CommandStatus.RX_T_APPN,
        CommandStatus.RINVBNDSTS,
    }
)
_FAULTS: Final = {
    End.BAD_STREAM: LinkFault.PROTOCOL_ERROR,
    End.WRONG_ANSWER: LinkFault.PROTOCOL_ERROR,
    End.PEER_SILENT: LinkFault.PEER_SILENT,
    End.UNBOUND: LinkFault.UNBOUND_BY_PEER,
}
_RANDOM: Final = secrets.SystemRandom()
_GOODBYE_S: Final = 2.0
"""How long a close waits for handlers that run and for the answer to our unbind."""


class SmppClient:
    """Keeps one transceiver link to a message centre, and reconnects for as long as it is open.

    Args:
        config: where, who, limits.
        on_receipt: awaited for each delivery receipt before it is acknowledged; if it raises, the centre is told to
            send the receipt again.
        on_inbound: awaited likewise for each inbound message, or part of one.
        clock: the steady clock is used.
        jitter: a number from 0 to 1 for each pause.
        on_link: called with every change of :attr:`state`.
    """

    def __init__(
        self,
        config: SmppConfig,
        on_receipt: Callable[[ReceiptNotice], Awaitable[None]],
        on_inbound: Callable[[Inbound], Awaitable[None]],
        clock: Clock,
        *,
        jitter: Callable[[], float] = _RANDOM.random,
        on_link: Callable[[LinkState, LinkFault | None], None] | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._jitter = jitter
        self._on_link = on_link
        self._desk = InboundDesk(config, on_receipt, on_inbound, clock)
        self._link: Connection | None = None
        self._state = LinkState.DOWN
        self._fault: LinkFault | None = None
        self._bound = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._pause_ms = 0
        self._resume_ms = 0

    @property
    def state(self) -> LinkState:
        """What the link is doing."""
        return self._state

    @property
    def fault(self) -> LinkFault | None:
        """Why the last link ended or could not be made; None while it is well."""
        return self._fault

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def start(self) -> None:
        """Begins to connect, in the running event loop. Harmless when repeated."""
        if self._runner is None and self._state is not LinkState.CLOSED:
            self._runner = asyncio.get_running_loop().create_task(self._run())

    async def wait_bound(self, timeout_s: float) -> bool:
        """Waits until the link is bound; False when it is not in time (:attr:`fault` says why)."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._bound.wait()
        return self._bound.is_set()

    def restore_parts(self, parts: Iterable[Part]) -> None:
        """Gives back the parts of unfinished inbound messages that were stored before a restart.

        Raises:
            ReassemblyError: they do not fit together or exceed the limits.
        """
        self._desk.restore(parts)

    async def submit(
        self, to: PhoneNumber, sender: str, body: OpenBody, *, message_ref: MessageId, resume_from: int = 0
    ) -> SubmitResult:
        """Sends a text, in as many parts as it needs, in order, and waits until the centre has taken each.

        Args:
            to: the phone.
            sender: a ``+`` number, a short code or a name; empty for the centre's default.
            body: the text in UTF-8; it stays the caller's.
            message_ref: gives the reference that the parts share, so that a resumed message fits together.
            resume_from: how many parts were accepted by earlier attempts with the same ``message_ref``.

        Raises:
            SubmitError: see :class:`SubmitReason`; its ``outcome`` says whether the message may have left.
        """
        if self._state is LinkState.CLOSED:
            raise SubmitError(SubmitReason.CLOSED)
        source = _source(sender)
        segments = self._segments(body, message_ref)
        accepted: list[str] = []
        try:
            if not 0 <= resume_from < len(segments):
                raise SubmitError(SubmitReason.INVALID_PART, parts=len(segments))
            for part in segments[resume_from:]:
                message = SubmitSm(
                    source,
                    SmppAddress.of_number(to),
                    part.octets,
                    part.data_coding,
                    part.esm_class,
                    REGISTERED_RECEIPT,
                    part.carried,
                    part.tlvs,
                )
                accepted.append(await self._submit_part(message, tuple(accepted)))
        finally:
            for part in segments:
                part.octets.destroy()
        return SubmitResult(tuple(accepted), len(segments))

    def _segments(self, body: OpenBody, message_ref: MessageId) -> tuple[Segment, ...]:
        reference = int.from_bytes(message_ref.value[-2:], "big")
        try:
            return segment(body, reference, self._config.long_style, self._config.max_parts)
        except TextError as error:
            long = error.reason is TextReason.TOO_MANY_PARTS
        raise SubmitError(SubmitReason.TOO_LONG if long else SubmitReason.UNENCODABLE)

    async def _submit_part(self, message: SubmitSm, accepted: tuple[str, ...]) -> str:
        patience_ends = self._clock.monotonic_ms() + self._config.patience_ms
        while True:
            await self._wait_out_pause()
            link = self._link
            if link is None:
                raise SubmitError(SubmitReason.LINK_DOWN, accepted)
            if link.waiting >= self._config.max_waiting:
                raise SubmitError(SubmitReason.OVERLOADED, accepted)
            answer = await _ask(link, message)
            if isinstance(answer, SubmitReason):
                raise SubmitError(answer, accepted)
            if not answer.status and isinstance(answer.body, SubmitSmResp):
                self._pause_ms //= 2
                return normalise_id(answer.body.message_id, self._config.id_forms.response)
            reason = _BACK_OFF.get(CommandStatus(answer.status)) if answer.status in _BACK_OFF else None
            if reason is None:
                raise SubmitError(_refused(answer.status), accepted, status=answer.status)
            self._slow_down()
            if self._resume_ms >= patience_ends:
                raise SubmitError(reason, accepted, retry_after_ms=self._pause_ms)

    def _slow_down(self) -> None:
        now = self._clock.monotonic_ms()
        if now < self._resume_ms:
            return  # one of many answers to the same burst
        config = self._config
        self._pause_ms = min(max(2 * self._pause_ms, config.throttle_min_ms), config.throttle_max_ms)
        self._resume_ms = now + self._jittered(self._pause_ms)

    async def _wait_out_pause(self) -> None:
        pause = self._resume_ms - self._clock.monotonic_ms()
        if pause > 0:
            await asyncio.sleep(pause / 1_000)

    def _jittered(self, milliseconds: int) -> int:
        """Between half of it and all of it, so that many clients do not return at once."""
        return round(milliseconds * (1 + self._jitter()) / 2)

    async def close(self) -> None:
        """Finishes what is being acknowledged, unbinds and closes. Submits that wait fail. Harmless when repeated."""
        if self._state is LinkState.CLOSED:
            return
        link, runner = self._link, self._runner
        self._become(LinkState.CLOSED, None)
        if link is not None:
            await self._desk.drain(_GOODBYE_S)
            with suppress(TimeoutError, SessionError):
                async with asyncio.timeout(_GOODBYE_S):
                    await link.request(UNBIND)
            link.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await link.gone.wait()
        if runner is not None:
            runner.cancel()
            with suppress(asyncio.CancelledError):
                await runner
        self._desk.stop()

    def _become(self, state: LinkState, fault: LinkFault | None) -> None:
        if self._state is LinkState.CLOSED:
            return
        self._state, self._fault = state, fault
        if state is LinkState.BOUND:
            self._bound.set()
        else:
            self._bound.clear()
            self._link = None
        if self._on_link is not None:
            self._on_link(state, fault)

    async def _run(self) -> None:
        config, failures, turn = self._config, 0, 0
        while self._state is not LinkState.CLOSED:
            self._become(LinkState.CONNECTING, self._fault)
            endpoint = config.endpoints[turn % len(config.endpoints)]
            link = await self._connect(endpoint)
            if isinstance(link, Connection):
                failures = 0
                self._link = link
                self._become(LinkState.BOUND, None)
                await link.gone.wait()
                fault = _FAULTS.get(link.end, LinkFault.DISCONNECTED) if link.end else LinkFault.DISCONNECTED
            else:
                fault = link
                failures += 1
                turn += 1
            self._become(LinkState.DOWN, fault)
            pause = min(config.reconnect_min_ms * 2 ** min(failures, 20), config.reconnect_max_ms)
            await asyncio.sleep(self._jittered(pause) / 1_000)

    async def _connect(self, endpoint: Endpoint) -> Connection | LinkFault:
        config = self._config
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(config.connect_ms / 1_000):
                _, link = await loop.create_connection(
                    lambda: Connection(config.timers, self._clock, self._asked, self._over),
                    endpoint.host,
                    endpoint.port,
                    ssl=config.tls,
                    server_hostname=endpoint.host if config.tls else None,
                )
        except ssl.SSLError:
            return LinkFault.TLS_REFUSED
        except (OSError, TimeoutError):
            return LinkFault.UNREACHABLE
        bind = Bind(CommandId.BIND_TRANSCEIVER, config.system_id, config.password, config.system_type)
        try:
            answer = await link.request(bind)
        except BaseException:
            link.abort()
            raise
        if isinstance(answer, Pdu) and not answer.status and isinstance(answer.body, BindResp):
            return link
        link.close()
        if isinstance(answer, Pdu):
            return LinkFault.BIND_REFUSED
        return LinkFault.BIND_TIMEOUT if answer is NoAnswer.EXPIRED else LinkFault.DISCONNECTED

    def _asked(self, link: Connection, pdu: Pdu) -> None:
        if isinstance(pdu.body, DeliverSm):
            self._desk.take(link, pdu, pdu.body)
        elif pdu.command is CommandId.UNBIND:
            link.respond(pdu, UNBIND_RESP)
            link.end = End.UNBOUND
            link.close()

    def _over(self, link: Connection) -> None:
        if self._link is link:
            self._link = None
            self._bound.clear()


def _source(sender: str) -> SmppAddress:
    try:
        return sender_address(sender)
    except AddressError:
        pass
    raise SubmitError(SubmitReason.INVALID_SENDER)


async def _ask(link: Connection, message: SubmitSm) -> Pdu | SubmitReason:
    try:
        answer = await link.request(message)
    except PduError:
        return SubmitReason.INVALID_SENDER
    except SessionError:
        return SubmitReason.LINK_DOWN
    match answer:
        case NoAnswer.EXPIRED:
            return SubmitReason.TIMEOUT
        case NoAnswer.LOST:
            return SubmitReason.LINK_LOST
        case NoAnswer.NOT_SENT:
            return SubmitReason.LINK_DOWN
        case _:
            return answer


def _refused(status: int) -> SubmitReason:
    return SubmitReason.REJECTED_TEMPORARY if status in _TEMPORARY else SubmitReason.REJECTED_PERMANENT
