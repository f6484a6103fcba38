"""Members who make real public handshakes without an engine: signatures, trees and hashes hold, secrets are noise.

A follower cannot see the noise, so every rule that it can check is violated here alone, one at a time.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from letterlock.wire.mls.codec import Reader, Writer
from letterlock.wire.mls.group import PublicGroup, anchor, tree_math
from letterlock.wire.mls.group.parent_hash import parent_hash
from letterlock.wire.mls.group.transcript import encode_context, encode_extensions
from letterlock.wire.mls.group.tree import ParentNode, RatchetTree, encode_leaf, tree_of
from letterlock.wire.mls.signatures import sign_content
from letterlock.wire.mls.structures import Extension, LeafNode, read_leaf_node
from letterlock.wire.mls.suites import SIZES, CipherSuite, ref_hash

NOW_S = 1_750_000_000
LIFE = (NOW_S - 1000, NOW_S + 1_000_000)
GROUP = b"a made group"
HEADER = {"public": b"\x00\x01\x00\x01", "info": b"\x00\x01\x00\x04"}


class Anybody:
    """A rule for credentials that takes all."""

    def check(self, leaf: LeafNode, now_s: int) -> int:
        return (1 << 64) - 1


ANYBODY = Anybody()


class Signer:
    """A leaf's signature key of either suite."""

    def __init__(self, suite: CipherSuite, name: str) -> None:
        self.suite, self.name = suite, name
        seed = hashlib.sha256(name.encode()).digest()
        self._ed = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        self.p256 = ec.derive_private_key(int.from_bytes(seed) >> 8, ec.SECP256R1())
        if suite == 1:
            self.public = self._ed.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        else:
            self.public = self.p256.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self._keys = 0

    def sign(self, label: bytes, content: bytes) -> bytes:
        message = sign_content(label, content)
        return self._ed.sign(message) if self.suite == 1 else self.p256.sign(message, ec.ECDSA(SHA256()))

    def hpke(self) -> bytes:
        """A fresh encryption key: noise of the right length, for nobody here encrypts."""
        self._keys += 1
        size = SIZES[self.suite].hpke_key
        return hashlib.sha512(f"{self.name} {self._keys}".encode()).digest().ljust(size, b"k")[:size]


@dataclass
class LeafMaker:
    """What goes into a leaf; a test changes one field."""

    signer: Signer
    encryption_key: bytes | None = None
    signature_key: bytes | None = None
    identity: bytes | None = None
    certificates: tuple[bytes, ...] = ()
    lifetime: tuple[int, int] = LIFE
    credentials: tuple[int, ...] = (1, 2)
    can_extensions: tuple[int, ...] = ()
    can_proposals: tuple[int, ...] = ()
    extensions: tuple[Extension, ...] = ()
    signed_by: Signer | None = None
    group_id: bytes = GROUP

    def _start(self) -> Writer:
        key = self.signature_key or self.signer.public
        out = Writer().opaque(self.encryption_key or self.signer.hpke()).opaque(key)
        if self.certificates:
            certificates = Writer()
            for one in self.certificates:
                certificates.opaque(one)
            out.u16(2).opaque(certificates.done())
        else:
            out.u16(1).opaque(key if self.identity is None else self.identity)
        for codes in ((1,), (1, 2), self.can_extensions, self.can_proposals, self.credentials):
            out.opaque(b"".join(code.to_bytes(2, "big") for code in codes))
        return out

    def _sign(self, out: Writer, extra: bytes) -> bytes:
        content = out.raw(encode_extensions(self.extensions)).done()
        signature = (self.signed_by or self.signer).sign(b"LeafNodeTBS", content + extra)
        return Writer().raw(content).opaque(signature).done()

    def for_key_package(self) -> bytes:
        return self._sign(self._start().u8(1).u64(self.lifetime[0]).u64(self.lifetime[1]), b"")

    def for_update(self, leaf: int) -> bytes:
        return self._sign(self._start().u8(2), Writer().opaque(self.group_id).u32(leaf).done())

    def for_commit(self, leaf: int, above: bytes) -> bytes:
        return self._sign(self._start().u8(3).opaque(above), Writer().opaque(self.group_id).u32(leaf).done())


