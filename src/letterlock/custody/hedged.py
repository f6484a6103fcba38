"""Key derivation that survives a broken random number generator.

A new key comes from HKDF (RFC 5869, with SHA-256) over a secret carried on from the key before, fresh entropy,
and a context that never repeats. If the generator returns zeros, the key is still unpredictable to whoever does
not know the carried secret; if the carried secret is known, the entropy still protects the key. The carried
secret only moves forward: it is replaced at each step by a value from which the one before cannot be computed,
so keeping it does not keep destroyed keys.
"""

from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SECRET_BYTES: Final = 32
_LABEL: Final = b"letterlock/v1/hedged\x00"


def hedged_key(secret: bytes, entropy: bytes, context: bytes, purpose: bytes = b"key") -> bytes:
    """32 bytes from a carried secret, entropy and a context (RFC 5869, sections 2.2 and 2.3).

    Raises:
        ValueError: the secret or the entropy is not 32 bytes.
    """
    if len(secret) != SECRET_BYTES or len(entropy) != SECRET_BYTES:
        raise ValueError(f"hedged derivation takes {SECRET_BYTES} bytes of secret and of entropy")
    # Both inputs have a fixed length, so their concatenation is read in one way only.
    info = _LABEL + len(purpose).to_bytes(2, "big") + purpose + context
    return HKDF(algorithm=SHA256(), length=SECRET_BYTES, salt=None, info=info).derive(secret + entropy)


@dataclass(frozen=True, slots=True)
class Ratchet:
    """The carried secret and how many keys were made with it.

    Attributes:
        step: the number of the next key; it never repeats.
        secret: 32 bytes; kept wrapped, and overwritten once the next one is synced.
    """

    step: int
    secret: bytes = field(repr=False)

    def turn(self, entropy: bytes, context: bytes) -> tuple[bytes, "Ratchet"]:
        """The key of this step, and the ratchet for the next. Keys and ratchets are of separate derivations.

        Raises:
            ValueError: the entropy is not 32 bytes.
        """
        bound = self.step.to_bytes(8, "big") + context
        key = hedged_key(self.secret, entropy, bound, b"key")
        return key, Ratchet(self.step + 1, hedged_key(self.secret, entropy, bound, b"ratchet"))
