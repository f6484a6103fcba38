"""A device's end of a long poll and of an event stream, over the whole HTTP face; requests are played by hand."""

import asyncio
import json
from base64 import b64decode
from typing import Any

from tests.gateway_sealed.stage import Stage

from letterlock.faces.http.app import HttpFace
from letterlock.faces.http.mailbox_waits import MailboxWaits

Seen = tuple[int, str, str, bytes]
"""Sequence, kind, message id and body of an item."""


async def not_here(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("not among these routes")


def face_of(stage: Stage) -> HttpFace:
    waits = MailboxWaits(
        stage.world.mailboxes,
        stage.hub,
        stage.credentials,
        stage.world.clock,
        stage.metrics.connected,
        stage.metrics.delivered,
    )
    return HttpFace(
        waits.routes(),
        stage.credentials,
        group_messages=not_here,
        websocket=not_here,
        observe=lambda operation, status: None,
    )


def seen(item: dict[str, Any]) -> Seen:
    return item["sequence"], item["kind"], item["message_id"], b64decode(item["body"])


class Request:
    """One GET; what comes back is kept as it comes."""

    def __init__(
        self,
        stage: Stage,
        number: int,
        way: str,
        query: str = "",
        *,
        token: str | None = None,
        device: str | None = None,
        fields: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        bearer = stage.tokens[number] if token is None else token
        path = f"/v1/devices/{device or stage.phones[number].id}/mailbox/{way}"
        scope = {
            "type": "http", "method": "GET", "path": path, "query_string": query.encode(),
            "headers": [*([(b"authorization", f"Bearer {bearer}".encode())] if bearer else []), *fields],
        }  # fmt: skip
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self.status = 0
        self.body = b""
        self.headers: dict[bytes, bytes] = {}
        self.task = asyncio.create_task(face_of(stage)(scope, self._in.get, self._send))

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
            return
        self.body += message["body"]
        for block in message["body"].split(b"\n\n"):
            if block:
                self._chunks.put_nowait(block)
        await self.reads.wait()

    async def next(self) -> tuple[str, Any, int | None]:
        """The next event: its name, what it says, and its id."""
        while True:
            block = await asyncio.wait_for(self._chunks.get(), 20)
            lines = dict(line.split(b": ", 1) for line in block.split(b"\n") if not line.startswith(b":"))
            if lines:
                identity = lines.get(b"id")
                number = None if identity is None else int(identity)
                return lines[b"event"].decode(), json.loads(lines[b"data"]), number

    async def items(self, count: int) -> list[Seen]:
        found: list[Seen] = []
        while len(found) < count:
            name, data, identity = await self.next()
            if name == "item":
                assert identity == data["sequence"]
                found.append(seen(data))
        return found

    async def end(self) -> str:
        """Why the event stream ended."""
        while True:
            name, data, _ = await self.next()
            if name == "end":
                await asyncio.wait_for(self.task, 20)
                return str(data["code"])

    async def answer(self) -> tuple[int, dict[str, Any]]:
        await asyncio.wait_for(self.task, 70)
        return self.status, json.loads(self.body)

    async def hang_up(self) -> None:
        self._in.put_nowait({"type": "http.disconnect"})
        self.reads.set()
        await asyncio.wait_for(self.task, 20)
