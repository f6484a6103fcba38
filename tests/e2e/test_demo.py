"""``python -m letterlock.lab.demo --once --json`` as a person or a script would call it."""

import asyncio
import json
import os
import signal
import sys

import pytest


async def demo(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "letterlock.lab.demo", *arguments, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}, start_new_session=True,
    )  # fmt: skip


@pytest.mark.attack("A3", "A16", "A17")
async def test_once_ends_by_itself_and_tells_programs_what_it_saw() -> None:
    process = await demo("--once", "--json")
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    told = json.loads(out)
    assert (process.returncode, told["failed"]) == (0, [])
    assert len(told["checks"]) >= 38
    assert all(check["held"] for check in told["checks"])
    words = {(row["protection"], row["grade, checked by"], row["state"].split(" ")[0]) for row in told["messages"]}
    assert ("E2EE", "TRACKED, gateway", "delivered,") in words
    assert ("UNKNOWN", "NONE, nobody", "quarantined") in words
    assert ("CLEAR", "NONE, nobody", "delivered") in words
    # No server surface says more than it can know.
    assert not [row for row in told["messages"] if "ATTESTED" in row["grade, checked by"]]
    assert len(told["messages"]) >= 17


async def test_without_once_it_keeps_serving_until_ctrl_c() -> None:
    process = await demo()
    assert process.stdout is not None
    seen = ""
    async with asyncio.timeout(120):
        while "curl -s " not in seen:
            line = await process.stdout.readline()
            assert line, seen
            seen += line.decode()
    assert "failed" not in seen
    url = seen.split("keeps serving at ")[1].split(" ")[0]
    host, port = url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.close()
    os.killpg(process.pid, signal.SIGINT)
    await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    with pytest.raises(OSError):
        await asyncio.open_connection(host, int(port))
