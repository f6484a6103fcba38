"""The Promela model: no reachable state is wrong, each planted flaw is found, and its tables are the program's."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from letterlock.assurance import fallback
from letterlock.assurance.fallback import FallbackEvent, FallbackState
from letterlock.assurance.handshake import machine
from letterlock.assurance.handshake.machine import HandshakeEvent, HandshakeState

MODEL = Path(__file__).resolve().parents[2] / "docs" / "protocol" / "model" / "model.pml"
FLAWS = sorted(set(re.findall(r"#if(?:n?)def (FLAW_[A-Z_]+)", MODEL.read_text(encoding="utf-8"))))
DEPTH = "-m20000"
"""Far beyond the longest path, which is some hundred steps: a search that was cut short says so."""

pytestmark = pytest.mark.needs("spin")


@pytest.fixture(scope="module")
def tools() -> tuple[str, str]:
    spin, compiler = shutil.which("spin"), shutil.which("cc")
    if spin is None or compiler is None:
        pytest.skip("NEEDS spin and a C compiler: apt install spin gcc libc6-dev")
    return spin, compiler


def search(tools: tuple[str, str], folder: Path, *flaws: str) -> str:
    """Every reachable state of the model; what the checker printed."""
    spin, compiler = tools
    options = [f"-D{flaw}" for flaw in flaws]
    subprocess.run([spin, *options, "-a", str(MODEL)], cwd=folder, check=True, capture_output=True, timeout=60)
    subprocess.run([compiler, "-O0", "-w", "-o", "pan", "pan.c"], cwd=folder, check=True, timeout=120)
    done = subprocess.run(["./pan", "-a", DEPTH], cwd=folder, check=False, capture_output=True, text=True, timeout=60)
    return done.stdout


def test_no_silent_step_down_is_reachable(tools: tuple[str, str], tmp_path: Path) -> None:
    told = search(tools, tmp_path)
    assert re.search(r"errors: 0$", told, re.MULTILINE)
    assert "no_silent_step_down" in told
    assert "max search depth too small" not in told
    states = re.search(r"(\d+) states, stored", told)
    assert states is not None
    assert int(states[1]) > 1_000


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_planted_flaw_is_found(tools: tuple[str, str], tmp_path: Path, flaw: str) -> None:
    """The positive controls: one comparison or rule less, and the same search ends in an error."""
    told = search(tools, tmp_path, flaw)
    assert re.search(r"errors: [1-9]", told)
    assert "assertion violated" in told


def test_there_are_flaws_to_find() -> None:
    assert len(FLAWS) >= 5


def rows(tools: tuple[str, str], folder: Path) -> set[tuple[str, str, str]]:
    """State, event and state after, for every pair that the model's own steps take."""
    tries = [
        f"TRY(fallback_step, S_{state.value}, E_{event.value})" for state in FallbackState for event in FallbackEvent
    ]
    tries += [
        f"TRY(handshake_step, H_{state.value}, V_{event.value})" for state in HandshakeState for event in HandshakeEvent
    ]
    # One line a pair, or the preprocessor's macro would not end where it should.
    attempt = '{ t = from; step(t, event); if :: ok -> printf("%e %e %e\\n", from, event, t) :: else fi }'
    driver = folder / "tables.pml"
    driver.write_text(
        "\n".join(
            ["#define TABLES", f'#include "{MODEL}"', f"#define TRY(step, from, event) {attempt}", "init {", "mtype t;"]
            + [f"{one};" for one in tries]
            + ["}\n"]
        )
    )
    done = subprocess.run(
        [tools[0], "-T", str(driver)], cwd=folder, check=True, capture_output=True, text=True, timeout=60
    )
    found = re.findall(r"^\s*(\w+) (\w+) (\w+)$", done.stdout, re.MULTILINE)
    return {(before, event, after) for before, event, after in found if before[:2] in {"S_", "H_"}}


def test_model_and_program_have_the_same_tables(tools: tuple[str, str], tmp_path: Path) -> None:
    """All pairs of state and event: 13 x 14 of the fallback, 6 x 10 of the handshake, each run through both."""
    program = {
        (f"S_{state.value}", f"E_{event.value}", f"S_{after.value}")
        for state, row in fallback.TRANSITIONS.items()
        for event, after in row.items()
    } | {
        (f"H_{state.value}", f"V_{event.value}", f"H_{after.value}")
        for state, row in machine.TRANSITIONS.items()
        for event, after in row.items()
    }
    assert rows(tools, tmp_path) == program
    assert len(program) > 60
