"""What a device says it can do, what was chosen from it, and which servers it was told of."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum, unique
from itertools import pairwise
from typing import Final

from letterlock.model.protection import MarkerKind, Protection
from letterlock.wire.handshake.errors import ElementError, ElementReason
from letterlock.wire.handshake.source import Source, named

MAX_TAGS: Final = 16
"""RCC.16 and the tags seen beside it make fewer than ten."""
MAX_VERSIONS: Final = 8
MAX_SUITES: Final = 32
"""RFC 9420 registers seven; the registry grows slowly."""
MAX_MARKERS: Final = 8
"""Servers of ours on one path."""
MAX_TIME: Final = 2**63 - 1
_TAG: Final = re.compile(r"\+?[a-z0-9][a-z0-9._-]{0,62}")
_VALUE: Final = re.compile(r"[ -~]{0,64}")
_SERVER: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_HASH: Final = 32


@unique
class Flag(Enum):
    """Three-valued: what is not known is neither yes nor no."""

    UNKNOWN = "unknown"
    YES = "yes"
    NO = "no"


_FLAG_CODE: Final = {Flag.UNKNOWN: 0, Flag.YES: 1, Flag.NO: 2}
_FLAG: Final = {code: flag for flag, code in _FLAG_CODE.items()}


@unique
class PlatformFlag(Enum):
    """What a phone's platform says to its apps, in the order of the encoding."""

    SERVICE_SUPPORTS_E2EE = "service_supports_e2ee"
    """As TelephonyMessagingKit's ``RCSService.Configuration.supportsEndToEndEncryption``."""
    GROUP_IS_E2EE = "group_is_e2ee"
    """As ``RCSGroupContext.isEndToEndEncrypted``."""
    SMS = "sms"
    """Whether the device's line takes SMS at all."""


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """A capability tag of RCC.16, such as ``+g.gsma.rcs.mls.mls-version`` with value ``v1``.

    Raises:
        ElementError: NOT_A_NAME.
    """

    name: str
    value: str = ""

    def __post_init__(self) -> None:
        if not _TAG.fullmatch(self.name) or not _VALUE.fullmatch(self.value):
            raise ElementError(ElementReason.NOT_A_NAME)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a conversation uses: MLS version, cipher suite (RFC 9420 code points), and the protection of its path."""

    version: int
    suite: int
    protection: Protection

    def encode(self) -> bytes:
        """Five bytes."""
        return self.version.to_bytes(2) + self.suite.to_bytes(2) + bytes((PROTECTION_CODE[self.protection],))


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a device can do, in its own words, at one time.

    Attributes:
        observed_ms: when the device looked, ms UTC by its clock; from there its age counts.
        tags: in rising order of their names, none twice.
        versions: MLS versions, best first.
        suites: cipher suites, best first.
        flags: one for each :class:`PlatformFlag`, in its order.

    Raises:
        ElementError: out of bounds or order.
    """

    observed_ms: int
    tags: tuple[Tag, ...] = ()
    versions: tuple[int, ...] = ()
    suites: tuple[int, ...] = ()
    flags: tuple[Flag, Flag, Flag] = (Flag.UNKNOWN, Flag.UNKNOWN, Flag.UNKNOWN)

    def __post_init__(self) -> None:
        if not 0 <= self.observed_ms <= MAX_TIME:
            raise ElementError(ElementReason.NUMBER_OUT_OF_RANGE)
        for values, limit in ((self.tags, MAX_TAGS), (self.versions, MAX_VERSIONS), (self.suites, MAX_SUITES)):
            if len(values) > limit:
                raise ElementError(ElementReason.TOO_MANY, count=len(values))
        rising([tag.name for tag in self.tags])
        for numbers in (self.versions, self.suites):
            if len(set(numbers)) != len(numbers):
                raise ElementError(ElementReason.NAMED_TWICE)
            if not all(0 < number < 1 << 16 for number in numbers):
                raise ElementError(ElementReason.NUMBER_OUT_OF_RANGE)

    def flag(self, which: PlatformFlag) -> Flag:
        """One flag."""
        return self.flags[list(PlatformFlag).index(which)]

    def same(self, other: "Capabilities") -> bool:
        """Whether both say the same, whenever they were observed."""
        return replace(self, observed_ms=0) == replace(other, observed_ms=0)

    def encode(self) -> bytes:
        """The one encoding."""
        return b"".join(
            (
                self.observed_ms.to_bytes(8),
                len(self.tags).to_bytes(1),
                *(named(tag.name) + named(tag.value) for tag in self.tags),
                len(self.versions).to_bytes(1),
                *(number.to_bytes(2) for number in self.versions),
                len(self.suites).to_bytes(1),
                *(number.to_bytes(2) for number in self.suites),
                bytes(_FLAG_CODE[flag] for flag in self.flags),
            )
        )


