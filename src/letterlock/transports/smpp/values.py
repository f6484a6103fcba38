"""What the client hands over."""

from dataclasses import dataclass
from enum import Enum, unique

from letterlock.model.bodies import OpenBody
from letterlock.wire.sms.reassembly import Part
from letterlock.wire.sms.receipts import Receipt


@unique
class LinkState(Enum):
    """What the client is doing."""

    DOWN = "down"
    """Not connected; the next attempt is waited for."""
    CONNECTING = "connecting"
    BOUND = "bound"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """The centre took every part that was submitted.

    Attributes:
        remote_ids: the centre's ids, one for each part, normalised as receipts' ids are.
        parts: how many parts the whole message has.
    """

    remote_ids: tuple[str, ...]
    parts: int


@dataclass(frozen=True, slots=True)
class ReceiptNotice:
    """A delivery receipt. It may come before ``submit`` has returned: match idempotently, and keep the unmatched.

    Attributes:
        remote_id: normalised, to be compared with :attr:`SubmitResult.remote_ids`.
        receipt: state, error code and the centre's time; nothing of the message.
    """

    remote_id: str
    receipt: Receipt


@dataclass(frozen=True, slots=True, eq=False)
class Inbound:
    """A message from a phone, or a part of one.

    Attributes:
        part: what this PDU brought. Its octets belong to the client: read or seal them, do not destroy them.
        whole: the text of the whole message, in UTF-8, when all parts are there; it belongs to the receiver.
    """

    part: Part
    whole: OpenBody | None
