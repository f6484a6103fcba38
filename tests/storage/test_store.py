"""The store: what a group commit promises, and what it refuses."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest
from tests.storage.making import CLOCK, make, message, rows

from letterlock.ledger.serve import StoreReader
from letterlock.model.message import MessageState
from letterlock.storage.commands import Accepted, AcceptSealed, Ack, Acked
from letterlock.storage.errors import CommitReason, CommitRefused, StorageError, StorageReason
from letterlock.storage.maintenance_commands import Purge, Purged
from letterlock.storage.sqlite.committer import MAX_QUEUED, GroupCommitter
from letterlock.storage.sqlite.connection import DATABASE, StoreLock, open_reader
from letterlock.storage.sqlite.core import StoreCore
from letterlock.storage.sqlite.ledger_rows import LedgerRows
from letterlock.storage.sqlite.registry import handlers
from letterlock.wire.tlog.entries import Batch, decode_entry
from letterlock.wire.tlog.tiles import TileHashes


def test_a_batch_is_accepted_with_dense_sequences_and_one_ledger_entry(tmp_path: Path) -> None:
    core = make(tmp_path)
    outcomes = core.apply([message(), message(sender=2), message()])
    assert [outcome.deliveries for outcome in outcomes] == [((2, 1), (3, 1)), ((1, 1), (3, 2)), ((2, 2), (3, 3))]
    (entry,) = rows(core, "SELECT d FROM ledger_entry")
    assert isinstance(entry[0], bytes)
    told = decode_entry(entry[0])
    assert isinstance(told, Batch)
    assert told.accepted == 3
    core.close()


@pytest.mark.attack("A17")
def test_a_retry_finds_its_first_answer_and_another_request_is_a_conflict(tmp_path: Path) -> None:
    core = make(tmp_path)
    one = message()
    first, again = core.apply([one, one])
    assert (first.duplicate, again.duplicate) == (False, True)
    assert again.record_hash == first.record_hash
    (later,) = core.apply([one])
    assert later.duplicate
    refusals = core.apply([message(one.message_id, mac=b"x" * 16), message(one.message_id, tenant=2)])
    assert [refusal.reason for refusal in refusals] == [CommitReason.CONFLICT] * 2
    assert rows(core, "SELECT count(*) FROM mailbox_item") == [(2,)]
    core.close()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (message(policy=9), CommitReason.STALE_DECISION),
        (message(session=9), CommitReason.STALE_DECISION),
        (message(epoch=8), CommitReason.WRONG_EPOCH),
        (message(epoch=2), CommitReason.EPOCH_TOO_OLD),
        (message(sender=4), CommitReason.NOT_ALLOWED),
        (message(tenant=2, sender=5), CommitReason.NOT_FOUND),
    ],
)
def test_a_refused_command_leaves_the_others(tmp_path: Path, command: AcceptSealed, reason: CommitReason) -> None:
    core = make(tmp_path)
    before, refusal, after = core.apply([message(epoch=3), command, message()])
    assert isinstance(refusal, CommitRefused)
    assert refusal.reason is reason
    assert isinstance(before, Accepted)
    assert isinstance(after, Accepted)
    assert rows(core, "SELECT count(*) FROM message") == [(2,)]
    core.close()


def test_acknowledging_deletes_the_range_and_the_body_with_its_last_recipient(tmp_path: Path) -> None:
    core = make(tmp_path)
    core.apply([message(), message()])
    (acked,) = core.apply([Ack(1, 2, 2, CLOCK.now_ms())])
    assert isinstance(acked, Acked)
    assert acked.count == 2
    assert rows(core, "SELECT count(*) FROM sealed_body") == [(2,)]
    core.apply([Ack(1, 3, 1, CLOCK.now_ms())])
    assert rows(core, "SELECT count(*) FROM sealed_body") == [(1,)]
    assert rows(core, "SELECT state FROM message ORDER BY seq") == [
        (int(MessageState.DELIVERED),), (int(MessageState.ACCEPTED),)
    ]  # fmt: skip
    earlier, beyond, foreign = core.apply([Ack(1, 2, 1, 0), Ack(1, 2, 3, 0), Ack(2, 2, 2, 0)])
    assert earlier.count == 0
    assert beyond.reason is foreign.reason is CommitReason.NOT_ALLOWED
    core.close()


def test_metadata_is_gone_n_minutes_after_delivery(tmp_path: Path) -> None:
    core = make(tmp_path)
    core.apply([message()])
    core.apply([Ack(1, 2, 1, CLOCK.now_ms()), Ack(1, 3, 1, CLOCK.now_ms())])
    (early,) = core.apply([Purge(CLOCK.now_ms() + core.purge_after_ms - 1, 100, 0)])
    (late,) = core.apply([Purge(CLOCK.now_ms() + core.purge_after_ms, 100, 0)])
    assert isinstance(early, Purged)
    assert (early.messages, late.messages) == (0, 1)
    assert rows(core, "SELECT count(*) FROM message") == [(0,)]
    core.close()


def test_deleted_ciphertext_is_not_in_the_files_after_truncation(tmp_path: Path) -> None:
    core = make(tmp_path)
    canary = os.urandom(8).hex().encode() * 20
    core.apply([message(sealed=canary)])
    files = [tmp_path / DATABASE, tmp_path / f"{DATABASE}-wal"]
    assert any(canary[:40] in file.read_bytes() for file in files)
    core.apply([Ack(1, 2, 1, 0), Ack(1, 3, 1, 0)])
    core.checkpoint(truncate=True)
    assert not any(canary[:40] in file.read_bytes() for file in files)
    core.close()


def test_a_failed_transaction_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    core = make(tmp_path)
    core.apply([message()])
    pages = int(str(rows(core, "PRAGMA page_count")[0][0]))
    rows(core, f"PRAGMA max_page_count={pages}")
    with pytest.raises(StorageError) as caught:
        core.apply([message(sealed=os.urandom(60_000)) for _ in range(20)])
    assert caught.value.reason is StorageReason.DISK_FULL
    rows(core, "PRAGMA max_page_count=1000000")
    size = core.tree_size
    (accepted,) = core.apply([message()])
    assert accepted.deliveries == ((2, 2), (3, 2))
    assert core.tree_size == size + 1
    core.close()


@pytest.mark.parametrize("table", ["ledger_entry", "ledger_tile", "ledger_checkpoint"])
def test_the_ledgers_rows_refuse_update_and_delete(tmp_path: Path, table: str) -> None:
    make(tmp_path).close()
    db = apsw.Connection(str(tmp_path / DATABASE))
    row = {"ledger_entry": "(0, x'00')", "ledger_tile": "(0, 0, x'00')", "ledger_checkpoint": "(1, x'00')"}[table]
    column = "note" if table == "ledger_checkpoint" else "d"
    db.execute(f"INSERT INTO {table} VALUES {row}")
    for attempt in (f"UPDATE {table} SET {column}=x'01'", f"DELETE FROM {table}"):
        with pytest.raises(apsw.ConstraintError):
            db.execute(attempt).fetchall()
    db.close()


def test_the_trees_rows_carry_on_over_restarts_and_tiles(tmp_path: Path) -> None:
    core = make(tmp_path)
    for _ in range(150):
        core.apply([message()])
    core.close()
    core = StoreCore(tmp_path, handlers(), CLOCK)
    for _ in range(150):
        core.apply([message()])
    reader = open_reader(tmp_path)
    store = LedgerRows(reader)
    size, _ = store.head()
    assert size == core.tree_size == 300
    assert TileHashes(StoreReader(store, size), size).subtree(8, 0)
    reader.close()
    core.close()


def test_a_body_has_no_readable_column_and_a_kept_copy_needs_a_consent(tmp_path: Path) -> None:
    core = make(tmp_path)
    core.apply([message()])
    assert [row[1] for row in rows(core, "PRAGMA table_info(sealed_body)")] == ["message", "sealed", "generation"]
    with pytest.raises(StorageError):
        core.read_back("INSERT INTO kept_copy VALUES (1, x'00', x'00', 1, 1)")
    core.close()


def test_a_newer_schema_is_refused_untouched(tmp_path: Path) -> None:
    make(tmp_path).close()
    db = apsw.Connection(str(tmp_path / DATABASE))
    db.execute("PRAGMA user_version=99").fetchall()
    db.close()
    with pytest.raises(StorageError) as caught:
        StoreCore(tmp_path, handlers(), CLOCK)
    assert caught.value.reason is StorageReason.NEWER_SCHEMA


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"not a database, but long enough to be looked at" * 40)
    with pytest.raises(StorageError) as caught:
        StoreCore(tmp_path, handlers(), CLOCK)
    assert caught.value.reason is StorageReason.CORRUPT


def test_a_second_process_on_the_same_store_gets_a_clear_error(tmp_path: Path) -> None:
    lock = StoreLock(tmp_path)
    program = (
        "import sys; from pathlib import Path; from letterlock.storage.sqlite.connection import StoreLock\n"
        "from letterlock.storage.errors import StorageError\n"
        "try:\n StoreLock(Path(sys.argv[1]))\nexcept StorageError as error:\n print(error); sys.exit(7)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=False, capture_output=True, env=environment
    )
    assert done.returncode == 7
    assert b"another process" in done.stdout
    lock.release()
    StoreLock(tmp_path).release()


async def test_the_committer_keeps_order_and_refuses_overload_at_once(tmp_path: Path) -> None:
    committer = GroupCommitter(make(tmp_path), asyncio.get_running_loop())
    futures = [committer.submit([message()]) for _ in range(50)]
    sequences = [(await future)[0].deliveries[0][1] for future in futures]
    assert sequences == list(range(1, 51))
    with pytest.raises(StorageError) as caught:
        committer.submit([message()] * (MAX_QUEUED + 1))
    assert caught.value.reason is StorageReason.OVERLOADED
    await committer.truncate()
    await committer.close()
    with pytest.raises(StorageError):
        committer.submit([message()])


async def test_a_command_that_breaks_fails_alone(tmp_path: Path) -> None:
    committer = GroupCommitter(make(tmp_path), asyncio.get_running_loop())
    blocked = committer.submit([message()])
    futures = [committer.submit([command]) for command in (message(), object(), message())]
    outcomes = await asyncio.gather(blocked, *futures, return_exceptions=True)
    assert isinstance(outcomes[2], StorageError)
    assert outcomes[2].reason is StorageReason.FAILED
    assert [type(outcome) for outcome in outcomes] == [list, list, StorageError, list]
    await committer.close()
    reader = open_reader(tmp_path)
    assert reader.execute("SELECT count(*) FROM message").fetchall() == [(3,)]
    reader.close()
