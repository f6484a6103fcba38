"""What a message of the laboratory really is, and the most that may be shown of it."""

from enum import Enum, IntEnum, unique
from typing import Final


@unique
class Shown(IntEnum):
    """What a surface shows, from the least to the most that a person could believe."""

    REFUSED = 0
    QUARANTINED = 1
    """Claimed to be end-to-end encrypted and is not: unverified, not delivered."""
    FRAMED = 2
    """A server checked the framing; nobody opened it."""
    ATTESTED = 3
    """The viewer's device opened it and verified the sender's signature: the only one that may say "verified"."""


@unique
class Truth(Enum):
    """What the laboratory made."""

    GENUINE = "genuine message of the sender's engine"
    REPEATED = "the same submission a second time"
    REPLAYED = "a genuine ciphertext under a new id"
    ALTERED = "a genuine ciphertext with one bit turned"
    SHELL = "plaintext in an MLS shell with the right group and epoch"
    RANDOM = "random bytes that claim to be MLS"
    TRUNCATED = "a genuine message cut short"
    TRAILING = "a genuine message with bytes behind it"
    READABLE = "readable text that claims to be MLS"
    OTHER_GROUP = "an MLS message of another group"
    OLD_EPOCH = "an MLS message of an epoch long past"
    AHEAD = "an MLS message of an epoch to come"
    HANDSHAKE = "a private commit sent as a message"
    OUTSIDER = "a framed message from a device outside the group"


SHARES: Final = {
    Truth.GENUINE: 46,
    Truth.REPEATED: 4,
    Truth.REPLAYED: 4,
    Truth.ALTERED: 4,
    Truth.SHELL: 8,
    Truth.RANDOM: 6,
    Truth.TRUNCATED: 4,
    Truth.TRAILING: 4,
    Truth.READABLE: 4,
    Truth.OTHER_GROUP: 4,
    Truth.OLD_EPOCH: 3,
    Truth.AHEAD: 3,
    Truth.HANDSHAKE: 3,
    Truth.OUTSIDER: 3,
}
"""Of a hundred messages, in a mix."""

_FRAMED: Final = frozenset({Truth.REPEATED, Truth.REPLAYED, Truth.ALTERED, Truth.SHELL, Truth.GENUINE})
_UNPARSED: Final = frozenset({Truth.RANDOM, Truth.TRUNCATED, Truth.TRAILING, Truth.READABLE})


def at_server(truth: Truth) -> Shown:
    """What a server without keys may say, and must: it cannot tell ciphertext from plaintext in a shell (A3)."""
    if truth in _FRAMED:
        return Shown.FRAMED
    return Shown.QUARANTINED if truth in _UNPARSED else Shown.REFUSED


def at_device(truth: Truth) -> Shown:
    """The most that the recipient's device may show."""
    return Shown.ATTESTED if truth is Truth.GENUINE else Shown.REFUSED
