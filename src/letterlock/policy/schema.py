"""The closed schema of a policy file, version 1. A word that is not here is an error; so is one that is missing."""

from enum import Enum, unique
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from letterlock.model.capability import Channel
from letterlock.model.protection import EvidenceGrade, Protection
from letterlock.model.traces import Deliveries, LedgerRhythm, SenderKept, Times, Traces
from letterlock.policy.decision import Analytics, Archive, Keep, Keys, LogField
from letterlock.policy.facts import Answer, Cause, Traffic

SCHEMA_VERSION: Final = 1
MAX_RULES: Final = 32
"""Six states need six rules at most; the rest is room for names that overrides leave behind."""
MAX_ALLOWED_FALLS: Final = 32
"""A person reads each of them at a review."""
MINUTES_PER_YEAR: Final = 366 * 24 * 60

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,47}$")]
Minutes = Annotated[int, Meta(ge=0, le=MINUTES_PER_YEAR)]


@unique
class FallResponse(Enum):
    """What happens where only a fall would get a message through."""

    ASK = "ask"
    HOLD = "hold"
    REFUSE = "refuse"
    DELIVER = "deliver"
    """Sends it all the same. The word exists so that a file which says it is refused with the reason."""


@unique
class ClaimResponse(Enum):
    """What happens to a message whose claim does not stand."""

    REFUSE = "refuse"
    QUARANTINE = "quarantine"
    DELIVER = "deliver"
    """As above: guards refuse a file that says it."""


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the tables of a policy file."""


class Rule(_Table, frozen=True):
    """All behaviours of one state in one place, so that none of them is forgotten when the rule changes.

    Attributes:
        show_from: the grade from which a message is shown as end-to-end encrypted rather than as claimed.
        keep: what may be kept of the body.
        keys: the storage-key generation of what waits.
        retention_minutes: how long the body may wait at most.
        log: what events may say.
        metadata_minutes: how long rows about the message stay after its end.
        analytics: what analytics may see.
        archive: whether a copy may be archived.
    """

    show_from: EvidenceGrade
    keep: Keep
    keys: Keys
    retention_minutes: Minutes
    log: Annotated[tuple[LogField, ...], Meta(max_length=len(LogField))]
    metadata_minutes: Minutes
    analytics: Analytics
    archive: Archive


class States(_Table, frozen=True):
    """Which rule each state follows."""

    e2ee: Name
    readable: Name
    clear: Name
    held: Name
    quarantined: Name
    refused: Name


class Floors(_Table, frozen=True):
    """The floor of a conversation for which none was ever recorded."""

    conversation: Protection
    notification: Protection


class Routing(_Table, frozen=True):
    """The channels that a message may use, in order of preference."""

    sealed: Annotated[tuple[Channel, ...], Meta(max_length=len(Channel))]
    conversation: Annotated[tuple[Channel, ...], Meta(max_length=len(Channel))]
    notification: Annotated[tuple[Channel, ...], Meta(max_length=len(Channel))]


class Claims(_Table, frozen=True):
    """What happens to messages whose claim does not stand."""

    contradiction: ClaimResponse
    malformed: ClaimResponse
    unframed: ClaimResponse
    foreign: ClaimResponse


class Answers(_Table, frozen=True):
    """Whose answer is accepted as consent to a fall, by who brought the message."""

    device_session: Annotated[tuple[Answer, ...], Meta(max_length=len(Answer))]
    tenant_api: Annotated[tuple[Answer, ...], Meta(max_length=len(Answer))]


class Fallback(_Table, frozen=True):
    """What happens where only a fall would get a message through, by why that is so.

    Attributes:
        not_reachable_attested: the peer's list, or a logged statement, says there is no device.
        secure_failed: an endpoint said under its key that it failed.
        unauthenticated_failure: a failure that anybody could have made up.
        sender_choice: the sender submits something that is below the floor, with no failure at all.
        unexplained: a secure path is missing, and nobody says why.
        sideways: between ENCLAVE and ESCROWED.
        no_route: no channel is available.
        cannot_ask: instead of asking, where the face cannot ask.
        hold_minutes: how long a held message waits at most.
    """

    not_reachable_attested: FallResponse
    secure_failed: FallResponse
    unauthenticated_failure: FallResponse
    sender_choice: FallResponse
    unexplained: FallResponse
    sideways: FallResponse
    no_route: FallResponse
    cannot_ask: FallResponse
    hold_minutes: Annotated[int, Meta(ge=1, le=MINUTES_PER_YEAR)]


class Metadata(_Table, frozen=True):
    """What the store keeps about a message beside its ciphertext.

    Attributes:
        times: how exact its times are.
        sender: whether rows name the device that sent it.
        ledger: whether it enters the ledger with its commit, or with all others of some minutes.
        deliveries: whether a message may come without a session, by a token of its recipient.
    """

    times: Times
    sender: SenderKept
    ledger: LedgerRhythm
    deliveries: Deliveries

    @property
    def traces(self) -> Traces:
        """As the store takes it."""
        return Traces(self.times, self.sender, self.ledger)


class AllowedFall(_Table, frozen=True):
    """A fall that the policy allows without asking, with its reason for the record."""

    id: Name
    reason: Annotated[str, Meta(min_length=12, max_length=400)]
    traffic: Traffic
    causes: Annotated[tuple[Cause, ...], Meta(min_length=1, max_length=len(Cause))]
    floors: Annotated[tuple[Protection, ...], Meta(min_length=1, max_length=len(Protection))]
    channel: Channel


class Policy(_Table, frozen=True):
    """A whole policy, after its profile was filled in.

    Attributes:
        schema_version: 1.
        name: for people and records.
        e2ee_first: conversations have the floor E2EE whatever was recorded, and stronger channels come first.
    """

    schema_version: int
    name: Name
    e2ee_first: bool
    floors: Floors
    routing: Routing
    claims: Claims
    consent: Answers
    fallback: Fallback
    metadata: Metadata
    states: States
    rules: Annotated[dict[str, Rule], Meta(max_length=MAX_RULES)]
    allow: Annotated[tuple[AllowedFall, ...], Meta(max_length=MAX_ALLOWED_FALLS)] = ()
