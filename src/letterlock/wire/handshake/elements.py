"""Offer, answer and finish: what is signed, and how it travels.

An element travels as ``u32 length, body | party (72 bytes) | signature (66 bytes)``. Its name is SHA-256 over
``letterlock/v1/hash/handshake``, a zero byte, the party and the body: a second valid signature is the same element.
All numbers are big-endian. Every element has one encoding; whatever else is refused.
"""

import hashlib
from dataclasses import dataclass, field
from enum import IntEnum, unique
from typing import ClassVar, Final

from letterlock.model.ids import ID_BYTES, AccountId, DeviceId, TenantId
from letterlock.model.protection import Protection
from letterlock.wire.handshake.capabilities import (
    MAX_MARKERS,
    MAX_TIME,
    PROTECTION_CODE,
    Capabilities,
    Choice,
    MarkerShown,
    read_capabilities,
    read_choice,
    read_markers,
    read_protection,
    rising,
    write_markers,
)
from letterlock.wire.handshake.errors import ElementError, ElementReason
from letterlock.wire.handshake.source import Source
from letterlock.wire.preimage import HASH_BYTES, Purpose, Scope, Signature, SignatureError, context_hash

FORMAT: Final = 1
AUDIENCE: Final = "handshake"
NO_HASH: Final = bytes(HASH_BYTES)
MAX_DEVICES: Final = 64
"""As many as a device list names."""
MAX_EARLIER: Final = 16
"""Agreements of one conversation that a finish vouches for."""
MAX_ELEMENT: Final = 16 * 1024
"""The largest offer has about 4 KiB."""
_SIGNATURE: Final = 66
_LABEL: Final = b"letterlock/v1/hash/handshake\0"
_AGREEMENT: Final = b"letterlock/v1/hash/handshake_agreement\0"


@unique
class Verdict(IntEnum):
    """How the end that began closes a handshake; or, from the other end, why it takes no offer."""

    AGREED = 1
    DOWNGRADE_DETECTED = 2


@dataclass(frozen=True, slots=True)
class Party:
    """Whose element it is: a device, and the version of its account's list that names its session key."""

    account: AccountId
    device: DeviceId
    list_version: int
    list_hash: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.list_version <= MAX_TIME:
            raise ElementError(ElementReason.NUMBER_OUT_OF_RANGE)
        _hashes(self.list_hash)

    def encode(self) -> bytes:
        """72 bytes."""
        return self.account.value + self.device.value + self.list_version.to_bytes(8) + self.list_hash

    def scope(self, conversation: bytes, tenant: TenantId, environment: str) -> Scope:
        """Where an element of this party holds: in one conversation."""
        context = context_hash(
            conversation, self.account.value, self.device.value, self.list_version.to_bytes(8), self.list_hash
        )
        return Scope(tenant, environment, AUDIENCE, context)


@dataclass(frozen=True, slots=True)
class FloorSeen:
    """The floor that an end holds for the other one. It binds its holder; it raises nobody else's."""

    protection: Protection
    version: int

    def encode(self) -> bytes:
        """Nine bytes."""
        return bytes((PROTECTION_CODE[self.protection],)) + self.version.to_bytes(8)


@dataclass(frozen=True, slots=True)
class Seen:
    """What an end was shown of the other one.

    Attributes:
        list_version: of the other account's newest device list that this end verified.
        list_hash: its hash.
        capabilities: the other's capabilities as they reached this end before, by whatever way; None at first contact.
    """

    list_version: int
    list_hash: bytes = field(repr=False)
    capabilities: Capabilities | None

    def __post_init__(self) -> None:
        if not 1 <= self.list_version <= MAX_TIME:
            raise ElementError(ElementReason.NUMBER_OUT_OF_RANGE)
        _hashes(self.list_hash)

    def encode(self) -> bytes:
        """Version, hash, and a byte that says whether capabilities follow."""
        told = b"\0" if self.capabilities is None else b"\1" + self.capabilities.encode()
        return self.list_version.to_bytes(8) + self.list_hash + told


