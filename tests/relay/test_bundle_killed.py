"""SIGKILL before each statement of a commit bundle: afterwards all of the bundle is there, or nothing of it."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.storage.making import CLOCK
from tests.tlog.makelog import KeySigner, MemoryKeeper

from letterlock.ledger.heads import HeadSigner
from letterlock.ledger.serve import StoreReader
from letterlock.model.traces import LedgerRhythm
from letterlock.storage.maintenance_commands import CloseIntervals
from letterlock.storage.sqlite.core import StoreCore
from letterlock.storage.sqlite.fsck import check_store
from letterlock.storage.sqlite.ledger_rows import LedgerRows, save_checkpoint
from letterlock.storage.sqlite.registry import handlers
from letterlock.wire.tlog.verify import verify_log

ROOT = Path(__file__).resolve().parent.parent.parent
TABLES = (
    "message", "message_key", "sealed_body", "mailbox_item", "group_log", "group_change", "record_batch",
    "record_interval", "waiting_record", "ledger_entry", "group_public", "group_era", "group_member",
)  # fmt: skip


class Rows(LedgerRows):
    def save_checkpoint(self, size: int, note: bytes) -> None:
        save_checkpoint(self._db, size, note)


def state(core: StoreCore) -> dict[str, Any]:
    """What a bundle changes, in numbers that are the same in every run."""
    found: dict[str, Any] = {name: core.read_back(f"SELECT count(*) FROM {name}")[0][0] for name in TABLES}
    found["group"] = core.read_back("SELECT epoch, log_seq FROM mls_group")
    found["superseded"] = core.read_back("SELECT no, successor FROM mls_group WHERE successor IS NOT NULL")
    found["members"] = core.read_back("SELECT mailbox FROM group_member ORDER BY mailbox")
    found["mailboxes"] = core.read_back("SELECT key >> 32, max(key & 0xffffffff) FROM mailbox_item GROUP BY 1")
    found["counters"] = core.read_back("SELECT mailbox, state_counter FROM device ORDER BY mailbox")
    found["tree"] = core.tree_size
    return found


def sound(core: StoreCore) -> None:
    """The rows fit each other and the ledger, and the log verifies to its head; records that wait get their entry."""
    core.apply([CloseIntervals(2**52, silent=False)])
    assert core.read_back("SELECT count(*) FROM waiting_record") == [(0,)]
    assert [one.name for one in check_store(core._db, {7}) if one.bad] == []
    signer = KeySigner()
    heads = HeadSigner(Rows(core._db), signer, MemoryKeeper())
    heads.start()
    head = heads.sign()
    assert head is not None
    verdict = verify_log(StoreReader(LedgerRows(core._db), head.checkpoint.size, head.note), signer.verifier_key)
    assert verdict.finding is None


def killed(tmp_path: Path, ledger: LedgerRhythm, *more: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The store before and after; dies at every statement between, and holds that the store was one or the other."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src"), *sys.path])}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.relay.bundle_child", str(tmp_path), ledger.value, *more],
        capture_output=True, env=environment, cwd=ROOT, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr.decode()
    places = int(ran.stdout)
    assert places > 20, "each table of the bundle has a statement of its own"
    base = StoreCore(tmp_path / "base", handlers(), CLOCK)
    before = state(base)
    base.close()
    seen: list[dict[str, Any]] = []
    for place in range(1, places + 1):
        core = StoreCore(tmp_path / str(place), handlers(), CLOCK)
        try:
            seen.append(state(core))
            sound(core)
        finally:
            core.close()
    after = seen[-1]
    assert all(one in (before, after) for one in seen), "nothing in between"
    count = Counter("after" if one == after else "before" for one in seen)
    assert count["before"] > 20
    # Whatever died before COMMIT is gone, whatever died after it is there: the order never turns back.
    assert [one == after for one in seen] == sorted(one == after for one in seen)
    return before, after


@pytest.mark.parametrize("ledger", list(LedgerRhythm))
def test_kill_9_between_the_statements_of_a_commit_bundle(tmp_path: Path, ledger: LedgerRhythm) -> None:
    before, after = killed(tmp_path, ledger)
    assert after["group"] == [(2, before["group"][0][1] + 1)]
    assert len(after["members"]) == len(before["members"]), "one came in, one went"
    assert after["members"] != before["members"]
    assert after["message"] == before["message"] + 2, "the commit and its Welcome"


@pytest.mark.parametrize("ledger", list(LedgerRhythm))
def test_kill_9_between_the_statements_of_a_new_era(tmp_path: Path, ledger: LedgerRhythm) -> None:
    before, after = killed(tmp_path, ledger, "era")
    assert (before["group"], before["superseded"]) == ([(1, 1)], [])
    assert (after["group"], after["superseded"]) == ([(1, 1), (1, 1)], [(1, 2)])
    assert (after["group_era"], after["group_public"]) == (1, 1), "the old one's state went with it"
    assert after["group_member"] == 2 * before["group_member"], "the same members again"
    assert after["message"] == before["message"] + 2, "the commit and its Welcome"
