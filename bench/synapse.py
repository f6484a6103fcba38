"""``python -m bench.synapse``: this relay beside matrix-synapse, in one run on one machine.

Eight devices send, eight receive, each pair in a room or group of its own; one message after the other, of 1,024 bytes
of ciphertext that was made before. Rounds alternate between the two, and medians are compared. Synapse is started from
an environment of its own as its manual says (SQLite, one process), with its rate limits lifted; it also does what a
federation needs, which this relay does not: the figures compare what a user would deploy, not like with like.
"""

import argparse
import asyncio
import base64
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvloop

from bench import servers
from bench.__main__ import WARM_UP_S, gateway_cell
from bench.generator import Tally, percentile
from bench.provision import BODY, provision

Row = dict[str, Any]
PAIRS: Final = 8
VERSION: Final = "1.163.2"
"""Of matrix-synapse: a peer to measure, which nothing here imports."""
START_S: Final = 60
SYNC_MS: Final = 10_000
ENVIRONMENT: Final = Path(__file__).resolve().parent.parent / ".venv-synapse"

_SETTINGS: Final = """
server_name: localhost
pid_file: {folder}/pid
listeners:
  - port: {port}
    type: http
    bind_addresses: ["127.0.0.1"]
    resources: [{{names: [client]}}]
database: {{name: sqlite3, args: {{database: {folder}/homeserver.db}}}}
media_store_path: {folder}/media
signing_key_path: {folder}/signing.key
log_config: {folder}/log.yaml
report_stats: false
enable_registration: true
enable_registration_without_verification: true
trusted_key_servers: []
macaroon_secret_key: bench
form_secret: bench
bcrypt_rounds: 4
rc_message: {{per_second: 1000000, burst_count: 1000000}}
rc_registration: {{per_second: 1000000, burst_count: 1000000}}
rc_login:
  address: {{per_second: 1000000, burst_count: 1000000}}
  account: {{per_second: 1000000, burst_count: 1000000}}
rc_joins:
  local: {{per_second: 1000000, burst_count: 1000000}}
rc_invites:
  per_room: {{per_second: 1000000, burst_count: 1000000}}
  per_user: {{per_second: 1000000, burst_count: 1000000}}
  per_issuer: {{per_second: 1000000, burst_count: 1000000}}
presence: {{enabled: false}}
"""
_QUIET: Final = "version: 1\nroot: {level: ERROR, handlers: []}\ndisable_existing_loggers: false\n"


class Connection:
    """One kept-alive connection: a request, its answer as JSON."""

    def __init__(self, port: int, token: str = "") -> None:
        self._port = port
        self.token = token
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, method: str, path: str, body: object | None = None) -> Any:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 24)
        reader, writer = self._streams
        data = b"" if body is None else json.dumps(body).encode()
        held = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{held}Content-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n".encode()
            + data
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        answer = await self._rest(reader, head)
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"{method}: {head[:40].decode('ascii', 'replace')}")
        return json.loads(answer)

    async def _rest(self, reader: asyncio.StreamReader, head: bytes) -> bytes:
        if b"transfer-encoding: chunked" in head:
            parts = []
            while size := int(await reader.readline(), 16):
                parts.append(await reader.readexactly(size))
                await reader.readexactly(2)
            await reader.readexactly(2)
            return b"".join(parts)
        at = head.index(b"content-length: ") + 16
        return await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


@dataclass
class Room:
    """One who writes, one who reads, and the room that they share."""

    sender: Connection
    recipient: Connection
    room: str
    since: str = ""


def python_of_synapse(given: str) -> str:
    """The interpreter of an environment that has matrix-synapse; makes one where none was named."""
    if given:
        return given
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        print(f"installing matrix-synapse {VERSION} into {ENVIRONMENT.name} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", f"matrix-synapse=={VERSION}"], check=True)
    return str(python)


