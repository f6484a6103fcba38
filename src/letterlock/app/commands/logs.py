"""``logs lint``: looks in a log for what must not be there."""

from pathlib import Path
from typing import Annotated, Final

import typer

from letterlock.app.commands.output import Exit, Json, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Look in logs for what must not be there.")
SHOWN: Final = 50
"""Findings in the table; JSON has all."""


@app.command("lint")
def lint_log(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A log, one JSON a line.")],
    numbers: Annotated[
        Path | None,
        typer.Option(
            "--numbers", exists=True, dir_okay=False, help="Phone numbers, one a line: their unsalted hashes are named."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find content, phone numbers and unsalted hashes of them. Says where, and never repeats what was there.

    Exit codes: 0 nothing was found; 1 something was.
    """
    from letterlock.app.commands.lint import hashes_of, lint

    known = frozenset[str]() if numbers is None else hashes_of(numbers.read_text().split())
    with file.open(encoding="utf-8", errors="replace") as lines:
        found = list(lint(lines, known))
    if as_json:
        print_json({"findings": [{"line": one.line, "field": one.field, "kind": one.kind.value} for one in found]})
    elif not found:
        print("Clean: events only.")
    else:
        print(f"{len(found)} findings.")
        rows = [(one.line, one.field, one.kind.value, one.kind.why) for one in found[:SHOWN]]
        print_table("", ("line", "field", "kind", "why"), rows)
    if found:
        raise typer.Exit(Exit.FINDING)
