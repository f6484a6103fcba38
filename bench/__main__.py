"""``make bench``: one run, one machine, one table. Bounded in time; loopback alone."""

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from bench import servers
from bench.generator import Recipient, Tally, drained, http_load, percentile, stream_load
from bench.provision import World, provision

Row = dict[str, Any]
WARM_UP_S = 1.0
"""Of load before the clock starts, for each server: new files, caches and counters are filled once in its life."""


def fsync_rate(folder: Path, count: int = 400) -> tuple[float, float]:
    """Appends of 4 kB with fdatasync a second, and their median in ms."""
    durations = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(count):
            began = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            durations.append(time.perf_counter() - began)
    return count / sum(durations), statistics.median(durations) * 1e3


async def bare_rates(world: World, seconds: float) -> list[Row]:
    """The bare 202 server under the same requests; the first row's latency is the round trip of one caller."""
    server = servers.bare()
    found = []
    try:
        await http_load(world, server.port, 64, 1, WARM_UP_S, Tally())
        for callers in (1, 8, 64):
            tally = Tally()
            before = server.cpu_seconds()
            took = await http_load(world, server.port, callers, 1, seconds, tally)
            cpu = server.cpu_seconds() - before
            found.append(row("bare 202 server", callers, 1, took, cpu, tally))
    finally:
        server.stop()
    return found


def middle(cell: Sequence[Row]) -> Row:
    """The median of each figure over the rounds: a virtual machine's speed changes by the minute."""
    first = cell[0]
    medians = {
        name: statistics.median(one[name] for one in cell) for name, value in first.items() if isinstance(value, float)
    }
    return {**first, **medians, "cpu_us_of_rounds": [one["cpu_us"] for one in cell]}


def row(what: str, callers: int, batch: int, took: float, cpu: float, tally: Tally) -> Row:
    return {
        "what": what,
        "callers": callers,
        "batch": batch,
        "rate": tally.accepted / took,
        "cpu_us": cpu / max(tally.accepted, 1) * 1e6,
        "accept_p50_ms": percentile(tally.accept_ms, 0.5),
        "accept_p99_ms": percentile(tally.accept_ms, 0.99),
        "e2e_p50_ms": percentile(tally.end_to_end_ms, 0.5),
        "e2e_p99_ms": percentile(tally.end_to_end_ms, 0.99),
        "accepted": tally.accepted,
        "delivered": tally.delivered,
    }


async def gateway_rates(work: Path, seconds: float, only: str) -> list[Row]:
    """Each cell on a new store: rows stay for minutes and keys for days, so a later cell would pay for earlier ones."""
    found = []
    for kind, batch in (("http", 1), ("http", 20), ("stream", 20)):
        if only and only != f"{kind}{batch}":
            continue
        for callers in (1, 8, 64):
            folder = work / f"{kind}-{batch}-{callers}"
            world = provision(folder)
            server = servers.gateway(folder)
            try:
                found.append(await gateway_cell(server, world, kind, batch, callers, seconds))
            finally:
                server.stop()
            shutil.rmtree(folder)
    return found


async def gateway_cell(
    server: servers.Server, world: World, kind: str, batch: int, callers: int, seconds: float
) -> Row:
    """One load; its CPU is the server's until everything was delivered and acknowledged."""
    tally = Tally()
    recipients = [Recipient(server.port, party, tally) for party in world.recipients]
    for recipient in recipients:
        await recipient.start()
    load = http_load if kind == "http" else stream_load
    await load(world, server.port, callers, batch, WARM_UP_S, tally)
    await drained(tally)
    await asyncio.sleep(0.3)
    tally.restart()
    before = server.cpu_seconds()
    took = await load(world, server.port, callers, batch, seconds, tally)
    began = time.perf_counter()
    await drained(tally)
    took += time.perf_counter() - began
    await asyncio.sleep(0.3)
    cpu = server.cpu_seconds() - before
    for recipient in recipients:
        await recipient.stop()
    return row(f"gateway, {kind}", callers, batch, took, cpu, tally)


def store_rates(seconds: float) -> list[Row]:
    """As long as each cell of the gateway, and from an empty store too: the more keys, the dearer is the next one."""
    found = []
    for batch in (1, 20, 100, 300):
        place = tempfile.mkdtemp(prefix="letterlock-bench-", dir=_WORK)
        try:
            output = subprocess.run(
                [sys.executable, "-m", "bench.servers", "store", place, str(seconds), str(batch), str(WARM_UP_S)],
                check=True,
                capture_output=True,
            ).stdout
        finally:
            shutil.rmtree(place)
        figures = json.loads(output)
        found.append({"what": "store only, group commit", "callers": 1, "batch": batch, **figures})
    return found


