"""What SQLite leaves of deleted rows: with the settings that we use nothing, with its defaults nearly everything."""

import os
from pathlib import Path

import apsw

MARK = b"RESIDUE-MARK-"
ROWS = 4_000


def hits(path: Path) -> tuple[int, int]:
    wal = path.with_name(path.name + "-wal")
    return path.read_bytes().count(MARK), wal.read_bytes().count(MARK) if wal.exists() else 0


def filled_and_emptied(path: Path, secure_delete: str) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    for pragma in ("journal_mode=WAL", "synchronous=OFF", f"secure_delete={secure_delete}"):
        list(connection.execute(f"PRAGMA {pragma}"))
    connection.execute("CREATE TABLE box (mailbox INT, id BLOB, body BLOB, UNIQUE (mailbox, id))")
    for _ in range(4):
        with connection:
            connection.executemany(
                "INSERT INTO box VALUES (?, ?, ?)",
                [(n % 40, os.urandom(16), MARK + os.urandom(400)) for n in range(ROWS // 4)],
            )
    list(connection.execute("PRAGMA wal_checkpoint(PASSIVE)"))
    assert hits(path)[0] > 0
    with connection:
        connection.execute("DELETE FROM box")
    return connection


def test_deleted_rows_are_gone_with_secure_delete_and_truncation(tmp_path: Path) -> None:
    connection = filled_and_emptied(tmp_path / "ours.db", "ON")
    assert sum(hits(tmp_path / "ours.db")) > 0  # before the truncation they are still there
    list(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
    assert hits(tmp_path / "ours.db") == (0, 0)
    connection.close()


def test_with_the_defaults_the_same_search_finds_them(tmp_path: Path) -> None:
    for setting in ("OFF", "FAST"):
        path = tmp_path / f"{setting}.db"
        connection = filled_and_emptied(path, setting)
        list(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
        assert hits(path)[0] > ROWS // 2
        connection.close()
