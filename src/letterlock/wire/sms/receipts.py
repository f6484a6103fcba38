"""Delivery receipts: TLVs first, then the text form (SMPP 3.4, sections 5.3.2.12, 5.3.2.35 and Appendix B).

The text form may end in a piece of the message (``text:``). It is cut off before anything is read, so it can
neither be kept nor pass for a field.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

from letterlock.wire.sms.errors import ReceiptError, ReceiptReason
from letterlock.wire.sms.terms import MessageState, TlvTag

MAX_RECEIPT_TEXT: Final = 1_024
"""Centres write about 120 octets; what follows this many is not looked at."""
MAX_MESSAGE_ID: Final = 64
"""``message_id`` without its NUL (section 4.4.2)."""
MAX_ERROR_CODE: Final = 8

_STATES: Final[dict[str, MessageState]] = {
    "ENROUTE": MessageState.ENROUTE,
    "DELIVRD": MessageState.DELIVERED,
    "EXPIRED": MessageState.EXPIRED,
    "DELETED": MessageState.DELETED,
    "UNDELIV": MessageState.UNDELIVERABLE,
    "ACCEPTD": MessageState.ACCEPTED,
    "UNKNOWN": MessageState.UNKNOWN,
    "REJECTD": MessageState.REJECTED,
}
RECEIPT_WORDS: Final[dict[MessageState, str]] = {state: word for word, state in _STATES.items()}
"""What the text form calls each state."""

_FIELDS: Final = ("id:", "sub:", "dlvrd:", "submit date:", "done date:", "stat:", "err:")


@unique
class IdBase(Enum):
    """How a centre writes a message id in one place."""

    AS_IS = "as_is"
    HEX = "hex"
    DECIMAL = "decimal"


@dataclass(frozen=True, slots=True)
class IdForms:
    """How a centre writes its message ids: many answer in hex and report in decimal.

    With both ``AS_IS`` ids are compared as they are; else they are compared as numbers.
    """

    response: IdBase = IdBase.AS_IS
    receipt_tlv: IdBase = IdBase.AS_IS
    receipt_text: IdBase = IdBase.AS_IS


@unique
class IdSource(Enum):
    """Where a receipt's id was found."""

    TLV = "tlv"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receipt says, without any of the message.

    Attributes:
        message_id: as it stood there; compare after :func:`normalise_id`.
        id_source: which of the forms of :class:`IdForms` it has.
        state: the state reported.
        done: ``done date`` as it stood there, 10 or 12 digits in the centre's time; or None.
        error: the centre's error code, letters and digits; or None.
    """

    message_id: str
    id_source: IdSource
    state: MessageState
    done: str | None = None
    error: str | None = None

    def normalised_id(self, forms: IdForms) -> str:
        """The id in the spelling in which a submit's id is kept."""
        base = forms.receipt_tlv if self.id_source is IdSource.TLV else forms.receipt_text
        return normalise_id(self.message_id, base)


def normalise_id(message_id: str, base: IdBase) -> str:
    """One spelling for an id: numbers as decimal without leading zeros; what is no number in that base stays. Total."""
    alphabet = {IdBase.AS_IS: "", IdBase.HEX: "0123456789abcdefABCDEF", IdBase.DECIMAL: "0123456789"}[base]
    if not alphabet or not message_id or len(message_id) > MAX_MESSAGE_ID or message_id.strip(alphabet):
        return message_id
    return str(int(message_id, 16 if base is IdBase.HEX else 10))


def parse_receipt(tlvs: Mapping[int, bytes], text: bytes) -> Receipt:
    """Reads a receipt from the TLVs and the text of a ``deliver_sm``.

    Raises:
        ReceiptError: no usable id or state in either form.
    """
    fields = _text_fields(text)
    raw_id = tlvs.get(TlvTag.RECEIPTED_MESSAGE_ID)
    if raw_id is not None:
        source, message_id = IdSource.TLV, raw_id.removesuffix(b"\0").decode("latin-1")
    else:
        source, message_id = IdSource.TEXT, fields.get("id:", "")
    if not message_id:
        raise ReceiptError(ReceiptReason.NO_ID)
    if len(message_id) > MAX_MESSAGE_ID or not (message_id.isascii() and message_id.isprintable()):
        raise ReceiptError(ReceiptReason.BAD_ID)
    done = fields.get("done date:")
    if done is not None and (len(done) not in {10, 12} or done.strip("0123456789")):
        done = None
    error = fields.get("err:")
    if error is not None and not (error.isascii() and error.isalnum() and len(error) <= MAX_ERROR_CODE):
        error = None
    network = tlvs.get(TlvTag.NETWORK_ERROR_CODE)
    if error is None and network is not None and len(network) == 3:
        error = f"{int.from_bytes(network[1:], 'big'):03d}"
    return Receipt(message_id, source, _state(tlvs.get(TlvTag.MESSAGE_STATE), fields.get("stat:")), done, error)


def _state(tlv: bytes | None, word: str | None) -> MessageState:
    if tlv is not None and len(tlv) == 1:
        try:
            return MessageState(tlv[0])
        except ValueError:
            pass
        raise ReceiptError(ReceiptReason.UNKNOWN_STATE)
    if not word:
        raise ReceiptError(ReceiptReason.NO_STATE)
    state = _STATES.get(word.upper()[:7])
    if state is None:
        raise ReceiptError(ReceiptReason.UNKNOWN_STATE)
    return state


def _text_fields(text: bytes) -> dict[str, str]:
    """The fields before ``text:``; each value ends at a space."""
    head = text[:MAX_RECEIPT_TEXT].decode("latin-1")
    lowered = head.lower()
    if len(lowered) != len(head):  # cannot happen in Latin-1; offsets must agree
        return {}
    end = lowered.find("text:")
    if end >= 0:
        head, lowered = head[:end], lowered[:end]
    fields: dict[str, str] = {}
    for name in _FIELDS:
        at = 0 if lowered.startswith(name) else lowered.find(f" {name}") + 1
        if at == 0 and not lowered.startswith(name):
            continue
        value = head[at + len(name) :].lstrip(" ").split(" ", 1)[0]
        fields[name] = value.strip()
    return fields
