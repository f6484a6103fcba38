"""The live matrix, read by a script, and held against the tests that exist and the results that ran.

A row is `| S12 | works | tests/api/test_x.py::test_y tests/api/test_x.py::TestZ::test_w | note |`: one or more test
ids, separated by one space, without parameters.
"""

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

MATRIX: Final = "docs/requirements.md"
RESULTS: Final = ".pytest_results.json"
REQUIREMENTS: Final = 94
STATES: Final = ("works", "partly", "not yet")
# A row of three cells and a note; a bar inside a cell would be a fifth cell.
_ROW: Final = re.compile(r"\| (S\d+) \| ([^|]*) \| ([^|]*?) ?\| ([^|]*?) ?\|")
_EVERYDAY: Final = ("", "not long")
"""Marker expressions of a run that is meant to be whole."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the matrix says of one requirement."""

    number: str
    state: str
    tests: tuple[str, ...]
    note: str


def read(text: str) -> list[Row]:
    """The rows of the matrix, in the order of the page.

    Raises:
        ValueError: a line begins as a row and is none, or its state is not one of the three words.
    """
    rows = []
    for line in text.splitlines():
        if not re.match(r"\|\s*S\d", line):
            continue
        found = _ROW.fullmatch(line)
        if found is None or found[2] not in STATES:
            raise ValueError(f"not a row of the matrix: {line[:60]}")
        rows.append(Row(found[1], found[2], tuple(found[3].split()), found[4]))
    return rows


def exists(root: Path, test: str) -> bool:
    """Whether pytest would collect a test of this id in an everyday run: file, then classes, then the function."""
    file, *names = test.split("::")
    path = root / file
    if not names or not path.is_file() or not re.fullmatch(r"tests/(?:\w+/)*test_\w+\.py", file):
        return False
    body: Sequence[ast.stmt] = ast.parse(path.read_text()).body
    for name in names[:-1]:
        classes = [node for node in body if isinstance(node, ast.ClassDef) and node.name == name]
        if not classes or not name.startswith("Test"):
            return False
        body = classes[-1].body
    functions = [
        node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == names[-1]
    ]
    return bool(functions) and names[-1].startswith("test") and not _is_long(functions[-1])


def _is_long(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(decorator) == "pytest.mark.long" for decorator in function.decorator_list)


def outcomes(reports: Iterable[pytest.TestReport]) -> dict[str, str]:
    """What became of each test without its parameters: `passed` only where no variant failed or was skipped."""
    gravity = {"passed": 0, "skipped": 1, "failed": 2}
    found: dict[str, str] = {}
    for report in reports:
        if report.when != "call" and report.outcome == "passed":
            continue
        test = report.nodeid.partition("[")[0]
        found[test] = max(found.get(test, "passed"), report.outcome, key=gravity.__getitem__)
    return found


def unproven(rows: Iterable[Row], ran: Mapping[str, str]) -> list[str]:
    """The claims of the matrix that no passing test stood behind in a run, each with its reason."""
    return [
        f"{row.number}: {test}: {ran.get(test, 'did not run')}"
        for row in rows
        for test in row.tests
        if ran.get(test) != "passed"
    ]


def finish(session: pytest.Session) -> list[str]:
    """At the end of a whole run: writes the results beside the configuration, and gives what is unproven.

    A run of chosen files, keywords or markers says nothing about the matrix: it writes nothing and gives nothing.
    """
    config = session.config
    option = config.option
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if not whole or option.keyword or option.collectonly or option.markexpr not in _EVERYDAY or option.deselect:
        return []
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return []
    reports = [report for kind in reporter.stats.values() for report in kind if isinstance(report, pytest.TestReport)]
    ran = outcomes(reports)
    (config.rootpath / RESULTS).write_text(json.dumps(ran, indent=0, sort_keys=True) + "\n")
    return unproven(read((config.rootpath / MATRIX).read_text()), ran)
