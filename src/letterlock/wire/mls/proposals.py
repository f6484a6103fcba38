"""Proposals and commits (RFC 9420, sections 12.1 and 12.4), read without keys."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Final

from letterlock.wire.mls.codec import Reader
from letterlock.wire.mls.errors import FramingError, FramingReason
from letterlock.wire.mls.structures import (
    Extension,
    KeyPackage,
    LeafNode,
    LeafSource,
    UpdatePath,
    read_extensions,
    read_group_id,
    read_hash,
    read_key_package,
    read_leaf_node,
    read_suite,
    read_update_path,
    read_version,
)


@unique
class PskKind(IntEnum):
    """RFC 9420, section 8.4."""

    EXTERNAL = 1
    RESUMPTION = 2


APPLICATION_USE: Final = 1
"""The one use of a resumption PSK that an ordinary commit may name (section 12.1.4)."""
_RESUMPTION_USAGES: Final = (APPLICATION_USE, 2, 3)


@dataclass(frozen=True, slots=True, repr=False)
class Add:
    """Adds the client that made the key package."""

    key_package: KeyPackage


@dataclass(frozen=True, slots=True, repr=False)
class Update:
    """Replaces the sender's leaf."""

    leaf: LeafNode


@dataclass(frozen=True, slots=True)
class Remove:
    """Removes the member at a leaf index."""

    removed: int


@dataclass(frozen=True, slots=True, repr=False)
class PreSharedKey:
    """Mixes a pre-shared key in; ``usage``, ``group_id`` and ``epoch`` only for a resumption PSK."""

    kind: PskKind
    usage: int
    psk_id: bytes
    group_id: bytes
    epoch: int
    nonce: bytes


@dataclass(frozen=True, slots=True, repr=False)
class ReInit:
    """Ends the group in favour of a new one."""

    group_id: bytes
    suite: int
    extensions: tuple[Extension, ...]


@dataclass(frozen=True, slots=True, repr=False)
class ExternalInit:
    """Lets somebody outside join by a commit of their own."""

    kem_output: bytes


@dataclass(frozen=True, slots=True, repr=False)
class GroupContextExtensions:
    """Replaces the group's extensions."""

    extensions: tuple[Extension, ...]


@dataclass(frozen=True, slots=True, repr=False)
class ProposalReference:
    """A proposal that was sent before, by its hash."""

    ref: bytes


Proposal = Add | Update | Remove | PreSharedKey | ReInit | ExternalInit | GroupContextExtensions


@dataclass(frozen=True, slots=True, repr=False)
class Commit:
    """RFC 9420, section 12.4."""

    proposals: tuple[Proposal | ProposalReference, ...]
    path: UpdatePath | None


def _read_psk(reader: Reader) -> PreSharedKey:
    offset = reader.at
    kind = reader.u8()
    if kind == PskKind.EXTERNAL:
        return PreSharedKey(PskKind.EXTERNAL, 0, reader.opaque(), b"", 0, reader.opaque())
    if kind == PskKind.RESUMPTION:
        usage = reader.u8()
        if usage in _RESUMPTION_USAGES:
            return PreSharedKey(PskKind.RESUMPTION, usage, b"", read_group_id(reader), reader.u64(), reader.opaque())
    raise FramingError(FramingReason.UNKNOWN_VALUE, offset=offset)


def _read_reinit(reader: Reader) -> ReInit:
    group_id = read_group_id(reader)
    read_version(reader)
    return ReInit(group_id, read_suite(reader), read_extensions(reader))


def _read_update(reader: Reader) -> Update:
    return Update(read_leaf_node(reader, LeafSource.UPDATE))


_READERS: Final[dict[int, Callable[[Reader], Proposal]]] = {
    1: lambda reader: Add(read_key_package(reader)),
    2: _read_update,
    3: lambda reader: Remove(reader.u32()),
    4: _read_psk,
    5: _read_reinit,
    6: lambda reader: ExternalInit(reader.opaque(1)),
    7: lambda reader: GroupContextExtensions(read_extensions(reader)),
}
"""By code point (RFC 9420, section 17.4). A type that is not here has an unknown length, so it is refused."""


def read_proposal(reader: Reader) -> Proposal:
    """One proposal with its type."""
    offset = reader.at
    read = _READERS.get(reader.u16())
    if read is None:
        raise FramingError(FramingReason.UNKNOWN_PROPOSAL, offset=offset)
    return read(reader)


def _read_proposal_or_ref(reader: Reader) -> Proposal | ProposalReference:
    offset = reader.at
    tag = reader.u8()
    if tag == 1:
        return read_proposal(reader)
    if tag == 2:
        return ProposalReference(read_hash(reader))
    raise FramingError(FramingReason.UNKNOWN_VALUE, offset=offset)


def read_commit(reader: Reader) -> Commit:
    """A commit: proposals by value or reference, and the path if there is one."""
    proposals = reader.items(_read_proposal_or_ref)
    return Commit(proposals, read_update_path(reader) if reader.optional() else None)
