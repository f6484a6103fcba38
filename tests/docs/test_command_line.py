"""Commands do what their help says, end with the documented status, and never repeat a value that may be secret."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def letterlock(*arguments: str) -> subprocess.CompletedProcess[str]:
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
