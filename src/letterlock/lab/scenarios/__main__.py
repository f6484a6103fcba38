"""``python -m letterlock.lab.scenarios [--count N] [--seed S]``: status 0 when nothing was shown too high."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from letterlock.lab.demo.world import start_gateway
from letterlock.lab.scenarios.run import Outcome, play


async def _run(count: int, seed: int, console: Console) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="letterlock-scenarios-") as folder:
        work = Path(folder)
        gateway = await start_gateway(work)
        try:
            with console.status("Playing...") as status:
                return await play(work, gateway, count, seed, lambda done: status.update(f"{done} of {count} played"))
        finally:
            await gateway.stop()


def main() -> int:
    """Reads the arguments, plays, prints both matrices."""
    parser = argparse.ArgumentParser(prog="python -m letterlock.lab.scenarios", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000, help="messages")
    parser.add_argument("--seed", type=int, default=1, help="of everything but keys")
    wanted = parser.parse_args()
    console = Console()
    outcome = asyncio.run(_run(wanted.count, wanted.seed, console))
    for matrix in (outcome.server, outcome.device):
        console.print(matrix.table())
    console.print(f"surfaces that differed: {outcome.differing}; shown with other words: {outcome.wrong_text}")
    console.print("[green]holds[/]" if outcome.holds else "[red]DOES NOT HOLD[/]")
    return 0 if outcome.holds else 1


if __name__ == "__main__":
    sys.exit(main())
