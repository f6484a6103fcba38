"""A path as a file: JSON that people can read and a verifier needs nothing besides but the logs' public keys.

Closed and bounded: an unknown member, another type or a larger file is refused. What is signed is never this text but
the bytes that a verifier makes anew from it (:mod:`letterlock.wire.path.marker`).
"""

from typing import Annotated, Final, Literal

import msgspec

from letterlock.model.capability import Channel
from letterlock.model.protection import MarkerKind
from letterlock.wire.path.errors import PathError, PathReason
from letterlock.wire.path.marker import (
    MAX_MARKERS,
    MAX_NAME,
    MAX_UNSIGNED,
    Handed,
    MarkerStatement,
    Onward,
    SignedMarker,
    Unsigned,
)
from letterlock.wire.preimage import Signature, SignatureError
from letterlock.wire.tlog.words import MarkerHop

MAX_PATH: Final = 128 * 1024
"""Bytes: 16 markers of a kilobyte and eight servers' proofs of four."""
MAX_SERVERS: Final = 8

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
_Hex32 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Kinds = Annotated[list[MarkerKind], msgspec.Meta(max_length=4)]


class UnsignedReader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reader that never signs."""

    name: _Name
    kinds: _Kinds


class HandedOn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a hop handed the message: to a hop, a transport, the devices, or nobody."""

    to: Onward
    server: Annotated[str, msgspec.Meta(max_length=MAX_NAME)] = ""
    hop: MarkerHop | None = None
    channel: Channel | None = None
    row: Annotated[int, msgspec.Meta(ge=0, lt=1 << 16)] = 0
    readers: Annotated[list[UnsignedReader], msgspec.Meta(max_length=MAX_UNSIGNED)] = []


class PathMarker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signed marker. ``previous`` and ``record`` are hashes in hex; the signature as the one format has it."""

    server: _Name
    hop: MarkerHop
    position: Annotated[int, msgspec.Meta(ge=0, lt=MAX_MARKERS)]
    kinds: _Kinds
    handed: HandedOn
    previous: _Hex32
    record: _Hex32
    signature: bytes

    @classmethod
    def of(cls, marker: SignedMarker) -> "PathMarker":
        """A marker for a file."""
        said, handed = marker.statement, marker.statement.handed
        readers = [UnsignedReader(one.name, _sorted(one.kinds)) for one in handed.readers]
        onward = HandedOn(handed.to, handed.server, handed.hop, handed.channel, handed.row, readers)
        return cls(
            said.server, said.hop, said.position, _sorted(said.kinds), onward, said.previous.hex(), said.record.hex(),
            marker.signature.encode(),
        )  # fmt: skip

    def marker(self) -> SignedMarker:
        """What was signed, and the signature.

        Raises:
            PathError: MALFORMED.
        """
        on = self.handed
        readers = tuple(Unsigned(one.name, _set(one.kinds)) for one in on.readers)
        handed = Handed(on.to, on.server, on.hop, on.channel, on.row, readers)
        statement = MarkerStatement(
            self.server, self.hop, self.position, bytes.fromhex(self.previous), bytes.fromhex(self.record),
            _set(self.kinds), handed,
        )  # fmt: skip
        try:
            return SignedMarker(statement, Signature.parse(self.signature))
        except SignatureError:
            raise PathError(PathReason.MALFORMED) from None


class ServerEvidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What shows that a server's markers are its own, and that its ledger knew of the message.

    Attributes:
        name: the origin of its ledger.
        accept: the public key of its accepting hop.
        dispatch: the public key of its dispatching hop.
        keys: proof of the ledger entry that names both (C2SP tlog-proof, the entry in ``extra``).
        record: the ledger's receipt of the message's record.
        salt: opens the record's commitment to the message's id.
    """

    name: _Name
    accept: bytes
    dispatch: bytes
    keys: str
    record: str
    salt: bytes


class PathDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The path of one message. Parsed is not verified.

    Attributes:
        letterlock_path: version of the format.
        message: its id.
        tenant: whose it is.
        environment: name of the installation.
        markers: in the order of the path.
        servers: one for each server that signed.
    """

    letterlock_path: Literal[1]
    message: Annotated[str, msgspec.Meta(pattern="^msg_[0-9a-f]{32}$")]
    tenant: Annotated[str, msgspec.Meta(pattern="^ten_[0-9a-f]{32}$")]
    environment: Annotated[str, msgspec.Meta(pattern="^[!-~]{1,255}$")]
    markers: Annotated[list[PathMarker], msgspec.Meta(max_length=MAX_MARKERS)]
    servers: Annotated[list[ServerEvidence], msgspec.Meta(max_length=MAX_SERVERS)]

    def encode(self) -> bytes:
        """The file."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> "PathDocument":
        """Reads a file strictly.

        Raises:
            PathError: TOO_LARGE, MALFORMED.
        """
        if len(data) > MAX_PATH:
            raise PathError(PathReason.TOO_LARGE, length=len(data))
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise PathError(PathReason.MALFORMED) from None


def _sorted(kinds: frozenset[MarkerKind]) -> list[MarkerKind]:
    return sorted(kinds, key=lambda kind: kind.value)


def _set(kinds: list[MarkerKind]) -> frozenset[MarkerKind]:
    """One spelling alone: sorted, without doubles."""
    found = frozenset(kinds)
    if _sorted(found) != kinds:
        raise PathError(PathReason.MALFORMED)
    return found
