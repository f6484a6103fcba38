"""How a file key store is opened: a passphrase through scrypt, or a root key in a file of its own.

The root key file belongs on another medium than the store: who holds both holds the keys.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from letterlock.custody.hedged import SECRET_BYTES
from letterlock.custody.keystore import KeyStoreError, KeyStoreReason
from letterlock.custody.slots import create_private, open_private

SALT_BYTES: Final = 16
SCRYPT_LOG_N: Final = 15
"""32 MiB and about 0.1 s at each start: dear to guess, cheap to run."""
SCRYPT_LOG_N_RANGE: Final = range(14, 21)
"""What a stored header may say: below is too weak, above is 1 GiB, a way to stop us."""
SCRYPT_R: Final = 8
SCRYPT_P: Final = 1
MIN_PASSPHRASE: Final = 12
MAX_PASSPHRASE: Final = 1024

_BY_PASSPHRASE: Final = 1
_BY_ROOT_KEY: Final = 2


@dataclass(frozen=True, slots=True)
class Passphrase:
    """A passphrase of 12 to 1,024 bytes.

    Attributes:
        secret: the passphrase.
        log_n: scrypt's cost for a new store (RFC 7914, section 2: N is 2 to this power); an existing one says its own.
    """

    secret: bytes = field(repr=False)
    log_n: int = SCRYPT_LOG_N

    def describe(self) -> bytes:
        """What a new store's header says of this way in; makes a new salt."""
        return bytes((_BY_PASSPHRASE, self.log_n)) + os.urandom(SALT_BYTES)

    def root(self, description: bytes) -> bytes:
        """The 32-byte root key.

        Raises:
            KeyStoreError: BAD_INPUT for a passphrase out of bounds, DAMAGED for a header out of bounds,
                WRONG_SECRET where the store is opened by other means.
        """
        if not MIN_PASSPHRASE <= len(self.secret) <= MAX_PASSPHRASE:
            raise KeyStoreError(KeyStoreReason.BAD_INPUT, shortest=MIN_PASSPHRASE, longest=MAX_PASSPHRASE)
        if description[:1] == bytes((_BY_ROOT_KEY,)):
            raise KeyStoreError(KeyStoreReason.WRONG_SECRET)
        if len(description) != 2 + SALT_BYTES or description[1] not in SCRYPT_LOG_N_RANGE:
            raise KeyStoreError(KeyStoreReason.DAMAGED)
        kdf = Scrypt(salt=description[2:], length=SECRET_BYTES, n=1 << description[1], r=SCRYPT_R, p=SCRYPT_P)
        return kdf.derive(self.secret)


@dataclass(frozen=True, slots=True)
class RootKeyFile:
    """A file of mode 0600 with exactly 32 random bytes."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> "RootKeyFile":
        """Makes a new root key; durable on return.

        Raises:
            SlotFileError: EXISTS, IO.
        """
        create_private(path, os.urandom(SECRET_BYTES))
        return cls(path)

    def describe(self) -> bytes:
        """What a new store's header says of this way in."""
        return bytes((_BY_ROOT_KEY, 0)) + os.urandom(SALT_BYTES)

    def root(self, description: bytes) -> bytes:
        """The 32-byte root key.

        Raises:
            KeyStoreError: BAD_ROOT_KEY for a file of another size, WRONG_SECRET where the store is opened by
                other means, DAMAGED.
            SlotFileError: the file is missing, open to others, not ours, or not a file.
        """
        if description[:1] == bytes((_BY_PASSPHRASE,)):
            raise KeyStoreError(KeyStoreReason.WRONG_SECRET)
        if len(description) != 2 + SALT_BYTES:
            raise KeyStoreError(KeyStoreReason.DAMAGED)
        fd = open_private(self.path, os.O_RDONLY)
        try:
            root = os.read(fd, SECRET_BYTES + 1)
        finally:
            os.close(fd)
        if len(root) != SECRET_BYTES or len(set(root)) == 1:
            raise KeyStoreError(KeyStoreReason.BAD_ROOT_KEY)
        return root


Unlock = Passphrase | RootKeyFile
