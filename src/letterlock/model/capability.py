"""Capability rows: what each transport can do and who reads on it. Routing, docs and the console use this data."""

from dataclasses import dataclass
from enum import Enum, unique

from letterlock.model.protection import EvidenceGrade, MarkerKind, Protection


@unique
class Channel(Enum):
    """A way out. One row in the registry each."""

    RELAY = "relay"
    """Our own MLS clients through the blind relay (RCS E2EE interop profile included)."""
    SMS = "sms"
    """SMS over SMPP 3.4."""


@unique
class Feature(Enum):
    """What a message may need from a transport."""

    TEXT = "text"
    RECEIPTS = "receipts"
    MEDIA = "media"
    GROUPS = "groups"
    SUGGESTED_ACTIONS = "suggested_actions"


@unique
class Exposure(Enum):
    """How much metadata a path shows to others."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody on the path who is able to read content, and what they declare to do."""

    name: str
    markers: frozenset[MarkerKind]
    signs: bool


@dataclass(frozen=True, slots=True)
class CapabilityRow:
    """One transport, as routing and the comparison table see it.

    Attributes:
        ceiling: the best protection that this path can ever have.
        evidence: the best grade that can be had on it today.
        readers: who can read content on it, by name; empty where nobody on the path can.
        storage: a sentence for people: what is kept where.
        metadata: how much others see.
        use: a sentence for people: what it is good for.
        max_body: bytes of content at the most.
        source: where the row's corrections of common claims come from.
        version: changes whenever anything above changes; consent is bound to it.
    """

    channel: Channel
    title: str
    ceiling: Protection
    evidence: EvidenceGrade
    readers: tuple[Reader, ...]
    features: frozenset[Feature]
    storage: str
    metadata: Exposure
    use: str
    max_body: int
    source: str
    version: int
