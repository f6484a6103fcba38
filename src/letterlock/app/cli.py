"""The command line: ``letterlock``. Servers are imported where they start, so that ``--help`` is fast.

Exit codes: 0 done; 1 a check failed; 2 wrong usage; 10 cannot verify, data is missing; 20 tampered; 30 forked or
rolled back; 40 refused to start.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from letterlock import __version__
from letterlock.model.errors import LetterlockError

START_REFUSED: Final = 40
CHECK_FAILED: Final = 1

app = typer.Typer(
    name="letterlock",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=(
        "A messaging gateway that knows, for every message, who can read it; proves it; and never makes that worse"
        " without asking.\n\nTry: letterlock serve, then letterlock ledger verify --data letterlock-data"
    ),
)
policy = typer.Typer(no_args_is_help=True, help="Check a policy file, and ask what it says of a message.")
config = typer.Typer(no_args_is_help=True, help="What the settings mean, and their defaults.")
ledger = typer.Typer(no_args_is_help=True, help="Verify the transparency log offline; export and prove entries.")
data = typer.Typer(no_args_is_help=True, help="What is stored, and for how long.")
app.add_typer(data, name="data")
app.add_typer(policy, name="policy")
app.add_typer(config, name="config")
app.add_typer(ledger, name="ledger")

Config = Annotated[Path | None, typer.Option("--config", help="A TOML file; without it the strict defaults hold.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text for people.")]
Data = Annotated[Path, typer.Option("--data", help="The store's folder; the gateway may be running.")]
PolicyFile = Annotated[Path | None, typer.Argument(help="A policy file; without it a shipped profile.")]
Profile = Annotated[str, typer.Option("--profile", help="A shipped profile: standard or consumer.")]


@app.command()
def serve(
    config_file: Config = None,
    announce: Annotated[bool, typer.Option("--announce", help="Print one JSON line with the address.")] = False,
) -> None:
    """Run the gateway until Ctrl-C. Without a file: loopback, port 8480, SQLite in ./letterlock-data."""
    from letterlock.app.serve import run
    from letterlock.app.settings import load

    run(load(config_file), announce=announce)


@app.command()
def demo(once: Annotated[bool, typer.Option("--once", help="End by itself, with status 0 or 1.")] = False) -> None:
    """Start a gateway and two phones with a real MLS engine; show who can read what, and prove it."""
    import subprocess

    # The laboratory is a process of its own: it sees the gateway only from outside.
    command = [sys.executable, "-m", "letterlock.lab.demo", *(["--once"] if once else [])]
    try:
        raise typer.Exit(subprocess.run(command, check=False).returncode)  # noqa: S603 - our own module
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@app.command()
def transports(as_json: Json = False) -> None:
    """Compare the transports, and say who reads on each. The same rows that routing uses."""
    from letterlock.transports.registry import CAPABILITIES
    from letterlock.transports.table import comparison_table

    table = comparison_table(CAPABILITIES)
    if as_json:
        _json([dict(zip(table.columns, row, strict=True)) for row in table.rows])
        return
    console = Console()
    for row in table.rows:
        shown = Table(title=row[0], show_header=False, title_justify="left")
        for column, cell in zip(table.columns[1:], row[1:], strict=True):
            shown.add_row(column, cell)
        console.print(shown)


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


@data.command("inventory")
def data_inventory(as_json: Json = False) -> None:
    """List every stored column: what it holds, and how long it may stay."""
    from letterlock.storage.columns import TABLES

    rows = [(t, c, column.data.value, column.lifetime.value) for t, cs in TABLES.items() for c, column in cs.items()]
    if as_json:
        _json([dict(zip(("table", "column", "class", "lifetime"), row, strict=True)) for row in rows])
        return
    shown = Table("table", "column", "class", "lifetime")
    for row in rows:
        shown.add_row(*row)
    Console().print(shown)


def _policy_source(file: Path | None, profile: str) -> str:
    from letterlock.policy.file import profile_source

    return file.read_text() if file is not None else profile_source(profile)


@policy.command("check")
def policy_check(file: PolicyFile = None, profile: Profile = "standard", as_json: Json = False) -> None:
    """Prove a policy: every guard in every class of messages. Names the class where one fails."""
    from letterlock.policy.report import check_report
    from letterlock.transports.registry import CAPABILITIES

    report = check_report(_policy_source(file, profile), CAPABILITIES)
    _show(report, as_json)
    if not report.get("ok", True):
        raise typer.Exit(CHECK_FAILED)


@policy.command("explain")
def policy_explain(
    facts: Annotated[
        list[str] | None, typer.Argument(help="Facts as name=word, for example traffic=conversation")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A policy file.")] = None,
    profile: Profile = "standard",
    as_json: Json = False,
) -> None:
    """Say what a message gets, by which rule and guards. Unnamed facts: a plain notice over the API."""
    from letterlock.policy.proof import prove
    from letterlock.policy.report import explain_report, facts_from_words
    from letterlock.transports.registry import CAPABILITIES

    pairs = [fact.partition("=") for fact in facts or []]
    if any(not mark for _, mark, _ in pairs):
        raise typer.BadParameter("write facts as name=word, for example traffic=conversation")
    proven = prove(_policy_source(file, profile), CAPABILITIES)
    _show(explain_report(proven, facts_from_words({name: word for name, _, word in pairs})), as_json)


@config.command("explain")
def config_explain(
    defaults: Annotated[bool, typer.Option("--defaults", help="Show the defaults.")] = False,
    config_file: Config = None,
    as_json: Json = False,
) -> None:
    """Show every setting with its value. Secrets are shown as references only."""
    import msgspec

    from letterlock.app.settings import load

    settings: dict[str, Any] = msgspec.to_builtins(load(None if defaults else config_file))
    flat: dict[str, Any] = {}
    for section, value in settings.items():
        if isinstance(value, dict):
            flat.update({f"{section}.{key}": inner for key, inner in value.items()})
        else:
            flat[section] = value
    _show(flat, as_json)


def _open_log(data: Path, key: str | None) -> tuple[Any, Any]:
    """A reader of the store's log at its last signed head, and the log's key."""
    from letterlock.ledger.serve import StoreReader
    from letterlock.storage.sqlite.connection import open_reader
    from letterlock.storage.sqlite.ledger_rows import LedgerRows
    from letterlock.wire.tlog.checkpoint import open_checkpoint
    from letterlock.wire.tlog.note import VerifierKey

    if key is None and not (data / "ledger.vkey").exists():
        raise typer.BadParameter("no ledger.vkey in this folder: give the log's key with --key")
    log_key = VerifierKey.parse((key or (data / "ledger.vkey").read_text()).strip())
    store = LedgerRows(open_reader(data))
    note = store.last_checkpoint()
    size = open_checkpoint(note, log_key).checkpoint.size if note is not None else 0
    return StoreReader(store, size, note), log_key


@ledger.command("verify")
def ledger_verify(
    data: Data = Path("letterlock-data"),
    directory: Annotated[Path | None, typer.Option("--from", help="An exported log instead of a store.")] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="The log's key; by default ledger.vkey of the folder.")
    ] = None,
    head: Annotated[Path | None, typer.Option("--head", help="A signed head that was kept elsewhere.")] = None,
    as_json: Json = False,
) -> None:
    """Verify every entry up to the signed head, offline; names the first bad entry."""
    from letterlock.ledger.export import LogDirectory
    from letterlock.wire.tlog.note import VerifierKey
    from letterlock.wire.tlog.verify import held_from_note, verify_log

    if directory is not None:
        if key is None:
            raise typer.BadParameter("an exported log needs --key, from a place you trust")
        reader: Any = LogDirectory(directory)
        log_key = VerifierKey.parse(key.strip())
    else:
        reader, log_key = _open_log(data, key)
    held = [held_from_note(head.read_bytes(), log_key)] if head is not None else []
    verdict = verify_log(reader, log_key, held=held)
    _show(
        {
            "finding": None if verdict.finding is None else verdict.finding.value,
            "first_bad": verdict.first_bad,
            "entries": verdict.checked,
            "size": verdict.head.checkpoint.size if verdict.head else None,
            "root": verdict.head.checkpoint.root.hex() if verdict.head else None,
            "witnessing": verdict.witnessing.value,
            "kinds": dict(verdict.kinds),
        },
        as_json,
    )
    if verdict.finding is not None:
        raise typer.Exit(_GRAVITY[verdict.finding.gravity.value])


_GRAVITY: Final = {"cannot_verify": 10, "tampered": 20, "forked_or_rolled_back": 30}


@ledger.command("head")
def ledger_head(data: Data = Path("letterlock-data")) -> None:
    """Print the last signed head: keep it elsewhere, and rollback is detectable."""
    reader, _ = _open_log(data, None)
    note = reader.checkpoint()
    if note is None:
        raise typer.BadParameter("nothing was signed yet")
    sys.stdout.write(note.decode())


@ledger.command("prove")
def ledger_prove(index: int, data: Data = Path("letterlock-data")) -> None:
    """Print an entry's proof (C2SP tlog-proof), for offline checks by anybody."""
    from letterlock.ledger.serve import Prover
    from letterlock.storage.sqlite.connection import open_reader
    from letterlock.storage.sqlite.ledger_rows import LedgerRows
    from letterlock.wire.tlog.checkpoint import open_checkpoint

    reader, log_key = _open_log(data, None)
    note = reader.checkpoint()
    if note is None:
        raise typer.BadParameter("nothing was signed yet")
    prover = Prover(LedgerRows(open_reader(data)), open_checkpoint(note, log_key))
    sys.stdout.write(prover.proof_file(index).encode().decode())


@ledger.command("export")
def ledger_export(to: Path, data: Data = Path("letterlock-data")) -> None:
    """Write the log as a tlog-tiles directory, for mirrors and foreign verifiers."""
    from letterlock.ledger.export import export_log

    reader, log_key = _open_log(data, None)
    export_log(reader, log_key, to)
    print(f"exported to {to}; verify with: letterlock ledger verify --from {to} --key '{log_key}'")


def _json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))


def _show(value: Any, as_json: bool) -> None:
    if as_json:
        _json(value)
        return
    table = Table(show_header=False)
    for name, cell in value.items():
        table.add_row(str(name), json.dumps(cell, default=str) if isinstance(cell, list | dict) else str(cell))
    Console().print(table)


def main() -> int:
    """Runs the command line; our own errors are one line, never a traceback."""
    try:
        app(standalone_mode=False)
    except typer.Exit as done:
        return int(done.exit_code)
    except LetterlockError as error:
        print(f"letterlock: {error}", file=sys.stderr)
        return START_REFUSED
    except Exception as error:
        if type(error).__module__.startswith(("click", "typer")):
            print(f"letterlock: {getattr(error, 'format_message', lambda: 'aborted')()}", file=sys.stderr)
            return 2
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
