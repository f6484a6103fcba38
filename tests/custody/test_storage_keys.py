"""Storage keys on disk: synced before use, moved on at their end, destroyed in place; and every crash survived."""

import os
from pathlib import Path

import pytest
from tests.custody.keys import MemoryRows, keystore, reopened
from tests.custody.test_slots import CrashAt, CrashError

from letterlock.custody.file_keystore import FileKeyStore
from letterlock.custody.generations import DAY_MS, DESTROY_GRACE_MS, MINUTE_MS, Create, Destroy, Rewrap, Tier
from letterlock.custody.keystore import KeyPurpose, KeyStoreError, KeyStoreReason
from letterlock.custody.sealing import StorageKey
from letterlock.custody.slots import SlotFile, SlotFileError, SlotFileReason
from letterlock.custody.storage_keys import KEY_NAME, SEED_NAME, StorageKeyError, StorageKeyReason, StorageKeys

NOON = 20_000 * DAY_MS + DAY_MS // 2
TEN = 10 * MINUTE_MS
LATER = NOON + TEN + DESTROY_GRACE_MS


def refused(reason: StorageKeyReason) -> pytest.RaisesExc[StorageKeyError]:
    return pytest.RaisesExc(StorageKeyError, check=lambda error: error.reason is reason)


def keys_of(keys: StorageKeys) -> dict[int, StorageKey]:
    return {g.number: keys.get(g.number) for g in keys.generations()}


@pytest.fixture
def store(tmp_path: Path) -> FileKeyStore:
    return keystore(tmp_path)


def test_a_key_is_on_disk_before_it_is_given_out(tmp_path: Path, store: FileKeyStore) -> None:
    keys = StorageKeys.create(tmp_path / "generations", store)
    rows = MemoryRows()
    message = rows.add(keys.current(NOON), b"content")
    copy = tmp_path / "copy"
    copy.write_bytes((tmp_path / "generations").read_bytes())
    copy.chmod(0o600)
    keys.close()
    keys = StorageKeys.open(copy, store)
    assert rows.open(message, keys_of(keys)) == b"content"
    assert (tmp_path / "generations").stat().st_mode & 0o777 == 0o600


def test_the_current_key_follows_the_clock(tmp_path: Path, store: FileKeyStore) -> None:
    keys = StorageKeys.create(tmp_path / "g", store)
    first = keys.current(NOON)
    assert keys.current(NOON + TEN - 1) is first
    second = keys.current(NOON + TEN)
    assert (first.generation, second.generation) == (1, 2)
    assert keys.current(NOON + 1) is first  # the clock went back a little: nothing new is made
    assert keys.current(NOON + TEN) is second
    assert keys.get(1) is first
    assert keys.accepts(1, NOON + TEN)
    assert not keys.accepts(1, LATER)
    assert not keys.accepts(3, NOON)


def test_the_next_key_is_made_ahead(tmp_path: Path, store: FileKeyStore) -> None:
    keys = StorageKeys.create(tmp_path / "g", store)
    rows = MemoryRows()
    keys.current(NOON)
    [made] = keys.maintain(NOON + TEN - MINUTE_MS, rows)
    assert made == Create(Tier.TEN_MINUTES, NOON + TEN, NOON + 2 * TEN)
    assert keys.current(NOON + TEN - 1).generation == 1
    assert keys.current(NOON + TEN).generation == 2
    assert len(keys.generations()) == 2


@pytest.mark.parametrize("batch", [1, 1_000])
def test_a_life_through_all_tiers(tmp_path: Path, store: FileKeyStore, batch: int) -> None:
    keys = StorageKeys.create(tmp_path / "g", store)
    rows = MemoryRows(batch=batch)
    plain = [rows.add(keys.current(NOON), b"plain %d" % i) for i in range(3)]
    held = [rows.add(keys.current(NOON), b"held %d" % i, held=True) for i in range(2)]
    deleted = rows.add(keys.current(NOON), b"deleted")
    residue = rows.rows.pop(deleted)
    for day in range(100):
        now = LATER + day * DAY_MS
        keys.current(now)
        keys.maintain(now, rows)
        tiers = {g.number: g.tier for g in keys.generations()}
        assert {tiers[rows.rows[m][0]] for m in held} == {Tier.HOLD}
        expected = Tier.DAY if day == 0 else Tier.MONTH
        assert {tiers[rows.rows[m][0]] for m in plain} == {expected}
        assert len(tiers) <= 6
        assert keys.lost(rows.references()) == ()
        with refused(StorageKeyReason.DESTROYED):
            keys.get(residue[0])
    assert [rows.open(m, keys_of(keys)) for m in plain] == [b"plain 0", b"plain 1", b"plain 2"]
    for message in held:  # the hold is released: back among the others at the end of its month
        generation, _, blob = rows.rows[message]
        rows.rows[message] = (generation, False, blob)
    keys.maintain(LATER + 140 * DAY_MS, rows)
    tiers = {g.number: g.tier for g in keys.generations()}
    assert {tiers[rows.rows[m][0]] for m in held} == {Tier.DAY}
    assert [rows.open(m, keys_of(keys)) for m in held] == [b"held 0", b"held 1"]


