"""Who somebody is: the contact line that people hand on, and the safety number that they compare. Pure.

A contact line is ``<account id>:<fingerprint>``. The fingerprint is the first 16 bytes of SHA-256 over a label and
the account's identity key, in hex: whoever would pass for another needs a second key with the same 128 bits.

The safety number is made of two accounts' ids and identity keys alone. It stays the same over groups, devices and
epochs, and differs as soon as either side was shown another key.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from letterlock.client.errors import ChatError, ChatReason
from letterlock.model.ids import AccountId
from letterlock.wire.preimage import PublicKey

FINGERPRINT_BYTES: Final = 16
GROUPS: Final = 12
"""Groups of a safety number: 60 digits, 199 bits."""
DIGITS: Final = 5
_FINGERPRINT: Final = b"letterlock/v1/hash/contact_fingerprint\0"
_SAFETY: Final = b"letterlock/v1/hash/safety_number\0"


@dataclass(frozen=True, slots=True)
class Contact:
    """An account, and which identity key it must have."""

    account: AccountId
    fingerprint: bytes

    def __str__(self) -> str:
        return f"{self.account}:{self.fingerprint.hex()}"

    @classmethod
    def of(cls, account: AccountId, identity_key: PublicKey) -> "Contact":
        """The contact of an account with this key."""
        return cls(account, fingerprint(identity_key))

    @classmethod
    def parse(cls, line: str) -> "Contact":
        """Reads what ``str`` wrote; white space around it is no part of it.

        Raises:
            ChatError: NOT_A_CONTACT. The line is not repeated.
        """
        account, mark, digits = line.strip().partition(":")
        if not mark or len(digits) != 2 * FINGERPRINT_BYTES or digits.strip("0123456789abcdef"):
            raise ChatError(ChatReason.NOT_A_CONTACT)
        try:
            return cls(AccountId.parse(account), bytes.fromhex(digits))
        except ValueError:
            raise ChatError(ChatReason.NOT_A_CONTACT) from None


def fingerprint(identity_key: PublicKey) -> bytes:
    """The first 16 bytes of SHA-256 over label and key."""
    return hashlib.sha256(_FINGERPRINT + identity_key.encode()).digest()[:FINGERPRINT_BYTES]


def safety_number(one: tuple[AccountId, PublicKey], other: tuple[AccountId, PublicKey]) -> tuple[str, ...]:
    """Twelve groups of five digits, the same on both sides: for reading aloud.

    SHA-256 over a label and both sides in the order of their ids, each part with its length; modulo 10^60.
    """
    parts = [part for account, key in sorted((one, other), key=_by_id) for part in (account.value, key.encode())]
    digest = hashlib.sha256(_SAFETY + b"".join(len(part).to_bytes(4) + part for part in parts)).digest()
    return digit_groups(digest)


def digit_groups(digest: bytes) -> tuple[str, ...]:
    """32 bytes as twelve groups of five digits."""
    digits = str(int.from_bytes(digest) % 10 ** (GROUPS * DIGITS)).zfill(GROUPS * DIGITS)
    return tuple(digits[at : at + DIGITS] for at in range(0, len(digits), DIGITS))


def _by_id(side: tuple[AccountId, PublicKey]) -> bytes:
    return side[0].value
