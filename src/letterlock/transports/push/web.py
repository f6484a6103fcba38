"""The driver for Web Push (RFC 8030): one POST, no redirects, no proxies of the environment, no cookies kept.

Every push is alike but for its address and what is random: the same content and length, TTL and urgency, and no Topic.
A VAPID token is made for each push: a signature takes some 30 us, and a cache of tokens would be one more secret.
"""

import os
from collections.abc import Callable
from typing import Final, final

import httpx
from cryptography.hazmat.primitives.asymmetric import ec

from letterlock.model.clock import Clock
from letterlock.transports.push.answers import asking
from letterlock.transports.push.port import PushOutcome, PushResult
from letterlock.wire.push_targets import WebTarget
from letterlock.wire.webpush import SALT_BYTES, WAKE_UP, HostList, PushError, encrypt, private_key, vapid

TTL_S: Final = 86_400
"""How long the push service keeps a wake-up for a device that is off. It would be told of later mail again anyway."""
MAX_WAIT_S: Final = 3_600
"""Of what a Retry-After is believed."""
_GONE: Final = frozenset({404, 410})
_LATER: Final = frozenset({408, 425, 429})


@final
class WebPushSender:
    """Sends wake-ups.

    Args:
        key: this gateway's VAPID key.
        hosts: where it may go; looked at before every push, since settings may have changed since the subscription.
        subject: who runs this gateway, for push services.
        clock: wall time, for tokens.
        transport: for tests; the network otherwise.
        entropy: for ephemeral keys and salts.
    """

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        hosts: HostList,
        subject: str,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._key: Final = key
        self._hosts: Final = hosts
        self._subject: Final = subject
        self._clock: Final = clock
        self._entropy: Final = entropy
        self._http: Final = asking(transport)

    def check(self, target: WebTarget) -> None:
        """See :class:`letterlock.transports.push.port.PushDriver`."""
        target.subscription.checked(self._hosts)

    async def send(self, target: WebTarget) -> PushOutcome:
        """See :class:`letterlock.transports.push.port.PushDriver`."""
        subscription = target.subscription
        try:
            origin = self._hosts.origin_of(subscription.endpoint)
        except PushError:
            return PushOutcome(PushResult.GONE)
        body = encrypt(subscription, WAKE_UP, private_key(self._entropy(64)), self._entropy(SALT_BYTES))
        headers = {
            "authorization": vapid(self._key, origin, self._subject, self._clock.now_ms() // 1_000),
            "content-encoding": "aes128gcm",
            "content-type": "application/octet-stream",
            "ttl": str(TTL_S),
            "urgency": "high",
        }
        try:
            # The body of the answer is nobody's business, and may be of any length: it is not read.
            async with self._http.stream("POST", subscription.endpoint, content=body, headers=headers) as answer:
                return _outcome(answer)
        except httpx.HTTPError:
            return PushOutcome(PushResult.RETRY)

    async def close(self) -> None:
        """Ends its connections."""
        await self._http.aclose()


def _outcome(answer: httpx.Response) -> PushOutcome:
    status = answer.status_code
    if answer.is_success:
        return PushOutcome(PushResult.SENT)
    if status in _GONE:
        return PushOutcome(PushResult.GONE)
    if status in _LATER or status >= 500:
        return PushOutcome(PushResult.RETRY, asked_wait_s(answer))
    return PushOutcome(PushResult.REFUSED)


def asked_wait_s(answer: httpx.Response) -> int:
    """What a push service asks to wait, believed up to an hour; 0 where it does not say."""
    wait = answer.headers.get("retry-after", "")
    # A date is not worth a parser: our own backoff is as good.
    return min(int(wait), MAX_WAIT_S) if wait.isdecimal() and len(wait) < 10 else 0
