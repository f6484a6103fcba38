"""``python -m bench.relay``: the relay end to end with acknowledgement, groups of 2 to 1,000, and what MLS costs.

Bounded in time; loopback alone; what it starts it stops. Rates are of a machine that generator and server share.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from bench import servers
from bench.__main__ import WARM_UP_S, gateway_cell
from bench.generator import Recipient, Tally, drained, http_load, percentile
from bench.mls_costs import measure
from bench.provision import World, provision
from letterlock.storage.sqlite.connection import open_writer

Row = dict[str, Any]
DEVICES = (1, 10, 100)
SIZES = (2, 10, 100, 1_000)
RELAY_LIMIT = 500
"""Members that a commit may lead to; the largest group here is written as rows, to show how fan-out goes on."""
CONNECT_AT_ONCE = 50


async def by_devices(work: Path, seconds: float) -> list[Row]:
    """So many sending devices, and as many that receive, acknowledge, and have their items deleted."""
    found = []
    for devices in DEVICES:
        for kind, batch in (("http", 1), ("stream", 20)):
            folder = work / f"{kind}-{devices}"
            world = provision(folder, senders=devices, recipients=devices, pairs=devices)
            server = servers.gateway(folder)
            try:
                found.append(await gateway_cell(server, world, kind, batch, devices, seconds))
            finally:
                server.stop()
            shutil.rmtree(folder)
    return found


def one_group(folder: Path, size: int) -> World:
    """A store with one group of ``size`` devices, of which one sends."""
    world = provision(folder, senders=1, recipients=size - 1, pairs=1)
    db = open_writer(folder)
    with db:
        db.executemany(
            "INSERT OR IGNORE INTO group_member VALUES (?,?)",
            [(world.pairs[0].number, party.mailbox) for party in world.recipients],
        )
    db.close()
    return world


async def by_size(work: Path, seconds: float) -> list[Row]:
    """One sender, one message after the other; every other member is connected, and the first one's clock is read."""
    found = []
    for size in SIZES:
        folder = work / f"group-{size}"
        world = one_group(folder, size)
        server = servers.gateway(folder)
        try:
            found.append({"members": size, **await _fan_out(server, world, seconds)})
        finally:
            server.stop()
        shutil.rmtree(folder)
    return found


async def _fan_out(server: servers.Server, world: World, seconds: float) -> Row:
    """Messages and deliveries a second, and when the last member has it, as that member's own process sees it."""
    tally, others = Tally(), Tally()
    recipients = [Recipient(server.port, party, others) for party in world.recipients[1:]]
    recipients.append(Recipient(server.port, world.recipients[0], tally))
    for at in range(0, len(recipients), CONNECT_AT_ONCE):
        await asyncio.gather(*(one.start() for one in recipients[at : at + CONNECT_AT_ONCE]))
    await http_load(world, server.port, 1, 1, WARM_UP_S, tally)
    await _all_there(tally, others, len(recipients))
    tally.restart()
    others.restart()
    before = server.cpu_seconds()
    took = await http_load(world, server.port, 1, 1, seconds, tally)
    began = time.perf_counter()
    await _all_there(tally, others, len(recipients))
    took += time.perf_counter() - began
    await asyncio.sleep(0.3)
    cpu = server.cpu_seconds() - before
    for at in range(0, len(recipients), CONNECT_AT_ONCE):
        await asyncio.gather(*(one.stop() for one in recipients[at : at + CONNECT_AT_ONCE]))
    delivered = tally.delivered + others.delivered
    if delivered != tally.accepted * len(recipients):
        raise RuntimeError(f"{delivered} deliveries of {tally.accepted} messages to {len(recipients)} devices")
    return {
        "rate": tally.accepted / took,
        "deliveries": delivered / took,
        "cpu_us_per_delivery": cpu / max(delivered, 1) * 1e6,
        **{f"e2e_p{share}_ms": percentile(tally.end_to_end_ms, share / 100) for share in (50, 95, 99)},
    }


