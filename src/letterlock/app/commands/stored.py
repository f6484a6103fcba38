"""``data inventory``, ``retention verify``, ``fsck``: what is stored, whether it is overdue, whether it is whole."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from letterlock.app.commands.output import (
    Config,
    Data,
    Exit,
    Json,
    folder_of,
    print_json,
    print_table,
    wrong_usage,
)

if TYPE_CHECKING:
    import apsw

data = typer.Typer(no_args_is_help=True, help="What is stored, what it is, and for how long.")
retention = typer.Typer(no_args_is_help=True, help="Whether anything stays longer than it may.")

_DATABASES = ("letterlock.db", "vault.db")


def inventory() -> list[dict[str, str]]:
    """Every stored column: file, table, column, class, lifetime."""
    from letterlock.storage.columns import TABLES, VAULT

    return [
        {"file": file, "table": table, "column": name, "class": one.data.value, "lifetime": one.lifetime.value}
        for file, tables in zip(_DATABASES, (TABLES, VAULT), strict=True)
        for table, columns in tables.items()
        for name, one in columns.items()
    ]


def inventory_document() -> str:
    """The inventory as the page docs/data-inventory.md."""
    from letterlock.storage.columns import FILES, MEANING

    lines = [
        "# What is stored",
        "",
        "Made by `letterlock data inventory --markdown`; a test compares this page with the declaration, and the",
        "declaration with the schema of a fresh store. There is no class for readable content: no column holds any.",
        "",
        "## Classes",
        "",
        "| class | what it is |",
        "|---|---|",
        *(f"| `{kind.value}` | {text} |" for kind, text in MEANING.items()),
        "",
        "## Files of the store's folder",
        "",
        "| file | what it holds | in backups |",
        "|---|---|---|",
        *(f"| `{one.name}` | {one.holds} | {'yes' if one.backup else 'no'} |" for one in FILES),
    ]
    for file in _DATABASES:
        lines += ["", f"## Columns of `{file}`", "", "| table | column | class | stays |", "|---|---|---|---|"]
        lines += [
            f"| `{row['table']}` | `{row['column']}` | {row['class']} | {row['lifetime']} |"
            for row in inventory()
            if row["file"] == file
        ]
    return "\n".join(lines) + "\n"


@data.command("inventory")
def data_inventory(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page docs/data-inventory.md.")] = False,
    as_json: Json = False,
) -> None:
    """List every stored column: what it holds, and how long it may stay."""
    if markdown and as_json:
        wrong_usage("--markdown and --json exclude each other")
    rows = inventory()
    if as_json:
        print_json(rows)
    elif markdown:
        print(inventory_document(), end="")
    else:
        print_table(f"{len(rows)} columns", tuple(rows[0]), [tuple(row.values()) for row in rows])


def open_snapshot(folder: Path) -> "apsw.Connection":
    """A store's rows as they are at one moment, beside a running gateway.

    Raises:
        StorageError: the store is damaged, or of another schema.
    """
    from letterlock.storage.errors import StorageError, StorageReason
    from letterlock.storage.sqlite.connection import DATABASE, migrations, open_reader, storage_errors

    if not (folder / DATABASE).is_file():
        wrong_usage(f"no store in {folder}; give its folder with --data, or start `letterlock serve` once")
    db = open_reader(folder)
    with storage_errors():
        found, known = int(db.execute("PRAGMA user_version").get), len(migrations())
        if found > known:
            raise StorageError(StorageReason.NEWER_SCHEMA, found=found, known=known)
        db.execute("BEGIN").fetchall()
    return db


@retention.command("verify")
def retention_verify(data: Data = None, config: Config = None, as_json: Json = False) -> None:
    """Count rows that have outlived their time, table by table: the times are those of `letterlock data inventory`.

    Exit codes: 0 nothing is overdue; 1 something is. A gateway that does not run purges nothing.
    """
    from letterlock.app.clock import SystemClock
    from letterlock.app.settings import load
    from letterlock.storage.sqlite.connection import storage_errors
    from letterlock.storage.sqlite.overdue import find_overdue

    settings = load(config)
    store = settings.store
    db = open_snapshot(folder_of(data, config))
    with storage_errors():
        found = find_overdue(db, SystemClock().now_ms(), store.purge_every_s)
        db.execute("ROLLBACK").fetchall()
    total = sum(one.rows for one in found)
    if as_json:
        print_json(
            {
                "overdue": total,
                "metadata_after_delivery_minutes": store.metadata_after_delivery_minutes,
                "purge_every_s": store.purge_every_s,
                "rules": [
                    {"table": one.table, "lifetime": one.lifetime, "grace_s": one.grace_ms // 1000, "overdue": one.rows}
                    for one in found
                ],
            }
        )
    else:
        print(
            f"{total} rows are overdue. N = {store.metadata_after_delivery_minutes} minutes: so long does a message's"
            f" row outlive its delivery; the purge runs every {store.purge_every_s} s."
        )
        rows = [(one.table, one.lifetime, one.grace_ms // 1000, one.rows) for one in found]
        print_table("", ("table", "may stay", "seconds of grace", "overdue rows"), rows)
    if total:
        raise typer.Exit(Exit.FINDING)


def fsck(data: Data = None, config: Config = None, as_json: Json = False) -> None:
    """Check that a store's rows fit each other, its ledger and its keys. Changes nothing; the gateway may be running.

    Exit codes: 0 whole (keys are left out beside a running gateway, and that is said); 1 something is not.
    """
    from letterlock.storage.sqlite.connection import storage_errors
    from letterlock.storage.sqlite.fsck import check_store

    folder = folder_of(data, config)
    db = open_snapshot(folder)
    with storage_errors():
        checks = check_store(db, _generations(folder, config))
        db.execute("ROLLBACK").fetchall()
    bad = [one for one in checks if one.bad]
    if as_json:
        print_json(
            {
                "whole": not bad,
                "checks": [{"check": c.name, "looks_for": c.says, "found": c.bad, "first": c.first} for c in checks],
            }
        )
    else:
        print("Something is not as it should be." if bad else "Whole: no check found anything.")
        rows = [(c.name, c.says, "not checked: the gateway runs" if c.bad is None else c.bad, c.first) for c in checks]
        print_table("", ("check", "looks for", "found", "first"), rows)
    if bad:
        raise typer.Exit(Exit.FINDING)


def _generations(folder: Path, config: Path | None) -> frozenset[int] | None:
    """The storage keys that exist; None while a gateway holds them."""
    from letterlock.app.keys import KEYSTORE, STORAGE_KEYS, open_keys
    from letterlock.app.settings import load
    from letterlock.storage.errors import StorageError, StorageReason
    from letterlock.storage.sqlite.connection import StoreLock

    try:
        lock = StoreLock(folder)
    except StorageError as error:
        if error.reason is StorageReason.LOCKED:
            return None
        raise
    try:
        if not (folder / KEYSTORE).exists() or not (folder / STORAGE_KEYS).exists():
            # Opening would make new ones; a check changes nothing.
            return frozenset()
        keys = open_keys(load(config), folder)
        try:
            return frozenset(generation.number for generation in keys.storage.generations())
        finally:
            keys.close()
    finally:
        lock.release()
