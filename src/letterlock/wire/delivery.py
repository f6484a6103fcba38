"""A sealed delivery: an MLSMessage once more encrypted for one device, and the token that lets it into a mailbox.

Who submits it needs no session, only a token that the recipient handed out (docs/protocol/devices.md, section 15)::

    u8 version = 1 | 16 name of the token | 12 nonce | AEAD ciphertext of an MLSMessage

The relay is shown the token, and keeps only its SHA-256, of which the name is the first half: by it the recipient finds
the key. Neither group nor epoch is in the clear. That an MLSMessage is inside is the sender's word to the relay. Pure.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar, Final

from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.wire.mls.framing import MAX_MESSAGE

VERSION: Final = 1
TOKEN_BYTES: Final = 32
HASH_BYTES: Final = 32
NAME_BYTES: Final = 16
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
HEAD_BYTES: Final = 1 + NAME_BYTES + NONCE_BYTES
MIN_DELIVERY: Final = HEAD_BYTES + TAG_BYTES + 1
MAX_DELIVERY: Final = MAX_MESSAGE
"""Bytes: as much as any other message; the largest padded envelope stays well below it."""


class DeliveryReason(Reason):
    """Why bytes are no sealed delivery."""

    SIZE = "delivery_size"
    UNKNOWN_VERSION = "delivery_version_unknown"
    ANOTHER_TOKEN = "delivery_names_another_token"  # noqa: S105 - the code of a reason


class DeliveryError(OperationError[DeliveryReason]):
    """Not a sealed delivery, or not one for this token."""

    fault: ClassVar[Fault] = Fault.PEER


@dataclass(frozen=True, slots=True)
class SealedDelivery:
    """A parsed delivery; nothing of it was opened."""

    name: bytes
    nonce: bytes
    ciphertext: bytes

    def __repr__(self) -> str:
        return f"<SealedDelivery, {len(self.ciphertext)} bytes>"

    @property
    def head(self) -> bytes:
        """What the ciphertext is bound to."""
        return bytes((VERSION,)) + self.name

    def encode(self) -> bytes:
        """The bytes to submit."""
        return self.head + self.nonce + self.ciphertext


def hash_of(token: bytes) -> bytes:
    """What the relay keeps of a token: it is random, so nobody finds it by trying."""
    return sha256(token).digest()


def name_of(hashed: bytes) -> bytes:
    """The name of the token with this hash."""
    return hashed[:NAME_BYTES]


def parse(data: bytes) -> SealedDelivery:
    """Reads a sealed delivery.

    Raises:
        DeliveryError: SIZE, UNKNOWN_VERSION.
    """
    if not MIN_DELIVERY <= len(data) <= MAX_DELIVERY:
        raise DeliveryError(DeliveryReason.SIZE, length=len(data))
    if data[0] != VERSION:
        raise DeliveryError(DeliveryReason.UNKNOWN_VERSION, version=data[0])
    at = 1 + NAME_BYTES
    return SealedDelivery(data[1:at], data[at:HEAD_BYTES], data[HEAD_BYTES:])


def parse_for(data: bytes, hashed: bytes) -> SealedDelivery:
    """Reads a delivery that comes with a token of this hash.

    Raises:
        DeliveryError: as :func:`parse`; ANOTHER_TOKEN: the recipient would look for another key.
    """
    found = parse(data)
    if found.name != name_of(hashed):
        raise DeliveryError(DeliveryReason.ANOTHER_TOKEN)
    return found
