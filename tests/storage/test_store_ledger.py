"""The ledger's rows are in the transaction of what they record, and every record can be proven from them."""

import os
import re
from importlib import resources
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.storage.making import CLOCK, make, message
from tests.tlog.makelog import KeySigner, MemoryKeeper

from letterlock.ledger.errors import LedgerError, LedgerReason
from letterlock.ledger.heads import HeadSigner
from letterlock.ledger.serve import Prover, StoreReader
from letterlock.storage.commands import Ack
from letterlock.storage.errors import StorageError, StorageReason
from letterlock.storage.sqlite.connection import (
    DATABASE,
    StoreLock,
    migrations,
    open_reader,
    open_writer,
    storage_errors,
)
from letterlock.storage.sqlite.core import StoreCore
from letterlock.storage.sqlite.ledger_rows import LedgerRows, save_checkpoint
from letterlock.storage.sqlite.registry import handlers
from letterlock.wire.tlog.commitments import CommitmentKind, commit, record_salt
from letterlock.wire.tlog.entries import Batch, decode_entry
from letterlock.wire.tlog.errors import TreeError
from letterlock.wire.tlog.records import Accepted, decode_record
from letterlock.wire.tlog.verify import verify_log, verify_receipt


class Rows(LedgerRows):
    """The store as the signer sees it; notes go straight into the rows."""

    def save_checkpoint(self, size: int, note: bytes) -> None:
        save_checkpoint(self._db, size, note)


