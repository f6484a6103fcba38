"""The one signature format: what is signed, by which kind of key, and how a signature travels.

A signature covers this preimage and nothing else::

    "letterlock/v1/" || purpose || 0x00
        || lp(tenant) || lp(environment) || lp(audience) || lp(suite) || lp(context hash) || lp(body)

``lp(x)`` is the length of ``x`` as four bytes, big-endian, and ``x``. Purposes contain no zero byte and every
field carries its length, so two different statements never share a preimage. A signature travels as one version
byte, one suite byte and the 64 raw bytes. The format is final; docs/protocol/signatures.md has vectors.
"""

import hashlib
import re
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import ClassVar, Final, Protocol, final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.model.ids import TenantId

LABEL: Final = b"letterlock/v1/"
VERSION: Final = 1
HASH_BYTES: Final = 32
MAX_BODY: Final = 64 * 1024
"""Bytes of a signed body: a full device list fits; whatever is larger is signed by its digest."""
_NAME: Final = re.compile(r"[!-~]{1,255}")
"""An environment or audience: printable ASCII without spaces, for both are names, never content."""
_SIGNATURE_BYTES: Final = 64
_P256_HALF: Final = 32


@unique
class KeyFamily(Enum):
    """What a key is for. A key signs for one family only."""

    IDENTITY = "identity"
    """The account's identity key, on its devices."""
    SESSION = "session"
    """A device's session key."""
    ENVELOPE = "envelope"
    """A device's envelope-and-receipt key."""
    SERVER_SESSION = "server_session"
    """The gateway's side of a session."""
    SERVER_MARKER = "server_marker"
    """A server in the path, for its markers."""
    SERVER_STATEMENT = "server_statement"
    """The gateway, for what it states about its own view."""
    LEDGER = "ledger"
    """The log, for whatever is not a C2SP note."""


@unique
class Purpose(Enum):
    """Why something is signed: the closed registry. The value is the text in the preimage."""

    DEVICE_LIST = "device_list"
    SESSION = "session"
    SESSION_ACCEPT = "session_accept"
    HANDSHAKE_OFFER = "handshake_offer"
    HANDSHAKE_ANSWER = "handshake_answer"
    HANDSHAKE_FINISH = "handshake_finish"
    ENVELOPE = "envelope"
    RECEIPT = "receipt"
    CONSENT = "consent"
    DEVICE_STATEMENT = "device_statement"
    GROUP_REPORT = "group_report"
    MARKER = "marker"
    STATEMENT = "statement"
    LEDGER_META = "ledger_meta"

    @property
    def family(self) -> KeyFamily:
        """The kind of key that may sign for this purpose."""
        return _FAMILY[self]


_FAMILY: Final[dict[Purpose, KeyFamily]] = {
    Purpose.DEVICE_LIST: KeyFamily.IDENTITY,
    Purpose.SESSION: KeyFamily.SESSION,
    Purpose.SESSION_ACCEPT: KeyFamily.SERVER_SESSION,
    Purpose.HANDSHAKE_OFFER: KeyFamily.SESSION,
    Purpose.HANDSHAKE_ANSWER: KeyFamily.SESSION,
    Purpose.HANDSHAKE_FINISH: KeyFamily.SESSION,
    Purpose.ENVELOPE: KeyFamily.ENVELOPE,
    Purpose.RECEIPT: KeyFamily.ENVELOPE,
    Purpose.CONSENT: KeyFamily.ENVELOPE,
    Purpose.DEVICE_STATEMENT: KeyFamily.ENVELOPE,
    Purpose.GROUP_REPORT: KeyFamily.ENVELOPE,
    Purpose.MARKER: KeyFamily.SERVER_MARKER,
    Purpose.STATEMENT: KeyFamily.SERVER_STATEMENT,
    Purpose.LEDGER_META: KeyFamily.LEDGER,
}


@unique
class Suite(Enum):
    """How a signature is made. The value is the text in the preimage."""

    ED25519 = "ed25519"
    """RFC 8032; public key 32 bytes."""
    ECDSA_P256 = "ecdsa-p256-sha256"
    """FIPS 186-5 with RFC 6979 nonces here; public key an uncompressed point, 65 bytes; r and s, 32 bytes each.
    For keys that live in phone hardware, which offers no other curve."""

    @property
    def code(self) -> int:
        """The byte that names the suite on the wire."""
        return _CODE[self]


_CODE: Final[dict[Suite, int]] = {Suite.ED25519: 1, Suite.ECDSA_P256: 2}
_SUITE: Final[dict[int, Suite]] = {code: suite for suite, code in _CODE.items()}
_KEY_BYTES: Final[dict[Suite, int]] = {Suite.ED25519: 32, Suite.ECDSA_P256: 65}

