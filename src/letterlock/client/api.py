"""The tenant's client of ``/v1``: send, fetch, list, who could read it, answer a challenge, fetch a proof.

Two thin faces over the same typed calls: :class:`TenantApi` (blocking) and :class:`AsyncTenantApi`. Requests are
closed structs, answers are open ones: a newer gateway may say more. Nothing is repeated on its own; a caller that
repeats after a lost answer passes the same idempotency key (THREATS A17: another body under it is refused).
"""

from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Final, Generic, TypeVar, final
from urllib.parse import quote, urlencode

import httpx
import msgspec

from letterlock.client.errors import RelayError, RelayReason
from letterlock.client.relay import decoded

IDEMPOTENCY_KEY: Final = "Idempotency-Key"


@unique
class OnDowngrade(StrEnum):
    """What becomes of a message whose path is below the floor."""

    REFUSE = "refuse"
    HOLD = "hold"
    ASK = "ask"


class MessageRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message to send. Its text never shows in a repr."""

    to: str
    text: str
    on_downgrade: OnDowngrade = OnDowngrade.ASK
    reference: str = ""

    def __repr__(self) -> str:
        return "<MessageRequest>"


class BatchRequest(msgspec.Struct, frozen=True):
    """Several messages; each is accepted or refused by itself."""

    messages: list[MessageRequest]


class ChallengeAnswer(msgspec.Struct, frozen=True):
    """An answer to one challenge."""

    choice: str


class Security(msgspec.Struct, frozen=True):
    """The security block: who can read the message, why that is believed, who checked."""

    protection: str = "UNKNOWN"
    grade: str = "NONE"
    verifier: str = "nobody"
    indicator: str = ""
    readers: list[str] = []
    decision: str = ""
    rule: str = ""


class Message(msgspec.Struct, frozen=True):
    """A message as the gateway tells of it; never its content."""

    id: str = ""
    status: str = ""
    channel: str = ""
    security: Security = Security()
    leaf_hash: str = ""
    code: str = ""
    challenge: str = ""


class MessagePage(msgspec.Struct, frozen=True):
    """A page of messages, newest first."""

    messages: list[Message] = []
    next: str = ""


class BatchAnswer(msgspec.Struct, frozen=True):
    """What became of each message of a batch, in its order."""

    results: list[Message] = []


class Challenge(msgspec.Struct, frozen=True):
    """A question to which consent is the answer."""

    id: str = ""
    status: str = ""
    choices: list[str] = []
    text: str = ""


class Proof(msgspec.Struct, frozen=True):
    """A ledger proof in the C2SP text form, for ``letterlock ledger verify`` and foreign verifiers."""

    proof: str = ""
    checkpoint: str = ""


T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One operation: everything but the connection."""

    method: str
    path: str
    answer: type[T]
    body: msgspec.Struct | None = field(default=None, repr=False)
    idempotency_key: str = field(default="", repr=False)

    def request(self) -> tuple[bytes | None, dict[str, str]]:
        """Body and headers."""
        headers = {IDEMPOTENCY_KEY: self.idempotency_key} if self.idempotency_key else {}
        if self.body is None:
            return None, headers
        return msgspec.json.encode(self.body), {**headers, "Content-Type": "application/json"}


def send(message: MessageRequest, idempotency_key: str) -> Call[Message]:
    """One message."""
    return Call("POST", "/v1/messages", Message, message, idempotency_key)


def send_batch(messages: list[MessageRequest], idempotency_key: str) -> Call[BatchAnswer]:
    """Several messages."""
    return Call("POST", "/v1/messages/batch", BatchAnswer, BatchRequest(messages), idempotency_key)


def fetch(message_id: str) -> Call[Message]:
    """State and security block of one message."""
    return Call("GET", f"/v1/messages/{quote(message_id, safe='')}", Message)


def listing(after: str = "", limit: int = 50) -> Call[MessagePage]:
    """A page of messages."""
    query = {"limit": str(limit)} | ({"after": after} if after else {})
    return Call("GET", f"/v1/messages?{urlencode(query)}", MessagePage)


def challenge(challenge_id: str) -> Call[Challenge]:
    """One challenge."""
    return Call("GET", f"/v1/challenges/{quote(challenge_id, safe='')}", Challenge)


def answer(challenge_id: str, choice: str, idempotency_key: str) -> Call[Challenge]:
    """Answers a challenge."""
    path = f"/v1/challenges/{quote(challenge_id, safe='')}/answer"
    return Call("POST", path, Challenge, ChallengeAnswer(choice), idempotency_key)


def proof(message_id: str) -> Call[Proof]:
    """The ledger proof of a message."""
    return Call("GET", f"/v1/messages/{quote(message_id, safe='')}/proof", Proof)


@final
class TenantApi:
    """Blocking.

    Args:
        http: an ``httpx.Client`` with the gateway's base URL.
        api_key: the tenant's API key.
    """

    def __init__(self, http: httpx.Client, api_key: str) -> None:
        self._http: Final = http
        self._bearer: Final = f"Bearer {api_key}"

    def __call__(self, call: Call[T]) -> T:
        """Runs one of this module's calls.

        Raises:
            RelayError: refused, unreachable, or not understood. CONSENT_REQUIRED is the 409 that names a challenge.
        """
        content, headers = call.request()
        headers["Authorization"] = self._bearer
        try:
            response = self._http.request(call.method, call.path, content=content, headers=headers)
        except httpx.HTTPError:
            raise RelayError(RelayReason.UNREACHABLE) from None
        return decoded(response, call.answer)


@final
class AsyncTenantApi:
    """The same for asyncio.

    Args:
        http: an ``httpx.AsyncClient`` with the gateway's base URL.
        api_key: the tenant's API key.
    """

    def __init__(self, http: httpx.AsyncClient, api_key: str) -> None:
        self._http: Final = http
        self._bearer: Final = f"Bearer {api_key}"

    async def __call__(self, call: Call[T]) -> T:
        """Runs one of this module's calls; raises as :meth:`TenantApi.__call__`."""
        content, headers = call.request()
        headers["Authorization"] = self._bearer
        try:
            response = await self._http.request(call.method, call.path, content=content, headers=headers)
        except httpx.HTTPError:
            raise RelayError(RelayReason.UNREACHABLE) from None
        return decoded(response, call.answer)
