"""Reading rows: a list, one, or none."""

from typing import Any

import apsw


def rows(db: apsw.Connection, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    return db.execute(sql, values).fetchall()


def first(db: apsw.Connection, sql: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
    """The first row, if there is one."""
    return db.execute(sql, values).fetchone()


def run(db: apsw.Connection, sql: str, values: tuple[Any, ...] = ()) -> int:
    """Runs a statement to its end; returns how many rows it changed."""
    db.execute(sql, values).fetchall()
    return db.changes()
