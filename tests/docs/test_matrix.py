"""The live matrix is true: all rows, the three words, and tests that exist."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"\| (S\d+) \| (works|partly|not yet) \| (\S*) \| (.*) \|")
ROWS = [
    match.groups() for line in (ROOT / "docs/requirements.md").read_text().splitlines() if (match := ROW.match(line))
]


def exists(test: str) -> bool:
    file, _, name = test.partition("::")
    if not (ROOT / file).is_file():
        return False
    functions = [
        node.name
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
    ]
    return name in functions if name else bool(functions)


def test_every_requirement_has_one_row() -> None:
    assert [row[0] for row in ROWS] == [f"S{number}" for number in range(1, 95)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_that_claims_something_names_a_test_that_exists(row: tuple[str, str, str, str]) -> None:
    _, state, test, _ = row
    assert bool(test) == (state != "not yet")
    assert not test or exists(test)


def test_the_check_itself_can_fail() -> None:
    assert not exists("tests/docs/test_matrix.py::test_that_is_not_there")
    assert not exists("tests/docs/no_such_file.py")
    assert exists("tests/docs/test_matrix.py::test_every_requirement_has_one_row")


def letterlock(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "letterlock.app.cli", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def test_transports_prints_the_rows_that_routing_uses() -> None:
    from letterlock.transports.registry import CAPABILITIES

    printed = json.loads(letterlock("transports", "--json").stdout)
    assert [row["protection at best"] for row in printed] == [row.ceiling.value for row in CAPABILITIES]
    assert [row["transport"] for row in printed] == [row.title for row in CAPABILITIES]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("policy", "check"), 0),
        (("policy", "explain", "traffic=conversation", "--json"), 0),
        (("config", "explain", "--defaults"), 0),
        (("ledger", "verify", "--data", "/nonexistent"), 2),
        (("serve", "--config", "/nonexistent"), 40),
        (("no-such-command",), 2),
    ],
)
def test_commands_end_as_documented_and_never_with_a_traceback(arguments: tuple[str, ...], status: int) -> None:
    done = letterlock(*arguments)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[server]\nhostt = 'x'", "unknown key"),
        ("[server]\nhost = '0.0.0.0'", "tls"),
        ("[sms]\npassword = 'secret-canary'", "reference"),
        ("environment = 'prod'", "dev"),
        ("[server]\nport = 'secret-canary'", "server.port"),
        ("= broken", "toml"),
    ],
)
def test_settings_that_are_not_safe_are_refused_without_repeating_values(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "letterlock.toml").write_text(text)
    done = letterlock("serve", "--config", str(tmp_path / "letterlock.toml"))
    assert done.returncode == 40
    assert word in done.stderr
    assert "secret-canary" not in done.stderr + done.stdout
