"""What can go wrong in the store, and which of it is the caller's business."""

from typing import ClassVar

from letterlock.model.errors import Fault, OperationError, Reason


class StorageReason(Reason):
    """Why the store could not do it."""

    DISK_FULL = "disk_full"
    IO_FAILED = "disk_failed"
    LOCKED = "store_used_by_another_process"
    NEWER_SCHEMA = "store_written_by_a_newer_version"
    CORRUPT = "store_damaged"
    READ_ONLY = "store_not_writable"
    OVERLOADED = "writer_queue_full"
    CLOSED = "store_closed"
    FAILED = "transaction_failed"


class StorageError(OperationError[StorageReason]):
    """The store failed; nothing of the command was written."""

    fault: ClassVar[Fault] = Fault.LOCAL


class CommitReason(Reason):
    """Why a command was not applied: its own outcome, the rest of the group commit stands."""

    STALE_DECISION = "stale_decision"
    """A version that the decision relied on has changed: assess again."""
    CONFLICT = "key_used_for_another_request"
    NOT_FOUND = "not_found"
    NOT_ALLOWED = "not_allowed"
    WRONG_EPOCH = "wrong_epoch"
    EPOCH_TOO_OLD = "epoch_too_old"
    ALREADY_EXISTS = "already_exists"
    EXHAUSTED = "key_material_exhausted"
    EXPIRED = "expired"
    ALREADY_ANSWERED = "already_answered"
    GROUP_QUARANTINED = "group_quarantined"
    MAILBOX_QUOTA = "mailbox_quota"
    WRONG_ERA = "wrong_era"
    AUTHENTICATORS_FORKED = "authenticators_forked"


class CommitRefused(OperationError[CommitReason]):
    """The writer looked at the command and did not apply it."""

    fault: ClassVar[Fault] = Fault.POLICY
