"""Octets to PDUs (SMPP 3.4, sections 3.2 and 4). Total and bounded: every input is a PDU or a :class:`PduError`.

The other direction is in :mod:`letterlock.wire.sms.encode`, the one module here that sees content.
"""

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final

from letterlock.model.bodies import OpenBody
from letterlock.wire.sms.address import SmppAddress
from letterlock.wire.sms.errors import PduError, PduReason, ReceiptError, ReceiptReason
from letterlock.wire.sms.pdu import (
    Bind,
    BindResp,
    Body,
    DeliverSm,
    DeliverSmResp,
    Pdu,
    QuerySm,
    QuerySmResp,
    Simple,
    SubmitSm,
    SubmitSmResp,
    Tlv,
    is_receipt,
)
from letterlock.wire.sms.receipts import Receipt, parse_receipt
from letterlock.wire.sms.terms import (
    HEADER_OCTETS,
    MAX_PDU_OCTETS,
    MAX_SHORT_MESSAGE,
    MAX_TLVS,
    TLV_LENGTHS,
    Carried,
    CommandId,
    MessageState,
    Npi,
    TlvTag,
    Ton,
)

# The most octets of each C-octet string, its NUL included (sections 4.1.1, 4.4.1, 4.4.2).
SYSTEM_ID: Final = 16
PASSWORD: Final = 9
SYSTEM_TYPE: Final = 13
ADDRESS_RANGE: Final = 41
SERVICE_TYPE: Final = 6
ADDRESS: Final = 21
TIME: Final = 17
MESSAGE_ID: Final = 65

_HEADER: Final = Struct(">IIII")
_TLV: Final = Struct(">HH")
_TONS: Final[dict[int, Ton]] = {int(ton): ton for ton in Ton}
_NPIS: Final[dict[int, Npi]] = {int(npi): npi for npi in Npi}
_COMMANDS: Final[dict[int, CommandId]] = {int(command): command for command in CommandId}


class Framer:
    """Cuts a stream into PDUs. Holds at most one PDU of at most 64 KiB beyond what one call gave it."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The complete PDUs, as octets.

        Raises:
            PduError: BAD_LENGTH. The stream cannot be read on: close the connection.
        """
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= HEADER_OCTETS:
                length = int.from_bytes(buffer[at : at + 4], "big")
                if not HEADER_OCTETS <= length <= MAX_PDU_OCTETS:
                    raise PduError(PduReason.BAD_LENGTH, length=length)
                if len(buffer) - at < length:
                    break
                frame = bytes(buffer[at : at + length])
                at += length
                yield frame
        finally:
            del buffer[:at]

    @property
    def pending(self) -> int:
        """Octets held for a PDU that is not complete."""
        return len(self._buffer)


class _Reader:
    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = HEADER_OCTETS

    def octet(self) -> int:
        at = self.at
        if at >= len(self.data):
            raise PduError(PduReason.TRUNCATED)
        self.at = at + 1
        return self.data[at]

    def string(self, most: int) -> str:
        at = self.at
        end = self.data.find(0, at, at + most)
        if end < 0:
            short = len(self.data) - at < most
            raise PduError(PduReason.TRUNCATED if short else PduReason.STRING_TOO_LONG)
        self.at = end + 1
        if end == at:
            return ""
        text = self.data[at:end].decode("latin-1")
        if not (text.isascii() and text.isprintable()):
            raise PduError(PduReason.BAD_STRING)
        return text

    def address(self) -> SmppAddress:
        ton, npi = _TONS.get(self.octet()), _NPIS.get(self.octet())
        if ton is None or npi is None:
            raise PduError(PduReason.BAD_TON_NPI)
        return SmppAddress(ton, npi, self.string(ADDRESS))

    def time(self) -> str:
        text = self.string(TIME)
        if text and not is_time(text):
            raise PduError(PduReason.BAD_TIME)
        return text

    @property
    def done(self) -> bool:
        return self.at >= len(self.data)

    def tlvs(self) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        data, at = self.data, self.at
        while at < len(data):
            if at + 4 > len(data):
                raise PduError(PduReason.BAD_TLV)
            tag, length = _TLV.unpack_from(data, at)
            at += 4
            if at + length > len(data) or tag in found:
                raise PduError(PduReason.BAD_TLV, tag=tag)
            least, most = TLV_LENGTHS.get(tag, (0, MAX_PDU_OCTETS))
            if not least <= length <= most:
                raise PduError(PduReason.BAD_TLV, tag=tag)
            if len(found) >= MAX_TLVS:
                raise PduError(PduReason.TOO_MANY_TLVS)
            found[tag] = data[at : at + length]
            at += length
        self.at = at
        return found


def is_time(text: str) -> bool:
    """Whether this is an SMPP time, ``YYMMDDhhmmsstnnp`` (section 7.1.1)."""
    return len(text) == 16 and not text[:15].strip("0123456789") and text[15] in "+-R"


def decode(frame: bytes) -> Pdu:
    """One PDU from exactly its octets.

    Raises:
        PduError: see :class:`PduReason`; ``facts`` has ``command`` and ``sequence`` once the header was read.
    """
    if not HEADER_OCTETS <= len(frame) <= MAX_PDU_OCTETS:
        raise PduError(PduReason.BAD_LENGTH, length=len(frame))
    length, number, status, sequence = _HEADER.unpack_from(frame)
    if length != len(frame):
        raise PduError(PduReason.BAD_LENGTH, length=length)
    command = _COMMANDS.get(number)
    if command is None:
        raise PduError(PduReason.UNKNOWN_COMMAND, command=number, sequence=sequence)
    reader = _Reader(frame)
    try:
        body = _PARSERS[command](reader, command, status)
        if not reader.done:
            raise PduError(PduReason.TRAILING_OCTETS)
    except PduError as error:
        error.facts.update(command=command, sequence=sequence)
        raise
    return Pdu(body, sequence, status)


