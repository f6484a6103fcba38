"""What the centre sends us: receipts and messages. Nothing is acknowledged before the callback has finished."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from letterlock.model.clock import Clock
from letterlock.transports.smpp.config import SmppConfig
from letterlock.transports.smpp.connection import Connection
from letterlock.transports.smpp.values import Inbound, ReceiptNotice
from letterlock.wire.sms.encode import to_text
from letterlock.wire.sms.errors import ReassemblyError, ReassemblyReason, TextError
from letterlock.wire.sms.pdu import DeliverSm, DeliverSmResp, Pdu
from letterlock.wire.sms.reassembly import Part, Reassembler, part_of
from letterlock.wire.sms.receipts import Receipt
from letterlock.wire.sms.terms import CommandStatus


class InboundDesk:
    """Takes ``deliver_sm``, calls the owner, answers. Bounded in what it holds."""

    def __init__(
        self,
        config: SmppConfig,
        on_receipt: Callable[[ReceiptNotice], Awaitable[None]],
        on_inbound: Callable[[Inbound], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._config = config
        self._on_receipt = on_receipt
        self._on_inbound = on_inbound
        self._clock = clock
        self._parts = Reassembler()
        self._tasks: set[asyncio.Task[None]] = set()

    def restore(self, parts: Iterable[Part]) -> None:
        """Takes stored parts back after a restart."""
        for part in parts:
            self._parts.offer(part, self._clock.monotonic_ms())

    def take(self, link: Connection, pdu: Pdu, message: DeliverSm) -> None:
        """Begins with one ``deliver_sm``; more than the limit at a time are refused for now."""
        if len(self._tasks) >= self._config.max_inbound:
            link.respond(pdu, DeliverSmResp(), CommandStatus.RMSGQFUL)
            return
        if isinstance(message.receipt, Receipt):
            work = self._receipt(message.receipt)
        elif message.receipt is not None:
            link.respond(pdu, DeliverSmResp(), CommandStatus.RX_P_APPN)
            return
        else:
            found = self._message(message)
            if isinstance(found, CommandStatus):
                link.respond(pdu, DeliverSmResp(), found)
                return
            work = self._inbound(found)
        task = asyncio.get_running_loop().create_task(self._answer(link, pdu, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, seconds: float) -> None:
        """Waits for callbacks that run, not longer than this."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    def stop(self) -> None:
        """Cancels callbacks that still run; the centre was not answered and sends again."""
        for task in self._tasks:
            task.cancel()

    def _message(self, message: DeliverSm) -> Inbound | CommandStatus:
        try:
            part = part_of(message)
            octets = self._parts.offer(part, self._clock.monotonic_ms())
            return Inbound(part, None if octets is None else to_text(octets, part.data_coding))
        except ReassemblyError as error:
            full = error.reason is ReassemblyReason.FULL
            return CommandStatus.RX_T_APPN if full else CommandStatus.RX_P_APPN
        except TextError:
            return CommandStatus.RX_P_APPN

    async def _receipt(self, receipt: Receipt) -> None:
        await self._on_receipt(ReceiptNotice(receipt.normalised_id(self._config.id_forms), receipt))

    async def _inbound(self, inbound: Inbound) -> None:
        await self._on_inbound(inbound)
        if inbound.whole is not None:
            self._parts.finish(inbound.part)

    @staticmethod
    async def _answer(link: Connection, pdu: Pdu, work: Awaitable[None]) -> None:
        status = CommandStatus.ROK
        try:
            await work
        except Exception:  # noqa: BLE001 - whatever the owner's callback raises means "not safe yet: send again"
            status = CommandStatus.RX_T_APPN
        link.respond(pdu, DeliverSmResp(), status)
