"""What evidence is made of: frozen values that the rooms above fill in, and nothing here believes by itself."""

from dataclasses import dataclass
from enum import Enum, unique
from itertools import product
from typing import Final

from msgspec import Struct

from letterlock.model.ids import DeviceId, MessageId
from letterlock.model.protection import MarkerKind, Verifier


class Fact(Enum):
    """Base of the words that decide; ``weight`` is a member's share in the number of its class of facts."""

    weight: int


@unique
class Form(Fact):
    """In which form the content arrived."""

    SEALED = "sealed"
    """The strict parser made a SealedBody of it; or it has the form of a sealed delivery."""
    UNPARSED = "unparsed"
    """Submitted as ciphertext; the strict parser refused it. It is never opened."""
    OPEN = "open"
    """Readable by this gateway."""


@unique
class Claim(Fact):
    """What the sender says beside what can be seen."""

    NONE = "none"
    E2EE = "e2ee"


@unique
class Source(Fact):
    """Who brought it."""

    LISTED_DEVICE = "listed_device"
    """A session bound to a device on its account's signed list."""
    UNLISTED_DEVICE = "unlisted_device"
    TENANT_API = "tenant_api"
    NETWORK = "network"
    """A transport's own inbound link."""
    DELIVERY_TOKEN = "delivery_token"  # noqa: S105 - a word, no token
    """Whoever holds a token that the recipient handed out."""


@unique
class Standing(Fact):
    """Whether the source may speak for this conversation."""

    AUTHORISED = "authorised"
    FOREIGN = "foreign"


@unique
class Framing(Fact):
    """What the comparisons came to."""

    ABSENT = "absent"
    """There was nothing to compare: no parsed MLS message."""
    DIFFERS = "differs"
    """A parsed MLS message that is not what was declared, or not bound to this message."""
    LETTERLOCK = "letterlock"
    """Our profile holds: declared group, epoch and type are the framed ones, and the session binds the message id."""
    RCC16 = "rcc16"
    """RCC.16 holds: both CPIM headers, and authenticated data with this message id and era."""


@unique
class DeviceSays(Enum):
    """What a companion app reports of its platform's flag for this message (checked elsewhere to be its own)."""

    NOTHING = "nothing"
    E2EE = "e2ee"
    """Never raises what is shown."""
    NOT_E2EE = "not_e2ee"
    """Lowers what is shown: a server on the way reads."""


@unique
class Finding(Enum):
    """What contradicts itself. A message with a finding does not go out as it is."""

    CLAIM_CONTRADICTS_BODY = "claim_contradicts_body"
    NOT_MLS = "e2ee_not_framed"
    CLAIM_NOT_AUTHORISED = "claim_not_authorised"
    CLAIM_ABOVE_ROUTE = "claim_above_route"
    FRAMING_DIFFERS = "framing_differs"


class Envelope(Struct, frozen=True, gc=False):
    """What can be seen of a message without opening it."""

    form: Form
    claim: Claim
    framing: Framing


class Session(Struct, frozen=True, gc=False):
    """Who brought it, and whether they may."""

    source: Source
    standing: Standing


@dataclass(frozen=True, slots=True)
class Marker:
    """What a server in the path declared; its signature was checked before."""

    server: str
    kinds: frozenset[MarkerKind]


@dataclass(frozen=True, slots=True)
class Subject:
    """The message that evidence must be about."""

    message_id: MessageId
    group_id: bytes
    epoch: int


@dataclass(frozen=True, slots=True)
class TrackedGroup:
    """The group's public state, valid to its head, and the sender's session bound to one of its leaf keys.

    Attributes:
        group_id: of the tracked group.
        epoch: its head.
        checked_by: who followed it.
    """

    group_id: bytes
    epoch: int
    checked_by: Verifier


@dataclass(frozen=True, slots=True)
class Attestation:
    """An endpoint's checked signature for one message, by a key on its account's signed device list.

    Attributes:
        message_id: what it is about.
        device: whose key.
        list_version: of the device list that names the key.
        checked_by: who checked it.
    """

    message_id: MessageId
    device: DeviceId
    list_version: int
    checked_by: Verifier


def _weigh(*kinds: type[Fact]) -> int:
    radix = 1
    for kind in reversed(kinds):
        for index, member in enumerate(kind):
            member.weight = index * radix
        radix *= len(kind)
    return radix


CLASSES: Final = _weigh(Form, Claim, Framing, Source, Standing)
"""How many classes of facts there are."""


def number(envelope: Envelope, session: Session) -> int:
    """The number of a class of facts: its place in :func:`every_class`."""
    return (
        envelope.form.weight
        + envelope.claim.weight
        + envelope.framing.weight
        + session.source.weight
        + session.standing.weight
    )


def every_class() -> tuple[tuple[Envelope, Session], ...]:
    """All classes of facts in the order of their numbers."""
    return tuple(
        (Envelope(form, claim, framing), Session(source, standing))
        for form, claim, framing, source, standing in product(Form, Claim, Framing, Source, Standing)
    )
