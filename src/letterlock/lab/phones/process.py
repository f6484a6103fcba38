"""A phone in a process of its own, driven from here."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from letterlock.lab.phones.commands import MAX_LINE
from letterlock.lab.phones.profile import Profile

ANSWER_S: Final = 60
STOP_S: Final = 15


class PhoneError(Exception):
    """The phone did not do what it was told; the text is its own error."""


class PhoneProcess:
    """Started by :meth:`start`, ended by :meth:`stop`."""

    def __init__(self, process: asyncio.subprocess.Process, profile: Profile) -> None:
        self.process = process
        self.profile = profile
        self.account = ""
        self._lock = asyncio.Lock()

    @classmethod
    async def start(cls, profile: Profile, folder: Path) -> Self:
        """Starts a phone with its store in a folder that exists."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "letterlock.lab.phones",
            "--profile",
            profile.name,
            "--folder",
            str(folder),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=8 * MAX_LINE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        return cls(process, profile)

    async def tell(self, do: str, **details: object) -> dict[str, Any]:
        """One command (see :mod:`letterlock.lab.phones.commands`), and its answer.

        Raises:
            PhoneError: refused, or the process ended.
            TimeoutError: no answer within :data:`ANSWER_S`.
        """
        writer, reader = self.process.stdin, self.process.stdout
        assert writer is not None
        assert reader is not None
        async with self._lock:
            writer.write(msgspec.json.encode({"do": do, **details}) + b"\n")
            await writer.drain()
            line = await asyncio.wait_for(reader.readline(), ANSWER_S)
        if not line:
            raise PhoneError("the phone's process ended")
        answer: dict[str, Any] = msgspec.json.decode(line)
        if not answer.pop("ok"):
            raise PhoneError(answer["error"])
        return answer

    async def enrol(self, url: str, tenant_key: str) -> None:
        """Registers an account for this phone."""
        self.account = (await self.tell("enrol", url=url, tenant_key=tenant_key))["account"]

    async def screen(self) -> list[dict[str, Any]]:
        """What was shown since the last call."""
        shown: list[dict[str, Any]] = (await self.tell("screen"))["shown"]
        return shown

    async def shown(self, count: int, what: str = "message", within_s: float = ANSWER_S) -> list[dict[str, Any]]:
        """Waits until so many of a kind were shown; gives everything that was.

        Raises:
            TimeoutError: they did not come.
        """
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(within_s):
            while True:
                found += await self.screen()
                if sum(1 for one in found if one["what"] == what) >= count:
                    return found
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Ends it in order, or else at once."""
        if self.process.returncode is not None:
            return
        try:
            await self.tell("stop")
            await asyncio.wait_for(self.process.wait(), STOP_S)
        except (PhoneError, TimeoutError, ConnectionError):
            self.process.kill()
            await self.process.wait()
