"""A message centre in a process of its own, with the phones behind it."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from typing import Any, Final

from letterlock.lab.smsc.__main__ import PASSWORD_VARIABLE

START_S: Final = 30
STOP_S: Final = 15
SYSTEM_ID: Final = "letterlock"
PASSWORD: Final = "labdemo"  # noqa: S105 - of a laboratory centre on loopback


@dataclass
class CentreProcess:
    """A running message centre: its SMPP port and its control port, both on loopback."""

    process: asyncio.subprocess.Process
    port: int
    control_port: int

    async def tell(self, **request: object) -> dict[str, Any]:
        """One request to the control port (see :mod:`letterlock.lab.smsc.control`), and its answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.control_port)
        try:
            writer.write(json.dumps(request).encode() + b"\n")
            await writer.drain()
            answer: dict[str, Any] = json.loads(await reader.readline())
            return answer
        finally:
            writer.close()
            await writer.wait_closed()

    async def inbox(self, number: str) -> list[str]:
        """The texts on a phone's screen."""
        return [message["text"] for message in (await self.tell(do="inbox", phone=number))["messages"]]

    async def stop(self) -> None:
        """Ends it in order."""
        if self.process.returncode is None:
            self.process.terminate()
            await asyncio.wait_for(self.process.wait(), STOP_S)


async def start_centre() -> CentreProcess:
    """Starts one on free loopback ports, with one account: :data:`SYSTEM_ID` and :data:`PASSWORD`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "letterlock.lab.smsc", "--system-id", SYSTEM_ID, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), PASSWORD_VARIABLE: PASSWORD},
    )  # fmt: skip
    assert process.stdout is not None
    ports = json.loads(await asyncio.wait_for(process.stdout.readline(), START_S))
    return CentreProcess(process, ports["port"], ports["control_port"])
