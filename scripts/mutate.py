"""Mutation testing of the rooms that decide: ``make mutate``. Fails when a changed line of theirs goes unnoticed.

Functions are changed by mutmut (settings in pyproject.toml), tables and enum members by :mod:`mutate_tables`. What
survives is printed. A survivor in a guard, in the table of protections or in the table of fallbacks fails the run,
unless scripts/mutate-equivalent.toml says why it is no difference; so does an entry there that no longer survives.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import mutate_tables

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = ROOT / "scripts" / "mutate-equivalent.toml"
MUTMUT = (str(Path(sys.executable).parent / "mutmut"), "run")
SEVERE = frozenset(
    {"letterlock/policy/guards.py", "letterlock/model/protection.py", "letterlock/assurance/fallback.py"}
)
"""Where a survivor fails the run."""
LIMIT_S = 45 * 60
"""Twice what two cores need that do nothing else."""
NOTICED = frozenset({"killed", "timeout", "caught by type check"})
"""mutmut says "timeout" also of a mutant with which a test module cannot be loaded."""


@dataclass(frozen=True, slots=True)
class Survivor:
    """A change that no test noticed: the line as it was, and as it became."""

    file: str
    where: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.file}: {self.where}\n    - {self.was}\n    + {self.now}"


def _run_mutmut(at_once: int, names: list[str]) -> None:
    shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    # mutmut calls mypy by its name.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [*MUTMUT, "--max-children", str(at_once), *names]
    with (ROOT / "mutants.log").open("wb") as log:
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False, timeout=LIMIT_S
            )
        except subprocess.TimeoutExpired:
            sys.exit(f"mutmut did not end within {LIMIT_S // 60} minutes")
    if done.returncode:
        print((ROOT / "mutants.log").read_text(errors="replace")[-3000:])
        sys.exit("mutmut did not end well")


def _statuses() -> dict[str, str]:
    from mutmut.stats import status_by_exit_code

    found: dict[str, str] = {}
    for meta in sorted((ROOT / "mutants" / "src").rglob("*.meta")):
        data = json.loads(meta.read_text(encoding="utf-8"))
        for name, code in data["exit_code_by_key"].items():
            found[name] = status_by_exit_code[code]
    return found


def _survivor(name: str) -> Survivor:
    """What a mutant of mutmut's changed."""
    module, _, function = name.rpartition(".")
    diff = subprocess.run(
        [MUTMUT[0], "show", name], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    body = [line for line in diff if line[:1] in {"-", "+"} and not line.startswith(("---", "+++"))]
    was = " ".join(line[1:].strip() for line in body if line[0] == "-")
    now = " ".join(line[1:].strip() for line in body if line[0] == "+")
    where = function.partition("__mutmut_")[0].removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
    return Survivor(module.replace(".", "/") + ".py", where, was, now)


def _tables(at_once: int) -> tuple[int, list[Survivor]]:
    made = 0
    left: list[Survivor] = []
    for file in mutate_tables.TESTS:
        control = mutate_tables.control(file)
        if mutate_tables.survivors([control], 1) != [control]:
            sys.exit(f"{file}: the tests do not pass without a change either")
        mutants = mutate_tables.mutants_of(file)
        made += len(mutants)
        unnoticed = mutate_tables.survivors(mutants, at_once)
        left += [Survivor(one.file, one.where, one.was, one.now) for one in unnoticed]
    return made, left


def _equivalent() -> dict[Survivor, str]:
    listed = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))
    entries = listed.get("equivalent", [])
    return {Survivor(one["file"], one["where"], one["was"], one["now"]): one["reason"] for one in entries}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="mutants of mutmut's to run, as it names them; all without")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 2)
    wanted = parser.parse_args()
    start = time.monotonic()
    _run_mutmut(wanted.at_once, wanted.names)
    statuses = {name: status for name, status in _statuses().items() if status != "not checked"}
    left = [_survivor(name) for name, status in statuses.items() if status not in NOTICED]
    tables, unnoticed = (0, []) if wanted.names else _tables(wanted.at_once)
    left += unnoticed
    known = _equivalent()
    new = [one for one in left if one not in known]
    severe = [one for one in new if one.file in SEVERE]
    stale = [] if wanted.names else [one for one in known if one not in left]
    for one in new:
        print(f"{'SURVIVES IN A GUARD' if one in severe else 'survives'}: {one}")
    for one in stale:
        print(f"listed as equivalent, and noticed or gone: {one}")
    minutes = (time.monotonic() - start) / 60
    print(
        f"{len(statuses)} mutants of functions, {tables} of tables; {len(left)} survive, {len(left) - len(new)} of them"
        f" without a difference; {len(severe)} in a guard; {minutes:.0f} minutes"
    )
    return 1 if severe or stale else 0


if __name__ == "__main__":
    sys.exit(main())
