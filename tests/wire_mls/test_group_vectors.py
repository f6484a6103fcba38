"""The official vectors of what needs no key: tree math, trees, paths, transcripts, and real GroupInfos.

Trees and hashes run for all seven suites; what follows a group, for the two that are followed. The rest is counted.
"""

import hashlib
import hmac
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from letterlock.wire.mls.codec import Reader, Writer
from letterlock.wire.mls.group import FOLLOWED, FollowError, FollowReason, PublicGroup, anchor, pack, tree_math, unpack
from letterlock.wire.mls.group.commit import merge_path
from letterlock.wire.mls.group.rules import check_key_package, check_leaf, check_tree, requirements
from letterlock.wire.mls.group.transcript import confirmed_transcript_hash, interim_transcript_hash
from letterlock.wire.mls.group.tree import RatchetTree, parse_tree
from letterlock.wire.mls.proposals import Add, Remove, Update, read_commit, read_proposal
from letterlock.wire.mls.structures import (
    LeafNode,
    read_group_id,
    read_key_package,
    read_update_path,
)
from letterlock.wire.mls.suites import CipherSuite
from letterlock.wire.mls.welcome import read_group_info, read_welcome

NOW_S = 1_690_000_000
"""A time within the lifetimes that the vectors' makers wrote."""
MESSAGES_S = 1_680_000_000
"""The same for messages.json."""


class Anybody:
    """Every credential is good: the vectors name no authority."""

    def check(self, leaf: LeafNode, now_s: int) -> int:
        return (1 << 64) - 1


