"""The cipher suites of RFC 9420, table 7, as far as a parser without keys needs them: hashes and key sizes."""

import hashlib
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Final

from letterlock.wire.mls.codec import Writer
from letterlock.wire.mls.errors import FramingError, FramingReason


@unique
class CipherSuite(IntEnum):
    """RFC 9420, section 17.1. The value is the code point."""

    X25519_AES128_SHA256_ED25519 = 1
    P256_AES128_SHA256_P256 = 2
    X25519_CHACHA20_SHA256_ED25519 = 3
    X448_AES256_SHA512_ED448 = 4
    P521_AES256_SHA512_P521 = 5
    X448_CHACHA20_SHA512_ED448 = 6
    P384_AES256_SHA384_P384 = 7


@dataclass(frozen=True, slots=True)
class SuiteSizes:
    """Sizes in bytes, and the hash by its ``hashlib`` name."""

    hash_name: str
    hash_size: int
    hpke_key: int
    signature_key: int


SIZES: Final[dict[CipherSuite, SuiteSizes]] = {
    CipherSuite.X25519_AES128_SHA256_ED25519: SuiteSizes("sha256", 32, 32, 32),
    CipherSuite.P256_AES128_SHA256_P256: SuiteSizes("sha256", 32, 65, 65),
    CipherSuite.X25519_CHACHA20_SHA256_ED25519: SuiteSizes("sha256", 32, 32, 32),
    CipherSuite.X448_AES256_SHA512_ED448: SuiteSizes("sha512", 64, 56, 57),
    CipherSuite.P521_AES256_SHA512_P521: SuiteSizes("sha512", 64, 133, 133),
    CipherSuite.X448_CHACHA20_SHA512_ED448: SuiteSizes("sha512", 64, 56, 57),
    CipherSuite.P384_AES256_SHA384_P384: SuiteSizes("sha384", 48, 97, 97),
}

HASH_SIZES: Final = frozenset({32, 48, 64})
"""What a hash, a MAC or a reference measures in any suite, private ones included."""


def suite_of(code: int) -> CipherSuite:
    """The registered suite with this code point.

    Raises:
        FramingError: reserved, private or not yet registered.
    """
    if code not in _KNOWN:
        raise FramingError(FramingReason.UNSUPPORTED_SUITE, suite=code)
    return CipherSuite(code)


_KNOWN: Final = frozenset(int(suite) for suite in CipherSuite)


def hash_sizes(code: int) -> frozenset[int]:
    """The lengths that a hash of this suite may have: one for a registered suite, three for another."""
    return _ONE_SIZE.get(code, HASH_SIZES)


_ONE_SIZE: Final = {int(suite): frozenset({sizes.hash_size}) for suite, sizes in SIZES.items()}


def ref_hash(suite: CipherSuite, label: bytes, value: bytes) -> bytes:
    """``RefHash(label, value)`` of RFC 9420, section 5.2, under the suite's hash."""
    preimage = Writer().opaque(label).opaque(value).done()
    return hashlib.new(SIZES[suite].hash_name, preimage).digest()
