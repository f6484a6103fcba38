"""The vault: one subject an identifier, tokens that join only within a period, and erasure that leaves nothing."""

import os
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.custody.keys import OTHER_TENANT, TENANT, keystore

from letterlock.custody.file_keystore import FileKeyStore
from letterlock.custody.keystore import KeyPurpose
from letterlock.custody.slots import SlotFileError, SlotFileReason
from letterlock.custody.vault import (
    DAY_MS,
    INDEX_KEY,
    MAX_BATCH,
    MAX_IDENTIFIER,
    SUBJECTS_KEY,
    ErasureOutcome,
    Row,
    Subject,
    TokenPurpose,
    Vault,
    VaultError,
    VaultReason,
    period_of,
)
from letterlock.custody.vault_file import VaultFile
from letterlock.model.ids import SubjectId

NUMBER = b"4915112345678"


def refused(reason: VaultReason) -> pytest.RaisesExc[VaultError]:
    return pytest.RaisesExc(VaultError, check=lambda error: error.reason is reason)


@pytest.fixture
def store(tmp_path: Path) -> FileKeyStore:
    return keystore(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> VaultFile:
    return VaultFile.open(tmp_path / "vault.db")


@pytest.fixture
def vault(file: VaultFile, store: FileKeyStore) -> Vault:
    return Vault(file, store)


def raw(folder: Path) -> bytes:
    """Everything that the vault has on disk."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob("vault.db*")))


def rows_of(file: VaultFile) -> list[Row]:
    return [Row(*row) for row in file._query("SELECT lookup, sealed_by, sealed FROM subject ORDER BY row")]


def test_get_or_create_is_idempotent_and_durable(tmp_path: Path, store: FileKeyStore) -> None:
    file = VaultFile.open(tmp_path / "vault.db")
    vault = Vault(file, store)
    assert vault.find(TENANT, NUMBER) is None
    subject = vault.subject(TENANT, NUMBER)
    assert vault.subject(TENANT, NUMBER) == subject
    assert vault.find(TENANT, NUMBER) == subject
    # Durable when the call returns: read what is on disk as after a crash, without closing.
    for path in tmp_path.glob("vault.db*"):
        (tmp_path / path.name.replace("vault", "crashed")).write_bytes(path.read_bytes())
    (tmp_path / "crashed.db").chmod(0o600)
    assert Vault(VaultFile.open(tmp_path / "crashed.db"), store).find(TENANT, NUMBER) == subject
    file.close()
    assert Vault(VaultFile.open(tmp_path / "vault.db"), store).subject(TENANT, NUMBER) == subject


def test_subjects_differ_by_identifier_and_tenant(vault: Vault) -> None:
    subjects = [
        vault.subject(TENANT, NUMBER),
        vault.subject(TENANT, NUMBER[:-1]),
        vault.subject(TENANT, NUMBER + b"0"),
        vault.subject(OTHER_TENANT, NUMBER),
    ]
    assert len({subject.id for subject in subjects}) == 4
    assert len({subject.key for subject in subjects}) == 4


def test_a_batch_may_repeat_itself(vault: Vault) -> None:
    known = vault.subject(TENANT, b"1")
    first, second, third = vault.subjects(TENANT, (b"1", b"2", b"2"))
    assert first == known
    assert second == third != first
    assert vault.subjects(TENANT, ()) == ()
    assert len(vault.subjects(TENANT, [b"%d" % n for n in range(MAX_BATCH)])) == MAX_BATCH
    with refused(VaultReason.BATCH_TOO_LARGE):
        vault.subjects(TENANT, [b"x"] * (MAX_BATCH + 1))


@pytest.mark.parametrize("identifier", [b"", b"1" * (MAX_IDENTIFIER + 1)])
def test_bad_identifiers_are_refused(vault: Vault, identifier: bytes) -> None:
    for call in (vault.subject, vault.find, vault.intend_erasure):
        with refused(VaultReason.BAD_IDENTIFIER):
            call(TENANT, identifier)
    assert vault.subject(TENANT, b"1" * MAX_IDENTIFIER).id != vault.subject(TENANT, b"1").id


def test_the_file_tells_neither_identifier_nor_subject(tmp_path: Path, vault: Vault) -> None:
    subject = vault.subject(TENANT, NUMBER)
    assert raw(tmp_path)
    for secret in (NUMBER, subject.id.value, subject.key):
        assert secret not in raw(tmp_path)


def test_the_cache_is_bounded_and_never_decides(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("letterlock.custody.vault.MAX_CACHED", 3)
    first = [vault.subject(TENANT, b"%d" % n) for n in range(10)]
    assert len(vault._cache) == 3
    assert [vault.subject(TENANT, b"%d" % n) for n in range(10)] == first


KEYS = st.binary(min_size=32, max_size=32)


@given(KEYS, st.sampled_from(TokenPurpose), st.integers(0, 1 << 40))
def test_tokens_join_within_a_period_and_not_across(key: bytes, purpose: TokenPurpose, period: int) -> None:
    subject = Subject(SubjectId(b"s" * 16), key)
    token = subject.token(purpose, TENANT, period)
    assert len(token) == 16
    assert token == Subject(SubjectId(b"other id not in it"[:16]), key).token(purpose, TENANT, period)
    others = {subject.token(p, TENANT, period) for p in TokenPurpose}
    others |= {subject.token(purpose, OTHER_TENANT, period), subject.token(purpose, TENANT, period + 1)}
    others.add(Subject(subject.id, bytes(b ^ 1 for b in key)).token(purpose, TENANT, period))
    assert len(others) == len(TokenPurpose) + 3


def test_periods() -> None:
    start = 20_010 * DAY_MS
    for purpose in TokenPurpose:
        days = 30 if purpose is TokenPurpose.AUDIT else 1
        assert period_of(purpose, start) == period_of(purpose, start + DAY_MS - 1) == 20_010 // days
        assert period_of(purpose, start + days * DAY_MS) == 20_010 // days + 1


def test_erasure_leaves_nothing_in_the_files(tmp_path: Path, file: VaultFile, vault: Vault) -> None:
    """With many rows in random order, so that pages of the index split while they are filled."""
    identifiers = [b"49151%08d" % n for n in range(3_000)]
    for at in range(0, len(identifiers), 500):
        vault.subjects(TENANT, identifiers[at : at + 500])
        file.truncate()
    rows = rows_of(file)
    victims = [rows[n] for n in range(0, 3_000, 97)]
    before = raw(tmp_path)
    for row in victims:  # the control: what is to be erased can be found
        assert row.lookup in before
        assert row.sealed in before
    for n in range(0, 3_000, 97):
        erasure = vault.intend_erasure(TENANT, identifiers[n])
        assert vault.erase(erasure) is ErasureOutcome.ERASED
        vault.close_erasure(erasure)
        assert vault.find(TENANT, identifiers[n]) is None
    after = raw(tmp_path)
    left = [row for row in victims if row.sealed in after or row.sealed[13:29] in after]
    assert left == []
    hashes = [row for row in victims if row.lookup in after or row.lookup[:12] in after]
    assert hashes == []
    kept = [row for row in rows if row not in victims]
    assert all(row.lookup in after and row.sealed in after for row in kept)


def test_without_the_settings_the_same_search_finds_residue(tmp_path: Path, store: FileKeyStore) -> None:
    """The positive control of the test above."""
    file = VaultFile.open(tmp_path / "vault.db")
    list(file._db.execute("PRAGMA secure_delete=OFF"))
    vault = Vault(file, store)
    vault.subjects(TENANT, [b"%d" % n for n in range(500)])
    rows = rows_of(file)
    # By hand: an erasure would find it, and make the file anew.
    for row in rows:
        file._query("DELETE FROM subject WHERE lookup = ?", row.lookup)
    file.truncate()
    after = raw(tmp_path)
    assert sum(row.sealed in after for row in rows) > 100


def test_without_truncation_the_log_keeps_the_row(tmp_path: Path, file: VaultFile, vault: Vault) -> None:
    vault.subject(TENANT, NUMBER)
    [row] = rows_of(file)
    file._query("DELETE FROM subject")
    assert row.sealed in raw(tmp_path)
    file.truncate()
    assert row.sealed not in raw(tmp_path)


def test_after_erasure_the_person_is_new(vault: Vault) -> None:
    before = vault.subject(TENANT, NUMBER)
    neighbour = vault.subject(TENANT, b"1")
    erasure = vault.intend_erasure(TENANT, NUMBER)
    assert vault.subject(TENANT, NUMBER) == before  # intended is not done
    assert vault.erase(erasure) is ErasureOutcome.ERASED
    after = vault.subject(TENANT, NUMBER)
    assert after.id != before.id
    assert after.token(TokenPurpose.LOG, TENANT, 1) != before.token(TokenPurpose.LOG, TENANT, 1)
    assert vault.subject(TENANT, b"1") == neighbour
    with refused(VaultReason.ABSENT):
        vault.intend_erasure(TENANT, b"nobody")


def test_an_erasure_goes_on_after_a_crash_at_any_point(tmp_path: Path, store: FileKeyStore) -> None:
    for stop in range(4):
        path = tmp_path / str(stop)
        path.mkdir()
        file = VaultFile.open(path / "vault.db")
        vault = Vault(file, store)
        subject = vault.subject(TENANT, NUMBER)
        erasure = vault.intend_erasure(TENANT, NUMBER)
        assert vault.intend_erasure(TENANT, NUMBER) == erasure  # asked twice, one intent
        if stop >= 1:
            vault.erase(erasure)
        if stop >= 2:
            assert vault.erase(erasure) is ErasureOutcome.ALREADY_ABSENT
        if stop >= 3:
            vault.close_erasure(erasure)
        file.close()
        file = VaultFile.open(path / "vault.db")
        vault = Vault(file, store)
        open_ones = vault.open_erasures()
        assert open_ones == (() if stop == 3 else (erasure,))
        for one in open_ones:
            outcome = vault.erase(one)
            assert outcome is (ErasureOutcome.ALREADY_ABSENT if stop else ErasureOutcome.ERASED)
            vault.close_erasure(one)
            vault.close_erasure(one)
        assert vault.open_erasures() == ()
        assert vault.subject(TENANT, NUMBER) != subject
        assert erasure.lookup not in raw(path) or vault.find(TENANT, NUMBER) is not None
        file.close()


def test_a_hold_blocks_erasure_before_and_after_the_intent(vault: Vault) -> None:
    subject = vault.subject(TENANT, NUMBER)
    vault.hold(TENANT, NUMBER, b"case 1")
    vault.hold(TENANT, NUMBER, b"case 1")
    vault.hold(TENANT, NUMBER, b"case 2")
    with refused(VaultReason.HELD):
        vault.intend_erasure(TENANT, NUMBER)
    vault.release(TENANT, NUMBER, b"case 1")
    with refused(VaultReason.HELD):
        vault.intend_erasure(TENANT, NUMBER)
    vault.release(TENANT, NUMBER, b"case 2")
    vault.release(TENANT, NUMBER, b"case 2")
    erasure = vault.intend_erasure(TENANT, NUMBER)
    vault.hold(TENANT, NUMBER, b"case 3")
    assert vault.erase(erasure) is ErasureOutcome.BLOCKED_BY_HOLD
    assert vault.subject(TENANT, NUMBER) == subject
    vault.release(TENANT, NUMBER, b"case 3")
    assert vault.erase(erasure) is ErasureOutcome.ERASED
    for call in (vault.hold, vault.release):
        with refused(VaultReason.ABSENT):
            call(TENANT, b"nobody", b"case")


def test_rotated_keys_still_lead_to_the_same_subject(tmp_path: Path, store: FileKeyStore) -> None:
    file = VaultFile.open(tmp_path / "vault.db")
    before = Vault(file, store).subject(TENANT, NUMBER)
    [first] = store.versions(INDEX_KEY, KeyPurpose.VAULT_INDEX, b"")
    store.rotate(INDEX_KEY, KeyPurpose.VAULT_INDEX, b"")
    store.rotate(SUBJECTS_KEY, KeyPurpose.VAULT_SUBJECTS, b"")
    vault = Vault(file, store)
    assert vault.subject(TENANT, NUMBER) == before
    fresh = vault.subject(TENANT, b"2")
    erasure = vault.intend_erasure(TENANT, NUMBER)
    assert vault.erase(erasure) is ErasureOutcome.ERASED
    assert vault.subject(TENANT, NUMBER) != before
    store.destroy(first, KeyPurpose.VAULT_INDEX, b"")  # and with it all that was looked up by it alone
    assert Vault(file, store).subject(TENANT, b"2") == fresh


def test_a_row_moved_or_changed_does_not_open(file: VaultFile, store: FileKeyStore) -> None:
    vault = Vault(file, store)
    vault.subjects(TENANT, (b"1", b"2"))
    one, two = rows_of(file)
    for sealed in (two.sealed, one.sealed[:-1] + bytes((one.sealed[-1] ^ 1,))):
        file._query("UPDATE subject SET sealed = ? WHERE lookup = ?", sealed, one.lookup)
        with refused(VaultReason.NOT_AUTHENTIC):
            Vault(file, store).subject(TENANT, b"1")
    file._query("UPDATE subject SET sealed = ? WHERE lookup = ?", one.sealed, one.lookup)
    assert Vault(file, store).subject(TENANT, b"1") == vault.subject(TENANT, b"1")


def test_files_that_are_not_ours_to_use(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    file = VaultFile.open(path)
    assert path.stat().st_mode & 0o777 == 0o600
    other = apsw.Connection(str(path))
    with pytest.raises(apsw.BusyError):
        other.execute("SELECT count(*) FROM subject")
    other.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("letterlock.custody.vault_file.BUSY_MS", 10)
        with refused(VaultReason.IN_USE):
            VaultFile.open(path)
    file._query("PRAGMA user_version=2")
    file.close()
    with refused(VaultReason.NEWER):
        VaultFile.open(path)
    path.chmod(0o640)
    with pytest.RaisesExc(SlotFileError, check=lambda error: error.reason is SlotFileReason.OPEN_TO_OTHERS):
        VaultFile.open(path)
    (tmp_path / "noise.db").write_bytes(os.urandom(8192))
    (tmp_path / "noise.db").chmod(0o600)
    foreign = apsw.Connection(str(tmp_path / "foreign.db"))
    foreign.execute("PRAGMA user_version=1")
    foreign.close()
    (tmp_path / "foreign.db").chmod(0o600)
    for name in ("noise.db", "foreign.db"):
        with refused(VaultReason.STORE):
            VaultFile.open(tmp_path / name)


def test_what_is_secret_does_not_print(vault: Vault, file: VaultFile) -> None:
    subject = vault.subject(TENANT, NUMBER)
    erasure = vault.intend_erasure(TENANT, NUMBER)
    shown = repr(subject) + repr(erasure) + repr(rows_of(file)) + repr(vault)
    for secret in (subject.key, erasure.lookup, rows_of(file)[0].sealed, NUMBER):
        assert repr(secret)[2:-1] not in shown
