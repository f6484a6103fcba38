"""The elements of the session handshake, bytes to values and back: docs/protocol/handshake.md has the layouts."""

from letterlock.wire.handshake.capabilities import (
    Capabilities,
    Choice,
    Flag,
    MarkerShown,
    PlatformFlag,
    Tag,
)
from letterlock.wire.handshake.elements import (
    NO_HASH,
    Agreement,
    Answer,
    Element,
    Finish,
    FloorSeen,
    Offer,
    Party,
    Seen,
    Verdict,
    parse,
)
from letterlock.wire.handshake.errors import ElementError, ElementReason

__all__ = [
    "NO_HASH",
    "Agreement",
    "Answer",
    "Capabilities",
    "Choice",
    "Element",
    "ElementError",
    "ElementReason",
    "Finish",
    "Flag",
    "FloorSeen",
    "MarkerShown",
    "Offer",
    "Party",
    "PlatformFlag",
    "Seen",
    "Tag",
    "Verdict",
    "parse",
]
