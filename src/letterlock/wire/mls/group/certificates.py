"""The certificates of RCS end-to-end encryption (GSMA RCC.16, annex A), checked by ``cryptography``.

The profile as deployed: a P-256 leaf signed with ECDSA and SHA-256, one ``tel:`` address as its subject alternative
name, one extended key usage and one policy of its own, at most 76 days long. Its critical extension for participant
information is one that no general verifier knows, so the chain is walked here: each link by
``verify_directly_issued_by``, then what a certification authority must be.

Not checked, for their formats are not public: what the participant information and the configuration server's proof
say. Revocation is not checked either; the profile relies on short lifetimes.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID, ObjectIdentifier, SignatureAlgorithmOID

from letterlock.wire.mls.group.errors import CredentialError, CredentialReason

DAY_S: Final = 86_400
MAX_CHAIN: Final = 4
"""Certificates in a credential: leaf, up to two intermediates, and the root where it is sent along."""
MAX_CERTIFICATE: Final = 16 * 1024
"""Bytes of one certificate: ten times a usual one."""
MAX_LEAF_S: Final = 76 * DAY_S
MAX_INTERMEDIATE_S: Final = 1827 * DAY_S
MAX_ROOT_S: Final = 3652 * DAY_S
CLIENT_USE: Final = ObjectIdentifier("2.23.146.2.1.3")
"""id-kp-rcsMlsClient, the one extended key usage."""
CLIENT_POLICY: Final = ObjectIdentifier("2.23.146.2.1.2")
PARTICIPANT: Final = ObjectIdentifier("2.23.146.2.1.4")
"""Participant information: critical, with a proof of possession."""
VENDOR: Final = ObjectIdentifier("2.23.146.2.1.6")
"""The vendor, which must be the root's."""
_TEL: Final = re.compile(r"tel:\+[1-9][0-9]{6,14}")
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.BASIC_CONSTRAINTS,
        PARTICIPANT,
    }
)

E = TypeVar("E", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True, repr=False)
class Root:
    """A trusted root."""

    certificate: x509.Certificate

    @classmethod
    def of(cls, der: bytes, now_s: int) -> "Root":
        """A root from configuration.

        Raises:
            CredentialError: it is none of this profile.
        """
        certificate = _load(der)
        _check_authority(certificate, MAX_ROOT_S, 0, now_s)
        if not _issued(certificate, certificate):
            raise CredentialError(CredentialReason.CHAIN)
        return cls(certificate)


def check_chain(certificates: tuple[bytes, ...], roots: tuple[Root, ...], key: bytes, now_s: int) -> int:
    """A credential's certificates, the leaf first.

    Args:
        certificates: DER.
        roots: the trusted ones.
        key: the MLS leaf's signature key, an uncompressed point.
        now_s: seconds since 1970 UTC.

    Returns:
        when the first certificate of the chain ends, in seconds since 1970 UTC.

    Raises:
        CredentialError: see :class:`CredentialReason`.
    """
    if not 0 < len(certificates) <= MAX_CHAIN:
        raise CredentialError(CredentialReason.CHAIN)
    chain = [_load(der) for der in certificates]
    root = _root_of(chain, roots)
    if chain[-1] != root:
        chain.append(root)
    leaf, *authorities = chain
    _check_leaf(leaf, key, now_s)
    if not authorities:
        raise CredentialError(CredentialReason.CHAIN)
    for depth, authority in enumerate(authorities):
        limit = MAX_ROOT_S if authority == root else MAX_INTERMEDIATE_S
        _check_authority(authority, limit, depth, now_s)
    if not all(_issued(below, above) for below, above in pairwise(chain)):
        raise CredentialError(CredentialReason.CHAIN)
    if _vendor(leaf) != _vendor(root):
        raise CredentialError(CredentialReason.VENDOR)
    return min(_span(certificate)[1] for certificate in chain)


def telephone(certificate: bytes) -> str:
    """The address of a leaf certificate, as ``+E164``.

    Raises:
        CredentialError: CERTIFICATE_MALFORMED, SUBJECT.
    """
    return _address(_load(certificate))[len("tel:") :]


