"""Why a message/cpim is refused, or not built. Reasons and numbers only."""

from enum import unique
from typing import ClassVar

from letterlock.model.errors import Fault, OperationError, Reason


@unique
class CpimReason(Reason):
    """Why a message/cpim was refused, or not built."""

    TOO_LARGE = "too_large"
    NO_HEADER_END = "no_header_end"
    TOO_MANY_HEADERS = "too_many_headers"
    NOT_UTF8 = "not_utf8"
    CONTROL_CHARACTER = "control_character"
    BAD_LINE = "bad_line"
    BAD_NAMESPACE = "bad_namespace"
    UNDECLARED_NAMESPACE = "undeclared_namespace"
    DUPLICATE_HEADER = "duplicate_header"
    UNSUPPORTED_REQUIREMENT = "unsupported_requirement"
    MISSING_ADDRESS = "missing_address"
    BAD_ADDRESS = "bad_address"
    BAD_MESSAGE_ID = "bad_message_id"
    BAD_DATETIME = "bad_datetime"
    BAD_NOTIFICATION = "bad_notification"
    BAD_ERA = "bad_era"
    BAD_EPOCH_AUTHENTICATOR = "bad_epoch_authenticator"
    MISSING_MLS_HEADER = "missing_mls_header"
    """An MLS body needs both the era and the epoch authenticator (RCC.16, section 7.9)."""
    BAD_CONTENT_TYPE = "bad_content_type"
    BAD_CONTENT_HEADER = "bad_content_header"
    LENGTH_MISMATCH = "length_mismatch"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    FORBIDDEN_TYPE = "forbidden_type"
    """A type that never travels on a network."""
    BODY_NOT_MLS = "body_not_mls"
    WRONG_MLS_KIND = "wrong_mls_kind"
    """``message/mls`` is for application messages; or type and body contradict each other on building."""
    BODY_NOT_IMDN = "body_not_imdn"


class CpimError(OperationError[CpimReason]):
    """A message/cpim is not acceptable."""

    fault: ClassVar[Fault] = Fault.PEER
