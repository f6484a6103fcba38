"""The closed schema of ledger entries: canonical JSON (a subset of RFC 8785) of numbers, words and digests.

There is no field for text. The encoder writes integers, members of closed enums, digests, commitments and tags,
and refuses anything else; the decoder accepts exactly what the encoder writes. Times are milliseconds UTC.
"""

import json
from dataclasses import dataclass, fields
from enum import Enum
from types import NoneType
from typing import ClassVar, Final, TypeAlias, TypeVar, cast, get_args, get_type_hints

from letterlock.model.capability import Channel
from letterlock.model.protection import ConsentKind, Protection
from letterlock.wire.tlog.commitments import Commitment, Digest, RuleTag
from letterlock.wire.tlog.errors import EntryError, EntryReason
from letterlock.wire.tlog.words import (
    Answer,
    FindingCode,
    FloorCause,
    PurgeKind,
    ReasonCode,
    Severity,
    Step,
    StorageKeyStep,
    TenantStep,
    ToggleWord,
)

SCHEMA_VERSION: Final = 1
MAX_ENTRY: Final = 2048
"""Bytes; the largest entry of this schema has about 500."""
MAX_INT: Final = 2**53 - 1
"""Integers stay exact in every JSON reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """What every entry has: its type (``t``), the schema version (``v``), and a time (``ts``)."""

    t: ClassVar[str]
    ts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(LedgerEntry):
    """The ordinary accepts, deliveries, acknowledgements, failures and checked receipts of one commit.

    Attributes:
        accepted: records of that kind; so with the others.
        attested: receipts of devices that this gateway checked; absent where there are none.
        n: all records: the size of the inner tree.
        root: the root of the inner tree.
    """

    t: ClassVar[str] = "batch"
    accepted: int
    delivered: int
    acked: int
    failed: int
    n: int
    root: Digest
    attested: int | None = None

    def __post_init__(self) -> None:
        counted = self.accepted + self.delivered + self.acked + self.failed + (self.attested or 0)
        if self.n != counted or self.n < 1 or self.attested == 0:
            raise EntryError(EntryReason.COUNTS_DISAGREE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval(LedgerEntry):
    """What happened to messages of some tenants between two moments, of which ``ts`` is the later.

    Attributes:
        n: leaves of the inner tree: records, and random hashes up to a power of two.
        root: the root of the inner tree.
    """

    t: ClassVar[str] = "interval"
    n: int
    root: Digest

    def __post_init__(self) -> None:
        if self.n < 1 or self.n & (self.n - 1):
            raise EntryError(EntryReason.BAD_VALUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback(LedgerEntry):
    """A message goes out less protected than its conversation; recorded before it leaves.

    Attributes:
        consent: commitment to the consent's id; none where policy alone allowed it.
    """

    t: ClassVar[str] = "fallback"
    message: Commitment
    from_: Protection
    to: Protection
    channel: Channel
    policy: Digest
    rule: RuleTag
    reason: ReasonCode
    kind: ConsentKind
    consent: Commitment | None = None

    def __post_init__(self) -> None:
        if (self.consent is None) != (self.kind is ConsentKind.POLICY):
            raise EntryError(EntryReason.BAD_VALUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge(LedgerEntry):
    """A question was put; nothing leaves until it is answered."""

    t: ClassVar[str] = "challenge"
    challenge: Commitment
    message: Commitment
    from_: Protection
    to: Protection
    policy: Digest
    rule: RuleTag
    reason: ReasonCode
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent(LedgerEntry):
    """How a challenge ended, and who answered."""

    t: ClassVar[str] = "consent"
    challenge: Commitment
    consent: Commitment
    kind: ConsentKind
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal(LedgerEntry):
    """A message was refused."""

    t: ClassVar[str] = "refusal"
    message: Commitment
    policy: Digest
    rule: RuleTag
    reason: ReasonCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(LedgerEntry):
    """A message waits: nothing leaves."""

    t: ClassVar[str] = "hold"
    message: Commitment
    policy: Digest
    rule: RuleTag
    reason: ReasonCode
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(LedgerEntry):
    """A held message may leave, or is given up (``to`` says on which protection it leaves)."""

    t: ClassVar[str] = "release"
    message: Commitment
    to: Protection
    policy: Digest
    rule: RuleTag
    reason: ReasonCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine(LedgerEntry):
    """A message claims to be end-to-end encrypted and is not MLS: kept sealed, never opened."""

    t: ClassVar[str] = "quarantine"
    message: Commitment
    reason: ReasonCode


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorChanged(LedgerEntry):
    """A peer's floor moved.

    Attributes:
        version: of the floor after the change.
        consent: commitment to the consent's id where consent was the cause.
    """

    t: ClassVar[str] = "floor_changed"
    peer: Commitment
    from_: Protection
    to: Protection
    version: int
    cause: FloorCause
    consent: Commitment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceList(LedgerEntry):
    """A version of an account's signed device list."""

    t: ClassVar[str] = "device_list"
    account: Commitment
    version: int
    list: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageKey(LedgerEntry):
    """A storage key's generation was created, is about to be destroyed, or is destroyed."""

    t: ClassVar[str] = "storage_key"
    generation: int
    step: StorageKeyStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure(LedgerEntry):
    """An identifier's openings are about to be erased, or are erased (``rows`` counts them)."""

    t: ClassVar[str] = "erasure"
    subject: Commitment
    step: Step
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge(LedgerEntry):
    """Rows whose time was up were deleted."""

    t: ClassVar[str] = "purge"
    kind: PurgeKind
    rows: int
    before: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant(LedgerEntry):
    """A tenant or one of its API keys changed."""

    t: ClassVar[str] = "tenant"
    tenant: Commitment
    step: TenantStep
    key: Commitment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class E2eeFirst(LedgerEntry):
    """The E2EE-first toggle was flipped: of one conversation, or of all of a tenant's.

    Attributes:
        peer: commitment to the peer; None for all conversations.
        version: of the toggle after the change.
    """

    t: ClassVar[str] = "e2ee_first"
    tenant: Commitment
    word: ToggleWord
    version: int
    peer: Commitment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(LedgerEntry):
    """The settings that are in force, by digest."""

    t: ClassVar[str] = "config"
    config: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLoaded(LedgerEntry):
    """A proven policy took effect."""

    t: ClassVar[str] = "policy_loaded"
    policy: Digest
    version: int
    cells: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStarted(LedgerEntry):
    """The gateway opened the store."""

    t: ClassVar[str] = "gateway_started"
    build: Digest
    schema: int
    resumed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkerKeys(LedgerEntry):
    """The keys under which the log's server signs its markers from now on.

    Attributes:
        accept: digest of the key of the hop that takes messages in (``wire.handshake.capabilities.key_digest``).
        dispatch: digest of the key of the hop that hands them to transports.
    """

    t: ClassVar[str] = "marker_keys"
    accept: Digest
    dispatch: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding(LedgerEntry):
    """Something was noticed that people should know of."""

    t: ClassVar[str] = "finding"
    code: FindingCode
    severity: Severity
    count: int
    subject: Commitment | None = None


