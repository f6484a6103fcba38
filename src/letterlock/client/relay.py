"""The relay's HTTP calls as docs/protocol/devices.md has them: typed answers, typed errors, nothing else."""

from typing import Any, Final, TypeVar, final

import httpx
import msgspec

from letterlock.client.errors import RelayError, RelayReason
from letterlock.model.errors import Fact

MAX_ANSWER: Final = 8 * 1024 * 1024
"""Bytes of one answer: a mailbox page of 100 messages of 64 KiB in base64 is the largest."""

T = TypeVar("T", bound=msgspec.Struct)


class _Answer(msgspec.Struct, frozen=True):
    """Answers may gain fields; requests may not."""


class AccountAnswer(_Answer, frozen=True):
    """POST /v1/accounts."""

    account_id: str
    tenant_id: str
    environment: str
    audience: str


class ListAnswer(_Answer, frozen=True):
    """POST /v1/accounts/{id}/devices."""

    version: int
    list_hash: bytes
    leaf_hash: bytes


class ListVersion(_Answer, frozen=True):
    """One version of a device list."""

    version: int
    device_list: bytes
    leaf_hash: bytes


class ListsAnswer(_Answer, frozen=True):
    """GET /v1/accounts/{id}/device-list."""

    account_id: str
    identity_key: bytes
    current_version: int
    versions: list[ListVersion]


class NonceAnswer(_Answer, frozen=True):
    """POST /v1/devices/{id}/session/nonce."""

    nonce: bytes
    expires_ms: int


class SessionAnswer(_Answer, frozen=True):
    """POST /v1/devices/{id}/session."""

    token: str
    expires_ms: int
    mailbox_acknowledged: int
    mailbox_head: int
    mailbox_lost: bool
    key_packages: int


class KeyPackagesAnswer(_Answer, frozen=True):
    """PUT /v1/devices/{id}/key-packages."""

    accepted: int
    duplicates: int
    available: int
    has_last_resort: bool


class ClaimedPackage(_Answer, frozen=True):
    """One key package of a claim."""

    device_id: str
    key_package: bytes
    last_resort: bool


class ClaimAnswer(_Answer, frozen=True):
    """POST /v1/accounts/{id}/key-packages/claim."""

    account_id: str
    identity_key: bytes
    device_list: bytes
    version: int
    leaf_hash: bytes
    packages: list[ClaimedPackage]
    exhausted: list[str]


class GroupAnswer(_Answer, frozen=True):
    """POST /v1/groups."""

    group: str
    epoch: int
    chain: bytes


class MemberHint(_Answer, frozen=True):
    """A member as the relay names it: a hint."""

    account_id: str
    device_id: str


class Quarantine(_Answer, frozen=True):
    """Why a group takes nothing any more."""

    base_epoch: int
    commit_hash: bytes
    since_ms: int


class HandedAnswer(_Answer, frozen=True):
    """POST /v1/messages/{id}/receipts."""

    waiting: int


class HandshakeNotedAnswer(_Answer, frozen=True):
    """POST /v1/groups/{group}/handshake-reports."""

    finding: str


class ReportAnswer(_Answer, frozen=True):
    """POST /v1/groups/{group}/reports."""

    accounts: int
    quarantined: bool


class GroupView(_Answer, frozen=True):
    """GET /v1/groups/{group}."""

    group: str
    group_id: bytes
    epoch: int
    chain: bytes
    members: list[MemberHint]
    quarantine: Quarantine | None = None


class CommitAnswer(_Answer, frozen=True):
    """POST /v1/groups/{group}/commits."""

    epoch: int
    chain: bytes
    leaf_hash: bytes


class LoggedCommit(_Answer, frozen=True):
    """One entry of a group's log."""

    base_epoch: int
    commit: bytes
    adds: list[MemberHint]
    removes: list[MemberHint]
    chain: bytes


class CommitsAnswer(_Answer, frozen=True):
    """GET /v1/groups/{group}/commits."""

    commits: list[LoggedCommit]


class SendResult(_Answer, frozen=True):
    """What became of one message."""

    client_message_id: bytes
    status: str
    message_id: str = ""
    code: str = ""


class SendAnswer(_Answer, frozen=True):
    """POST /v1/groups/{group}/messages."""

    results: list[SendResult]


class MailboxItem(_Answer, frozen=True):
    """One mailbox item."""

    sequence: int
    kind: str
    group: str
    message_id: str
    accepted_ms: int
    body: bytes


class MailboxAnswer(_Answer, frozen=True):
    """GET /v1/devices/{id}/mailbox."""

    items: list[MailboxItem]
    head: int


class AckAnswer(_Answer, frozen=True):
    """POST /v1/devices/{id}/mailbox/ack."""

    acknowledged: int


