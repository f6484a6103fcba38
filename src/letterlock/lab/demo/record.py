"""What a run shows: rows for people, and whether everything was as it must be."""

import json
from typing import Any, Final

from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

COLUMNS: Final = ("message", "path", "protection", "grade, checked by", "decision", "who can read it", "state")
RELAY: Final = "relay, MLS"
SMS: Final = "SMS"
Security = dict[str, Any]
NOTHING: Final[Security] = {"protection": "-", "grade": "-", "verifier": "-"}
"""Where the gateway took nothing, and so says nothing."""
LEGEND: Final = (
    "Protection: who can read the content on that path. Grade: why the gateway believes it.",
    "TRACKED: it has the form of MLS ciphertext, from a member of a group that the gateway checked.",
    "  The gateway has no key and cannot look inside; the phones can, and the last column says what they found.",
    "NONE: nothing was checked. CLEAR is readable anyway; UNKNOWN claims E2EE without its form.",
    "A dash: the gateway took nothing over, so there is nothing to say of it.",
)
"""What a newcomer needs in order to read the table."""


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
        checked = "-" if security is NOTHING else f"{security['grade']}, {security['verifier']}"
        cells = (what, path, str(security["protection"]), checked, decision, readers, state)
        self.rows.append(dict(zip(COLUMNS, cells, strict=True)))

    def table(self) -> Table:
        """All rows, numbered."""
        shown = Table(
            title="Messages: who can read them, and why that is believed",
            box=HORIZONTALS,
            padding=(0, 1, 0, 0),
        )
        shown.add_column("#", justify="right")
        for title in COLUMNS:
            # Nothing is cut off: a word that is too long goes on below.
            shown.add_column(title, overflow="fold", min_width=14 if title == COLUMNS[0] else None)
        for number, row in enumerate(self.rows, 1):
            last = number == len(self.rows) or self.rows[number]["path"] != row["path"]
            cells = (cell.replace("_", " ") for cell in row.values())
            shown.add_row(str(number), *cells, end_section=last)
        return shown

    def expect(self, what: str, holds: bool) -> None:
        """Says whether something is as it must be."""
        self.console.print(("[green]yes[/] " if holds else "[red]NO[/]  ") + what)
        self.checks.append((what, holds))

    def json(self) -> str:
        """The run for programs."""
        checks = [{"what": what, "held": held} for what, held in self.checks]
        return json.dumps({"messages": self.rows, "checks": checks, "failed": self.failed}, indent=2)
