"""The receiving side of Web Push: a browser's keys, and decryption (RFC 8291, RFC 8188), written apart from the sender.

Nothing is shared with :mod:`letterlock.wire.webpush`, so that one mistake is not made on both sides.
"""

import os
from typing import Final, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HEADER: Final = 86
"""Salt, record size, length of the key id, and a key of 65 bytes."""


@final
class UserAgent:
    """One browser's subscription, its private half included."""

    def __init__(self) -> None:
        self._key: Final = ec.generate_private_key(ec.SECP256R1())
        self.public: Final = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.auth: Final = os.urandom(16)

    def open(self, body: bytes) -> bytes:
        """What a push message says.

        Raises:
            ValueError: it is not one record for this subscription.
        """
        size, key_length = int.from_bytes(body[16:20]), body[20] if len(body) > HEADER else 0
        if key_length != 65 or len(body) - HEADER > size:
            raise ValueError("not one aes128gcm record")
        sender = body[21:HEADER]
        try:
            shared = self._key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender))
            # HKDF of one block is two HMACs (RFC 5869).
            ikm = _mac(_mac(self.auth, shared), b"WebPush: info\0" + self.public + sender + b"\1")
            prk = _mac(body[:16], ikm)
            key = _mac(prk, b"Content-Encoding: aes128gcm\0\1")[:16]
            nonce = _mac(prk, b"Content-Encoding: nonce\0\1")[:12]
            padded = AESGCM(key).decrypt(nonce, body[HEADER:], None)
        except (InvalidTag, ValueError):
            raise ValueError("not for this subscription") from None
        content, mark, _ = padded.rstrip(b"\0").rpartition(b"\2")
        if not mark:
            raise ValueError("the last record has no delimiter")
        return content


def _mac(key: bytes, data: bytes) -> bytes:
    found = hmac.HMAC(key, hashes.SHA256())
    found.update(data)
    return found.finalize()
