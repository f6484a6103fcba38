"""Fixtures for adopters' tests: a gateway, phones and a message centre, each in processes of their own.

Load it with ``pytest_plugins = ["letterlock.lab.pytest_plugin"]`` (needs ``pytest-asyncio``)::

    async def test_it(letterlock_gateway, letterlock_phone):
        alice, bob = await letterlock_phone(IOS_26_3), await letterlock_phone(ANDROID_RCS)
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio

from letterlock.lab.demo.world import GatewayProcess, start_gateway
from letterlock.lab.phones import PhoneProcess, Profile

PhoneMaker = Callable[[Profile], Awaitable[PhoneProcess]]


@dataclass
class CentreProcess:
    """A message centre that was started for a test."""

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


@pytest_asyncio.fixture
async def letterlock_gateway(tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    """A gateway on a free loopback port with an empty store."""
    work = tmp_path / "gateway"
    work.mkdir()
    gateway = await start_gateway(work)
    yield gateway
    await gateway.stop()


@pytest_asyncio.fixture
async def letterlock_phone(letterlock_gateway: GatewayProcess, tmp_path: Path) -> AsyncIterator[PhoneMaker]:
    """Makes phones that are enrolled at the gateway and connected."""
    made: list[PhoneProcess] = []

    async def make(profile: Profile) -> PhoneProcess:
        folder = tmp_path / f"phone-{len(made)}"
        folder.mkdir(mode=0o700)
        phone = await PhoneProcess.start(profile, folder)
        made.append(phone)
        await phone.enrol(letterlock_gateway.url, letterlock_gateway.api_key)
        await phone.tell("connect")
        return phone

    yield make
    for phone in made:
        await phone.stop()


@pytest_asyncio.fixture
async def letterlock_smsc() -> AsyncIterator[CentreProcess]:
    """A message centre with the account ``letterlock`` and the password ``secret``."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "letterlock.lab.smsc",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    ports = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    yield CentreProcess(process, ports["port"], ports["control_port"])
    process.terminate()
    await process.wait()
