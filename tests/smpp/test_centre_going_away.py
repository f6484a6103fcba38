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
