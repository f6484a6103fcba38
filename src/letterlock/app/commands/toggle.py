"""``e2ee-first``: the toggle of a tenant or of one conversation, at a running gateway."""

from pathlib import Path
from typing import Annotated

import typer

from letterlock.app.commands.output import Json, print_json, wrong_usage


def e2ee_first(
    mode: Annotated[str, typer.Argument(help="on, or as-policy; without it, say what is chosen.")] = "",
    to: Annotated[
        str, typer.Option("--to", metavar="NUMBER", help="One conversation, by its number; else all of the tenant's.")
    ] = "",
    gateway: Annotated[
        str, typer.Option("--gateway", help="The gateway; plain http on loopback alone.")
    ] = "http://127.0.0.1:8480",
    api_key_file: Annotated[Path, typer.Option("--api-key-file", help="A tenant's API key; scope: admin.")] = Path(
        "letterlock-data/api-key"
    ),
    as_json: Json = False,
) -> None:
    """Flip the E2EE-first toggle, or look at it: conversations below end-to-end encryption are then a step down.

    In force for the next message; recorded in the ledger, with a version that goes up by one. It asks for more than
    the policy, never for less: as-policy goes back to what policy and records say.
    """
    from letterlock.app.commands.calls import tenant_api
    from letterlock.client import api

    choices = {"on": "e2ee_first", "as-policy": "as_policy"}
    if mode and mode not in choices:
        wrong_usage("on, or as-policy")
    with tenant_api(gateway, api_key_file) as call:
        done = call(api.set_e2ee_first(choices[mode], to or None) if mode else api.e2ee_first(to or None))
    of = "this conversation" if to else "all conversations of this tenant"
    words = {"e2ee_first": "end-to-end encryption first", "as_policy": "as the policy says"}
    if as_json:
        print_json({"mode": done.mode, "version": done.version})
    else:
        print(f"For {of}: {words.get(done.mode, done.mode)} (version {done.version}).")
