"""Readable messages as the writer gets them: sealed bodies, sealed addresses, and the words for the ledger."""

from msgspec import Struct

from letterlock.model.message import MessageEvent
from letterlock.storage.commands import Relied, Shown
from letterlock.storage.receipt_commands import ReceiptCounts


class Fall(Struct, frozen=True):
    """A step down that goes with a message; its ledger entry is written before the message can leave.

    ``kind`` and ``reason`` are words of the ledger; ``consent`` is the id of the consent it uses, if any.
    """

    before: int
    after: int
    policy: bytes
    kind: str
    reason: str
    consent: bytes | None


class AcceptOpen(Struct, frozen=True):
    """A readable message: queued for a channel, or held. The body is sealed under its own key, the address too."""

    tenant: int
    message_id: bytes
    request_mac: bytes
    subject: bytes
    channel: int
    traffic: int
    shown: Shown
    size_bucket: int
    state: int
    sealed: bytes
    wrapped_key: bytes
    address: bytes
    generation: int
    relied: Relied
    policy: bytes
    rule: str
    fall: Fall | None
    question: "Ask | None"
    now_ms: int
    expires_ms: int


class WaitsForRoute(Struct, frozen=True):
    """A message that is held and waits for no answer, with what policy asks about it. ``floor`` is None without one."""

    seq: int
    tenant: int
    traffic: int
    floor: int | None
    floor_version: int


class ReleaseHeld(Struct, frozen=True):
    """Lets a message go that was held for want of a route; ``fall`` is told first where it is one."""

    seq: int
    channel: int
    shown: Shown
    relied: Relied
    policy: bytes
    fall: Fall | None
    now_ms: int


class Ask(Struct, frozen=True):
    """A question about one message; what it was about is bound by a keyed digest.

    ``account`` is whose devices may answer, or empty; ``sealed`` is what they are shown, under that generation's key.
    """

    id: bytes
    tenant: int
    message_id: bytes
    binding: bytes
    nonce: bytes
    subject: bytes
    cause: str
    before: int
    after: int
    channel: int
    policy: bytes
    rule: str
    now_ms: int
    expires_ms: int
    window_ms: int
    account: bytes = b""
    sealed: bytes = b""
    generation: int = 0


class Asked(Struct, frozen=True):
    """What became of a question: put, or there was one lately (its id then)."""

    id: bytes
    is_new: int


class Refuse(Struct, frozen=True):
    """A message was refused: for the ledger alone."""

    tenant: int
    message_id: bytes
    policy: bytes
    rule: str
    reason: str
    now_ms: int


class AnswerChallenge(Struct, frozen=True):
    """An answer to a question: a device's signature that was checked, or a tenant's authenticated word.

    ``kind`` is the consent's, by its position. ``caller`` is the mailbox of the device that signed and
    ``list_version`` the list on which its key was found; zeros for a tenant's word.
    ``indicator``, ``decision`` and ``rule`` are what is said of a held message that this releases.
    """

    tenant: int
    challenge: bytes
    consent: bytes
    agreed: int
    kind: int
    caller: int
    list_version: int
    answered_by: bytes
    policy: bytes
    policy_version: int
    indicator: int
    decision: int
    rule: str
    now_ms: int


class Answered(Struct, frozen=True):
    """What an answer did. ``released`` is the number of the held message that may leave now, or 0."""

    consent: bytes
    state: str
    released: int


class WithdrawConsent(Struct, frozen=True):
    """A consent that was not used is worth nothing from now on."""

    tenant: int
    consent: bytes
    now_ms: int


class VoidConsent(Struct, frozen=True):
    """A consent was used for something that it was not given for: it is void, and so is the attempt."""

    tenant: int
    consent: bytes
    message_id: bytes
    policy: bytes
    rule: str
    now_ms: int


class Lease(Struct, frozen=True):
    """Take messages that are due, for a while; nobody else gets them until then."""

    channel: int
    limit: int
    now_ms: int
    until_ms: int


class EndLeases(Struct, frozen=True):
    """At start-up: leases of the process before this one are over, for one process alone holds the store."""

    channel: int
    now_ms: int


class Leased(Struct, frozen=True):
    """One leased message. ``fence`` must be given back with the outcome.

    Attributes:
        fall: position among policy's falls: what it was permitted as.
        floor: of its peer now, or None.
        consent_kind: of the consent that it uses, or None.
        parts_sent: how many of its parts the channel already has.
    """

    seq: int
    fence: int
    attempts: int
    tenant: int
    tenant_id: bytes
    message_id: bytes
    sealed: bytes
    wrapped_key: bytes
    body_generation: int
    address: bytes
    address_generation: int
    expires_ms: int
    traffic: int
    fall: int
    floor: int | None
    consent_kind: int | None
    parts_sent: int


class Sent(Struct, frozen=True):
    """The channel took it; ``tokens`` are keyed tokens of the channel's own ids, one a part."""

    seq: int
    fence: int
    route: int
    tokens: tuple[bytes, ...]
    now_ms: int


class Postpone(Struct, frozen=True):
    """It could not be handed over now; it stays queued.

    Attributes:
        tokens: of the parts that the channel did take.
        unknown: 1 where a part may have been taken without an answer: it may arrive twice.
    """

    seq: int
    fence: int
    route: int
    tokens: tuple[bytes, ...]
    unknown: int
    due_ms: int
    now_ms: int


class GiveUp(Struct, frozen=True):
    """It cannot be handed over at all: the channel refused it, or a guard does not let it leave any more."""

    seq: int
    fence: int
    event: MessageEvent
    reason: str
    now_ms: int


class ApplyReceipt(Struct, frozen=True):
    """A channel's receipt about one part."""

    route: int
    token: bytes
    event: MessageEvent
    now_ms: int
    keep_ms: int


class ChallengeRow(Struct, frozen=True):
    """A question as it is stored."""

    id: bytes
    tenant: int
    message: bytes
    binding: bytes
    nonce: bytes
    subject: bytes
    cause: str
    before: int
    after: int
    channel: int
    state: str
    held: int | None
    created_ms: int
    expires_ms: int
    account: bytes | None


class SealedQuestion(Struct, frozen=True):
    """A question with what devices are shown of it, sealed."""

    row: ChallengeRow
    sealed: bytes
    generation: int


class HeldRow(Struct, frozen=True):
    """A held message's sealed body and address, and what its question is compared with."""

    tenant_id: bytes
    message_id: bytes
    sealed: bytes
    wrapped_key: bytes
    body_generation: int
    address: bytes
    address_generation: int
    traffic: int
    floor: int | None


class KnownRequest(Struct, frozen=True):
    """What is remembered of a request that was accepted before."""

    request_mac: bytes
    record_hash: bytes
    status: int


class ConsentRow(Struct, frozen=True):
    """A consent as it is stored, with its question."""

    id: bytes
    kind: int
    state: str
    expires_ms: int
    challenge: ChallengeRow


class MessageRow(Struct, frozen=True):
    """A message as it is stored."""

    seq: int
    tenant: int
    id: bytes
    state: int
    channel: int
    protection: int
    grade: int
    verifier: int
    indicator: int
    decision: int
    rule: str
    fall: int
    pending: int
    entry: int
    slot: int
    reason: str | None
    accepted_ms: int
    updated_ms: int
    expires_ms: int
    record_hash: bytes
    receipts: ReceiptCounts | None = None
    """What this server checked of the receipts that were handed to it."""
