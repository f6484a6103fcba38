"""The processes that are measured: the gateway, a bare 202 server, and the store alone."""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """A measured process."""

    process: "subprocess.Popen[bytes]"
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def cpu_seconds(self) -> float:
        """User and system time so far, of all threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)


def start(*arguments: str) -> Server:
    """Starts a Python module that prints one JSON line with its address."""
    process = subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    return Server(process, line["url"])


def gateway(folder: Path) -> Server:
    """The gateway as it is shipped, on this store: policy, ledger and metrics on."""
    return start("bench.servers", "gateway", str(folder))


def bare() -> Server:
    """uvicorn with a bare handler: reads the body, looks the bearer up by hash, validates the JSON, answers 202."""
    return start("bench.servers", "bare")


async def _bare_app(scope: Any, receive: Any, send: Any) -> None:
    from hashlib import sha256

    authorization = next((value for key, value in scope["headers"] if key == b"authorization"), b"")
    _KNOWN.get(sha256(authorization[7:]).digest())
    message = await receive()
    body = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    _decode(body)
    await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


_KNOWN: dict[bytes, int] = {}


def _decode(body: bytes) -> None:
    import msgspec

    from letterlock.faces.http.group_messages import GroupMessages

    global _decoder  # noqa: PLW0603
    if _decoder is None:
        _decoder = msgspec.json.Decoder(GroupMessages).decode
    _decoder(body)


_decoder: Any = None


def _run_bare() -> None:
    import socket

    import uvicorn

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        _bare_app, loop="uvloop", http="httptools", ws="none", lifespan="off", access_log=False, log_config=None,
        server_header=False, date_header=False, proxy_headers=False,
    )  # fmt: skip
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}) + "\n")
    sys.stdout.flush()
    uvicorn.Server(config).run(sockets=[listening])


def _run_gateway(folder: str) -> None:
    from letterlock.app.serve import run
    from letterlock.app.settings import from_tree

    run(from_tree({"server": {"port": 0}, "store": {"folder": folder}, "log": {"level": "error"}}), announce=True)


def _run_store(folder: str, seconds: str, batch: str, warm_up: str) -> None:
    """The store alone: sealing, the same rows, the same ledger, every message acknowledged and deleted."""
    from bench.generator import reference
    from bench.provision import private_message, provision
    from letterlock.app.clock import SystemClock
    from letterlock.app.keys import open_keys
    from letterlock.app.settings import Settings
    from letterlock.custody.message_ids import MessageIds
    from letterlock.custody.sealing import seal_sealed
    from letterlock.model.capability import Channel
    from letterlock.model.ids import MessageId, TenantId
    from letterlock.model.protection import EvidenceGrade, Protection, Verifier
    from letterlock.storage.commands import AcceptSealed, Ack, Relied, Shown
    from letterlock.storage.sqlite.core import StoreCore
    from letterlock.storage.sqlite.registry import handlers
    from letterlock.wire.tlog.commitments import rule_tag
    from letterlock.wire.tlog.records import accepted_shape

    place = Path(folder)
    world = provision(place)
    keys = open_keys(Settings(), place)
    clock = SystemClock()
    ids = MessageIds(keys.derive(b"message ids"))
    core = StoreCore(place, handlers(), clock, order=ids)
    shape = accepted_shape(Channel.RELAY, Protection.E2EE, EvidenceGrade.FRAMED, Verifier.GATEWAY, rule_tag("sealed"))
    shown = Shown(5, 2, 2, 1, 0, "sealed", 0, shape)
    tenant = TenantId(bytes(16))
    bodies = [private_message(pair.group_id) for pair in world.pairs]
    count, width = 0, int(batch)
    relied = Relied(0)
    heads: dict[int, int] = {}
    durations = []
    skipped = 0
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    start_at = began + float(warm_up)
    stop_at = start_at + float(seconds)
    while (present := time.perf_counter()) < stop_at:
        if not skipped and present >= start_at:
            skipped, began = count, present
            durations.clear()
            before = resource.getrusage(resource.RUSAGE_SELF)
        first, count = count, count + width
        now = clock.now_ms()
        key = keys.storage.current(now)
        commands: list[Any] = []
        for at in range(first, first + width):
            pair = world.pairs[at % len(world.pairs)]
            message_id = ids.outside(ids.key_of(b"bench", reference()))
            sealed = seal_sealed(key, tenant, MessageId(message_id), bodies[at % len(bodies)])
            commands.append(
                AcceptSealed(
                    1, message_id, message_id, pair.sender.mailbox, pair.number, 0, 1, 1, sealed, key.generation, 2,
                    shown, 1, relied, now, now + 86_400_000, first + 1,
                )
            )  # fmt: skip
        commands += [Ack(1, mailbox, head, now, first + 1) for mailbox, head in heads.items()]
        at_start = time.perf_counter()
        outcomes = core.apply(commands)
        durations.append(time.perf_counter() - at_start)
        heads = {mailbox: seq for outcome in outcomes[:width] for mailbox, seq in outcome.deliveries}
        if core.log_is_long:
            core.restart_log()
    took = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    count -= skipped
    durations.sort()
    print(
        json.dumps(
            {
                "rate": count / took,
                "cpu_us": cpu / count * 1e6,
                "p50_ms": durations[len(durations) // 2] * 1e3,
                "p99_ms": durations[int(len(durations) * 0.99)] * 1e3,
            }
        )
    )
    core.close()
    keys.close()


if __name__ == "__main__":
    if sys.argv[1] == "gateway":
        _run_gateway(sys.argv[2])
    elif sys.argv[1] == "bare":
        _run_bare()
    else:
        _run_store(*sys.argv[2:])
