"""Frontier, proofs and their verifiers against the definition, and against others' vectors."""

import functools
import json
from base64 import b64decode
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tlog.naive import naive_path, naive_root

from letterlock.wire.tlog.errors import TreeError, TreeReason
from letterlock.wire.tlog.hashes import (
    EMPTY_ROOT,
    Frontier,
    fold_peaks,
    leaf_hash,
    node_hash,
    pack_peaks,
    root_of,
    unpack_peaks,
)
from letterlock.wire.tlog.proofs import (
    InnerTree,
    prove_consistency,
    prove_inclusion,
    root_from_inclusion,
    verify_consistency,
    verify_inclusion,
)

# The well-known reference leaves of RFC 6962 implementations, and their roots after 1 and 8 leaves.
REFERENCE = [bytes.fromhex(x) for x in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
REFERENCE.append(bytes.fromhex("606162636465666768696a6b6c6d6e6f"))
LEAVES = [b"leaf %d" % n for n in range(600)]
TREE = InnerTree([leaf_hash(leaf) for leaf in LEAVES])


@functools.cache
def root_at(size: int) -> bytes:
    return naive_root(LEAVES[:size])


def test_public_reference_roots() -> None:
    frontier = Frontier()
    assert frontier.root() == EMPTY_ROOT
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for leaf in REFERENCE:
        frontier.push(leaf_hash(leaf))
    assert frontier.root().hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def test_every_size_to_600_equals_the_definition() -> None:
    frontier = Frontier()
    for size in range(601):
        assert frontier.size == size
        assert frontier.root() == root_at(size)
        assert root_of(map(leaf_hash, LEAVES[:size])) == root_at(size)
        again = Frontier.restore(size, unpack_peaks(pack_peaks(frontier.peaks)))
        assert again.root() == root_at(size)
        if size < 600:
            frontier.push(leaf_hash(LEAVES[size]))


def test_copy_is_independent() -> None:
    frontier = Frontier()
    frontier.push(leaf_hash(b"a"))
    other = frontier.copy()
    other.push(leaf_hash(b"b"))
    assert (frontier.size, other.size) == (1, 2)
    assert frontier.root() == leaf_hash(b"a")
    assert other.root() == node_hash(leaf_hash(b"a"), leaf_hash(b"b"))
    assert repr(other) == "<Frontier size 2>"


@pytest.mark.parametrize(
    ("size", "peaks", "reason"),
    [
        (-1, 0, TreeReason.BAD_SIZE),
        (2**63, 1, TreeReason.BAD_SIZE),
        (3, 1, TreeReason.WRONG_PEAKS),
        (4, 2, TreeReason.WRONG_PEAKS),
        (0, 1, TreeReason.WRONG_PEAKS),
    ],
)
def test_restore_refuses_state_that_does_not_fit(size: int, peaks: int, reason: TreeReason) -> None:
    with pytest.raises(TreeError) as caught:
        Frontier.restore(size, [bytes(32)] * peaks)
    assert caught.value.reason is reason


def test_restore_refuses_short_hashes() -> None:
    with pytest.raises(TreeError, match="hash length"):
        Frontier.restore(1, [bytes(31)])
    with pytest.raises(TreeError, match="hash length"):
        unpack_peaks(bytes(33))
    assert fold_peaks(unpack_peaks(b"")) == EMPTY_ROOT


def test_small_trees_all_indexes_and_pairs_exactly_as_defined() -> None:
    for size in range(1, 41):
        for index in range(size):
            path = prove_inclusion(TREE, index, size)
            assert path == naive_path(index, LEAVES[:size])
            verify_inclusion(index, size, leaf_hash(LEAVES[index]), path, root_at(size))
        for older in range(1, size + 1):
            proof = prove_consistency(TREE, older, size)
            verify_consistency(older, size, proof, root_at(older), root_at(size))


@given(st.integers(1, 600).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))))
@settings(max_examples=600, deadline=None)
def test_pairs_to_600_accept_right_and_refuse_wrong(pair: tuple[int, int]) -> None:
    older, newer = pair
    index = older - 1
    path = prove_inclusion(TREE, index, newer)
    assert path == naive_path(index, LEAVES[:newer])
    verify_inclusion(index, newer, leaf_hash(LEAVES[index]), path, root_at(newer))
    proof = prove_consistency(TREE, older, newer)
    verify_consistency(older, newer, proof, root_at(older), root_at(newer))
    refuse = functools.partial(pytest.raises, TreeError)
    with refuse():
        verify_inclusion(index, newer, leaf_hash(b"other"), path, root_at(newer))
    with refuse():
        verify_inclusion(index, newer, leaf_hash(LEAVES[index]), [*path, bytes(32)], root_at(newer))
    with refuse():
        verify_inclusion(index, newer, leaf_hash(LEAVES[index]), path, leaf_hash(b"other"))
    if newer > 1:
        with refuse():
            verify_inclusion((index + 1) % newer, newer, leaf_hash(LEAVES[index]), path, root_at(newer))
        with refuse():
            verify_inclusion(index, newer, leaf_hash(LEAVES[index]), path[:-1], root_at(newer))
    with refuse():
        verify_consistency(older, newer, [*proof, bytes(32)], root_at(older), root_at(newer))
    with refuse():
        verify_consistency(older, newer, proof, leaf_hash(b"x"), root_at(newer))
    with refuse():
        verify_consistency(older, newer, proof, root_at(older), leaf_hash(b"x"))
    if older < newer:
        with refuse():
            verify_consistency(older, newer, proof[:-1], root_at(older), root_at(newer))
        with refuse():
            verify_consistency(newer, older, proof, root_at(newer), root_at(older))


