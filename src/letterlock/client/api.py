"""The tenant's client of ``/v1``: send, fetch, list, who could read it, answer a challenge, fetch and check a receipt.

Two thin faces over the same typed calls: :class:`TenantApi` (blocking) and :class:`AsyncTenantApi`. Nothing is
repeated on its own; a caller that repeats after a lost answer passes the same idempotency key (THREATS A17: another
body under it is refused).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar, final
from urllib.parse import quote, urlencode

import httpx
import msgspec

from letterlock.client.api_answers import (
    MAX_ANSWER,
    Answered,
    AnswerRequest,
    ApiCode,
    ApiError,
    BatchAnswer,
    BatchRequest,
    Challenge,
    ChallengeAnswered,
    FlipToggle,
    HandedReceipts,
    MessagePage,
    MessageRequest,
    MessageTaken,
    MessageView,
    Nothing,
    ReceiptsKept,
    Security,
    Toggle,
    Transports,
    WhichToggle,
    refusal,
)
from letterlock.model.ids import MessageId
from letterlock.wire.path import ProvenPath, verify_path
from letterlock.wire.tlog.note import VerifierKey
from letterlock.wire.tlog.verify import ProvenRecord, verify_receipt

IDEMPOTENCY_KEY: Final = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class LedgerReceipt:
    """Proof that a message's record is in the ledger, as a file (C2SP tlog-proof). Fetched is not checked."""

    data: bytes = field(repr=False)

    def verify(self, key: VerifierKey) -> ProvenRecord:
        """Checks it offline, against a log key that the caller holds from elsewhere.

        Raises:
            LetterlockError: whatever does not fit together; see :func:`letterlock.wire.tlog.verify.verify_receipt`.
        """
        return verify_receipt(self.data, key)


@dataclass(frozen=True, slots=True)
class MessagePath:
    """The path of a message, as a file. Fetched is not checked."""

    data: bytes = field(repr=False)

    def verify(self, *keys: VerifierKey, message: MessageId | None = None) -> ProvenPath:
        """Checks it offline, against the log keys of the servers on it, that the caller holds from elsewhere.

        Raises:
            LetterlockError: whatever does not fit together; see :func:`letterlock.wire.path.verify_path`.
        """
        return verify_path(self.data, keys, message)


T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One operation: everything but the connection."""

    method: str
    path: str
    read: Callable[[bytes], T] = field(repr=False)
    body: msgspec.Struct | None = field(default=None, repr=False)
    idempotency_key: str = field(default="", repr=False)

    def request(self) -> tuple[bytes | None, dict[str, str]]:
        """Body and headers."""
        headers = {IDEMPOTENCY_KEY: self.idempotency_key} if self.idempotency_key else {}
        if self.body is None:
            return None, headers
        return msgspec.json.encode(self.body), {**headers, "Content-Type": "application/json"}


def _json(kind: type[S]) -> Callable[[bytes], S]:
    def read(content: bytes) -> S:
        return msgspec.json.decode(content, type=kind)

    return read


def _place(text: str) -> str:
    """An id cannot leave its place in the path."""
    return quote(text, safe="")


def send(message: MessageRequest, idempotency_key: str) -> Call[MessageTaken]:
    """One message. After CONSENT_REQUIRED, send it again with the consent and the very same idempotency key."""
    return Call("POST", "/v1/messages", _json(MessageTaken), message, idempotency_key)


def send_batch(messages: list[MessageRequest], idempotency_key: str) -> Call[BatchAnswer]:
    """At most 100 messages."""
    return Call("POST", "/v1/messages/batch", _json(BatchAnswer), BatchRequest(messages), idempotency_key)


def fetch(message_id: str) -> Call[MessageView]:
    """State and security block of one message."""
    return Call("GET", f"/v1/messages/{_place(message_id)}", _json(MessageView))


def listing(before: str = "", limit: int = 50) -> Call[MessagePage]:
    """A page of messages, newest first, at most 200."""
    query = {"limit": str(limit)} | ({"before": before} if before else {})
    return Call("GET", f"/v1/messages?{urlencode(query)}", _json(MessagePage))


def security(message_id: str) -> Call[Security]:
    """Who could read a message, and why that is believed."""
    return Call("GET", f"/v1/messages/{_place(message_id)}/security", _json(Security))


def receipt(message_id: str) -> Call[LedgerReceipt]:
    """The ledger's receipt of a message; ENTRY_NOT_SIGNED_YET in the first second or so.

    INTERVAL_OPEN, for some minutes, where messages enter the ledger by the interval.
    """
    return Call("GET", f"/v1/messages/{_place(message_id)}/receipt", LedgerReceipt)


def path(message_id: str) -> Call[MessagePath]:
    """What each hop states of a message, signed; its refusals are those of :func:`receipt`."""
    return Call("GET", f"/v1/messages/{_place(message_id)}/path", MessagePath)


def check_receipts(message_id: str, receipts: list[bytes]) -> Call[ReceiptsKept]:
    """Asks the server to check signed receipts of devices; what comes of them is in the message's security block."""
    path = f"/v1/messages/{_place(message_id)}/receipts"
    return Call("POST", path, _json(ReceiptsKept), HandedReceipts(receipts))


def challenge(challenge_id: str) -> Call[Challenge]:
    """A question about a step down."""
    return Call("GET", f"/v1/challenges/{_place(challenge_id)}", _json(Challenge))


def answer(challenge_id: str, said: Answered, answered_by: str) -> Call[ChallengeAnswered]:
    """Says what the person answered."""
    path = f"/v1/challenges/{_place(challenge_id)}/answer"
    return Call("POST", path, _json(ChallengeAnswered), AnswerRequest(said, answered_by))


def withdraw(consent_id: str) -> Call[Nothing]:
    """Takes an unused consent back."""
    return Call("DELETE", f"/v1/consents/{_place(consent_id)}", lambda _: Nothing())


def e2ee_first(to: str | None = None) -> Call[Toggle]:
    """What the E2EE-first toggle says: of one conversation, or of all of the tenant's."""
    return Call("POST", "/v1/e2ee-first/query", _json(Toggle), WhichToggle(to))


def set_e2ee_first(mode: str, to: str | None = None, seen: int | None = None) -> Call[Toggle]:
    """Flips it: ``e2ee_first`` or ``as_policy``. ``seen`` is a version that it must have."""
    return Call("PUT", "/v1/e2ee-first", _json(Toggle), FlipToggle(mode, to, seen))


def transports() -> Call[Transports]:
    """Every transport, and who reads on it."""
    return Call("GET", "/v1/transports", _json(Transports))


def _read(call: Call[T], response: httpx.Response) -> T:
    if len(response.content) > MAX_ANSWER:
        raise ApiError(ApiCode.NOT_UNDERSTOOD, status=response.status_code)
    if not response.is_success:
        raise refusal(response)
    try:
        return call.read(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ApiError(ApiCode.NOT_UNDERSTOOD, status=response.status_code) from None


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
            ApiError: with the gateway's problem code; UNREACHABLE, NOT_UNDERSTOOD and OTHER beside them.
        """
        content, headers = call.request()
        headers["Authorization"] = self._bearer
        try:
            response = self._http.request(call.method, call.path, content=content, headers=headers)
        except httpx.HTTPError:
            raise ApiError(ApiCode.UNREACHABLE) from None
        return _read(call, response)


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
            raise ApiError(ApiCode.UNREACHABLE) from None
        return _read(call, response)