def key_package(
    maker: LeafMaker, *, suite: int | None = None, init_key: bytes | None = None, signed_by: Signer | None = None
) -> bytes:
    signer = maker.signer
    out = Writer().u16(1).u16(signer.suite if suite is None else suite).opaque(init_key or signer.hpke())
    content = out.raw(maker.for_key_package()).opaque(b"").done()
    return Writer().raw(content).opaque((signed_by or signer).sign(b"KeyPackageTBS", content)).done()


def add(package: bytes) -> bytes:
    return Writer().u16(1).raw(package).done()


def update(leaf: bytes) -> bytes:
    return Writer().u16(2).raw(leaf).done()


def remove(leaf: int) -> bytes:
    return Writer().u16(3).u32(leaf).done()


def psk(nonce: bytes, *, usage: int | None = None) -> bytes:
    if usage is None:
        return Writer().u16(4).u8(1).opaque(b"a psk").opaque(nonce).done()
    return Writer().u16(4).u8(2).u8(usage).opaque(GROUP).u64(0).opaque(nonce).done()


def reinit() -> bytes:
    return Writer().u16(5).opaque(b"next").u16(1).u16(1).opaque(b"").done()


def external_init() -> bytes:
    return Writer().u16(6).opaque(b"kem").done()


def new_extensions(extensions: tuple[Extension, ...]) -> bytes:
    return Writer().u16(7).raw(encode_extensions(extensions)).done()


def by_value(proposal: bytes) -> bytes:
    return b"\x01" + proposal


def by_reference(suite: CipherSuite, message: bytes) -> bytes:
    """Of a member's proposal: the reference leaves out the header and the membership tag at the end."""
    tag = 1 + SIZES[suite].hash_size
    whole = b"\x00\x01" + message[4:-tag]
    return b"\x02" + Writer().opaque(ref_hash(suite, b"MLS 1.0 Proposal Reference", whole)).done()


Bend = Callable[[list[tuple[bytes, int]]], list[tuple[bytes, int]]]
"""Changes a path: for each node its key and the number of sealed secrets."""


