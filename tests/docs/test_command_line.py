"""What the command line prints is the data that the gateway runs on."""

import json
import os
import subprocess
import sys


def letterlock(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "letterlock.app.cli", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def test_transports_prints_the_rows_that_routing_uses() -> None:
    from letterlock.transports.registry import CAPABILITIES

    printed = json.loads(letterlock("transports", "--json").stdout)
    assert [row["protection at best"] for row in printed] == [row.ceiling.value for row in CAPABILITIES]
    assert [row["transport"] for row in printed] == [row.title for row in CAPABILITIES]
