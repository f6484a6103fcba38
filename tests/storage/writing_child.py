"""A process that accepts and acknowledges until it is killed, and says what it was told is durable.

Lines on standard output: ``+ id mailbox2-sequence`` for an accepted message, ``- applied`` for an acknowledgement of
mailbox 3, ``! reason`` for a failed commit.
"""

import os
import sys
from pathlib import Path

from tests.storage.making import CLOCK, message

from letterlock.storage.commands import Ack
from letterlock.storage.errors import StorageError
from letterlock.storage.sqlite.core import StoreCore
from letterlock.storage.sqlite.registry import handlers


def main(folder: Path, failures: int) -> None:
    core = StoreCore(folder, handlers(), CLOCK)
    os.write(1, b"ready\n")
    applied = 0
    while True:
        ids = [os.urandom(16) for _ in range(1 + os.urandom(1)[0] % 20)]
        try:
            outcomes = core.apply([message(one, sealed=os.urandom(400)) for one in ids])
            told = [f"+ {one.hex()} {out.deliveries[0][1]}" for one, out in zip(ids, outcomes, strict=True)]
            newest = outcomes[-1].deliveries[1][1]
            if newest - applied > 30:
                (acked,) = core.apply([Ack(1, 3, newest - 5, CLOCK.now_ms())])
                applied = acked.applied
                told.append(f"- {applied}")
        except StorageError as error:
            told = [f"! {error.reason.value}"]
            failures -= 1
        os.write(1, ("\n".join(told) + "\n").encode())
        if not failures:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
