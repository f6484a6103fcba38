"""Time as an argument. Wall time is integer milliseconds UTC; leases and timeouts use the monotonic clock."""

from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Where a room above the pure ones gets the time."""

    def now_ms(self) -> int:
        """Wall time: milliseconds since 1970-01-01 UTC."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds of a clock that never goes back; only differences mean anything."""
        ...


@dataclass(slots=True)
class ManualClock:
    """A clock that stands still until it is moved: for simulation and tests."""

    wall_ms: int = 1_700_000_000_000
    steady_ms: int = 0

    def now_ms(self) -> int:
        """Wall time in milliseconds."""
        return self.wall_ms

    def monotonic_ms(self) -> int:
        """Steady time in milliseconds."""
        return self.steady_ms

    def advance(self, milliseconds: int) -> None:
        """Moves both clocks on."""
        if milliseconds < 0:
            raise ValueError("time only goes on")
        self.wall_ms += milliseconds
        self.steady_ms += milliseconds