@dataclass
class Made:
    """A group whose members are all in the test's hands; ``state`` is what the follower holds."""

    suite: CipherSuite = CipherSuite.X25519_AES128_SHA256_ED25519
    members: dict[int, Signer] = field(default_factory=dict[int, Signer])
    known: dict[str, Signer] = field(default_factory=dict[str, Signer])
    state: PublicGroup = field(init=False)

    @classmethod
    def of(cls, names: str, suite: int = 1, extensions: tuple[Extension, ...] = (), **leaf: object) -> "Made":
        """A group of key packages' leaves, at epoch 0, anchored."""
        made = cls(CipherSuite(suite))
        made.members = {index: made.signer(name) for index, name in enumerate(names)}
        leaves = [LeafMaker(one, **leaf).for_key_package() for one in made.members.values()]  # type: ignore[arg-type]
        made.state = anchor(made.group_info(made.tree(leaves), extensions=extensions), ANYBODY, NOW_S)
        return made

    def signer(self, name: str) -> Signer:
        """The one with this name: always the same, so that its keys are fresh each time."""
        return self.known.setdefault(name, Signer(self.suite, name))

    def tree(self, leaves: Sequence[bytes | None]) -> RatchetTree:
        nodes: list[LeafNode | ParentNode | None] = []
        for leaf in leaves:
            nodes += [None if leaf is None else read_leaf_node(Reader(leaf)), None]
        return tree_of(self.suite, nodes[:-1])

    def group_info(
        self,
        tree: RatchetTree | None = None,
        *,
        signer: int = 0,
        signed_by: Signer | None = None,
        group_id: bytes = GROUP,
        epoch: int = 0,
        confirmed: bytes = b"",
        tree_hash: bytes | None = None,
        tree_data: bytes | None = None,
        with_tree: bool = True,
        tag: bytes = b"C" * 32,
        extensions: tuple[Extension, ...] = (),
    ) -> bytes:
        tree = tree or self.state.tree
        out = Writer().u16(1).u16(self.suite).opaque(group_id).u64(epoch)
        out.opaque(tree.tree_hash if tree_hash is None else tree_hash).opaque(confirmed)
        out.raw(encode_extensions(extensions))
        carried = (Extension(2, tree.encode() if tree_data is None else tree_data),) if with_tree else ()
        content = out.raw(encode_extensions(carried)).opaque(tag).u32(signer).done()
        by = signed_by or self.members.get(signer) or self.signer("nobody")
        return HEADER["info"] + Writer().raw(content).opaque(by.sign(b"GroupInfoTBS", content)).done()

    def frame(
        self,
        content_type: int,
        body: bytes,
        sender: int,
        *,
        kind: int = 1,
        group_id: bytes = GROUP,
        epoch: int | None = None,
        signed_by: Signer | None = None,
        context: bytes | None = None,
    ) -> bytes:
        """A PublicMessage of a member, or of another kind of sender."""
        out = Writer().opaque(group_id).u64(self.state.epoch if epoch is None else epoch).u8(kind)
        if kind <= 2:
            out.u32(sender)
        content = out.opaque(b"aad").u8(content_type).raw(body).done()
        whole = b"\x00\x01\x00\x01" + content
        if kind in {1, 4}:
            whole += encode_context(self.state.context) if context is None else context
        by = signed_by or self.members.get(sender) or self.signer("nobody")
        tail = Writer().opaque(by.sign(b"FramedContentTBS", whole))
        if content_type == 3:
            tail.opaque(b"T" * 32)
        if kind == 1:
            tail.opaque(b"M" * 32)
        return HEADER["public"] + content + tail.done()

    def path(
        self,
        committer: int,
        proposals: Sequence[bytes] = (),
        *,
        after: RatchetTree | None = None,
        added: frozenset[int] = frozenset(),
        leaf: LeafMaker | None = None,
        bend: Bend | None = None,
        above: bytes | None = None,
    ) -> bytes:
        """An UpdatePath over ``after``, the tree with the proposals applied."""
        tree = after or self.state.tree
        signer = self.members[committer]
        filtered = tree.filtered_path(committer)
        nodes: list[tuple[bytes, int]] = []
        for place in filtered:
            left, right = tree_math.left(place), tree_math.right(place)
            first, last = tree_math.leaf_range(left)
            other = right if first <= committer < last else left
            nodes.append((signer.hpke(), sum(1 for at in tree.resolution(other) if at % 2 or at // 2 not in added)))
        if bend is not None:
            nodes = bend(nodes)
        carried = b""
        for place, (key, _) in list(zip(filtered, nodes, strict=False))[::-1]:
            left, right = tree_math.left(place), tree_math.right(place)
            first, last = tree_math.leaf_range(left)
            other = right if first <= committer < last else left
            carried = parent_hash(self.suite, ParentNode(key, carried, ()), tree.hashes[other])
        maker = leaf or LeafMaker(signer)
        out = Writer().raw(maker.for_commit(committer, carried if above is None else above))
        encoded = Writer()
        for key, count in nodes:
            secret = Writer().opaque(b"kem").opaque(b"sealed path secret").done()
            encoded.opaque(key).opaque(secret * count)
        return out.opaque(encoded.done()).done()

    def commit(
        self, committer: int, proposals: Sequence[bytes] = (), path: bytes | None = None, **frame: object
    ) -> bytes:
        """A commit of proposals, each by value or by reference."""
        body = Writer().opaque(b"".join(proposals)).u8(path is not None).raw(path or b"").done()
        return self.frame(3, body, committer, **frame)  # type: ignore[arg-type]

    def propose(self, sender: int, proposal: bytes, **frame: object) -> bytes:
        """A proposal by itself."""
        return self.frame(2, proposal, sender, **frame)  # type: ignore[arg-type]

    def follow(self, message: bytes) -> PublicGroup:
        """The state after a commit, kept."""
        self.state = self.state.follow(message, ANYBODY, NOW_S)
        return self.state


def leaf_bytes(tree: RatchetTree, index: int) -> bytes:
    leaf = tree.leaf(index)
    assert leaf is not None
    return encode_leaf(leaf)