def load(vectors: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((vectors / "mls" / f"{name}.json").read_text())
    return found


def tree_in(entry: dict[str, Any], name: str) -> RatchetTree:
    return parse_tree(CipherSuite(entry["cipher_suite"]), bytes.fromhex(entry[name]))


def test_tree_math(vectors: Path) -> None:
    cases = load(vectors, "tree-math")
    for case in cases:
        leaves, nodes, top = case["n_leaves"], range(case["n_nodes"]), case["root"]
        assert (tree_math.width(leaves), tree_math.root(leaves)) == (case["n_nodes"], top)
        assert [tree_math.left(n) if n % 2 else None for n in nodes] == case["left"]
        assert [tree_math.right(n) if n % 2 else None for n in nodes] == case["right"]
        assert [tree_math.parent(n) if n != top else None for n in nodes] == case["parent"]
        assert [tree_math.sibling(n) if n != top else None for n in nodes] == case["sibling"]
    assert len(cases) == 10


def test_tree_operations(vectors: Path) -> None:
    kinds = Counter[str]()
    for case in load(vectors, "tree-operations"):
        tree = tree_in(case, "tree_before")
        assert tree.tree_hash.hex() == case["tree_hash_before"]
        reader = Reader(bytes.fromhex(case["proposal"]))
        proposal = read_proposal(reader)
        reader.finish()
        editor = tree.edit()
        match proposal:
            case Add(package):
                editor.add(package.leaf)
            case Update(leaf):
                editor.update(case["proposal_sender"], leaf)
            case Remove(removed):
                editor.remove(removed)
            case _:
                raise AssertionError("another kind of proposal than the vectors promise")
        after = editor.done()
        assert (after.encode().hex(), after.tree_hash.hex()) == (case["tree_after"], case["tree_hash_after"])
        kinds[type(proposal).__name__] += 1
    assert kinds == {"Add": 2, "Update": 1, "Remove": 2}


def test_tree_validation(vectors: Path) -> None:
    suites = Counter[int]()
    for case in load(vectors, "tree-validation"):
        tree = tree_in(case, "tree")
        assert [one.hex() for one in tree.hashes] == case["tree_hashes"]
        assert [tree.resolution(node) for node in range(len(tree.nodes))] == case["resolutions"]
        assert tree.encode().hex() == case["tree"]
        check_tree(tree)
        for index, leaf in tree.members():
            check_leaf(tree.suite, leaf, bytes.fromhex(case["group_id"]), index, requirements(()), Anybody(), NOW_S)
        suites[case["cipher_suite"]] += 1
    assert suites == dict.fromkeys(range(1, 8), 14)


def test_each_change_of_a_valid_tree_is_seen(vectors: Path) -> None:
    """The refusal beside it: with one byte of one parent hash changed, the tree says so."""
    seen = 0
    for case in load(vectors, "tree-validation"):
        if case["cipher_suite"] not in FOLLOWED:
            continue
        data = bytearray.fromhex(case["tree"])
        tree = tree_in(case, "tree")
        for index in range(1, len(tree.nodes), 2):
            node = tree.parent(index)
            if node is None:
                continue
            data[data.index(node.encryption_key)] ^= 1
            with pytest.raises(FollowError) as refused:
                check_tree(parse_tree(tree.suite, bytes(data)))
            assert refused.value.reason is FollowReason.PARENT_HASH
            data[:] = bytes.fromhex(case["tree"])
            seen += 1
    assert seen > 100


def test_update_paths(vectors: Path) -> None:
    done = 0
    for case in load(vectors, "treekem"):
        tree = tree_in(case, "ratchet_tree")
        check_tree(tree)
        for update in case["update_paths"]:
            reader = Reader(bytes.fromhex(update["update_path"]))
            path = read_update_path(reader)
            reader.finish()
            after = merge_path(tree, path, update["sender"], frozenset())
            assert after.tree_hash.hex() == update["tree_hash_after"]
            check_tree(after)
            group_id, sender = bytes.fromhex(case["group_id"]), update["sender"]
            check_leaf(tree.suite, path.leaf, group_id, sender, requirements(()), Anybody(), NOW_S)
            done += 1
    assert done == 434


def test_transcript_hashes(vectors: Path) -> None:
    cases = load(vectors, "transcript-hashes")
    for case in cases:
        suite = CipherSuite(case["cipher_suite"])
        reader = Reader(bytes.fromhex(case["authenticated_content"]))
        assert reader.u16() == 1
        start = reader.at
        read_group_id(reader)
        reader.u64()
        assert reader.u8() == 1
        reader.u32()
        reader.opaque()
        assert reader.u8() == 3
        read_commit(reader)
        content = reader.data[start : reader.at]
        signature, tag = reader.opaque(), reader.opaque()
        reader.finish()
        before = bytes.fromhex(case["interim_transcript_hash_before"])
        confirmed = confirmed_transcript_hash(suite, before, content, signature)
        assert confirmed.hex() == case["confirmed_transcript_hash_after"]
        assert interim_transcript_hash(suite, confirmed, tag).hex() == case["interim_transcript_hash_after"]
    assert len(cases) == 7


def test_messages(vectors: Path) -> None:
    outcomes = Counter[object]()
    for entry in load(vectors, "messages"):
        data = {name: bytes.fromhex(value) for name, value in entry.items()}
        reader = Reader(data["mls_group_info"], 4)
        suite = CipherSuite(read_group_info(reader).context.suite)
        check_tree(parse_tree(suite, data["ratchet_tree"]))
        try:
            group = anchor(data["mls_group_info"], Anybody(), MESSAGES_S)
        except FollowError as error:
            outcomes[error.reason] += 1
            continue
        # The makers framed these by themselves: well-formed, of that group and epoch, and not signed by its member.
        for act, name in ((group.follow, "public_message_commit"), (group.propose, "public_message_proposal")):
            with pytest.raises(FollowError) as refused:
                act(data[name], Anybody(), MESSAGES_S)
            assert refused.value.reason is FollowReason.SIGNATURE
        outcomes[suite] += 1
    assert outcomes == {CipherSuite(1): 100, CipherSuite(2): 100, FollowReason.SUITE: 100}


# -- passive clients: the vectors' private keys open the Welcome here, in the test, to reach a real GroupInfo ---------


def _open_welcome(case: dict[str, Any]) -> bytes:
    suite = CipherSuite(case["cipher_suite"])
    reader = Reader(bytes.fromhex(case["welcome"]), 4)
    welcome = read_welcome(reader)
    reader.finish()
    reader = Reader(bytes.fromhex(case["key_package"]), 4)
    package = read_key_package(reader)
    check_key_package(suite, package)
    own = next(one for one in welcome.secrets if one.key_package_ref == _ref(package.encoded))
    private: x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey
    if suite == 1:
        private = x25519.X25519PrivateKey.from_private_bytes(bytes.fromhex(case["init_priv"]))
        hpke = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_128_GCM)
    else:
        private = ec.derive_private_key(int(case["init_priv"], 16), ec.SECP256R1())
        hpke = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_128_GCM)
    info = Writer().opaque(b"MLS 1.0 Welcome").opaque(welcome.encrypted_group_info).done()
    secrets = Reader(hpke.decrypt(own.sealed.kem_output + own.sealed.ciphertext, private, info))
    joiner = secrets.opaque()
    member = hmac.digest(joiner, _psk_secret(case, secrets), "sha256")
    secret = _expand(member, b"welcome", b"", 32)
    key, nonce = _expand(secret, b"key", b"", 16), _expand(secret, b"nonce", b"", 12)
    return b"\x00\x01\x00\x04" + AESGCM(key).decrypt(nonce, welcome.encrypted_group_info, b"")


