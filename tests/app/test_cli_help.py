"""The command line explains itself, starts fast, and ends as it says."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer.main
from tests.app.stores import ENVIRONMENT, called, ended, letterlock

from letterlock.app.cli import app
from letterlock.app.commands.output import EXIT_CODES, Exit

PLANNED = {
    ("serve",), ("demo",), ("chat",), ("transports",), ("fsck",), ("erase",), ("version",), ("config", "explain"),
    ("e2ee-first",),
    ("data", "inventory"), ("retention", "verify"), ("logs", "lint"), ("policy", "check"), ("policy", "explain"),
    ("policy", "prove"),
    ("ledger", "head"), ("ledger", "key"), ("ledger", "verify"), ("ledger", "prove"), ("ledger", "check-proof"),
    ("ledger", "check-receipt"), ("verify-path",), ("ledger", "consistency"), ("ledger", "export"), ("tenant", "list"),
    ("tenant", "add"), ("api-key", "list"), ("api-key", "add"), ("api-key", "revoke"),
}  # fmt: skip
WITHOUT_JSON = {("serve",)}


def leaves() -> Iterator[tuple[tuple[str, ...], object]]:
    """Every command with its path."""

    def walk(command: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield path, command
        else:
            for name, one in inner.items():
                yield from walk(one, (*path, name))

    yield from walk(typer.main.get_command(app), ())


COMMANDS = dict(leaves())


def test_the_commands_are_those_that_are_built() -> None:
    assert set(COMMANDS) == PLANNED


def test_help_mentions_every_command_and_every_exit_code() -> None:
    text = called("--help").output
    for path in COMMANDS:
        assert path[0] in text
    assert "Examples" in text
    for code in Exit:
        assert f" {int(code)} " in EXIT_CODES
    assert "40 refused to start" in " ".join(text.split())


@pytest.mark.parametrize("path", sorted(COMMANDS), ids=" ".join)
def test_every_command_explains_itself_and_has_json(path: tuple[str, ...]) -> None:
    done = called(*path, "--help")
    assert done.exit_code == 0
    assert len(done.output.split()) > 15
    assert ("--json" in done.output) == (path not in WITHOUT_JSON)


def test_help_loads_no_server() -> None:
    script = (
        "import sys; from letterlock.app.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([n for n in ('uvicorn', 'starlette', 'apsw', 'cryptography', 'asyncio') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--help"], check=True, capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_error_says_what_happened_and_what_to_do_in_words_and_in_json() -> None:
    done = letterlock("serve", "--config", "/nonexistent")
    assert done.returncode == Exit.REFUSED
    assert "not found" in done.stderr
    assert "What to do" in done.stderr
    told = json.loads(ended("config", "explain", "--config", "/nonexistent", "--json").stderr)
    assert told["error"] == "settings_file_not_found"
    assert told["exit"] == Exit.REFUSED
    assert told["do"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",), ("ledger", "prove", "x"), ("ledger", "verify", "--data", "/nonexistent"),
        ("ledger", "verify", "--from", "/"), ("policy", "explain", "traffic"), ("policy", "explain", "traffic=never"),
        ("policy", "check", "/nonexistent"), ("policy", "check", "--profile", "none"),
        ("fsck", "--data", "/nonexistent"),
        ("retention", "verify", "--data", "/nonexistent"), ("tenant", "list", "--data", "/nonexistent"),
        ("tenant", "add", "UPPER CASE"), ("tenant", "add", "x", "--profile", "none"),
        ("api-key", "revoke", "zz", "--tenant", "1"), ("api-key", "add", "--tenant", "1", "--scopes", "everything"),
        ("config", "explain", "--defaults", "--config", "x"), ("data", "inventory", "--markdown", "--json"),
        ("logs", "lint", "/nonexistent"), ("chat",), ("chat", "UPPER CASE"),
    ],
)  # fmt: skip
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
    assert called(*arguments).exit_code == Exit.USAGE


def test_the_demonstrations_status_is_passed_on_with_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def popen(command: list[str], **_: object) -> "subprocess.Popen[bytes]":
        started.append(command)
        return real([sys.executable, "-c", "raise SystemExit(7)"])

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert called("demo", "--once", "--json").exit_code == 7
    assert started[0][1:] == ["-m", "letterlock.lab.demo", "--once", "--json"]


def test_a_signal_reaches_the_demonstration(tmp_path: object) -> None:
    """SIGTERM to the command becomes the interrupt on which the laboratory ends its gateway."""
    import signal

    script = (
        "import subprocess, sys\n"
        "real = subprocess.Popen\n"
        # A shell that runs things in the background lets them ignore interrupts; the phones of a person's shell do not.
        "child = 'import signal, sys, time\\nsignal.signal(signal.SIGINT, signal.default_int_handler)'"
        " '\\ntry:\\n print(1, flush=True); time.sleep(60)\\nexcept KeyboardInterrupt: sys.exit(9)'\n"
        "subprocess.Popen = lambda command, **more: real([sys.executable, '-c', child], **more)\n"
        "from letterlock.app.cli import main\n"
        "sys.argv = ['letterlock', 'demo']\n"
        "sys.exit(main())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 9
    process.stdout.close()
