"""MLS messages as a device would send them, as far as a relay without keys can tell."""

from letterlock.wire.mls.codec import Writer
from letterlock.wire.mls.signatures import sign_content
from letterlock.wire.preimage import KeyFamily, SoftwareKey, Suite

NOT_AFTER_S = 2_000_000_000


class Leaf:
    """A leaf's signature key."""

    def __init__(self, seed: bytes) -> None:
        self._key = SoftwareKey(KeyFamily.ENVELOPE, Suite.ED25519, seed)
        self.public = self._key.public.raw

    def sign(self, label: bytes, content: bytes) -> bytes:
        return self._key.sign_preimage(sign_content(label, content))


def _empty(writer: Writer, count: int) -> Writer:
    for _ in range(count):
        writer.opaque(b"")
    return writer


def key_package(leaf: Leaf, number: int, *, not_after: int = NOT_AFTER_S, suite: int = 1) -> bytes:
    """A signed key package, without the MLSMessage header."""
    unique = number.to_bytes(16, "big")
    node = Writer().opaque(b"E" * 16 + unique).opaque(leaf.public).u16(1).opaque(leaf.public)
    _empty(node, 5).u8(1).u64(0).u64(not_after).opaque(b"")
    content = node.done()
    node.opaque(leaf.sign(b"LeafNodeTBS", content))
    package = Writer().u16(1).u16(suite).opaque(b"I" * 16 + unique).raw(node.done()).opaque(b"")
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


def welcome(mark: bytes = b"w") -> bytes:
    secret = Writer().opaque(b"K" * 32).opaque(b"kem").opaque(b"x" * 32).done()
    return Writer().u16(1).u16(3).u16(1).opaque(secret).opaque(mark.ljust(64, b"-")).done()


def group_info(group_id: bytes, epoch: int) -> bytes:
    out = Writer().u16(1).u16(4).u16(1).u16(1).opaque(group_id).u64(epoch).opaque(b"T" * 32).opaque(b"H" * 32)
    return out.opaque(b"").opaque(b"").opaque(b"C" * 32).u32(0).opaque(b"S" * 64).done()
