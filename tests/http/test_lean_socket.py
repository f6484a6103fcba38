"""The light parts of a connection behave as the heavy ones that they replace."""

import asyncio
import socket

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from letterlock.faces.http.asgi import Receive, Scope, Send
from letterlock.faces.http.lean_socket import Inbox, LeanSocket
from letterlock.gateway.hub import Bell


async def test_a_bell_wakes_who_waits_and_who_comes_later() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert not bell.is_set()
    bell.set()
    bell.set()
    await waiting
    assert bell.is_set()
    await bell.wait()
    bell.clear()
    again = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    assert not again.done(), "cleared: the next wait waits"
    again.cancel()
    with pytest.raises(asyncio.CancelledError):
        await again
    bell.set()
    await bell.wait()


async def test_a_bell_that_is_cleared_before_the_waiter_ran_has_still_woken_it() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    bell.set()
    bell.clear()
    await asyncio.wait_for(waiting, 5)


@given(st.lists(st.sampled_from(["put", "get"]), max_size=40))
def test_an_inbox_gives_each_item_once_in_order(steps: list[str]) -> None:
    async def play() -> None:
        inbox, queue, number = Inbox(), asyncio.Queue[int](), 0
        for step in steps:
            if step == "put":
                inbox.put_nowait(number)
                queue.put_nowait(number)
                number += 1
            elif not queue.empty():
                assert await inbox.get() == await queue.get()
            assert inbox.empty() == queue.empty()

    asyncio.run(play())


async def test_an_inbox_wakes_its_reader() -> None:
    inbox = Inbox()
    reader = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    inbox.put_nowait("first")
    inbox.put_nowait("second")
    assert (await reader, await inbox.get()) == ("first", "second")


async def test_an_accepted_connection_has_forgotten_its_handshake_and_serves_on() -> None:
    seen: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert any(name == b"x-long" for name, _ in scope["headers"]), "before it, the header fields are there"
        await send({"type": "websocket.accept"})
        seen.append(len(scope["headers"]))
        protocol = send.__self__  # type: ignore[attr-defined]
        seen.append(len(protocol.request.headers) + len(protocol.response.headers))
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "bytes": message["bytes"]})

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, ws=LeanSocket, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        url = f"ws://127.0.0.1:{listening.getsockname()[1]}/"
        async with connect(url, additional_headers={"X-Long": "x" * 500}, proxy=None) as client:
            for number in range(100):
                await client.send(b"%d" % number)
            assert [await client.recv() for _ in range(100)] == [b"%d" % number for number in range(100)]
        assert seen == [0, 0]
    finally:
        server.should_exit = True
        await task
