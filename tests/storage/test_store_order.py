"""Commands act in the order in which they stand in a commit, whichever way they are applied."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace
from tests.storage.making import CLOCK, GROUP_ROW, SHOWN, make, message, rows

from letterlock.model.message import MessageState
from letterlock.storage.commands import Accepted, AcceptSealed, Ack, Acked, Quarantine, Relied
from letterlock.storage.errors import CommitReason, CommitRefused, StorageError, StorageReason
from letterlock.storage.maintenance_commands import Purge
from letterlock.storage.relay_commands import ResetMailbox
from letterlock.storage.sqlite.connection import DATABASE
from letterlock.storage.sqlite.core import StoreCore
from letterlock.storage.sqlite.registry import handlers
from letterlock.storage.sqlite.state import SEQ_BLOCK, refused
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.storage.tenant_commands import PolicyLoaded


def quarantined(message_id: bytes, mac: bytes = b"q" * 16) -> Quarantine:
    now = CLOCK.now_ms()
    return Quarantine(1, message_id, mac, 1, SHOWN, 2, Relied(0), now, now + 1000)


@dataclass(frozen=True)
class Refuse:
    """Takes message numbers and is then refused."""

    numbers: int


@dataclass(frozen=True)
class Break:
    """Writes, and then has a bug."""


def refuse(tx: Transaction, command: Refuse) -> None:
    for _ in range(command.numbers):
        tx.state.take_seq(tx.db)
    raise refused(CommitReason.NOT_ALLOWED)


def break_down(tx: Transaction, command: Break) -> None:
    tx.db.execute("DELETE FROM mailbox_item").fetchall()
    raise ZeroDivisionError


def opened(folder: Path) -> StoreCore:
    return StoreCore(folder, {**handlers(), Refuse: refuse, Break: break_down}, CLOCK)


def test_one_id_sealed_and_quarantined_in_one_commit_is_a_conflict_in_both_orders(tmp_path: Path) -> None:
    core = make(tmp_path)
    one = os.urandom(16)
    accepted, conflict, other = core.apply([message(one), quarantined(one), message()])
    assert isinstance(accepted, Accepted)
    assert isinstance(other, Accepted)
    assert conflict.reason is CommitReason.CONFLICT
    two = os.urandom(16)
    kept, conflict, other = core.apply([quarantined(two), message(two), message()])
    assert isinstance(kept, Accepted)
    assert kept.status == MessageState.QUARANTINED
    assert conflict.reason is CommitReason.CONFLICT
    assert isinstance(other, Accepted)
    three = os.urandom(16)
    first, again = core.apply([quarantined(three), quarantined(three)])
    assert (first.duplicate, again.duplicate) == (False, True)
    assert rows(core, "SELECT count(*) FROM message") == [(5,)]
    core.close()


def test_messages_before_another_command_know_their_ledger_entry(tmp_path: Path) -> None:
    core = make(tmp_path)
    core.apply([message(), quarantined(os.urandom(16)), message(), message()])
    batch = core.tree_size - 1
    assert rows(core, "SELECT DISTINCT entry FROM message") == [(batch,)]
    assert rows(core, "SELECT slot FROM message ORDER BY seq") == [(0,), (1,), (2,), (3,)]
    core.close()


def test_a_policy_in_the_middle_of_a_commit_makes_what_follows_stale(tmp_path: Path) -> None:
    core = make(tmp_path)
    before, version, stale, after = core.apply([message(), PolicyLoaded(b"p" * 32, 1, 0), message(), message(policy=1)])
    assert isinstance(before, Accepted)
    assert version == 1
    assert stale.reason is CommitReason.STALE_DECISION
    assert isinstance(after, Accepted)
    core.close()


def test_an_acknowledgement_in_the_commit_of_its_message_deletes_it(tmp_path: Path) -> None:
    core = make(tmp_path)
    accepted, *acked = core.apply([message(), Ack(1, 2, 1, 0), Ack(1, 3, 1, 0)])
    assert accepted.deliveries == ((2, 1), (3, 1))
    assert [one.count for one in acked] == [1, 1]
    assert rows(core, "SELECT count(*) FROM mailbox_item") == rows(core, "SELECT count(*) FROM sealed_body") == [(0,)]
    assert rows(core, "SELECT state, pending FROM message") == [(int(MessageState.DELIVERED), 0)]
    core.close()


def test_a_reset_in_the_commit_of_a_message_leaves_no_item_below_what_is_acknowledged(tmp_path: Path) -> None:
    core = make(tmp_path)
    core.read_back("UPDATE device SET lost=1 WHERE mailbox=2")
    accepted, reset, after = core.apply([message(), ResetMailbox(1, 2, 5), message()])
    assert accepted.deliveries == ((2, 1), (3, 1))
    assert reset.acknowledged == 1
    assert after.deliveries == ((2, 2), (3, 2))
    low = 2 << 32
    assert rows(core, f"SELECT key FROM mailbox_item WHERE key>>32 = 2 AND key <= {low + 1}") == []
    core.close()


def test_two_acknowledgements_of_one_mailbox_in_one_commit(tmp_path: Path) -> None:
    core = make(tmp_path)
    core.apply([message() for _ in range(5)])
    outcomes = core.apply([Ack(1, 2, 2, 0), Ack(1, 2, 1, 0), Ack(1, 2, 5, 0), Ack(1, 2, 6, 0)])
    assert [one.count for one in outcomes[:3]] == [2, 0, 3]
    assert all(isinstance(one, Acked) for one in outcomes[:3])
    assert outcomes[3].reason is CommitReason.NOT_ALLOWED
    assert rows(core, "SELECT acked FROM device WHERE mailbox=2") == [(5,)]
    core.close()


def test_a_message_to_nobody_keeps_no_body_and_is_purged(tmp_path: Path) -> None:
    core = make(tmp_path)
    core.read_back(GROUP_ROW.format(2, "x'00112233445566778899aabbccddeeff'", "x'bb'"))
    core.read_back("INSERT INTO group_member VALUES (2,4)")
    accepted, other = core.apply([replace(message(sender=4), group=2), message()])
    assert accepted.deliveries == ()
    assert rows(core, "SELECT message FROM sealed_body") == [(other.seq,)]
    core.apply([Purge(CLOCK.now_ms() + core.purge_after_ms, 100, 0)])
    assert rows(core, "SELECT seq FROM message") == [(other.seq,)]
    core.close()


def test_numbers_that_a_refused_command_took_are_never_given_again(tmp_path: Path) -> None:
    make(tmp_path).close()
    core = opened(tmp_path)
    refusal, accepted = core.apply([Refuse(3), message()])
    assert isinstance(refusal, CommitRefused)
    core.close()
    again = opened(tmp_path)
    (later,) = again.apply([message()])
    assert later.seq > accepted.seq
    assert rows(again, "SELECT value FROM counter WHERE name='message_seq'")[0][0] == 2 * SEQ_BLOCK
    again.close()


def state_of(core: StoreCore) -> dict[str, Any]:
    """The writer's memory, and what the database says it must be."""
    boxes = {n: (box.head, box.acked) for n, box in core._state.mailboxes.items()}
    stored = {}
    for number in boxes:
        head, acked = core.read_back("SELECT head, acked FROM device WHERE mailbox=?", (number,))[0]
        newest = core.read_back("SELECT max(key) & 0xffffffff FROM mailbox_item WHERE key>>32=?", (number,))[0][0]
        stored[number] = (max(head, acked, newest or 0), acked)
    size = core.read_back("SELECT size FROM ledger_head")[0][0]
    return {"memory": (boxes, core.tree_size), "rows": (stored, size)}