def test_a_destroyed_key_is_gone_from_the_file_and_a_live_one_is_there(tmp_path: Path, store: FileKeyStore) -> None:
    path = tmp_path / "g"
    keys = StorageKeys.create(path, store)
    keys.current(NOON)
    keys.close()
    slots = SlotFile.open(path)
    wrapped = [payload[-48:] for _, payload in slots]
    slots.close()
    assert len(wrapped) == 2
    assert all(secret in path.read_bytes() for secret in wrapped)  # the control
    keys = StorageKeys.open(path, store)
    keys.maintain(LATER, MemoryRows())
    raw = path.read_bytes()
    for secret in wrapped:  # generation 1, and the ratchet that could have made it
        assert not any(secret[at : at + 8] in raw for at in range(len(secret) - 8))
    with refused(StorageKeyReason.DESTROYED):
        keys.get(1)
    with refused(StorageKeyReason.UNKNOWN):
        keys.get(99)
    for number in (0, -1):
        with refused(StorageKeyReason.UNKNOWN):
            keys.get(number)


def test_a_destruction_that_must_not_be_is_refused(tmp_path: Path, store: FileKeyStore) -> None:
    keys = StorageKeys.create(tmp_path / "g", store)
    rows = MemoryRows()
    key = keys.current(NOON)
    with refused(StorageKeyReason.STILL_SERVING):
        keys.apply(Destroy(1), NOON, rows)
    message = rows.add(key, b"x")
    with refused(StorageKeyReason.STILL_REFERENCED):
        keys.apply(Destroy(1), LATER, rows)
    assert rows.open(message, keys_of(keys)) == b"x"
    del rows.rows[message]
    keys.apply(Destroy(1), LATER, rows)
    with refused(StorageKeyReason.DESTROYED):
        keys.apply(Destroy(1), LATER, rows)
    with refused(StorageKeyReason.UNKNOWN):
        keys.apply(Destroy(9), LATER, rows)
    with refused(StorageKeyReason.DESTROYED):
        keys.apply(Rewrap(1, 2, held=False), LATER, rows)


def test_rows_that_went_between_the_count_and_the_move_are_no_error(tmp_path: Path, store: FileKeyStore) -> None:
    keys = StorageKeys.create(tmp_path / "g", store)

    class Delivered(MemoryRows):
        """Its rows go while they are about to be moved."""

        def rewrap(self, source: StorageKey, target: StorageKey, held: bool) -> int:
            self.rows.clear()
            return super().rewrap(source, target, held)

    rows = Delivered()
    rows.add(keys.current(NOON), b"x")
    keys.maintain(LATER, rows)
    with refused(StorageKeyReason.DESTROYED):
        keys.get(1)


def test_rows_that_do_not_move_are_an_error_not_a_loop(tmp_path: Path, store: FileKeyStore) -> None:
    keys = StorageKeys.create(tmp_path / "g", store)
    rows = MemoryRows()
    rows.add(keys.current(NOON), b"x")
    rows.batch = 0
    with refused(StorageKeyReason.NO_PROGRESS):
        keys.maintain(LATER, rows)
    rows.batch = 1
    keys.maintain(LATER, rows)
    with refused(StorageKeyReason.DESTROYED):
        keys.get(1)


def test_rows_of_a_lost_generation_are_reported(tmp_path: Path, store: FileKeyStore) -> None:
    keys = StorageKeys.create(tmp_path / "g", store)
    rows = MemoryRows()
    message = rows.add(keys.current(NOON), b"x")
    assert keys.lost(rows.references()) == ()
    rows.rows[message] = (77, False, b"")
    assert keys.lost(rows.references()) == (77,)


def test_a_generator_stuck_at_zero_still_gives_distinct_keys(tmp_path: Path, store: FileKeyStore) -> None:
    seen: set[bytes] = set()
    for attempt in range(2):  # two installations with the same broken generator
        keys = StorageKeys.create(tmp_path / f"g{attempt}", store, entropy=bytes)
        for window in range(20):
            key = keys.current(NOON + window * TEN)
            seen.add(key.aead.encrypt(bytes(12), b"probe", b""))
        keys.close()
    assert len(seen) == 40


def test_the_seed_of_the_ratchet_is_not_kept(tmp_path: Path, store: FileKeyStore) -> None:
    keys = StorageKeys.create(tmp_path / "g", store)
    keys.current(NOON)
    assert store.versions(SEED_NAME, KeyPurpose.STORAGE_GENERATIONS, b"") == ()
    assert store.versions(KEY_NAME, KeyPurpose.STORAGE_GENERATIONS, b"") != ()


