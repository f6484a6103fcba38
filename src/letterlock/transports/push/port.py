"""What a driver does: send one wake-up, and say what came of it. Nothing about a message is handed to it."""

from dataclasses import dataclass
from enum import Enum, unique
from typing import Protocol

from letterlock.wire.webpush import Subscription


@unique
class PushResult(Enum):
    """What came of a push."""

    SENT = "sent"
    """The push service took it. Whether the device ever gets it, nobody says."""
    GONE = "gone"
    """The subscription is over: it is forgotten."""
    RETRY = "retry"
    """Not now: no answer, or one that says so."""
    REFUSED = "refused"
    """Never like this: sending it again would not help."""


@dataclass(frozen=True, slots=True)
class PushOutcome:
    """A result, and for RETRY how long the push service asked to wait (seconds; 0: it did not say)."""

    result: PushResult
    wait_s: int = 0


class PushSender(Protocol):
    """A driver."""

    async def send(self, subscription: Subscription) -> PushOutcome:
        """Sends one wake-up. Never raises for what the network or the push service does."""
        ...
