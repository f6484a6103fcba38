"""A process that accepts messages whose records wait for an interval, and is killed by itself with SIGKILL.

``open``: after some commits. ``closing``: in the transaction that closes the interval, before its COMMIT. ``full``:
after an interval was full and another was opened beside it. Ids on standard output are of durable messages.
"""

import os
import signal
import sys
from pathlib import Path

from tests.storage.making import CLOCK, message

import letterlock.storage.sqlite.transaction as transaction
from letterlock.model.traces import LedgerRhythm, Traces
from letterlock.storage.maintenance_commands import CloseIntervals
from letterlock.storage.sqlite.core import StoreCore
from letterlock.storage.sqlite.registry import handlers
from letterlock.wire.tlog.intervals import interval_end


def main(folder: Path, mode: str) -> None:
    core = StoreCore(folder, handlers(), CLOCK, traces={1: Traces(ledger=LedgerRhythm.EACH_INTERVAL)})
    if mode == "full":
        vars(transaction)["MAX_BATCH"] = 7
    for _ in range(10):
        ids = [os.urandom(16) for _ in range(3)]
        core.apply([message(one) for one in ids])
        os.write(1, "".join(f"{one.hex()}\n" for one in ids).encode())
    if mode == "closing":
        core.stage([CloseIntervals(interval_end(CLOCK.now_ms()), silent=True), message()])
    else:
        core.stage([message()])
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
