"""The ledger on the command line: sound, damaged, cut off, forked; offline and by its own documented exit codes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.app.stores import SignedStore, called, ended, parsed, signed_store

from letterlock.model.capability import Channel
from letterlock.model.clock import ManualClock
from letterlock.storage.maintenance_commands import RecordEvent
from letterlock.storage.sqlite.connection import open_reader
from letterlock.storage.sqlite.core import StoreCore
from letterlock.storage.sqlite.ledger_rows import LedgerRows
from letterlock.storage.sqlite.registry import handlers
from letterlock.wire.tlog.commitments import Digest
from letterlock.wire.tlog.entries import Config
from letterlock.wire.tlog.records import BatchBuilder
from letterlock.wire.tlog.records import delivered as delivered_record


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SignedStore:
    """One log for all tests, which copy it before they touch it."""
    return signed_store(tmp_path_factory.mktemp("made") / "store")


@pytest.fixture
def store(made: SignedStore, tmp_path: Path) -> SignedStore:
    shutil.copytree(made.folder, tmp_path / "store")
    return SignedStore(tmp_path / "store", made.signer)


def test_a_sound_log_verifies_in_the_store_and_exported(store: SignedStore, tmp_path: Path) -> None:
    report = parsed("ledger", "verify", "--data", str(store.folder))
    assert (report["finding"], report["entries"], report["witnessing"]) == (None, 300, "unwitnessed")
    assert report["heads_compared"] == 1
    assert report["kinds"] == {"config": 300}
    export = tmp_path / "export"
    exported = parsed("ledger", "export", str(export), "--data", str(store.folder))
    assert exported["size"] == 300
    shutil.rmtree(store.folder)
    again = parsed("ledger", "verify", "--from", str(export), "--key", str(store.key))
    assert (again["finding"], again["entries"], again["root"]) == (None, 300, report["root"])
    assert "Sound: all 300 entries" in called("ledger", "verify", "--from", str(export), "--key", str(store.key)).output


CHANGED = "UPDATE ledger_entry SET d = CAST(replace(CAST(d AS TEXT), '\"v\":1', '\"v\":2') AS BLOB) WHERE i = {}"


@pytest.mark.parametrize("index", [0, 1, 137, 255])
def test_a_changed_entry_is_named_by_its_exact_index(store: SignedStore, index: int) -> None:
    store.tamper(CHANGED.format(index))
    report = parsed("ledger", "verify", "--data", str(store.folder), status=20)
    assert (report["finding"], report["first_bad"], report["bad_before"]) == ("entry_changed", index, index + 1)
    done = ended("ledger", "verify", "--data", str(store.folder))
    assert done.returncode == 20
    assert f"at index {index}." in done.stdout


@pytest.mark.parametrize("index", [256, 257, 287, 295, 298, 299])
def test_behind_the_last_full_tile_it_is_as_exact(store: SignedStore, index: int) -> None:
    store.tamper(CHANGED.format(index))
    report = parsed("ledger", "verify", "--data", str(store.folder), status=20)
    assert (report["finding"], report["first_bad"], report["bad_before"]) == ("entry_changed", index, index + 1)


def test_exact_at_every_index_of_a_store_that_has_grown_since_its_head_was_signed(store: SignedStore) -> None:
    core = StoreCore(store.folder, handlers(), ManualClock())
    core.apply([RecordEvent(Config(ts=1, config=Digest(bytes(32)))) for _ in range(7)])
    core.close()
    store.tamper(CHANGED.format(299))
    report = parsed("ledger", "verify", "--data", str(store.folder), status=20)
    assert (report["finding"], report["first_bad"]) == ("entry_changed", 299)


def test_of_two_changed_entries_on_both_sides_of_the_last_full_tile_the_first_is_named(store: SignedStore) -> None:
    store.tamper(CHANGED.format(260), CHANGED.format(270), CHANGED.format(7))
    report = parsed("ledger", "verify", "--data", str(store.folder), status=20)
    assert (report["finding"], report["first_bad"]) == ("entry_changed", 7)


def test_reordered_entries_behind_the_last_full_tile_are_named(store: SignedStore) -> None:
    store.tamper(
        "UPDATE ledger_entry SET i = -1 WHERE i = 280",
        "UPDATE ledger_entry SET i = 280 WHERE i = 290",
        "UPDATE ledger_entry SET i = 290 WHERE i = -1",
    )
    report = parsed("ledger", "verify", "--data", str(store.folder), status=20)
    assert (report["finding"], report["first_bad"]) == ("entries_reordered", 280)


def test_changed_hashes_of_the_newest_entries_alone_are_found(store: SignedStore) -> None:
    store.tamper("UPDATE ledger_edge SET hashes = zeroblob(length(hashes))")
    report = parsed("ledger", "verify", "--data", str(store.folder), status=20)
    assert (report["finding"], report["first_bad"]) == ("tile_changed", 256)


NO_EDGE = "UPDATE ledger_edge SET hashes = x'', first = 0"


@pytest.mark.parametrize(
    ("index", "first", "before"), [(256, 256, 288), (287, 256, 288), (295, 288, 296), (299, 296, 300)]
)
def test_whoever_changes_the_newest_hashes_too_leaves_the_range_of_the_head_s_peaks(
    store: SignedStore, index: int, first: int, before: int
) -> None:
    store.tamper(CHANGED.format(index), NO_EDGE)
    report = parsed("ledger", "verify", "--data", str(store.folder), status=20)
    assert (report["first_bad"], report["bad_before"]) == (first, before)


def test_then_former_heads_make_it_exact(store: SignedStore) -> None:
    for _ in range(4):
        store.grow(1)
    store.tamper(CHANGED.format(301), NO_EDGE)
    report = parsed("ledger", "verify", "--data", str(store.folder), status=20)
    assert (report["first_bad"], report["bad_before"]) == (301, 302)


@pytest.mark.parametrize("index", [0, 137, 256, 299])
def test_in_an_exported_log_every_changed_entry_is_exact(store: SignedStore, tmp_path: Path, index: int) -> None:
    parsed("ledger", "export", str(tmp_path / "export"), "--data", str(store.folder))
    bundle = next((tmp_path / "export/tile/entries").rglob("44" if index > 255 else "000"))
    entry = LedgerRows(open_reader(store.folder)).entries(index, index + 1)[0]
    bundle.write_bytes(bundle.read_bytes().replace(entry, entry.replace(b'"v":1', b'"v":2')))
    arguments = ("--from", str(tmp_path / "export"), "--key", str(store.key))
    report = parsed("ledger", "verify", *arguments, status=20)
    assert (report["finding"], report["first_bad"], report["bad_before"]) == ("entry_changed", index, index + 1)


def test_reordered_entries_are_named(store: SignedStore) -> None:
    store.tamper(
        "UPDATE ledger_entry SET i = -1 WHERE i = 20",
        "UPDATE ledger_entry SET i = 20 WHERE i = 21",
        "UPDATE ledger_entry SET i = 21 WHERE i = -1",
    )
    report = parsed("ledger", "verify", "--data", str(store.folder), status=20)
    assert (report["finding"], report["first_bad"]) == ("entries_reordered", 20)


@pytest.mark.parametrize("index", [0, 100, 270, 299])
def test_a_missing_entry_cannot_be_verified_and_is_named(store: SignedStore, index: int) -> None:
    store.tamper(f"DELETE FROM ledger_entry WHERE i = {index}")
    report = parsed("ledger", "verify", "--data", str(store.folder), status=10)
    assert (report["finding"], report["gravity"], report["first_bad"]) == ("data_missing", "cannot_verify", index)


def test_a_store_that_never_signed_cannot_be_verified(store: SignedStore) -> None:
    store.tamper("DELETE FROM ledger_checkpoint")
    (store.folder / "ledger-head.note").unlink()
    assert parsed("ledger", "verify", "--data", str(store.folder), status=10)["finding"] == "checkpoint_missing"
    assert ended("ledger", "head", "--data", str(store.folder)).returncode == 10


def test_a_rollback_shows_against_the_second_place_and_against_a_head_held_elsewhere(
    store: SignedStore, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(store.folder, backup)
    old = (backup / "ledger-head.note").read_bytes()
    newer = tmp_path / "newer.note"
    newer.write_bytes(store.grow(10))
    # The second place is kept: it alone shows the rollback.
    shutil.copy(backup / "letterlock.db", store.folder / "letterlock.db")
    report = parsed("ledger", "verify", "--data", str(store.folder), status=30)
    assert (report["finding"], report["first_bad"]) == ("tail_dropped", 300)
    # The second place is rolled back too: the store alone looks sound, a head held elsewhere does not agree.
    (store.folder / "ledger-head.note").write_bytes(old)
    assert parsed("ledger", "verify", "--data", str(store.folder))["finding"] is None
    held = ("--head", str(newer))
    assert parsed("ledger", "verify", "--data", str(store.folder), *held, status=30)["finding"] == "tail_dropped"
    assert parsed("ledger", "consistency", "--data", str(store.folder), *held, status=30)["consistent"] is False


def test_a_crash_between_the_two_places_of_a_head_is_no_rollback(store: SignedStore) -> None:
    store.grow(5)
    store.tamper("DELETE FROM ledger_checkpoint WHERE size > 300")
    report = parsed("ledger", "verify", "--data", str(store.folder))
    assert (report["finding"], report["size"]) == (None, 305)


def test_another_history_under_the_same_key_is_a_fork(made: SignedStore, tmp_path: Path) -> None:
    other = SignedStore(tmp_path / "other", made.signer)
    other.grow(7)
    note = tmp_path / "other.note"
    note.write_bytes(other.grow(20))
    arguments = ("--data", str(made.folder), "--head", str(note))
    assert parsed("ledger", "verify", *arguments, status=30)["finding"] == "forked"
    assert parsed("ledger", "consistency", *arguments, status=30)["consistent"] is False


def test_a_head_of_another_key_is_not_taken(store: SignedStore, tmp_path: Path) -> None:
    stranger = SignedStore(store.folder, Ed25519PrivateKey.generate())
    report = parsed("ledger", "verify", "--data", str(store.folder), "--key", str(stranger.key), status=20)
    assert report["finding"] == "not_signed_by_log"
    assert called("ledger", "verify", "--data", str(store.folder), "--key", "nonsense").exit_code == 2
    other = signed_store(tmp_path / "other", 3)
    note = str(other.folder / "ledger-head.note")
    assert ended("ledger", "verify", "--data", str(store.folder), "--head", note).returncode == 20


@pytest.mark.parametrize("index", [0, 255, 299])
def test_a_proof_is_checked_offline_and_fails_for_other_bytes(store: SignedStore, tmp_path: Path, index: int) -> None:
    proof = tmp_path / "entry.proof"
    parsed("ledger", "prove", str(index), "--data", str(store.folder), "--out", str(proof))
    shutil.rmtree(store.folder)
    checked = parsed("ledger", "check-proof", str(proof), "--key", str(store.key))
    assert (checked["proven"], checked["index"], checked["size"], checked["type"]) == (True, index, 300, "config")
    entry = tmp_path / "entry.json"
    entry.write_text(str(checked["entry"]).replace('"v":1', '"v":2'))
    done = ended("ledger", "check-proof", str(proof), "--key", str(store.key), "--entry", str(entry))
    assert done.returncode == 20
    proof.write_bytes(proof.read_bytes().replace(b"index %d" % index, b"index %d" % (index ^ 1), 1))
    assert ended("ledger", "check-proof", str(proof), "--key", str(store.key)).returncode == 20


def test_a_proof_of_an_entry_that_is_not_signed_yet_cannot_be_had(store: SignedStore) -> None:
    done = ended("ledger", "prove", "300", "--data", str(store.folder), "--json")
    assert done.returncode == 10
    assert json.loads(done.stderr)["error"] == "not_yet_signed"


def test_consistency_with_an_older_head(store: SignedStore, tmp_path: Path) -> None:
    older = tmp_path / "older.note"
    assert called("ledger", "head", "--data", str(store.folder), "--out", str(older)).exit_code == 0
    store.grow(50)
    report: Any = parsed("ledger", "consistency", "--data", str(store.folder), "--head", str(older))
    assert (report["consistent"], report["older"], report["newer"]) == (True, 300, 350)
    assert report["proof"]


def test_head_and_key_are_printed_as_they_are_kept(store: SignedStore) -> None:
    note = (store.folder / "ledger-head.note").read_text()
    assert called("ledger", "head", "--data", str(store.folder)).stdout == note
    assert parsed("ledger", "head", "--data", str(store.folder))["note"] == note
    assert called("ledger", "key", "--data", str(store.folder)).stdout.strip() == str(store.key)
    assert parsed("ledger", "key", "--data", str(store.folder))["key"] == str(store.key)


def test_a_receipt_is_checked_offline(tmp_path: Path) -> None:
    from letterlock.ledger.serve import Prover
    from letterlock.model.clock import ManualClock
    from letterlock.storage.maintenance_commands import RecordEvent
    from letterlock.storage.sqlite.core import StoreCore
    from letterlock.storage.sqlite.registry import handlers
    from letterlock.wire.tlog.checkpoint import open_checkpoint

    store = signed_store(tmp_path / "store", 3)
    batch = BatchBuilder()
    for number in range(5):
        batch.add(delivered_record(number, bytes((number,)) * 32, Channel.RELAY))
    core = StoreCore(store.folder, handlers(), ManualClock())
    core.apply([RecordEvent(batch.entry(9))])
    core.close()
    note = store.grow(1)
    rows = LedgerRows(open_reader(store.folder))
    receipt = Prover(rows, open_checkpoint(note, store.key)).receipt(3, batch.records, 2).encode()
    file = tmp_path / "receipt"
    file.write_bytes(receipt)
    checked = parsed("ledger", "check-receipt", str(file), "--key", str(store.key))
    assert (checked["proven"], checked["index"], checked["slot"]) == (True, 3, 2)
    file.write_bytes(receipt.replace(b"index 3", b"index 2", 1))
    assert ended("ledger", "check-receipt", str(file), "--key", str(store.key)).returncode == 20


def test_a_newer_schema_is_refused_by_every_reading_command(store: SignedStore) -> None:
    store.tamper("PRAGMA user_version = 999")
    for arguments in (("ledger", "verify"), ("fsck",), ("retention", "verify"), ("tenant", "list"), ("ledger", "head")):
        done = ended(*arguments, "--data", str(store.folder), "--json")
        assert done.returncode == 40, arguments
        assert json.loads(done.stderr)["error"] == "store_written_by_a_newer_version"


def test_a_file_that_is_no_store_is_refused_in_words(store: SignedStore) -> None:
    (store.folder / "letterlock.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    for arguments in (("ledger", "verify"), ("fsck",), ("tenant", "list")):
        done = ended(*arguments, "--data", str(store.folder))
        assert done.returncode == 40
        assert "damaged" in done.stderr
        assert "Traceback" not in done.stderr
