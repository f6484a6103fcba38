"""What the laboratory's push services have in common: faults on demand, connections that end with them, plain HTTP."""

import asyncio
import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final, final


@dataclass(frozen=True, slots=True)
class PushFault:
    """What happens to one request instead.

    Attributes:
        status: the answer; 0: the connection is cut.
        reason: the service's word for it.
        retry_after: the field of that name, as text.
        location: where a redirect leads.
    """

    status: int
    reason: str = ""
    retry_after: str = ""
    location: str = ""


class Refusal(Exception):  # noqa: N818 - an answer, not an error
    """A request breaks the service's rules."""

    def __init__(self, status: int, reason: str, details: list[dict[str, Any]] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.details = details or []


@final
class Connections:
    """The tasks that serve connections; none outlives the service."""

    def __init__(self) -> None:
        self._serving: Final[set[asyncio.Task[Any]]] = set()
        self._ending = False

    @contextlib.contextmanager
    def serving(self, writer: asyncio.StreamWriter) -> Generator[None]:
        """While the calling task serves this one; it is cut at the end."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            yield
        except asyncio.CancelledError:
            # asyncio's server reports tasks of its connections that end so.
            if not self._ending:
                raise
        finally:
            self._serving.discard(task)
            writer.transport.abort()

    async def end(self) -> None:
        """Ends all."""
        self._ending = True
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)


async def plain_http(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    answer: Callable[[str, dict[str, str], bytes, bytes], bytes],
) -> None:
    """Serves HTTP/1.1 requests of one connection to its end.

    Args:
        reader: of the connection.
        writer: of the connection.
        answer: given request line, header fields by lower-case name, body, and all of it as it came; the whole answer,
            or nothing to cut the connection.
    """
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            line, *fields = head.decode("ascii").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields if f)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            answered = answer(line, headers, body, head + body)
            if not answered:
                return
            writer.write(answered)
            await writer.drain()