# Ed25519 keys of small order, with the sign bit cleared: under them a signature can be made without a private key.
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(point)
    for point in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


@unique
class PreimageReason(Reason):
    """Why no preimage was built, or nothing signed."""

    TENANT_MISSING = "tenant_missing"
    ENVIRONMENT_NOT_A_NAME = "environment_not_a_name"
    AUDIENCE_NOT_A_NAME = "audience_not_a_name"
    CONTEXT_NOT_A_HASH = "context_not_a_hash"
    BODY_TOO_LARGE = "body_too_large"
    KEY_OF_ANOTHER_FAMILY = "key_of_another_family"
    KEY_MALFORMED = "key_malformed"


class PreimageError(OperationError[PreimageReason]):
    """The arguments do not make a statement that can be signed."""

    fault: ClassVar[Fault] = Fault.LOCAL


@unique
class SignatureReason(Reason):
    """Why a signature or a public key is refused."""

    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_SUITE = "unknown_suite"
    WRONG_LENGTH = "wrong_length"
    KEY_MALFORMED = "key_malformed"
    KEY_OF_ANOTHER_FAMILY = "key_of_another_family"
    SUITE_OF_ANOTHER_KEY = "suite_of_another_key"
    DOES_NOT_VERIFY = "does_not_verify"


class SignatureError(OperationError[SignatureReason]):
    """A signature or a public key is refused; nothing may be concluded from what it covers."""

    fault: ClassVar[Fault] = Fault.PEER


def _prefixed(value: bytes) -> bytes:
    return len(value).to_bytes(4) + value


def context_hash(*fields: bytes) -> bytes:
    """SHA-256 over the length-prefixed fields that a statement depends on without repeating them."""
    return hashlib.sha256(b"".join(map(_prefixed, fields))).digest()


NO_CONTEXT: Final = context_hash()


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a statement holds: nowhere else.

    Attributes:
        tenant: the tenant; None only for :attr:`Purpose.LEDGER_META`, which is about the whole gateway.
        environment: name of the installation, such as ``prod`` or ``staging``.
        audience: who is meant to believe it, such as a host name or ``device-list``.
        context: 32 bytes from :func:`context_hash`.
    """

    tenant: TenantId | None
    environment: str
    audience: str
    context: bytes = NO_CONTEXT


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies for one family.

    Raises:
        SignatureError: the bytes are no key of the suite, or a key under which anybody could sign.
    """

    family: KeyFamily
    suite: Suite
    raw: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.raw) != _KEY_BYTES[self.suite]:
            raise SignatureError(SignatureReason.KEY_MALFORMED, length=len(self.raw))
        if self.suite is Suite.ED25519:
            if bytes([*self.raw[:31], self.raw[31] & 0x7F]) in _SMALL_ORDER:
                raise SignatureError(SignatureReason.KEY_MALFORMED)
            return
        try:
            ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.raw)
        except ValueError:
            raise SignatureError(SignatureReason.KEY_MALFORMED) from None

    def encode(self) -> bytes:
        """The suite byte and the key; the family is said by the place where the key stands."""
        return bytes((self.suite.code,)) + self.raw

    @classmethod
    def parse(cls, data: bytes, family: KeyFamily) -> "PublicKey":
        """Reads what :meth:`encode` wrote.

        Raises:
            SignatureError: unknown suite, or no key.
        """
        suite = _SUITE.get(data[0]) if data else None
        if suite is None:
            raise SignatureError(SignatureReason.UNKNOWN_SUITE)
        return cls(family, suite, data[1:])


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature as it travels: 66 bytes."""

    suite: Suite
    raw: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Version byte, suite byte, 64 bytes."""
        return bytes((VERSION, self.suite.code)) + self.raw

    @classmethod
    def parse(cls, data: bytes) -> "Signature":
        """Reads a signature.

        Raises:
            SignatureError: unknown version, unknown suite, or another length.
        """
        if len(data) != 2 + _SIGNATURE_BYTES:
            raise SignatureError(SignatureReason.WRONG_LENGTH, length=len(data))
        if data[0] != VERSION:
            raise SignatureError(SignatureReason.UNKNOWN_VERSION, version=data[0])
        suite = _SUITE.get(data[1])
        if suite is None:
            raise SignatureError(SignatureReason.UNKNOWN_SUITE, suite=data[1])
        return cls(suite, data[2:])


class Signer(Protocol):
    """Whatever holds a private key: a file, an HSM, a phone."""

    @property
    def public(self) -> PublicKey:
        """The key that verifies, with its family and suite."""
        ...

    def sign_preimage(self, preimage: bytes) -> bytes:
        """Signs a finished preimage: 64 raw bytes. Callers use :func:`sign`, which builds it."""
        ...


