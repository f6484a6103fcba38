"""What can be wrong with a handshake, and what follows: to hold or to end it. No word here sends anything in clear."""

from enum import Enum, unique
from typing import ClassVar, Final, NamedTuple

from letterlock.assurance.causes import Cause
from letterlock.assurance.faults import Repair
from letterlock.model.errors import Fault, OperationError, Reason


@unique
class HandshakeReason(Reason):
    """Why a handshake is not agreed; or, of one kind, what is remarkable about one that is."""

    NOT_READ = "handshake_element_not_read"
    UNKNOWN_SIGNER = "handshake_signer_not_on_the_list"
    SIGNATURE_REFUSED = "handshake_signature_refused"
    """Edited on the way, moved from another conversation, or signed by another key."""
    REFLECTED = "handshake_element_of_this_end"
    ANOTHER_PEER = "handshake_meant_for_another_peer"
    DEVICES_DIFFER = "handshake_names_other_devices_than_the_list"
    """A device was left out, or added, on the way to the other end."""
    LIST_FORKED = "handshake_saw_another_list_of_the_same_version"
    SEEN_DIFFERS = "handshake_saw_capabilities_that_were_never_told"
    """Something was stripped from, or edited in, what the other end was shown."""
    WEAKER_CHOICE = "handshake_chose_less_than_both_can"
    BELOW_FLOOR = "handshake_chose_below_a_floor"
    MARKERS_DIFFER = "handshake_saw_another_marker_of_the_same_server"
    REPLAYED = "handshake_element_seen_before"
    ANOTHER_OFFER = "handshake_answers_another_offer"
    ANSWER_CHANGED = "handshake_answer_is_not_the_one_given"
    OUT_OF_ORDER = "handshake_element_out_of_order"
    PEER_ABORTED = "handshake_ended_by_the_other_end"
    LIST_BEHIND = "handshake_saw_another_version_of_a_list"
    CLOCK_SKEW = "handshake_from_the_future"
    TOO_OLD = "handshake_too_old"
    CAPABILITIES_STALE = "handshake_capabilities_stale"
    NOTHING_IN_COMMON = "handshake_nothing_in_common"
    UNANSWERED = "handshake_unanswered"
    CAPABILITY_VANISHED = "handshake_capability_vanished"
    """A device could do something before, and signs now that it cannot."""


@unique
class Outcome(Enum):
    """What follows. There is no word for going on with less."""

    DOWNGRADE_DETECTED = "downgrade_detected"
    """Both ends end it; nothing of the conversation is delivered."""
    HOLD = "hold"
    """Nothing is sent; it is tried again when what is missing is there."""
    GO_ON = "go_on"
    """A finding, and no more: the conversation is as protected as before."""


class Rule(NamedTuple):
    """What follows from a reason: the outcome, the cause that a sender's message goes on with, and the repair."""

    outcome: Outcome
    cause: Cause
    repair: Repair


class HandshakeError(OperationError[HandshakeReason]):
    """A handshake is not agreed; nothing of its conversation is sent or delivered."""

    fault: ClassVar[Fault] = Fault.PEER


_R = HandshakeReason
_END: Final = Rule(Outcome.DOWNGRADE_DETECTED, Cause.HANDSHAKE_FAILED, Repair.PEOPLE)


def _hold(cause: Cause, repair: Repair) -> Rule:
    return Rule(Outcome.HOLD, cause, repair)


RULES: Final[dict[HandshakeReason, Rule]] = {
    _R.NOT_READ: _END,
    _R.UNKNOWN_SIGNER: _END,
    _R.SIGNATURE_REFUSED: _END,
    _R.REFLECTED: _END,
    _R.ANOTHER_PEER: _END,
    _R.DEVICES_DIFFER: _END,
    _R.LIST_FORKED: _END,
    _R.SEEN_DIFFERS: _END,
    _R.WEAKER_CHOICE: _END,
    _R.BELOW_FLOOR: _END,
    _R.MARKERS_DIFFER: _END,
    _R.REPLAYED: _END,
    _R.ANOTHER_OFFER: _END,
    _R.ANSWER_CHANGED: _END,
    _R.OUT_OF_ORDER: _END,
    _R.PEER_ABORTED: _END,
    _R.LIST_BEHIND: _hold(Cause.HANDSHAKE_FAILED, Repair.RETRY),
    _R.CLOCK_SKEW: _hold(Cause.HANDSHAKE_FAILED, Repair.RETRY),
    _R.TOO_OLD: _hold(Cause.TIMED_OUT, Repair.RETRY),
    _R.CAPABILITIES_STALE: _hold(Cause.TIMED_OUT, Repair.RETRY),
    # Signed by a device of the peer; one old device must not drag all the others down, so this waits too.
    _R.NOTHING_IN_COMMON: _hold(Cause.PEER_DEVICE_CANNOT, Repair.NEW_ERA),
    _R.UNANSWERED: _hold(Cause.TIMED_OUT, Repair.RETRY),
    _R.CAPABILITY_VANISHED: Rule(Outcome.GO_ON, Cause.CAPABILITY_VANISHED, Repair.RETRY),
}
