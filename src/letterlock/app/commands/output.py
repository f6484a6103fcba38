"""How commands end and what they print: a table for people, or JSON that says the same."""

import json
import sys
from collections.abc import Mapping, Sequence
from enum import IntEnum, unique
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer


@unique
class Exit(IntEnum):
    """The exit codes. Scripts rely on them: they never change their meaning."""

    OK = 0
    FINDING = 1
    """A check failed or something was found."""
    USAGE = 2
    CANNOT_VERIFY = 10
    """Data is missing."""
    TAMPERED = 20
    FORKED_OR_ROLLED_BACK = 30
    REFUSED = 40
    """Settings, store or keys: the command did not start."""


EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 a check failed or found something; 2 wrong usage; 10 cannot verify, data is missing;"
    " 20 tampered; 30 forked or rolled back; 40 refused to start (settings, store or keys)."
)
WIDTH_OF_FILES: Final = 160
"""Columns of text when the output is no terminal."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text for people.")]
Config = Annotated[
    Path | None, typer.Option("--config", help="The gateway's settings, a TOML file; without it the strict defaults.")
]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="The store's folder; by default the one of the settings.", show_default=False),
]


def folder_of(data: Path | None, config: Path | None) -> Path:
    """The store's folder, as the options say.

    Raises:
        SettingsError: the settings are refused.
    """
    if data is not None:
        return data
    from letterlock.app.settings import load

    return Path(load(config).store.folder)


def print_json(value: Any) -> None:
    """Prints a value as JSON."""
    print(json.dumps(value, indent=2, default=str))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints rows for people; nothing in a cell is taken for markup."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else WIDTH_OF_FILES, highlight=False)
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell_text(cell)) for cell in row))
    console.print(table)


def print_values(title: str, values: Mapping[str, object]) -> None:
    """Prints names and values for people."""
    print_table(title, ("", ""), [(name.replace("_", " "), value) for name, value in values.items()])


def cell_text(value: object) -> str:
    """A value in a cell."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case Mapping():
            return ", ".join(f"{name}: {cell_text(inner)}" for name, inner in value.items()) or "-"
        case Sequence():
            return ", ".join(cell_text(inner) for inner in value) or "-"
        case _:
            return str(value)


def wrong_usage(text: str) -> NoReturn:
    """Ends the command with the exit code for wrong usage."""
    raise typer.BadParameter(text)
