"""``erase``: forgets a person, on a store whose gateway is not running."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from letterlock.app.commands.output import Config, Data, Json, folder_of, print_json, wrong_usage
from letterlock.app.commands.tenants import Direct, Number

if TYPE_CHECKING:
    from letterlock.app.settings import Settings
    from letterlock.custody.vault import ErasureOutcome


def erase(
    number_of: Annotated[
        str, typer.Argument(metavar="NUMBER", help="The phone number, with '+'; - reads it from standard input.")
    ],
    number: Number,
    data: Data = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Forget a person: the number leads nowhere any more, and nothing that waits is sent to it.

    Recorded in the ledger, before and after. A legal hold keeps it from happening. Give - and write the number to
    standard input, so that it is in no shell history. Changed while the gateway is not running.
    """
    from letterlock.app.settings import load
    from letterlock.custody.vault import ErasureOutcome
    from letterlock.wire.sms.address import PhoneNumber
    from letterlock.wire.sms.errors import AddressError

    text = sys.stdin.readline().strip() if number_of == "-" else number_of
    try:
        identifier = PhoneNumber.parse(text).e164().encode()
    except AddressError:
        wrong_usage("NUMBER: an international number with '+', or - for standard input")
    outcome = _erased(load(config), folder_of(data, config), number, identifier)
    if as_json:
        print_json({"tenant": number, "outcome": outcome.value})
    elif outcome is ErasureOutcome.ERASED:
        print("Forgotten. The ledger has the intent and the outcome; neither names anybody.")
    elif outcome is ErasureOutcome.BLOCKED_BY_HOLD:
        print("Not forgotten: a hold was set meanwhile.")
    else:
        print("Nothing to forget: this number leads to nobody in this tenant.")


def _erased(settings: "Settings", folder: Path, number: int, identifier: bytes) -> "ErasureOutcome":
    import asyncio
    from contextlib import ExitStack

    from letterlock.app.clock import SystemClock
    from letterlock.app.keys import open_keys
    from letterlock.gateway.erasures import Erasures
    from letterlock.model.ids import TenantId
    from letterlock.storage.sqlite.connection import DATABASE, StoreLock, open_reader
    from letterlock.storage.sqlite.core import StoreCore
    from letterlock.storage.sqlite.registry import handlers
    from letterlock.storage.sqlite.tenant_ops import all_tenants

    if not (folder / DATABASE).is_file():
        wrong_usage(f"no store in {folder}; give its folder with --data, or start `letterlock serve` once")
    with ExitStack() as opened:
        opened.callback(StoreLock(folder).release)
        reader = open_reader(folder)
        tenants = {row.no: TenantId(row.id) for row in all_tenants(reader)}
        reader.close()
        if number not in tenants:
            wrong_usage(f"there is no tenant {number}; see `letterlock tenant list`")
        keys = open_keys(settings, folder)
        opened.callback(keys.close)
        core = StoreCore(folder, handlers(), SystemClock())
        opened.callback(core.close)
        outcome = asyncio.run(Erasures(Direct(core), keys.vault).erase(tenants[number], identifier))
        # Deleted pages live on in the write-ahead log until it is emptied.
        core.checkpoint(truncate=True)
        return outcome
