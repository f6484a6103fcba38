"""``python -m letterlock.lab.sweep --spec spec.json``: status 0 clean, 1 canaries found, 2 nothing proven."""

import argparse
import sys
from pathlib import Path

from letterlock.lab.sweep.spec import parse_spec
from letterlock.lab.sweep.sweeper import SweepReport, sweep
from letterlock.model.errors import LetterlockError


def status(report: SweepReport) -> int:
    """The exit status that a report deserves."""
    if report.hits:
        return 1
    return 0 if report.clean else 2


def main(arguments: list[str] | None = None) -> int:
    """Runs one sweep and prints its report; canaries are not printed."""
    parser = argparse.ArgumentParser(prog="python -m letterlock.lab.sweep", description=__doc__)
    parser.add_argument("--spec", required=True, help="a JSON file, or - for standard input")
    chosen = parser.parse_args(arguments)
    try:
        raw = sys.stdin.buffer.read() if chosen.spec == "-" else Path(chosen.spec).read_bytes()
        canaries, places = parse_spec(raw)
    except (LetterlockError, OSError) as error:
        print(error.strerror if isinstance(error, OSError) else error, file=sys.stderr)
        return 2
    report = sweep(canaries, places)
    for line in report.lines():
        print(line)
    return status(report)


if __name__ == "__main__":
    sys.exit(main())
