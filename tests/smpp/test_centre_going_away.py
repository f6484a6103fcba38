"""A message centre that goes away takes every connection along, those of the last moment too."""

import asyncio
import socket

import pytest

from letterlock.lab.smsc import LabSmsc


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_a_connection_that_was_just_taken_ends_too(turns: int) -> None:
    centre = LabSmsc({"letter": "pw"})
    await centre.come_back()
    with socket.create_connection(("127.0.0.1", centre.port)) as caller:
        caller.settimeout(10)
        for _ in range(turns):
            await asyncio.sleep(0)
        await centre.go_away()
        loop = asyncio.get_running_loop()
        try:
            ended = await loop.run_in_executor(None, caller.recv, 1)
        except ConnectionResetError:
            ended = b""
        assert ended == b""


async def test_those_that_keep_coming_end_too() -> None:
    centre = LabSmsc({"letter": "pw"})
    await centre.come_back()
    callers: list[socket.socket] = []
    many = asyncio.Event()

    async def calls() -> None:
        while len(callers) < 500:
            try:
                callers.append(socket.create_connection(("127.0.0.1", centre.port), 10))
            except OSError:
                return
            if len(callers) == 20:
                many.set()
            await asyncio.sleep(0)

    calling = asyncio.create_task(calls())
    await many.wait()
    await centre.go_away()
    await calling
    assert len(callers) < 500, "the last was refused"
    loop = asyncio.get_running_loop()
    for caller in callers:
        with caller:
            try:
                ended = await loop.run_in_executor(None, caller.recv, 1)
            except ConnectionResetError:
                ended = b""
            assert ended == b""
