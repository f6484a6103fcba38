"""Why a submit failed, and what is then known about the message."""

from enum import Enum, unique
from typing import ClassVar

from letterlock.model.errors import Fault, OperationError, Reason


@unique
class Outcome(Enum):
    """What a failed submit means for the part that it was about."""

    NOT_SENT = "not_sent"
    """It never left: sending it again cannot make it arrive twice."""
    REFUSED = "refused"
    """The centre said no: it does not have it."""
    UNKNOWN = "unknown"
    """It left and no answer came: sending it again may make it arrive twice."""


@unique
class SubmitReason(Reason):
    """Why a message was not accepted by the message centre."""

    LINK_DOWN = "link_down"
    CLOSED = "closed"
    OVERLOADED = "overloaded"
    """More submits wait for the window than the limit."""
    TOO_LONG = "too_long"
    UNENCODABLE = "unencodable"
    INVALID_SENDER = "invalid_sender"
    INVALID_PART = "invalid_part"
    """``resume_from`` is not the number of a part."""
    THROTTLED = "throttled"
    QUEUE_FULL = "queue_full"
    REJECTED_TEMPORARY = "rejected_temporary"
    REJECTED_PERMANENT = "rejected_permanent"
    TIMEOUT = "timeout"
    LINK_LOST = "link_lost"
    """The connection broke between the request and its answer."""

    @property
    def outcome(self) -> Outcome:
        """What is known about the part that failed; parts before it were accepted."""
        if self in {SubmitReason.TIMEOUT, SubmitReason.LINK_LOST}:
            return Outcome.UNKNOWN
        if self in {
            SubmitReason.THROTTLED,
            SubmitReason.QUEUE_FULL,
            SubmitReason.REJECTED_TEMPORARY,
            SubmitReason.REJECTED_PERMANENT,
        }:
            return Outcome.REFUSED
        return Outcome.NOT_SENT

    @property
    def is_worth_retrying(self) -> bool:
        """Whether the same message may be accepted later."""
        return self not in {
            SubmitReason.CLOSED,
            SubmitReason.TOO_LONG,
            SubmitReason.UNENCODABLE,
            SubmitReason.INVALID_SENDER,
            SubmitReason.INVALID_PART,
            SubmitReason.REJECTED_PERMANENT,
        }


class SubmitError(OperationError[SubmitReason]):
    """A message, or the rest of it, was not accepted.

    Attributes:
        accepted: normalised ids of the parts that were accepted before it failed, in order. To go on behind them,
            submit again with ``resume_from=len(accepted)`` added to the former ``resume_from``.
    """

    fault: ClassVar[Fault] = Fault.PEER

    def __init__(self, reason: SubmitReason, accepted: tuple[str, ...] = (), **facts: int) -> None:
        super().__init__(reason, accepted=len(accepted), **facts)
        self.accepted = accepted


@unique
class LinkFault(Enum):
    """Why there is no link, or why the last one ended."""

    UNREACHABLE = "unreachable"
    TLS_REFUSED = "tls_refused"
    """The centre's certificate does not satisfy the TLS context, or it speaks no TLS."""
    BIND_REFUSED = "bind_refused"
    """Wrong system id or password, or the centre does not want us now."""
    BIND_TIMEOUT = "bind_timeout"
    PEER_SILENT = "peer_silent"
    PROTOCOL_ERROR = "protocol_error"
    DISCONNECTED = "disconnected"
    UNBOUND_BY_PEER = "unbound_by_peer"
