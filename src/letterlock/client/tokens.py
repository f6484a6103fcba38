"""Delivery tokens on a device: bundles from one seed, the key that goes with each token, and what is handed out.

A recipient makes a seed for one sender's device and hands it out inside MLS. Both derive the same tokens from it
(HKDF-Expand with SHA-256, RFC 5869, info :data:`LABEL` and the token's place): 32 bytes that the relay is shown, and a
key of its own for the message that comes with it. A token is used once, so its key meets one message; the nonce is
random all the same, should a sender's state ever go back (A18). Pure; seeds and nonces are drawn by the caller.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from letterlock.client.errors import TokenError, TokenReason
from letterlock.model.ids import ID_BYTES
from letterlock.wire.delivery import TOKEN_BYTES, DeliveryError, SealedDelivery, hash_of, name_of, parse

HELD: Final = "tokens held"
"""By device that handed them out: bundles, oldest first (list of :class:`Bundle`)."""
ISSUED: Final = "tokens issued"
"""By seed: :class:`Issued`."""
HIDDEN: Final = "hidden"
"""By group: present where this device sends by tokens alone."""
SEED_BYTES: Final = 32
BUNDLE: Final = 64
"""Tokens of a seed: a message and its two receipts use three, so some twenty exchanges."""
LOW: Final = 24
"""Left of a bundle, as far as its maker knows, when the next one is handed out: what is under way is counted late."""
MAX_BUNDLES: Final = 8
"""Kept of one device; of more, the newest."""
MAX_ENTRIES: Final = 500
"""As many devices as a group has."""
LABEL: Final = b"letterlock/v1/delivery-token\x00"
_VERSION: Final = 1
_ENTRY: Final = ID_BYTES + SEED_BYTES + 2 + 8


class Token(msgspec.Struct, frozen=True):
    """What the relay is shown, and the key of the message that comes with it."""

    shown: bytes
    key: bytes

    def __repr__(self) -> str:
        return "<Token>"


class Bundle(msgspec.Struct, frozen=True):
    """Tokens that another device handed out to this one; those before ``next`` are used."""

    seed: bytes
    count: int
    until_ms: int
    next: int = 0

    def __repr__(self) -> str:
        return f"<Bundle, {self.count - self.next} left>"


class Issued(msgspec.Struct, frozen=True):
    """A bundle that this device handed out: to which device, and how many have come back with a message."""

    device: bytes
    count: int
    until_ms: int
    used: int = 0


class Entry(msgspec.Struct, frozen=True):
    """One bundle on its way to a member's device."""

    device: bytes
    seed: bytes
    count: int
    until_ms: int

    def __repr__(self) -> str:
        return "<Entry>"


def derive(seed: bytes, place: int) -> Token:
    """The token at a place of a seed."""
    made = HKDFExpand(SHA256(), 2 * TOKEN_BYTES, LABEL + place.to_bytes(4)).derive(seed)
    return Token(made[:TOKEN_BYTES], made[TOKEN_BYTES:])


def hashes(seed: bytes, count: int) -> list[bytes]:
    """What the relay is told of a bundle."""
    return [hash_of(derive(seed, place).shown) for place in range(count)]


def seal(token: Token, message: bytes, nonce: bytes) -> bytes:
    """An MLSMessage as a sealed delivery for this token."""
    name = name_of(hash_of(token.shown))
    head = SealedDelivery(name, nonce, b"").head
    return SealedDelivery(name, nonce, ChaCha20Poly1305(token.key).encrypt(nonce, message, head)).encode()


def open_delivery(delivery: SealedDelivery, token: Token) -> bytes:
    """What a delivery holds.

    Raises:
        TokenError: NOT_AUTHENTIC: not sealed by whoever got this token, or changed.
    """
    try:
        return ChaCha20Poly1305(token.key).decrypt(delivery.nonce, delivery.ciphertext, delivery.head)
    except InvalidTag:
        raise TokenError(TokenReason.NOT_AUTHENTIC) from None


def read_delivery(data: bytes) -> SealedDelivery:
    """A delivery of the mailbox.

    Raises:
        TokenError: NOT_A_DELIVERY.
    """
    try:
        return parse(data)
    except DeliveryError:
        raise TokenError(TokenReason.NOT_A_DELIVERY) from None


def encode(entries: Sequence[Entry]) -> bytes:
    """The body of an envelope that hands out bundles: ``u8 version | entries of 16 device, 32 seed, u16, u64``."""
    parts = [one.device + one.seed + one.count.to_bytes(2) + one.until_ms.to_bytes(8) for one in entries]
    return bytes((_VERSION,)) + b"".join(parts)


def decode(data: bytes) -> list[Entry]:
    """Reads it.

    Raises:
        TokenError: MALFORMED: another version, a part of an entry, none or too many, a bundle without tokens.
    """
    body = data[1:]
    if data[:1] != bytes((_VERSION,)) or not body or len(body) % _ENTRY or len(body) > MAX_ENTRIES * _ENTRY:
        raise TokenError(TokenReason.MALFORMED)
    found: list[Entry] = []
    for at in range(0, len(body), _ENTRY):
        one = body[at : at + _ENTRY]
        seed_end = ID_BYTES + SEED_BYTES
        count, until = int.from_bytes(one[seed_end : seed_end + 2]), int.from_bytes(one[seed_end + 2 :])
        if not 1 <= count <= BUNDLE or until >= 2**63:
            raise TokenError(TokenReason.MALFORMED)
        found.append(Entry(one[:ID_BYTES], one[ID_BYTES:seed_end], count, until))
    return found


def take(bundles: Sequence[Bundle], now_ms: int) -> tuple[Token | None, list[Bundle]]:
    """The next token of the oldest bundle that is good, and what is left; None where there is none."""
    left = [one for one in bundles if one.next < one.count and one.until_ms > now_ms]
    if not left:
        return None, left
    first = left[0]
    return derive(first.seed, first.next), [msgspec.structs.replace(first, next=first.next + 1), *left[1:]]
