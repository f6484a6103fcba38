"""``verify-path``: whether the markers of a message fit together, and who could read it; offline, from a file."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from letterlock.app.commands.output import Config, Data, Json, folder_of, print_json, print_table, print_values
from letterlock.app.commands.output import wrong_usage as _wrong_usage

if TYPE_CHECKING:
    from letterlock.model.ids import MessageId
    from letterlock.wire.path import Handed, ProvenPath
    from letterlock.wire.tlog.note import VerifierKey


def verify_path(
    message: Annotated[str, typer.Argument(metavar="MSG", help="A file with a path, or a message's id (msg_...).")],
    gateway: Annotated[
        str, typer.Option("--gateway", help="Where to fetch the path of an id; plain http on loopback alone.")
    ] = "http://127.0.0.1:8480",
    api_key_file: Annotated[
        Path, typer.Option("--api-key-file", help="An API key with the scope messages or read, to fetch.")
    ] = Path("letterlock-data/api-key"),
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="Public key of a server's log, or a file with it; one for each server."),
    ] = None,
    data: Data = None,
    config: Config = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Keep the fetched path in this file.")] = None,
    as_json: Json = False,
) -> None:
    """Verify a message's path: every hop that signs is there, in order, unaltered; and name who never signs.

    Without --key the log's key is the ledger.vkey of the store: then compare that with a copy kept elsewhere.

    Exit codes: 0 everything fits; 10 a log key or the next marker is missing (perhaps it is still under way);
    20 a marker or proof is false, removed, moved, or of another message.
    """
    from letterlock.app.commands.openlog import KEY_FILE, parse_key
    from letterlock.model.ids import MessageId

    try:
        wanted: MessageId | None = MessageId.parse(message)
    except ValueError:
        wanted = None
    keys: list[VerifierKey] = [parse_key(one) for one in key or []]
    if not keys:
        kept = folder_of(data, config) / KEY_FILE
        if not kept.is_file():
            _wrong_usage(f"no {kept}: give the log's key with --key")
        keys = [parse_key(kept.read_text())]
    if wanted is not None:
        content = _fetch(wanted, gateway, api_key_file)
    elif Path(message).is_file():
        content = Path(message).read_bytes()
    else:
        _wrong_usage("MSG is a file, or an id: msg_<32 hex digits>")
    if out is not None:
        out.write_bytes(content)
    _show(_verified(content, keys, wanted), as_json=as_json)


def _verified(content: bytes, keys: "list[VerifierKey]", wanted: "MessageId | None") -> "ProvenPath":
    from letterlock.wire.path import verify_path as verified

    return verified(content, keys, wanted)


def _fetch(message: "MessageId", gateway: str, api_key_file: Path) -> bytes:
    from letterlock.app.commands.calls import tenant_api
    from letterlock.client import api

    with tenant_api(gateway, api_key_file) as call:
        return call(api.path(str(message))).data


def _show(path: "ProvenPath", *, as_json: bool) -> None:
    hops = [
        {"server": one.server, "hop": one.hop.value, "kinds": sorted(kind.value for kind in one.kinds)}
        for one in path.hops
    ]
    unsigned = [{"name": one.name, "kinds": sorted(kind.value for kind in one.kinds)} for one in path.end.readers]
    if as_json:
        values = {
            "proven": True, "message": str(path.message), "hops": hops, "ends": path.end.to.value,
            "transport": None if path.end.channel is None else path.end.channel.value, "row": path.end.row,
            "never_sign": unsigned, "readers": list(path.readers),
        }  # fmt: skip
        print_json(values)
        return
    sys.stdout.write(f"Proven: {len(hops)} signed hops, unbroken, of {path.message}; {_end(path.end)}\n")
    rows = [(one.server, one.hop.value, sorted(kind.value for kind in one.kinds), "signed") for one in path.hops]
    rows += [(one.name, "-", sorted(kind.value for kind in one.kinds), "never signs") for one in path.end.readers]
    print_table("", ("who", "hop", "states or may do", "marker"), rows)
    print_values("", {"who can read it": list(path.readers) or "nobody on the path"})


def _end(end: "Handed") -> str:
    match end.to.value:
        case "transport":
            return f"then {end.channel.value if end.channel else ''}, where nobody signs."
        case "devices":
            return "then the recipient's devices."
        case _:
            return "it left nowhere."
