"""Fixtures for adopters' tests: a gateway, phones and a message centre, each in processes of their own.

Load it with ``pytest_plugins = ["letterlock.lab.pytest_plugin"]`` (needs ``pytest-asyncio``)::

    async def test_it(letterlock_gateway, letterlock_phone):
        alice, bob = await letterlock_phone(IOS_26_3), await letterlock_phone(ANDROID_RCS)
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest_asyncio

from letterlock.lab.demo.centre import CentreProcess, start_centre
from letterlock.lab.demo.world import GatewayProcess, start_gateway
from letterlock.lab.phones import PhoneProcess, Profile

PhoneMaker = Callable[[Profile], Awaitable[PhoneProcess]]


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
    """A message centre with one account (see :mod:`letterlock.lab.demo.centre`)."""
    centre = await start_centre()
    yield centre
    await centre.stop()
