"""What MLS handshake messages are made of (RFC 9420, sections 5 to 12), read strictly and without keys.

Nothing here says that a structure is *valid*: signatures, lifetimes and the rules of a group are for whoever has the
state to check them. The representations of these types show no field, for a credential may hold a phone number.
"""

from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Final

from letterlock.wire.mls.codec import Reader
from letterlock.wire.mls.errors import FramingError, FramingReason
from letterlock.wire.mls.suites import HASH_SIZES

MLS10: Final = 1
MAX_GROUP_ID: Final = 255
"""Bytes of a group id. RFC 9420 sets no bound; ids are names, and we store them as keys."""
AEAD_TAG: Final = 16
"""Bytes of the authentication tag of every AEAD in use."""


@unique
class CredentialType(IntEnum):
    """RFC 9420, section 5.3."""

    BASIC = 1
    X509 = 2


@unique
class LeafSource(IntEnum):
    """RFC 9420, section 7.2: why a leaf node was made."""

    KEY_PACKAGE = 1
    UPDATE = 2
    COMMIT = 3


_SOURCES: Final = {int(source): source for source in LeafSource}


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """Who a leaf claims to be. ``identity`` for basic, ``certificates`` (DER, leaf first) for X.509."""

    kind: CredentialType
    identity: bytes
    certificates: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Extension:
    """One extension; its data is left as it is."""

    kind: int
    data: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Capabilities:
    """What a client says it can do: code points in the order they were sent."""

    versions: tuple[int, ...]
    suites: tuple[int, ...]
    extensions: tuple[int, ...]
    proposals: tuple[int, ...]
    credentials: tuple[int, ...]


@dataclass(frozen=True, slots=True, repr=False)
class LeafNode:
    """RFC 9420, section 7.2.

    Attributes:
        lifetime: ``(not_before, not_after)`` in seconds since 1970 UTC, for a key package's leaf only.
        parent_hash: for a commit's leaf only, else empty.
        content: the encoded fields before the signature; the signature covers them (and, outside a key package,
            the group id and leaf index).
    """

    encryption_key: bytes
    signature_key: bytes
    credential: Credential
    capabilities: Capabilities
    source: LeafSource
    lifetime: tuple[int, int] | None
    parent_hash: bytes
    extensions: tuple[Extension, ...]
    content: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, repr=False)
class KeyPackage:
    """RFC 9420, section 10. ``encoded`` is the whole structure, ``content`` all but its signature."""

    suite: int
    init_key: bytes
    leaf: LeafNode
    extensions: tuple[Extension, ...]
    content: bytes
    signature: bytes
    encoded: bytes


@dataclass(frozen=True, slots=True, repr=False)
class HpkeCiphertext:
    """RFC 9420, section 7.6."""

    kem_output: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True, repr=False)
class UpdatePathNode:
    """A new key of an ancestor, and its path secret for each node of the resolution below."""

    encryption_key: bytes
    secrets: tuple[HpkeCiphertext, ...]


@dataclass(frozen=True, slots=True, repr=False)
class UpdatePath:
    """RFC 9420, section 7.6."""

    leaf: LeafNode
    nodes: tuple[UpdatePathNode, ...]


@dataclass(frozen=True, slots=True, repr=False)
class GroupContext:
    """RFC 9420, section 8.1."""

    suite: int
    group_id: bytes
    epoch: int
    tree_hash: bytes
    confirmed_transcript_hash: bytes
    extensions: tuple[Extension, ...]


def read_version(reader: Reader) -> None:
    """The protocol version, which is mls10."""
    offset = reader.at
    if reader.u16() != MLS10:
        raise FramingError(FramingReason.UNKNOWN_VERSION, offset=offset)


def read_suite(reader: Reader) -> int:
    """A cipher suite's code point; 0 is reserved."""
    offset = reader.at
    suite = reader.u16()
    if suite == 0:
        raise FramingError(FramingReason.UNKNOWN_VALUE, offset=offset)
    return suite


def read_hash(reader: Reader, sizes: frozenset[int] = HASH_SIZES) -> bytes:
    """A hash, MAC or reference: ``opaque<V>`` of one of these lengths."""
    offset = reader.at
    value = reader.opaque()
    if len(value) not in sizes:
        raise FramingError(FramingReason.LENGTH_OUT_OF_RANGE, offset=offset, length=len(value))
    return value


