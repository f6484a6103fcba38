"""The Node process that runs ts-mls for the tests: JSON lines in and out, nothing kept between two calls."""

import json
import shutil
import subprocess
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any, Final

import pytest

from letterlock.client.errors import EngineError, EngineReason

FOLDER: Final = Path(__file__).parent / "node"
OLDEST_NODE: Final = 20

_REASONS: Final = {
    "not_for_us": EngineReason.NOT_FOR_US,
    "own_message": EngineReason.OWN_MESSAGE,
    "state": EngineReason.STATE_DAMAGED,
}


def node() -> str | None:
    """Node, where it is new enough."""
    found = shutil.which("node")
    if found is None:
        return None
    shown = subprocess.run([found, "--version"], capture_output=True, text=True, check=False, timeout=60).stdout
    major = shown.removeprefix("v").split(".")[0]
    return found if major.isdigit() and int(major) >= OLDEST_NODE else None


class Sidecar:
    """One Node process. Skips the test loudly where Node, or what it needs, is missing."""

    def __init__(self) -> None:
        found = node()
        if found is None:
            pytest.skip(f"NEEDS NODE: version {OLDEST_NODE} or newer with npm, for a second MLS implementation")
        if not (FOLDER / "node_modules" / "ts-mls").is_dir():
            pytest.skip("NEEDS NODE MODULES: run scripts/test-setup.sh, for a second MLS implementation")
        self._process = subprocess.Popen(
            [found, "sidecar.mjs"], cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """One operation; bytes become base64 on the way.

        Raises:
            EngineError: it was refused.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"op": operation, **arguments}, default=_encoded) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, "the sidecar died"
        answer = json.loads(line)
        if "refused" in answer:
            raise EngineError(_REASONS.get(answer["refused"], EngineReason.REFUSED))
        found: dict[str, Any] = answer["ok"]
        return found

    def close(self) -> None:
        """Ends the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(60)


def raw(text: str) -> bytes:
    """Bytes of an answer."""
    return b64decode(text, validate=True)


def _encoded(value: object) -> str:
    assert isinstance(value, bytes)
    return b64encode(value).decode()