Value: TypeAlias = int | Enum | Digest | Commitment | RuleTag
_E = TypeVar("_E", bound=Enum)

ENTRY_TYPES: Final[dict[str, type[LedgerEntry]]] = {
    kind.t: kind
    for kind in (
        Batch,
        Interval,
        Fallback,
        Challenge,
        Consent,
        Refusal,
        Hold,
        Release,
        Quarantine,
        FloorChanged,
        DeviceList,
        StorageKey,
        Erasure,
        Purge,
        Tenant,
        E2eeFirst,
        Config,
        PolicyLoaded,
        GatewayStarted,
        MarkerKeys,
        Finding,
    )
}


@dataclass(frozen=True, slots=True)
class _Field:
    key: str
    attribute: str
    kind: type[Value]
    optional: bool
    words: dict[str, Enum]
    """For enums: from the written word to the member."""


def _field(attribute: str, annotation: object) -> _Field:
    parts = [part for part in get_args(annotation) if part is not NoneType] or [annotation]
    kind = cast("type[Value]", parts[0])
    words = {str(member.value): member for member in kind} if issubclass(kind, Enum) else {}
    if not all(word.replace("_", "").replace("-", "").isalnum() and word.isascii() for word in words):
        raise TypeError("a word of the schema is letters, digits, _ and - alone")
    return _Field(attribute.removesuffix("_"), attribute, kind, NoneType in get_args(annotation), words)


