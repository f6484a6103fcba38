"""What may be done about a reported failure (RCC.16, section 7.7): total tables; none says "in clear"."""

from enum import Enum, unique
from typing import Final

from letterlock.wire.imdn.receipts import ClientFailure, ServerFailure


@unique
class Remedy(Enum):
    """What may help."""

    NOTHING = "nothing"
    """An outcome that was told; everything that can be done was done. Never a resend."""
    RESEND = "resend"
    """The same words as a new message, linked to the old one."""
    RETRY_SAME_BYTES = "retry_same_bytes"
    RESYNC = "resync"
    """Catch up with the group's state, then send again."""
    WAIT = "wait"
    """A commit is under way."""
    RENEW_CREDENTIAL = "renew_credential"
    REPAIR_GROUP = "repair_group"
    """Remove and add again: the group's state differs between members."""
    NEW_ERA = "new_era"
    HOLD = "hold"
    """Wait until encryption is there again."""
    STOP = "stop"
    """It will never be taken like this."""


_C, _S, _R = ClientFailure, ServerFailure, Remedy
CLIENT: Final[dict[ClientFailure, Remedy]] = {
    _C.MESSAGE_FROM_NON_MEMBER: _R.RESYNC,
    _C.INVALID_CREDENTIAL: _R.RENEW_CREDENTIAL,
    _C.INVALID_COMMIT: _R.REPAIR_GROUP,
    _C.FAILED_TO_DECRYPT: _R.RESEND,
    _C.COMMIT_IN_PRIVATEMESSAGE: _R.RESYNC,
    # The resend failed as well: more of them help nobody.
    _C.RESENT_MESSAGE_FOR_ME_FAILED_TO_DECRYPT: _R.REPAIR_GROUP,
    _C.COMMIT_PROCESSED_IN_ENHANCED_SELF_HEAL: _R.NOTHING,
    _C.COMMIT_PROCESSED_IN_SELF_HEAL: _R.NOTHING,
    _C.COMMIT_FAILED_THEN_ERA_ADVANCEMENT: _R.NOTHING,
    _C.CONTROL_MESSAGE_FAILED_DUE_TO_DOWNGRADE: _R.NOTHING,
    _C.PROPOSAL_PROCESSED_IN_ENHANCED_SELF_HEAL: _R.NOTHING,
    _C.PROPOSAL_PROCESSED_IN_SELF_HEAL: _R.NOTHING,
    _C.CONTROL_MESSAGE_FAILED: _R.REPAIR_GROUP,
}
SERVER: Final[dict[ServerFailure, Remedy]] = {
    _S.INCORRECT_ERA: _R.RESYNC,
    _S.INCORRECT_EPOCH: _R.RESYNC,
    _S.INCORRECT_EPOCH_AUTHENTICATOR: _R.RESYNC,
    _S.EXPIRED_CREDENTIAL: _R.RENEW_CREDENTIAL,
    _S.MISMATCHED_RCS_GROUP_STATE: _R.RESYNC,
    _S.UNPARSABLE_COMMIT: _R.STOP,
    _S.MISMATCHED_CONFIRMATION_TAG: _R.RESYNC,
    _S.PENDING_PROPOSAL: _R.WAIT,
    _S.TRANSIENT_ERROR: _R.RETRY_SAME_BYTES,
    _S.ENCRYPTION_NOT_AVAILABLE: _R.HOLD,
    _S.INVALID_COMMIT: _R.STOP,
    _S.MLS_GROUP_NOT_FOUND: _R.STOP,
    _S.INVALID_INPUT: _R.STOP,
    _S.ERA_ADVANCEMENT_QUOTA_REACHED: _R.STOP,
    _S.MLS_GROUP_HAS_END_MLS: _R.STOP,
    _S.EPOCH_ADVANCEMENT_QUOTA_REACHED: _R.NEW_ERA,
}


def remedy(failure: ClientFailure | ServerFailure) -> Remedy:
    """What may be done about it."""
    return CLIENT[failure] if isinstance(failure, ClientFailure) else SERVER[failure]


def forbids_resend(failure: ClientFailure) -> bool:
    """Whether a resend would be wrong after this: outcomes 7 to 12."""
    return failure.outcome
