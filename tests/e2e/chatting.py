"""``letterlock chat`` as a process: typed to through a pipe, its JSON lines read."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

WAIT_S = 60
Event = dict[str, Any]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


class ChatProcess:
    """One run of the command."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[Event] = []
        self._news = asyncio.Event()
        self._looked = 0
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, name: str, gateway: str, key_file: Path, data: Path, *options: str) -> "ChatProcess":
        command = [sys.executable, "-m", "letterlock.app.cli", "chat", name, "--gateway", gateway, "--json"]
        process = await asyncio.create_subprocess_exec(
            *command, "--api-key-file", str(key_file), "--data", str(data), *options,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=environment(),
        )  # fmt: skip
        return cls(process)

    async def type(self, *lines: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(line + "\n" for line in lines).encode())
        await self.process.stdin.drain()

    def close_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def all(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["event"] == kind]

    def texts(self) -> list[str]:
        return [event["text"] for event in self.all("message")]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not holds():
                assert not self._reading.done(), (self.process.returncode, self.events)
                self._news.clear()
                await self._news.wait()

    async def next(self, kind: str) -> Event:
        """The next event of a kind that was not looked at."""
        found: list[Event] = []

        def there() -> bool:
            for at in range(self._looked, len(self.events)):
                if self.events[at]["event"] == kind:
                    found.append(self.events[at])
                    self._looked = at + 1
                    return True
            return False

        await self.until(there)
        return found[0]

    async def ends(self) -> tuple[int, str]:
        """Its status, and what it said on standard error."""
        assert self.process.stderr is not None
        said = await asyncio.wait_for(self.process.stderr.read(), WAIT_S)
        status = await asyncio.wait_for(self.process.wait(), WAIT_S)
        await self._reading
        return status, said.decode()

    async def quit(self) -> tuple[int, str]:
        await self.type("/quit")
        return await self.ends()

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        await self._reading

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading
        self.close_input()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            # A kill may cut the last line.
            if line.endswith(b"\n"):
                self.events.append(json.loads(line))
                self._news.set()
        self._news.set()
