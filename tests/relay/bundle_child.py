"""Commits one bundle in many processes, each killed with SIGKILL before another of its SQL statements.

``python -m tests.relay.bundle_child FOLDER LEDGER [era]``: makes a store in FOLDER/base, forks a process for each
place on a copy of its own (FOLDER/1, FOLDER/2, ...), and prints how many there were. The last one is killed after the
last statement.
"""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from tests.relay.rcs_chat import ROOTS, rcs_chat
from tests.relay.world import World, bundle, enrolled, group_of, opened
from tests.wire_mls.certificate_maker import era
from tests.wire_mls.group_maker import NOW_S

from letterlock.model.clock import ManualClock
from letterlock.model.ids import GroupRef
from letterlock.model.traces import LedgerRhythm, Traces
from letterlock.relay.bundle import Bundle
from letterlock.relay.groups import Caller

MOST = 200
"""Statements of one bundle: far more than it has."""
GROUP = b"a group"


async def prepare(folder: Path, traces: dict[int, Traces]) -> tuple[GroupRef, Caller, tuple[Any, ...], tuple[Any, ...]]:
    """A group of two, and what the next commit does: one more comes in, one goes."""
    folder.mkdir()
    async with opened(folder) as world:
        world.core._traces = traces
        ann, bob, eve, dan = await enrolled(world, "ann", "bob", "eve", "dan")
        for phone in (ann, bob, eve, dan):
            await phone.log_in(world)
        group = await group_of(world, GROUP, ann, bob, dan)
        return group, ann.caller, (eve,), (dan,)


def armed(world: World, place: int) -> list[int]:
    """Kills this process before the statement of that number, at the boundary to SQLite; counts them."""
    seen = [0]

    def before(_: Any, sql: str, __: Any) -> bool:
        seen[0] += 1
        if seen[0] == place:
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    world.core._db.exec_trace = before
    return seen


async def prepare_era(folder: Path, traces: dict[int, Traces]) -> tuple[GroupRef, Caller, Bundle]:
    """An RCS group of two, and the bundle that makes its next era."""
    folder.mkdir()
    async with rcs_chat(folder, era(1)) as chat:
        chat.world.core._traces = traces
        await chat.commit(chat.adding())
        return chat.ref, chat.phones[0].caller, chat.again(era(2)).adding()


async def commit(folder: Path, place: int, made: tuple[Any, ...], traces: dict[int, Traces]) -> None:
    async with opened(folder, ManualClock(NOW_S * 1_000), (1, 2), ROOTS) as world:
        world.core._traces = traces
        armed(world, place)
        if len(made) == 3:
            group, caller, offer = made
            await world.groups.advance_era(caller, group, offer)
        else:
            group, caller, adds, removes = made
            await world.groups.commit(caller, group, bundle(GROUP, 1, adds=adds, removes=removes, counter=50))
        # It was answered, so it is durable: this one dies after the last statement.
        os.write(1, b"done\n")
        os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, ledger: LedgerRhythm, *, of_era: bool) -> None:
    traces = {1: Traces(ledger=ledger)} if ledger is LedgerRhythm.EACH_INTERVAL else {}
    made: tuple[Any, ...]
    made = asyncio.run((prepare_era if of_era else prepare)(folder / "base", traces))
    for place in range(1, MOST):
        shutil.copytree(folder / "base", folder / str(place))
        out, into = os.pipe()
        child = os.fork()
        if not child:
            os.dup2(into, 1)
            try:
                asyncio.run(commit(folder / str(place), place, made, traces))
            finally:
                os._exit(1)
        os.close(into)
        _, status = os.waitpid(child, 0)
        told = os.read(out, 16)
        os.close(out)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            raise SystemExit("a child ended in another way")
        if told:
            print(place)
            return
    raise SystemExit("more statements than expected")


if __name__ == "__main__":
    main(Path(sys.argv[1]), LedgerRhythm(sys.argv[2]), of_era=len(sys.argv) > 3)