class AttachmentAnswer(_Answer, frozen=True):
    """PUT /v1/groups/{group}/attachments/{id} and PATCH /v1/attachments/{id}."""

    size: int
    received: int


class PieceAnswer(_Answer, frozen=True):
    """GET /v1/attachments/{id}."""

    offset: int
    piece: bytes
    size: int


class QuestionsAnswer(_Answer, frozen=True):
    """GET /v1/devices/{id}/challenges: fields, looked at by :mod:`letterlock.client.questions`."""

    challenges: list[dict[str, Any]]

    def __repr__(self) -> str:
        return "<QuestionsAnswer>"


class QuestionAnswered(_Answer, frozen=True):
    """POST /v1/devices/{id}/challenges/{challenge}/answer.

    ``consent`` is for whoever sends the message; None where it was held, and ``released`` says that it is on its way.
    """

    consent: str | None
    released: bool
    state: str


class PushOffer(_Answer, frozen=True):
    """GET /v1/push."""

    public_key: bytes
    kinds: list[str]


class PushAnswer(_Answer, frozen=True):
    """PUT /v1/devices/{id}/push."""

    expires_ms: int


class TokensAnswer(_Answer, frozen=True):
    """POST /v1/devices/{id}/delivery-tokens."""

    live: int
    expires_ms: int


class RevokedTokens(_Answer, frozen=True):
    """POST /v1/devices/{id}/delivery-tokens/revoke."""

    revoked: int


class DeliveryAnswer(_Answer, frozen=True):
    """POST /v1/deliveries."""

    status: str


class Problem(_Answer, frozen=True):
    """RFC 9457, as far as we act on it. ``detail`` and ``title`` are not kept."""

    code: str = ""
    current_epoch: int = 0
    current_version: int = 0
    acknowledged_counter: int = 0


_CODES: Final = {
    "wrong_epoch": RelayReason.WRONG_EPOCH,
    "group_quarantined": RelayReason.GROUP_QUARANTINED,
    "state_rolled_back": RelayReason.STATE_ROLLED_BACK,
    "device_list_version": RelayReason.DEVICE_LIST_VERSION,
    "consent_required": RelayReason.CONSENT_REQUIRED,
}
_STATUS: Final = {
    401: RelayReason.UNAUTHENTICATED,
    403: RelayReason.FORBIDDEN,
    404: RelayReason.NOT_FOUND,
    409: RelayReason.CONFLICT,
    429: RelayReason.TOO_MANY_REQUESTS,
    503: RelayReason.OVERLOADED,
}


def decoded(response: httpx.Response, kind: type[T]) -> T:
    """A typed answer.

    Raises:
        RelayError: the relay said no, or something that is not an answer.
    """
    if len(response.content) > MAX_ANSWER:
        raise RelayError(RelayReason.BAD_ANSWER, status=response.status_code)
    if not response.is_success:
        raise failure(response)
    try:
        return msgspec.json.decode(response.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RelayError(RelayReason.BAD_ANSWER, status=response.status_code) from None


def failure(response: httpx.Response) -> RelayError:
    """The typed error of a refused call: numbers of the problem document, never its text."""
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = Problem()
    status = response.status_code
    default = RelayReason.SERVER if status >= 500 else RelayReason.REFUSED
    reason = _CODES.get(problem.code) or _STATUS.get(status, default)
    facts: dict[str, Fact] = {"status": status}
    facts |= {name: value for name in ("current_epoch", "current_version") if (value := getattr(problem, name))}
    return RelayError(reason, **facts)


@final
class RelayCalls:
    """The calls of a device (and, with a tenant key, of whoever enrols it).

    Args:
        http: an ``httpx.AsyncClient`` whose base URL is the gateway's.
        bearer: session token or tenant key; may be set later.
    """

    def __init__(self, http: httpx.AsyncClient, bearer: str = "") -> None:
        self.http: Final = http
        self.bearer = bearer

    async def call(self, method: str, path: str, kind: type[T], body: dict[str, Any] | None = None) -> T:
        """One call.

        Raises:
            RelayError: see :func:`decoded`; UNREACHABLE when no answer came.
        """
        return decoded(await self._request(method, path, body), kind)

    async def order(self, method: str, path: str) -> None:
        """One call whose answer has no body.

        Raises:
            RelayError: as :meth:`call`.
        """
        response = await self._request(method, path, None)
        if not response.is_success:
            raise failure(response)

    async def _request(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self.bearer:
            headers["Authorization"] = f"Bearer {self.bearer}"
        content = None if body is None else msgspec.json.encode(body)
        try:
            return await self.http.request(method, path, content=content, headers=headers)
        except httpx.HTTPError:
            raise RelayError(RelayReason.UNREACHABLE) from None