def test_after_a_rotation_the_old_wrapping_key_is_not_needed(tmp_path: Path, store: FileKeyStore) -> None:
    keys = StorageKeys.create(tmp_path / "g", store)
    rows = MemoryRows()
    message = rows.add(keys.current(NOON), b"content")
    [old] = store.versions(KEY_NAME, KeyPurpose.STORAGE_GENERATIONS, b"")
    store.rotate(KEY_NAME, KeyPurpose.STORAGE_GENERATIONS, b"")
    keys.maintain(NOON, rows)
    store.destroy(old, KeyPurpose.STORAGE_GENERATIONS, b"")
    keys.close()
    keys = StorageKeys.open(tmp_path / "g", store)
    assert rows.open(message, keys_of(keys)) == b"content"
    assert keys.current(NOON + TEN).generation == 2


def test_a_destroyed_wrapping_key_opens_no_generation(tmp_path: Path, store: FileKeyStore) -> None:
    keys = StorageKeys.create(tmp_path / "g", store)
    keys.current(NOON)
    keys.close()
    StorageKeys.open(tmp_path / "g", store).close()
    for handle in store.versions(KEY_NAME, KeyPurpose.STORAGE_GENERATIONS, b""):
        store.destroy(handle, KeyPurpose.STORAGE_GENERATIONS, b"")
    with pytest.RaisesExc(KeyStoreError, check=lambda error: error.reason is KeyStoreReason.DESTROYED):
        StorageKeys.open(tmp_path / "g", store)


def test_every_changed_byte_is_noticed(tmp_path: Path, store: FileKeyStore) -> None:
    path = tmp_path / "g"
    keys = StorageKeys.create(path, store)
    keys.current(NOON)
    keys.close()
    raw = path.read_bytes()
    used = [i for i in range(4096, len(raw)) if raw[i]]
    for at in used:
        path.write_bytes(raw[:at] + bytes((raw[at] ^ 0x40,)) + raw[at + 1 :])
        with pytest.raises((StorageKeyError, KeyStoreError, SlotFileError)):
            StorageKeys.open(path, store)
    path.write_bytes(raw)
    StorageKeys.open(path, store).close()


def test_a_file_without_its_ratchet_or_of_another_kind_is_refused(tmp_path: Path, store: FileKeyStore) -> None:
    path = tmp_path / "g"
    keys = StorageKeys.create(path, store)
    keys.current(NOON)
    keys.close()
    slots = SlotFile.open(path)
    for index, payload in list(slots):
        if payload[:1] == b"r":
            slots.erase(index)
    slots.close()
    with refused(StorageKeyReason.DAMAGED):
        StorageKeys.open(path, store)
    SlotFile.create(tmp_path / "other", b"something else").close()
    with refused(StorageKeyReason.DAMAGED):
        StorageKeys.open(tmp_path / "other", store)
    with pytest.RaisesExc(SlotFileError, check=lambda error: error.reason is SlotFileReason.MISSING):
        StorageKeys.open(tmp_path / "nothing", store)


def test_a_crash_between_any_two_steps_loses_no_row_and_repeats_no_number(tmp_path: Path) -> None:
    """Start, seal, rotate, move, destroy: crash at step n, start again, finish; for every n."""
    crashed_steps: set[str] = set()
    for step in range(1_000):
        folder = tmp_path / str(step)
        folder.mkdir()
        store = keystore(folder)
        path = folder / "g"
        StorageKeys.create(path, store).close()
        rows = MemoryRows()
        used: dict[int, bytes] = {}

        def work(keys: StorageKeys, rows: MemoryRows = rows, used: dict[int, bytes] = used) -> None:
            key = keys.current(NOON)
            fingerprint = key.aead.encrypt(bytes(12), b"probe", b"")
            assert used.setdefault(key.generation, fingerprint) == fingerprint
            rows.add(key, b"content")
            rows.add(key, b"content", held=True)
            keys.maintain(LATER, rows)

        crash = CrashAt(step)
        keys = StorageKeys.open(path, store, step=crash)
        try:
            work(keys)
            finished = True
        except CrashError as where:
            crashed_steps.add(str(where))
            finished = False
        keys.close()
        store.close()

        store = reopened(folder)
        keys = StorageKeys.open(path, store, entropy=os.urandom)
        assert keys.lost(rows.references()) == ()
        for message in rows.rows:
            assert rows.open(message, keys_of(keys)) == b"content"
        for number, fingerprint in used.items():
            if number in keys_of(keys):
                assert keys.get(number).aead.encrypt(bytes(12), b"probe", b"") == fingerprint
        work(keys)
        tiers = {g.number: g.tier for g in keys.generations()}
        assert {tiers[row[0]] for row in rows.rows.values()} == {Tier.DAY, Tier.HOLD}
        for message in rows.rows:
            assert rows.open(message, keys_of(keys)) == b"content"
        assert sum(payload[:1] == b"r" for _, payload in keys._slots) == 1
        assert store.versions(SEED_NAME, KeyPurpose.STORAGE_GENERATIONS, b"") == ()
        keys.close()
        store.close()
        if finished:
            assert step > 25
            break
    assert crashed_steps == {"put.write", "put.live", "erase.begin", "erase.noise", "erase.free"}
