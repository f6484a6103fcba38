"""``python -m tests.e2e.moved_gateway FILE serve ...``: the gateway's own command, on a clock that somebody moves.

The file holds, in eight bytes, how many milliseconds the wall clock is ahead; whoever started the process writes it.
"""

import mmap
import struct
import sys
import time
from pathlib import Path

from letterlock.app.cli import main
from letterlock.app.clock import SystemClock

AHEAD = struct.Struct("<q")


class Moved:
    """The wall clock, as far ahead as the file says."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), AHEAD.size)

    def move(self, milliseconds: int) -> None:
        """Moves it on, for everybody who has the file."""
        AHEAD.pack_into(self._map, 0, AHEAD.unpack_from(self._map)[0] + milliseconds)

    def now_ms(self) -> int:
        """Wall time in milliseconds."""
        ahead: int = AHEAD.unpack_from(self._map)[0]
        return time.time_ns() // 1_000_000 + ahead

    def monotonic_ms(self) -> int:
        """Steady time in milliseconds, which goes on as it does."""
        return time.monotonic_ns() // 1_000_000


def made(file: Path) -> Moved:
    """A clock that is not ahead yet."""
    file.write_bytes(bytes(AHEAD.size))
    return Moved(file)


if __name__ == "__main__":
    moved = Moved(Path(sys.argv.pop(1)))
    SystemClock.now_ms = lambda _: moved.now_ms()  # type: ignore[assignment, method-assign]
    sys.exit(main())
