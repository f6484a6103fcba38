"""The threat model is true: its tests exist, every attacker is answered, its attacks are those of the marks."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.docs.matrix import exists

from letterlock.model.protection import EvidenceGrade

ROOT = Path(__file__).resolve().parents[2]
PAGE: Final = (ROOT / "docs/threat-model.md").read_text()
LETTERS: Final = "NPTIC"
PROMISES: Final = 5
ATTACKS: Final = [f"A{number}" for number in range(1, 25)]
VERDICTS: Final = {"holds", "partly", "no", "nothing to gain"}
STATES: Final = {"played", "partly", "not yet"}


def table(section: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def marks(source: str) -> Iterator[tuple[str, str]]:
    """Attack and test, for every `attack` mark in a test module."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("mark.attack"):
                for argument in decorator.args:
                    assert isinstance(argument, ast.Constant), "write the numbers out"
                    yield str(argument.value), node.name


def played() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for attack, test in marks(file.read_text()):
            found[attack].add(f"{file.relative_to(ROOT)}::{test}")
    return found


def test_every_attack_has_one_row_with_exactly_the_tests_that_play_it() -> None:
    rows = table("Attacks")
    assert [row[0] for row in rows] == ATTACKS
    listed = {row[0]: set(row[4].split()) for row in rows}
    found = played()
    assert set(found) <= set(ATTACKS)
    wrong = {attack: " ".join(sorted(found[attack])) for attack in ATTACKS if listed[attack] != found[attack]}
    assert wrong == {}, "the last cell of these rows has to be what stands here"
    for attack, state, *_ in rows:
        assert state in STATES
        assert (state == "not yet") == (not listed[attack]), attack


def test_the_search_for_marks_finds_every_spelling() -> None:
    source = (
        "@pytest.mark.attack('A1', 'A2')\ndef test_a(): ...\n@mark.attack('A3')\nasync def test_b(): ...\n"
        "# @pytest.mark.attack('A4')\n@pytest.mark.long\ndef test_c(): ...\n"
    )
    assert sorted(marks(source)) == [("A1", "test_a"), ("A2", "test_a"), ("A3", "test_b")]


@pytest.mark.parametrize("section", ["Promises", "Grades"])
def test_promises_and_grades_answer_for_every_attacker_with_a_test(section: str) -> None:
    answered: dict[str, str] = defaultdict(str)
    for subject, letters, verdict, meaning, tests in table(section):
        answered[subject] += letters.replace(" ", "")
        assert verdict in VERDICTS
        assert meaning
        assert bool(tests) or verdict in {"no", "nothing to gain"}, (subject, letters)
    assert {subject: "".join(sorted(letters)) for subject, letters in answered.items()} == dict.fromkeys(
        answered, "".join(sorted(LETTERS))
    )
    if section == "Grades":
        assert list(answered) == [grade.value for grade in EvidenceGrade]
    else:
        assert [subject[0] for subject in answered] == [str(number) for number in range(1, PROMISES + 1)]


def test_every_named_test_exists() -> None:
    named = set(re.findall(r"tests/[\w/]+\.py::\w+", PAGE))
    assert len(named) > 50
    assert [test for test in sorted(named) if not exists(ROOT, test)] == []
    assert [file for file in re.findall(r"`(tests/[\w/]+\.py)`", PAGE) if not (ROOT / file).is_file()] == []
