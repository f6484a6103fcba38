"""Paths, tiles and bundles of the static layout."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tlog.makelog import MemoryLog, entry, log_of

from letterlock.wire.tlog.errors import TileError, TileReason, TreeError
from letterlock.wire.tlog.hashes import leaf_hash
from letterlock.wire.tlog.proofs import InnerTree, prove_consistency, prove_inclusion
from letterlock.wire.tlog.tiles import (
    Address,
    Resource,
    TileHashes,
    bundle_address,
    bundles_at,
    encode_bundle,
    split_bundle,
    split_tile,
    tile_address,
    tiles_at,
    width_at,
)


def test_paths_of_the_specification() -> None:
    assert tile_address(0, 1_234_067).path == "tile/0/x001/x234/067"
    assert tile_address(2, 0, 17).path == "tile/2/000.p/17"
    assert bundle_address(999).path == "tile/entries/999"
    assert bundle_address(1000, 255).path == "tile/entries/x001/000.p/255"
    assert Address(Resource.CHECKPOINT).path == "checkpoint"


@given(
    st.sampled_from([Resource.TILE, Resource.ENTRIES]),
    st.integers(0, 7),
    st.integers(0, 2**55 - 1),
    st.integers(1, 256),
)
@settings(max_examples=300)
def test_paths_are_read_as_written(kind: Resource, level: int, index: int, width: int) -> None:
    made = Address(kind, level if kind is Resource.TILE else 0, index, width)
    assert Address.parse(made.path) == made


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "tile", "tile/", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/x000",
        "tile/8/000",
        "tile/00/000", "tile/0/x000/000", "tile/0/001/000", "tile/0/x001/x000", "tile/0/000.p/0", "tile/0/000.p/256",
        "tile/0/000.p/257", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p/1/2", "tile/entries", "tile/entries/0",
        "tile/entry/000", "tile/-1/000", "tile/0/-01", "tile/0/٠٠٠", "../checkpoint", "checkpoint/",
        "tile/0/000/../001",
        "tile/0/" + "x001/" * 20 + "000", "tile//000", "tile/0//000", "tile/0/000\n", " tile/0/000",
    ],
)  # fmt: skip
def test_other_spellings_are_refused(path: str) -> None:
    with pytest.raises(TileError):
        Address.parse(path)


@given(st.text(max_size=70))
def test_path_parser_is_total(path: str) -> None:
    try:
        assert Address.parse(path).path == path
    except TileError:
        return


@pytest.mark.parametrize(
    ("level", "index", "width"), [(-1, 0, 1), (8, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257), (0, 2**55, 1)]
)
def test_impossible_coordinates(level: int, index: int, width: int) -> None:
    with pytest.raises(TileError, match="bad coordinates"):
        tile_address(level, index, width)


def test_shape_of_seventy_thousand() -> None:
    tiles = list(tiles_at(70_000))
    full = [sum(t.level == level and t.width == 256 for t in tiles) for level in range(4)]
    partial = [sum(t.level == level and t.width < 256 for t in tiles) for level in range(4)]
    assert (full, partial) == ([273, 1, 0, 0], [1, 1, 1, 0])
    assert [t.path for t in tiles if t.width < 256] == ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]
    assert len(list(bundles_at(70_000))) == 274
    assert list(tiles_at(0)) == list(bundles_at(0)) == []


@given(st.integers(0, 70_000))
@settings(max_examples=50)
def test_widths_add_up(size: int) -> None:
    for level in range(3):
        assert sum(t.width for t in tiles_at(size) if t.level == level) == size >> (8 * level)
    assert sum(t.width for t in bundles_at(size)) == size
    assert width_at(size, 0, size // 256 + 1) == 0


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_bundles_are_read_as_written(entries: list[bytes]) -> None:
    data = encode_bundle(entries)
    assert split_bundle(data, len(entries)) == entries
    for wrong in (len(entries) + 1, len(entries) - 1):
        if wrong >= 0:
            with pytest.raises(TileError):
                split_bundle(data, wrong)
    if data:
        with pytest.raises(TileError):
            split_bundle(data[:-1], len(entries))
    with pytest.raises(TileError) as caught:
        split_bundle(data + b"\x00", len(entries))
    assert caught.value.reason is TileReason.TRAILING_BYTES


def test_bounds_of_a_bundle() -> None:
    assert split_bundle(encode_bundle([bytes(65_535)]), 1) == [bytes(65_535)]
    with pytest.raises(TileError, match="too large"):
        encode_bundle([bytes(65_536)])


@given(st.binary(max_size=100), st.integers(0, 256))
def test_bundle_and_tile_parsers_are_total(data: bytes, width: int) -> None:
    for parse in (split_bundle, split_tile):
        try:
            assert len(parse(data, width)) == width
        except TileError:
            continue


def test_tiles_serve_provers_at_every_size() -> None:
    entries = [entry(n) for n in range(600)]
    tree = InnerTree([leaf_hash(one) for one in entries])
    for size in (1, 2, 255, 256, 257, 511, 512, 513, 600):
        hashes = TileHashes(log_of(entries[:size]), size)
        for other in {1, 2, 100, 255, 256, 257, 300, 511, 512, size - 1, size}:
            if 0 < other <= size:
                assert prove_inclusion(hashes, other - 1, size) == prove_inclusion(tree, other - 1, size)
                assert prove_consistency(hashes, other, size) == prove_consistency(tree, other, size)


def test_missing_or_malformed_tiles_do_not_serve() -> None:
    log = log_of([entry(n) for n in range(300)])
    assert len(prove_inclusion(TileHashes(log, 300), 299, 300)) > 0
    for damaged in (MemoryLog({**log.files, "tile/0/000": b"short"}), MemoryLog({})):
        with pytest.raises((TreeError, TileError)):
            prove_inclusion(TileHashes(damaged, 300), 5, 300)
    for height, index in ((-1, 0), (0, -1), (0, 300), (9, 0), (8, 1)):
        with pytest.raises(TreeError):
            TileHashes(log, 300).subtree(height, index)