@final
class SoftwareKey:
    """A private key in memory. Both suites sign deterministically, so signing needs no randomness.

    Args:
        family: what the key is for.
        suite: how it signs.
        secret: 32 bytes: an Ed25519 seed (RFC 8032) or a P-256 scalar, big-endian.

    Raises:
        PreimageError: the secret is no key of the suite.
    """

    __slots__ = ("_private", "_public")

    def __init__(self, family: KeyFamily, suite: Suite, secret: bytes) -> None:
        self._private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
        if len(secret) != HASH_BYTES:
            raise PreimageError(PreimageReason.KEY_MALFORMED, length=len(secret))
        if suite is Suite.ED25519:
            edwards = ed25519.Ed25519PrivateKey.from_private_bytes(secret)
            raw = edwards.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            self._private = edwards
        else:
            try:
                weierstrass = ec.derive_private_key(int.from_bytes(secret), ec.SECP256R1())
            except ValueError:
                raise PreimageError(PreimageReason.KEY_MALFORMED) from None
            raw = weierstrass.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            self._private = weierstrass
        self._public = PublicKey(family, suite, raw)

    @property
    def public(self) -> PublicKey:
        """The key that verifies."""
        return self._public

    def sign_preimage(self, preimage: bytes) -> bytes:
        """Signs a finished preimage."""
        if isinstance(self._private, ed25519.Ed25519PrivateKey):
            return self._private.sign(preimage)
        der = self._private.sign(preimage, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        r, s = utils.decode_dss_signature(der)
        return r.to_bytes(_P256_HALF) + s.to_bytes(_P256_HALF)

    def __repr__(self) -> str:
        return f"<SoftwareKey {self._public.family.value}>"


def build(purpose: Purpose, scope: Scope, suite: Suite, body: bytes) -> bytes:
    """The bytes to sign.

    Raises:
        PreimageError: a field is missing, misspelt or too large.
    """
    if scope.tenant is None and purpose is not Purpose.LEDGER_META:
        raise PreimageError(PreimageReason.TENANT_MISSING, purpose=purpose)
    if not _NAME.fullmatch(scope.environment):
        raise PreimageError(PreimageReason.ENVIRONMENT_NOT_A_NAME)
    if not _NAME.fullmatch(scope.audience):
        raise PreimageError(PreimageReason.AUDIENCE_NOT_A_NAME)
    if len(scope.context) != HASH_BYTES:
        raise PreimageError(PreimageReason.CONTEXT_NOT_A_HASH, length=len(scope.context))
    if len(body) > MAX_BODY:
        raise PreimageError(PreimageReason.BODY_TOO_LARGE, length=len(body))
    tenant = b"" if scope.tenant is None else scope.tenant.value
    fields = (tenant, scope.environment.encode(), scope.audience.encode(), suite.value.encode(), scope.context, body)
    return LABEL + purpose.value.encode() + b"\0" + b"".join(map(_prefixed, fields))


def sign(signer: Signer, purpose: Purpose, scope: Scope, body: bytes) -> Signature:
    """Signs a statement.

    Raises:
        PreimageError: the key is of another family, or the arguments make no preimage.
    """
    key = signer.public
    if key.family is not purpose.family:
        raise PreimageError(PreimageReason.KEY_OF_ANOTHER_FAMILY, purpose=purpose, family=key.family)
    return Signature(key.suite, signer.sign_preimage(build(purpose, scope, key.suite, body)))


def verify(key: PublicKey, purpose: Purpose, scope: Scope, body: bytes, signature: Signature) -> None:
    """Returns only when the signature is this key's, over exactly this statement.

    Raises:
        SignatureError: it is not.
        PreimageError: the arguments make no preimage.
    """
    if key.family is not purpose.family:
        raise SignatureError(SignatureReason.KEY_OF_ANOTHER_FAMILY, purpose=purpose, family=key.family)
    if signature.suite is not key.suite:
        raise SignatureError(SignatureReason.SUITE_OF_ANOTHER_KEY, suite=signature.suite)
    if len(signature.raw) != _SIGNATURE_BYTES:
        raise SignatureError(SignatureReason.WRONG_LENGTH, length=len(signature.raw))
    preimage = build(purpose, scope, key.suite, body)
    try:
        if key.suite is Suite.ED25519:
            ed25519.Ed25519PublicKey.from_public_bytes(key.raw).verify(signature.raw, preimage)
        else:
            r, s = int.from_bytes(signature.raw[:_P256_HALF]), int.from_bytes(signature.raw[_P256_HALF:])
            point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.raw)
            point.verify(utils.encode_dss_signature(r, s), preimage, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        raise SignatureError(SignatureReason.DOES_NOT_VERIFY, purpose=purpose) from None
