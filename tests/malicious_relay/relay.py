"""A malicious relay: between devices and a real gateway, it reads all, keeps all, and changes what its script says.

It holds no key of a device. What it can do beyond that is what anybody can do: register accounts, make key packages
and groups of its own, run any MLS engine. It is one party with the gateway: it forges answers and mailboxes at will.
"""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from tests.engines.adapters import Seat

from letterlock.client.engine import Decrypted
from letterlock.client.errors import EngineError

Answer = dict[str, Any]
Item = dict[str, Any]
MAX_ATTEMPTS: Final = 10_000


def b64(data: bytes) -> str:
    """As the protocol spells bytes."""
    return base64.b64encode(data).decode()


def raw(text: str) -> bytes:
    """Bytes of an answer."""
    return base64.b64decode(text, validate=True)


def as_is(item: Item) -> list[Item]:
    """An honest mailbox."""
    return [item]


def untouched(call: str, answer: Answer) -> None:
    """An honest answer."""


@dataclass
class Call:
    """One call as the relay sees it."""

    who: str
    method: str
    path: str
    body: Any


class MaliciousRelay:
    """What all lines have in common.

    Args:
        gateway: the real gateway's URL.
    """

    def __init__(self, gateway: str) -> None:
        self.gateway: Final = gateway
        self.lines: Final[dict[str, Line]] = {}
        self.calls: Final[list[Call]] = []
        self.bodies: Final[list[bytes]] = []
        """Everything that passed, in both directions."""

    def line(self, name: str) -> "Line":
        """The way of one device to the gateway."""
        self.lines[name] = Line(self, name)
        return self.lines[name]

    def sent(self, part: str) -> list[Any]:
        """The bodies of requests whose path holds ``part``, oldest first."""
        return [call.body for call in self.calls if call.method == "POST" and part in call.path]

    def last_commit(self) -> Any:
        """The bundle that came last: commit, welcomes and GroupInfo."""
        return self.sent("/commits")[-1]

    def messages(self) -> list[bytes]:
        """Every MLS ciphertext that was handed in."""
        return [raw(entry["body"]) for body in self.sent("/messages") for entry in body["messages"]]

    def obtained(self, words: list[bytes], *spies: Seat) -> set[bytes]:
        """Which of these words the relay knows: it looks through all that passed, and opens what its engines can."""
        heard = [*self.bodies, *(text for body in self.bodies for text in _decoded(body))]
        for spy in spies:
            for _, message in zip(range(MAX_ATTEMPTS), self.messages(), strict=False):
                with suppress(EngineError):
                    event = spy.port.process(message)
                    if isinstance(event, Decrypted):
                        heard.append(event.plaintext)
        return {word for word in words if any(word in one for one in heard)}


@dataclass
class Line(httpx.AsyncBaseTransport):
    """One device's line. ``answer`` changes answers in place; ``shape`` turns each mailbox item into what is shown.

    ``instead`` may answer a call without the gateway hearing of it.
    """

    relay: MaliciousRelay
    name: str
    answer: Callable[[str, Answer], None] = untouched
    shape: Callable[[Item], list[Item]] = as_is
    instead: Callable[[str, Any], Answer | None] = lambda call, body: None
    shown: list[Item] = field(default_factory=list)
    _real_of: dict[int, int] = field(default_factory=dict)
    _real: int = 0
    _acknowledged: int = 0
    _inner: httpx.AsyncHTTPTransport = field(default_factory=httpx.AsyncHTTPTransport)

    def slip_in(self, kind: str, group: str, body: bytes) -> None:
        """Puts something into the mailbox that nobody sent."""
        self._show(
            {"kind": kind, "group": group, "message_id": "msg_" + "00" * 16, "accepted_ms": 1, "body": b64(body)}
        )

    def honest(self) -> None:
        """From now on nothing is changed; what was shown was shown."""
        self.answer, self.shape, self.instead = untouched, as_is, lambda call, body: None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See the class."""
        content = await request.aread()
        body = json.loads(content) if content else None
        path = request.url.path
        self.relay.calls.append(Call(self.name, request.method, path, body))
        self.relay.bodies.append(content)
        call = f"{request.method} {path}"
        made = self.instead(call, body)
        if made is not None:
            return httpx.Response(200, json=made)
        if call.startswith("GET") and path.endswith("/mailbox"):
            return await self._mailbox(request)
        if path.endswith("/mailbox/ack"):
            return await self._acknowledge(request, body)
        response = await self._forward(request, content)
        if not response.is_success:
            return response
        found = json.loads(response.content)
        if call.endswith("/session"):
            found["mailbox_acknowledged"] = self._acknowledged
        self.answer(call, found)
        return httpx.Response(response.status_code, json=found)

    async def aclose(self) -> None:
        """See httpx."""
        await self._inner.aclose()

    async def _forward(self, request: httpx.Request, content: bytes, path: str = "") -> httpx.Response:
        headers = {name: value for name, value in request.headers.items() if name in {"authorization", "content-type"}}
        url = self.relay.gateway + (path or request.url.raw_path.decode())
        forwarded = httpx.Request(request.method, url, headers=headers, content=content)
        response = await self._inner.handle_async_request(forwarded)
        self.relay.bodies.append(await response.aread())
        return response

    async def _mailbox(self, request: httpx.Request) -> httpx.Response:
        response = await self._forward(request, b"", f"{request.url.path}?after={self._real}&limit=100")
        if not response.is_success:
            return response
        for item in json.loads(response.content)["items"]:
            self._real = item["sequence"]
            for one in self.shape(item):
                self._show(one)
        after = int(request.url.params["after"])
        items = [item for item in self.shown if item["sequence"] > after][: int(request.url.params["limit"])]
        return httpx.Response(200, json={"items": items, "head": len(self.shown)})

    async def _acknowledge(self, request: httpx.Request, body: Any) -> httpx.Response:
        self._acknowledged = max(self._acknowledged, body["through"])
        real = max((self._real_of[number] for number in range(1, body["through"] + 1)), default=0)
        await self._forward(request, json.dumps(body | {"through": real}).encode())
        return httpx.Response(200, json={"acknowledged": self._acknowledged})

    def _show(self, item: Item) -> None:
        number = len(self.shown) + 1
        self.shown.append(item | {"sequence": number})
        self._real_of[number] = self._real


def _decoded(body: bytes) -> Iterator[bytes]:
    """Every byte string in a JSON text."""
    try:
        yield from _strings(json.loads(body))
    except ValueError:
        return


def _strings(value: object) -> Iterator[bytes]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _strings(one)
    elif isinstance(value, str):
        try:
            yield raw(value)
        except ValueError:
            yield value.encode()
