"""One marker: what a hop of a server states that it does with a message, chained to the marker before it.

A marker's body, in the one signature format with purpose ``marker``::

    server | 1 hop | 2 position | 32 previous | 32 record | 1 kinds | onward
    onward: 1 what | server and 1 hop, or channel | 2 row version | 1 count | each: name | 1 kinds
    names: 2 length | UTF-8

The message is in the signed context, so a marker holds for one message alone. No content, no address and no time
is in it: the time stands in the ledger's record, which is named by its leaf hash.
"""

import hashlib
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Final

from letterlock.model.capability import Channel
from letterlock.model.ids import MessageId, TenantId
from letterlock.model.protection import MarkerKind
from letterlock.wire.handshake.capabilities import kind_bits
from letterlock.wire.path.errors import PathError, PathReason
from letterlock.wire.preimage import Purpose, Scope, Signature, Signer, context_hash, sign
from letterlock.wire.tlog.words import MarkerHop

AUDIENCE: Final = "path"
MAX_MARKERS: Final = 16
"""Hops of one path: two of each server, and no chain of eight gateways is meant."""
MAX_UNSIGNED: Final = 16
"""Readers that a transport's row names."""
MAX_NAME: Final = 255
_HASH: Final = 32
_HOP: Final = {MarkerHop.ACCEPT: 1, MarkerHop.DISPATCH: 2}


@unique
class Onward(Enum):
    """To whom a hop hands the message."""

    HOP = "hop"
    """A hop that signs: its marker must follow."""
    TRANSPORT = "transport"
    """A transport on which nobody signs; its row names who can read there."""
    DEVICES = "devices"
    """The mailboxes of the recipient's devices: the path ends."""
    NOBODY = "nobody"
    """The message ended here and left nowhere."""


_ONWARD: Final = {Onward.HOP: 1, Onward.TRANSPORT: 2, Onward.DEVICES: 3, Onward.NOBODY: 4}


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A reader that never signs, as the transport's row names it, and what it can do."""

    name: str
    kinds: frozenset[MarkerKind]


@dataclass(frozen=True, slots=True)
class Handed:
    """Where a hop hands the message.

    Attributes:
        to: to whom.
        server: the next hop's server, for HOP.
        hop: the next hop, for HOP.
        channel: the transport, for TRANSPORT.
        row: version of its row, for TRANSPORT.
        readers: who can read there, for TRANSPORT.

    Raises:
        PathError: MALFORMED, if the parts do not fit ``to``.
    """

    to: Onward
    server: str = ""
    hop: MarkerHop | None = None
    channel: Channel | None = None
    row: int = 0
    readers: tuple[Unsigned, ...] = ()

    def __post_init__(self) -> None:
        next_hop, transport = self.to is Onward.HOP, self.to is Onward.TRANSPORT
        fits = (
            bool(self.server) == (self.hop is not None) == next_hop
            and (self.channel is not None) == transport
            and (transport or not (self.row or self.readers))
        )
        if not fits or len(self.readers) > MAX_UNSIGNED or not 0 <= self.row < 1 << 16:
            raise PathError(PathReason.MALFORMED)

    def encode(self) -> bytes:
        """The bytes in a marker's body."""
        parts = [_ONWARD[self.to].to_bytes(1)]
        if self.hop is not None:
            parts += [_named(self.server), _HOP[self.hop].to_bytes(1)]
        if self.channel is not None:
            parts += [_named(self.channel.value), self.row.to_bytes(2), len(self.readers).to_bytes(1)]
            parts += [_named(one.name) + kind_bits(one.kinds).to_bytes(1) for one in self.readers]
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class MarkerStatement:
    """What a hop states.

    Attributes:
        server: whose hop it is: the origin of that server's ledger.
        hop: which of its hops.
        position: from 0, in the path.
        previous: :meth:`SignedMarker.link` of the marker before it, or :func:`first_link`.
        record: leaf hash of the server's ledger record of the message.
        kinds: what it declares to do.
        handed: where the message goes from it.

    Raises:
        PathError: MALFORMED.
    """

    server: str
    hop: MarkerHop
    position: int
    previous: bytes = field(repr=False)
    record: bytes = field(repr=False)
    kinds: frozenset[MarkerKind]
    handed: Handed

    def __post_init__(self) -> None:
        hashes = len(self.previous) == len(self.record) == _HASH
        if not hashes or not self.server or not 0 <= self.position < MAX_MARKERS:
            raise PathError(PathReason.MALFORMED)

    def encode(self) -> bytes:
        """The body that is signed."""
        return b"".join(
            (
                _named(self.server),
                _HOP[self.hop].to_bytes(1),
                self.position.to_bytes(2),
                self.previous,
                self.record,
                kind_bits(self.kinds).to_bytes(1),
                self.handed.encode(),
            )
        )


@dataclass(frozen=True, slots=True)
class SignedMarker:
    """A marker as it travels."""

    statement: MarkerStatement
    signature: Signature

    def link(self) -> bytes:
        """What the next marker says came before it: statement and signature."""
        data = context_hash(self.statement.encode(), self.signature.encode())
        return hashlib.sha256(b"letterlock/v1/hash/marker\0" + data).digest()


def first_link(tenant: TenantId, environment: str, message: MessageId) -> bytes:
    """What the first marker says came before it: the message, with tenant and environment."""
    data = context_hash(tenant.value, environment.encode(), message.value)
    return hashlib.sha256(b"letterlock/v1/hash/path\0" + data).digest()


def scope_of(tenant: TenantId, environment: str, message: MessageId) -> Scope:
    """Where a marker holds: for this message alone."""
    return Scope(tenant, environment, AUDIENCE, context_hash(b"path", message.value))


def mark(
    signer: Signer, tenant: TenantId, environment: str, message: MessageId, statement: MarkerStatement
) -> SignedMarker:
    """Signs a marker. Ed25519 is deterministic, so the same statement always gives the same marker.

    Raises:
        PreimageError: the key is none for markers, or the environment is no name.
    """
    scope = scope_of(tenant, environment, message)
    return SignedMarker(statement, sign(signer, Purpose.MARKER, scope, statement.encode()))


def _named(text: str) -> bytes:
    data = text.encode()
    if not 0 < len(data) <= MAX_NAME:
        raise PathError(PathReason.MALFORMED)
    return len(data).to_bytes(2) + data
