"""The message centre: accounts, phones, receipts, faults."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Self, TypeVarTuple

from letterlock.lab.smsc.behaviour import Behaviour, Fault, FaultKind, ReceiptForm, ReceiptOrder, written_id
from letterlock.lab.smsc.clock import SteadyClock
from letterlock.lab.smsc.link import Account, Link
from letterlock.lab.smsc.listener import Listener
from letterlock.lab.smsc.phone import Phone, snippet
from letterlock.model.bodies import OpenBody
from letterlock.model.clock import Clock
from letterlock.wire.sms import gsm0338
from letterlock.wire.sms.address import PhoneNumber, SmppAddress, sender_address
from letterlock.wire.sms.encode import segment
from letterlock.wire.sms.errors import AddressError, ReassemblyError, TextError
from letterlock.wire.sms.pdu import DeliverSm, Pdu, SubmitSm, SubmitSmResp, Tlv, error_response
from letterlock.wire.sms.reassembly import part_of
from letterlock.wire.sms.receipts import RECEIPT_WORDS
from letterlock.wire.sms.session import Timers
from letterlock.wire.sms.terms import (
    ESM_SMSC_RECEIPT,
    REGISTERED_RECEIPT,
    CommandStatus,
    MessageState,
    TlvTag,
    Ton,
)

Arguments = TypeVarTuple("Arguments")
_STATUS: Final = {FaultKind.THROTTLE: CommandStatus.RTHROTTLED, FaultKind.QUEUE_FULL: CommandStatus.RMSGQFUL}


class LabSmsc:
    """A message centre in an event loop. Loopback only, logs nothing.

    Args:
        accounts: system ids and passwords.
        port: 0 for a free one; :attr:`port` tells which.
        tls: with a context, TLS from the first octet.
        timers: window and limits; ``peer_window`` is what a client may have open.
        name: how the centre calls itself.
    """

    def __init__(
        self,
        accounts: Mapping[str, str],
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        timers: Timers | None = None,
        name: str = "labsmsc",
        clock: Clock | None = None,
    ) -> None:
        self.behaviour = Behaviour()
        self.clock: Clock = clock or SteadyClock()
        self.port = port
        self.submits = 0
        self._accounts = {system_id: Account(system_id, password) for system_id, password in accounts.items()}
        self._tls = tls
        self._timers = timers or Timers()
        self._name = name
        self._phones: dict[PhoneNumber, Phone] = {}
        self._faults: deque[Fault] = deque()
        self._links: set[Link] = set()
        self._listener: Listener | None = None
        self._next_id = 0x0A1B2C3D
        self._mo_reference = 0

    @property
    def silent(self) -> bool:
        """Whether the centre answers nothing."""
        return self.behaviour.silent

    @property
    def retry_ms(self) -> int:
        """When it delivers again what was refused."""
        return self.behaviour.retry_ms

    @property
    def links(self) -> int:
        """Open connections."""
        return len(self._links)

    async def __aenter__(self) -> Self:
        await self.come_back()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.go_away()

    async def come_back(self) -> None:
        """Listens, on the same port as before."""
        self._listener = Listener(lambda: Link(self, self._name, self._timers), self.port, self._tls)
        self.port = self._listener.port

    async def go_away(self) -> None:
        """Stops to listen and breaks every connection; phones and what waits stay."""
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close()
        self.drop_links()
        await asyncio.sleep(0)

    def drop_links(self) -> None:
        """Breaks every connection."""
        for link in tuple(self._links):
            link.drop()

    def phone(self, number: PhoneNumber) -> Phone:
        """The phone with that number; there is one for every number."""
        phone = self._phones.get(number)
        if phone is None:
            phone = self._phones[number] = Phone(number)
        return phone

    def fail(self, fault: Fault) -> None:
        """Puts a fault in the queue: it hits the next submits."""
        self._faults.append(fault)

    def send_from(self, number: PhoneNumber, to: str, text: OpenBody, system_id: str | None = None) -> int:
        """A phone writes: one or more ``deliver_sm`` wait for the account (the first, if none is named).

        Returns:
            The number of parts.

        Raises:
            KeyError: no such account.
            AddressError: a recipient that cannot be.
            TextError: a text that cannot be sent.
        """
        account = self._accounts[system_id] if system_id else next(iter(self._accounts.values()))
        self._mo_reference = (self._mo_reference + 1) & 0xFF
        source, destination = SmppAddress.of_number(number), sender_address(to)
        segments = segment(text, self._mo_reference)
        for part in segments:
            account.outbox.append(
                DeliverSm(source, destination, part.octets, part.data_coding, part.esm_class, tlvs=part.tlvs)
            )
        account.pump()
        return len(segments)

    def account(self, system_id: str) -> Account | None:
        """The customer of that name."""
        return self._accounts.get(system_id)

    def joined(self, link: Link) -> None:
        """A connection was made."""
        self._links.add(link)

    def left(self, link: Link) -> None:
        """A connection is gone."""
        self._links.discard(link)

    def submitted(self, link: Link, pdu: Pdu, message: SubmitSm) -> None:
        """A message was submitted: takes it, refuses it, or has the fault that is next."""
        self.submits += 1
        kind = self._next_fault(link, pdu)
        if kind in {FaultKind.THROTTLE, FaultKind.QUEUE_FULL, FaultKind.REJECT, FaultKind.DISCONNECT}:
            return
        try:
            number = _phone_number(message.destination)
            part = part_of(message)
            self.phone(number).take(part, self.clock.monotonic_ms())
        except AddressError:
            link.answer(pdu, error_response(pdu.command), CommandStatus.RINVDSTADR)
            return
        except ReassemblyError:
            link.answer(pdu, error_response(pdu.command), CommandStatus.RINVESMCLASS)
            return
        self._next_id += 1
        number_of_message = self._next_id
        behaviour = self.behaviour
        early = behaviour.receipt_order is ReceiptOrder.BEFORE_RESPONSE
        receipts: list[DeliverSm] = []
        if message.registered_delivery & REGISTERED_RECEIPT:
            receipts = self._receipts(number_of_message, message, part.octets)
        if early:
            self._send_receipts(link.account, receipts)
        if kind is FaultKind.DISCONNECT_AFTER:
            link.drop()
        elif kind is not FaultKind.STALL:
            answer = SubmitSmResp(written_id(number_of_message, behaviour.id_forms.response))
            self._later(behaviour.response_delay_ms, link.answer, pdu, answer)
        if not early:
            wait = behaviour.response_delay_ms + behaviour.receipt_delay_ms
            self._later(wait, self._send_receipts, link.account, receipts)

    def _next_fault(self, link: Link, pdu: Pdu) -> FaultKind | None:
        if not self._faults:
            return None
        fault = self._faults.popleft()
        if fault.after:
            self._faults.appendleft(replace(fault, after=fault.after - 1))
            return None
        if fault.count > 1:
            self._faults.appendleft(replace(fault, count=fault.count - 1))
        if fault.kind is FaultKind.DISCONNECT:
            link.drop()
        elif fault.kind is FaultKind.REJECT:
            link.answer(pdu, error_response(pdu.command), fault.status)
        elif fault.kind in _STATUS:
            link.answer(pdu, error_response(pdu.command), _STATUS[fault.kind])
        return fault.kind

    def _receipts(self, number: int, message: SubmitSm, octets: OpenBody) -> list[DeliverSm]:
        behaviour = self.behaviour
        tlvs: tuple[Tlv, ...] = ()
        text = b""
        if behaviour.receipt_form is not ReceiptForm.TEXT:
            written = written_id(number, behaviour.id_forms.receipt_tlv)
            tlvs = (
                Tlv(TlvTag.RECEIPTED_MESSAGE_ID, written.encode() + b"\0"),
                Tlv(TlvTag.MESSAGE_STATE, bytes([behaviour.receipt_state])),
            )
        if behaviour.receipt_form is not ReceiptForm.TLV:
            written = written_id(number, behaviour.id_forms.receipt_text)
            repeated = snippet(octets, message.data_coding, behaviour.receipt_snippet)
            text = _receipt_text(written, behaviour.receipt_state, repeated)
        return [
            DeliverSm(message.destination, message.source, OpenBody(text), esm_class=ESM_SMSC_RECEIPT, tlvs=tlvs)
            for _ in range(behaviour.receipt_copies)
        ]

    @staticmethod
    def _send_receipts(account: Account | None, receipts: list[DeliverSm]) -> None:
        if account is not None and receipts:
            account.outbox.extend(receipts)
            account.pump()

    @staticmethod
    def _later(milliseconds: int, call: Callable[[*Arguments], None], *args: *Arguments) -> None:
        if milliseconds <= 0:
            call(*args)
        else:
            asyncio.get_running_loop().call_later(milliseconds / 1_000, call, *args)


def _phone_number(address: SmppAddress) -> PhoneNumber:
    if address.ton is Ton.UNKNOWN:
        return PhoneNumber(address.value.removeprefix("+"))
    return address.number()


def _receipt_text(message_id: str, state: MessageState, repeated: str) -> bytes:
    done = "001" if state is MessageState.DELIVERED else "000"
    error = "000" if state is MessageState.DELIVERED else "001"
    head = (
        f"id:{message_id} sub:001 dlvrd:{done} submit date:2611221200 done date:2611221201 "
        f"stat:{RECEIPT_WORDS[state]} err:{error} text:"
    ).encode("ascii")
    try:
        return head + gsm0338.encode(repeated)
    except TextError:
        return head + repeated.encode("ascii", errors="replace")
