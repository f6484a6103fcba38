"""Closes the ledger's intervals on time: one entry each, whether or not a message was sent."""

from letterlock.gateway.writer import Writer
from letterlock.model.clock import Clock
from letterlock.storage.maintenance_commands import CloseIntervals
from letterlock.wire.tlog.intervals import INTERVAL_MS, interval_end


class Intervals:
    """Looks at the clock, and closes what has ended. What fails is tried again at the next look."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._next_ms = interval_end(clock.now_ms())

    async def resume(self) -> int:
        """At the start: closes whatever was left open, early or late; how many intervals.

        Raises:
            StorageError: the store takes nothing now.
        """
        closed: int = await self._writer.run(CloseIntervals(interval_end(self._clock.now_ms()), silent=False))
        return closed

    async def look(self) -> bool:
        """Closes the interval that has ended since the last look; whether one had.

        Raises:
            StorageError: the store takes nothing now.
        """
        now_ms = self._clock.now_ms()
        coming = interval_end(now_ms)
        if now_ms < self._next_ms:
            # A clock that was set back must not hold anything up for longer than an interval.
            self._next_ms = min(self._next_ms, coming)
            return False
        await self._writer.run(CloseIntervals(coming - INTERVAL_MS, silent=True))
        self._next_ms = coming
        return True
