"""The numbers of SMPP 3.4 by their names (sections 5.1.2, 5.1.3, 5.2, 5.3)."""

from enum import Enum, IntEnum, unique
from typing import Final

RESPONSE_BIT: Final = 0x8000_0000
HEADER_OCTETS: Final = 16
MAX_PDU_OCTETS: Final = 65_536
"""A ``message_payload`` may have 65,535 octets on paper; no text of ours comes near, and nobody makes us hold more."""
MAX_TLVS: Final = 64
"""SMPP 3.4 defines 44 tags; a few vendor tags fit beside them."""
MAX_SEQUENCE: Final = 0x7FFF_FFFF
MAX_SHORT_MESSAGE: Final = 254
INTERFACE_VERSION: Final = 0x34


@unique
class CommandId(IntEnum):
    """``command_id`` of the PDUs that we speak."""

    GENERIC_NACK = 0x8000_0000
    BIND_RECEIVER = 0x01
    BIND_RECEIVER_RESP = 0x8000_0001
    BIND_TRANSMITTER = 0x02
    BIND_TRANSMITTER_RESP = 0x8000_0002
    QUERY_SM = 0x03
    QUERY_SM_RESP = 0x8000_0003
    SUBMIT_SM = 0x04
    SUBMIT_SM_RESP = 0x8000_0004
    DELIVER_SM = 0x05
    DELIVER_SM_RESP = 0x8000_0005
    UNBIND = 0x06
    UNBIND_RESP = 0x8000_0006
    BIND_TRANSCEIVER = 0x09
    BIND_TRANSCEIVER_RESP = 0x8000_0009
    ENQUIRE_LINK = 0x15
    ENQUIRE_LINK_RESP = 0x8000_0015


@unique
class CommandStatus(IntEnum):
    """``command_status``. A peer may send others: a PDU's status is a plain int."""

    ROK = 0x00
    RINVMSGLEN = 0x01
    RINVCMDLEN = 0x02
    RINVCMDID = 0x03
    RINVBNDSTS = 0x04
    RALYBND = 0x05
    RINVPRTFLG = 0x06
    RINVREGDLVFLG = 0x07
    RSYSERR = 0x08
    RINVSRCADR = 0x0A
    RINVDSTADR = 0x0B
    RINVMSGID = 0x0C
    RBINDFAIL = 0x0D
    RINVPASWD = 0x0E
    RINVSYSID = 0x0F
    RCANCELFAIL = 0x11
    RREPLACEFAIL = 0x13
    RMSGQFUL = 0x14
    RINVSERTYP = 0x15
    RINVESMCLASS = 0x43
    RSUBMITFAIL = 0x45
    RINVSRCTON = 0x48
    RINVSRCNPI = 0x49
    RINVDSTTON = 0x50
    RINVDSTNPI = 0x51
    RINVSYSTYP = 0x53
    RINVREPFLAG = 0x54
    RTHROTTLED = 0x58
    RINVSCHED = 0x61
    RINVEXPIRY = 0x62
    RX_T_APPN = 0x64
    RX_P_APPN = 0x65
    RX_R_APPN = 0x66
    RQUERYFAIL = 0x67
    RINVOPTPARSTREAM = 0xC0
    ROPTPARNOTALLWD = 0xC1
    RINVPARLEN = 0xC2
    RMISSINGOPTPARAM = 0xC3
    RINVPARAM = 0xC4
    RDELIVERYFAILURE = 0xFE
    RUNKNOWNERR = 0xFF


@unique
class Ton(IntEnum):
    """Type of number (section 5.2.5)."""

    UNKNOWN = 0
    INTERNATIONAL = 1
    NATIONAL = 2
    NETWORK_SPECIFIC = 3
    SUBSCRIBER = 4
    ALPHANUMERIC = 5
    ABBREVIATED = 6


@unique
class Npi(IntEnum):
    """Numbering plan (section 5.2.6)."""

    UNKNOWN = 0
    E164 = 1
    DATA = 3
    TELEX = 4
    LAND_MOBILE = 6
    NATIONAL = 8
    PRIVATE = 9
    ERMES = 10
    INTERNET = 14
    WAP = 18


@unique
class TlvTag(IntEnum):
    """The optional parameters that we read or write; others pass through."""

    RECEIPTED_MESSAGE_ID = 0x001E
    USER_MESSAGE_REFERENCE = 0x0204
    SAR_MSG_REF_NUM = 0x020C
    SAR_TOTAL_SEGMENTS = 0x020E
    SAR_SEGMENT_SEQNUM = 0x020F
    SC_INTERFACE_VERSION = 0x0210
    NETWORK_ERROR_CODE = 0x0423
    MESSAGE_PAYLOAD = 0x0424
    MESSAGE_STATE = 0x0427


TLV_LENGTHS: Final[dict[int, tuple[int, int]]] = {
    TlvTag.RECEIPTED_MESSAGE_ID: (1, 65),
    TlvTag.USER_MESSAGE_REFERENCE: (2, 2),
    TlvTag.SAR_MSG_REF_NUM: (2, 2),
    TlvTag.SAR_TOTAL_SEGMENTS: (1, 1),
    TlvTag.SAR_SEGMENT_SEQNUM: (1, 1),
    TlvTag.SC_INTERFACE_VERSION: (1, 1),
    TlvTag.NETWORK_ERROR_CODE: (3, 3),
    TlvTag.MESSAGE_STATE: (1, 1),
}
"""Least and most octets of the tags that we read."""


@unique
class MessageState(IntEnum):
    """``message_state`` (section 5.2.28)."""

    ENROUTE = 1
    DELIVERED = 2
    EXPIRED = 3
    DELETED = 4
    UNDELIVERABLE = 5
    ACCEPTED = 6
    UNKNOWN = 7
    REJECTED = 8

    @property
    def is_final(self) -> bool:
        """Whether no other state follows."""
        return self not in {MessageState.ENROUTE, MessageState.ACCEPTED, MessageState.UNKNOWN}


@unique
class DataCoding(IntEnum):
    """The data codings that we write (section 5.2.19)."""

    SMSC_DEFAULT = 0x00
    """Taken as GSM 03.38, one septet in each octet."""
    LATIN_1 = 0x03
    UCS2 = 0x08


ESM_RECEIPT_MASK: Final = 0x3C
ESM_SMSC_RECEIPT: Final = 0x04
ESM_INTERMEDIATE: Final = 0x20
ESM_UDHI: Final = 0x40
REGISTERED_RECEIPT: Final = 0x01


@unique
class Carried(Enum):
    """Where a PDU has the octets of the message."""

    SHORT_MESSAGE = "short_message"
    PAYLOAD = "message_payload"
