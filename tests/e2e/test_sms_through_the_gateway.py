"""Readable messages through a real gateway process and a real message centre: bad luck, and nothing lost."""

import asyncio
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from letterlock.lab.demo.centre import start_centre
from letterlock.lab.demo.world import GatewayProcess, start_gateway
from letterlock.lab.sweep import Canary, Directory, sweep

NUMBER = "+4915155572693"


def tenant(gateway: GatewayProcess) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {gateway.api_key}"}
    return httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=20)


async def notice(gateway: GatewayProcess, text: str) -> str:
    async with tenant(gateway) as http:
        answer = await http.post("/v1/messages", json={"to": NUMBER, "text": text, "traffic": "notification"})
    assert answer.status_code == 202, answer.text
    taken: dict[str, Any] = answer.json()
    assert taken["state"] == "queued"
    return str(taken["id"])


async def until_delivered(gateway: GatewayProcess, messages: list[str]) -> None:
    waiting = list(messages)
    async with tenant(gateway) as http:
        for _ in range(600):
            views = [(await http.get(f"/v1/messages/{message}")).json() for message in waiting]
            waiting = [view["id"] for view in views if view["state"] != "delivered"]
            if not waiting:
                return
            await asyncio.sleep(0.05)
    pytest.fail("not delivered")


@pytest.mark.parametrize("cycles", [2, pytest.param(20, marks=pytest.mark.long)])
async def test_the_centre_goes_away_and_the_gateway_is_killed(tmp_path: Path, cycles: int) -> None:
    centre = await start_centre()
    gateway = await start_gateway(tmp_path, centre.port)
    texts: list[str] = []
    messages: list[str] = []
    try:
        for cycle in range(cycles):
            assert (await centre.tell(do="away"))["ok"]
            before = await centre.inbox(NUMBER)
            for number in range(3):
                texts.append(f"canary {cycle} {number} {os.urandom(6).hex()}")
                messages.append(await notice(gateway, texts[-1]))
            await gateway.kill()
            assert await centre.inbox(NUMBER) == before
            gateway = await start_gateway(tmp_path, centre.port)
            assert (await centre.tell(do="back"))["ok"]
            await until_delivered(gateway, messages[-3:])
        # Nothing was handed over when the process died, so each came once; only the order may differ.
        assert sorted(await centre.inbox(NUMBER)) == sorted(texts)
        await asyncio.sleep(2.5)
        canaries = [Canary(f"text {at}", text) for at, text in enumerate(texts)]
        canaries.append(Canary("number", NUMBER[1:], is_number=True))
        report = sweep(canaries, [Directory(tmp_path, "gateway files and log")])
        assert report.proven
        assert report.hits == 0, report.lines()
    finally:
        await gateway.stop()
        await centre.stop()