async def _all_there(tally: Tally, others: Tally, recipients: int, seconds: float = 60) -> None:
    await drained(tally, seconds)
    until = time.perf_counter() + seconds
    while others.delivered < tally.accepted * (recipients - 1) and time.perf_counter() < until:
        await asyncio.sleep(0.02)


def shares(groups: list[Row], costs: list[Row]) -> list[Row]:
    """Of the time from one device's plaintext to the other's: how much of it is encryption, for each group size."""
    found = []
    for group, cost in zip(groups, costs, strict=True):
        row: Row = {"members": group["members"]}
        for share in (50, 95, 99):
            without = group[f"e2e_p{share}_ms"]
            devices = cost["encrypt_ms"][f"p{share}"] + cost["decrypt_ms"][f"p{share}"]
            row |= {f"relay_p{share}_ms": without, f"whole_p{share}_ms": without + devices}
            row[f"share_p{share}"] = devices / (without + devices)
        found.append(row)
    return found


def show(figures: Row) -> None:
    for one in figures["devices"]:
        print(
            f"{one['what']}, {one['callers']} devices, {one['batch']} a batch: {one['rate']:,.0f} messages/s,"
            f" {one['cpu_us']:.0f} us of server CPU each, end to end p50 {one['e2e_p50_ms']:.2f} p99"
            f" {one['e2e_p99_ms']:.2f} ms"
        )
    for one in figures["groups"]:
        beyond = " (more than a commit may lead to)" if one["members"] > RELAY_LIMIT else ""
        print(
            f"group of {one['members']:,}{beyond}: {one['rate']:,.0f} messages/s, {one['deliveries']:,.0f}"
            f" deliveries/s, {one['cpu_us_per_delivery']:.0f} us of server CPU a delivery, end to end p50/p95/p99"
            f" {one['e2e_p50_ms']:.2f}/{one['e2e_p95_ms']:.2f}/{one['e2e_p99_ms']:.2f} ms"
        )
    for one in figures["mls"]:
        print(
            f"group of {one['members']:,}: TRACKED {one['commit_ms']['p50']:.2f} ms a commit (p95"
            f" {one['commit_ms']['p95']:.2f}; state {one['state_bytes']:,} bytes), {one['grade_us']:.2f} us a message"
            f" (its parser {one['parser_us']:.1f}); devices encrypt in {one['encrypt_ms']['p50']:.2f} ms and decrypt"
            f" in {one['decrypt_ms']['p50']:.2f} ms"
        )
    for one in figures["shares"]:
        print(
            f"group of {one['members']:,}: without encryption p50/p95/p99"
            f" {one['relay_p50_ms']:.2f}/{one['relay_p95_ms']:.2f}/{one['relay_p99_ms']:.2f} ms, with it"
            f" {one['whole_p50_ms']:.2f}/{one['whole_p95_ms']:.2f}/{one['whole_p99_ms']:.2f} ms: its share is"
            f" {one['share_p50']:.0%} of the p50"
        )
    print(f"machine: {figures['machine']}; load of other work at the start and end: {figures['load']}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.relay", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of load for each cell")
    parser.add_argument("--commits", type=int, default=20, help="commits that are followed, for each group size")
    parser.add_argument("--messages", type=int, default=200, help="messages that are encrypted, for each group size")
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="letterlock-bench-", dir=os.environ.get("LETTERLOCK_BENCH_DIR") or None))
    before = os.getloadavg()[0]
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print("devices", file=sys.stderr)
            devices = runner.run(by_devices(work, wanted.seconds))
            print("groups", file=sys.stderr)
            groups = runner.run(by_size(work, wanted.seconds))
    finally:
        shutil.rmtree(work)
    print("MLS", file=sys.stderr)
    costs = measure(SIZES, wanted.commits, wanted.messages)
    figures: Row = {
        "devices": devices,
        "groups": groups,
        "mls": costs,
        "shares": shares(groups, costs),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "load": [round(before, 2), round(os.getloadavg()[0], 2)],
    }
    if wanted.json:
        print(json.dumps(figures))
    else:
        show(figures)


if __name__ == "__main__":
    main()
