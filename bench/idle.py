"""``python -m bench.idle``: what a connected device that says nothing costs in memory; then each gets a message.

The devices are real streams over loopback from one process beside the server. Memory is what the kernel says of the
server's process: resident and proportional set, before the first device, with all of them, and after the messages.
"""

import argparse
import asyncio
import base64
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from websockets.asyncio.client import ClientConnection

from bench import servers
from bench.generator import answered, newer_state, open_stream, reference
from bench.provision import Party, World, private_message, provision
from letterlock.wire import stream as frames

AT_ONCE = 100
"""Devices that connect at the same time."""
SPARE_FILES = 200


def memory_mb(pid: int) -> dict[str, float]:
    """Resident and proportional memory of a process."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in {"Rss", "Pss"}:
            found[name.lower()] = int(value.split()[0]) / 1024
    return found


async def connect_all(port: int, devices: list[Party]) -> list[ClientConnection]:
    """All streams, some at a time."""
    found: list[ClientConnection] = []
    for first in range(0, len(devices), AT_ONCE):
        some = devices[first : first + AT_ONCE]
        found += await asyncio.gather(*(open_stream(port, device) for device in some))
        if sys.stderr.isatty():
            print(f"\r{len(found)} of {len(devices)} devices are connected", end="", file=sys.stderr, flush=True)
    return found


async def received(connection: ClientConnection) -> int:
    """Waits for one message, acknowledges it; how many came."""
    frame = frames.decode_server(bytes(await connection.recv()))  # type: ignore[arg-type]
    assert isinstance(frame, frames.Deliver)
    await connection.send(frames.encode_ack(frame.first_seq + len(frame.items) - 1, newer_state()))
    return len(frame.items)


async def tell_all(world: World, port: int) -> None:
    """One message to each group, over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for pair in world.pairs:
        ref, body = base64.b64encode(reference()), base64.b64encode(private_message(pair.group_id))
        payload = b'{"state_counter":%d,"messages":[{"client_message_id":"%b","body":"%b"}]}' % (
            newer_state(), ref, body,
        )  # fmt: skip
        writer.write(
            f"POST /v1/groups/grp_{pair.ref.hex()}/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {pair.sender.token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(payload)}\r\n\r\n".encode()
            + payload
        )
        await answered(reader)
    writer.close()


async def measure(folder: Path, count: int, seconds: float) -> dict[str, float]:
    """One server, ``count`` devices, idle for a while; then a message for each."""
    world = provision(folder, pairs=count, senders=1, recipients=count)
    server = servers.gateway(folder)
    try:
        before = memory_mb(server.process.pid)
        began = time.perf_counter()
        connections = await connect_all(server.port, world.recipients)
        took = time.perf_counter() - began
        cpu = server.cpu_seconds()
        await asyncio.sleep(seconds)
        idle_cpu = server.cpu_seconds() - cpu
        idle = memory_mb(server.process.pid)
        waiting = [asyncio.create_task(received(connection)) for connection in connections]
        await tell_all(world, server.port)
        reached = sum(await asyncio.wait_for(asyncio.gather(*waiting), 60))
        await asyncio.sleep(1)
        after = memory_mb(server.process.pid)
        await asyncio.gather(*(connection.close() for connection in connections))
    finally:
        server.stop()
    return {
        "devices": count,
        "connects_per_s": count / took,
        "pss_before_mb": before["pss"],
        "pss_idle_mb": idle["pss"],
        "pss_after_messages_mb": after["pss"],
        "rss_idle_mb": idle["rss"],
        "kb_per_device": (idle["pss"] - before["pss"]) * 1024 / count,
        "idle_cpu_percent": idle_cpu / seconds * 100,
        "reached": reached,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.idle", description=__doc__)
    parser.add_argument("--devices", type=int, default=5_000)
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="how long they are idle: keep-alives come every 20 s"
    )
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if wanted.devices + SPARE_FILES > limit:
        print(
            f"{wanted.devices} devices need as many open files; this process may have {limit}. Raise it (ulimit -n) or"
            f" take fewer with --devices.",
            file=sys.stderr,
        )
        return 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    work = Path(tempfile.mkdtemp(prefix="letterlock-bench-", dir=os.environ.get("LETTERLOCK_BENCH_DIR")))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(measure(work / "gateway", wanted.devices, wanted.seconds))
    finally:
        shutil.rmtree(work)
    if wanted.json:
        print(json.dumps(found))
        return 0
    print(
        f"{found['devices']:,} idle devices: {found['pss_idle_mb']:.0f} MB in all (proportional set; resident"
        f" {found['rss_idle_mb']:.0f} MB), {found['pss_before_mb']:.0f} MB before they came:"
        f" {found['kb_per_device']:.1f} kB each; {found['idle_cpu_percent']:.1f} % of a core while idle;"
        f" {found['connects_per_s']:,.0f} connects a second"
    )
    print(f"each was sent a message: {found['reached']:,} came; {found['pss_after_messages_mb']:.0f} MB after that")
    return 0 if found["reached"] == found["devices"] else 1


if __name__ == "__main__":
    sys.exit(main())
