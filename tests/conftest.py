"""Shared by all tests: where others' vectors are, and loud skips."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

# How fast a shared machine is today must not decide whether a test passes.
settings.register_profile("letterlock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For mutation testing, that an example fails is all there is to know: nothing smaller is looked for.
settings.register_profile(
    "mutation", settings.get_profile("letterlock"), phases=(Phase.explicit, Phase.generate), database=None
)
settings.load_profile("letterlock")

ROOT = Path(__file__).resolve().parent.parent


def vectors_dir() -> Path:
    """Others' test vectors: ``LETTERLOCK_VECTORS``, by default beside the checkout."""
    return Path(os.environ.get("LETTERLOCK_VECTORS", str(ROOT.parent / "shared" / "vectors")))


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder with others' vectors; without it the test skips, and says so."""
    folder = vectors_dir()
    if not folder.is_dir():
        pytest.skip("NEEDS VECTORS: set LETTERLOCK_VECTORS to the folder with others' test vectors")
    return folder


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI, a claim of the requirements' matrix that this run did not show fails it; so does a skip for want of
    vectors or of Node wherever these exist."""
    from tests.docs.matrix import finish
    from tests.engines.sidecar import node

    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    missing = finish(session)
    if missing and reporter is not None:
        reporter.write_line("docs/requirements.md claims what this run did not show:")
        for line in missing:
            reporter.write_line("  " + line)
    if not os.environ.get("LETTERLOCK_CI") or reporter is None:
        return
    sdks = (ROOT / "tests" / "sdks" / "python" / ".venv" / ".lock").is_file()
    there = {"NEEDS VECTORS": vectors_dir().is_dir(), "NEEDS NODE": node() is not None, "NEEDS SDKS": sdks}
    skipped = [str(report.longrepr) for report in reporter.stats.get("skipped", [])]
    missed = [what for what, present in there.items() if present and any(what in reason for reason in skipped)]
    if missing or missed:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
