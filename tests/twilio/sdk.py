"""An official library in a process of its own: one operation a line in, one answer a line out."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from tests.engines.sidecar import node

SDKS: Final = Path(__file__).parent.parent / "sdks"
WAIT_S: Final = 60


class Library:
    """One process of it. ``call`` blocks in a thread, so that a gateway in this process can answer."""

    def __init__(self, command: list[str], base: str, account: str, token: str) -> None:
        self._process = subprocess.Popen(
            [*command, base, account, token], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    async def call(self, operation: str, argument: Any = None) -> dict[str, Any]:
        """What came of one operation: ``ok``, or ``error`` with its parts."""
        return await asyncio.wait_for(asyncio.to_thread(self._call, operation, argument), WAIT_S)

    def _call(self, operation: str, argument: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([operation, argument]) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    async def done(self, operation: str, argument: Any = None) -> Any:
        """What an operation that succeeds gives."""
        answer = await self.call(operation, argument)
        assert "ok" in answer, answer
        return answer["ok"]

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait(timeout=30)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def python_library(base: str, account: str, token: str) -> Library:
    """The package ``twilio`` of PyPI; skips loudly where it is missing."""
    interpreter = SDKS / "python" / ".venv" / "bin" / "python"
    if not (SDKS / "python" / ".venv" / ".lock").is_file():
        pytest.skip("NEEDS SDKS: run scripts/test-setup.sh, for the official libraries")
    return Library([str(interpreter), str(SDKS / "python" / "call.py")], base, account, token)


def node_library(base: str, account: str, token: str) -> Library:
    """The package ``twilio`` of npm; skips loudly where it is missing."""
    found = node()
    if found is None:
        pytest.skip("NEEDS NODE: version 20 or newer with npm, for the official libraries")
    if not (SDKS / "node" / "node_modules" / "twilio").is_dir():
        pytest.skip("NEEDS NODE MODULES: run scripts/test-setup.sh, for the official libraries")
    return Library([found, str(SDKS / "node" / "call.mjs")], base, account, token)
