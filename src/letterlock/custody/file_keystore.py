"""The key store of development: keys in a slot file, each sealed under a root key. It is not hardware.

Whoever can read the process or has the file and its root secret has the keys; therefore settings refuse this
driver outside ``dev``.
"""

import hmac
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from letterlock.custody.hedged import SECRET_BYTES
from letterlock.custody.keystore import (
    MAX_WRAPPED_INPUT,
    Audit,
    KeyHandle,
    KeyKind,
    KeyOperation,
    KeyPurpose,
    KeyStoreCall,
    KeyStoreCapabilities,
    KeyStoreError,
    KeyStoreReason,
    Remnant,
)
from letterlock.custody.slots import SlotFile
from letterlock.custody.unlocking import Unlock

_FORMAT: Final = b"file-keystore/1\x00"
_NONCE: Final = 12
_TAG: Final = 16
_STORE_ID: Final = 16
_ENTRY_KEY: Final = 1
_ENTRY_TOMBSTONE: Final = 2
_WRAP_VERSION: Final = 1

# Numbers in files: never changed, never reused.
_KIND_CODES: Final = {KeyKind.WRAP: 1, KeyKind.MAC: 2, KeyKind.SIGN: 3}
_PURPOSE_CODES: Final = {
    KeyPurpose.STORAGE_GENERATIONS: 1,
    KeyPurpose.VAULT_INDEX: 2,
    KeyPurpose.VAULT_SUBJECTS: 3,
    KeyPurpose.LEDGER_SIGNER: 4,
    KeyPurpose.REQUEST_DIGEST: 5,
    KeyPurpose.API_KEYS: 6,
    KeyPurpose.SERVER_IDENTITY: 7,
    KeyPurpose.SERVER_MARKER: 8,
}
_KINDS: Final = {code: kind for kind, code in _KIND_CODES.items()}
_PURPOSES: Final = {code: purpose for purpose, code in _PURPOSE_CODES.items()}


@dataclass(frozen=True, slots=True)
class _Key:
    slot: int
    kind: KeyKind
    purpose: KeyPurpose
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Entry:
    """The readable head of a slot; it is the AAD of the sealed key behind it."""

    type: int
    kind: KeyKind
    purpose: KeyPurpose
    handle: KeyHandle

    def encode(self) -> bytes:
        name = self.handle.name.encode("ascii")
        codes = bytes((self.type, _KIND_CODES[self.kind], _PURPOSE_CODES[self.purpose]))
        return codes + self.handle.version.to_bytes(4, "big") + bytes((len(name),)) + name

    @classmethod
    def decode(cls, payload: bytes) -> tuple[Self, bytes]:
        if len(payload) < 8 or len(payload) < 8 + payload[7]:
            raise KeyStoreError(KeyStoreReason.DAMAGED)
        kind, purpose = _KINDS.get(payload[1]), _PURPOSES.get(payload[2])
        if payload[0] not in {_ENTRY_KEY, _ENTRY_TOMBSTONE} or kind is None or purpose is None:
            raise KeyStoreError(KeyStoreReason.DAMAGED)
        end = 8 + payload[7]
        try:
            name = payload[8:end].decode("ascii")
            handle = KeyHandle(name, int.from_bytes(payload[3:7], "big"))
        except (UnicodeDecodeError, KeyStoreError):
            raise KeyStoreError(KeyStoreReason.DAMAGED) from None
        return cls(payload[0], kind, purpose, handle), payload[end:]


def _prefixed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


