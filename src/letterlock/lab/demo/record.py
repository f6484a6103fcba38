"""What a run shows: rows for people, and whether everything was as it must be."""

import json
from typing import Any, Final

from rich.console import Console
from rich.table import Table

COLUMNS: Final = ("message", "path", "protection", "grade, checked by", "decision", "who can read it", "state")
RELAY: Final = "MLS through the relay"
SMS: Final = "SMS over SMPP"
Security = dict[str, Any]
NOTHING: Final[Security] = {"protection": "-", "grade": "-", "verifier": "-"}
"""Where the gateway took nothing, and so says nothing."""


class Demo:
    """One run."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.checks: list[tuple[str, bool]] = []
        self.rows: list[dict[str, str]] = []

    @property
    def failed(self) -> list[str]:
        """What was not as it must be."""
        return [what for what, held in self.checks if not held]

    def row(self, what: str, path: str, security: Security, decision: str, readers: str, state: str) -> None:
        """Adds a row: protection, grade and verifier are the gateway's own words."""
        checked = f"{security['grade']}, {security['verifier']}"
        cells = (what, path, str(security["protection"]), checked, decision, readers, state)
        self.rows.append(dict(zip(COLUMNS, cells, strict=True)))

    def table(self) -> Table:
        """All rows, numbered."""
        shown = Table(title="Messages: who can read them, and why that is believed")
        shown.add_column("#")
        for title in COLUMNS:
            shown.add_column(title)
        for number, row in enumerate(self.rows, 1):
            shown.add_row(str(number), *row.values())
        return shown

    def expect(self, what: str, holds: bool) -> None:
        """Says whether something is as it must be."""
        self.console.print(("[green]yes[/] " if holds else "[red]NO[/]  ") + what)
        self.checks.append((what, holds))

    def json(self) -> str:
        """The run for programs."""
        checks = [{"what": what, "held": held} for what, held in self.checks]
        return json.dumps({"messages": self.rows, "checks": checks, "failed": self.failed}, indent=2)
