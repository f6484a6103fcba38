"""What a tenant offers as a readable message, and what becomes of it: the words of :mod:`.open_messages`."""

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Protocol

from letterlock.custody.vault import Subject
from letterlock.gateway.questions import QuestionView
from letterlock.model.bodies import OpenBody
from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.model.ids import AccountId, ConsentId, MessageId, TenantId
from letterlock.model.message import MessageState
from letterlock.policy.facts import OnDowngrade, Traffic
from letterlock.storage.open_commands import MessageRow
from letterlock.wire.sms.address import PhoneNumber


class SendReason(Reason):
    """Why a tenant's message was not taken: stable codes of the API."""

    CLAIM_CONTRADICTS_BODY = "claim_contradicts_body"
    BELOW_FLOOR = "below_floor"
    NO_ROUTE = "no_route"
    SECURE_PATH_MISSING = "secure_path_missing"
    FAILURE_NOT_AUTHENTICATED = "failure_not_authenticated"
    CLAIM_NOT_AUTHORISED = "claim_not_authorised"
    E2EE_NOT_FRAMED = "e2ee_not_framed"
    DEVICE_SIGNATURE_REQUIRED = "device_signature_required"
    """Policy takes no tenant's word: the sender's own device would have to sign, and no account of one is named."""
    SENDER_UNKNOWN = "sender_unknown"
    """The account that was named as the sender has no device here."""
    ASKED_RECENTLY = "asked_recently"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    CONSENT_UNKNOWN = "consent_unknown"
    CONSENT_SPENT = "consent_spent"
    CONSENT_EXPIRED = "consent_expired"
    CONSENT_VOID = "consent_void"
    TEXT_TOO_LONG = "text_too_long"
    TEXT_UNENCODABLE = "text_unencodable"


class SendError(OperationError[SendReason]):
    """A message was not taken, and nothing of it is kept."""

    fault: ClassVar[Fault] = Fault.POLICY


class SaidClaim(Enum):
    """What the sender says of a text."""

    NONE = "none"
    E2EE = "E2EE"


class Subjects(Protocol):
    """The vault."""

    def subject(self, tenant: TenantId, identifier: bytes) -> Subject:
        """Whom an identifier leads to; made when it is new. Blocks."""
        ...


class Counts(Protocol):
    """Metrics."""

    def message(self, channel: str, protection: str, outcome: str) -> None:
        """A message was decided."""
        ...

    def fall(self, outcome: str, cause: str) -> None:
        """A step down was attempted."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """One readable message as a tenant sends it. The body belongs to whoever accepts it.

    Attributes:
        key: the idempotency key, or None; a consent's own message then.
        expires_in_ms: no longer than policy lets it wait; None for that.
        sender: the account in whose name it is sent, whose devices may be asked; None for the tenant itself.
    """

    number: PhoneNumber
    body: OpenBody
    traffic: Traffic
    claim: SaidClaim
    on_downgrade: OnDowngrade
    consent: ConsentId | None
    expires_in_ms: int | None
    key: bytes | None = field(repr=False)
    sender: AccountId | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A message was accepted, now or before.

    Attributes:
        row: as it is stored; None where it was accepted before and its row's time is over.
        question: put with a held message.
    """

    message_id: MessageId
    state: MessageState
    record_hash: bytes
    row: MessageRow | None
    question: QuestionView | None
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Questioned:
    """Nothing was kept: it needs an answer first."""

    question: QuestionView