class FileKeyStore:
    """A :class:`~letterlock.custody.keystore.KeyStore` in one file; see the module."""

    def __init__(self, slots: SlotFile, unlock: Unlock, audit: Audit | None) -> None:
        description, store_id, check = _read_header(slots.header)
        root = unlock.root(description)
        sealing = HKDF(algorithm=SHA256(), length=SECRET_BYTES, salt=store_id, info=b"letterlock/v1/file-keystore")
        self._aead = AESGCM(sealing.derive(root))
        self._store_id = store_id
        self._slots: SlotFile | None = slots
        self._audit = audit
        self._lock = threading.RLock()
        self._keys: dict[KeyHandle, _Key] = {}
        self._destroyed: dict[str, int] = {}
        try:
            self._aead.decrypt(check[:_NONCE], check[_NONCE:], _FORMAT + store_id + description)
        except InvalidTag:
            raise KeyStoreError(KeyStoreReason.WRONG_SECRET) from None
        self._load(slots)

    @classmethod
    def create(cls, path: Path, unlock: Unlock, audit: Audit | None = None) -> Self:
        """Makes an empty store at ``path`` and opens it.

        Raises:
            SlotFileError: EXISTS, IO. KeyStoreError: the secret is unusable.
        """
        description, store_id = unlock.describe(), os.urandom(_STORE_ID)
        root = unlock.root(description)
        sealing = HKDF(algorithm=SHA256(), length=SECRET_BYTES, salt=store_id, info=b"letterlock/v1/file-keystore")
        nonce = os.urandom(_NONCE)
        check = nonce + AESGCM(sealing.derive(root)).encrypt(nonce, b"", _FORMAT + store_id + description)
        SlotFile.create(path, _FORMAT + store_id + check + description).close()
        return cls.open(path, unlock, audit)

    @classmethod
    def open(cls, path: Path, unlock: Unlock, audit: Audit | None = None) -> Self:
        """Opens a store and checks every key in it.

        Raises:
            SlotFileError: the file is missing, open to others, in use, not ours.
            KeyStoreError: WRONG_SECRET, BAD_ROOT_KEY, DAMAGED.
        """
        slots = SlotFile.open(path)
        try:
            return cls(slots, unlock, audit)
        except BaseException:
            slots.close()
            raise

    def _load(self, slots: SlotFile) -> None:
        tombstones: list[tuple[int, KeyHandle]] = []
        for slot, payload in slots:
            entry, sealed = _Entry.decode(payload)
            head = entry.encode()
            try:
                secret = self._aead.decrypt(sealed[:_NONCE], sealed[_NONCE:], _FORMAT + self._store_id + head)
            except (InvalidTag, ValueError):
                raise KeyStoreError(KeyStoreReason.DAMAGED, slot=slot) from None
            if entry.type == _ENTRY_TOMBSTONE:
                tombstones.append((slot, entry.handle))
            else:
                self._keys[entry.handle] = _Key(slot, entry.kind, entry.purpose, secret)
        for _, handle in tombstones:
            self._destroyed[handle.name] = max(handle.version, self._destroyed.get(handle.name, 0))
            left = self._keys.pop(handle, None)
            if left is not None:  # a crash came between the tombstone and the erasure
                slots.erase(left.slot)
        for slot, handle in tombstones:
            if handle.version < self._destroyed[handle.name]:
                slots.erase(slot)

    def capabilities(self) -> KeyStoreCapabilities:
        """Not hardware, for development only; destruction overwrites the file's own blocks and no more."""
        return KeyStoreCapabilities(
            driver="file",
            hardware=False,
            development_only=True,
            kinds=frozenset(KeyKind),
            destruction_survives=frozenset(Remnant),
        )

    def ensure(self, name: str, kind: KeyKind, purpose: KeyPurpose, context: bytes) -> KeyHandle:
        """The newest live version; makes the key first if there is none."""
        with self._lock:
            newest = next(iter(self.versions(name, purpose, context)), None)
            if newest is None:
                return self._make(name, kind, purpose, KeyOperation.CREATE)
            if self._keys[newest].kind is not kind:
                raise KeyStoreError(KeyStoreReason.WRONG_KIND)
            return newest

    def versions(self, name: str, purpose: KeyPurpose, context: bytes) -> tuple[KeyHandle, ...]:  # noqa: ARG002
        """The live versions, newest first."""
        with self._lock:
            self._file()
            found = sorted((handle for handle in self._keys if handle.name == name), reverse=True)
            if any(self._keys[handle].purpose is not purpose for handle in found):
                raise KeyStoreError(KeyStoreReason.WRONG_PURPOSE)
            return tuple(found)

    def rotate(self, name: str, purpose: KeyPurpose, context: bytes) -> KeyHandle:
        """A new version of an existing key."""
        with self._lock:
            newest = next(iter(self.versions(name, purpose, context)), None)
            if newest is None:
                raise KeyStoreError(KeyStoreReason.UNKNOWN_KEY)
            return self._make(name, self._keys[newest].kind, purpose, KeyOperation.ROTATE)

    def _make(self, name: str, kind: KeyKind, purpose: KeyPurpose, operation: KeyOperation) -> KeyHandle:
        taken = max((handle.version for handle in self._keys if handle.name == name), default=0)
        handle = KeyHandle(name, max(taken, self._destroyed.get(name, 0)) + 1)
        self._tell(operation, handle, purpose)
        secret = os.urandom(SECRET_BYTES)
        slot = self._put(_Entry(_ENTRY_KEY, kind, purpose, handle), secret)
        self._keys[handle] = _Key(slot, kind, purpose, secret)
        return handle

    def _put(self, entry: _Entry, secret: bytes) -> int:
        nonce, head = os.urandom(_NONCE), entry.encode()
        sealed = nonce + self._aead.encrypt(nonce, secret, _FORMAT + self._store_id + head)
        return self._file().put(head + sealed)

    def wrap(self, handle: KeyHandle, purpose: KeyPurpose, context: bytes, key: bytes) -> bytes:
        """AES-256-GCM: version byte, nonce, ciphertext with its tag."""
        if not 1 <= len(key) <= MAX_WRAPPED_INPUT:
            raise KeyStoreError(KeyStoreReason.BAD_INPUT, longest=MAX_WRAPPED_INPUT)
        secret = self._use(KeyOperation.WRAP, handle, purpose, KeyKind.WRAP)
        nonce = os.urandom(_NONCE)
        aad = _wrap_aad(handle, purpose, context)
        return bytes((_WRAP_VERSION,)) + nonce + AESGCM(secret).encrypt(nonce, key, aad)

    def unwrap(self, handle: KeyHandle, purpose: KeyPurpose, context: bytes, wrapped: bytes) -> bytes:
        """Opens what :meth:`wrap` made."""
        secret = self._use(KeyOperation.UNWRAP, handle, purpose, KeyKind.WRAP)
        if len(wrapped) <= 1 + _NONCE + _TAG or wrapped[0] != _WRAP_VERSION:
            raise KeyStoreError(KeyStoreReason.NOT_AUTHENTIC)
        try:
            aad = _wrap_aad(handle, purpose, context)
            return AESGCM(secret).decrypt(wrapped[1 : 1 + _NONCE], wrapped[1 + _NONCE :], aad)
        except InvalidTag:
            raise KeyStoreError(KeyStoreReason.NOT_AUTHENTIC) from None

    def mac(self, handle: KeyHandle, purpose: KeyPurpose, context: bytes, data: bytes) -> bytes:
        """HMAC-SHA256 (RFC 2104)."""
        secret = self._use(KeyOperation.MAC, handle, purpose, KeyKind.MAC)
        return hmac.digest(secret, _prefixed(purpose.value.encode(), context, data), "sha256")

    def sign(self, handle: KeyHandle, purpose: KeyPurpose, context: bytes, message: bytes) -> bytes:  # noqa: ARG002
        """Ed25519 over exactly ``message``."""
        secret = self._use(KeyOperation.SIGN, handle, purpose, KeyKind.SIGN)
        return Ed25519PrivateKey.from_private_bytes(secret).sign(message)

    def public(self, handle: KeyHandle, purpose: KeyPurpose, context: bytes) -> bytes:  # noqa: ARG002
        """The Ed25519 public key, 32 bytes."""
        secret = self._use(KeyOperation.PUBLIC, handle, purpose, KeyKind.SIGN)
        return Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()

    def destroy(self, handle: KeyHandle, purpose: KeyPurpose, context: bytes) -> None:  # noqa: ARG002
        """Overwrites the key in place; a tombstone keeps its version from ever being used again."""
        with self._lock:
            file = self._file()
            key = self._keys.get(handle)
            if key is None:
                if handle.version <= self._destroyed.get(handle.name, 0):
                    return
                raise KeyStoreError(KeyStoreReason.UNKNOWN_KEY)
            if key.purpose is not purpose:
                raise KeyStoreError(KeyStoreReason.WRONG_PURPOSE)
            self._tell(KeyOperation.DESTROY, handle, purpose)
            self._put(_Entry(_ENTRY_TOMBSTONE, key.kind, purpose, handle), b"")
            file.erase(key.slot)
            del self._keys[handle]
            self._destroyed[handle.name] = max(handle.version, self._destroyed.get(handle.name, 0))

    def close(self) -> None:
        """Drops the keys from this object and releases the file. Harmless when repeated."""
        with self._lock:
            self._keys.clear()
            if self._slots is not None:
                self._slots.close()
                self._slots = None

    def _file(self) -> SlotFile:
        if self._slots is None:
            raise KeyStoreError(KeyStoreReason.CLOSED)
        return self._slots

    def _use(self, operation: KeyOperation, handle: KeyHandle, purpose: KeyPurpose, kind: KeyKind) -> bytes:
        with self._lock:
            self._file()
            key = self._keys.get(handle)
            if key is None:
                gone = handle.version <= self._destroyed.get(handle.name, 0)
                raise KeyStoreError(KeyStoreReason.DESTROYED if gone else KeyStoreReason.UNKNOWN_KEY)
            if key.purpose is not purpose:
                raise KeyStoreError(KeyStoreReason.WRONG_PURPOSE)
            if key.kind is not kind:
                raise KeyStoreError(KeyStoreReason.WRONG_KIND)
            self._tell(operation, handle, purpose)
            return key.secret

    def _tell(self, operation: KeyOperation, handle: KeyHandle, purpose: KeyPurpose) -> None:
        if self._audit is not None:
            self._audit(KeyStoreCall(operation, handle, purpose))


def _wrap_aad(handle: KeyHandle, purpose: KeyPurpose, context: bytes) -> bytes:
    return _prefixed(b"letterlock/v1/wrap", str(handle).encode(), purpose.value.encode(), context)


def _read_header(header: bytes) -> tuple[bytes, bytes, bytes]:
    """Description of the way in, store id, check value."""
    fixed = len(_FORMAT) + _STORE_ID + _NONCE + _TAG
    if not header.startswith(_FORMAT) or len(header) <= fixed:
        raise KeyStoreError(KeyStoreReason.DAMAGED)
    at = len(_FORMAT)
    return header[fixed:], header[at : at + _STORE_ID], header[at + _STORE_ID : fixed]