def read_group_id(reader: Reader) -> bytes:
    """A group id of 1 to :data:`MAX_GROUP_ID` bytes."""
    return reader.opaque(1, MAX_GROUP_ID)


def _read_extension(reader: Reader) -> Extension:
    return Extension(reader.u16(), reader.opaque())


def read_extensions(reader: Reader) -> tuple[Extension, ...]:
    """``Extension extensions<V>``: no type twice, for two readers could believe two different ones."""
    found = reader.items(_read_extension)
    if len({extension.kind for extension in found}) != len(found):
        raise FramingError(FramingReason.DUPLICATE_EXTENSION, offset=reader.at)
    return found


def read_credential(reader: Reader) -> Credential:
    """A basic or X.509 credential. The layout of another one is not known, so it is refused."""
    offset = reader.at
    kind = reader.u16()
    if kind == CredentialType.BASIC:
        return Credential(CredentialType.BASIC, reader.opaque(), ())
    if kind == CredentialType.X509:
        return Credential(CredentialType.X509, b"", reader.items(_opaque, low=1))
    raise FramingError(FramingReason.UNKNOWN_CREDENTIAL, offset=offset)


def _opaque(reader: Reader) -> bytes:
    return reader.opaque(1)


def read_capabilities(reader: Reader) -> Capabilities:
    """RFC 9420, section 7.2."""
    return Capabilities(
        reader.items(Reader.u16),
        reader.items(Reader.u16),
        reader.items(Reader.u16),
        reader.items(Reader.u16),
        reader.items(Reader.u16),
    )


def read_leaf_node(reader: Reader, demanded: LeafSource | None = None) -> LeafNode:
    """A leaf node of the origin that its place demands; in a tree, of any origin.

    Raises:
        FramingError: malformed, or of another origin.
    """
    start = reader.at
    encryption_key = reader.opaque(1)
    signature_key = reader.opaque(1)
    credential = read_credential(reader)
    capabilities = read_capabilities(reader)
    offset = reader.at
    code = reader.u8()
    source = _SOURCES.get(code)
    if source is None or (demanded is not None and source is not demanded):
        raise FramingError(FramingReason.WRONG_LEAF_SOURCE, offset=offset)
    lifetime = (reader.u64(), reader.u64()) if source is LeafSource.KEY_PACKAGE else None
    parent_hash = reader.opaque(0, max(HASH_SIZES)) if source is LeafSource.COMMIT else b""
    extensions = read_extensions(reader)
    content = reader.data[start : reader.at]
    signature = reader.opaque(1)
    return LeafNode(
        encryption_key,
        signature_key,
        credential,
        capabilities,
        source,
        lifetime,
        parent_hash,
        extensions,
        content,
        signature,
    )


def read_key_package(reader: Reader) -> KeyPackage:
    """RFC 9420, section 10."""
    start = reader.at
    read_version(reader)
    suite = read_suite(reader)
    init_key = reader.opaque(1)
    leaf = read_leaf_node(reader, LeafSource.KEY_PACKAGE)
    extensions = read_extensions(reader)
    content = reader.data[start : reader.at]
    signature = reader.opaque(1)
    return KeyPackage(suite, init_key, leaf, extensions, content, signature, reader.data[start : reader.at])


def read_hpke_ciphertext(reader: Reader) -> HpkeCiphertext:
    """RFC 9420, section 7.6; the ciphertext ends with a 16-byte tag in every suite."""
    return HpkeCiphertext(reader.opaque(1), reader.opaque(AEAD_TAG))


def _read_path_node(reader: Reader) -> UpdatePathNode:
    return UpdatePathNode(reader.opaque(1), reader.items(read_hpke_ciphertext))


def read_update_path(reader: Reader) -> UpdatePath:
    """RFC 9420, section 7.6."""
    return UpdatePath(read_leaf_node(reader, LeafSource.COMMIT), reader.items(_read_path_node))


def read_group_context(reader: Reader) -> GroupContext:
    """RFC 9420, section 8.1. The transcript hash is empty in epoch 0."""
    read_version(reader)
    suite = read_suite(reader)
    group_id = read_group_id(reader)
    epoch = reader.u64()
    tree_hash = read_hash(reader)
    transcript = read_hash(reader, HASH_SIZES | {0})
    return GroupContext(suite, group_id, epoch, tree_hash, transcript, read_extensions(reader))
