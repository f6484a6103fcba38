"""What a message of the laboratory really is, and the most that may be shown of it."""

from enum import Enum, IntEnum, unique
from typing import Final


@unique
class Shown(IntEnum):
    """What a surface shows, from the least to the most that a person could believe."""

    REFUSED = 0
    HELD = 1
    """It waits for an answer; nothing left."""
    QUARANTINED = 2
    """Claimed to be end-to-end encrypted and is not: unverified, not delivered."""
    CLEAR = 3
    """Sent, or on a phone's screen; readable by anybody on the way, and nothing better is said of it."""
    SERVERS_READ = 4
    """Said to be readable by servers on the way alone: more than is true of any SMS."""
    FRAMED = 5
    """A server checked the framing; nobody opened it."""
    TRACKED = 6
    """A server followed the group, and the sender is in it: a fact about the group. Nobody opened the message."""
    ATTESTED = 7
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
    SMS_NOTICE = "SMS: a notice"
    SMS_REPEATED = "SMS: the same notice again, same key"
    SMS_KEY_REUSED = "SMS: another notice under a used key"
    SMS_AGREED = "SMS: a conversation, asked, answered yes"
    SMS_DECLINED = "SMS: a conversation, asked, answered no"
    SMS_OTHER_WORDS = "SMS: other words than were agreed to"
    SMS_HELD = "SMS: a conversation that waits for an answer"
    SMS_RELEASED = "SMS: a conversation that waited, answered yes"
    SMS_NOT_DOWN = "SMS: a conversation that must not step down"
    SMS_CLAIMED = "SMS: readable, claims E2EE"
    SMS_BAD_NUMBER = "SMS: to what is no number"
    SMS_INBOUND = "SMS from outside, its sender anybody's word"


SHARES: Final = {
    Truth.GENUINE: 36,
    Truth.REPEATED: 3,
    Truth.REPLAYED: 3,
    Truth.ALTERED: 3,
    Truth.SHELL: 6,
    Truth.RANDOM: 5,
    Truth.TRUNCATED: 3,
    Truth.TRAILING: 3,
    Truth.READABLE: 3,
    Truth.OTHER_GROUP: 3,
    Truth.OLD_EPOCH: 3,
    Truth.AHEAD: 2,
    Truth.HANDSHAKE: 2,
    Truth.OUTSIDER: 3,
    Truth.SMS_NOTICE: 6,
    Truth.SMS_REPEATED: 1,
    Truth.SMS_KEY_REUSED: 1,
    Truth.SMS_AGREED: 4,
    Truth.SMS_DECLINED: 2,
    Truth.SMS_OTHER_WORDS: 1,
    Truth.SMS_HELD: 1,
    Truth.SMS_RELEASED: 1,
    Truth.SMS_NOT_DOWN: 1,
    Truth.SMS_CLAIMED: 2,
    Truth.SMS_BAD_NUMBER: 1,
    Truth.SMS_INBOUND: 1,
}
"""Of a hundred messages, in a mix."""

SMS: Final = frozenset(truth for truth in Truth if truth.name.startswith("SMS_"))
"""Those that a tenant's software sends, or that come from outside."""
_SEALED: Final = frozenset({Truth.REPEATED, Truth.REPLAYED, Truth.ALTERED, Truth.SHELL, Truth.GENUINE})
_UNPARSED: Final = frozenset({Truth.RANDOM, Truth.TRUNCATED, Truth.TRAILING, Truth.READABLE})
_SENT: Final = frozenset({Truth.SMS_NOTICE, Truth.SMS_AGREED, Truth.SMS_RELEASED})


def at_server(truth: Truth) -> Shown:
    """What a server without keys may say, and must: it cannot tell ciphertext from plaintext in a shell (A3)."""
    if truth in _SEALED:
        return Shown.TRACKED
    if truth in _SENT or truth is Truth.SMS_REPEATED:
        return Shown.CLEAR
    if truth is Truth.SMS_HELD:
        return Shown.HELD
    return Shown.QUARANTINED if truth in _UNPARSED else Shown.REFUSED


def at_device(truth: Truth) -> Shown:
    """The most that the recipient's device may show: an MLS device, or the screen of an SMS-only phone."""
    if truth in _SENT:
        return Shown.CLEAR
    return Shown.ATTESTED if truth is Truth.GENUINE else Shown.REFUSED
