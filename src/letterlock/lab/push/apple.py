"""A push service that refuses what Apple's refuses: HTTP/2 over TLS, provider tokens, topics, headers, payloads."""

import asyncio
import contextlib
import datetime
import ipaddress
import json
import os
import re
import ssl
from base64 import urlsafe_b64decode
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError

from letterlock.lab.push.serving import Connections, PushFault, Refusal

MAX_PAYLOAD: Final = 4_096
LONGEST_TOKEN_S: Final = 3_600
TOKEN_PAUSE_S: Final = 20 * 60
CLOCKS_DIFFER_S: Final = 60
TYPES: Final = frozenset({"alert", "background", "voip", "complication", "fileprovider", "mdm", "location"})
_PATH: Final = re.compile(r"/3/device/([0-9a-f]{2,200})")


@dataclass(frozen=True, slots=True)
class AppleWoken:
    """A push that was taken."""

    token: bytes = field(repr=False)
    payload: bytes = field(repr=False)
    headers: dict[str, str] = field(repr=False)


@final
class LabApns:
    """Apple's push service and the phones behind it.

    Args:
        now_s: seconds since 1970, for tokens.
        folder: where its authority's certificate is put.
    """

    TEAM: Final = "TEAM123456"
    KEY_ID: Final = "KEY1234567"
    TOPIC: Final = "net.example.letters"

    def __init__(self, now_s: Callable[[], float], folder: Path) -> None:
        self._now_s: Final = now_s
        self.provider_key: Final = ec.generate_private_key(ec.SECP256R1())
        """What Apple gave the team: the gateway signs with it."""
        self.ca_file: Final = folder / "apns-ca.pem"
        self._folder: Final = folder
        self._tokens: Final[dict[bytes, bool]] = {}
        self._open: Final = Connections()
        self._provider: Final[list[tuple[str, float]]] = []
        self.host = ""
        self.woken: Final[list[AppleWoken]] = []
        """Every push that was taken."""
        self.refused: Final[list[tuple[int, str]]] = []
        """Every request that was refused by the rules: status and reason."""
        self.seen = bytearray()
        """All that was decrypted of requests, for a search."""
        self.connections = 0
        self.requests = 0
        self.faults: Final[deque[PushFault]] = deque()
        """What happens to the next requests."""

    @property
    def key_pem(self) -> bytes:
        """The provider's key as Apple gives it."""
        return self.provider_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def device(self) -> bytes:
        """An app is installed: its device token."""
        token = os.urandom(32)
        self._tokens[token] = True
        return token

    def uninstall(self, token: bytes) -> None:
        """The app is gone."""
        self._tokens[token] = False

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncGenerator["LabApns"]:
        """Listens on a free loopback port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls())
        self.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            await self._open.end()

    def _tls(self) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab push service")])
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, SHA256())
        )
        self.ca_file.write_bytes(made.public_bytes(Encoding.PEM))
        both = self._folder / "apns-server.pem"
        both.touch(mode=0o600)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        both.write_bytes(pem + made.public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        context.set_alpn_protocols(["h2"])
        return context

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with self._open.serving(writer):
            await self._talk(reader, writer)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        http.initiate_connection()
        writer.write(http.data_to_send())
        heads: dict[int, dict[str, str]] = {}
        bodies: dict[int, bytearray] = {}
        with contextlib.suppress(OSError, ProtocolError):
            while data := await reader.read(65_536):
                for event in http.receive_data(data):
                    if isinstance(event, RequestReceived):
                        heads[event.stream_id] = {str(name): str(value) for name, value in event.headers}
                        bodies[event.stream_id] = bytearray()
                    elif isinstance(event, DataReceived):
                        bodies[event.stream_id] += event.data
                        http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, StreamEnded):
                        head, body = heads.pop(event.stream_id), bytes(bodies.pop(event.stream_id))
                        if not self._answer(http, event.stream_id, head, body):
                            return
                    elif isinstance(event, ConnectionTerminated):
                        return
                writer.write(http.data_to_send())
                await writer.drain()

    def _answer(self, http: H2Connection, stream: int, head: dict[str, str], body: bytes) -> bool:
        self.requests += 1
        self.seen += repr(head).encode() + body
        status, reason, fields = 200, "", []
        if self.faults:
            fault = self.faults.popleft()
            if not fault.status:
                return False
            status, reason = fault.status, fault.reason
            fields = [("retry-after", fault.retry_after)] if fault.retry_after else []
        else:
            try:
                self._take(head, body)
            except Refusal as refusal:
                status, reason = refusal.status, str(refusal)
                self.refused.append((status, reason))
        answer = json.dumps({"reason": reason}).encode() if status != 200 else b""
        http.send_headers(stream, [(":status", str(status)), ("apns-id", os.urandom(16).hex()), *fields])
        for at in range(0, len(answer), http.max_outbound_frame_size):
            http.send_data(stream, answer[at : at + http.max_outbound_frame_size])
        http.end_stream(stream)
        return True

    def _take(self, head: dict[str, str], body: bytes) -> None:
        if head.get(":method") != "POST":
            raise Refusal(405, "MethodNotAllowed")
        found = _PATH.fullmatch(head.get(":path", ""))
        if found is None:
            raise Refusal(404, "BadPath")
        self._check_provider(head.get("authorization", ""))
        self._check_fields(head)
        self._check_payload(head, body)
        try:
            token = bytes.fromhex(found.group(1))
        except ValueError:
            raise Refusal(400, "BadDeviceToken") from None
        installed = self._tokens.get(token)
        if installed is None:
            raise Refusal(400, "BadDeviceToken")
        if not installed:
            raise Refusal(410, "Unregistered")
        self.woken.append(AppleWoken(token, body, {name: value for name, value in head.items() if name[0] != ":"}))

    def _check_provider(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refusal(403, "MissingProviderToken")
        try:
            said, _, signature = token.rpartition(".")
            head, claims = (json.loads(_raw(part)) for part in said.split("."))
            both = _raw(signature)
            if head != {"kid": self.KEY_ID, "alg": "ES256"} | ({"typ": "JWT"} if "typ" in head else {}):
                raise ValueError("header")
            if len(both) != 64 or claims.get("iss") != self.TEAM or not isinstance(claims.get("iat"), int):
                raise ValueError("claims")
            der = encode_dss_signature(int.from_bytes(both[:32]), int.from_bytes(both[32:]))
            self.provider_key.public_key().verify(der, said.encode(), ec.ECDSA(SHA256()))
        except (ValueError, AttributeError, InvalidSignature):
            raise Refusal(403, "InvalidProviderToken") from None
        now = self._now_s()
        if not now - LONGEST_TOKEN_S < claims["iat"] <= now + CLOCKS_DIFFER_S:
            raise Refusal(403, "ExpiredProviderToken")
        if token not in [known for known, _ in self._provider]:
            if self._provider and now - self._provider[-1][1] < TOKEN_PAUSE_S:
                raise Refusal(429, "TooManyProviderTokenUpdates")
            self._provider.append((token, now))

    def _check_fields(self, head: dict[str, str]) -> None:
        if not head.get("apns-topic"):
            raise Refusal(400, "MissingTopic")
        if head["apns-topic"] != self.TOPIC:
            raise Refusal(400, "TopicDisallowed")
        kind = head.get("apns-push-type", "")
        if kind not in TYPES:
            raise Refusal(400, "InvalidPushType")
        priority = head.get("apns-priority", "10")
        if priority not in {"1", "5", "10"} or (kind == "background" and priority == "10"):
            raise Refusal(400, "BadPriority")
        if not head.get("apns-expiration", "0").isdecimal():
            raise Refusal(400, "BadExpirationDate")
        if len(head.get("apns-collapse-id", "").encode()) > 64:
            raise Refusal(400, "BadCollapseId")

    def _check_payload(self, head: dict[str, str], body: bytes) -> None:
        if not body:
            raise Refusal(400, "PayloadEmpty")
        if len(body) > MAX_PAYLOAD:
            raise Refusal(413, "PayloadTooLarge")
        try:
            aps: Any = json.loads(body)["aps"]
        except (ValueError, LookupError, TypeError):
            raise Refusal(400, "BadMessageId") from None
        alert = isinstance(aps, dict) and isinstance(aps.get("alert"), dict | str)
        if head["apns-push-type"] == "alert" and not alert:
            # Apple takes it and shows nothing; here it is to be seen.
            raise Refusal(400, "InvalidPushType")


def _raw(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
