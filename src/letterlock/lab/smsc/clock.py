"""The laboratory's real clock."""

import time


class SteadyClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Wall time in milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Steady time in milliseconds."""
        return time.monotonic_ns() // 1_000_000
