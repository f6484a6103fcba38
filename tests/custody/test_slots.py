"""The slot file: durable, closed to others, and nothing of an erased slot is left in it, whenever a crash comes."""

import os
from pathlib import Path

import pytest

from letterlock.custody.slots import (
    HEADER_BYTES,
    MAGIC,
    PAYLOAD_LIMIT,
    SLOT_BYTES,
    SlotFile,
    SlotFileError,
    SlotFileReason,
    create_private,
    open_private,
)


class CrashError(Exception):
    pass


class CrashAt:
    """Raises at the n-th synced step."""

    def __init__(self, step: int) -> None:
        self.left = step
        self.seen: list[str] = []

    def __call__(self, name: str) -> None:
        self.seen.append(name)
        if self.left == 0:
            raise CrashError(name)
        self.left -= 1


def refused(reason: SlotFileReason) -> pytest.RaisesExc[SlotFileError]:
    return pytest.RaisesExc(SlotFileError, check=lambda error: error.reason is reason)


def test_put_read_erase_and_reuse(tmp_path: Path) -> None:
    path = tmp_path / "slots"
    slots = SlotFile.create(path, b"head")
    first, second = slots.put(b"one" * 20), slots.put(b"two" * 20)
    assert dict(slots) == {first: b"one" * 20, second: b"two" * 20}
    assert b"one" * 20 in path.read_bytes()  # the control: what is live can be found
    slots.erase(first)
    assert b"one" not in path.read_bytes()
    assert slots.put(b"three") == first
    slots.close()
    again = SlotFile.open(path)
    assert again.header == b"head"
    assert dict(again) == {first: b"three", second: b"two" * 20}
    again.close()
    again.close()


def test_bounds(tmp_path: Path) -> None:
    slots = SlotFile.create(tmp_path / "slots", b"")
    at = slots.put(b"x" * PAYLOAD_LIMIT)
    assert slots.read(at) == b"x" * PAYLOAD_LIMIT
    with refused(SlotFileReason.TOO_LARGE):
        slots.put(b"x" * (PAYLOAD_LIMIT + 1))
    for index in (-1, 1, 99):
        with refused(SlotFileReason.NO_SUCH_SLOT):
            slots.read(index)
        with refused(SlotFileReason.NO_SUCH_SLOT):
            slots.erase(index)
    with refused(SlotFileReason.TOO_LARGE):
        SlotFile.create(tmp_path / "other", b"x" * HEADER_BYTES)
    slots.close()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o620])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "slots"
    SlotFile.create(path, b"").close()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(mode)
    with refused(SlotFileReason.OPEN_TO_OTHERS):
        SlotFile.open(path)
    path.chmod(0o600)
    SlotFile.open(path).close()


def test_creation_ignores_the_umask_and_never_replaces(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create_private(tmp_path / "key", b"secret")
    finally:
        os.umask(before)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    with refused(SlotFileReason.EXISTS):
        create_private(tmp_path / "key", b"other")
    assert (tmp_path / "key").read_bytes() == b"secret"
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_what_is_not_a_plain_file_is_refused(tmp_path: Path) -> None:
    create_private(tmp_path / "real", b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir()
    for name, flags in (("link", os.O_RDONLY), ("pipe", os.O_RDONLY), ("folder", os.O_RDWR), ("folder", os.O_RDONLY)):
        with refused(SlotFileReason.NOT_A_FILE):
            open_private(tmp_path / name, flags)
    with refused(SlotFileReason.MISSING):
        open_private(tmp_path / "nothing", os.O_RDONLY)
    with refused(SlotFileReason.IO):
        create_private(tmp_path / "no" / "folder", b"x")


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    first = SlotFile.create(tmp_path / "slots", b"")
    with refused(SlotFileReason.IN_USE):
        SlotFile.open(tmp_path / "slots")
    first.close()
    SlotFile.open(tmp_path / "slots").close()


def test_foreign_and_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "slots"
    slots = SlotFile.create(path, b"h")
    at = slots.put(b"x")
    slots.close()
    good = path.read_bytes()
    for bad, reason in (
        (b"", SlotFileReason.NOT_OURS),
        (good[:100], SlotFileReason.NOT_OURS),
        (b"X" + good[1:], SlotFileReason.NOT_OURS),
        (MAGIC + b"\xff\xff" + good[len(MAGIC) + 2 :], SlotFileReason.DAMAGED),
        (good[:HEADER_BYTES] + b"\x07" + good[HEADER_BYTES + 1 :], SlotFileReason.DAMAGED),
    ):
        path.write_bytes(bad)
        with refused(reason):
            SlotFile.open(path)
    path.write_bytes(good[: HEADER_BYTES + 1] + b"\xff\xff" + good[HEADER_BYTES + 3 :])
    opened = SlotFile.open(path)
    with refused(SlotFileReason.DAMAGED):
        opened.read(at)
    opened.close()
    path.write_bytes(good + b"\x01half a slot")
    opened = SlotFile.open(path)
    assert [payload for _, payload in opened] == [b"x"]
    assert path.stat().st_size == HEADER_BYTES + SLOT_BYTES
    opened.close()


def test_a_crash_at_any_step_leaves_all_or_nothing(tmp_path: Path) -> None:
    steps = 0
    while True:
        path = tmp_path / f"slots{steps}"
        slots = SlotFile.create(path, b"")
        old = slots.put(b"OLD-KEY-MATERIAL")
        slots.close()
        crash = CrashAt(steps)
        slots = SlotFile.open(path, crash)
        done: list[str] = []
        try:
            slots.put(b"NEW-KEY-MATERIAL")
            done.append("put")
            slots.erase(old)
            done.append("erase")
        except CrashError:
            pass
        slots.close()
        slots = SlotFile.open(path)
        left = {payload for _, payload in slots}
        raw = path.read_bytes()
        if "put" in done:
            assert b"NEW-KEY-MATERIAL" in left
        if "erase" in done:
            assert left == {b"NEW-KEY-MATERIAL"}
        for payload in (b"OLD-KEY-MATERIAL", b"NEW-KEY-MATERIAL"):
            assert (payload in left) == (payload in raw)  # what is not live is not in the file either
        slots.close()
        if len(done) == 2:
            break
        steps += 1
    assert crash.seen == ["put.write", "put.live", "erase.begin", "erase.noise", "erase.free"]
