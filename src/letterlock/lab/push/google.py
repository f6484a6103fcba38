"""A push service that refuses what Firebase Cloud Messaging refuses: assertions, access tokens, messages."""

import asyncio
import contextlib
import json
import os
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, Final, final
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from letterlock.lab.push.serving import Connections, PushFault, Refusal, plain_http

SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_LIFETIME_S: Final = 3_599
MAX_DATA: Final = 4_096
_TTL: Final = re.compile(r"\d{1,7}(\.\d{1,9})?s")
_MESSAGE: Final = frozenset({"token", "data", "android", "notification", "apns", "webpush", "fcm_options"})
_ANDROID: Final = frozenset({"priority", "ttl", "collapse_key", "data", "restricted_package_name"})
_CODES: Final = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
_FCM_ERROR: Final = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST: Final = "type.googleapis.com/google.rpc.BadRequest"


@dataclass(frozen=True, slots=True)
class GoogleWoken:
    """A message that was taken."""

    token: str = field(repr=False)
    message: dict[str, Any] = field(repr=False)


def _token_refusal() -> Refusal:
    violations = [{"field": "message.token", "description": "not a valid registration token"}]
    details: list[dict[str, Any]] = [
        {"@type": _FCM_ERROR, "errorCode": "INVALID_ARGUMENT"},
        {"@type": _BAD_REQUEST, "fieldViolations": violations},
    ]
    return Refusal(400, "a token that was never given", details)


