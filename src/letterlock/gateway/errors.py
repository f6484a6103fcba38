"""Why the gateway did not take a message."""

from typing import ClassVar

from letterlock.model.errors import Fault, OperationError, Reason


class AcceptReason(Reason):
    """The stable codes of the API for messages that are not accepted."""

    UNKNOWN_TARGET = "unknown_target"
    NOT_ALLOWED = "not_a_member"
    WRONG_GROUP = "wrong_group"
    WRONG_KIND = "bad_body"
    WRONG_EPOCH = "epoch_ahead"
    EPOCH_TOO_OLD = "epoch_too_old"
    CONFLICT = "client_message_conflict"
    TOO_LARGE = "too_large"
    REFUSED = "policy_refused"
    STALE = "stale_decision"


class AcceptError(OperationError[AcceptReason]):
    """A message was not accepted; nothing of it was kept."""

    fault: ClassVar[Fault] = Fault.PEER
