"""Two devices with a real MLS engine through a real gateway process: delivery, restarts, and what is left on disk."""

import asyncio
import io
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from letterlock.client import events
from letterlock.client.events import Received
from letterlock.lab.demo.__main__ import run
from letterlock.lab.demo.world import GatewayProcess, Phone, enrol, received, start_gateway, until
from letterlock.lab.sweep import Canary, Directory, sweep
from letterlock.model.ids import GroupRef


async def pair(work: Path, gateway: GatewayProcess) -> tuple[Phone, Phone]:
    return await enrol(work, gateway, "alice", "lab"), await enrol(work, gateway, "bob", "lab")


async def one_message(alice: Phone, bob: Phone) -> tuple[GroupRef, Received]:
    """Both connected, in a group of theirs; the group, and what came of the words that alice sent."""
    group = await alice.device.create_group()
    await alice.device.add_account(group, bob.device.account)
    alice.connect()
    bob.connect()
    await alice.device.send(group, b"words")
    assert await until(lambda: len(received(bob)) == 1)
    (event,) = received(bob)
    return group, event


def ledger_verifies(folder: Path) -> bool:
    command = [sys.executable, "-m", "letterlock.app.cli", "ledger", "verify", "--data", str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, check=False, capture_output=True, env=environment).returncode == 0


@pytest.mark.attack("A3", "A16")
async def test_the_demonstration_holds() -> None:
    shown = io.StringIO()
    status = await run(True, Console(file=shown, width=400))
    assert status == 0, shown.getvalue()
    assert "quarantine" in shown.getvalue()
    # Only the receiving phone, on its own screen, may say so; the gateway's grade never does.
    table = shown.getvalue().split("Messages:")[1].split("ledger")[0]
    assert "the phone verified it" in table
    assert "verified" not in table.replace("the phone verified it", "")
    shells = [line for line in table.splitlines() if "shell" in line]
    assert shells
    assert not any("verified" in line for line in shells)


async def test_an_offline_device_gets_everything_once_in_order(tmp_path: Path) -> None:
    gateway = await start_gateway(tmp_path)
    alice, bob = await pair(tmp_path, gateway)
    try:
        alice.connect()
        group = await alice.device.create_group()
        await alice.device.add_account(group, bob.device.account)
        texts = [f"message {number} {os.urandom(8).hex()}" for number in range(30)]
        for text in texts:
            await alice.device.send(group, text.encode())
        assert await until(lambda: not alice.device.waiting(0, 10))
        bob.connect()
        assert await until(lambda: len(received(bob)) >= len(texts))
        assert [event.content.decode() for event in received(bob)] == texts
        await asyncio.sleep(1.5)
        assert ledger_verifies(gateway.folder)
        report = sweep([Canary(f"text {n}", text) for n, text in enumerate(texts)], [Directory(tmp_path, "all files")])
        assert report.proven
        assert report.hits == 0
    finally:
        await alice.close()
        await bob.close()
        await gateway.stop()


@pytest.mark.parametrize("cycles", [3, pytest.param(30, marks=pytest.mark.long)])
async def test_kill_9_loses_nothing_and_applies_nothing_twice(tmp_path: Path, cycles: int) -> None:
    seed = random.Random(cycles)
    gateway = await start_gateway(tmp_path)
    alice, bob = await pair(tmp_path, gateway)
    group = await alice.device.create_group()
    await alice.device.add_account(group, bob.device.account)
    await bob.device.sync()
    sent: list[str] = []
    for cycle in range(cycles):
        for number in range(10):
            text = f"cycle {cycle} message {number} {os.urandom(6).hex()}"
            await alice.device.send(group, text.encode())
            sent.append(text)
        flushing = asyncio.create_task(alice.device.flush())
        await asyncio.sleep(seed.random() * 0.05)
        await gateway.kill()
        await asyncio.gather(flushing, return_exceptions=True)
        gateway = await start_gateway(tmp_path)
        for phone in (alice, bob):
            phone.http.base_url = gateway.url
    # One flush sends a frame's worth at most, and more than that may have been left behind by the kills.
    while await alice.device.flush():
        pass
    assert not alice.device.waiting(0, 10)
    while await bob.device.sync():
        pass
    got = [event.content.decode() for event in received(bob)]
    assert got == sent
    assert not [event for _, event in bob.device.inbox() if isinstance(event, events.Finding)]
    await asyncio.sleep(1.5)
    assert ledger_verifies(gateway.folder)
    await alice.close()
    await bob.close()
    await gateway.stop()
