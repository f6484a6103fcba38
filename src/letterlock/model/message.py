"""The states of one message, and the events that move it: one table, idempotent and safe against races.

Receipts come late, twice, out of order and contradicting each other. An event that is not in the row of the present
state changes nothing; what is final stays final.
"""

from enum import IntEnum, unique
from typing import Final


@unique
class MessageState(IntEnum):
    """Where a message is. The numbers are stored; they never change their meaning."""

    ACCEPTED = 1
    """Durable and recorded; waits in mailboxes."""
    HELD = 2
    """Waits for consent or for a secure path; nothing leaves."""
    QUARANTINED = 3
    """Claims to be end-to-end encrypted and is not MLS: kept sealed, shown as unverified, not delivered."""
    QUEUED = 4
    """Waits for its transport."""
    SENT = 5
    """The transport has taken it; delivery is not known yet."""
    DELIVERED = 6
    """On the recipient's device, as far as the receipt's source can be believed."""
    READ = 7
    """Displayed, by the recipient's own account."""
    FAILED = 8
    """The transport or its network gave up."""
    EXPIRED = 9
    """Its time ran out before it was delivered."""
    NOT_SENT = 10
    """Refused, withdrawn, or nobody answered: it never left."""


@unique
class MessageEvent(IntEnum):
    """What can happen to a message."""

    RELEASED = 1
    """Held, and now permitted to leave."""
    TAKEN = 2
    """The transport accepted it."""
    DELIVERED = 3
    DISPLAYED = 4
    FAILED = 5
    EXPIRED = 6
    WITHDRAWN = 7
    """Refused, withdrawn or unanswered consent."""


_S = MessageState
_E = MessageEvent
TRANSITIONS: Final[dict[MessageState, dict[MessageEvent, MessageState]]] = {
    _S.ACCEPTED: {_E.DELIVERED: _S.DELIVERED, _E.DISPLAYED: _S.READ, _E.EXPIRED: _S.EXPIRED},
    _S.HELD: {_E.RELEASED: _S.QUEUED, _E.EXPIRED: _S.NOT_SENT, _E.WITHDRAWN: _S.NOT_SENT},
    _S.QUARANTINED: {_E.EXPIRED: _S.EXPIRED},
    _S.QUEUED: {
        _E.TAKEN: _S.SENT,
        # A receipt can overtake the transport's own answer.
        _E.DELIVERED: _S.DELIVERED,
        _E.FAILED: _S.FAILED,
        _E.EXPIRED: _S.EXPIRED,
        _E.WITHDRAWN: _S.NOT_SENT,
    },
    _S.SENT: {
        _E.DELIVERED: _S.DELIVERED,
        _E.DISPLAYED: _S.READ,
        _E.FAILED: _S.FAILED,
        _E.EXPIRED: _S.EXPIRED,
    },
    _S.DELIVERED: {_E.DISPLAYED: _S.READ},
    _S.READ: {},
    # A carrier that first gave up and then delivered did deliver.
    _S.FAILED: {_E.DELIVERED: _S.DELIVERED, _E.DISPLAYED: _S.READ},
    _S.EXPIRED: {_E.DELIVERED: _S.DELIVERED, _E.DISPLAYED: _S.READ},
    _S.NOT_SENT: {},
}

FINAL: Final = frozenset({_S.DELIVERED, _S.READ, _S.FAILED, _S.EXPIRED, _S.NOT_SENT})
"""States from which the purge clock runs."""


def after(state: MessageState, event: MessageEvent) -> MessageState:
    """The state after an event: the same one where the event means nothing any more."""
    return TRANSITIONS[state].get(event, state)