@pytest.mark.parametrize("cause", ["bug", "full", "busy"])
def test_a_failed_commit_leaves_memory_as_the_rows_are(tmp_path: Path, cause: str) -> None:
    make(tmp_path).close()
    core = opened(tmp_path)
    core.apply([message(), Ack(1, 2, 1, 0)])
    commands: list[Any] = [message(), PolicyLoaded(b"p" * 32, 1, 0), message(policy=1), Ack(1, 3, 1, 0)]
    expected: type[Exception] = StorageError
    if cause == "bug":
        commands.append(Break())
        expected = ZeroDivisionError
        with pytest.raises(expected):
            core.apply(commands)
    elif cause == "full":
        pages = core.read_back("PRAGMA page_count")[0][0]
        core.read_back(f"PRAGMA max_page_count={pages}")
        with pytest.raises(StorageError) as full:
            core.apply([*commands, *(message(policy=1, sealed=os.urandom(60_000)) for _ in range(20))])
        assert full.value.reason is StorageReason.DISK_FULL
        core.read_back("PRAGMA max_page_count=1000000")
    else:
        core.busy_ms = 1
        other = apsw.Connection(str(tmp_path / DATABASE))
        other.execute("BEGIN IMMEDIATE").fetchall()
        with pytest.raises(StorageError) as busy:
            core.apply(commands)
        assert busy.value.reason is StorageReason.LOCKED
        other.close()
    assert core._state.policy_version == 0
    state = state_of(core)
    assert state["memory"] == state["rows"]
    accepted, acked = core.apply([message(), Ack(1, 3, 1, 0)])
    assert accepted.deliveries == ((2, 2), (3, 2))
    assert acked.count == 1
    state = state_of(core)
    assert state["memory"] == state["rows"]
    assert rows(core, "PRAGMA integrity_check") == [("ok",)]
    core.close()


def test_memory_that_could_not_be_reloaded_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path).close()
    core = opened(tmp_path)
    core.apply([message()])
    from letterlock.storage.sqlite import state as writer_state

    def unreadable(db: apsw.Connection) -> Any:
        raise apsw.IOError

    with monkeypatch.context() as patch:
        patch.setattr(writer_state, "load", unreadable)
        with pytest.raises(ZeroDivisionError):
            core.apply([message(), message(), Break()])
        with pytest.raises(StorageError) as caught:
            core.apply([message()])
        assert caught.value.reason is StorageReason.IO_FAILED
    (accepted,) = core.apply([message()])
    assert accepted.deliveries == ((2, 2), (3, 2))
    core.close()


def test_an_accepted_command_is_not_changed_by_content_that_looks_like_numbers(tmp_path: Path) -> None:
    """The rows travel as packed strings: every byte of a body comes out as it went in."""
    core = make(tmp_path)
    bodies = [b"", b"0" * 40, bytes(range(256)), b"\x00" * 30, b"9" * 100, os.urandom(500)]
    one: AcceptSealed = message(b"\x00" * 16)
    other = message(b"9" * 16, mac=b"\x00" * 16)
    core.apply([*(message(sealed=body) for body in bodies), one, other])
    assert [sealed for (sealed,) in rows(core, "SELECT sealed FROM sealed_body ORDER BY message")][:6] == bodies
    assert core.read_back("SELECT count(*) FROM message_key WHERE id IN (?,?)", (bytes(16), b"9" * 16)) == [(2,)]
    assert all(one.duplicate for one in core.apply([one, other]))
    core.close()
