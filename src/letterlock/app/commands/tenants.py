"""``tenant list | add`` and ``api-key list | add | revoke``: on a store whose gateway is not running.

A running gateway keeps tenants and keys in memory, so a change under it would be seen by nobody; it holds the store,
and these commands then end with a clear error.
"""

from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from letterlock.app.commands.output import (
    Config,
    Data,
    Json,
    folder_of,
    print_json,
    print_table,
    wrong_usage,
)

if TYPE_CHECKING:
    from letterlock.gateway.tenants import Tenants
    from letterlock.storage.sqlite.core import StoreCore

tenant = typer.Typer(no_args_is_help=True, help="Tenants; changed while the gateway is not running.")
api_key = typer.Typer(no_args_is_help=True, help="API keys of tenants; changed while the gateway is not running.")
Result = TypeVar("Result")
DAY_MS: Final = 86_400_000
Number = Annotated[int, typer.Option("--tenant", min=1, help="The tenant's number, see `letterlock tenant list`.")]


class Direct:
    """The writer without its queue: this process is the only one that has the store."""

    def __init__(self, core: "StoreCore") -> None:
        self._core = core

    async def run(self, command: Any, *, tenant: int = 0, size: int = 0) -> Any:  # noqa: ARG002 - the queue's port
        """Applies one command, durably."""
        outcome = self._core.apply([command])[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@contextmanager
def _opened(folder: Path) -> "Generator[tuple[StoreCore, Tenants]]":
    from letterlock.app.clock import SystemClock
    from letterlock.gateway.tenants import Tenants
    from letterlock.storage.sqlite.connection import DATABASE, StoreLock, open_reader
    from letterlock.storage.sqlite.core import StoreCore
    from letterlock.storage.sqlite.registry import handlers
    from letterlock.storage.sqlite.tenant_ops import all_tenants, live_api_keys

    if not (folder / DATABASE).is_file():
        wrong_usage(f"no store in {folder}; give its folder with --data, or start `letterlock serve` once")
    lock = StoreLock(folder)
    try:
        core = StoreCore(folder, handlers(), SystemClock())
        try:
            db = open_reader(folder)
            found, keys = all_tenants(db), live_api_keys(db)
            db.close()
            yield core, Tenants(Direct(core), SystemClock(), found, keys)
        finally:
            core.close()
    finally:
        lock.release()


@tenant.command("list")
def tenant_list(data: Data = None, config: Config = None, as_json: Json = False) -> None:
    """List the tenants. May be asked beside a running gateway."""
    from letterlock.app.commands.stored import open_snapshot
    from letterlock.storage.sqlite.rows import rows as rows_of

    db = open_snapshot(folder_of(data, config))
    found = rows_of(db, "SELECT no, hex(id), name, profile, created_ms FROM tenant ORDER BY no")
    rows = [
        {"tenant": no, "id": str(name_id).lower(), "name": name, "profile": profile, "created": _time(created)}
        for no, name_id, name, profile, created in found
    ]
    _list(rows, "Tenants", ("tenant", "id", "name", "profile", "created"), as_json)


@tenant.command("add")
def tenant_add(
    name: Annotated[str, typer.Argument(help="A name: lower-case letters, digits, dot, dash.")],
    profile: Annotated[
        str, typer.Option("--profile", help="The shipped policy: standard, consumer or high-risk.")
    ] = "standard",
    data: Data = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Add a tenant; the same name again finds the one that is there. Recorded in the ledger."""
    import re

    from letterlock.policy.file import PROFILES

    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
        wrong_usage("a tenant's name has up to 64 lower-case letters, digits, dots, dashes")
    if profile not in PROFILES:
        wrong_usage(f"there is no such profile; shipped are: {', '.join(PROFILES)}")
    with _opened(folder_of(data, config)) as (_, tenants):
        row = _run(tenants.add(name, profile))
    values = {"tenant": row.no, "id": row.id.hex(), "name": row.name, "profile": row.profile}
    _say(values, f"Tenant {row.no} ({row.name}). Make a key: letterlock api-key add --tenant {row.no}", as_json)


@api_key.command("list")
def key_list(data: Data = None, config: Config = None, as_json: Json = False) -> None:
    """List the API keys, revoked ones too; never their secrets. May be asked beside a running gateway."""
    from letterlock.app.commands.stored import open_snapshot
    from letterlock.storage.sqlite.rows import rows as rows_of

    db = open_snapshot(folder_of(data, config))
    found = rows_of(
        db,
        "SELECT hex(id), tenant, scopes, created_ms, expires_ms, revoked_ms FROM api_key ORDER BY tenant, created_ms",
    )
    rows = [
        {
            "id": str(key_id).lower(), "tenant": number, "scopes": scopes, "created": _time(created),
            "expires": _time(expires), "revoked": _time(revoked),
        }
        for key_id, number, scopes, created, expires, revoked in found
    ]  # fmt: skip
    _list(rows, "API keys", ("id", "tenant", "scopes", "created", "expires", "revoked"), as_json)


@api_key.command("add")
def key_add(
    number: Number,
    scopes: Annotated[
        str, typer.Option("--scopes", help="What it may do, separated by commas: messages, read, devices, admin.")
    ] = "messages,read",
    days: Annotated[int | None, typer.Option("--days", min=1, max=3650, help="Days until it expires.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the secret to a new file of mode 0600 instead.")
    ] = None,
    data: Data = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make an API key. Its secret is shown this once; the store keeps a hash. Recorded in the ledger."""
    import os
    import time

    from letterlock.gateway.tenants import SCOPES

    wanted = tuple(scopes.split(","))
    if not wanted or not set(wanted) <= set(SCOPES):
        wrong_usage(f"--scopes: of {', '.join(SCOPES)}")
    if out is not None and out.exists():
        wrong_usage(f"{out} is there already")
    expires = None if days is None else time.time_ns() // 1_000_000 + days * DAY_MS
    with _opened(folder_of(data, config)) as (_, tenants):
        if number not in {row.no for row in tenants.all()}:
            wrong_usage(f"there is no tenant {number}; see `letterlock tenant list`")
        key_id, secret = _run(tenants.add_key(number, wanted, expires))
    values = {"id": key_id.value.hex(), "tenant": number, "scopes": scopes, "expires": _time(expires)}
    if out is not None:
        with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secret + "\n")
        _say({**values, "file": str(out)}, f"Key {values['id']}; its secret is in {out}.", as_json)
    else:
        _say({**values, "secret": secret}, f"Key {values['id']}. Its secret, shown this once:\n{secret}", as_json)


@api_key.command("revoke")
def key_revoke(
    key: Annotated[str, typer.Argument(help="The key's id, 32 hex digits, see `letterlock api-key list`.")],
    number: Number,
    data: Data = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """End an API key. It is dead before the command returns. Recorded in the ledger."""
    from letterlock.model.ids import ApiKeyId

    try:
        key_id = ApiKeyId(bytes.fromhex(key))
    except ValueError:
        wrong_usage("a key's id has 32 hex digits")
    with _opened(folder_of(data, config)) as (_, tenants):
        _run(tenants.revoke_key(number, key_id))
    _say({"id": key, "tenant": number, "revoked": True}, f"Key {key} is revoked.", as_json)


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    import asyncio

    return asyncio.run(work)


def _time(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


def _list(rows: list[dict[str, Any]], title: str, columns: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        print_json(rows)
    else:
        print_table(title, columns, [tuple(row[name] for name in columns) for row in rows])


def _say(values: dict[str, object], text: str, as_json: bool) -> None:
    if as_json:
        print_json(values)
    else:
        print(text)
