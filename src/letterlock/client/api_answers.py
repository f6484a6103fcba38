"""What ``/v1`` says to a tenant: requests as closed structs, answers as open ones, refusals as typed errors."""

from enum import StrEnum, unique
from typing import Any, ClassVar, Final

import httpx
import msgspec

from letterlock.model.errors import Fact, Fault, OperationError, Reason

MAX_ANSWER: Final = 4 * 1024 * 1024
"""Bytes of one answer: a page of 200 messages with their security blocks has some 200 KB."""


@unique
class OnDowngrade(StrEnum):
    """What becomes of a message that could go only less protected than its conversation."""

    ASK = "ask"
    HOLD = "hold"
    REFUSE = "refuse"


@unique
class Traffic(StrEnum):
    """What kind of message it is."""

    CONVERSATION = "conversation"
    NOTIFICATION = "notification"


@unique
class Answered(StrEnum):
    """What a person answered to a challenge."""

    AGREED = "agreed"
    REFUSED = "refused"


class MessageRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """One readable message. Neither number nor text shows in a repr.

    Attributes:
        to: an international number, with ``+``.
        text: what it says.
        traffic: a conversation, or a notice.
        on_downgrade: what to do where it could go only less protected than the conversation.
        consent: the answer to an earlier challenge about this very message.
        expires_in_s: give it up if it did not leave within this many seconds.
        sender: the account in whose name it is sent: its devices are asked, where policy takes their answer.
    """

    to: str
    text: str
    traffic: Traffic = Traffic.CONVERSATION
    on_downgrade: OnDowngrade = OnDowngrade.ASK
    consent: str | None = None
    expires_in_s: int | None = None
    sender: str | None = None

    def __repr__(self) -> str:
        return "<MessageRequest>"


class BatchRequest(msgspec.Struct, frozen=True):
    """Several messages; each is accepted or refused by itself."""

    messages: list[MessageRequest]

    def __repr__(self) -> str:
        return f"<BatchRequest of {len(self.messages)}>"


class AnswerRequest(msgspec.Struct, frozen=True):
    """A person's answer. ``answered_by`` is the tenant's own opaque id of that person."""

    answer: Answered
    answered_by: str

    def __repr__(self) -> str:
        return "<AnswerRequest>"


class Marker(msgspec.Struct, frozen=True):
    """What a server in the path declared."""

    server: str
    kinds: list[str]


class RefusedReceipts(msgspec.Struct, frozen=True):
    """Receipts that prove nothing about the message, by reason."""

    reason: str
    count: int


class CheckedReceipts(msgspec.Struct, frozen=True):
    """What the server checked of devices' receipts that it was handed: never a verification of one's own."""

    grade: str
    verifier: str
    attested: int
    displayed: int
    recipients: int
    waiting: int
    refused: list[RefusedReceipts]
    text: str


class HandedReceipts(msgspec.Struct, frozen=True):
    """Receipts as they travel between devices, for the server to check."""

    receipts: list[bytes]

    def __repr__(self) -> str:
        return f"<HandedReceipts, {len(self.receipts)}>"


class ReceiptsKept(msgspec.Struct, frozen=True):
    """How many of them wait now that did not before."""

    waiting: int


class Security(msgspec.Struct, frozen=True):
    """The security block: who can read a message, why that is believed, who checked, and what was decided."""

    protection: str
    grade: str
    verifier: str
    handled_as: str
    framing: str
    readers: list[str]
    markers: list[Marker]
    finding: str | None
    indicator: str
    indicator_text: str
    decision: str
    rule: str
    fall: str
    decided_on: str
    receipts: CheckedReceipts | None


class Choice(msgspec.Struct, frozen=True):
    """Something else that one can do than agree."""

    name: str
    text: str


class Challenge(msgspec.Struct, frozen=True):
    """A question about a step down, with the sentences that a person is to read.

    ``kinds`` says whose answer counts; ``kind`` and ``consent`` are the yes that it got, if it did.
    """

    id: str
    message_id: str
    state: str
    reason: str
    reason_text: str
    says: str
    says_text: str
    channel: str
    before: str
    after: str
    after_text: str
    readers: list[str]
    alternatives: list[Choice]
    scope: str
    scope_text: str
    expires_ms: int
    kinds: list[str] = []
    kind: str | None = None
    consent: str | None = None


class MessageTaken(msgspec.Struct, frozen=True):
    """A message was accepted: queued, or held until somebody agrees to what ``challenge`` asks.

    ``security`` is None for one that was accepted before and whose time at the gateway is over.
    """

    id: str
    state: str
    record_hash: str
    duplicate: bool
    security: Security | None
    challenge: Challenge | None


class MessageView(msgspec.Struct, frozen=True):
    """What happened to a message; never what it says, nor whom it went to."""

    id: str
    state: str
    channel: str
    reason: str | None
    accepted_ms: int
    updated_ms: int
    expires_ms: int
    record_hash: str
    security: Security


class MessagePage(msgspec.Struct, frozen=True):
    """Messages, newest first. ``next`` goes on where this ends, as ``before``; None at the end."""

    messages: list[MessageView]
    next: str | None


class ChallengeAnswered(msgspec.Struct, frozen=True):
    """What an answer did. ``consent`` is for sending the message again; ``released``: a held one is on its way."""

    consent: str | None
    released: bool
    state: str


class Transport(msgspec.Struct, frozen=True):
    """One row of the comparison of transports: what they can do at best, and who reads on them."""

    channel: str
    title: str
    protection_at_best: str
    evidence_at_best: str
    readers: list[str]
    storage: str
    metadata: str
    use: str
    features: list[str]
    max_body: int
    source: str
    version: int


