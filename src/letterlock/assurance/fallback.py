"""What happens to a message whose secure path does not carry it: one transition table, nothing beside it.

The table is the rule. A challenge, and likewise a policy's permission, is reached only from a *proven* failure, so a
report that anybody could forge leads to holding and trying again. SENT_DOWNGRADED is reached only from CONSENTED and
POLICY_ALLOWED. The one step SUBMIT is the point in time from which a message can no longer be withdrawn: whoever
commits it first, SUBMIT or WITHDRAW, makes the other illegal.
"""

from enum import Enum, unique
from typing import ClassVar, Final

from letterlock.assurance import diagrams
from letterlock.model.errors import Fault, OperationError, Reason


@unique
class FallbackState(Enum):
    """Where a message stands."""

    SECURE_PENDING = "secure_pending"
    """The secure path is being tried."""
    FAILURE_UNPROVEN = "failure_unproven"
    """Somebody says that it failed; anybody could have said so."""
    SECURE_FAILED = "secure_failed"
    """An endpoint, a signed device list or a logged statement says so."""
    HELD = "held"
    """It waits for a secure path; nothing leaves."""
    CHALLENGED = "challenged"
    """Somebody was asked."""
    CONSENTED = "consented"
    POLICY_ALLOWED = "policy_allowed"
    REFUSED = "refused"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    SENT_SECURE = "sent_secure"
    SENT_DOWNGRADED = "sent_downgraded"
    NOT_SENT = "not_sent"


@unique
class FallbackEvent(Enum):
    """What can happen."""

    SECURE_SENT = "secure_sent"
    FAILURE_REPORTED = "failure_reported"
    """By somebody who cannot prove it."""
    FAILURE_PROVEN = "failure_proven"
    """Authenticated end to end, or by a statement in the ledger."""
    HOLD = "hold"
    RETRY = "retry"
    """The secure path is there (again): it is used, and every answer given before is dead."""
    CHALLENGE = "challenge"
    CONSENT = "consent"
    POLICY_PERMITS = "policy_permits"
    REFUSE = "refuse"
    EXPIRE = "expire"
    WITHDRAW = "withdraw"
    TERMS_CHANGED = "terms_changed"
    """Something that the answer was bound to is different now."""
    SUBMIT = "submit"
    """It leaves on the lesser path."""
    GIVE_UP = "give_up"


@unique
class FallbackReason(Reason):
    """Why a step is refused."""

    ILLEGAL_TRANSITION = "illegal_transition"


class FallbackError(OperationError[FallbackReason]):
    """The event means nothing in this state; the state is what it was."""

    fault: ClassVar[Fault] = Fault.LOCAL


_S = FallbackState
_E = FallbackEvent
TRANSITIONS: Final[dict[FallbackState, dict[FallbackEvent, FallbackState]]] = {
    _S.SECURE_PENDING: {
        _E.SECURE_SENT: _S.SENT_SECURE,
        _E.FAILURE_REPORTED: _S.FAILURE_UNPROVEN,
        _E.FAILURE_PROVEN: _S.SECURE_FAILED,
        _E.HOLD: _S.HELD,
        _E.WITHDRAW: _S.WITHDRAWN,
        _E.EXPIRE: _S.EXPIRED,
    },
    _S.FAILURE_UNPROVEN: {
        _E.HOLD: _S.HELD,
        _E.RETRY: _S.SECURE_PENDING,
        _E.FAILURE_PROVEN: _S.SECURE_FAILED,
        _E.WITHDRAW: _S.WITHDRAWN,
        _E.EXPIRE: _S.EXPIRED,
        _E.GIVE_UP: _S.NOT_SENT,
    },
    _S.SECURE_FAILED: {
        _E.HOLD: _S.HELD,
        _E.RETRY: _S.SECURE_PENDING,
        _E.CHALLENGE: _S.CHALLENGED,
        _E.POLICY_PERMITS: _S.POLICY_ALLOWED,
        _E.WITHDRAW: _S.WITHDRAWN,
        _E.EXPIRE: _S.EXPIRED,
        _E.GIVE_UP: _S.NOT_SENT,
    },
    # No challenge from here: what is held for want of proof must not become a question by waiting.
    _S.HELD: {
        _E.RETRY: _S.SECURE_PENDING,
        _E.FAILURE_PROVEN: _S.SECURE_FAILED,
        _E.WITHDRAW: _S.WITHDRAWN,
        _E.EXPIRE: _S.EXPIRED,
        _E.GIVE_UP: _S.NOT_SENT,
    },
    _S.CHALLENGED: {
        _E.CONSENT: _S.CONSENTED,
        _E.REFUSE: _S.REFUSED,
        _E.RETRY: _S.SECURE_PENDING,
        _E.TERMS_CHANGED: _S.SECURE_FAILED,
        _E.WITHDRAW: _S.WITHDRAWN,
        _E.EXPIRE: _S.EXPIRED,
    },
    _S.CONSENTED: {
        _E.SUBMIT: _S.SENT_DOWNGRADED,
        _E.RETRY: _S.SECURE_PENDING,
        _E.TERMS_CHANGED: _S.SECURE_FAILED,
        _E.WITHDRAW: _S.WITHDRAWN,
        _E.EXPIRE: _S.EXPIRED,
    },
    _S.POLICY_ALLOWED: {
        _E.SUBMIT: _S.SENT_DOWNGRADED,
        _E.RETRY: _S.SECURE_PENDING,
        _E.TERMS_CHANGED: _S.SECURE_FAILED,
        _E.WITHDRAW: _S.WITHDRAWN,
        _E.EXPIRE: _S.EXPIRED,
    },
    _S.REFUSED: {_E.HOLD: _S.HELD, _E.GIVE_UP: _S.NOT_SENT},
    _S.EXPIRED: {_E.HOLD: _S.HELD, _E.GIVE_UP: _S.NOT_SENT},
    _S.WITHDRAWN: {_E.GIVE_UP: _S.NOT_SENT},
    _S.SENT_SECURE: {},
    _S.SENT_DOWNGRADED: {},
    _S.NOT_SENT: {},
}

FINAL: Final = frozenset(state for state, row in TRANSITIONS.items() if not row)
PERMISSIONS: Final = frozenset({_S.CONSENTED, _S.POLICY_ALLOWED})
"""The only states from which a message leaves on a lesser path."""


def step(state: FallbackState, event: FallbackEvent) -> FallbackState:
    """The state after an event.

    Raises:
        FallbackError: the table has no such step.
    """
    after = TRANSITIONS[state].get(event)
    if after is None:
        raise FallbackError(FallbackReason.ILLEGAL_TRANSITION, state=state, event=event)
    return after


def diagram() -> str:
    """The table as a state diagram."""
    return diagrams.diagram(TRANSITIONS, _S.SECURE_PENDING)
