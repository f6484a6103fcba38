"""MLS messages as a device would send them, as far as a relay without keys can tell."""

from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from letterlock.wire.mls.codec import Writer
from letterlock.wire.mls.signatures import sign_content
from letterlock.wire.mls.suites import SIZES, CipherSuite
from letterlock.wire.preimage import KeyFamily, SoftwareKey, Suite

NOT_AFTER_S = 2_000_000_000


class Leaf:
    """A leaf's signature key."""

    def __init__(self, seed: bytes) -> None:
        self._key = SoftwareKey(KeyFamily.ENVELOPE, Suite.ED25519, seed)
        self.public = self._key.public.raw

    def sign(self, label: bytes, content: bytes) -> bytes:
        return self._key.sign_preimage(sign_content(label, content))


_CURVES: dict[int, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    2: (ec.SECP256R1(), hashes.SHA256()),
    5: (ec.SECP521R1(), hashes.SHA512()),
    7: (ec.SECP384R1(), hashes.SHA384()),
}


class SuiteLeaf(Leaf):
    """A leaf's signature key of any registered suite."""

    def __init__(self, seed: bytes, suite: int) -> None:
        super().__init__(seed)
        self._make: Callable[[bytes], bytes] = self._key.sign_preimage
        if suite in _CURVES:
            curve, algorithm = _CURVES[suite]
            key = ec.derive_private_key(int.from_bytes(seed, "big"), curve)
            self.public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            self._make = lambda data: key.sign(data, ec.ECDSA(algorithm))
        elif suite in {4, 6}:
            other = ed448.Ed448PrivateKey.from_private_bytes(seed + seed[:25])
            self.public = other.public_key().public_bytes_raw()
            self._make = other.sign

    def sign(self, label: bytes, content: bytes) -> bytes:
        return self._make(sign_content(label, content))


def _empty(writer: Writer, count: int) -> Writer:
    for _ in range(count):
        writer.opaque(b"")
    return writer


def key_package(leaf: Leaf, number: int, *, not_after: int = NOT_AFTER_S, suite: int = 1) -> bytes:
    """A signed key package, without the MLSMessage header."""
    unique = number.to_bytes(16, "big")
    pad = SIZES[CipherSuite(suite)].hpke_key - 16 if suite in set(CipherSuite) else 16
    node = Writer().opaque(b"E" * pad + unique).opaque(leaf.public).u16(1).opaque(leaf.public)
    _empty(node, 5).u8(1).u64(0).u64(not_after).opaque(b"")
    content = node.done()
    node.opaque(leaf.sign(b"LeafNodeTBS", content))
    package = Writer().u16(1).u16(suite).opaque(b"I" * pad + unique).raw(node.done()).opaque(b"")
    whole = package.done()
    return package.opaque(leaf.sign(b"KeyPackageTBS", whole)).done()


def key_package_message(leaf: Leaf, number: int, *, not_after: int = NOT_AFTER_S, suite: int = 1) -> bytes:
    header = Writer().u16(1).u16(5)
    return header.raw(key_package(leaf, number, not_after=not_after, suite=suite)).done()


def commit(
    group_id: bytes,
    epoch: int,
    *,
    adds: tuple[bytes, ...] = (),
    removes: tuple[int, ...] = (),
    sender: int = 1,
    reference: bool = False,
    reinit: int | None = None,
    mark: bytes = b"s",
) -> bytes:
    """A public commit; ``mark`` makes it another one."""
    out = Writer().u16(1).u16(1).opaque(group_id).u64(epoch).u8(sender)
    if sender == 1:
        out.u32(0)
    proposals = Writer()
    for package in adds:
        proposals.u8(1).u16(1).raw(package)
    for index in removes:
        proposals.u8(1).u16(3).u32(index)
    if reinit is not None:
        proposals.u8(1).u16(5).opaque(group_id).u16(1).u16(reinit).opaque(b"")
    if reference:
        proposals.u8(2).opaque(b"R" * 32)
    out.opaque(b"").u8(3).opaque(proposals.done()).u8(0).opaque(mark.ljust(64, b"."))
    out.opaque(b"C" * 32)
    if sender == 1:
        out.opaque(b"M" * 32)
    return out.done()


def private(group_id: bytes, epoch: int, content_type: int) -> bytes:
    """1 application, 2 proposal, 3 commit."""
    out = Writer().u16(1).u16(2).opaque(group_id).u64(epoch).u8(content_type)
    return out.opaque(b"").opaque(b"\x5d" * 28).opaque(b"\xcc" * 80).done()


def _hash(suite: int) -> int:
    return SIZES[CipherSuite(suite)].hash_size if suite in set(CipherSuite) else 32


def welcome(mark: bytes = b"w", *, suite: int = 1) -> bytes:
    secret = Writer().opaque(b"K" * _hash(suite)).opaque(b"kem").opaque(b"x" * 32).done()
    return Writer().u16(1).u16(3).u16(suite).opaque(secret).opaque(mark.ljust(64, b"-")).done()


def group_info(group_id: bytes, epoch: int, *, suite: int = 1) -> bytes:
    size = _hash(suite)
    out = Writer().u16(1).u16(4).u16(1).u16(suite).opaque(group_id).u64(epoch).opaque(b"T" * size).opaque(b"H" * size)
    return out.opaque(b"").opaque(b"").opaque(b"C" * size).u32(0).opaque(b"S" * 64).done()
