"""The errors of this room. None carries content, an address or a password: facts are numbers and enums."""

from enum import unique
from typing import ClassVar, Final

from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.wire.sms.terms import CommandStatus


@unique
class TextReason(Reason):
    """Why text and octets could not be turned into each other."""

    UNENCODABLE = "unencodable_character"
    """A character is not in the alphabet (GSM 03.38), or is a lone surrogate (UCS-2)."""
    NOT_UTF8 = "not_utf8"
    """A body given as text is not UTF-8."""
    BAD_OCTETS = "bad_octets"
    """Received octets are not text in the alphabet that they claim."""
    TOO_MANY_PARTS = "too_many_parts"
    """The text needs more parts than the limit; it is never shortened."""
    BAD_REFERENCE = "bad_reference"
    """The reference number of a long message does not fit its field."""


class TextError(OperationError[TextReason]):
    """Encoding or decoding of message text failed."""

    fault: ClassVar[Fault] = Fault.PEER


@unique
class AddressReason(Reason):
    """Why an address is refused."""

    EMPTY = "empty"
    NOT_INTERNATIONAL = "not_international"
    """No ``+`` or ``00``: which country is meant is a guess, and a guess would give one number two spellings."""
    BAD_CHARACTER = "bad_character"
    BAD_LENGTH = "bad_length"
    TRUNK_ZERO = "trunk_zero"
    """A national trunk zero stands after the country code, as in ``+44 (0)20``."""
    UNKNOWN_COUNTRY = "unknown_country"
    """No country code begins like this."""
    BAD_TYPE = "bad_type"
    """The type of number does not allow such an address."""


class AddressError(OperationError[AddressReason]):
    """A phone number, short code or sender name is refused."""

    fault: ClassVar[Fault] = Fault.PEER


@unique
class PduReason(Reason):
    """Why octets are not an SMPP PDU (or a value cannot be one)."""

    BAD_LENGTH = "bad_length"
    """``command_length`` is under 16, over the cap, or not the number of octets."""
    UNKNOWN_COMMAND = "unknown_command"
    TRUNCATED = "truncated"
    """A mandatory field is missing or cut off."""
    STRING_TOO_LONG = "string_too_long"
    """No NUL within the most octets that this C-octet string may have."""
    BAD_STRING = "bad_string"
    """A C-octet string holds something other than printable ASCII; a NUL inside one included."""
    BAD_ADDRESS = "bad_address"
    BAD_TON_NPI = "bad_ton_npi"
    BAD_TIME = "bad_time"
    BAD_SM_LENGTH = "bad_sm_length"
    BAD_TLV = "bad_tlv"
    """A TLV overruns the PDU, has the wrong length for its tag, or is there twice."""
    TOO_MANY_TLVS = "too_many_tlvs"
    TWO_BODIES = "two_bodies"
    """Both ``short_message`` and ``message_payload``."""
    TRAILING_OCTETS = "trailing_octets"
    BAD_VALUE = "bad_value"
    """A number does not fit its field."""


_ANSWERS: Final[dict[PduReason, CommandStatus]] = {
    PduReason.BAD_LENGTH: CommandStatus.RINVCMDLEN,
    PduReason.UNKNOWN_COMMAND: CommandStatus.RINVCMDID,
    PduReason.TRUNCATED: CommandStatus.RINVCMDLEN,
    PduReason.STRING_TOO_LONG: CommandStatus.RINVPARLEN,
    PduReason.BAD_STRING: CommandStatus.RINVPARAM,
    PduReason.BAD_ADDRESS: CommandStatus.RINVDSTADR,
    PduReason.BAD_TON_NPI: CommandStatus.RINVDSTTON,
    PduReason.BAD_TIME: CommandStatus.RINVSCHED,
    PduReason.BAD_SM_LENGTH: CommandStatus.RINVMSGLEN,
    PduReason.BAD_TLV: CommandStatus.RINVOPTPARSTREAM,
    PduReason.TOO_MANY_TLVS: CommandStatus.RINVOPTPARSTREAM,
    PduReason.TWO_BODIES: CommandStatus.ROPTPARNOTALLWD,
    PduReason.TRAILING_OCTETS: CommandStatus.RINVCMDLEN,
    PduReason.BAD_VALUE: CommandStatus.RINVPARAM,
}


class PduError(OperationError[PduReason]):
    """Octets are not a valid PDU, or a value cannot be made into one."""

    fault: ClassVar[Fault] = Fault.PEER

    @property
    def answer(self) -> CommandStatus:
        """The ``command_status`` with which such a request is answered (SMPP 3.4, section 5.1.3)."""
        return _ANSWERS[self.reason]


@unique
class ReceiptReason(Reason):
    """Why a delivery receipt could not be read."""

    NO_ID = "no_id"
    BAD_ID = "bad_id"
    NO_STATE = "no_state"
    UNKNOWN_STATE = "unknown_state"


class ReceiptError(OperationError[ReceiptReason]):
    """A delivery receipt says too little to be used."""

    fault: ClassVar[Fault] = Fault.PEER


@unique
class ReassemblyReason(Reason):
    """Why a part of a long message was not taken."""

    BAD_PART = "bad_part"
    """Its number is outside 1..total, or the header is malformed."""
    INCONSISTENT = "inconsistent"
    """Another total or data coding than the parts before it."""
    FULL = "full"
    """The bounded store of unfinished messages has no room."""


class ReassemblyError(OperationError[ReassemblyReason]):
    """A part of a long message was refused; what was held stays as it was."""

    fault: ClassVar[Fault] = Fault.PEER


@unique
class SessionReason(Reason):
    """Why a session refused to do something."""

    ILLEGAL_TRANSITION = "illegal_transition"
    WINDOW_FULL = "window_full"
    NOT_A_REQUEST = "not_a_request"
    NOT_A_RESPONSE = "not_a_response"
    NOT_OURS_TO_SEND = "not_ours_to_send"
    """This side of a session does not send such a PDU."""


class SessionError(OperationError[SessionReason]):
    """The session machine refused; nothing changed."""

    fault: ClassVar[Fault] = Fault.LOCAL
