"""Sealing of the device's own state at rest: AES-256-GCM under the client key (NIST SP 800-38D).

A sealed blob is ``u8 version || 12 nonce || ciphertext and tag``; place and name are associated data, so that a
blob moved to another row does not open. Nonces are random: far below 2^32 blobs are ever sealed under one key.
"""

import hmac
import os
from typing import Final, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from letterlock.client.errors import StoreError, StoreReason

KEY_BYTES: Final = 32
_VERSION: Final = 1
_NONCE: Final = 12
_TAG: Final = 16
_LABEL: Final = b"letterlock/client/v1/"


@final
class ClientKey:
    """The key under which everything of a device rests; the caller keeps it (system keyring, hardware).

    Args:
        secret: 32 random bytes.

    Raises:
        ValueError: another length.
    """

    __slots__ = ("_aead", "_names")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError(f"a client key has {KEY_BYTES} bytes")
        self._aead = AESGCM(_derive(secret, b"seal"))
        self._names = _derive(secret, b"names")

    def seal(self, place: str, name: bytes, content: bytes) -> bytes:
        """Encrypts content for one place and name."""
        nonce = os.urandom(_NONCE)
        return bytes((_VERSION,)) + nonce + self._aead.encrypt(nonce, content, _associated(place, name))

    def open(self, place: str, name: bytes, sealed: bytes) -> bytes:
        """Decrypts what :meth:`seal` made for the same place and name.

        Raises:
            StoreError: WRONG_KEY: another key, place, name or version, or damaged.
        """
        if len(sealed) < 1 + _NONCE + _TAG or sealed[0] != _VERSION:
            raise StoreError(StoreReason.WRONG_KEY)
        try:
            return self._aead.decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], _associated(place, name))
        except InvalidTag:
            raise StoreError(StoreReason.WRONG_KEY) from None

    def pseudonym(self, place: str, name: bytes) -> bytes:
        """A keyed 16-byte name for a row, so that group ids, peers and paths do not stand in the file."""
        return hmac.digest(self._names, _associated(place, name), "sha256")[:16]

    def __repr__(self) -> str:
        return "<ClientKey>"


def _derive(secret: bytes, use: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=_LABEL + use).derive(secret)


def _associated(place: str, name: bytes) -> bytes:
    return _LABEL + place.encode() + b"\0" + name
