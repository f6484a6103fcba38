"""Nobody gets an engine past the table, and everything in the table runs the whole suite."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.engines.adapters import TABLE

from letterlock.client.engines import DEFAULT, ENGINES, choose
from letterlock.client.errors import EngineError, EngineReason

ROOT = Path(__file__).resolve().parents[2]
SUITE = ("test_engine_conformance.py", "test_engine_defects.py")


def test_an_adapter_is_chosen_by_name_only() -> None:
    assert choose() is choose(DEFAULT) is ENGINES[DEFAULT]
    for name in ("", "ts-mls", "rfc9420", "RINE-MLS"):
        with pytest.raises(EngineError) as caught:
            choose(name)
        assert caught.value.reason is EngineReason.UNKNOWN_ENGINE
    with pytest.raises(TypeError):
        ENGINES["another"] = ENGINES[DEFAULT]  # type: ignore[index]


def engine_modules() -> set[str]:
    """Modules of the client that hold an adapter: those which a class with the port's three verbs is in."""
    found = set()
    for path in (ROOT / "src/letterlock").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                methods = {entry.name for entry in node.body if isinstance(entry, ast.FunctionDef)}
                if {"key_packages", "take_changes", "encrypt"} <= methods and "Protocol" not in ast.unparse(node):
                    found.add(".".join(path.relative_to(ROOT / "src").with_suffix("").parts))
    return found


def test_every_adapter_that_ships_is_in_the_table_and_is_imported_nowhere_else() -> None:
    adapters = engine_modules()
    assert adapters == {factory.__module__ for factory in ENGINES.values()}
    importers = {
        path.stem
        for path in (ROOT / "src/letterlock").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module in adapters
    }
    assert importers == {"engines"}


def test_every_adapter_of_the_table_runs_the_whole_suite() -> None:
    assert set(ENGINES) < set(TABLE)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *(f"tests/engines/{name}" for name in SUITE)]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
    found: dict[str, set[str]] = {}
    for module, test, variant in re.findall(r"^tests/engines/(\w+\.py)::(\w+)(.*)$", listed, re.MULTILINE):
        for name in TABLE:
            rest = re.sub(rf"(?<=[\[-]){re.escape(name)}(?=[\]-])", "*", variant, count=1)
            if rest != variant:
                found.setdefault(f"{module}::{test}{rest}", set()).add(name)
        assert module in SUITE
    written = {
        f"{module}::{node.name}"
        for module in SUITE
        for node in ast.parse((ROOT / "tests/engines" / module).read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert {name.split("[")[0] for name in found} == written
    assert {name: who for name, who in found.items() if who != set(TABLE)} == {}
