"""What a receipt can say, and writing it."""

import re
from dataclasses import dataclass, field
from enum import Enum, IntEnum, unique
from typing import ClassVar, Final

from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.wire.rfc3339 import MAX_MS, format_ms

NAMESPACE: Final = "urn:ietf:params:xml:ns:imdn"
_MESSAGE_ID: Final = re.compile(r"[!-%'-;=?-~]{1,128}")
"""Visible ASCII without ``&``, ``<`` and ``>``, so that building needs no escapes."""


@unique
class ImdnReason(Reason):
    """Why a receipt was refused."""

    TOO_LARGE = "too_large"
    TOO_COMPLEX = "too_complex"
    MALFORMED_XML = "malformed_xml"
    FORBIDDEN_XML = "forbidden_xml"
    """A document type, entity, processing instruction or another encoding."""
    WRONG_ROOT = "wrong_root"
    UNEXPECTED_ELEMENT = "unexpected_element"
    UNEXPECTED_TEXT = "unexpected_text"
    MISSING_ELEMENT = "missing_element"
    DUPLICATE_ELEMENT = "duplicate_element"
    BAD_MESSAGE_ID = "bad_message_id"
    BAD_DATETIME = "bad_datetime"
    STATUS_NOT_ALLOWED = "status_not_allowed"
    UNKNOWN_FAILURE_REASON = "unknown_failure_reason"
    FAILURE_REASON_NOT_ALLOWED = "failure_reason_not_allowed"
    """A reason belongs to a failed delivery only, and at most one."""


class ImdnError(OperationError[ImdnReason]):
    """A receipt is not acceptable."""

    fault: ClassVar[Fault] = Fault.PEER


@unique
class ReceiptKind(Enum):
    """What a receipt is about; the value is the element's name."""

    DELIVERY = "delivery-notification"
    PROCESSING = "processing-notification"
    DISPLAY = "display-notification"


@unique
class ReceiptStatus(Enum):
    """What happened; the value is the element's name."""

    DELIVERED = "delivered"
    FAILED = "failed"
    DISPLAYED = "displayed"
    PROCESSED = "processed"
    STORED = "stored"
    FORBIDDEN = "forbidden"
    ERROR = "error"


_S = ReceiptStatus
_ALLOWED: Final[dict[ReceiptKind, frozenset[ReceiptStatus]]] = {
    ReceiptKind.DELIVERY: frozenset({_S.DELIVERED, _S.FAILED, _S.FORBIDDEN, _S.ERROR}),
    ReceiptKind.PROCESSING: frozenset({_S.PROCESSED, _S.STORED, _S.FORBIDDEN, _S.ERROR}),
    ReceiptKind.DISPLAY: frozenset({_S.DISPLAYED, _S.FORBIDDEN, _S.ERROR}),
}


class _Numbered(IntEnum):
    @property
    def token(self) -> str:
        """The element's name."""
        return self.name.lower().replace("_", "-")


@unique
class ClientFailure(_Numbered):
    """Why a peer's device failed (RCC.16, sections 7.6.3.2 and 7.7.2.3); 6 to 13 are seen but not in its schema."""

    MESSAGE_FROM_NON_MEMBER = 1
    INVALID_CREDENTIAL = 2
    INVALID_COMMIT = 3
    FAILED_TO_DECRYPT = 4
    COMMIT_IN_PRIVATEMESSAGE = 5
    RESENT_MESSAGE_FOR_ME_FAILED_TO_DECRYPT = 6
    """Read, never written: a deployed client drops the whole receipt for it. Write FAILED_TO_DECRYPT."""
    COMMIT_PROCESSED_IN_ENHANCED_SELF_HEAL = 7
    COMMIT_PROCESSED_IN_SELF_HEAL = 8
    COMMIT_FAILED_THEN_ERA_ADVANCEMENT = 9
    CONTROL_MESSAGE_FAILED_DUE_TO_DOWNGRADE = 10
    PROPOSAL_PROCESSED_IN_ENHANCED_SELF_HEAL = 11
    PROPOSAL_PROCESSED_IN_SELF_HEAL = 12
    CONTROL_MESSAGE_FAILED = 13

    @property
    def outcome(self) -> bool:
        """Tells how something ended and asks for no remedy: a resend would be wrong."""
        return 7 <= self.value <= 12


@unique
class ServerFailure(_Numbered):
    """Why a server refused (RCC.16, section 7.7.2.1); 12 to 16 are seen but not in its schema."""

    INCORRECT_ERA = 1
    INCORRECT_EPOCH = 2
    INCORRECT_EPOCH_AUTHENTICATOR = 3
    EXPIRED_CREDENTIAL = 4
    MISMATCHED_RCS_GROUP_STATE = 5
    UNPARSABLE_COMMIT = 6
    MISMATCHED_CONFIRMATION_TAG = 7
    PENDING_PROPOSAL = 8
    TRANSIENT_ERROR = 9
    ENCRYPTION_NOT_AVAILABLE = 10
    INVALID_COMMIT = 11
    MLS_GROUP_NOT_FOUND = 12
    INVALID_INPUT = 13
    ERA_ADVANCEMENT_QUOTA_REACHED = 14
    MLS_GROUP_HAS_END_MLS = 15
    EPOCH_ADVANCEMENT_QUOTA_REACHED = 16


@dataclass(frozen=True, slots=True)
class Imdn:
    """One receipt. Making an impossible one raises :class:`ImdnError`.

    Attributes:
        message_id: the ``imdn.Message-ID`` of the message reported on.
        sent_at_ms: of the message reported on; milliseconds since 1970 UTC.
        failure: only for a failed delivery, and even there often absent.
    """

    message_id: str = field(repr=False)
    sent_at_ms: int
    kind: ReceiptKind
    status: ReceiptStatus
    failure: ClientFailure | ServerFailure | None = None

    def __post_init__(self) -> None:
        if not _MESSAGE_ID.fullmatch(self.message_id):
            raise ImdnError(ImdnReason.BAD_MESSAGE_ID)
        if not 0 <= self.sent_at_ms <= MAX_MS:
            raise ImdnError(ImdnReason.BAD_DATETIME)
        if self.status not in _ALLOWED[self.kind]:
            raise ImdnError(ImdnReason.STATUS_NOT_ALLOWED, kind=self.kind, status=self.status)
        if self.failure is not None and self.status is not ReceiptStatus.FAILED:
            raise ImdnError(ImdnReason.FAILURE_REASON_NOT_ALLOWED, status=self.status)


def build(receipt: Imdn) -> bytes:
    """The receipt as XML.

    Raises:
        ImdnError: a reason that is read but never written.
    """
    failure, inner = receipt.failure, ""
    if failure is ClientFailure.RESENT_MESSAGE_FOR_ME_FAILED_TO_DECRYPT:
        raise ImdnError(ImdnReason.FAILURE_REASON_NOT_ALLOWED, failure=failure)
    if failure is not None:
        arm = "mls-client-failure-reason" if isinstance(failure, ClientFailure) else "mls-server-failure-reason"
        inner = f"<{arm}><{failure.token}/></{arm}>"
    status, kind = receipt.status.value, receipt.kind.value
    told = f"<{status}>{inner}</{status}>" if inner else f"<{status}/>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<imdn xmlns="{NAMESPACE}"><message-id>{receipt.message_id}</message-id>'
        f"<datetime>{format_ms(receipt.sent_at_ms)}</datetime>"
        f"<{kind}><status>{told}</status></{kind}></imdn>"
    ).encode("ascii")
