"""Why an element of a handshake is not read."""

from enum import unique
from typing import ClassVar

from letterlock.model.errors import Fault, OperationError, Reason


@unique
class ElementReason(Reason):
    """Why bytes are no element, or a value cannot be one."""

    TRUNCATED = "truncated"
    TRAILING_BYTES = "trailing_bytes"
    TOO_LARGE = "too_large"
    UNKNOWN_FORMAT = "unknown_format"
    UNKNOWN_KIND = "unknown_kind"
    UNKNOWN_CODE = "unknown_code"
    OUT_OF_ORDER = "out_of_order"
    """Where the layout demands rising order without doubles."""
    NAMED_TWICE = "named_twice"
    TOO_MANY = "too_many"
    NOT_A_NAME = "not_a_name"
    NUMBER_OUT_OF_RANGE = "number_out_of_range"
    NOT_A_HASH = "not_a_hash"
    SIGNATURE_MALFORMED = "signature_malformed"


class ElementError(OperationError[ElementReason]):
    """Not an element of a handshake; nothing may be concluded from it."""

    fault: ClassVar[Fault] = Fault.PEER