def _bind(reader: _Reader, command: CommandId, _: int) -> Bind:
    return Bind(
        command,
        reader.string(SYSTEM_ID),
        reader.string(PASSWORD),
        reader.string(SYSTEM_TYPE),
        reader.octet(),
        reader.octet(),
        reader.octet(),
        reader.string(ADDRESS_RANGE),
    )


def _bind_resp(reader: _Reader, command: CommandId, status: int) -> BindResp:
    if status and reader.done:
        return BindResp(command)
    name = reader.string(SYSTEM_ID)
    version = reader.tlvs().get(TlvTag.SC_INTERFACE_VERSION)
    return BindResp(command, name, version[0] if version else None)


_Fields = tuple[
    SmppAddress, SmppAddress, OpenBody, int, int, int, Carried, tuple[Tlv, ...], str, int, int, str, str, int, int
]


def _message(reader: _Reader, *, receipts: bool) -> tuple[_Fields, Receipt | ReceiptReason | None]:
    """The fields that submit_sm and deliver_sm share; a receipt is read here, so that its text is never kept."""
    service_type = reader.string(SERVICE_TYPE)
    source, destination = reader.address(), reader.address()
    esm_class, protocol_id, priority = reader.octet(), reader.octet(), reader.octet()
    schedule, validity = reader.time(), reader.time()
    registered, replace, coding, default = reader.octet(), reader.octet(), reader.octet(), reader.octet()
    length = reader.octet()
    if length > MAX_SHORT_MESSAGE or reader.at + length > len(reader.data):
        raise PduError(PduReason.BAD_SM_LENGTH, length=length)
    content = reader.data[reader.at : reader.at + length]
    reader.at += length
    tlvs = reader.tlvs()
    payload = tlvs.pop(TlvTag.MESSAGE_PAYLOAD, None)
    carried = Carried.SHORT_MESSAGE
    if payload is not None:
        if length:
            raise PduError(PduReason.TWO_BODIES)
        content, carried = payload, Carried.PAYLOAD
    receipt: Receipt | ReceiptReason | None = None
    if receipts and (is_receipt(esm_class) or TlvTag.RECEIPTED_MESSAGE_ID in tlvs):
        try:
            receipt = parse_receipt(tlvs, content)
        except ReceiptError as error:
            receipt = error.reason
        content = b""
    kept = tuple(Tlv(tag, value) for tag, value in tlvs.items()) if tlvs else ()
    fields = (source, destination, OpenBody(content), coding, esm_class, registered, carried, kept)
    return (*fields, service_type, protocol_id, priority, schedule, validity, replace, default), receipt


def _submit(reader: _Reader, _: CommandId, __: int) -> SubmitSm:
    return SubmitSm(*_message(reader, receipts=False)[0])


def _deliver(reader: _Reader, _: CommandId, __: int) -> DeliverSm:
    fields, receipt = _message(reader, receipts=True)
    return DeliverSm(*fields, receipt)


def _submit_resp(reader: _Reader, _: CommandId, status: int) -> SubmitSmResp:
    if status and reader.done:
        return SubmitSmResp()
    message_id = reader.string(MESSAGE_ID)
    reader.tlvs()  # some centres append some; only their bounds matter
    return SubmitSmResp(message_id)


def _deliver_resp(reader: _Reader, _: CommandId, __: int) -> DeliverSmResp:
    if not reader.done:
        reader.string(MESSAGE_ID)
        reader.tlvs()
    return DeliverSmResp()


def _query(reader: _Reader, _: CommandId, __: int) -> QuerySm:
    return QuerySm(reader.string(MESSAGE_ID), reader.address())


def _query_resp(reader: _Reader, _: CommandId, status: int) -> QuerySmResp:
    if status and reader.done:
        return QuerySmResp()
    message_id, final_date, state, error_code = (
        reader.string(MESSAGE_ID),
        reader.time(),
        reader.octet(),
        reader.octet(),
    )
    if not 1 <= state <= 8:
        raise PduError(PduReason.BAD_VALUE)
    return QuerySmResp(message_id, final_date, MessageState(state), error_code)


def _simple(_: _Reader, command: CommandId, __: int) -> Simple:
    return Simple(command)


_Parser = Callable[[_Reader, CommandId, int], Body]
_PARSERS: Final[dict[CommandId, _Parser]] = {
    CommandId.BIND_RECEIVER: _bind,
    CommandId.BIND_TRANSMITTER: _bind,
    CommandId.BIND_TRANSCEIVER: _bind,
    CommandId.BIND_RECEIVER_RESP: _bind_resp,
    CommandId.BIND_TRANSMITTER_RESP: _bind_resp,
    CommandId.BIND_TRANSCEIVER_RESP: _bind_resp,
    CommandId.SUBMIT_SM: _submit,
    CommandId.SUBMIT_SM_RESP: _submit_resp,
    CommandId.DELIVER_SM: _deliver,
    CommandId.DELIVER_SM_RESP: _deliver_resp,
    CommandId.QUERY_SM: _query,
    CommandId.QUERY_SM_RESP: _query_resp,
    CommandId.UNBIND: _simple,
    CommandId.UNBIND_RESP: _simple,
    CommandId.ENQUIRE_LINK: _simple,
    CommandId.ENQUIRE_LINK_RESP: _simple,
    CommandId.GENERIC_NACK: _simple,
}
