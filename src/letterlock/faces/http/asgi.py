"""The few ASGI primitives that all handlers share: reading a bounded body, sending an answer."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from letterlock.faces.http.problems import Code, Problem

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

JSON: Final = b"application/json"
NO_STORE: Final = (b"cache-control", b"no-store")
NO_SNIFF: Final = (b"x-content-type-options", b"nosniff")


class Gone(Exception):  # noqa: N818 - not an error: the caller hung up
    """The caller closed the connection before the body was complete."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """The request's body.

    Raises:
        Problem: more than ``limit`` bytes; found out while receiving, not after.
        Gone: the caller hung up.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    body: bytes = message.get("body", b"")
    if len(body) > limit:
        raise Problem(Code.TOO_LARGE, detail="The body is larger than this call takes.", members={"limit": limit})
    if not message.get("more_body"):
        return body
    parts = [body]
    size = len(body)
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise Problem(Code.TOO_LARGE, detail="The body is larger than this call takes.", members={"limit": limit})
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


async def send_answer(send: Send, status: int, body: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    """Sends a whole answer."""
    fields.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def send_stream(
    receive: Receive, send: Send, chunks: AsyncGenerator[bytes], fields: list[tuple[bytes, bytes]]
) -> None:
    """Sends chunks as they come, until there are no more or the caller has gone."""
    await send({"type": "http.response.start", "status": 200, "headers": fields})

    async def pump() -> None:
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def hang_up() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    sender, listener = asyncio.create_task(pump()), asyncio.create_task(hang_up())
    try:
        await asyncio.wait((sender, listener), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sender, listener):
            task.cancel()
        await asyncio.gather(sender, listener, return_exceptions=True)
        await chunks.aclose()
    if not sender.cancelled() and (failure := sender.exception()) is not None and not isinstance(failure, OSError):
        raise failure


async def send_problem(send: Send, problem: Problem) -> None:
    """Sends a refusal."""
    await send_answer(send, problem.status, problem.body(), problem.header_fields())


def header(scope: Scope, name: bytes) -> bytes | None:
    """A header field's first value."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None
