"""Sealing of what is stored: AES-256-GCM under a generation's storage key, bound to where it is stored.

A blob is a version byte, a 96-bit random nonce, and ciphertext with its tag. The AAD names format, column,
tenant and row, so a blob moved to another row, column or tenant does not open. One key makes at most 2^32
blobs (NIST SP 800-38D, section 8.3); a ten-minute generation at 50,000 a second makes 30 million.

Randomness is an argument with ``os.urandom`` as its default, so that tests can be repeated.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import unique
from typing import ClassVar, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from letterlock.model.bodies import OpenBody, RevealPurpose, ShreddableBody
from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.model.ids import Id, MessageId, TenantId

VERSION: Final = b"\x01"
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
OVERHEAD: Final = len(VERSION) + NONCE_BYTES + TAG_BYTES
KEY_BYTES: Final = 32
MAX_BLOB: Final = 16 * 1024 * 1024
"""More is no message body; attachments are sealed by devices in pieces."""
ADDRESS_BLOCK: Final = 32
"""Addresses are padded to a multiple of this, so that their length says little."""
MAX_ADDRESS: Final = 255

COLUMN_SEALED: Final = "sealed"
COLUMN_BODY: Final = "body"
COLUMN_BODY_KEY: Final = "body_key"
COLUMN_ADDRESS: Final = "address"

Entropy = Callable[[int], bytes]
"""Gives that many random bytes."""


@unique
class SealingReason(Reason):
    """Why a blob was not sealed or opened."""

    UNKNOWN_VERSION = "sealed_blob_of_unknown_version"
    TOO_SHORT = "sealed_blob_too_short"
    TOO_LARGE = "too_large_to_seal"
    NOT_AUTHENTIC = "sealed_blob_not_authentic"
    OTHER_GENERATION = "sealed_under_another_generation"
    BAD_ADDRESS = "bad_address"


class SealingError(OperationError[SealingReason]):
    """A blob cannot be sealed, or does not open here."""

    fault: ClassVar[Fault] = Fault.LOCAL


@dataclass(frozen=True, slots=True)
class StorageKey:
    """The storage key of one generation, ready for use; the key itself cannot be got out again."""

    generation: int
    aead: AESGCM = field(repr=False, compare=False)


_PREFIX: Final = b"letterlock/v1/seal\x01"


def _aad(column: str, tenant: TenantId, row: Id) -> bytes:
    # The ids have 16 bytes each, so the column's name may have any length.
    return _PREFIX + tenant.value + row.value + column.encode()


def seal(
    key: StorageKey, tenant: TenantId, row: Id, column: str, content: bytes | memoryview, entropy: Entropy = os.urandom
) -> bytes:
    """Seals content for one column of one row.

    Raises:
        SealingError: TOO_LARGE.
    """
    if len(content) > MAX_BLOB:
        raise SealingError(SealingReason.TOO_LARGE, size=len(content), limit=MAX_BLOB)
    nonce = entropy(NONCE_BYTES)
    return VERSION + nonce + key.aead.encrypt(nonce, content, _aad(column, tenant, row))


def unseal(key: StorageKey, tenant: TenantId, row: Id, column: str, blob: bytes) -> bytes:
    """Opens what :func:`seal` made with the same key, tenant, row and column.

    Raises:
        SealingError: TOO_SHORT, UNKNOWN_VERSION, NOT_AUTHENTIC.
    """
    return bytes(_open(key.aead, _aad(column, tenant, row), blob))


def _open(aead: AESGCM, aad: bytes, blob: bytes) -> bytearray:
    if len(blob) < OVERHEAD:
        raise SealingError(SealingReason.TOO_SHORT, size=len(blob))
    if blob[:1] != VERSION:
        raise SealingError(SealingReason.UNKNOWN_VERSION, version=blob[0])
    view = memoryview(blob)
    opened = bytearray(len(blob) - OVERHEAD)
    try:
        aead.decrypt_into(view[1 : 1 + NONCE_BYTES], view[1 + NONCE_BYTES :], aad, opened)
    except InvalidTag:
        raise SealingError(SealingReason.NOT_AUTHENTIC) from None
    return opened


class NoncePool:
    """Random nonces drawn some at a time: asking the kernel for each hands the interpreter to another thread.

    For one thread. A pool holds few, so that a machine that is copied while it runs repeats few.
    """

    __slots__ = ("_at", "_entropy", "_pool")

    SIZE: Final = 64

    def __init__(self, entropy: Entropy = os.urandom) -> None:
        self._entropy = entropy
        self._pool = b""
        self._at = 0

    def take(self) -> bytes:
        """The next nonce."""
        at = self._at
        if at >= len(self._pool):
            self._pool = self._entropy(NONCE_BYTES * self.SIZE)
            at = 0
        self._at = at + NONCE_BYTES
        return self._pool[at : self._at]


def seal_sealed(
    key: StorageKey, tenant: TenantId, message: MessageId, ciphertext: bytes, entropy: Entropy = os.urandom
) -> bytes:
    """Seals the ciphertext of a SealedBody once more, so that it goes when its generation goes. The hot path."""
    return seal(key, tenant, message, COLUMN_SEALED, ciphertext, entropy)


class SealedColumn:
    """Seals for one tenant as :func:`seal_sealed` does; what all its rows have in common is written once."""

    __slots__ = ("_column", "_prefix")

    def __init__(self, tenant: TenantId) -> None:
        self._prefix = _PREFIX + tenant.value
        self._column = COLUMN_SEALED.encode()

    def seal(self, key: StorageKey, message: bytes, ciphertext: bytes, nonce: bytes) -> bytes:
        """Seals the ciphertext of the message with this 16-byte id; at most :data:`MAX_BLOB` bytes, as parsed.

        The nonce is fresh random bytes, :data:`NONCE_BYTES` of them.
        """
        return VERSION + nonce + key.aead.encrypt(nonce, ciphertext, self._prefix + message + self._column)


def unseal_sealed(key: StorageKey, tenant: TenantId, message: MessageId, blob: bytes) -> bytes:
    """The ciphertext again.

    Raises:
        SealingError: as :func:`unseal`.
    """
    return unseal(key, tenant, message, COLUMN_SEALED, blob)


def reseal(
    old: StorageKey,
    new: StorageKey,
    tenant: TenantId,
    row: Id,
    column: str,
    blob: bytes,
    entropy: Entropy = os.urandom,
) -> bytes:
    """Moves a blob from one generation to another.

    Raises:
        SealingError: as :func:`unseal`.
    """
    content = _open(old.aead, _aad(column, tenant, row), blob)
    try:
        return seal(new, tenant, row, column, memoryview(content), entropy)
    finally:
        _wipe(content)


def shred_seal(
    body: OpenBody, key: StorageKey, tenant: TenantId, message: MessageId, entropy: Entropy = os.urandom
) -> ShreddableBody:
    """Seals an OpenBody under a data key of its own, wrapped under the generation's key, so that it can wait.

    The OpenBody is left as it is; its owner destroys it.

    Raises:
        SealingError: TOO_LARGE.
    """
    data_key = bytearray(entropy(KEY_BYTES))
    own = StorageKey(key.generation, AESGCM(data_key))
    try:
        with body.reveal(RevealPurpose.SEAL_FOR_WAITING) as content:
            sealed = seal(own, tenant, message, COLUMN_BODY, content, entropy)
        wrapped = seal(key, tenant, message, COLUMN_BODY_KEY, memoryview(data_key), entropy)
    finally:
        _wipe(data_key)
    return ShreddableBody(sealed, wrapped, key.generation)


def unshred(body: ShreddableBody, key: StorageKey, tenant: TenantId, message: MessageId) -> OpenBody:
    """Opens a body that waited.

    Raises:
        SealingError: OTHER_GENERATION if the key is not the body's; as :func:`unseal`.
    """
    data_key = _data_key(body, key, tenant, message)
    try:
        content = _open(AESGCM(data_key), _aad(COLUMN_BODY, tenant, message), body.sealed)
    finally:
        _wipe(data_key)
    try:
        return OpenBody(content)
    finally:
        _wipe(content)


def rewrap(
    body: ShreddableBody,
    old: StorageKey,
    new: StorageKey,
    tenant: TenantId,
    message: MessageId,
    entropy: Entropy = os.urandom,
) -> ShreddableBody:
    """Moves a waiting body to another generation: the data key is wrapped anew, the body is not opened.

    Raises:
        SealingError: as :func:`unshred`.
    """
    data_key = _data_key(body, old, tenant, message)
    try:
        wrapped = seal(new, tenant, message, COLUMN_BODY_KEY, memoryview(data_key), entropy)
    finally:
        _wipe(data_key)
    return ShreddableBody(body.sealed, wrapped, new.generation)


def _data_key(body: ShreddableBody, key: StorageKey, tenant: TenantId, message: MessageId) -> bytearray:
    if key.generation != body.generation:
        raise SealingError(SealingReason.OTHER_GENERATION, body=body.generation, key=key.generation)
    data_key = _open(key.aead, _aad(COLUMN_BODY_KEY, tenant, message), body.wrapped_key)
    if len(data_key) != KEY_BYTES:
        raise SealingError(SealingReason.NOT_AUTHENTIC)
    return data_key


def seal_address(key: StorageKey, tenant: TenantId, row: Id, address: bytes, entropy: Entropy = os.urandom) -> bytes:
    """Seals an address of 1 to 255 bytes, padded so that its length says little.

    Raises:
        SealingError: BAD_ADDRESS.
    """
    if not 1 <= len(address) <= MAX_ADDRESS:
        raise SealingError(SealingReason.BAD_ADDRESS, shortest=1, longest=MAX_ADDRESS)
    framed = bytes((len(address),)) + address
    padded = framed.ljust(-(-len(framed) // ADDRESS_BLOCK) * ADDRESS_BLOCK, b"\0")
    return seal(key, tenant, row, COLUMN_ADDRESS, padded, entropy)


def unseal_address(key: StorageKey, tenant: TenantId, row: Id, blob: bytes) -> bytes:
    """The address again.

    Raises:
        SealingError: as :func:`unseal`; BAD_ADDRESS for a frame that is not ours.
    """
    framed = unseal(key, tenant, row, COLUMN_ADDRESS, blob)
    if not framed or not 1 <= framed[0] < len(framed) or framed[1 + framed[0] :].strip(b"\0"):
        raise SealingError(SealingReason.BAD_ADDRESS)
    return framed[1 : 1 + framed[0]]


def _wipe(buffer: bytearray) -> None:
    buffer[:] = bytes(len(buffer))