class Transports(msgspec.Struct, frozen=True):
    """The rows that routing uses."""

    transports: list[Transport]


class Nothing(msgspec.Struct, frozen=True):
    """An answer without a body."""


class WhichToggle(msgspec.Struct, frozen=True, omit_defaults=True):
    """A conversation, by its number, or all of the tenant's."""

    to: str | None = None

    def __repr__(self) -> str:
        return "<WhichToggle>"


class FlipToggle(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the toggle is to be."""

    mode: str
    to: str | None = None
    seen: int | None = None

    def __repr__(self) -> str:
        return "<FlipToggle>"


class Toggle(msgspec.Struct, frozen=True):
    """What is chosen: ``e2ee_first`` or ``as_policy``."""

    mode: str
    version: int


@unique
class ApiCode(Reason):
    """The problem codes of these operations. The value is the code on the wire; one more for whatever is newer."""

    MALFORMED_JSON = "malformed_json"
    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    BAD_PARAMETER = "bad_parameter"
    BAD_NUMBER = "bad_number"
    UNAUTHENTICATED = "unauthenticated"
    SCOPE_MISSING = "scope_missing"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    OVERLOADED = "overloaded"
    STORE_FAILED = "store_failed"
    INTERNAL = "internal_error"
    CLAIM_CONTRADICTS_BODY = "claim_contradicts_body"
    BELOW_FLOOR = "below_floor"
    NO_ROUTE = "no_route"
    SECURE_PATH_MISSING = "secure_path_missing"
    FAILURE_NOT_AUTHENTICATED = "failure_not_authenticated"
    CLAIM_NOT_AUTHORISED = "claim_not_authorised"
    E2EE_NOT_FRAMED = "e2ee_not_framed"
    DEVICE_SIGNATURE_REQUIRED = "device_signature_required"
    SENDER_UNKNOWN = "sender_unknown"
    ASKED_RECENTLY = "asked_recently"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    CONSENT_REQUIRED = "consent_required"
    CONSENT_UNKNOWN = "consent_unknown"
    CONSENT_SPENT = "consent_spent"
    CONSENT_EXPIRED = "consent_expired"
    CONSENT_VOID = "consent_void"
    VERSION_CONFLICT = "version_conflict"
    TEXT_TOO_LONG = "text_too_long"
    TEXT_UNENCODABLE = "text_unencodable"
    ALREADY_ANSWERED = "already_answered"
    CHALLENGE_EXPIRED = "challenge_expired"
    TERMS_CHANGED = "terms_changed"
    ENTRY_NOT_SIGNED_YET = "entry_not_signed_yet"
    INTERVAL_OPEN = "interval_open"
    """The record waits for the one entry of its interval; ``retry_after_s`` says how long."""
    UNREACHABLE = "unreachable"
    """No answer came; whether the request was taken is not known: repeat it with the same idempotency key."""
    NOT_UNDERSTOOD = "answer_not_understood"
    OTHER = "other_code"
    """A refusal with a code that this version does not know; ``status`` says what kind."""


_NOT_ON_THE_WIRE: Final = frozenset({ApiCode.UNREACHABLE, ApiCode.NOT_UNDERSTOOD, ApiCode.OTHER})
_BY_CODE: Final = {code.value: code for code in ApiCode if code not in _NOT_ON_THE_WIRE}


class ApiError(OperationError[ApiCode]):
    """The gateway refused, or could not be heard.

    Attributes:
        challenge: of CONSENT_REQUIRED: the question to put to a person. It is not part of the text.
        challenge_id: of CONSENT_REQUIRED and ASKED_RECENTLY: the question's id; else empty.
        retry_after_s: when to come back after an overload; 0 where nothing was said.
    """

    fault: ClassVar[Fault] = Fault.PEER

    def __init__(
        self,
        reason: ApiCode,
        *,
        challenge: Challenge | None = None,
        challenge_id: str = "",
        retry_after_s: int = 0,
        **facts: Fact,
    ) -> None:
        super().__init__(reason, **facts)
        self.challenge: Final = challenge
        self.challenge_id: Final = challenge_id
        self.retry_after_s: Final = retry_after_s

    @property
    def code(self) -> ApiCode:
        """The problem code."""
        return self.reason


class BatchResult(msgspec.Struct, frozen=True):
    """What became of one message of a batch: one of both is there."""

    status: int
    message: MessageTaken | None
    problem: dict[str, Any] | None

    def error(self) -> ApiError | None:
        """The refusal, as it would have been raised for this message alone."""
        return None if self.message is not None else problem(self.status, msgspec.json.encode(self.problem))


class BatchAnswer(msgspec.Struct, frozen=True):
    """What became of each message of a batch, in its order."""

    results: list[BatchResult]


class _Problem(msgspec.Struct, frozen=True):
    """RFC 9457, as far as we act on it; its sentences are not kept."""

    code: str = ""
    challenge: Challenge | str | None = None


def problem(status: int, content: bytes, retry_after: str = "") -> ApiError:
    """The typed error of a refusal.

    Args:
        status: HTTP status.
        content: the problem document.
        retry_after: the header field, in seconds.
    """
    try:
        told = msgspec.json.decode(content, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ApiError(ApiCode.OTHER, status=status)
    code = _BY_CODE.get(told.code, ApiCode.OTHER)
    wait = int(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 7 else 0
    asked = told.challenge if isinstance(told.challenge, Challenge) else None
    name = asked.id if asked is not None else told.challenge if isinstance(told.challenge, str) else ""
    return ApiError(code, challenge=asked, challenge_id=name, retry_after_s=wait, status=status)


def refusal(response: httpx.Response) -> ApiError:
    """The same from an answer."""
    return problem(response.status_code, response.content, response.headers.get("Retry-After", ""))
