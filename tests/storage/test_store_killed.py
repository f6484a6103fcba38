"""SIGKILL at random moments, and a disk that fails: what was acknowledged is there, once, and the ledger verifies."""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.storage.making import CLOCK, make, message
from tests.tlog.makelog import KeySigner, MemoryKeeper

from letterlock.ledger.heads import HeadSigner
from letterlock.ledger.serve import StoreReader
from letterlock.storage.sqlite.core import StoreCore
from letterlock.storage.sqlite.ledger_rows import LedgerRows, save_checkpoint
from letterlock.storage.sqlite.registry import handlers
from letterlock.wire.tlog.entries import Batch, decode_entry
from letterlock.wire.tlog.verify import verify_log

ROOT = Path(__file__).resolve().parent.parent.parent


class Rows(LedgerRows):
    def save_checkpoint(self, size: int, note: bytes) -> None:
        save_checkpoint(self._db, size, note)


class Told:
    """What children were told is durable."""

    def __init__(self) -> None:
        self.sequences: dict[bytes, int] = {}
        self.applied = 0
        self.failures: list[str] = []

    def read(self, text: bytes) -> None:
        for line in text.split(b"\n")[:-1]:
            kind, *rest = line.decode().split(" ")
            if kind == "+":
                self.sequences[bytes.fromhex(rest[0])] = int(rest[1])
            elif kind == "-":
                self.applied = int(rest[0])
            elif kind == "!":
                self.failures.append(rest[0])


def start(folder: Path, failures: int = -1, wrap: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src"), *sys.path])}
    command = [*wrap, sys.executable, "-m", "tests.storage.writing_child", str(folder), str(failures)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=ROOT)


def check(folder: Path, told: Told, signer: KeySigner, keeper: MemoryKeeper) -> None:
    core = StoreCore(folder, handlers(), CLOCK)
    try:
        assert core.read_back("PRAGMA integrity_check") == [("ok",)]
        assert core.read_back("PRAGMA foreign_key_check") == []
        stored = dict(
            core.read_back(
                "SELECT k.id, i.key & 0xffffffff FROM message_key k JOIN mailbox_item i ON i.message=k.seq"
                " WHERE i.key >> 32 = 2"
            )
        )
        missing = {one: sequence for one, sequence in told.sequences.items() if stored.get(one) != sequence}
        assert missing == {}
        # Dense: nothing is there twice, and no number was skipped.
        assert sorted(stored.values()) == list(range(1, len(stored) + 1))
        (acked,) = core.read_back("SELECT acked FROM device WHERE mailbox=3")[0]
        assert acked >= told.applied
        left = core.read_back("SELECT 1 FROM mailbox_item WHERE key>>32=3 AND key & 0xffffffff <= ?", (acked,))
        assert left == []
        accepted = core.read_back("SELECT count(*) FROM message")[0][0]
        batches = [decode_entry(entry) for (entry,) in core.read_back("SELECT d FROM ledger_entry")]
        assert len(stored) == accepted == sum(one.accepted for one in batches if isinstance(one, Batch))
        store = Rows(core._db)
        heads = HeadSigner(store, signer, keeper)
        heads.start()
        head = heads.sign()
        verdict = verify_log(StoreReader(store, head.checkpoint.size, head.note), signer.verifier_key)
        assert verdict.finding is None
    finally:
        core.close()


@pytest.mark.parametrize("cycles", [10, pytest.param(100, marks=pytest.mark.long)])
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, cycles: int) -> None:
    make(tmp_path).close()
    seed = random.Random(cycles)
    told, signer, keeper = Told(), KeySigner(), MemoryKeeper()
    for _ in range(cycles):
        child = start(tmp_path)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(seed.uniform(0.0, 0.15))
        child.kill()
        text, _ = child.communicate()
        told.read(text)
        check(tmp_path, told, signer, keeper)
    assert len(told.sequences) > cycles


@pytest.mark.long
@pytest.mark.needs("strace")
@pytest.mark.parametrize(
    ("call", "error", "reasons"),
    [
        ("fdatasync", "EIO", {"disk_failed"}),
        ("pwrite64", "EIO", {"disk_failed"}),
        ("pwrite64", "ENOSPC", {"disk_full", "disk_failed"}),
    ],
)
def test_a_disk_that_fails_is_told_and_loses_nothing(tmp_path: Path, call: str, error: str, reasons: set[str]) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("NEEDS strace: apt install strace")
    folder = tmp_path / "store"
    folder.mkdir()
    make(folder).close()
    told, signer, keeper = Told(), KeySigner(), MemoryKeeper()
    wrap = (strace, "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", f"trace={call}",
            "-e", f"inject={call}:error={error}:when=40+37")  # fmt: skip
    child = start(folder, 3, wrap)
    text, complaint = child.communicate(timeout=120)
    assert child.returncode == 0, complaint.decode()
    told.read(text)
    # Opening may have met the fault as well; whatever failed was told, with its reason.
    assert set(told.failures) <= reasons
    assert len(told.failures) == 3
    assert told.sequences
    assert "INJECTED" in (tmp_path / "trace").read_text()
    check(folder, told, signer, keeper)
    core = StoreCore(folder, handlers(), CLOCK)
    assert core.apply([message()])[0].deliveries
    core.close()
