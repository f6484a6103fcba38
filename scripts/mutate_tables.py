"""Mutants that mutmut does not make: another member of an enum, and a table or tuple without one of its elements.

mutmut changes what stands in functions, and no attribute. The guards, the table of protections and the table of
fallbacks are data: this changes every word of them. Each mutant runs in a process of its own that has not imported
the package yet, against the tests of its room.
"""

import ast
import copy
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
TESTS = {
    "letterlock/policy/guards.py": ("tests/policy/test_guards_by_hand.py", "tests/policy"),
    "letterlock/model/protection.py": ("tests/model_bodies/test_protection.py",),
    "letterlock/assurance/fallback.py": ("tests/assurance/test_fallback.py",),
}
"""What is changed, and the tests that have to notice, the likeliest first."""
OPTIONS = ("-x", "-q", "-p", "no:warnings", "-p", "no:schemathesis", "-m", "not long", "--hypothesis-profile=mutation")
"""As in pyproject.toml for mutmut. Warnings stay out of it, for what is imported before the forks would be one."""
LIMIT_S = 180
"""A mutant that runs longer hangs: noticed."""


@dataclass(frozen=True, slots=True)
class TableMutant:
    """One change: where it is, the line as it was, what became of it, and the whole module with it."""

    file: str
    where: str
    was: str
    now: str
    source: str


def _module_name(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def _fields(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Every node below, with how it hangs on its parent; annotations change nothing at run time."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns"}:
            continue
        for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST):
                yield node, name, place, child
                yield from _fields(child)


def _changes(node: ast.AST, module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Other forms of a node, each with a word for it."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        owner = getattr(module, node.value.id, None)
        if isinstance(owner, type) and issubclass(owner, Enum) and node.attr in owner.__members__:
            members = list(owner.__members__)
            if len(members) == 1:
                return  # there is no other one
            other = members[(members.index(node.attr) + 1) % len(members)]
            changed = copy.deepcopy(node)
            changed.attr = other
            yield f"{node.value.id}.{other}", changed
    if isinstance(node, ast.Tuple | ast.Set | ast.List) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
        for place in range(len(node.elts)):
            shorter = copy.deepcopy(node)
            del shorter.elts[place]
            if isinstance(shorter, ast.Set) and not shorter.elts:
                continue
            yield f"without {ast.unparse(node.elts[place])[:80]}", shorter
    if isinstance(node, ast.Dict):
        for place, key in enumerate(node.keys):
            smaller = copy.deepcopy(node)
            del smaller.keys[place], smaller.values[place]
            yield f"without {ast.unparse(key)[:80] if key else '**'}", smaller


def _where(tree: ast.Module, line: int) -> str:
    for statement in tree.body:
        if statement.lineno <= line <= (statement.end_lineno or line):
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                return statement.name
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            return ", ".join(ast.unparse(target) for target in targets if target is not None)
    return ""


def _made(file: str) -> list[TableMutant]:
    """All mutants of a module. Imports it."""
    text = (SRC / file).read_text(encoding="utf-8")
    lines = text.splitlines()
    tree = ast.parse(text)
    module = importlib.import_module(_module_name(file))
    found: list[TableMutant] = []
    for parent, name, place, node in list(_fields(tree)):
        for now, changed in _changes(node, module):
            holder = getattr(parent, name)
            if place is None:
                setattr(parent, name, changed)
            else:
                holder[place] = changed
            source = ast.unparse(ast.fix_missing_locations(tree))
            if place is None:
                setattr(parent, name, node)
            else:
                holder[place] = node
            line: int = node.lineno  # type: ignore[attr-defined]
            found.append(TableMutant(file, _where(tree, line), lines[line - 1].strip(), now, source))
    return found


def control(file: str) -> TableMutant:
    """A mutant that changes nothing: it must survive, or nothing that is found out about the others means anything."""
    return TableMutant(file, "", "", "", (SRC / file).read_text(encoding="utf-8"))


def _make_into(file: str, end: Any) -> None:
    sys.path.insert(0, str(SRC))
    end.send(_made(file))


def mutants_of(file: str) -> list[TableMutant]:
    """All mutants of a module, made in another process, so that this one has not imported it."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_make_into, args=(file, theirs))
    process.start()
    theirs.close()
    made: list[TableMutant] = ours.recv()
    process.join()
    return made


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Gives one module another source."""

    def __init__(self, mutant: TableMutant) -> None:
        self._name = _module_name(mutant.file)
        self._source = mutant.source

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        del path, target
        return importlib.util.spec_from_loader(fullname, self) if fullname == self._name else None

    def get_source(self, fullname: str) -> str:
        del fullname
        return self._source


def _judge(mutant: TableMutant) -> int:
    """In a process of its own: the status of the tests."""
    import pytest

    sys.meta_path.insert(0, _Changed(mutant))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    for test in TESTS[mutant.file]:
        status = pytest.main([*OPTIONS, "--rootdir", str(ROOT), str(ROOT / test)])
        if status:
            return int(status)
    return 0


def _start(mutant: TableMutant) -> int:
    child = os.fork()
    if child == 0:
        status = 2
        try:
            status = _judge(mutant)
        finally:
            os._exit(status)
    return child


def survivors(mutants: list[TableMutant], at_once: int) -> list[TableMutant]:
    """Runs all of them; those that no test noticed."""
    import hypothesis.stateful  # noqa: F401 - before the forks, so that it is imported once
    import msgspec  # noqa: F401
    import pytest  # noqa: F401

    waiting = list(reversed(mutants))
    running: dict[int, tuple[TableMutant, float]] = {}
    left: list[TableMutant] = []
    while waiting or running:
        while waiting and len(running) < at_once:
            mutant = waiting.pop()
            running[_start(mutant)] = (mutant, time.monotonic())
        child, status = os.waitpid(-1, os.WNOHANG)
        if child in running:
            mutant, _ = running.pop(child)
            if os.waitstatus_to_exitcode(status) == 0:
                left.append(mutant)
            continue
        for late, (_, since) in running.items():
            if time.monotonic() - since > LIMIT_S:
                os.kill(late, signal.SIGKILL)
        time.sleep(0.02)
    return sorted(left, key=mutants.index)