def start_synapse(python: str, folder: Path) -> tuple[servers.Server, str]:
    """A homeserver on a free port with an empty store, and its version."""
    folder.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    (folder / "log.yaml").write_text(_QUIET)
    settings = folder / "homeserver.yaml"
    settings.write_text(_SETTINGS.format(folder=folder, port=port))
    command = [python, "-m", "synapse.app.homeserver", "-c", str(settings)]
    subprocess.run([*command, "--generate-keys"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
    until = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                raise RuntimeError("Synapse did not start") from None
            time.sleep(0.2)
    version = subprocess.run(
        [python, "-c", "import importlib.metadata as m; print(m.version('matrix-synapse'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    return servers.Server(process, f"http://127.0.0.1:{port}"), version


async def furnished(port: int) -> list[Room]:
    """A room for each pair, both in it, and the recipient's sync caught up."""
    rooms = []
    for at in range(PAIRS):
        ann, bob = Connection(port), Connection(port)
        for one, name in ((ann, f"ann{at}"), (bob, f"bob{at}")):
            account = {"username": name, "password": os.urandom(8).hex(), "auth": {"type": "m.login.dummy"}}
            one.token = (await one.call("POST", "/_matrix/client/v3/register", account))["access_token"]
        encrypted = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
        wanted = {"preset": "private_chat", "invite": [f"@bob{at}:localhost"], "initial_state": [encrypted]}
        room = (await ann.call("POST", "/_matrix/client/v3/createRoom", wanted))["room_id"]
        await bob.call("POST", f"/_matrix/client/v3/join/{room}", {})
        here = await bob.call("GET", "/_matrix/client/v3/sync?timeout=0")
        rooms.append(Room(ann, bob, room, here["next_batch"]))
    return rooms


async def _send(room: Room, stop_at: float, tally: Tally) -> None:
    while (now := time.perf_counter()) < stop_at:
        mark = os.urandom(16)
        words = base64.b64encode(os.urandom(BODY - 16) + mark).decode()
        content = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": words, "session_id": "s", "device_id": "d"}
        tally.sent_at[mark] = now
        path = f"/_matrix/client/v3/rooms/{room.room}/send/m.room.encrypted/{mark.hex()}"
        await room.sender.call("PUT", path, content)
        tally.accepted += 1
        tally.accept_ms.append((time.perf_counter() - now) * 1e3)


async def _receive(room: Room, tally: Tally) -> None:
    while True:
        path = f"/_matrix/client/v3/sync?timeout={SYNC_MS}&since={room.since}"
        news = await room.recipient.call("GET", path)
        now = time.perf_counter()
        room.since = news["next_batch"]
        for joined in news.get("rooms", {}).get("join", {}).values():
            for event in joined["timeline"]["events"]:
                if event["type"] == "m.room.encrypted":
                    tally.delivered += 1
                    mark = base64.b64decode(event["content"]["ciphertext"])[-16:]
                    tally.end_to_end_ms.append((now - tally.sent_at.pop(mark)) * 1e3)


async def synapse_cell(server: servers.Server, seconds: float) -> Row:
    """Eight senders and eight recipients who sync; until everything has come."""
    rooms = await furnished(server.port)
    tally = Tally()
    reading = [asyncio.create_task(_receive(room, tally)) for room in rooms]
    try:
        await asyncio.gather(*(_send(room, time.perf_counter() + WARM_UP_S, tally) for room in rooms))
        await _arrived(tally, reading)
        tally.restart()
        before, began = server.cpu_seconds(), time.perf_counter()
        await asyncio.gather(*(_send(room, began + seconds, tally) for room in rooms))
        await _arrived(tally, reading)
        took, cpu = time.perf_counter() - began, server.cpu_seconds() - before
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        for room in rooms:
            room.sender.close()
            room.recipient.close()
    return {
        "rate": tally.accepted / took,
        "cpu_us": cpu / tally.accepted * 1e6,
        "e2e_p50_ms": percentile(tally.end_to_end_ms, 0.5),
        "e2e_p99_ms": percentile(tally.end_to_end_ms, 0.99),
    }


async def _arrived(tally: Tally, reading: list["asyncio.Task[None]"], seconds: float = 30) -> None:
    until = time.perf_counter() + seconds
    while tally.delivered < tally.accepted:
        for task in reading:
            if task.done():
                task.result()
        if time.perf_counter() > until:
            raise RuntimeError(f"{tally.delivered} of {tally.accepted} messages arrived")
        await asyncio.sleep(0.005)


async def relay_cell(work: Path, kind: str, batch: int, seconds: float) -> Row:
    """The same of this relay: policy, ledger, quotas and metrics on, acknowledged and deleted."""
    folder = work / f"relay-{kind}"
    world = provision(folder, senders=PAIRS, recipients=PAIRS, pairs=PAIRS)
    server = servers.gateway(folder)
    try:
        return await gateway_cell(server, world, kind, batch, PAIRS, seconds)
    finally:
        server.stop()
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.synapse", description=__doc__)
    parser.add_argument("--python", default="", help="of an environment with matrix-synapse; else one is made")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load for each cell")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    python = python_of_synapse(wanted.python)
    work = Path(tempfile.mkdtemp(prefix="letterlock-bench-", dir=os.environ.get("LETTERLOCK_BENCH_DIR") or None))
    rounds: dict[str, list[Row]] = {"synapse": [], "relay, HTTP": [], "relay, stream": []}
    version = ""
    try:
        for number in range(wanted.rounds):
            print(f"round {number + 1} of {wanted.rounds}", file=sys.stderr)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                server, version = start_synapse(python, work / f"synapse-{number}")
                try:
                    rounds["synapse"].append(runner.run(synapse_cell(server, wanted.seconds)))
                finally:
                    server.stop()
                rounds["relay, HTTP"].append(runner.run(relay_cell(work, "http", 1, wanted.seconds)))
                rounds["relay, stream"].append(runner.run(relay_cell(work, "stream", 1, wanted.seconds)))
    finally:
        shutil.rmtree(work)
    names = ("rate", "cpu_us", "e2e_p50_ms", "e2e_p99_ms")
    figures = {
        what: {name: statistics.median(one[name] for one in cells) for name in names} for what, cells in rounds.items()
    }
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    if wanted.json:
        print(json.dumps({"figures": figures, "rounds": rounds, "synapse": version, "machine": machine}))
        return
    theirs = figures["synapse"]
    for what, one in figures.items():
        print(
            f"{what}: {one['rate']:,.0f} messages/s, {one['cpu_us']:,.0f} us of server CPU each, end to end p50"
            f" {one['e2e_p50_ms']:.2f} p99 {one['e2e_p99_ms']:.2f} ms; {one['rate'] / theirs['rate']:.0f} times the"
            f" messages, p50 {theirs['e2e_p50_ms'] / one['e2e_p50_ms']:.0f} times shorter"
        )
    print(f"matrix-synapse {version}; machine: {machine}; medians of {wanted.rounds} rounds; {PAIRS} senders")


if __name__ == "__main__":
    main()
