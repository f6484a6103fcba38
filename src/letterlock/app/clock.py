"""The machine's clocks."""

import time


class SystemClock:
    """Implements :class:`letterlock.model.clock.Clock`."""

    def now_ms(self) -> int:
        """Wall time in milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Steady time in milliseconds."""
        return time.monotonic_ns() // 1_000_000
