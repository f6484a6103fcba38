"""A push service (RFC 8030) that refuses what a real one refuses, and plays faults on demand."""

import asyncio
import contextlib
import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Final, final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from letterlock.lab.push.agent import UserAgent
from letterlock.lab.push.serving import Connections, PushFault, Refusal, plain_http

MAX_BODY: Final = 4096
MAX_HEAD: Final = 16_384
LONGEST_TOKEN_S: Final = 86_400
URGENCIES: Final = frozenset({"very-low", "low", "normal", "high"})
_WORDS: Final = {
    201: "Created", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Not Allowed",
    410: "Gone", 413: "Too Large",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Woken:
    """A push that was taken."""

    endpoint: str
    content: bytes = field(repr=False)
    headers: dict[str, str]
    body: bytes = field(repr=False)


@dataclass(slots=True)
class _Subscription:
    agent: UserAgent
    sender_key: bytes
    gone: bool = False


@final
class LabPushService:
    """A push service and the browsers behind it.

    Args:
        now_s: seconds since 1970, for tokens.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s: Final = now_s
        self._subscriptions: Final[dict[str, _Subscription]] = {}
        self._open: Final = Connections()
        self.origin = ""
        self.woken: Final[list[Woken]] = []
        """Every push that was taken, decrypted."""
        self.refused: Final[list[tuple[int, str]]] = []
        """Every request that was refused by the rules: status and why."""
        self.seen = bytearray()
        """All bytes that ever came, for a search."""
        self.requests = 0
        self.faults: Final[deque[PushFault]] = deque()
        """What happens to the next requests."""

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncGenerator["LabPushService"]:
        """Listens on a free loopback port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            await self._open.end()

    @property
    def host(self) -> str:
        """What the gateway's settings list."""
        return self.origin.partition("://")[2]

    def subscribe(self, sender_key: bytes) -> tuple[str, UserAgent]:
        """A browser subscribes for this sender: the address to give it, and the browser."""
        path = "/push/" + urlsafe_b64encode(os.urandom(24)).decode()
        agent = UserAgent()
        self._subscriptions[path] = _Subscription(agent, sender_key)
        return self.origin + path, agent

    def unsubscribe(self, endpoint: str) -> None:
        """The browser is gone."""
        self._subscriptions[endpoint.removeprefix(self.origin)].gone = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._open.serving(writer):
            await plain_http(reader, writer, self._answer)

    def _answer(self, line: str, headers: dict[str, str], body: bytes, whole: bytes) -> bytes:
        self.requests += 1
        self.seen += whole
        method, path, _ = line.split(" ")
        more = ""
        if self.faults:
            fault = self.faults.popleft()
            if not fault.status:
                return b""
            status = fault.status
            more = f"retry-after: {fault.retry_after}\r\n" if fault.retry_after else ""
            more += f"location: {fault.location}\r\n" if fault.location else ""
        else:
            try:
                self._take(method, path, headers, body)
                status, more = 201, f"location: {self.origin}/message/{os.urandom(8).hex()}\r\n"
            except Refusal as refusal:
                status = refusal.status
                self.refused.append((status, str(refusal)))
        return f"HTTP/1.1 {status} {_WORDS.get(status, 'x')}\r\n{more}content-length: 0\r\n\r\n".encode()

    def _take(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        if method != "POST":
            raise Refusal(405, "not a POST")
        found = self._subscriptions.get(path)
        if found is None:
            raise Refusal(404, "no such subscription")
        if found.gone:
            raise Refusal(410, "the browser is gone")
        if not headers.get("ttl", "").isdecimal():
            raise Refusal(400, "no TTL")
        if headers.get("urgency", "normal") not in URGENCIES:
            raise Refusal(400, "an urgency that there is not")
        if headers.get("content-encoding") != "aes128gcm":
            raise Refusal(400, "not aes128gcm")
        if not body or len(body) > MAX_BODY:
            raise Refusal(413, "no body, or too much of it")
        self._check_token(headers.get("authorization", ""), found.sender_key)
        try:
            content = found.agent.open(body)
        except ValueError as error:
            # A real service could not tell; a browser would drop it in silence. Here it is to be seen.
            raise Refusal(400, f"the browser: {error}") from None
        self.woken.append(Woken(self.origin + path, content, headers, body))

    def _check_token(self, authorization: str, sender_key: bytes) -> None:
        scheme, _, rest = authorization.partition(" ")
        if scheme.lower() != "vapid":
            raise Refusal(401, "no vapid")
        try:
            parts = dict(part.strip().split("=", 1) for part in rest.split(","))
            key = _raw(parts["k"])
            head, claims, signature = parts["t"].split(".")
            both = _raw(signature)
            der = encode_dss_signature(int.from_bytes(both[:32]), int.from_bytes(both[32:]))
            public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
            public.verify(der, f"{head}.{claims}".encode(), ec.ECDSA(SHA256()))
            header, told = json.loads(_raw(head)), json.loads(_raw(claims))
        except (ValueError, KeyError, InvalidSignature):
            raise Refusal(403, "a token that is not signed by its key") from None
        now = self._now_s()
        if key != sender_key:
            raise Refusal(403, "another sender's key")
        if len(both) != 64 or header.get("alg") != "ES256" or header.get("typ") != "JWT":
            raise Refusal(403, "another algorithm")
        if told.get("aud") != self.origin:
            raise Refusal(403, "a token for another push service")
        if not now < told.get("exp", 0) <= now + LONGEST_TOKEN_S:
            raise Refusal(403, "a token that is over, or lives too long")
        if not str(told.get("sub", "")).startswith(("mailto:", "https:")):
            raise Refusal(403, "nobody to reach")


def _raw(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
