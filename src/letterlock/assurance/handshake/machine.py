"""Where a handshake stands: one transition table, nothing beside it. Only AGREED delivers anything."""

from enum import Enum, unique
from typing import ClassVar, Final

from letterlock.assurance import diagrams
from letterlock.model.errors import Fault, OperationError, Reason


@unique
class HandshakeState(Enum):
    """Where one end stands, in one conversation."""

    IDLE = "idle"
    OFFERED = "offered"
    """This end's offer is out."""
    ANSWERED = "answered"
    """The other end's offer was taken, and answered."""
    AGREED = "agreed"
    HELD = "held"
    """Something is not there yet: nothing is sent or delivered, and it may be tried again."""
    ABORTED = "aborted"
    """DOWNGRADE_DETECTED: over, at both ends, for good."""


@unique
class HandshakeEvent(Enum):
    """What can happen to it."""

    OFFER_SENT = "offer_sent"
    OFFER_TAKEN = "offer_taken"
    """An offer whose every comparison held."""
    ANSWER_TAKEN = "answer_taken"
    FINISH_TAKEN = "finish_taken"
    """It counts this end's answer."""
    FINISH_OF_OTHERS = "finish_of_others"
    """It counts other devices' answers, this one's not yet."""
    CROSSED_KEPT = "crossed_kept"
    """Both ends offered; this end's offer is the one that counts."""
    CROSSED_YIELDED = "crossed_yielded"
    """Both ends offered; the other's counts, and was taken."""
    HOLD = "hold"
    MISMATCH = "mismatch"
    """A comparison failed."""
    PEER_ABORTED = "peer_aborted"
    """The other end signed that a comparison failed there."""


@unique
class MachineReason(Reason):
    """Why a step is refused."""

    ILLEGAL_TRANSITION = "illegal_transition"


class MachineError(OperationError[MachineReason]):
    """The event means nothing in this state; the state is what it was."""

    fault: ClassVar[Fault] = Fault.LOCAL


_S = HandshakeState
_E = HandshakeEvent
_ENDS: Final = {_E.MISMATCH: _S.ABORTED, _E.PEER_ABORTED: _S.ABORTED}
TRANSITIONS: Final[dict[HandshakeState, dict[HandshakeEvent, HandshakeState]]] = {
    _S.IDLE: {_E.OFFER_SENT: _S.OFFERED, _E.OFFER_TAKEN: _S.ANSWERED, _E.HOLD: _S.HELD, **_ENDS},
    _S.OFFERED: {
        _E.OFFER_SENT: _S.OFFERED,
        _E.ANSWER_TAKEN: _S.AGREED,
        _E.CROSSED_KEPT: _S.OFFERED,
        _E.CROSSED_YIELDED: _S.ANSWERED,
        _E.HOLD: _S.HELD,
        **_ENDS,
    },
    _S.ANSWERED: {
        _E.OFFER_TAKEN: _S.ANSWERED,
        _E.FINISH_TAKEN: _S.AGREED,
        _E.FINISH_OF_OTHERS: _S.ANSWERED,
        _E.HOLD: _S.HELD,
        **_ENDS,
    },
    _S.AGREED: {
        _E.OFFER_SENT: _S.OFFERED,
        _E.OFFER_TAKEN: _S.ANSWERED,
        _E.ANSWER_TAKEN: _S.AGREED,
        _E.FINISH_TAKEN: _S.AGREED,
        _E.HOLD: _S.HELD,
        **_ENDS,
    },
    # A late answer, or a new offer, may still bring it to an end; nothing leads from here to a lesser path.
    _S.HELD: {
        _E.OFFER_SENT: _S.OFFERED,
        _E.OFFER_TAKEN: _S.ANSWERED,
        _E.ANSWER_TAKEN: _S.AGREED,
        _E.HOLD: _S.HELD,
        **_ENDS,
    },
    _S.ABORTED: {},
}

DELIVERING: Final = frozenset({_S.AGREED})
"""The only states in which anything of the conversation is sent, or given to anybody."""


def step(state: HandshakeState, event: HandshakeEvent) -> HandshakeState:
    """The state after an event.

    Raises:
        MachineError: the table has no such step.
    """
    after = TRANSITIONS[state].get(event)
    if after is None:
        raise MachineError(MachineReason.ILLEGAL_TRANSITION, state=state, event=event)
    return after


def diagram() -> str:
    """The table as a state diagram."""
    return diagrams.diagram(TRANSITIONS, _S.IDLE)
