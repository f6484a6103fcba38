"""With the profile "high-risk" the ledger grows by the clock: what it does not tell, and that nothing is lost by it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.gateway_sealed.stage import Stage, standard
from tests.gateway_sealed.test_few_traces import GOOD, high_risk, private, sends, takes
from tests.relay.world import bundle
from tests.storage.making import CLOCK, make, message
from tests.tlog.makelog import KeySigner, MemoryKeeper

from letterlock.gateway.intervals import Intervals
from letterlock.gateway.sealed import Offered
from letterlock.ledger.heads import HeadSigner
from letterlock.ledger.serve import Prover, StoreReader
from letterlock.model.message import MessageState
from letterlock.model.traces import USUAL, LedgerRhythm, Traces
from letterlock.storage.errors import StorageError
from letterlock.storage.maintenance_commands import CloseIntervals
from letterlock.storage.sqlite.core import StoreCore
from letterlock.storage.sqlite.fsck import check_store
from letterlock.storage.sqlite.ledger_rows import LedgerRows, save_checkpoint
from letterlock.storage.sqlite.open_reads import OpenReads
from letterlock.storage.sqlite.record_books import interval_of, place_of
from letterlock.storage.sqlite.registry import handlers
from letterlock.wire.stream import ResultStatus
from letterlock.wire.tlog import records as made_records
from letterlock.wire.tlog.commitments import message_commitment, record_salt
from letterlock.wire.tlog.entries import Batch, Interval, decode_entry
from letterlock.wire.tlog.hashes import leaf_hash
from letterlock.wire.tlog.intervals import INTERVAL_MS, SMALLEST, interval_end
from letterlock.wire.tlog.verify import verify_log, verify_receipt

ROOT = Path(__file__).resolve().parent.parent.parent


class Rows(LedgerRows):
    def save_checkpoint(self, size: int, note: bytes) -> None:
        save_checkpoint(self._db, size, note)


async def entries(stage: Stage, since: int = 0) -> list[Any]:
    return [
        decode_entry(d) for (d,) in await stage.world.rows("SELECT d FROM ledger_entry WHERE i>=? ORDER BY i", since)
    ]


async def size(stage: Stage) -> int:
    return len(await entries(stage))


def to_the_end(stage: Stage) -> None:
    now = stage.world.clock.now_ms()
    stage.world.clock.advance(interval_end(now) - now)


async def busy(stage: Stage) -> None:
    """Messages, acknowledgements and a commit, each in a commit of the store of its own."""
    for number in range(3):
        assert (await sends(stage, number, b"%d" % number)).status is GOOD
        await takes(stage, number)
    done = await stage.world.groups.commit(stage.phones[0].caller, stage.group, bundle(b"a group", 1, counter=9))
    assert done.epoch == 2


async def test_the_ledger_grows_by_the_clock_whether_somebody_writes_or_not(tmp_path: Path) -> None:
    grown = {}
    for name, act in (("busy", busy), ("silent", None)):
        async with private(tmp_path / name, high_risk()) as stage:
            intervals = Intervals(stage.world.committer, stage.world.clock)
            before = await size(stage)
            for at in range(3):
                if act is not None and at == 1:
                    await act(stage)
                    assert await size(stage) == before + at, "nothing enters the ledger when it happens"
                assert not await intervals.look(), "not before its time"
                to_the_end(stage)
                assert await intervals.look()
                assert not await intervals.look(), "and once"
            new = await entries(stage, before)
            grown[name] = [(type(one), one.ts % INTERVAL_MS, one.n) for one in new]
            kept = await stage.world.rows("SELECT count(*) FROM record_batch WHERE interval IS NOT NULL")
            assert kept == [(1 if act else 0,)]
    assert grown["busy"] == grown["silent"] == [(Interval, 0, SMALLEST)] * 3
    async with private(tmp_path / "usual", standard()) as stage:
        before = await size(stage)
        await busy(stage)
        usual = await entries(stage, before)
        assert {type(one) for one in usual} == {Batch}, "the positive control: an entry for each commit"
        assert len(usual) >= 6
        to_the_end(stage)
        await Intervals(stage.world.committer, stage.world.clock).resume()
        assert await size(stage) == before + len(usual), "no tenant asks for intervals, so there are none"


async def test_records_wait_in_the_transaction_of_their_message(tmp_path: Path) -> None:
    async with private(tmp_path, high_risk()) as stage:
        done = await sends(stage, 0, b"said")
        (row,) = await stage.world.rows("SELECT entry, slot FROM message WHERE id=?", done.message_id)
        (waits,) = await stage.world.rows(
            "SELECT r.record, i.until_ms, i.seed FROM waiting_record r JOIN record_interval i ON i.no=r.interval"
            " WHERE r.interval=? AND r.slot=?", interval_of(row[0]), row[1],
        )  # fmt: skip
        assert waits[1] == interval_end(stage.world.clock.now_ms())
        told = made_records.decode_record(waits[0])
        assert isinstance(told, made_records.Accepted)
        # The salt can be derived again, so that the commitment in the record can be opened.
        assert message_commitment(record_salt(waits[2], row[1]), done.message_id) == told.message
        spoilt = Offered(stage.group.value, b"not MLS at all..", b"these are no MLS bytes")
        (apart,) = await stage.acceptor.accept(stage.sender(0), [spoilt])
        assert apart.status is ResultStatus.QUARANTINED
        assert await stage.world.rows("SELECT count(*) FROM record_batch WHERE interval IS NOT NULL") == [(0,)]


async def test_a_receipt_verifies_once_the_interval_is_closed_and_says_when_before(tmp_path: Path) -> None:
    async with private(tmp_path, high_risk()) as stage:
        texts = [await sends(stage, number % 3, b"%d" % number) for number in range(5)]
        reads = OpenReads(stage.world.readers, stage.acceptor._ids)
        row = await reads.message(1, texts[3].message_id)
        assert row is not None
        assert row.entry < 0
        assert await reads.interval_end(row.entry) == interval_end(stage.world.clock.now_ms())
        assert await reads.interval_end(7) is None
        assert await reads.records(row.entry) is None
        to_the_end(stage)
        await Intervals(stage.world.committer, stage.world.clock).resume()
        row = await reads.message(1, texts[3].message_id)
        assert row is not None
        assert row.entry > 0
        found = await reads.records(row.entry)
        assert found is not None
        signer = KeySigner()
        heads = HeadSigner(Rows(stage.world.core._db), signer, MemoryKeeper())
        heads.start()
        head = heads.sign()
        assert head is not None
        receipt = Prover(LedgerRows(stage.world.core._db), head).receipt(row.entry, found[0], row.slot, found[1])
        proven = verify_receipt(receipt.encode(), signer.verifier_key)
        assert isinstance(proven.batch, Interval)
        assert proven.batch.n == SMALLEST
        assert len(receipt.inner_path) == 6
        assert leaf_hash(receipt.record) == row.record_hash == texts[3].record_hash
        reader = StoreReader(LedgerRows(stage.world.core._db), head.checkpoint.size, head.note)
        verdict = verify_log(reader, signer.verifier_key)
        assert verdict.finding is None
        assert verdict.kinds["interval"] == 1
        checks = await stage.world.readers.read(lambda db: check_store(db, {7}))
        assert [one.name for one in checks if one.bad] == []


def killed(folder: Path, mode: str) -> list[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src"), *sys.path])}
    child = subprocess.run(
        [sys.executable, "-m", "tests.gateway_sealed.interval_child", str(folder), mode],
        capture_output=True, env=environment, cwd=ROOT, timeout=120, check=False,
    )  # fmt: skip
    assert child.returncode == -signal.SIGKILL, child.stderr
    return [bytes.fromhex(line) for line in child.stdout.decode().split()]


@pytest.mark.parametrize("mode", ["open", "closing", "full"])
def test_kill_9_loses_no_record_and_a_start_closes_what_was_open(tmp_path: Path, mode: str) -> None:
    make(tmp_path).close()
    told = killed(tmp_path, mode)
    assert len(told) >= 20
    core = StoreCore(tmp_path, handlers(), CLOCK, traces={1: Traces(ledger=LedgerRhythm.EACH_INTERVAL)})
    try:
        ((open_before,),) = core.read_back("SELECT count(*) FROM record_interval")
        assert open_before >= 1
        core.apply([CloseIntervals(interval_end(CLOCK.now_ms()), silent=False)])
        for table in ("record_interval", "waiting_record"):
            assert core.read_back(f"SELECT count(*) FROM {table}") == [(0,)]
        rows = core.read_back("SELECT id, entry, slot FROM message")
        assert {row[0] for row in rows} >= set(told)
        for message_id, place, slot in rows:
            no = interval_of(place)
            assert no is not None
            assert place_of(no) == place
            ((found, seed),) = core.read_back("SELECT records, seed FROM record_batch WHERE interval=?", (no,))
            record = made_records.decode_record(found.split(b"\n")[slot])
            assert isinstance(record, made_records.Accepted)
            assert record.message == message_commitment(record_salt(seed, slot), message_id)
        assert [one.name for one in check_store(core._db, {3}) if one.bad] == []
        signer = KeySigner()
        heads = HeadSigner(Rows(core._db), signer, MemoryKeeper())
        heads.start()
        head = heads.sign()
        assert head is not None
        reader = StoreReader(LedgerRows(core._db), head.checkpoint.size, head.note)
        assert verify_log(reader, signer.verifier_key).finding is None
    finally:
        core.close()


def test_a_refused_or_failed_commit_leaves_no_record(tmp_path: Path) -> None:
    make(tmp_path).close()
    few = {1: Traces(ledger=LedgerRhythm.EACH_INTERVAL)}
    core = StoreCore(tmp_path, handlers(), CLOCK, traces=few)
    try:
        core.apply([message(sender=4)])
        assert core.read_back("SELECT count(*) FROM record_interval") == [(0,)], (
            "it was refused: no record, no interval"
        )
        core.stage([message()])
        core._db.execute("ROLLBACK").fetchall()
        with pytest.raises(StorageError):
            core.commit()
        (good,) = core.apply([message()])
        assert (good.slot, core.read_back("SELECT count(*) FROM waiting_record")) == (0, [(1,)])
        assert good.status == int(MessageState.ACCEPTED)
        # Another tenant's messages have their entry at once, in the same commit.
        (other,) = core.apply([message(tenant=2, sender=5)])
        assert other is not None
        assert core._traces.get(2, USUAL) is USUAL
    finally:
        core.close()