_FIELDS: Final[dict[type[LedgerEntry], tuple[_Field, ...]]] = {
    kind: tuple(
        sorted(
            (_field(item.name, get_type_hints(kind)[item.name]) for item in fields(kind)),
            key=lambda made: made.key,
        )
    )
    for kind in ENTRY_TYPES.values()
}
"""For each type its fields in canonical order. ``t`` and ``v`` are written besides them."""


def encode_entry(entry: LedgerEntry) -> bytes:
    """The canonical bytes of an entry.

    Raises:
        EntryError: a value is not of its field's exact type, or an integer is negative or above 2**53 - 1.
    """
    made: list[str] = []
    kind = type(entry)
    if kind not in _FIELDS:
        raise EntryError(EntryReason.UNKNOWN_TYPE)
    for item in _FIELDS[kind]:
        value: object = getattr(entry, item.attribute)
        if value is None and item.optional:
            continue
        if type(value) is not item.kind:
            raise EntryError(EntryReason.BAD_VALUE)
        if isinstance(value, int) and not isinstance(value, Enum):
            if not 0 <= value <= MAX_INT:
                raise EntryError(EntryReason.BAD_VALUE)
            made.append(f'"{item.key}":{value}')
        else:
            made.append(f'"{item.key}":"{value.value if isinstance(value, Enum) else value}"')
    made.append(f'"t":"{kind.t}"')
    made.append(f'"v":{SCHEMA_VERSION}')
    # Keys are short ASCII words: sorting the members sorts by key, as RFC 8785 asks ('"' is below every letter).
    made.sort()
    return f"{{{','.join(made)}}}".encode("ascii")


def decode_entry(data: bytes) -> LedgerEntry:
    """Reads an entry strictly: the bytes must be exactly what :func:`encode_entry` writes for it.

    Raises:
        EntryError: unknown type, version or field, a missing field, a bad value, another spelling, too large.
    """
    if len(data) > MAX_ENTRY:
        raise EntryError(EntryReason.TOO_LARGE, length=len(data))
    try:
        raw: object = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError):
        raise EntryError(EntryReason.NOT_CANONICAL) from None
    if not isinstance(raw, dict):
        raise EntryError(EntryReason.NOT_CANONICAL)
    members = cast("dict[str, object]", raw)
    if type(members.get("v")) is not int or members["v"] != SCHEMA_VERSION:
        raise EntryError(EntryReason.UNKNOWN_VERSION)
    name = members.get("t")
    kind = ENTRY_TYPES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise EntryError(EntryReason.UNKNOWN_TYPE)
    schema = _FIELDS[kind]
    if members.keys() - {item.key for item in schema} - {"t", "v"}:
        raise EntryError(EntryReason.UNKNOWN_FIELD)
    values: dict[str, Value] = {}
    for item in schema:
        if item.key in members:
            values[item.attribute] = _read(item, members[item.key])
        elif not item.optional:
            raise EntryError(EntryReason.MISSING_FIELD)
    entry = kind(**values)  # type: ignore[arg-type]  # every value was read as its field's type
    if encode_entry(entry) != data:
        raise EntryError(EntryReason.NOT_CANONICAL)
    return entry


def _read(item: _Field, value: object) -> Value:
    if item.kind is int:
        if type(value) is not int:
            raise EntryError(EntryReason.BAD_VALUE)
        return value
    if not isinstance(value, str):
        raise EntryError(EntryReason.BAD_VALUE)
    if item.words:
        if value not in item.words:
            raise EntryError(EntryReason.BAD_VALUE)
        return item.words[value]
    for kind in (Digest, Commitment, RuleTag):
        if item.kind is kind:
            return kind.parse(value)
    raise EntryError(EntryReason.BAD_VALUE)
