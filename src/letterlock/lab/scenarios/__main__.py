"""``python -m letterlock.lab.scenarios [--count N] [--seed S]``: status 0 when nothing was shown too high."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console

from letterlock.lab.demo.centre import start_centre
from letterlock.lab.demo.world import start_gateway
from letterlock.lab.scenarios.run import Outcome, play

WIDTH: Final = 130
"""Columns of a matrix that goes to a file or a pipe."""


async def _run(count: int, seed: int, console: Console) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="letterlock-scenarios-") as folder:
        work = Path(folder)
        centre = await start_centre()
        try:
            gateway = await start_gateway(work, centre.port)
            try:
                with console.status("Playing...") as status:
                    told = lambda done: status.update(f"{done} of {count} played")  # noqa: E731
                    return await play(work, gateway, centre, count, seed, told)
            finally:
                await gateway.stop()
        finally:
            await centre.stop()


def main() -> int:
    """Reads the arguments, plays, prints both matrices."""
    parser = argparse.ArgumentParser(prog="python -m letterlock.lab.scenarios", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000, help="messages")
    parser.add_argument("--seed", type=int, default=1, help="of everything but keys")
    wanted = parser.parse_args()
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    outcome = asyncio.run(_run(wanted.count, wanted.seed, console))
    for matrix in (outcome.server, outcome.device):
        console.print(matrix.table())
    console.print(f"surfaces that differed: {outcome.differing}; shown with other words: {outcome.wrong_text}")
    for what, count in outcome.texts.wrong.items():
        console.print(f"[red]{what}: {count}[/]")
    console.print("[green]holds[/]" if outcome.holds else "[red]DOES NOT HOLD[/]")
    return 0 if outcome.holds else 1


if __name__ == "__main__":
    sys.exit(main())
