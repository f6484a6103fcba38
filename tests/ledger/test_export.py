"""The static export and what is served from the store."""

import errno
import functools
import os
from pathlib import Path

import pytest
from tests.tlog.makelog import KeySigner, MemoryStore, entry, grown, signed
from tests.tlog.naive import naive_root

from letterlock.ledger.errors import LedgerError, LedgerReason
from letterlock.ledger.export import LogDirectory, export_log
from letterlock.ledger.serve import Prover, StoreReader
from letterlock.wire.tlog.errors import EntryError, NoteError
from letterlock.wire.tlog.hashes import leaf_hash
from letterlock.wire.tlog.proofs import verify_consistency, verify_inclusion
from letterlock.wire.tlog.verify import verify_log

KEY = KeySigner().verifier_key
ENTRIES = [entry(number) for number in range(700)]


@functools.cache
def reader_of(size: int) -> StoreReader:
    store = grown(ENTRIES[:size])
    return StoreReader(store, size, signed(store).note)


def reason_of(reader: StoreReader, root: Path) -> LedgerReason:
    with pytest.raises(LedgerError) as caught:
        export_log(reader, KEY, root)
    return caught.value.reason


def files_in(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_an_export_grows_and_never_rewrites(tmp_path: Path) -> None:
    root = tmp_path / "log"
    assert export_log(reader_of(300), KEY, root).added == 2 + 2 + 1
    before = files_in(root)
    assert export_log(reader_of(300), KEY, root).added == 0
    assert files_in(root) == before
    grown_export = export_log(reader_of(700), KEY, root)
    # Bundles 1 and 2, level-0 tiles 1 and 2, level-1 tile of width 2; what was there stays.
    assert (grown_export.size, grown_export.added) == (700, 5)
    after = files_in(root)
    assert all(after[name] == data for name, data in before.items() if name != "checkpoint")
    assert verify_log(LogDirectory(root), KEY).finding is None
    assert not [name for name in after if name.endswith(".new")]


def test_other_bytes_are_left_alone_and_stop_the_export(tmp_path: Path) -> None:
    root = tmp_path / "log"
    export_log(reader_of(300), KEY, root)
    promised = (root / "checkpoint").read_bytes()
    for name in ("tile/0/000", "tile/entries/000"):
        path = root / name
        sound = path.read_bytes()
        path.write_bytes(b"tampered")
        assert reason_of(reader_of(700), root) is LedgerReason.OTHER_BYTES_THERE
        assert path.read_bytes() == b"tampered"
        assert (root / "checkpoint").read_bytes() == promised
        path.write_bytes(sound)
    assert export_log(reader_of(700), KEY, root).size == 700


def test_the_checkpoint_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up at each write in turn: what the directory promises is always there."""
    reader = reader_of(700)
    real = os.fsync
    done = False
    for failing in range(20):
        root = tmp_path / f"log{failing}"
        export_log(reader_of(300), KEY, root)
        left = failing

        def fsync(handle: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(errno.ENOSPC, "full")
            real(handle)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            try:
                export_log(reader, KEY, root)
                done = True
            except OSError:
                done = False
        verdict = verify_log(LogDirectory(root), KEY)
        assert verdict.finding is None
        assert not done or verdict.checked == 700
        assert export_log(reader, KEY, root).size == 700
        assert verify_log(LogDirectory(root), KEY).checked == 700
        assert not [name for name in files_in(root) if name.endswith(".new")]
    assert done


def test_refusals_of_an_export(tmp_path: Path) -> None:
    store = grown(ENTRIES[:300])
    assert reason_of(StoreReader(store, 300), tmp_path / "a") is LedgerReason.NOTHING_SIGNED
    root = tmp_path / "b"
    export_log(reader_of(700), KEY, root)
    assert reason_of(reader_of(300), root) is LedgerReason.EXPORT_NEWER
    other = grown([*ENTRIES[:699], entry(1)])
    assert reason_of(StoreReader(other, 700, signed(other).note), root) is LedgerReason.OTHER_BYTES_THERE
    with pytest.raises(NoteError):
        export_log(reader_of(300), KeySigner(seed=b"\x66" * 32).verifier_key, tmp_path / "c")
    store = grown(ENTRIES[:600])
    note = signed(store).note
    store.rows = store.rows[:590]
    assert reason_of(StoreReader(store, 600, note), tmp_path / "d") is LedgerReason.ROWS_MISSING
    assert not (tmp_path / "d" / "checkpoint").exists()


def test_a_partial_tile_is_served_from_the_full_one_that_replaced_it(tmp_path: Path) -> None:
    root = tmp_path / "log"
    export_log(reader_of(700), KEY, root)
    directory = LogDirectory(root)
    assert directory.tile(0, 0, 10) == b"".join(map(leaf_hash, ENTRIES[:10]))
    assert directory.tile(0, 9, 10) is None
    assert directory.bundle(0, 10) is None
    assert LogDirectory(tmp_path / "none").checkpoint() is None


def test_the_store_serves_only_what_the_size_holds() -> None:
    store = grown(ENTRIES)
    reader = StoreReader(store, 300)
    assert reader.checkpoint() is None
    assert reader.tile(0, 0, 256) == store.tiles[0, 0]
    assert reader.tile(0, 1, 44) == b"".join(map(leaf_hash, ENTRIES[256:300]))
    assert reader.tile(1, 0, 1) is not None
    for level, index, width in ((0, 1, 45), (0, 1, 256), (0, 2, 1), (1, 0, 2), (2, 0, 1), (0, 0, 0)):
        assert reader.tile(level, index, width) is None
    assert reader.bundle(1, 44) is not None
    for index, width in ((1, 45), (2, 1), (0, 0)):
        assert reader.bundle(index, width) is None
    store.tiles.clear()
    assert StoreReader(store, 700).tile(0, 0, 256) is None
    assert StoreReader(store, 700).tile(1, 0, 2) is None
    store.tiles = {(0, 0): b"short", (0, 1): b"short"}
    assert StoreReader(store, 700).tile(1, 0, 2) is None


def test_proofs_from_the_store_verify() -> None:
    store = grown(ENTRIES)
    head = signed(store)
    prover = Prover(store, head)
    for index in (0, 255, 256, 511, 512, 699):
        path = prover.inclusion(index)
        verify_inclusion(index, 700, leaf_hash(ENTRIES[index]), path, head.checkpoint.root)
        older = prover.inclusion(index, index + 1)
        verify_inclusion(index, index + 1, leaf_hash(ENTRIES[index]), older, naive_root(ENTRIES[: index + 1]))
        proof = prover.consistency(index + 1)
        verify_consistency(index + 1, 700, proof, naive_root(ENTRIES[: index + 1]), head.checkpoint.root)
    assert prover.consistency(0) == []
    verify_consistency(100, 300, prover.consistency(100, 300), naive_root(ENTRIES[:100]), naive_root(ENTRIES[:300]))


def test_refusals_of_the_prover() -> None:
    store = grown(ENTRIES)
    head = signed(store)
    prover = Prover(store, head)
    for index, size in ((-1, None), (700, None), (5, 5), (5, 701)):
        with pytest.raises(LedgerError, match="not yet signed"):
            prover.inclusion(index, size)
    for older, newer in ((-1, None), (701, None), (5, 4), (5, 701)):
        with pytest.raises(LedgerError, match="not yet signed"):
            prover.consistency(older, newer)
    with pytest.raises(EntryError, match="no such slot"):
        prover.receipt(5, [b"1 d 1"], 1)
    empty = Prover(MemoryStore(), head)
    with pytest.raises(LedgerError, match="rows missing"):
        empty.inclusion(5)
    with pytest.raises(LedgerError, match="rows missing"):
        empty.consistency(5)
    store.rows = store.rows[:5]
    with pytest.raises(LedgerError, match="rows missing"):
        Prover(store, head).receipt(5, [b"1 d 1"], 0)