@dataclass(frozen=True, slots=True)
class Offer:
    """What the end that begins says: what it can, what it saw, what it chose, and to whom.

    Attributes:
        nonce: 32 random bytes.
        made_ms: ms UTC by its clock.
        peer: whom it is meant for.
        devices: all devices that it saw on the peer's list, in rising order.
        seen: the peer as this end sees it.
        capabilities: its own.
        floor: that it holds for the peer.
        choice: what the conversation uses.
        markers: servers that it was told of.
    """

    kind: ClassVar[int] = 1
    purpose: ClassVar[Purpose] = Purpose.HANDSHAKE_OFFER
    nonce: bytes = field(repr=False)
    made_ms: int
    peer: AccountId
    devices: tuple[DeviceId, ...]
    seen: Seen
    capabilities: Capabilities
    floor: FloorSeen
    choice: Choice
    markers: tuple[MarkerShown, ...] = ()

    def __post_init__(self) -> None:
        _hashes(self.nonce)
        _said(self.made_ms, self.markers)
        if not 1 <= len(self.devices) <= MAX_DEVICES:
            raise ElementError(ElementReason.TOO_MANY, count=len(self.devices))
        rising([device.value for device in self.devices])

    def body(self) -> bytes:
        """What is signed."""
        return b"".join(
            (
                bytes((FORMAT, self.kind)),
                self.nonce,
                self.made_ms.to_bytes(8),
                self.peer.value,
                len(self.devices).to_bytes(1),
                *(device.value for device in self.devices),
                self.seen.encode(),
                self.capabilities.encode(),
                self.floor.encode(),
                self.choice.encode(),
                write_markers(self.markers),
            )
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a device of the other end says to one offer, with its own view of everything.

    Attributes:
        nonce: 32 random bytes.
        made_ms: ms UTC by its clock.
        offer: the name of the offer as it came.
        peer: the device that made the offer.
        seen: the offering end as this one sees it.
        capabilities: its own.
        floor: that it holds for the offering end.
        choice: what it computed from both ends' capabilities.
        markers: servers that it was told of.
    """

    kind: ClassVar[int] = 2
    purpose: ClassVar[Purpose] = Purpose.HANDSHAKE_ANSWER
    nonce: bytes = field(repr=False)
    made_ms: int
    offer: bytes = field(repr=False)
    peer: DeviceId
    seen: Seen
    capabilities: Capabilities
    floor: FloorSeen
    choice: Choice
    markers: tuple[MarkerShown, ...] = ()

    def __post_init__(self) -> None:
        _hashes(self.nonce, self.offer)
        _said(self.made_ms, self.markers)

    def body(self) -> bytes:
        """What is signed."""
        return b"".join(
            (
                bytes((FORMAT, self.kind)),
                self.nonce,
                self.made_ms.to_bytes(8),
                self.offer,
                self.peer.value,
                self.seen.encode(),
                self.capabilities.encode(),
                self.floor.encode(),
                self.choice.encode(),
                write_markers(self.markers),
            )
        )


@dataclass(frozen=True, slots=True)
class Finish:
    """What closes a handshake, or ends it: which answers count, and what is bound into all that follows.

    Attributes:
        verdict: AGREED, or why nothing follows.
        offer: the name of the offer.
        earlier: agreements of this conversation before, in rising order, which its author holds good.
        answers: of which device which answer, in rising order of the devices.
    """

    kind: ClassVar[int] = 3
    purpose: ClassVar[Purpose] = Purpose.HANDSHAKE_FINISH
    verdict: Verdict
    offer: bytes = field(repr=False)
    earlier: tuple[bytes, ...] = field(default=(), repr=False)
    answers: tuple[tuple[DeviceId, bytes], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        _hashes(self.offer, *self.earlier, *(name for _, name in self.answers))
        for values, limit in ((self.earlier, MAX_EARLIER), (self.answers, MAX_DEVICES)):
            if len(values) > limit:
                raise ElementError(ElementReason.TOO_MANY, count=len(values))
        rising(list(self.earlier))
        rising([device.value for device, _ in self.answers])

    def body(self) -> bytes:
        """What is signed."""
        return b"".join(
            (
                bytes((FORMAT, self.kind, self.verdict)),
                self.offer,
                len(self.earlier).to_bytes(1),
                *self.earlier,
                len(self.answers).to_bytes(1),
                *(device.value + name for device, name in self.answers),
            )
        )


@dataclass(frozen=True, slots=True)
class Agreement:
    """What is bound into everything that follows: one conversation, one offer, the answers that count."""

    conversation: bytes = field(repr=False)
    finish: Finish

    def digest(self) -> bytes:
        """The transcript hash: 32 bytes, in the signed context of each later envelope."""
        body = self.finish.body()
        parts = (self.conversation, body)
        return hashlib.sha256(_AGREEMENT + b"".join(len(one).to_bytes(4) + one for one in parts)).digest()


@dataclass(frozen=True, slots=True)
class Element:
    """An element with its party and signature, checked or not."""

    content: Offer | Answer | Finish
    party: Party
    signature: Signature = field(repr=False)

    def encode(self) -> bytes:
        """As it travels."""
        body = self.content.body()
        return len(body).to_bytes(4) + body + self.party.encode() + self.signature.encode()

    def name(self) -> bytes:
        """Its name, 32 bytes."""
        return element_name(self.content, self.party)


def element_name(content: Offer | Answer | Finish, party: Party) -> bytes:
    """The name of an element: who said what."""
    return hashlib.sha256(_LABEL + party.encode() + content.body()).digest()


def parse(data: bytes) -> Element:
    """Reads an element to its last byte, without believing it.

    Raises:
        ElementError: anything but the one encoding of an element within bounds.
    """
    if len(data) > MAX_ELEMENT:
        raise ElementError(ElementReason.TOO_LARGE, length=len(data))
    source = Source(data)
    body = source.take(source.number(4))
    party = Party(
        AccountId(source.take(ID_BYTES)), DeviceId(source.take(ID_BYTES)), source.number(8), source.take(HASH_BYTES)
    )
    try:
        signature = Signature.parse(source.take(_SIGNATURE))
    except SignatureError:
        raise ElementError(ElementReason.SIGNATURE_MALFORMED) from None
    source.end()
    return Element(parse_body(body), party, signature)


def parse_body(data: bytes) -> Offer | Answer | Finish:
    """Reads the body of an element.

    Raises:
        ElementError: anything but the one encoding.
    """
    source = Source(data)
    if source.number(1) != FORMAT:
        raise ElementError(ElementReason.UNKNOWN_FORMAT)
    kind = source.number(1)
    content: Offer | Answer | Finish
    if kind == Offer.kind:
        content = _offer(source)
    elif kind == Answer.kind:
        content = _answer(source)
    elif kind == Finish.kind:
        content = _finish(source)
    else:
        raise ElementError(ElementReason.UNKNOWN_KIND)
    source.end()
    return content


def _offer(source: Source) -> Offer:
    nonce, made_ms, peer = source.take(HASH_BYTES), source.number(8), AccountId(source.take(ID_BYTES))
    devices = tuple([DeviceId(source.take(ID_BYTES)) for _ in source.counted(1, MAX_DEVICES)])
    return Offer(
        nonce, made_ms, peer, devices, _seen(source), read_capabilities(source), _floor(source), read_choice(source),
        read_markers(source),
    )  # fmt: skip


def _answer(source: Source) -> Answer:
    nonce, made_ms, offer = source.take(HASH_BYTES), source.number(8), source.take(HASH_BYTES)
    return Answer(
        nonce, made_ms, offer, DeviceId(source.take(ID_BYTES)), _seen(source), read_capabilities(source),
        _floor(source), read_choice(source), read_markers(source),
    )  # fmt: skip


def _finish(source: Source) -> Finish:
    try:
        verdict = Verdict(source.number(1))
    except ValueError:
        raise ElementError(ElementReason.UNKNOWN_CODE) from None
    offer = source.take(HASH_BYTES)
    earlier = tuple([source.take(HASH_BYTES) for _ in source.counted(1, MAX_EARLIER)])
    answers = tuple(
        [(DeviceId(source.take(ID_BYTES)), source.take(HASH_BYTES)) for _ in source.counted(1, MAX_DEVICES)]
    )
    return Finish(verdict, offer, earlier, answers)


def _seen(source: Source) -> Seen:
    version, list_hash, told = source.number(8), source.take(HASH_BYTES), source.number(1)
    if told > 1:
        raise ElementError(ElementReason.UNKNOWN_CODE)
    return Seen(version, list_hash, read_capabilities(source) if told else None)


def _floor(source: Source) -> FloorSeen:
    return FloorSeen(read_protection(source), source.number(8))


def _hashes(*values: bytes) -> None:
    for value in values:
        if len(value) != HASH_BYTES:
            raise ElementError(ElementReason.NOT_A_HASH, length=len(value))


def _said(made_ms: int, markers: tuple[MarkerShown, ...]) -> None:
    if not 0 <= made_ms <= MAX_TIME:
        raise ElementError(ElementReason.NUMBER_OUT_OF_RANGE)
    if len(markers) > MAX_MARKERS:
        raise ElementError(ElementReason.TOO_MANY, count=len(markers))
    rising([marker.server for marker in markers])