@pytest.mark.long
def test_all_pairs_to_600() -> None:
    for newer in range(1, 601):
        for older in range(1, newer + 1):
            proof = prove_consistency(TREE, older, newer)
            verify_consistency(older, newer, proof, root_at(older), root_at(newer))
            path = prove_inclusion(TREE, older - 1, newer)
            verify_inclusion(older - 1, newer, leaf_hash(LEAVES[older - 1]), path, root_at(newer))


@given(
    st.integers(-2, 2**64),
    st.integers(-2, 2**64),
    st.lists(st.binary(min_size=30, max_size=33) | st.binary(min_size=32, max_size=32), max_size=70),
    st.binary(min_size=32, max_size=32),
)
@settings(max_examples=300, deadline=None)
def test_verifiers_are_total(index: int, size: int, path: list[bytes], root: bytes) -> None:
    with pytest.raises(TreeError):
        verify_inclusion(index, size, bytes(32), path, root)
    if index != size or path:
        with pytest.raises(TreeError):
            verify_consistency(index, size, path, bytes(32), root)


def test_provers_refuse_what_is_not_there() -> None:
    for index, size in ((0, 0), (-1, 4), (4, 4), (0, 601)):
        with pytest.raises(TreeError):
            prove_inclusion(TREE, index, size)
    for older, newer in ((-1, 3), (4, 3), (3, 601)):
        with pytest.raises(TreeError):
            prove_consistency(TREE, older, newer)
    assert prove_consistency(TREE, 0, 600) == prove_consistency(TREE, 7, 7) == []
    assert InnerTree([]).root == EMPTY_ROOT
    with pytest.raises(TreeError):
        InnerTree([]).prove(0)


def _cases(folder: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted(folder.rglob("*.json"))]


def _hashes(values: object) -> list[bytes]:
    assert values is None or isinstance(values, list)
    return [b64decode(value) for value in values or ()]


def test_inclusion_vectors_of_transparency_dev(vectors: Path) -> None:
    cases = _cases(vectors / "merkle" / "testdata" / "inclusion")
    assert len(cases) == 98
    accepted = 0
    for case in cases:
        ok = _accepts_inclusion(case)
        assert ok is not case["wantErr"], case["desc"]
        accepted += ok
    assert accepted == sum(not case["wantErr"] for case in cases) > 0


def _accepts_inclusion(case: dict[str, object]) -> bool:
    index, size = case["leafIdx"], case["treeSize"]
    assert isinstance(index, int)
    assert isinstance(size, int)
    leaf, root = b64decode(str(case["leafHash"])), b64decode(str(case["root"]))
    try:
        verify_inclusion(index, size, leaf, _hashes(case["proof"]), root)
    except TreeError:
        return False
    return root_from_inclusion(index, size, leaf, _hashes(case["proof"])) == root


def test_consistency_vectors_of_transparency_dev(vectors: Path) -> None:
    cases = _cases(vectors / "merkle" / "testdata" / "consistency")
    assert len(cases) == 98
    stricter = []
    for case in cases:
        older, newer = case["size1"], case["size2"]
        assert isinstance(older, int)
        assert isinstance(newer, int)
        roots = b64decode(str(case["root1"])), b64decode(str(case["root2"]))
        try:
            verify_consistency(older, newer, _hashes(case["proof"]), *roots)
        except TreeError:
            if not case["wantErr"]:
                stricter.append((case["desc"], len(roots[0])))
        else:
            assert not case["wantErr"], case["desc"]
    # One vector calls two equal 12-byte strings good roots; a root here is 32 bytes.
    assert stricter == [("sizes are equal (one) and proof is empty", 12)]
