"""The live matrix is true: all rows, the three words, tests that exist, and a check of results that can fail."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from tests.docs.matrix import MATRIX, REQUIREMENTS, RESULTS, Row, exists, outcomes, read, unproven

ROOT = Path(__file__).resolve().parents[2]
ROWS = read((ROOT / MATRIX).read_text())
HERE = "tests/docs/test_matrix.py"


def test_every_requirement_has_one_row() -> None:
    assert [row.number for row in ROWS] == [f"S{number}" for number in range(1, REQUIREMENTS + 1)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.number)
def test_a_row_that_claims_something_names_tests_that_exist(row: Row) -> None:
    assert bool(row.tests) == (row.state != "not yet")
    assert len(set(row.tests)) == len(row.tests)
    assert [test for test in row.tests if not exists(ROOT, test)] == []
    if row.state == "partly":
        assert row.note, "what is missing stands in the note"


@pytest.mark.parametrize(
    "line",
    [
        "| S1 | done | tests/a.py::test_b | note |",
        "| S1 | works |  tests/a.py::test_b | note",
        "| S1 | works | tests/a.py::test_b |",
        "| S1 | works | a | b | c |",
        "|S1 | works | a | b |",
    ],
)
def test_what_is_no_row_is_an_error_and_not_passed_over(line: str) -> None:
    with pytest.raises(ValueError, match="not a row"):
        read(line)
    (row,) = read("text\n| S1 | partly | tests/a.py::test_b tests/a.py::test_c | some note |\n| id | state | test |")
    assert (row.number, row.state, row.tests, row.note) == (
        "S1", "partly", ("tests/a.py::test_b", "tests/a.py::test_c"), "some note",
    )  # fmt: skip
    assert read("| S2 | not yet |  |  |")[0].tests == ()


def test_a_test_id_is_believed_only_when_pytest_would_collect_it(tmp_path: Path) -> None:
    folder = tmp_path / "tests/x"
    folder.mkdir(parents=True)
    (folder / "test_a.py").write_text(
        "import pytest\nclass TestThing:\n    def test_in(self): ...\nclass Helper:\n    def test_no(self): ...\n"
        "def helper():\n    def test_inner(): ...\nasync def test_b(): ...\n"
        "@pytest.mark.long\ndef test_slow(): ...\n# def test_comment(): ...\n"
    )
    (folder / "helper.py").write_text("def test_b(): ...\n")
    name = "tests/x/test_a.py::"
    assert exists(tmp_path, name + "test_b")
    assert exists(tmp_path, name + "TestThing::test_in")
    for wrong in (
        "test_in", "TestThing::test_b", "Helper::test_no", "helper", "test_inner", "test_slow", "test_comment", "",
    ):  # fmt: skip
        assert not exists(tmp_path, name + wrong), wrong
    for wrong in ("tests/x/test_a.py", "tests/x/none.py::test_b", "tests/x/helper.py::test_b", "../a.py::test_b"):
        assert not exists(tmp_path, wrong), wrong
    assert exists(ROOT, f"{HERE}::test_every_requirement_has_one_row")


def report(
    test: str, outcome: Literal["passed", "failed", "skipped"], when: Literal["setup", "call", "teardown"] = "call"
) -> pytest.TestReport:
    return pytest.TestReport(test, ("f", 1, test), {}, outcome, None, when)


def test_a_claim_needs_a_test_that_ran_and_was_not_skipped() -> None:
    rows = read("| S1 | works | tests/a.py::one tests/a.py::two | |\n| S2 | not yet |  |  |")
    fine = [report("tests/a.py::one[x]", "passed"), report("tests/a.py::two", "passed")]
    assert unproven(rows, outcomes(fine)) == []
    assert unproven(rows, outcomes(fine[:1])) == ["S1: tests/a.py::two: did not run"]
    # Set-up and tear-down alone are no run; one variant that was skipped or failed spoils the test.
    assert unproven(rows, outcomes([fine[0], report("tests/a.py::two", "passed", "setup")])) != []
    assert unproven(rows, outcomes([*fine, report("tests/a.py::one[y]", "skipped", "setup")])) == [
        "S1: tests/a.py::one: skipped"
    ]
    assert unproven(rows, outcomes([*fine, report("tests/a.py::two", "failed", "teardown")])) == [
        "S1: tests/a.py::two: failed"
    ]


def test_a_whole_run_writes_its_results_and_fails_for_a_claim_without_proof(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\ntestpaths = tests\naddopts = -p no:cacheprovider\nmarkers = long: x\n"
    )
    (tmp_path / "tests/conftest.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom tests.docs.matrix import finish\n"
        "def pytest_sessionfinish(session, exitstatus):\n    if finish(session):\n        session.exitstatus = 1\n"
    )
    (tmp_path / "tests/test_a.py").write_text(
        "import pytest\ndef test_one(): ...\ndef test_two(): pytest.skip('no')\n"
        "@pytest.mark.long\ndef test_long(): ...\n"
    )
    page = tmp_path / MATRIX
    results = tmp_path / RESULTS

    def run(*arguments: str) -> int:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode

    page.write_text("| S1 | works | tests/test_a.py::test_two |  |\n")
    assert run("tests/test_a.py") == 0, "a run of chosen files says nothing about the matrix"
    assert not results.exists()
    assert run("-m", "not long") == 1
    assert json.loads(results.read_text()) == {
        "tests/test_a.py::test_one": "passed",
        "tests/test_a.py::test_two": "skipped",
    }
    page.write_text("| S1 | works | tests/test_a.py::test_one |  |\n")
    assert run("-m", "not long") == 0
