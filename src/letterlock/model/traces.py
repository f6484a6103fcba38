"""What a message leaves beside its ciphertext: how exact times are, its sender's name, and when the ledger grows."""

from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

QUARTER_HOUR_MS: Final = 900_000
"""Long enough that several conversations of a busy gateway share a time, short enough that a day keeps its order."""


@unique
class Times(Enum):
    """How exact the stored times of a message are."""

    EXACT = "exact"
    """Milliseconds."""
    QUARTER_HOUR = "quarter_hour"
    """The beginning of its quarter of an hour; ends of lifetimes are rounded up, so that nothing goes early."""


@unique
class SenderKept(Enum):
    """Whether rows about a message name the device that sent it."""

    STORED = "stored"
    NOT_STORED = "not_stored"


@unique
class Deliveries(Enum):
    """Whether messages are taken from whoever holds a token that their recipient handed out."""

    NONE = "none"
    """A message needs its device's session."""
    BY_TOKEN = "by_token"  # noqa: S105 - a word, no token


@unique
class LedgerRhythm(Enum):
    """When the ledger grows by what happens to messages."""

    EACH_COMMIT = "each_commit"
    """With them: what is accepted together has one entry."""
    EACH_INTERVAL = "each_interval"
    """Every five minutes by one entry, whether or not there was a message."""


@dataclass(frozen=True, slots=True)
class Traces:
    """What is left of one tenant's messages, as its policy has it."""

    times: Times = Times.EXACT
    sender: SenderKept = SenderKept.STORED
    ledger: LedgerRhythm = LedgerRhythm.EACH_COMMIT

    @property
    def step_ms(self) -> int:
        """Stored times are multiples of it."""
        return QUARTER_HOUR_MS if self.times is Times.QUARTER_HOUR else 1

    def begin(self, now_ms: int) -> int:
        """When something happened, as it is stored."""
        return now_ms - now_ms % self.step_ms

    def end(self, until_ms: int) -> int:
        """When something is due, as it is stored: never earlier than it has to stay."""
        return until_ms + -until_ms % self.step_ms


USUAL: Final = Traces()
"""Exact times, who sent it, and an entry at once."""
