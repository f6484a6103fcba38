"""What can go wrong while two ends agree on keys, and what follows: to hold or to refuse, never to send in clear."""

from enum import Enum, unique
from typing import Final, NamedTuple

from letterlock.assurance.causes import Cause


@unique
class HandshakeFault(Enum):
    """A fault of the handshake or of a message's framing, as it is seen on the wire."""

    ERA_MISSING = "era_missing"
    """No ``mls.Era-ID`` (RCC.16)."""
    AUTHENTICATOR_MISSING = "authenticator_missing"
    """No ``mls.Epoch-Authenticator``."""
    AUTHENTICATOR_WRONG = "authenticator_wrong"
    STALE_EPOCH = "stale_epoch"
    STALE_ERA = "stale_era"
    FUTURE_EPOCH = "future_epoch"
    AAD_ID_MISMATCH = "aad_id_mismatch"
    CAPABILITY_VANISHED = "capability_vanished"
    KEY_PACKAGES_EMPTY = "key_packages_empty"
    END_MLS = "end_mls"
    """A member's commit says that the group is no longer encrypted."""
    PLAINTEXT_INNER_TYPE = "plaintext_inner_type"
    """``text/plain`` where ``message/mls`` belongs."""
    KICK_TYPE_FROM_NETWORK = "kick_type_from_network"
    """A server's control type that never comes from outside."""
    NOT_MLS = "not_mls"
    WELCOME_LOST = "welcome_lost"
    FORKED_AUTHENTICATORS = "forked_authenticators"
    """Two authenticators for one group, era and epoch."""
    EXPIRED_LEAF = "expired_leaf"
    UNLISTED_LEAF = "unlisted_leaf"
    PRIVATE_COMMIT = "private_commit"
    """A commit that a server cannot read (RCC.16 wants it public)."""
    INVALID_COMMIT = "invalid_commit"
    EXTERNAL_COMMIT = "external_commit"
    NON_MEMBER = "non_member"
    DEVICE_LIST_REFUSED = "device_list_refused"
    TIMED_OUT = "timed_out"


@unique
class FaultOutcome(Enum):
    """What happens to the message or commit. There is no word here for sending it another way."""

    HOLD = "hold"
    """It waits, and the secure path is tried again."""
    REFUSE = "refuse"
    """It is not taken over; the sender learns why."""


@unique
class Repair(Enum):
    """What may make the secure path work again."""

    RETRY = "retry"
    RESYNC = "resync"
    """Fetch the group's present epoch, then send again."""
    REWELCOME = "rewelcome"
    REPLENISH = "replenish"
    """The peer's devices put up new key packages."""
    RENEW_CREDENTIAL = "renew_credential"
    NEW_ERA = "new_era"
    PEOPLE = "people"
    """Nothing that software should do alone: somebody on the way may be interfering."""


class FaultRule(NamedTuple):
    """What follows from a fault: the outcome, the cause to go on with, and the repair."""

    outcome: FaultOutcome
    cause: Cause
    repair: Repair


_HOLD = FaultOutcome.HOLD
_REFUSE = FaultOutcome.REFUSE
_FAILED = Cause.HANDSHAKE_FAILED
_F = HandshakeFault
RULES: Final[dict[HandshakeFault, FaultRule]] = {
    _F.ERA_MISSING: FaultRule(_REFUSE, _FAILED, Repair.RETRY),
    _F.AUTHENTICATOR_MISSING: FaultRule(_REFUSE, _FAILED, Repair.RETRY),
    _F.AUTHENTICATOR_WRONG: FaultRule(_REFUSE, _FAILED, Repair.RESYNC),
    _F.STALE_EPOCH: FaultRule(_REFUSE, _FAILED, Repair.RESYNC),
    _F.STALE_ERA: FaultRule(_REFUSE, _FAILED, Repair.RESYNC),
    _F.FUTURE_EPOCH: FaultRule(_HOLD, _FAILED, Repair.RESYNC),
    _F.AAD_ID_MISMATCH: FaultRule(_REFUSE, _FAILED, Repair.PEOPLE),
    _F.CAPABILITY_VANISHED: FaultRule(_HOLD, Cause.CAPABILITY_VANISHED, Repair.RETRY),
    _F.KEY_PACKAGES_EMPTY: FaultRule(_HOLD, Cause.KEY_PACKAGES_EMPTY, Repair.REPLENISH),
    # The commit is signed by a member, so a question may follow; by itself it changes no floor.
    _F.END_MLS: FaultRule(_HOLD, Cause.PEER_ENDED_ENCRYPTION, Repair.NEW_ERA),
    _F.PLAINTEXT_INNER_TYPE: FaultRule(_REFUSE, _FAILED, Repair.PEOPLE),
    _F.KICK_TYPE_FROM_NETWORK: FaultRule(_REFUSE, _FAILED, Repair.PEOPLE),
    _F.NOT_MLS: FaultRule(_REFUSE, _FAILED, Repair.RETRY),
    _F.WELCOME_LOST: FaultRule(_HOLD, _FAILED, Repair.REWELCOME),
    _F.FORKED_AUTHENTICATORS: FaultRule(_HOLD, _FAILED, Repair.PEOPLE),
    _F.EXPIRED_LEAF: FaultRule(_HOLD, _FAILED, Repair.RENEW_CREDENTIAL),
    _F.UNLISTED_LEAF: FaultRule(_REFUSE, _FAILED, Repair.PEOPLE),
    _F.PRIVATE_COMMIT: FaultRule(_REFUSE, _FAILED, Repair.RETRY),
    _F.INVALID_COMMIT: FaultRule(_REFUSE, _FAILED, Repair.RESYNC),
    _F.EXTERNAL_COMMIT: FaultRule(_REFUSE, _FAILED, Repair.PEOPLE),
    _F.NON_MEMBER: FaultRule(_REFUSE, _FAILED, Repair.REWELCOME),
    _F.DEVICE_LIST_REFUSED: FaultRule(_HOLD, _FAILED, Repair.PEOPLE),
    _F.TIMED_OUT: FaultRule(_HOLD, Cause.TIMED_OUT, Repair.RETRY),
}


def outcome(fault: HandshakeFault) -> FaultOutcome:
    """Hold or refuse. Total; nothing else exists."""
    return RULES[fault].outcome
