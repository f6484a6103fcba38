"""The driver for Firebase Cloud Messaging: HTTP v1, an access token by a service account, data messages alone.

A data message wakes the app and shows nothing by itself; high priority is for what a person waits for. Google sees the
same few bytes for every message there is.
"""

import asyncio
from typing import Any, Final, final

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from letterlock.model.clock import Clock
from letterlock.transports.push.answers import asking, small_json, word
from letterlock.transports.push.port import KEY_REFUSED, PushOutcome, PushResult
from letterlock.transports.push.web import TTL_S, asked_wait_s
from letterlock.wire.jws import signed
from letterlock.wire.push_targets import FcmTarget

SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_LIFETIME_S: Final = 3_600
"""The longest that Google takes (RFC 7523, section 3)."""
RENEW_BEFORE_S: Final = 300
QUOTA_WAIT_S: Final = 60
"""After 429 without a Retry-After, as the service asks in its documentation."""
COLLAPSE_KEY: Final = "wake-up"
"""The same for all: of several that wait at Google's, a device gets one."""
_GONE: Final = frozenset({"UNREGISTERED", "SENDER_ID_MISMATCH"})


class ServiceAccount(msgspec.Struct, frozen=True):
    """Who this gateway is at Google's, from the file of the console."""

    project: str
    email: str
    key_id: str
    key: rsa.RSAPrivateKey
    token_url: str

    def __repr__(self) -> str:
        return "<ServiceAccount>"


@final
class FcmSender:
    """Sends wake-ups to apps with Firebase Cloud Messaging.

    Args:
        account: who sends.
        origin: ``https://`` and Google's host.
        clock: wall time, for tokens.
        transport: for tests; the network otherwise.
    """

    def __init__(
        self, account: ServiceAccount, origin: str, clock: Clock, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._account: Final = account
        self._url: Final = f"{origin}/v1/projects/{account.project}/messages:send"
        self._clock: Final = clock
        self._token = ""
        self._ends_s = 0
        self._asking: Final = asyncio.Lock()
        self._http: Final = asking(transport)

    def check(self, target: FcmTarget) -> None:
        """See :class:`letterlock.transports.push.port.PushDriver`."""
        target.checked()

    async def send(self, target: FcmTarget) -> PushOutcome:
        """See :class:`letterlock.transports.push.port.PushDriver`."""
        message = {
            "token": target.token,
            "data": {"letterlock": "wake-up"},
            "android": {"priority": "HIGH", "ttl": f"{TTL_S}s", "collapse_key": COLLAPSE_KEY},
        }
        try:
            token = await self._access_token()
            if isinstance(token, PushOutcome):
                return token
            headers = {"authorization": f"Bearer {token}"}
            async with self._http.stream("POST", self._url, json={"message": message}, headers=headers) as answer:
                if answer.is_success:
                    return PushOutcome(PushResult.SENT)
                return self._refused(answer, await small_json(answer), token)
        except httpx.HTTPError:
            return PushOutcome(PushResult.RETRY)

    async def _access_token(self) -> str | PushOutcome:
        """A token that still holds for some minutes; asked for once, however many wait for it."""
        async with self._asking:
            now_s = self._clock.now_ms() // 1_000
            if self._token and now_s < self._ends_s - RENEW_BEFORE_S:
                return self._token
            who = self._account
            claims = {
                "iss": who.email, "scope": SCOPE, "aud": who.token_url, "iat": now_s,
                "exp": now_s + ASSERTION_LIFETIME_S,
            }  # fmt: skip
            form = {"grant_type": GRANT, "assertion": signed(who.key, {"typ": "JWT", "kid": who.key_id}, claims)}
            async with self._http.stream("POST", who.token_url, data=form) as answer:
                said = await small_json(answer)
                token, lifetime = word(said.get("access_token")), said.get("expires_in")
                if not answer.is_success or not token or not isinstance(lifetime, int):
                    return _no_token(answer)
            self._token, self._ends_s = token, now_s + min(lifetime, ASSERTION_LIFETIME_S)
            return token

    def _refused(self, answer: httpx.Response, said: dict[str, Any], token: str) -> PushOutcome:
        status, code = answer.status_code, _error_code(said)
        if code in _GONE or (status == httpx.codes.BAD_REQUEST and _names_the_token(said)):
            return PushOutcome(PushResult.GONE)
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            if self._token == token:
                self._token = ""
            return KEY_REFUSED
        if status == httpx.codes.TOO_MANY_REQUESTS:
            return PushOutcome(PushResult.RETRY, asked_wait_s(answer) or QUOTA_WAIT_S)
        if answer.is_server_error:
            return PushOutcome(PushResult.RETRY, asked_wait_s(answer))
        return PushOutcome(PushResult.REFUSED)

    async def close(self) -> None:
        """Ends its connections."""
        await self._http.aclose()


def _no_token(answer: httpx.Response) -> PushOutcome:
    if answer.is_server_error or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return PushOutcome(PushResult.RETRY, asked_wait_s(answer))
    return KEY_REFUSED


def _details(said: dict[str, Any]) -> list[dict[str, Any]]:
    error = said.get("error")
    details = error.get("details") if isinstance(error, dict) else None
    return [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []


def _error_code(said: dict[str, Any]) -> str:
    return next((code for one in _details(said) if (code := word(one.get("errorCode")))), "")


def _names_the_token(said: dict[str, Any]) -> bool:
    """Whether it is the registration token that is no good, and not something of ours."""
    violations = [one.get("fieldViolations") for one in _details(said)]
    return any(
        isinstance(one, dict) and one.get("field") == "message.token"
        for listed in violations
        if isinstance(listed, list)
        for one in listed
    )