@final
class LabFcm:
    """Google's push service, its token service, and the phones behind them.

    Args:
        now_s: seconds since 1970, for tokens.
    """

    PROJECT: Final = "letters-lab"
    EMAIL: Final = "gateway@letters-lab.iam.gserviceaccount.com"
    KEY_ID: Final = "0123456789abcdef0123456789abcdef01234567"

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s: Final = now_s
        self.account_key: Final = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        self._tokens: Final[dict[str, bool]] = {}
        self._open: Final = Connections()
        self._access: Final[dict[str, float]] = {}
        self.origin = ""
        self.granted = 0
        """How many access tokens were given."""
        self.woken: Final[list[GoogleWoken]] = []
        """Every message that was taken."""
        self.refused: Final[list[tuple[int, str]]] = []
        """Every request that was refused by the rules: status and why."""
        self.seen = bytearray()
        """All bytes that ever came, for a search."""
        self.requests = 0
        self.faults: Final[deque[PushFault]] = deque()
        """What happens to the next sends."""
        self.token_faults: Final[deque[PushFault]] = deque()
        """What happens to the next requests for an access token."""

    @property
    def host(self) -> str:
        """What the gateway's settings name."""
        return self.origin.partition("://")[2]

    def account_file(self) -> bytes:
        """The service account as the console gives it."""
        pem = self.account_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        told = {
            "type": "service_account", "project_id": self.PROJECT, "private_key_id": self.KEY_ID, "private_key": pem,
            "client_email": self.EMAIL, "client_id": "1", "token_uri": f"{self.origin}/token",
        }  # fmt: skip
        return json.dumps(told).encode()

    def device(self) -> str:
        """An app is installed: its registration token."""
        token = f"{urlsafe_b64encode(os.urandom(16)).decode().rstrip('=')}:{os.urandom(60).hex()}"
        self._tokens[token] = True
        return token

    def uninstall(self, token: str) -> None:
        """The app is gone."""
        self._tokens[token] = False

    def revoke_access(self) -> None:
        """All access tokens end before their time."""
        self._access.clear()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncGenerator["LabFcm"]:
        """Listens on a free loopback port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            await self._open.end()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._open.serving(writer):
            await plain_http(reader, writer, self._answer)

    def _answer(self, line: str, headers: dict[str, str], body: bytes, whole: bytes) -> bytes:
        self.requests += 1
        self.seen += whole
        method, path, _ = line.split(" ")
        faults = self.token_faults if path == "/token" else self.faults
        if faults:
            fault = faults.popleft()
            if not fault.status:
                return b""
            details = [{"@type": _FCM_ERROR, "errorCode": fault.reason}] if fault.reason else []
            return _response(fault.status, _error(fault.status, "a fault", details), fault.retry_after)
        try:
            if method != "POST":
                raise Refusal(404, "not a POST")
            if path == "/token":
                return _response(200, self._grant(headers, body))
            if path != f"/v1/projects/{self.PROJECT}/messages:send":
                raise Refusal(404, "another project, or no such call")
            return _response(200, self._take(headers, body))
        except Refusal as refusal:
            self.refused.append((refusal.status, str(refusal)))
            return _response(refusal.status, _error(refusal.status, str(refusal), refusal.details))

    def _grant(self, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        if headers.get("content-type") != "application/x-www-form-urlencoded":
            raise Refusal(400, "not a form")
        form = {name: values[0] for name, values in parse_qs(body.decode("ascii")).items()}
        if form.get("grant_type") != GRANT:
            raise Refusal(400, "another grant")
        try:
            said, _, signature = form["assertion"].rpartition(".")
            self.account_key.public_key().verify(_raw(signature), said.encode(), padding.PKCS1v15(), SHA256())
            head, claims = (json.loads(_raw(part)) for part in said.split("."))
        except (KeyError, ValueError, InvalidSignature):
            raise Refusal(400, "an assertion that its key did not sign") from None
        now = self._now_s()
        if head.get("alg") != "RS256" or head.get("kid") != self.KEY_ID or claims.get("iss") != self.EMAIL:
            raise Refusal(400, "another account or algorithm")
        if claims.get("scope") != SCOPE or claims.get("aud") != f"{self.origin}/token":
            raise Refusal(400, "for something else")
        begins, ends = claims.get("iat", 0), claims.get("exp", 0)
        if not (begins - 60 <= now < ends and ends - begins <= 3_600):
            raise Refusal(400, "an assertion that is over, or lives too long")
        token = "ya29." + os.urandom(48).hex()
        self._access[token] = now + TOKEN_LIFETIME_S
        self.granted += 1
        return {"access_token": token, "expires_in": TOKEN_LIFETIME_S, "token_type": "Bearer"}

    def _take(self, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        scheme, _, access = headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or self._access.get(access, 0) <= self._now_s():
            raise Refusal(401, "no access token, or one that is over")
        try:
            message = json.loads(body)["message"]
            token, data, android = message["token"], message.get("data", {}), message.get("android", {})
        except (ValueError, LookupError, TypeError):
            raise Refusal(400, "no message") from None
        if set(message) - _MESSAGE or set(android) - _ANDROID:
            raise Refusal(400, "a field that there is not")
        if not all(isinstance(value, str) for value in data.values()):
            raise Refusal(400, "data is text by text")
        if sum(len(name) + len(value) for name, value in data.items()) > MAX_DATA:
            raise Refusal(400, "too much data")
        if android.get("priority", "NORMAL").upper() not in {"NORMAL", "HIGH"}:
            raise Refusal(400, "a priority that there is not")
        if not _TTL.fullmatch(android.get("ttl", "0s")):
            raise Refusal(400, "not a duration")
        installed = self._tokens.get(token)
        if installed is None:
            raise _token_refusal()
        if not installed:
            raise Refusal(404, "the app is gone", [{"@type": _FCM_ERROR, "errorCode": "UNREGISTERED"}])
        self.woken.append(GoogleWoken(token, message))
        return {"name": f"projects/{self.PROJECT}/messages/{os.urandom(8).hex()}"}


def _error(status: int, why: str, details: list[dict[str, Any]]) -> dict[str, Any]:
    return {"error": {"code": status, "message": why, "status": _CODES.get(status, "INTERNAL"), "details": details}}


def _response(status: int, body: dict[str, Any], retry_after: str = "") -> bytes:
    data = json.dumps(body).encode()
    more = f"retry-after: {retry_after}\r\n" if retry_after else ""
    head = f"HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n{more}content-length: {len(data)}\r\n\r\n"
    return head.encode() + data


def _raw(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