def _load(der: bytes) -> x509.Certificate:
    found: x509.Certificate | None = None
    try:
        if len(der) <= MAX_CERTIFICATE:
            found = x509.load_der_x509_certificate(der)
            _ = found.extensions, _span(found)  # parsed late, and what is malformed must fail here
    except (ValueError, OverflowError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        found = None
    if found is None:
        raise CredentialError(CredentialReason.CERTIFICATE_MALFORMED)
    return found


def _root_of(chain: list[x509.Certificate], roots: tuple[Root, ...]) -> x509.Certificate:
    last = chain[-1]
    for root in roots:
        if last == root.certificate or _issued(last, root.certificate):
            return root.certificate
    raise CredentialError(CredentialReason.CHAIN)


def _issued(below: x509.Certificate, above: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _check_leaf(leaf: x509.Certificate, key: bytes, now_s: int) -> None:
    try:
        public = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm):
        public = None
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise CredentialError(CredentialReason.ALGORITHM)
    if public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) != key:
        raise CredentialError(CredentialReason.KEY_DIFFERS)
    _check_signature_algorithm(leaf)
    _check_validity(leaf, MAX_LEAF_S, now_s)
    _address(leaf)
    usage, extended = _value(leaf, x509.KeyUsage), _value(leaf, x509.ExtendedKeyUsage)
    policies = _extension(leaf, x509.CertificatePolicies)
    constraints = _value(leaf, x509.BasicConstraints)
    if (
        usage is None
        or not usage.digital_signature
        or usage.key_cert_sign
        or extended is None
        or list(extended) != [CLIENT_USE]
        or policies is None
        or policies.critical
        or [policy.policy_identifier for policy in policies.value] != [CLIENT_POLICY]
        or (constraints is not None and constraints.ca)
    ):
        raise CredentialError(CredentialReason.KEY_USE)
    if any(one.critical and one.oid not in _UNDERSTOOD for one in leaf.extensions):
        raise CredentialError(CredentialReason.EXTENSION)


def _check_authority(certificate: x509.Certificate, limit_s: int, depth: int, now_s: int) -> None:
    """A certification authority with ``depth`` further ones between it and the leaf."""
    _check_signature_algorithm(certificate)
    _check_validity(certificate, limit_s, now_s)
    constraints, usage = _value(certificate, x509.BasicConstraints), _value(certificate, x509.KeyUsage)
    too_deep = constraints is not None and constraints.path_length is not None and constraints.path_length < depth
    if constraints is None or not constraints.ca or too_deep or usage is None or not usage.key_cert_sign:
        raise CredentialError(CredentialReason.KEY_USE)
    if any(one.critical and one.oid not in _UNDERSTOOD for one in certificate.extensions):
        raise CredentialError(CredentialReason.EXTENSION)


def _check_signature_algorithm(certificate: x509.Certificate) -> None:
    if certificate.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
        raise CredentialError(CredentialReason.ALGORITHM)


def _check_validity(certificate: x509.Certificate, limit_s: int, now_s: int) -> None:
    since, until = _span(certificate)
    if not since <= now_s <= until or until - since > limit_s:
        raise CredentialError(CredentialReason.VALIDITY)


def _span(certificate: x509.Certificate) -> tuple[int, int]:
    return int(certificate.not_valid_before_utc.timestamp()), int(certificate.not_valid_after_utc.timestamp())


def _address(leaf: x509.Certificate) -> str:
    names = _value(leaf, x509.SubjectAlternativeName)
    found = [] if names is None else list(names)
    one = found[0] if len(found) == 1 else None
    if not isinstance(one, x509.UniformResourceIdentifier) or not _TEL.fullmatch(one.value):
        raise CredentialError(CredentialReason.SUBJECT)
    return one.value


def _extension(certificate: x509.Certificate, kind: type[E]) -> x509.Extension[E] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _value(certificate: x509.Certificate, kind: type[E]) -> E | None:
    found = _extension(certificate, kind)
    return None if found is None else found.value


def _vendor(certificate: x509.Certificate) -> bytes | None:
    try:
        found = certificate.extensions.get_extension_for_oid(VENDOR).value
    except x509.ExtensionNotFound:
        return None
    return found.value if isinstance(found, x509.UnrecognizedExtension) else b""
