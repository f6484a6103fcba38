"""Checks the two signatures of a KeyPackage (RFC 9420, sections 5.1.2, 7.2 and 10). Primitives by ``cryptography``."""

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

from letterlock.wire.mls.codec import Writer
from letterlock.wire.mls.errors import SignatureError, SignatureReason
from letterlock.wire.mls.inspect import KeyPackageInfo
from letterlock.wire.mls.suites import CipherSuite

_CURVES: dict[CipherSuite, tuple[ec.EllipticCurve, HashAlgorithm]] = {
    CipherSuite.P256_AES128_SHA256_P256: (ec.SECP256R1(), SHA256()),
    CipherSuite.P521_AES256_SHA512_P521: (ec.SECP521R1(), SHA512()),
    CipherSuite.P384_AES256_SHA384_P384: (ec.SECP384R1(), SHA384()),
}
_ED448 = {CipherSuite.X448_AES256_SHA512_ED448, CipherSuite.X448_CHACHA20_SHA512_ED448}


def sign_content(label: bytes, content: bytes) -> bytes:
    """``SignContent`` of RFC 9420, section 5.1.2: what is really signed."""
    return Writer().opaque(b"MLS 1.0 " + label).opaque(content).done()


def check_signature(suite: CipherSuite, key: bytes, label: bytes, content: bytes, signature: bytes) -> None:
    """``VerifyWithLabel`` of RFC 9420.

    Raises:
        SignatureError: the key is no key of this suite, or the signature does not hold.
    """
    message = sign_content(label, content)
    failure: SignatureReason | None = None
    try:
        if suite in _CURVES:
            curve, algorithm = _CURVES[suite]
            point = ec.EllipticCurvePublicKey.from_encoded_point(curve, key)
            point.verify(signature, message, ec.ECDSA(algorithm))
        elif suite in _ED448:
            ed448.Ed448PublicKey.from_public_bytes(key).verify(signature, message)
        else:
            ed25519.Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        failure = SignatureReason.INVALID_SIGNATURE
    except UnsupportedAlgorithm:
        failure = SignatureReason.UNSUPPORTED_SUITE
    except ValueError:
        failure = SignatureReason.BAD_KEY
    if failure is not None:
        raise SignatureError(failure, suite=int(suite))


def check_key_package(info: KeyPackageInfo) -> None:
    """Checks that the leaf and the package are signed by the leaf's signature key.

    That the key belongs to somebody is for the device list to say; that the lifetime is not over, for the caller.

    Raises:
        SignatureError: one of the two does not hold.
    """
    package, leaf = info.package, info.package.leaf
    check_signature(info.suite, leaf.signature_key, b"LeafNodeTBS", leaf.content, leaf.signature)
    check_signature(info.suite, leaf.signature_key, b"KeyPackageTBS", package.content, package.signature)