def show(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="accepted, delivered, acknowledged and deleted")
    for title in (
        "what",
        "callers",
        "messages a batch",
        "messages/s",
        "server CPU us/message",
        "accept p50/p99 ms",
        "end to end p50/p99 ms",
    ):
        table.add_column(title, justify="left" if title == "what" else "right")
    for one in rows:
        accept = (
            f"{one['accept_p50_ms']:.2f} / {one['accept_p99_ms']:.2f}"
            if "accept_p50_ms" in one
            else f"{one['p50_ms']:.2f} / {one['p99_ms']:.2f}"
        )
        whole = f"{one['e2e_p50_ms']:.2f} / {one['e2e_p99_ms']:.2f}" if one.get("delivered") else ""
        table.add_row(
            one["what"],
            str(one["callers"]),
            str(one["batch"]),
            f"{one['rate']:,.0f}",
            f"{one['cpu_us']:.1f}",
            accept,
            whole,
        )
    Console(width=140).print(table)


_WORK = os.environ.get("LETTERLOCK_BENCH_DIR") or None


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of load for each cell, each time")
    parser.add_argument("--rounds", type=int, default=3, help="how often each cell is measured; the medians are shown")
    parser.add_argument("--only", default="", help="http1, http20 or stream20")
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="letterlock-bench-", dir=_WORK))
    try:
        world = provision(work / "bare")
        rate, fsync_ms = fsync_rate(work)
        rounds: list[list[Row]] = []
        for number in range(wanted.rounds):
            print(f"round {number + 1} of {wanted.rounds}", file=sys.stderr)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                bare = runner.run(bare_rates(world, wanted.seconds))
                measured = runner.run(gateway_rates(work, wanted.seconds, wanted.only))
            rounds.append([*bare, *store_rates(wanted.seconds), *measured])
    finally:
        shutil.rmtree(work)
    rows = [middle(cell) for cell in zip(*rounds, strict=True)]
    round_trip_ms = rows[0]["accept_p50_ms"]
    ratios = compare(rows, fsync_ms, round_trip_ms)
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}"
    )
    if wanted.json:
        print(
            json.dumps(
                {"machine": machine, "fsync_per_s": rate, "fsync_p50_ms": fsync_ms, "rows": rows, "ratios": ratios}
            )
        )
        return
    show(rows)
    print(f"machine: {machine}; generator: bench.generator on the same cores")
    print(f"fdatasync of 4 kB: {rate:,.0f}/s, p50 {fsync_ms:.2f} ms; bare HTTP round trip p50 {round_trip_ms:.2f} ms")
    for name, value in ratios.items():
        print(f"{name}: {value}")


def compare(rows: Sequence[Row], fsync_ms: float, trip_ms: float) -> dict[str, str]:
    """The targets, by server CPU a message in each round, and the latency of one caller."""
    found: dict[str, str] = {}

    def cpu(what: str, callers: int, batch: int) -> list[float]:
        named = (r for r in rows if r["what"] == what and r["callers"] == callers and r["batch"] == batch)
        return next((r["cpu_us_of_rounds"] for r in named), [])

    def share(part: list[float], whole: list[float], target: str) -> str:
        each = sorted(p / w for p, w in zip(part, whole, strict=True))
        return f"{statistics.median(each):.0%}, in the rounds {each[0]:.0%} to {each[-1]:.0%} (target {target})"

    for callers in (8, 64):
        single, limit = cpu("gateway, http", callers, 1), cpu("bare 202 server", callers, 1)
        if single:
            found[f"HTTP single at {callers} callers, of the bare 202 server"] = share(
                limit, single, "35 %, stretch 50 %"
            )
        frame = cpu("gateway, stream", callers, 20)
        for batch in (100, 300):
            if frame:
                found[f"stream frames of 20 at {callers} callers, of store-only at {batch} a commit"] = share(
                    cpu("store only, group commit", 1, batch), frame, "60 %, stretch 70 %"
                )
    one = next((r for r in rows if r["what"] == "gateway, http" and r["callers"] == 1 and r["batch"] == 1), None)
    if one:
        limit = fsync_ms + trip_ms
        found["one caller, end to end p50"] = (
            f"{one['e2e_p50_ms']:.2f} ms, {one['e2e_p50_ms'] / limit:.1f} x"
            f" (fsync + round trip = {limit:.2f} ms; target 2 x)"
        )
    return found


if __name__ == "__main__":
    main()
