"""How the centre behaves: receipts, delays and the faults that it is told to have."""

from dataclasses import dataclass, field
from enum import Enum, unique

from letterlock.wire.sms.receipts import IdBase, IdForms
from letterlock.wire.sms.terms import CommandStatus, MessageState


@unique
class ReceiptForm(Enum):
    """Where a receipt has its id and state."""

    TLV = "tlv"
    TEXT = "text"
    BOTH = "both"


@unique
class ReceiptOrder(Enum):
    """Which comes first: the answer to the submit, or the receipt."""

    AFTER_RESPONSE = "after_response"
    BEFORE_RESPONSE = "before_response"


@unique
class FaultKind(Enum):
    """What goes wrong with a submit."""

    THROTTLE = "throttle"
    QUEUE_FULL = "queue_full"
    REJECT = "reject"
    """Answered with the fault's own status."""
    STALL = "stall"
    """Taken, and never answered."""
    DISCONNECT = "disconnect"
    """Not taken; the connection breaks instead of an answer."""
    DISCONNECT_AFTER = "disconnect_after"
    """Taken, and the connection breaks before the answer."""


@dataclass(frozen=True, slots=True)
class Fault:
    """After ``after`` submits that go well, the next ``count`` go wrong in this way."""

    kind: FaultKind
    count: int = 1
    status: int = int(CommandStatus.RSUBMITFAIL)
    after: int = 0


@dataclass(slots=True)
class Behaviour:
    """Settings that may change while the centre runs. Times are milliseconds.

    Attributes:
        receipt_form: TLVs, text, or both.
        receipt_delay_ms: from the submit to its receipt.
        receipt_order: whether the receipt may overtake the answer.
        receipt_copies: 0 loses receipts, 2 sends each twice.
        receipt_state: what receipts say.
        receipt_snippet: how many characters of the message the text form repeats, as real centres do.
        id_forms: hex or decimal ids, in each place.
        response_delay_ms: from a submit to its answer.
        retry_ms: when to send again what was refused for now.
        silent: answers nothing at all, enquiries included.
    """

    receipt_form: ReceiptForm = ReceiptForm.BOTH
    receipt_delay_ms: int = 0
    receipt_order: ReceiptOrder = ReceiptOrder.AFTER_RESPONSE
    receipt_copies: int = 1
    receipt_state: MessageState = MessageState.DELIVERED
    receipt_snippet: int = 20
    id_forms: IdForms = field(default_factory=IdForms)
    response_delay_ms: int = 0
    retry_ms: int = 100
    silent: bool = False


def written_id(number: int, base: IdBase) -> str:
    """A message id as a centre writes it."""
    return {IdBase.AS_IS: f"{number:010d}", IdBase.HEX: f"{number:X}", IdBase.DECIMAL: str(number)}[base]
