"""Server-Sent Events and a long poll over a real connection to a real gateway process."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from letterlock.lab.demo.world import enrol, start_gateway


async def events(answer: httpx.Response) -> AsyncIterator[tuple[str, dict[str, object]]]:
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def test_a_mailbox_is_followed_until_the_gateway_stops(tmp_path: Path) -> None:
    gateway = await start_gateway(tmp_path)
    alice, bob = await enrol(tmp_path, gateway, "alice", "lab"), await enrol(tmp_path, gateway, "bob", "lab")
    stopped = False
    try:
        group = await alice.device.create_group()
        await alice.device.add_account(group, bob.device.account)
        token = await bob.device.token(renew=True)
        base = f"{gateway.url}/v1/devices/{bob.device.device}/mailbox"
        headers = {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(timeout=30, headers=headers) as http:
            async with http.stream("GET", f"{base}/events?after=0") as answer:
                assert answer.headers["content-type"] == "text/event-stream"
                told = events(answer)
                assert (await anext(told))[0] == "head"
                assert (await anext(told))[1]["kind"] == "welcome"
                await alice.device.send(group, b"live")
                await alice.device.flush()
                name, item = await anext(told)
                assert (name, item["sequence"], item["kind"]) == ("item", 2, "application")
                poll = await http.get(f"{base}/wait?after=1&seconds=1")
                assert poll.json()["items"][0] == item
                # The poll was the newer one.
                assert await anext(told) == ("end", {"code": "replaced"})
            async with http.stream("GET", f"{base}/events?after=2") as answer:
                told = events(answer)
                assert (await anext(told))[0] == "head"
                await gateway.stop()
                stopped = True
                assert await anext(told) == ("end", {"code": "restarting"})
    finally:
        await alice.close()
        await bob.close()
        if not stopped:
            await gateway.stop()
