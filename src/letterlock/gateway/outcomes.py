"""What becomes of a submission: one value for each refusal, made once."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from letterlock.gateway.rcs import FAILURES
from letterlock.storage.commands import Shown
from letterlock.storage.errors import CommitReason
from letterlock.wire.imdn import ServerFailure
from letterlock.wire.stream import ResultStatus


class Outcome(Struct, frozen=True, gc=False):
    """What became of one submission.

    Attributes:
        status: for the stream.
        message_id: 16 bytes; zeros where refused.
        record_hash: leaf hash of its ledger record; zeros where refused.
        shown: what every surface says of it; None where refused.
        fanout: to how many mailboxes it went.
        failure: what RCS clients call the refusal (RCC.16).
    """

    status: ResultStatus
    message_id: bytes
    record_hash: bytes
    shown: Shown | None
    fanout: int
    failure: ServerFailure | None = None


class NotTaken(Exception):  # noqa: N818 - carries an outcome, and is no failure
    """A submission that the writer is not asked about. Costs those that are taken nothing."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


NOT_ACCEPTED: Final = {status: Outcome(status, bytes(16), bytes(32), None, 0) for status in ResultStatus}
"""Submissions that were not accepted."""
RCS_NOT_ACCEPTED: Final = {
    status: Outcome(status, bytes(16), bytes(32), None, 0, FAILURES.get(status)) for status in ResultStatus
}
"""Those of RCS clients."""

_STATUS: Final = {
    CommitReason.CONFLICT: ResultStatus.CONFLICT,
    CommitReason.NOT_FOUND: ResultStatus.UNKNOWN_TARGET,
    CommitReason.NOT_ALLOWED: ResultStatus.NOT_ALLOWED,
    CommitReason.WRONG_EPOCH: ResultStatus.WRONG_EPOCH,
    CommitReason.EPOCH_TOO_OLD: ResultStatus.EPOCH_TOO_OLD,
    CommitReason.GROUP_QUARANTINED: ResultStatus.GROUP_QUARANTINED,
    CommitReason.MAILBOX_QUOTA: ResultStatus.MAILBOX_QUOTA,
    CommitReason.WRONG_ERA: ResultStatus.WRONG_ERA,
    CommitReason.AUTHENTICATORS_FORKED: ResultStatus.WRONG_AUTHENTICATOR,
}


def of_writer(reason: CommitReason, outcomes: Mapping[ResultStatus, Outcome]) -> Outcome:
    """The outcome of what the writer refused, out of one of the tables above."""
    return outcomes[_STATUS.get(reason, ResultStatus.NOT_ALLOWED)]
