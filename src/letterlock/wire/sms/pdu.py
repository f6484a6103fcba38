"""The PDUs of SMPP 3.4 as values (section 4). Message octets travel as :class:`OpenBody`; nothing shows itself."""

from dataclasses import dataclass, field
from typing import Final

from letterlock.model.bodies import OpenBody
from letterlock.wire.sms.address import NO_ADDRESS, SmppAddress
from letterlock.wire.sms.errors import ReceiptReason
from letterlock.wire.sms.receipts import Receipt
from letterlock.wire.sms.terms import (
    ESM_INTERMEDIATE,
    ESM_RECEIPT_MASK,
    ESM_SMSC_RECEIPT,
    INTERFACE_VERSION,
    RESPONSE_BIT,
    Carried,
    CommandId,
    MessageState,
)


@dataclass(frozen=True, slots=True)
class Tlv:
    """An optional parameter. Its value is not shown: vendors put numbers and text there."""

    tag: int
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bind:
    """``bind_receiver``, ``bind_transmitter`` or ``bind_transceiver`` (section 4.1)."""

    command: CommandId
    system_id: str
    password: str = field(repr=False)
    system_type: str = ""
    interface_version: int = INTERFACE_VERSION
    addr_ton: int = 0
    addr_npi: int = 0
    address_range: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class BindResp:
    """The answer to a bind; ``system_id`` is the centre's name."""

    command: CommandId
    system_id: str = ""
    interface_version: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SubmitSm:
    """``submit_sm`` (section 4.4.1).

    ``octets`` is ``short_message`` or the value of ``message_payload``, as ``carried`` says, user data header
    included. TLVs do not repeat it.
    """

    source: SmppAddress
    destination: SmppAddress
    octets: OpenBody
    data_coding: int = 0
    esm_class: int = 0
    registered_delivery: int = 0
    carried: Carried = Carried.SHORT_MESSAGE
    tlvs: tuple[Tlv, ...] = ()
    service_type: str = ""
    protocol_id: int = 0
    priority: int = 0
    schedule: str = ""
    validity: str = ""
    replace_if_present: int = 0
    default_message: int = 0

    command = CommandId.SUBMIT_SM


@dataclass(frozen=True, slots=True, eq=False)
class DeliverSm:
    """``deliver_sm`` (section 4.6.1); fields as in :class:`SubmitSm`.

    A receipt is parsed while it is decoded, and its text, which may repeat a piece of the message, is dropped
    there: ``octets`` is then empty and ``receipt`` is the receipt, or why it could not be read.
    """

    source: SmppAddress
    destination: SmppAddress
    octets: OpenBody
    data_coding: int = 0
    esm_class: int = 0
    registered_delivery: int = 0
    carried: Carried = Carried.SHORT_MESSAGE
    tlvs: tuple[Tlv, ...] = ()
    service_type: str = ""
    protocol_id: int = 0
    priority: int = 0
    schedule: str = ""
    validity: str = ""
    replace_if_present: int = 0
    default_message: int = 0
    receipt: Receipt | ReceiptReason | None = None

    command = CommandId.DELIVER_SM


@dataclass(frozen=True, slots=True)
class SubmitSmResp:
    """``submit_sm_resp``: the centre's id of the message; empty when the status is an error."""

    message_id: str = ""

    command = CommandId.SUBMIT_SM_RESP


@dataclass(frozen=True, slots=True)
class DeliverSmResp:
    """``deliver_sm_resp``: its ``message_id`` is unused and empty."""

    command = CommandId.DELIVER_SM_RESP


@dataclass(frozen=True, slots=True)
class QuerySm:
    """``query_sm`` (section 4.8.1)."""

    message_id: str
    source: SmppAddress = NO_ADDRESS

    command = CommandId.QUERY_SM


@dataclass(frozen=True, slots=True)
class QuerySmResp:
    """``query_sm_resp`` (section 4.8.2)."""

    message_id: str = ""
    final_date: str = ""
    state: MessageState = MessageState.UNKNOWN
    error_code: int = 0

    command = CommandId.QUERY_SM_RESP


@dataclass(frozen=True, slots=True)
class Simple:
    """A PDU that is only a header: enquire_link, unbind, their answers, generic_nack."""

    command: CommandId


ENQUIRE_LINK: Final = Simple(CommandId.ENQUIRE_LINK)
ENQUIRE_LINK_RESP: Final = Simple(CommandId.ENQUIRE_LINK_RESP)
UNBIND: Final = Simple(CommandId.UNBIND)
UNBIND_RESP: Final = Simple(CommandId.UNBIND_RESP)
GENERIC_NACK: Final = Simple(CommandId.GENERIC_NACK)

Body = Bind | BindResp | SubmitSm | SubmitSmResp | DeliverSm | DeliverSmResp | QuerySm | QuerySmResp | Simple


@dataclass(frozen=True, slots=True, eq=False)
class Pdu:
    """A PDU: what it says, its sequence number and its status (0 in requests)."""

    body: Body
    sequence: int
    status: int = 0

    @property
    def command(self) -> CommandId:
        """Its ``command_id``."""
        return self.body.command

    @property
    def is_response(self) -> bool:
        """Whether it answers something."""
        return bool(self.body.command & RESPONSE_BIT)


def is_receipt(esm_class: int) -> bool:
    """Whether a ``deliver_sm`` with this ``esm_class`` is a delivery receipt or an intermediate notification."""
    return (esm_class & ESM_RECEIPT_MASK) in {ESM_SMSC_RECEIPT, ESM_INTERMEDIATE}


def error_response(command: CommandId) -> Body:
    """The answer, without content, to a request that is refused; a ``generic_nack`` where there is none of its own."""
    match command:
        case CommandId.SUBMIT_SM:
            return SubmitSmResp()
        case CommandId.DELIVER_SM:
            return DeliverSmResp()
        case CommandId.QUERY_SM:
            return QuerySmResp()
        case CommandId.BIND_RECEIVER | CommandId.BIND_TRANSMITTER | CommandId.BIND_TRANSCEIVER:
            return BindResp(CommandId(command | RESPONSE_BIT))
        case CommandId.UNBIND | CommandId.ENQUIRE_LINK:
            return Simple(CommandId(command | RESPONSE_BIT))
        case _:
            return GENERIC_NACK
