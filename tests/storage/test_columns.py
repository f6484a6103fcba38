"""Every stored column is declared with its class and lifetime; no column is missing, none is made up."""

from pathlib import Path

from letterlock.storage.columns import TABLES, DataClass
from letterlock.storage.sqlite.connection import open_writer


def test_the_declaration_is_the_schema(tmp_path: Path) -> None:
    db = open_writer(tmp_path)
    names = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type='table'").fetchall()]
    stored = {
        str(name): {str(row[1]) for row in db.execute(f"PRAGMA table_info({name})").fetchall()}
        for name in names
        if not str(name).startswith("sqlite_")
    }
    db.close()
    assert {table: set(columns) for table, columns in TABLES.items()} == stored


def test_bodies_and_addresses_are_declared_as_sealed() -> None:
    for table, column in (
        ("sealed_body", "sealed"),
        ("shreddable_body", "sealed"),
        ("shreddable_body", "wrapped_key"),
        ("kept_copy", "sealed"),
        ("outbox", "address"),
    ):
        assert TABLES[table][column].data is DataClass.SEALED