@dataclass(frozen=True, slots=True)
class MarkerShown:
    """A server that this end was told is in the path, and what it declares to do.

    Attributes:
        server: its name.
        kinds: what it declares.
        key: SHA-256 of the encoded public key of its markers.

    Raises:
        ElementError: NOT_A_NAME, NOT_A_HASH.
    """

    server: str
    kinds: frozenset[MarkerKind]
    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not _SERVER.fullmatch(self.server):
            raise ElementError(ElementReason.NOT_A_NAME)
        if len(self.key) != _HASH:
            raise ElementError(ElementReason.NOT_A_HASH, length=len(self.key))

    def encode(self) -> bytes:
        """Name, kinds as bits, key."""
        return named(self.server) + kind_bits(self.kinds).to_bytes(1) + self.key


PROTECTION_CODE: Final[dict[Protection, int]] = {
    Protection.UNKNOWN: 0,
    Protection.CLEAR: 1,
    Protection.HOP: 2,
    Protection.PROVIDER: 3,
    Protection.ENCLAVE: 4,
    Protection.ESCROWED: 5,
    Protection.E2EE: 6,
}
"""Names, not ranks: nothing compares them."""
_PROTECTION: Final = {code: protection for protection, code in PROTECTION_CODE.items()}
_KIND_BIT: Final = {MarkerKind.ROUTE: 1, MarkerKind.READ: 2, MarkerKind.STORE: 4, MarkerKind.PROCESS: 8}


def kind_bits(kinds: Iterable[MarkerKind]) -> int:
    """Kinds of a marker as the bits of one byte: ROUTE 1, READ 2, STORE 4, PROCESS 8."""
    return sum(_KIND_BIT[kind] for kind in set(kinds))


def kinds_of(bits: int) -> frozenset[MarkerKind]:
    """Reads :func:`kind_bits`.

    Raises:
        ElementError: UNKNOWN_CODE.
    """
    if not 0 <= bits < 16:
        raise ElementError(ElementReason.UNKNOWN_CODE)
    return frozenset(kind for kind, bit in _KIND_BIT.items() if bits & bit)


def rising(names: list[str] | list[bytes]) -> None:
    """Raises unless they stand in rising order without doubles.

    Raises:
        ElementError: OUT_OF_ORDER.
    """
    if any(left >= right for left, right in pairwise(names)):  # type: ignore[operator]
        raise ElementError(ElementReason.OUT_OF_ORDER)


def read_protection(source: Source) -> Protection:
    """One byte.

    Raises:
        ElementError: UNKNOWN_CODE.
    """
    found = _PROTECTION.get(source.number(1))
    if found is None:
        raise ElementError(ElementReason.UNKNOWN_CODE)
    return found


def read_capabilities(source: Source) -> Capabilities:
    """Reads :meth:`Capabilities.encode`."""
    observed_ms = source.number(8)
    tags = tuple([Tag(source.name(), source.name()) for _ in source.counted(1, MAX_TAGS)])
    versions = tuple([source.number(2) for _ in source.counted(1, MAX_VERSIONS)])
    suites = tuple([source.number(2) for _ in source.counted(1, MAX_SUITES)])
    return Capabilities(observed_ms, tags, versions, suites, (_flag(source), _flag(source), _flag(source)))


def read_choice(source: Source) -> Choice:
    """Reads :meth:`Choice.encode`."""
    return Choice(source.number(2), source.number(2), read_protection(source))


def read_markers(source: Source) -> tuple[MarkerShown, ...]:
    """A count of one byte, and the markers."""
    return tuple(
        [
            MarkerShown(source.name(), kinds_of(source.number(1)), source.take(_HASH))
            for _ in source.counted(1, MAX_MARKERS)
        ]
    )


def write_markers(markers: tuple[MarkerShown, ...]) -> bytes:
    """Writes what :func:`read_markers` reads."""
    return len(markers).to_bytes(1) + b"".join(marker.encode() for marker in markers)


def key_digest(encoded: bytes) -> bytes:
    """How a marker names the key of its server."""
    return hashlib.sha256(b"letterlock/v1/hash/marker_key\0" + encoded).digest()


def _flag(source: Source) -> Flag:
    found = _FLAG.get(source.number(1))
    if found is None:
        raise ElementError(ElementReason.UNKNOWN_CODE)
    return found
