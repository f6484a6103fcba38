"""Web Push: message encryption (RFC 8291 over RFC 8188), VAPID (RFC 8292), and addresses of push services. Pure.

One record, as RFC 8291 demands. What is encrypted here is always :data:`WAKE_UP`: a push says that there may be
something, and nothing else, so it is the same bytes for every message of every sender.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from enum import unique
from typing import ClassVar, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.wire.jws import signed, unpadded

PUBLIC_BYTES: Final = 65
"""An uncompressed point of P-256 (RFC 8291, section 3.1)."""
AUTH_BYTES: Final = 16
SALT_BYTES: Final = 16
RECORD_SIZE: Final = 4096
"""Push services need not take more (RFC 8030, section 7.2)."""
WAKE_UP: Final = b"letterlock wake-up".ljust(64, b"\0")
"""The content of every push."""
MAX_ENDPOINT: Final = 1_024
"""Characters of a subscription's address; those of the known services have some 200."""
VAPID_LIFETIME_S: Final = 12 * 3_600
"""Of a token; RFC 8292 allows 24 hours, and clocks differ."""

_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the base point of P-256 (FIPS 186-5)."""
_PATH: Final = re.compile(r"[!$&'()*+,\-./0-9:;=?@A-Z_a-z~%]*")
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]+\]")


@unique
class PushReason(Reason):
    """Why a subscription is refused."""

    BAD_ENDPOINT = "push_endpoint_not_well_formed"
    HOST_NOT_LISTED = "push_host_not_listed"
    BAD_KEY = "push_key_not_on_the_curve"
    BAD_AUTH = "push_secret_of_another_length"
    BAD_TOKEN = "push_token_not_well_formed"  # noqa: S105 - no secret, a word


class PushError(OperationError[PushReason]):
    """A push subscription cannot be used. Says nothing of its address or keys."""

    fault: ClassVar[Fault] = Fault.PEER


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a device's push service gave it (Push API; RFC 8291, section 2). It is a capability: never shown.

    Attributes:
        endpoint: where to send; anybody who knows it and its keys can wake the device.
        public: the device's public key, uncompressed.
        auth: 16 bytes shared with it.
    """

    endpoint: str = field(repr=False)
    public: bytes = field(repr=False)
    auth: bytes = field(repr=False)

    def checked(self, hosts: "HostList") -> "Subscription":
        """The same, if it can be used.

        Raises:
            PushError: BAD_ENDPOINT, HOST_NOT_LISTED, BAD_KEY, BAD_AUTH.
        """
        hosts.origin_of(self.endpoint)
        try:
            _point(self.public)
        except ValueError:
            raise PushError(PushReason.BAD_KEY) from None
        if len(self.auth) != AUTH_BYTES:
            raise PushError(PushReason.BAD_AUTH, length=len(self.auth))
        return self


class HostList:
    """Where pushes may go: names of push services, and nobody else's. What keeps a device from sending us elsewhere.

    Args:
        hosts: ``name`` for one host; ``.name`` for every host below a name; ``127.0.0.1:port`` or ``localhost:port``
            for a push service on this machine, which alone may be without TLS.

    Raises:
        ValueError: an address that is not this machine's, or not a name.
    """

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self._names: Final = frozenset(host for host in hosts if not host.startswith(".") and ":" not in host)
        self._below: Final = tuple(host for host in hosts if host.startswith("."))
        self._local: Final = frozenset(host for host in hosts if ":" in host)
        for host in self._names | {below[1:] for below in self._below}:
            if not _HOST.fullmatch(host) or _is_address(host) or "." not in host:
                raise ValueError("not the name of a push service")
        for host in self._local:
            name, _, port = host.rpartition(":")
            if name not in {"127.0.0.1", "localhost"} or not port.isdigit():
                raise ValueError("only this machine may have a port")

    def __bool__(self) -> bool:
        return bool(self._names or self._below or self._local)

    @property
    def local(self) -> bool:
        """Whether one of them is this machine."""
        return bool(self._local)

    def origin_of(self, endpoint: str) -> str:
        """The origin of a listed address (RFC 6454), which is the audience of its token (RFC 8292, section 2).

        Raises:
            PushError: BAD_ENDPOINT, HOST_NOT_LISTED.
        """
        scheme, mark, rest = endpoint.partition("://")
        if len(endpoint) > MAX_ENDPOINT or not mark or scheme not in {"https", "http"} or not _PATH.fullmatch(rest):
            raise PushError(PushReason.BAD_ENDPOINT)
        # No user part, no port: what is left before the first slash is the host, whoever reads it.
        authority, slash, _ = rest.partition("/")
        if not slash or any(sign in authority for sign in "@?%\\") or authority != urlsplit(endpoint).netloc:
            raise PushError(PushReason.BAD_ENDPOINT)
        if authority in self._local:
            return f"{scheme}://{authority}"
        if scheme != "https" or not _HOST.fullmatch(authority):
            raise PushError(PushReason.BAD_ENDPOINT)
        if authority not in self._names and not authority.endswith(self._below):
            raise PushError(PushReason.HOST_NOT_LISTED)
        return f"https://{authority}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        # Also what some resolvers take for one: "127.1", "0x7f000001".
        return host.rpartition(".")[2].isdigit() or host.startswith("0x")
    return True


def _point(public: bytes) -> ec.EllipticCurvePublicKey:
    if len(public) != PUBLIC_BYTES:
        raise ValueError("not an uncompressed point")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)


def private_key(seed: bytes) -> ec.EllipticCurvePrivateKey:
    """A key of P-256 from at least 48 random bytes: extra random bits (FIPS 186-5, appendix A.2.1)."""
    if len(seed) < 48:
        raise ValueError("48 random bytes at least")
    return ec.derive_private_key(int.from_bytes(seed) % (_ORDER - 1) + 1, ec.SECP256R1())


def public_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Its public half, uncompressed."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def encrypt(subscription: Subscription, content: bytes, ephemeral: ec.EllipticCurvePrivateKey, salt: bytes) -> bytes:
    """The body of a push message: one aes128gcm record (RFC 8291, section 3).

    Args:
        subscription: checked.
        content: at most 3,993 bytes.
        ephemeral: a key for this message alone.
        salt: 16 random bytes for this message alone.

    Raises:
        ValueError: too long, or a salt of another length.
    """
    if len(salt) != SALT_BYTES or len(content) > RECORD_SIZE - 86 - 17:
        raise ValueError("a push message holds one record")
    own = public_bytes(ephemeral)
    shared = ephemeral.exchange(ec.ECDH(), _point(subscription.public))
    secret = _hkdf(shared, subscription.auth, b"WebPush: info\0" + subscription.public + own, 32)
    key = _hkdf(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _hkdf(secret, salt, b"Content-Encoding: nonce\0", 12)
    head = salt + RECORD_SIZE.to_bytes(4) + bytes((len(own),)) + own
    return head + AESGCM(key).encrypt(nonce, content + b"\x02", None)


def _hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


def vapid(key: ec.EllipticCurvePrivateKey, origin: str, subject: str, now_s: int) -> str:
    """The Authorization field of a push (RFC 8292, section 3): who we are, for this push service, for some hours.

    Args:
        key: of this gateway.
        origin: of the endpoint.
        subject: how the push service reaches whoever runs this (``mailto:`` or ``https:``).
        now_s: seconds since 1970.
    """
    claims: dict[str, object] = {"aud": origin, "exp": now_s + VAPID_LIFETIME_S, "sub": subject}
    return f"vapid t={signed(key, {'typ': 'JWT'}, claims)}, k={unpadded(public_bytes(key))}"
