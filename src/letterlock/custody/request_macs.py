"""What is remembered of a sealed message once its bytes are gone: enough to say whether something is about it.

The digest of the ciphertext itself is not stored: it would let whoever holds a copy of the store name the message of a
ciphertext that was seen elsewhere. A keyed one answers only questions of the gateway, and two of them: is this the
same request again, and is this receipt about this message.
"""

from hashlib import blake2b
from typing import Final

MAC_BYTES: Final = 16
AUTHENTICATOR_MAC_BYTES: Final = 32
"""Two that are alike must be the same: not only of one group and epoch."""
_AUTHENTICATOR: Final = b"ll-authenticator"


def sealed_mac(key: bytes, group: bytes, epoch: int, ciphertext: bytes) -> bytes:
    """The keyed digest of one sealed message.

    Args:
        key: 32 bytes.
        group: reference of the group that it went to.
        epoch: of the MLS message; 0 for what does not parse.
        ciphertext: SHA-256 of its bytes.
    """
    return blake2b(group + epoch.to_bytes(8, "big") + ciphertext, key=key, digest_size=MAC_BYTES).digest()


def authenticator_mac(key: bytes, group: bytes, era: int, epoch: int, authenticator: bytes) -> bytes:
    """The keyed digest of an epoch authenticator (GSMA RCC.16), to tell whether two messages name the same one.

    Args:
        key: 32 bytes.
        group: reference of the group.
        era: of the group.
        epoch: that it belongs to.
        authenticator: 32 bytes.
    """
    about = group + era.to_bytes(4, "big") + epoch.to_bytes(8, "big") + authenticator
    return blake2b(about, key=key, digest_size=AUTHENTICATOR_MAC_BYTES, person=_AUTHENTICATOR).digest()
