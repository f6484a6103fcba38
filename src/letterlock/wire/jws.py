"""Signed tokens for push services: compact JWS (RFC 7515) with ES256 and RS256 (RFC 7518). Made here, never read."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

_SCALAR: Final = 32


def signed(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, header: Mapping[str, object], claims: Mapping[str, object]
) -> str:
    """A token.

    Args:
        key: P-256 for ES256 (RFC 7518, section 3.4), RSA for RS256 (section 3.3).
        header: its fields but for ``alg``, which the key decides.
        claims: what is said (RFC 7519).
    """
    algorithm = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256"
    said = f"{_json({**header, 'alg': algorithm})}.{_json(claims)}"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(said.encode(), ec.ECDSA(SHA256())))
        signature = r.to_bytes(_SCALAR, "big") + s.to_bytes(_SCALAR, "big")
    else:
        signature = key.sign(said.encode(), padding.PKCS1v15(), SHA256())
    return f"{said}.{unpadded(signature)}"


def unpadded(data: bytes) -> str:
    """base64url without padding (RFC 7515, appendix C)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _json(value: Mapping[str, object]) -> str:
    return unpadded(json.dumps(value, separators=(",", ":")).encode())
