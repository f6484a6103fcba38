"""The port to wherever keys live: a file in development, an HSM or a key service in production.

Keys are named by an opaque handle ``name@version``; each serves one purpose, every call states it, and a key
used for another purpose is refused. No method returns private bytes: what ``unwrap`` gives back is the other
key that was wrapped, never a key of the store.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, unique
from typing import ClassVar, Final, Protocol, Self

from letterlock.model.errors import Fault, OperationError, Reason

MAX_NAME: Final = 64
MAX_WRAPPED_INPUT: Final = 256
"""Bytes that ``wrap`` takes: keys, not content."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._/-]{0,63}", re.ASCII)


@unique
class KeyStoreReason(Reason):
    """Why a key store refused."""

    UNKNOWN_KEY = "unknown_key"
    DESTROYED = "key_destroyed"
    WRONG_PURPOSE = "key_serves_another_purpose"
    WRONG_KIND = "key_is_of_another_kind"
    NOT_AUTHENTIC = "wrapped_key_not_authentic"
    BAD_NAME = "bad_key_name"
    BAD_INPUT = "bad_input"
    WRONG_SECRET = "wrong_passphrase_or_root_key"  # noqa: S105 - the code of a reason
    BAD_ROOT_KEY = "root_key_file_unusable"
    DAMAGED = "key_store_damaged"
    CLOSED = "key_store_closed"


class KeyStoreError(OperationError[KeyStoreReason]):
    """A key store refused a call or cannot be opened."""

    fault: ClassVar[Fault] = Fault.LOCAL


@unique
class KeyKind(Enum):
    """What a key can do."""

    WRAP = "wrap"
    """AES-256-GCM over other keys."""
    MAC = "mac"
    """HMAC-SHA256."""
    SIGN = "sign"
    """Ed25519 (RFC 8032)."""


@unique
class KeyPurpose(Enum):
    """What a key is for: one family each, so that no key ever serves two."""

    STORAGE_GENERATIONS = "storage_generations"
    """Wraps the storage keys of the generations and their ratchet."""
    VAULT_INDEX = "vault_index"
    """Keyed look-up of identifiers."""
    VAULT_SUBJECTS = "vault_subjects"
    """Wraps the vault's rows."""
    LEDGER_SIGNER = "ledger_signer"
    """Signs checkpoints."""
    REQUEST_DIGEST = "request_digest"
    """Keyed digests of requests: idempotency and challenges."""
    API_KEYS = "api_keys"
    """Keyed hashes of API keys."""
    SERVER_IDENTITY = "server_identity"
    """Signs this server's own statements about its view."""
    SERVER_MARKER = "server_marker"
    """Signs the markers of a server's hops."""


@unique
class Remnant(Enum):
    """Where copies of a destroyed key can survive."""

    FLASH_REMAPPING = "flash_remapping"
    """Blocks that the drive replaced."""
    COPY_ON_WRITE = "copy_on_write_filesystem"
    SNAPSHOTS = "snapshots"
    BACKUPS = "backups"
    PROCESS_MEMORY = "process_memory"
    """Until the interpreter and the kernel reuse the pages."""


@dataclass(frozen=True, slots=True)
class KeyStoreCapabilities:
    """What a driver is and does; settings compare this with what the environment demands.

    Attributes:
        driver: its name in settings.
        hardware: whether private keys are inside hardware that never gives them out.
        development_only: to be refused in every environment but ``dev``.
        kinds: which kinds of keys it can hold.
        destruction_survives: where copies of a key can outlive :meth:`KeyStore.destroy`.
    """

    driver: str
    hardware: bool
    development_only: bool
    kinds: frozenset[KeyKind]
    destruction_survives: frozenset[Remnant]


@dataclass(frozen=True, slots=True, order=True)
class KeyHandle:
    """``name@version``: says which key, and nothing about it. Versions start at 1 and are never reused."""

    name: str
    version: int

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or not 1 <= self.version < 1 << 32:
            raise KeyStoreError(KeyStoreReason.BAD_NAME)

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``name@version``, in its one spelling.

        Raises:
            KeyStoreError: BAD_NAME.
        """
        name, mark, digits = text.rpartition("@")
        if not mark or not digits.isascii() or not digits.isdigit() or digits.startswith("0") or len(digits) > 10:
            raise KeyStoreError(KeyStoreReason.BAD_NAME)
        return cls(name, int(digits))


@unique
class KeyOperation(Enum):
    """What was asked of a key store."""

    CREATE = "create"
    WRAP = "wrap"
    UNWRAP = "unwrap"
    MAC = "mac"
    SIGN = "sign"
    PUBLIC = "public"
    ROTATE = "rotate"
    DESTROY = "destroy"


@dataclass(frozen=True, slots=True)
class KeyStoreCall:
    """One call, for the audit: neither its context nor its data."""

    operation: KeyOperation
    handle: KeyHandle
    purpose: KeyPurpose


Audit = Callable[[KeyStoreCall], None]
"""Told of every call before it is carried out; if it raises, the call does not happen."""


class KeyStore(Protocol):
    """Keys by handle. All methods raise :class:`KeyStoreError`; all may be called from several threads.

    ``context`` is what the call is bound to (for ``wrap``: ids of what the wrapped key protects). It is
    authenticated by ``wrap`` and ``mac``. A signature's bytes are fixed by its format, so for ``sign`` and
    ``public`` the context goes no further than the driver's own records.
    """

    def capabilities(self) -> KeyStoreCapabilities:
        """What this driver is and does."""
        ...

    def ensure(self, name: str, kind: KeyKind, purpose: KeyPurpose, context: bytes) -> KeyHandle:
        """The newest live version of a key, made and synced first if there is none. Idempotent.

        Raises:
            KeyStoreError: BAD_NAME; WRONG_KIND, WRONG_PURPOSE where the name is taken otherwise.
        """
        ...

    def versions(self, name: str, purpose: KeyPurpose, context: bytes) -> tuple[KeyHandle, ...]:
        """The live versions of a key, newest first; empty if there is none."""
        ...

    def wrap(self, handle: KeyHandle, purpose: KeyPurpose, context: bytes, key: bytes) -> bytes:
        """Encrypts 1 to 256 bytes of key material, bound to the context, the purpose and this handle."""
        ...

    def unwrap(self, handle: KeyHandle, purpose: KeyPurpose, context: bytes, wrapped: bytes) -> bytes:
        """Opens what :meth:`wrap` made.

        Raises:
            KeyStoreError: NOT_AUTHENTIC if anything differs.
        """
        ...

    def mac(self, handle: KeyHandle, purpose: KeyPurpose, context: bytes, data: bytes) -> bytes:
        """HMAC-SHA256 over purpose, context and data, each with its length: 32 bytes."""
        ...

    def sign(self, handle: KeyHandle, purpose: KeyPurpose, context: bytes, message: bytes) -> bytes:
        """Ed25519 signature over exactly ``message``: 64 bytes (RFC 8032)."""
        ...

    def public(self, handle: KeyHandle, purpose: KeyPurpose, context: bytes) -> bytes:
        """The Ed25519 public key: 32 bytes."""
        ...

    def rotate(self, name: str, purpose: KeyPurpose, context: bytes) -> KeyHandle:
        """Makes a new version of an existing key; older ones stay until destroyed."""
        ...

    def destroy(self, handle: KeyHandle, purpose: KeyPurpose, context: bytes) -> None:
        """Destroys one version for ever; what that does not reach is in :meth:`capabilities`. Idempotent."""
        ...
