"""The load generator: one process, closed loop, raw HTTP/1.1 over asyncio streams and `websockets` for streams.

It shares the machine's cores with the server, so rates are lower than with a generator elsewhere; the server's CPU
a message, read from the kernel, is what compares.
"""

import asyncio
import base64
import json
import os
import time
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from bench.provision import Pair, Party, World, private_message
from letterlock.wire import stream as frames


def reference() -> bytes:
    """A message's reference as devices make it: the time, then random."""
    return (time.time_ns() // 1_000_000).to_bytes(frames.REFERENCE_TIME, "big") + os.urandom(10)


def newer_state() -> int:
    """A device's state counter: each frame comes from a newer state, and says so (A18)."""
    return time.time_ns() >> 12


POOL = 64
"""Ciphertexts made before the clock starts, for each pair."""


@dataclass
class Tally:
    """What was seen."""

    accepted: int = 0
    delivered: int = 0
    accept_ms: list[float] = field(default_factory=list)
    end_to_end_ms: list[float] = field(default_factory=list)
    sent_at: dict[bytes, float] = field(default_factory=dict)

    def restart(self) -> None:
        """Forgets what was seen; everything has arrived."""
        self.accepted = self.delivered = 0
        self.accept_ms.clear()
        self.end_to_end_ms.clear()


class Recipient:
    """A device that receives over its stream and acknowledges every frame."""

    def __init__(self, port: int, party: Party, tally: Tally) -> None:
        self._port = port
        self._party = party
        self._tally = tally
        self.applied = 0
        self._task: asyncio.Task[None] | None = None
        self._connection: ClientConnection | None = None

    async def start(self, applied: int = 0) -> None:
        self.applied = applied
        self._connection = await open_stream(self._port, self._party, applied)
        self._task = asyncio.create_task(self._run(self._connection))

    async def _run(self, connection: ClientConnection) -> None:
        tally = self._tally
        async for data in connection:
            assert isinstance(data, bytes)
            frame = frames.decode_server(data)
            if isinstance(frame, frames.Deliver):
                now = time.perf_counter()
                for item in frame.items:
                    tally.delivered += 1
                    began = tally.sent_at.pop(item.body[-16:], None)
                    if began is not None:
                        tally.end_to_end_ms.append((now - began) * 1e3)
                self.applied = frame.first_seq + len(frame.items) - 1
                await connection.send(frames.encode_ack(self.applied, newer_state()))

    async def stop(self) -> None:
        assert self._connection is not None
        assert self._task is not None
        await self._connection.close()
        await asyncio.gather(self._task, return_exceptions=True)


async def open_stream(port: int, party: Party, applied: int = 0) -> ClientConnection:
    connection = await connect(
        f"ws://127.0.0.1:{port}/v1/stream",
        subprotocols=[Subprotocol(frames.SUBPROTOCOL)],
        additional_headers={"Authorization": f"Bearer {party.token}"},
        compression=None,
        max_size=frames.MAX_FRAME,
        proxy=None,
        ping_interval=None,
    )
    await connection.send(frames.encode_hello(applied, 4096, newer_state()))
    welcome = frames.decode_server(bytes(await connection.recv()))  # type: ignore[arg-type]
    assert isinstance(welcome, frames.Welcome)
    return connection


async def http_load(world: World, port: int, callers: int, per_request: int, seconds: float, tally: Tally) -> float:
    """Callers send requests one after the other, each with ``per_request`` messages; returns the time taken."""
    bodies = {pair.number: [private_message(pair.group_id) for _ in range(POOL)] for pair in world.pairs}
    stop_at = time.perf_counter() + seconds
    began = time.perf_counter()
    await asyncio.gather(
        *(
            _http_caller(port, world.pairs[at % len(world.pairs)], bodies, per_request, stop_at, tally)
            for at in range(callers)
        )
    )
    return time.perf_counter() - began


async def answered(reader: asyncio.StreamReader) -> bytes:
    """The body of one answer, which has to be good."""
    answer = await reader.readuntil(b"\r\n\r\n")
    if not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 202")):
        raise RuntimeError(answer[:60].decode("ascii", "replace"))
    lowered = answer.lower()
    at = lowered.index(b"content-length: ") + 16
    return await reader.readexactly(int(lowered[at : lowered.index(b"\r\n", at)]))


async def _http_caller(
    port: int, pair: Pair, bodies: dict[int, list[bytes]], per_request: int, stop_at: float, tally: Tally
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST /v1/groups/grp_{pair.ref.hex()}/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {pair.sender.token}\r\nContent-Type: application/json\r\nContent-Length: "
    ).encode()
    pool = bodies[pair.number]
    turn = 0
    while (now := time.perf_counter()) < stop_at:
        parts = []
        for _ in range(per_request):
            # The last bytes are fresh: they name the message for the recipient's clock.
            mark = os.urandom(16)
            body = pool[turn % POOL][:-16] + mark
            turn += 1
            tally.sent_at[mark] = now
            parts.append(
                b'{"client_message_id":"%b","body":"%b"}' % (base64.b64encode(reference()), base64.b64encode(body))
            )
        payload = b'{"state_counter":%d,"messages":[%b]}' % (newer_state(), b",".join(parts))
        writer.write(head + str(len(payload)).encode() + b"\r\n\r\n" + payload)
        text = await answered(reader)
        tally.accept_ms.append((time.perf_counter() - now) * 1e3)
        tally.accepted += text.count(b'"accepted"') if len(text) > 2 else per_request
    writer.close()


async def stream_load(world: World, port: int, callers: int, per_frame: int, seconds: float, tally: Tally) -> float:
    """Callers are sender devices with a stream each; two frames in flight."""
    bodies = {pair.number: [private_message(pair.group_id) for _ in range(POOL)] for pair in world.pairs}
    connections = [await open_stream(port, world.pairs[at].sender) for at in range(callers)]
    stop_at = time.perf_counter() + seconds
    began = time.perf_counter()
    await asyncio.gather(
        *(
            _stream_caller(connection, world.pairs[at], bodies, per_frame, stop_at, tally)
            for at, connection in enumerate(connections)
        )
    )
    took = time.perf_counter() - began
    for connection in connections:
        await connection.close()
    return took


async def _stream_caller(
    connection: ClientConnection,
    pair: Pair,
    bodies: dict[int, list[bytes]],
    per_frame: int,
    stop_at: float,
    tally: Tally,
) -> None:
    pool = bodies[pair.number]
    flying: dict[int, float] = {}
    turn = 0
    while True:
        while len(flying) < 2 and time.perf_counter() < stop_at:
            now = time.perf_counter()
            items = []
            for at in range(per_frame):
                mark = os.urandom(16)
                tally.sent_at[mark] = now
                items.append(
                    frames.Submission(
                        frames.TargetKind.GROUP, pair.ref, reference(), pool[(turn + at) % POOL][:-16] + mark
                    )
                )
            await connection.send(frames.encode_submit(turn, items, newer_state()))
            flying[turn] = now
            turn += per_frame
        if not flying:
            return
        frame = frames.decode_server(bytes(await connection.recv()))  # type: ignore[arg-type]
        assert isinstance(frame, frames.Results)
        tally.accept_ms.append((time.perf_counter() - flying.pop(frame.first_ref)) * 1e3)
        tally.accepted += sum(1 for result in frame.items if result.status == frames.ResultStatus.ACCEPTED)


async def drained(tally: Tally, seconds: float = 20.0) -> None:
    """Waits until everything accepted has arrived."""
    until = time.perf_counter() + seconds
    while tally.delivered < tally.accepted and time.perf_counter() < until:
        await asyncio.sleep(0.02)


def percentile(values: list[float], share: float) -> float:
    """A percentile of measured values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def as_json(value: object) -> str:
    """For the report."""
    return json.dumps(value)
