"""Message ids: random to everybody outside, in the order of time inside (docs/adr/0007-message-ids.md).

The store keeps every accepted message's key for days, to find a retry's first answer. Keys that are random dirty a page
of the database each; keys that lie together in time share one. So the store's key of a device's message is made of
the time that the device's reference begins with and a PRF of the whole reference; what leaves the gateway is that key
under a block cipher, which shows nothing of it and is turned back for a look-up.
"""

from hashlib import blake2b
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from letterlock.model.ids import ID_BYTES
from letterlock.wire.stream import REFERENCE_TIME

_PERIOD_BITS: Final = 21
"""Keys lie together within 35 minutes; the periods are spread, so that each part of the keys is due for purging."""
_WITHIN: Final = (1 << _PERIOD_BITS) - 1
_SPREAD: Final = 0x9E37
"""Odd, so no two periods in a row of 65,536 begin alike; near the golden ratio, so neighbours lie far apart."""
_PLACE_BYTES: Final = 5
_REST_BYTES: Final = ID_BYTES - _PLACE_BYTES
_PERSON: Final = b"message-id"
_PERSON_BLOCK: Final = b"message-id-block"


class MessageIds:
    """Makes external ids and turns them back. For one thread at a time, each with an object of its own.

    Args:
        key: 32 bytes from the key store; it has to live as long as the ids.
    """

    __slots__ = ("_key", "_place", "_told", "inside", "outside")

    def __init__(self, key: bytes) -> None:
        self._key: Final = key
        self._told = bytes(REFERENCE_TIME)
        self._place = bytes(_PLACE_BYTES)
        # One block is the whole message, and no two keys are equal: here ECB is a permutation, and shows nothing.
        block = Cipher(AES(blake2b(key=key, digest_size=32, person=_PERSON_BLOCK).digest()), ECB())  # noqa: S305
        self.outside: Final = block.encryptor().update
        """Ids of keys: any number of 16 bytes each, one after another."""
        self.inside: Final = block.decryptor().update
        """Keys of ids, as :attr:`outside`."""

    def __repr__(self) -> str:
        return "<MessageIds>"

    def key_of(self, author: bytes, reference: bytes) -> bytes:
        """The store's key of a device's message; the same reference of the same author gives the same.

        Args:
            author: who sends, of fixed length.
            reference: the device's own 16 bytes, of which the first six may tell the time.
        """
        told = reference[:REFERENCE_TIME]
        if told != self._told:
            # Many come in one millisecond, or in one frame.
            time_ms = int.from_bytes(told, "big")
            place = (time_ms >> _PERIOD_BITS) * _SPREAD << 24 & 0xFFFF_000000 | time_ms & _WITHIN
            self._told, self._place = told, place.to_bytes(_PLACE_BYTES, "big")
        return self._place + self._rest(author, reference)

    def rough_key_of(self, author: bytes, reference: bytes) -> bytes:
        """The same where the store is not to learn the time: keys of 35 minutes lie together, in no order."""
        time_ms = int.from_bytes(reference[:REFERENCE_TIME], "big")
        place = (time_ms >> _PERIOD_BITS) * _SPREAD << 24 & 0xFFFF_000000
        return place.to_bytes(_PLACE_BYTES, "big") + self._rest(author, reference)

    def _rest(self, author: bytes, reference: bytes) -> bytes:
        return blake2b(author + reference, key=self._key, digest_size=_REST_BYTES, person=_PERSON).digest()