def test_every_record_of_every_commit_is_provable_offline(tmp_path: Path) -> None:
    core = make(tmp_path)
    outcomes = []
    for size in (1, 2, 7):
        outcomes += core.apply([message() for _ in range(size)])
    core.apply([message(), Ack(1, 2, 3, CLOCK.now_ms()), Ack(1, 3, 1, CLOCK.now_ms())])
    core.close()
    db = apsw.Connection(str(tmp_path / DATABASE))
    store = Rows(db)
    signer = KeySigner()
    heads = HeadSigner(store, signer, MemoryKeeper())
    heads.start()
    head = heads.sign()
    prover = Prover(store, head)

    def found(sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return db.execute(sql, values).fetchall()

    batches = {
        entry: (seed, records.split(b"\n"))
        for entry, seed, records in found("SELECT entry, seed, records FROM record_batch")
    }
    for outcome in outcomes:
        entry, slot = found("SELECT entry, slot FROM message WHERE seq=?", outcome.seq)[0]
        seed, records = batches[entry]
        proven = verify_receipt(prover.receipt(entry, records, slot).encode(), signer.verifier_key)
        assert isinstance(proven.record, Accepted)
        # With the opening, which is erasable, the record is that of this very message.
        opened = commit(CommitmentKind.MESSAGE, record_salt(seed, slot), outcome.message_id)
        assert opened.value == proven.record.message
        spoilt = [bytes(reversed(record)) if place == slot else record for place, record in enumerate(records)]
        with pytest.raises(TreeError):
            verify_receipt(prover.receipt(entry, spoilt, slot).encode(), signer.verifier_key)
    told = decode_entry(store.entries(3, 4)[0])
    assert isinstance(told, Batch)
    assert (told.accepted, told.acked, told.n) == (1, 2, 3)
    kinds = [type(decode_record(record)).__name__ for record in batches[3][1]]
    assert kinds == ["Accepted", "Acked", "Acked"]
    verdict = verify_log(StoreReader(store, head.checkpoint.size, head.note), signer.verifier_key)
    assert verdict.finding is None
    assert verdict.checked == 4
    db.close()


def test_a_ledger_with_missing_rows_is_not_written_on(tmp_path: Path) -> None:
    core = make(tmp_path)
    core.apply([message()])
    core.close()
    db = apsw.Connection(str(tmp_path / DATABASE))
    db.execute("PRAGMA foreign_keys=OFF; DROP TRIGGER ledger_entry_kept; DELETE FROM ledger_entry").fetchall()
    db.close()
    with pytest.raises(LedgerError) as caught:
        StoreCore(tmp_path, handlers(), CLOCK)
    assert caught.value.reason is LedgerReason.ROWS_MISSING


def test_migrations_are_numbered_without_holes() -> None:
    numbers = [number for number, _ in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers
    assert all(re.search("CREATE|ALTER", sql) for _, sql in migrations())


def test_a_hole_in_the_migrations_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0001_first.sql").write_text("SELECT 1")
    (tmp_path / "0003_third.sql").write_text("SELECT 1")
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)
    with pytest.raises(StorageError) as caught:
        migrations()
    assert caught.value.reason is StorageReason.CORRUPT
    (tmp_path / "0002_second.sql").write_text("SELECT 1")
    assert [number for number, _ in migrations()] == [1, 2, 3]
    (tmp_path / "0004_e2ee_first.sql").write_text("SELECT 1")
    with pytest.raises(StorageError):
        migrations()
    (tmp_path / "0004_e2ee_first.sql").rename(tmp_path / "notes.txt")
    assert len(migrations()) == 3, "what is no SQL is none of them"


def test_a_migration_that_fails_leaves_the_schema_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from letterlock.storage.sqlite import connection

    steps = migrations()
    make(tmp_path).close()
    monkeypatch.setattr(connection, "migrations", lambda: [*steps, (len(steps) + 1, "CREATE TABLE a (b); BROKEN")])
    with pytest.raises(StorageError):
        open_writer(tmp_path)
    monkeypatch.undo()
    db = open_writer(tmp_path)
    assert db.execute("PRAGMA user_version").get == len(steps)
    assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name='a'").get == 0
    db.close()


def test_a_newer_store_is_not_changed_by_the_refusal(tmp_path: Path) -> None:
    make(tmp_path).close()
    db = apsw.Connection(str(tmp_path / DATABASE))
    db.execute("PRAGMA user_version=99; PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.close()
    before = (tmp_path / DATABASE).read_bytes()
    with pytest.raises(StorageError) as caught:
        open_writer(tmp_path)
    assert caught.value.reason is StorageReason.NEWER_SCHEMA
    assert (tmp_path / DATABASE).read_bytes() == before


def lock_and_open(place: Path) -> None:
    lock = StoreLock(place)
    try:
        open_writer(place).close()
    finally:
        lock.release()


@pytest.mark.parametrize("where", ["folder", "lock", "database"])
def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path, where: str) -> None:
    place = tmp_path / "store"
    if where == "folder":
        place.write_text("a file where the folder should be")
    else:
        (place / {"lock": "store.lock", "database": DATABASE}[where]).mkdir(parents=True)
    with pytest.raises(StorageError) as caught:
        lock_and_open(place)
    assert caught.value.reason is StorageReason.READ_ONLY


def test_a_damaged_page_is_found_when_it_is_read(tmp_path: Path) -> None:
    core = make(tmp_path)
    core.apply([message(sealed=os.urandom(9000)) for _ in range(40)])
    core.close()
    size = (tmp_path / DATABASE).stat().st_size
    with (tmp_path / DATABASE).open("r+b") as file:
        for page in range(2, size // 4096):
            file.seek(page * 4096)
            file.write(os.urandom(64))
    with pytest.raises(StorageError) as caught:
        StoreCore(tmp_path, handlers(), CLOCK).read_back("SELECT count(*) FROM message WHERE rule='x'")
    assert caught.value.reason in {StorageReason.CORRUPT, StorageReason.FAILED}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (apsw.FullError, StorageReason.DISK_FULL),
        (apsw.BusyError, StorageReason.LOCKED),
        (apsw.CorruptError, StorageReason.CORRUPT),
        (apsw.NotADBError, StorageReason.CORRUPT),
        (apsw.ReadOnlyError, StorageReason.READ_ONLY),
        (apsw.CantOpenError, StorageReason.READ_ONLY),
        (apsw.IOError, StorageReason.IO_FAILED),
        (apsw.InterruptError, StorageReason.OVERLOADED),
        (apsw.ConstraintError, StorageReason.FAILED),
    ],
)
def test_what_sqlite_says_goes_no_further(error: type[Exception], reason: StorageReason) -> None:
    with pytest.raises(StorageError) as caught, storage_errors():
        raise error("UNIQUE constraint failed: canary")
    assert caught.value.reason is reason
    assert "canary" not in f"{caught.value!r}{caught.value}"
    assert caught.value.__suppress_context__


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    make(tmp_path).close()
    reader = open_reader(tmp_path)
    assert reader.execute("SELECT count(*) FROM device").get == 5
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("DELETE FROM device").fetchall()
    reader.close()