def _psk_secret(case: dict[str, Any], secrets: Reader) -> bytes:
    if secrets.optional():
        secrets.opaque()
    named = secrets.vector()
    ids: list[tuple[bytes, bytes]] = []
    while named.at < named.end:
        start = named.at
        assert named.u8() == 1
        psk_id = named.opaque()
        named.opaque()
        ids.append((psk_id, named.data[start : named.at]))
    held = {bytes.fromhex(one["psk_id"]): bytes.fromhex(one["psk"]) for one in case["external_psks"]}
    secret = bytes(32)
    for place, (psk_id, encoded) in enumerate(ids):
        extracted = hmac.digest(bytes(32), held[psk_id], "sha256")
        label = Writer().raw(encoded).u16(place).u16(len(ids)).done()
        secret = hmac.digest(_expand(extracted, b"derived psk", label, 32), secret, "sha256")
    return secret


def _expand(secret: bytes, label: bytes, context: bytes, size: int) -> bytes:
    info = Writer().u16(size).opaque(b"MLS 1.0 " + label).opaque(context).done()
    return HKDFExpand(SHA256(), size, info).derive(secret)


def _ref(encoded: bytes) -> bytes:
    return hashlib.sha256(Writer().opaque(b"MLS 1.0 KeyPackage Reference").opaque(encoded).done()).digest()


def anchors(vectors: Path) -> list[tuple[PublicGroup, bytes, bytes | None]]:
    found: list[tuple[PublicGroup, bytes, bytes | None]] = []
    for case in load(vectors, "passive-client-welcome"):
        if case["cipher_suite"] in FOLLOWED:
            group_info = _open_welcome(case)
            tree = None if case["ratchet_tree"] is None else bytes.fromhex(case["ratchet_tree"])
            found.append((anchor(group_info, Anybody(), NOW_S, tree=tree), group_info, tree))
    return found


def test_passive_clients_anchor_to_real_group_infos(vectors: Path) -> None:
    cases = load(vectors, "passive-client-welcome")
    found = anchors(vectors)
    assert (len(found), len(cases)) == (16, 56)
    for group, group_info, tree in found:
        assert len(group.roster()) > 1
        group.agrees(group_info)
        assert pack(unpack(pack(group))) == pack(group)
        broken = group_info[:-1] + bytes([group_info[-1] ^ 1])
        with pytest.raises(FollowError) as refused:
            anchor(broken, Anybody(), NOW_S, tree=tree)
        assert refused.value.reason is FollowReason.GROUP_INFO_SIGNATURE


def test_other_suites_are_refused_by_type(vectors: Path) -> None:
    skipped = Counter[int]()
    for case in load(vectors, "welcome"):
        suite = CipherSuite(case["cipher_suite"])
        if suite in FOLLOWED:
            continue
        context = Writer().u16(1).u16(suite).opaque(b"g").u64(0).opaque(b"T" * 32).opaque(b"").opaque(b"")
        size = {4: 64, 5: 64, 6: 64, 7: 48}.get(suite, 32)
        info = Writer().u16(1).u16(4).raw(context.done()).opaque(b"").opaque(b"C" * size).u32(0).opaque(b"S").done()
        with pytest.raises(FollowError) as refused:
            anchor(info, Anybody(), NOW_S)
        assert refused.value.reason is FollowReason.SUITE
        skipped[suite] += 1
    assert skipped == dict.fromkeys((3, 4, 5, 6, 7), 1)
