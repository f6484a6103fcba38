"""Who can read the content on a path, and why we believe it.

Protection is never a boolean and has no ``<``: ENCLAVE and ESCROWED are incomparable, and
UNKNOWN is neither safe nor clear. Everything that compares two protections asks :func:`permits`.
"""

from collections.abc import Iterable
from enum import Enum, unique
from typing import Final


@unique
class Protection(Enum):
    """Who can read the content on this path, at best; the minimum over all legs, submission included."""

    CLEAR = "CLEAR"
    """Anybody on the path: SMS."""
    HOP = "HOP"
    """Encrypted hop by hop; a server on the path reads: RCS for Business, Apple Messages for Business."""
    PROVIDER = "PROVIDER"
    """End-to-end up to a provider that decrypts; also whatever this gateway itself can read."""
    ENCLAVE = "ENCLAVE"
    """Readable only inside attested hardware."""
    ESCROWED = "ESCROWED"
    """End-to-end, with a disclosed sealed copy that a quorum can open."""
    E2EE = "E2EE"
    """The endpoints alone."""
    UNKNOWN = "UNKNOWN"
    """Not known; never read as "not encrypted", and never as "encrypted"."""


_P = Protection
_PERMITTED: Final[dict[Protection, frozenset[Protection]]] = {
    _P.CLEAR: frozenset({_P.CLEAR, _P.HOP, _P.PROVIDER, _P.ENCLAVE, _P.ESCROWED, _P.E2EE}),
    _P.HOP: frozenset({_P.HOP, _P.PROVIDER, _P.ENCLAVE, _P.ESCROWED, _P.E2EE}),
    _P.PROVIDER: frozenset({_P.PROVIDER, _P.ENCLAVE, _P.ESCROWED, _P.E2EE}),
    _P.ENCLAVE: frozenset({_P.ENCLAVE, _P.E2EE}),
    _P.ESCROWED: frozenset({_P.ESCROWED, _P.E2EE}),
    _P.E2EE: frozenset({_P.E2EE}),
    # From UNKNOWN only full protection is certainly not a fall.
    _P.UNKNOWN: frozenset({_P.E2EE}),
}

_BOTH_READ: Final = frozenset({_P.ENCLAVE, _P.ESCROWED})


def permits(floor: Protection, path: Protection) -> bool:
    """Whether a conversation with this floor may use this path. Total over all pairs; UNKNOWN paths never."""
    return path in _PERMITTED[floor]


def is_fall(before: Protection, after: Protection) -> bool:
    """Whether going from one protection to the other makes a conversation less protected, sideways included."""
    return after is not before and not permits(before, after)


def weakest(legs: Iterable[Protection]) -> Protection:
    """The protection of a path: the minimum over its legs.

    A CLEAR leg decides alone. Otherwise an UNKNOWN leg makes the path UNKNOWN. A path with an enclave leg and
    an escrowed leg is readable in two ways, and no single word between them is true: it counts as PROVIDER.
    No leg at all is UNKNOWN.
    """
    seen = set(legs)
    if not seen:
        return _P.UNKNOWN
    if _P.CLEAR in seen:
        return _P.CLEAR
    if _P.UNKNOWN in seen:
        return _P.UNKNOWN
    for word in (_P.HOP, _P.PROVIDER):
        if word in seen:
            return word
    if seen >= _BOTH_READ:
        return _P.PROVIDER
    for word in (_P.ENCLAVE, _P.ESCROWED):
        if word in seen:
            return word
    return _P.E2EE


@unique
class EvidenceGrade(Enum):
    """Why a protection is believed. Ordered only by :attr:`rank`, from nothing to an endpoint's signature."""

    NONE = "NONE"
    """No evidence."""
    ASSERTED = "ASSERTED"
    """A claim by a source that is authorised for this conversation."""
    FRAMED = "FRAMED"
    """Strict framing, bound to the session that brought it."""
    TRACKED = "TRACKED"
    """The group's public state is followed to its head: a fact about the group, not about one message."""
    ATTESTED = "ATTESTED"
    """An endpoint's key, on an account-signed device list, signed for this very message."""

    @property
    def rank(self) -> int:
        """Position in the scale, 0 to 4."""
        return _RANK[self]


_RANK: Final[dict[EvidenceGrade, int]] = {grade: rank for rank, grade in enumerate(EvidenceGrade)}


@unique
class Verifier(Enum):
    """Who checked the evidence."""

    NOBODY = "nobody"
    DEVICE = "device"
    GATEWAY = "gateway"
    THIRD_PARTY = "third-party"


@unique
class MarkerKind(Enum):
    """What a server in the path states that it does with a message."""

    ROUTE = "ROUTE"
    READ = "READ"
    STORE = "STORE"
    PROCESS = "PROCESS"


@unique
class ConsentKind(Enum):
    """Who answered a challenge; kinds are never merged in counts, texts or indicators."""

    DEVICE_SIGNED = "DEVICE_SIGNED"
    TENANT_ASSERTED = "TENANT_ASSERTED"
    POLICY = "POLICY"
