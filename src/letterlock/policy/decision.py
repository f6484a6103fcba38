"""What policy says about one message: a frozen value of closed words and plain numbers."""

from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

from letterlock.assurance import indicator
from letterlock.assurance.texts import english
from letterlock.model.capability import Channel
from letterlock.model.errors import Reason
from letterlock.model.protection import EvidenceGrade, Protection


@unique
class Action(Enum):
    """What happens to the message."""

    DELIVER = "deliver"
    ASK = "ask"
    """409: a challenge goes back, nothing is kept."""
    HOLD = "hold"
    """202 held: it waits for a secure path or an answer."""
    REFUSE = "refuse"
    QUARANTINE = "quarantine"
    """Claimed end-to-end encrypted and not what it claims: set apart, never opened."""


@unique
class Fall(Enum):
    """Whether the permitted channels are below the floor, and on whose word."""

    NOT_A_FALL = "not_a_fall"
    CONSENTED = "consented"
    POLICY_ALLOWED = "policy_allowed"


@unique
class State(Enum):
    """The six states that a policy file gives a rule to."""

    E2EE = "e2ee"
    """Sealed, on a path where only endpoints (or a disclosed quorum or enclave) read."""
    READABLE = "readable"
    """A provider or server on the path reads."""
    CLEAR = "clear"
    """Anybody on the path reads, or nobody knows."""
    HELD = "held"
    """A readable body that waits for a path or an answer."""
    QUARANTINED = "quarantined"
    REFUSED = "refused"
    """Nothing was taken over: refused, or a question went back."""


@unique
class Keep(Enum):
    """What may be kept of the body."""

    NOTHING = "nothing"
    SEALED_UNTIL_DELIVERED = "sealed_until_delivered"
    SHREDDABLE_UNTIL_SENT = "shreddable_until_sent"
    SHREDDABLE_WHILE_HELD = "shreddable_while_held"

    @property
    def is_shreddable(self) -> bool:
        """Whether a readable body waits, sealed under a key of its own."""
        return self in {Keep.SHREDDABLE_UNTIL_SENT, Keep.SHREDDABLE_WHILE_HELD}


@unique
class Keys(Enum):
    """The storage-key generation that wraps the key of a waiting body."""

    NONE = "none"
    TEN_MINUTES = "ten_minutes"
    DAY = "day"
    MONTH = "month"
    HOLD = "hold"


@unique
class LogField(Enum):
    """What an event about a message may say. There is no word here for content or identifiers."""

    STATE = "state"
    GRADE = "grade"
    CHANNEL = "channel"
    OUTCOME = "outcome"
    REASON = "reason"
    RULE = "rule"
    SIZE_BUCKET = "size_bucket"
    EXACT_SIZE = "exact_size"
    PEER_TOKEN = "peer_token"  # noqa: S105
    """A keyed, rotating pseudonym."""


@unique
class Analytics(Enum):
    """What analytics may see."""

    NONE = "none"
    COUNTS = "counts"
    LABELS = "labels"
    """Labels that a classifier gave to readable content, with counts."""


@unique
class Archive(Enum):
    """Whether a copy may be archived for compliance."""

    NEVER = "never"
    DEVICE_CONSENT = "device_consent"
    """Only a copy that a device makes, with consent of its own."""
    PERMITTED = "permitted"


@unique
class Indicator(Enum):
    """What a person is shown. The value is the key of the text; :attr:`text` is the English one.

    Those of :mod:`letterlock.assurance.indicator` but one: that a message is verified is said by the viewer's own
    device, so no decision can say it. Besides, what only a decision can come to.
    """

    E2EE_CLAIMED = "indicator.e2ee_claimed"
    E2EE_FRAMED = "indicator.e2ee_framed"
    E2EE_GROUP_CHECKED = "indicator.e2ee_group_checked"
    E2EE_RECEIPT_CHECKED = "indicator.e2ee_receipt_checked"
    ESCROWED = "indicator.escrowed"
    ENCLAVE = "indicator.enclave"
    PROVIDER_READS = "indicator.provider_reads"
    SERVER_READS = "indicator.server_reads"
    NOT_ENCRYPTED = "indicator.not_encrypted"
    UNKNOWN_PATH = "indicator.unknown_path"
    FELL_BY_DEVICE = "indicator.fell_by_device"
    FELL_BY_TENANT = "indicator.fell_by_tenant"
    FELL_BY_POLICY = "indicator.fell_by_policy"
    NEEDS_ANSWER = "indicator.needs_answer"
    HELD = "indicator.held"
    REFUSED = "indicator.refused"
    QUARANTINED = "indicator.quarantined"

    @property
    def text(self) -> str:
        """The English text: at most two sentences, and never a claim beyond the evidence."""
        return english().indicator[self.value]


_I = Indicator
EVIDENCE_SHOWN: Final[dict[EvidenceGrade, Indicator]] = {
    grade: Indicator(shown.value) for grade, shown in indicator.BY_GRADE.items() if grade is not EvidenceGrade.NONE
} | {EvidenceGrade.NONE: _I.E2EE_CLAIMED}
"""The most that each grade carries on a server's surface. Policy is asked only about claims: without evidence, that."""

PATH_SHOWN: Final[dict[Protection, Indicator]] = {
    protection: Indicator(shown.value) for protection, shown in indicator.BY_PROTECTION.items()
}
"""What is shown of a path that is less than E2EE."""


class Refusal(Reason):
    """Why a message does not leave now: the stable codes of the API."""

    CLAIM_CONTRADICTS_BODY = "claim_contradicts_body"
    CLAIM_NOT_AUTHORISED = "claim_not_authorised"
    E2EE_NOT_FRAMED = "e2ee_not_framed"
    BELOW_FLOOR = "below_floor"
    CONSENT_REQUIRED = "consent_required"
    NO_ROUTE = "no_route"
    SECURE_PATH_MISSING = "secure_path_missing"
    """No secure path is there, and nobody who may say so says why."""
    FAILURE_NOT_AUTHENTICATED = "failure_not_authenticated"
    """A failure was reported that anybody could have made up: it waits and is tried again."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What may happen to one message.

    Attributes:
        action: what happens.
        channels: the permitted ones in order of preference; routing chooses among them. Empty unless DELIVER.
        offered: with ASK, the channels that a yes would open.
        protection: of the weakest permitted channel; None where nothing leaves.
        fall: whether the channels are below the floor, and on whose word.
        state: which of the policy's states gave the rule below.
        keep: what may be kept of the body.
        keys: the storage-key generation for it.
        retention_ms: how long the body may wait at most, in milliseconds.
        metadata_ms: how long rows about the message stay after its end, in milliseconds.
        log: what events about it may say.
        analytics: what analytics may see.
        archive: whether a copy may be archived.
        indicator: what a person is shown.
        rule: the rule of the policy file that said so.
        refusal: why it does not leave now; None with DELIVER.
    """

    action: Action
    channels: tuple[Channel, ...]
    offered: tuple[Channel, ...]
    protection: Protection | None
    fall: Fall
    state: State
    keep: Keep
    keys: Keys
    retention_ms: int
    metadata_ms: int
    log: frozenset[LogField]
    analytics: Analytics
    archive: Archive
    indicator: Indicator
    rule: str
    refusal: Refusal | None
