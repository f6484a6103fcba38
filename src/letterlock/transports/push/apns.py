"""The driver for Apple's push service: HTTP/2, a provider token by ES256, and one payload for every message there is.

The payload is an alert with ``mutable-content``: the app's notification service extension is started, fetches and
decrypts, and shows what it found. A background push would say even less, but is held back or dropped when the app was
closed by its user. Should the extension fail, the device shows the app's own text for ``loc-key``.
"""

import ssl
from typing import Final, final

import httpx
from cryptography.hazmat.primitives.asymmetric import ec

from letterlock.model.clock import Clock
from letterlock.transports.push.answers import asking, small_json, word
from letterlock.transports.push.port import KEY_REFUSED, PushOutcome, PushResult
from letterlock.transports.push.web import TTL_S, asked_wait_s
from letterlock.wire.jws import signed
from letterlock.wire.push_targets import ApnsTarget

PAYLOAD: Final = b'{"aps":{"alert":{"loc-key":"LETTERLOCK_WAKE_UP"},"mutable-content":1,"sound":"default"}}'
"""The content of every push."""
COLLAPSE_ID: Final = "wake-up"
"""The same for all: of several that wait at Apple's, a device gets one."""
TOKEN_LIFETIME_S: Final = 45 * 60
"""Apple refuses tokens older than an hour, and more than one in twenty minutes."""
TOKEN_PAUSE_S: Final = 20 * 60
_GONE: Final = frozenset({"BadDeviceToken", "DeviceTokenNotForTopic", "Unregistered", "ExpiredToken"})
_KEY: Final = frozenset(
    {
        "BadCertificate", "BadCertificateEnvironment", "ExpiredProviderToken", "Forbidden", "InvalidProviderToken",
        "MissingProviderToken", "UnrelatedKeyIdInToken", "BadEnvironmentKeyIdInToken", "TopicDisallowed",
        "MissingTopic", "BadTopic",
    }
)  # fmt: skip
"""Reasons that whoever runs the gateway can mend, and nobody else."""


@final
class ApnsSender:
    """Sends wake-ups to devices of Apple's.

    Args:
        key: the team's key for APNs, P-256.
        key_id: what Apple calls it.
        team_id: whose it is.
        topic: the app's bundle id.
        origin: ``https://`` and Apple's host.
        clock: wall time, for tokens.
        trust: what its certificate is checked by.
        transport: for tests; the network otherwise.
    """

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        key_id: str,
        team_id: str,
        topic: str,
        origin: str,
        clock: Clock,
        trust: ssl.SSLContext,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._key: Final = key
        self._key_id: Final = key_id
        self._team_id: Final = team_id
        self._topic: Final = topic
        self._origin: Final = origin
        self._clock: Final = clock
        self._token = ""
        self._made_s = 0
        # Apple wants few connections with many streams; a second one is for when the first is being closed.
        self._http: Final = asking(
            transport,
            http1=False,
            http2=True,
            verify=trust,
            limits=httpx.Limits(max_connections=2, max_keepalive_connections=1),
        )

    def check(self, target: ApnsTarget) -> None:
        """See :class:`letterlock.transports.push.port.PushDriver`."""
        target.checked()

    async def send(self, target: ApnsTarget) -> PushOutcome:
        """See :class:`letterlock.transports.push.port.PushDriver`."""
        now_s = self._clock.now_ms() // 1_000
        headers = {
            "authorization": f"bearer {self._provider_token(now_s)}",
            "apns-topic": self._topic,
            "apns-push-type": "alert",
            "apns-priority": "10",
            "apns-expiration": str(now_s + TTL_S),
            "apns-collapse-id": COLLAPSE_ID,
            "content-type": "application/json",
        }
        url = f"{self._origin}/3/device/{target.token.hex()}"
        try:
            async with self._http.stream("POST", url, content=PAYLOAD, headers=headers) as answer:
                said = {} if answer.is_success else await small_json(answer)
                return self._outcome(answer, word(said.get("reason")), now_s)
        except httpx.HTTPError:
            return PushOutcome(PushResult.RETRY)

    def _provider_token(self, now_s: int) -> str:
        # Backwards too: a clock that was set right must not keep a token of the future.
        if not self._token or not 0 <= now_s - self._made_s < TOKEN_LIFETIME_S:
            self._token = signed(self._key, {"kid": self._key_id}, {"iss": self._team_id, "iat": now_s})
            self._made_s = now_s
        return self._token

    def _outcome(self, answer: httpx.Response, reason: str, now_s: int) -> PushOutcome:
        if answer.is_success:
            return PushOutcome(PushResult.SENT)
        if answer.status_code == httpx.codes.GONE or reason in _GONE:
            return PushOutcome(PushResult.GONE)
        if reason == "ExpiredProviderToken" and now_s - self._made_s >= TOKEN_PAUSE_S:
            self._token = ""
            return PushOutcome(PushResult.RETRY)
        if answer.status_code == httpx.codes.FORBIDDEN or reason in _KEY:
            return KEY_REFUSED
        if reason == "TooManyProviderTokenUpdates":
            return PushOutcome(PushResult.RETRY, TOKEN_PAUSE_S)
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error:
            return PushOutcome(PushResult.RETRY, asked_wait_s(answer))
        return PushOutcome(PushResult.REFUSED)

    async def close(self) -> None:
        """Ends its connections."""
        await self._http.aclose()
