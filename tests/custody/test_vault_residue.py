"""Index pages that were split keep pieces of what moved away: an erasure finds them, and makes the file anew."""

import hashlib
from pathlib import Path

import apsw
import pytest

from letterlock.custody.vault import Erasure, ErasureOutcome, Row, VaultError, VaultReason
from letterlock.custody.vault_file import WINDOW, VaultFile

Layout = tuple[list[Row], list[Row]]
MOST_TRIES = 40


def made(salt: int) -> list[Row]:
    """Rows whose look-ups come in random order, the same for each salt."""
    named = [b"%d/%d" % (salt, n) for n in range(3_000)]
    return [Row(hashlib.sha256(name).digest(), 1, hashlib.sha512(name).digest()) for name in named]


ROWS = made(0)


def filled(path: Path, rows: list[Row] = ROWS) -> VaultFile:
    file = VaultFile.open(path)
    for at in range(0, len(rows), 500):
        file.insert_absent(rows[at : at + 500])
        file.truncate()
    return file


def windows(data: bytes) -> set[bytes]:
    return {data[at : at + WINDOW] for at in range(len(data) - WINDOW + 1)}


def left_in(path: Path, rows: list[Row]) -> list[Row]:
    """The rows of which the file holds a piece."""
    held = windows(path.read_bytes())
    return [row for row in rows if held & (windows(row.lookup) | windows(row.sealed))]


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Rows in an order in which deleting, overwriting and truncating alone leave pieces of some; and those."""
    for salt in range(MOST_TRIES):
        path, rows = tmp_path_factory.mktemp("control") / "vault.db", made(salt)
        file = filled(path, rows)
        for row in rows[::5]:
            file._query("DELETE FROM subject WHERE lookup = ?", row.lookup)
        file.truncate()
        file.close()
        if found := left_in(path, rows[::5]):
            return rows, found
    raise AssertionError("the control: SQLite overwrites what it frees, and not what it moved")


def test_nothing_is_left_of_rows_that_deleting_alone_leaves_pieces_of(tmp_path: Path, layout: Layout) -> None:
    rows, leaving = layout
    path = tmp_path / "vault.db"
    file = filled(path, rows)
    for row in rows[::5]:
        if row not in leaving:
            file._query("DELETE FROM subject WHERE lookup = ?", row.lookup)
    for number, row in enumerate(leaving):
        erasure = Erasure(number.to_bytes(16, "big"), row.lookup)
        file.intend(erasure)
        assert file.erase(row.lookup) is ErasureOutcome.ERASED
        file.close_intent(erasure)
        assert left_in(path, [row]) == []
    assert left_in(path, leaving) == []
    kept = [row for row in rows if row not in rows[::5]]
    assert file.find([row.lookup for row in kept]) == {row.lookup: row for row in kept}


def test_the_file_is_made_anew_only_where_something_is_left(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    file = filled(path)
    said: list[str] = []

    def hear(_: object, sql: str, __: object) -> bool:
        said.append(sql)
        return True

    file._db.exec_trace = hear
    for number, row in enumerate(ROWS[:40]):
        erasure = Erasure(number.to_bytes(16, "big"), row.lookup)
        file.intend(erasure)
        file.erase(row.lookup)
        file.close_intent(erasure)
    assert said.count("VACUUM") < 20, "a search is enough for most"
    # What was deleted by a run that then ended: nobody knows the sealed part any more, so it is made anew.
    said.clear()
    assert file.erase(ROWS[0].lookup) is ErasureOutcome.ALREADY_ABSENT
    assert said.count("VACUUM") == 1


def test_who_came_back_before_the_erasure_was_closed_is_no_residue(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    file = filled(path)
    erasure = Erasure(bytes(16), ROWS[5].lookup)
    file.intend(erasure)
    assert file.erase(ROWS[5].lookup) is ErasureOutcome.ERASED
    again = Row(ROWS[5].lookup, 1, bytes(64))
    file.insert_absent([again])
    file.close_intent(erasure)
    assert file.find([again.lookup]) == {again.lookup: again}
    assert not windows(ROWS[5].sealed) & windows(path.read_bytes())


def test_what_cannot_be_made_anew_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = filled(tmp_path / "vault.db")

    def full() -> None:
        raise apsw.FullError

    monkeypatch.setattr(file, "_is_left", lambda _: True)
    with pytest.raises(VaultError) as caught:
        file.erase(ROWS[5].lookup)
    assert caught.value.reason is VaultReason.RESIDUE, "anew, and still there"
    monkeypatch.setattr(file, "_make_anew", full)
    with pytest.raises(VaultError) as caught:
        file.erase(ROWS[6].lookup)
    assert caught.value.reason is VaultReason.STORE
