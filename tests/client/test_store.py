"""The device's store: what is one step stays one step, whatever happens."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from letterlock.client.engine import StateChanges
from letterlock.client.errors import StoreError, StoreReason
from letterlock.client.sealing import ClientKey
from letterlock.client.store import Change, DeviceStore

KEY = bytes(range(32))
CANARY = b"CANARY-1c77-resting"


def reason(act: object) -> StoreReason:
    assert callable(act)
    with pytest.raises(StoreError) as caught:
        act()
    assert isinstance(caught.value.reason, StoreReason)
    return caught.value.reason


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "device.db"


def opened(path: Path, key: bytes = KEY) -> DeviceStore:
    return DeviceStore(path, ClientKey(key))


def test_one_change_holds_everything_and_survives(path: Path) -> None:
    store = opened(path)
    start = store.state_counter
    outbox, inbox = store.commit(
        Change(
            engine=StateChanges((("groups/aa/state.bin", b"mls"),), ()),
            put=(("floor", b"peer", b"E2EE"),),
            outbox=(b"cipher 1", b"cipher 2"),
            inbox=(b"words",),
            cursor=7,
        )
    )
    assert (len(outbox), len(inbox), store.state_counter) == (2, 1, start + 1)
    store.close()
    store = opened(path)
    assert store.engine_parts() == {"groups/aa/state.bin": b"mls"}
    assert store.get("floor", b"peer") == b"E2EE"
    assert store.entries("floor") == {b"peer": b"E2EE"}
    assert store.outbox() == [(outbox[0], b"cipher 1"), (outbox[1], b"cipher 2")]
    assert store.inbox() == [(inbox[0], b"words")]
    assert (store.cursor, store.state_counter) == (7, start + 1)
    store.commit(
        Change(
            engine=StateChanges((), ("groups/aa/state.bin",)),
            gone=(("floor", b"peer"),),
            sent=tuple(outbox[:1]),
            taken=tuple(inbox),
        )
    )
    assert (store.engine_parts(), store.entries("floor"), store.inbox()) == ({}, {}, [])
    assert [content for _, content in store.outbox()] == [b"cipher 2"]
    store.close()


def test_a_refused_change_changes_nothing(path: Path) -> None:
    store = opened(path)
    store.commit(Change(cursor=5))
    before = store.state_counter
    assert reason(lambda: store.commit(Change(outbox=(b"x",), cursor=4))) is StoreReason.CURSOR_BACK
    assert (store.outbox(), store.cursor, store.state_counter) == ([], 5, before)
    store.commit(Change(cursor=5))
    store.close()
    assert reason(lambda: store.commit(Change())) is StoreReason.CLOSED
    assert reason(lambda: store.cursor) is StoreReason.CLOSED


def test_a_full_disk_is_a_clear_error_and_nothing_is_half_written(path: Path) -> None:
    store = opened(path)
    store.commit(Change(put=(("a", b"1", b"kept"),)))
    db = store._db
    assert db is not None
    db.pragma("max_page_count", db.pragma("page_count") + 2)
    assert reason(lambda: store.commit(Change(put=(("a", b"1", b"new"), ("a", b"2", bytes(100_000))), cursor=9))) is (
        StoreReason.FULL
    )
    assert (store.entries("a"), store.cursor) == ({b"1": b"kept"}, 0)
    db.pragma("max_page_count", 1_000_000)
    store.commit(Change(cursor=9))
    store.close()


def test_a_second_process_is_refused(path: Path) -> None:
    store = opened(path)
    assert reason(lambda: opened(path)) is StoreReason.IN_USE
    store.close()
    opened(path).close()


def test_another_key_another_file_and_a_newer_schema_are_refused(path: Path, tmp_path: Path) -> None:
    opened(path).close()
    assert reason(lambda: opened(path, os.urandom(32))) is StoreReason.WRONG_KEY
    opened(path).close()
    stranger = tmp_path / "stranger.db"
    db = apsw.Connection(str(stranger))
    db.execute("CREATE TABLE t (x)")
    db.close()
    assert reason(lambda: opened(stranger)) is StoreReason.NOT_A_STORE
    text = tmp_path / "text.db"
    text.write_bytes(b"this is no database at all, but long enough to look at" * 40)
    assert reason(lambda: opened(text)) is StoreReason.NOT_A_STORE
    db = apsw.Connection(str(path))
    db.execute("PRAGMA user_version = 99")
    db.close()
    assert reason(lambda: opened(path)) is StoreReason.NEWER_SCHEMA
    assert reason(lambda: opened(tmp_path / "no" / "folder.db")) is StoreReason.IO


def test_nothing_readable_rests_in_the_file(path: Path) -> None:
    store = opened(path)
    store.commit(
        Change(
            engine=StateChanges(((CANARY.decode() + "/e", CANARY + b"e"),), ()),
            put=(("place", CANARY + b"n", CANARY + b"p"),),
            outbox=(CANARY + b"o",),
            inbox=(CANARY + b"i",),
        )
    )
    raw = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert CANARY not in raw
    assert b"entries" in raw  # positive control: the file was really read
    db = store._db
    assert db is not None
    db.execute("INSERT INTO entries VALUES ('control', x'00', ?)", (CANARY,))
    assert CANARY in b"".join(file.read_bytes() for file in path.parent.iterdir())
    store.close()


def test_sealed_entries_do_not_move(path: Path) -> None:
    store = opened(path)
    store.commit(Change(put=(("a", b"1", b"one"), ("a", b"2", b"two"))))
    db = store._db
    assert db is not None
    rows = list(db.execute("SELECT name, sealed FROM entries WHERE place = 'a' ORDER BY name"))
    db.execute("UPDATE entries SET sealed = ? WHERE place = 'a' AND name = ?", (rows[0][1], rows[1][0]))
    assert reason(lambda: store.entries("a")) is StoreReason.WRONG_KEY
    store.close()


def test_the_counter_grows_with_every_change_and_tells_an_old_copy(path: Path, tmp_path: Path) -> None:
    store = opened(path)
    first = store.count()
    store.close()
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    store = opened(path)
    assert store.count() == first + 1
    store.commit(Change())
    newest = store.count()
    store.close()
    old = opened(copy)
    assert old.count() < newest
    old.close()


KILL = """
import sys
from pathlib import Path
from letterlock.client.sealing import ClientKey
from letterlock.client.store import Change, DeviceStore
store = DeviceStore(Path(sys.argv[1]), ClientKey(bytes(range(32))))
print("ready", flush=True)
number = store.cursor
while True:
    number += 1
    text = str(number).encode()
    store.commit(Change(put=(("pair", b"state", text),), outbox=(text,), inbox=(text,), cursor=number))
    print(number, flush=True)
"""


def kill_once(path: Path, lines: int) -> int:
    """Runs the writer, kills it after so many commits; returns the last one that it reported."""
    process = subprocess.Popen([sys.executable, "-c", KILL, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    last = 0
    try:
        assert process.stdout.readline() == b"ready\n"
        for _ in range(lines):
            last = int(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split(b"\n")
        process.stdout.close()
        process.wait()
    return max([last, *[int(line) for line in rest[:-1] if line]])


def check_after_kill(path: Path, reported: int) -> None:
    store = opened(path)
    assert store.cursor in {reported, reported + 1}  # what was reported is there; one more may be
    assert store.get("pair", b"state") == str(store.cursor).encode()
    wanted = [str(number).encode() for number in range(1, store.cursor + 1)]
    assert [content for _, content in store.outbox()] == wanted
    assert [content for _, content in store.inbox()] == wanted
    store.close()


def test_kill_keeps_what_was_reported_and_nothing_by_halves(path: Path) -> None:
    for lines in (1, 7, 20):
        check_after_kill(path, kill_once(path, lines))


@pytest.mark.long
def test_kill_a_hundred_times(path: Path) -> None:
    for cycle in range(100):
        check_after_kill(path, kill_once(path, 1 + cycle % 17))
