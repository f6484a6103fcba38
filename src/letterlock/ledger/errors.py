"""What can go wrong with our own log."""

from enum import unique
from typing import ClassVar

from letterlock.model.errors import Fault, OperationError, Reason


@unique
class SigningReason(Reason):
    """Why a head is not signed."""

    STORE_BEHIND_SIGNED_HEAD = "store_behind_signed_head"
    """The store is older than what was already signed: a restored backup, or a rollback."""
    STORE_CONTRADICTS_SIGNED_HEAD = "store_contradicts_signed_head"
    KEPT_HEAD_NOT_OURS = "kept_head_not_ours"
    SIGNER_IS_NOT_A_LOG_KEY = "signer_is_not_a_log_key"
    SIGNER_GAVE_BAD_SIGNATURE = "signer_gave_bad_signature"
    NOT_STARTED = "not_started"


class SigningError(OperationError[SigningReason]):
    """The log refuses to sign. Signing on would be a fork that anybody can prove."""

    fault: ClassVar[Fault] = Fault.LOCAL


@unique
class LedgerReason(Reason):
    """Why the log could not be read or written out."""

    NO_SUCH_ENTRY = "no_such_entry"
    NOTHING_SIGNED = "nothing_signed"
    NOT_YET_SIGNED = "not_yet_signed"
    ROWS_MISSING = "rows_missing"
    HEAD_DOES_NOT_FIT_ROWS = "head_does_not_fit_rows"
    OTHER_BYTES_THERE = "other_bytes_there"
    EXPORT_NEWER = "export_newer"


class LedgerError(OperationError[LedgerReason]):
    """The log's rows or files are not as they must be, or what is asked for does not exist."""

    fault: ClassVar[Fault] = Fault.LOCAL
