"""Why a secure path is not used, who says so, and what may be offered because of it.

Absence is believed only from an endpoint's signature, the peer's signed device list, or a statement in the ledger that
its subject can contest. Whatever an attacker can bring about without a key leads to holding and trying again; what a
peer or this gateway could bring about on purpose is good for one message only.
"""

from dataclasses import dataclass
from enum import Enum, unique
from typing import Final


@unique
class Says(Enum):
    """Who says that the secure path is not there."""

    SENDER = "sender"
    """The person who sends, about their own wish."""
    SIGNED_DEVICE_LIST = "signed_device_list"
    PEER_DEVICE = "peer_device"
    """Signed by a device of the other side."""
    LOGGED_STATEMENT = "logged_statement"
    """This gateway, in the ledger, where the subject can contest it."""
    NOBODY_PROVEN = "nobody_proven"
    """A network, a relay or a provider: nothing that ends in a key of an endpoint."""


@unique
class ConsentScope(Enum):
    """How far an answer reaches."""

    THIS_MESSAGE = "this_message"
    UNTIL_SECURE = "until_secure"
    """This conversation, until the secure path is there again."""


@unique
class Cause(Enum):
    """Why."""

    SENDER_CHOSE = "sender_chose"
    PEER_HAS_NO_DEVICE = "peer_has_no_device"
    PEER_DEVICE_CANNOT = "peer_device_cannot"
    """The peer's signed list has a device that cannot do it."""
    NO_DEVICE_KNOWN = "no_device_known"
    PEER_CANNOT_DECRYPT = "peer_cannot_decrypt"
    PEER_ENDED_ENCRYPTION = "peer_ended_encryption"
    """A member's signed commit with ``end_mls`` (RCC.16)."""
    CAPABILITY_VANISHED = "capability_vanished"
    KEY_PACKAGES_EMPTY = "key_packages_empty"
    HANDSHAKE_FAILED = "handshake_failed"
    RELAY_UNREACHABLE = "relay_unreachable"
    FAILURE_REPORTED = "failure_reported"
    """A provider or network says that it failed."""
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be offered: to ask, with these scopes; or, without scopes, to hold and try again."""

    says: Says
    scopes: tuple[ConsentScope, ...]

    @property
    def may_ask(self) -> bool:
        """Whether a lesser path may be offered at all."""
        return bool(self.scopes)


_ONCE: Final = (ConsentScope.THIS_MESSAGE,)
_BOTH: Final = (ConsentScope.THIS_MESSAGE, ConsentScope.UNTIL_SECURE)
_HOLD: Final = Offer(Says.NOBODY_PROVEN, ())

OFFERS: Final[dict[Cause, Offer]] = {
    Cause.SENDER_CHOSE: Offer(Says.SENDER, _BOTH),
    Cause.PEER_HAS_NO_DEVICE: Offer(Says.SIGNED_DEVICE_LIST, _BOTH),
    # One old device must not drag all the others down, so this waits, whoever signed it.
    Cause.PEER_DEVICE_CANNOT: Offer(Says.SIGNED_DEVICE_LIST, ()),
    Cause.NO_DEVICE_KNOWN: Offer(Says.LOGGED_STATEMENT, _ONCE),
    Cause.PEER_CANNOT_DECRYPT: Offer(Says.PEER_DEVICE, _ONCE),
    Cause.PEER_ENDED_ENCRYPTION: Offer(Says.PEER_DEVICE, _ONCE),
    Cause.CAPABILITY_VANISHED: _HOLD,
    Cause.KEY_PACKAGES_EMPTY: _HOLD,
    Cause.HANDSHAKE_FAILED: _HOLD,
    Cause.RELAY_UNREACHABLE: _HOLD,
    Cause.FAILURE_REPORTED: _HOLD,
    Cause.TIMED_OUT: _HOLD,
}
