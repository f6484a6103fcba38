"""The command line: ``letterlock``. Servers are imported where they start, so that ``--help`` is fast."""

import errno
import json
import sys
from typing import Final

import typer

from letterlock.app.commands import (
    chat,
    config,
    erase,
    ledger,
    logs,
    policy,
    running,
    stored,
    tenants,
    toggle,
    verify_path,
)
from letterlock.app.commands.hints import exit_for, what_to_do
from letterlock.app.commands.output import EXIT_CODES, Exit
from letterlock.model.errors import LetterlockError

HELP: Final = (
    "A messaging gateway that knows, for every message, who can read it; proves it; and never makes that worse without"
    " asking."
)
EPILOG: Final = (
    "Examples:\n\n"
    "letterlock demo --once  (phones, SMS, a gateway: every claim checked)\n\n"
    "letterlock serve --config letterlock.toml  (run the gateway)\n\n"
    "letterlock chat alice  (talk end-to-end encrypted, between two shells)\n\n"
    "letterlock config explain --defaults  (every setting, its default and why)\n\n"
    "letterlock policy explain traffic=conversation  (what a message gets, and by which rule)\n\n"
    "letterlock ledger verify --data letterlock-data  (verify the log offline)\n\n"
    'letterlock ledger verify --from copy/ --key "$(cat ledger.vkey)"  (verify an exported copy)\n\n'
    "letterlock verify-path path.json --key ledger.vkey  (every hop's marker, and who never signs)\n\n"
    "letterlock retention verify  (nothing stays longer than it may)\n\n"
    "Every command that shows something has --json. " + EXIT_CODES
)

app = typer.Typer(
    name="letterlock",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help=HELP,
    epilog=EPILOG,
)
app.command("serve")(running.serve)
app.command("demo")(running.demo)
app.command("chat")(chat.chat)
app.command("verify-path")(verify_path.verify_path)
app.command("transports")(running.transports)
app.command("fsck")(stored.fsck)
app.command("erase")(erase.erase)
app.command("e2ee-first")(toggle.e2ee_first)
app.command("version")(running.version)
app.add_typer(config.app, name="config")
app.add_typer(policy.app, name="policy")
app.add_typer(ledger.app, name="ledger")
app.add_typer(stored.data, name="data")
app.add_typer(stored.retention, name="retention")
app.add_typer(tenants.tenant, name="tenant")
app.add_typer(tenants.api_key, name="api-key")
app.add_typer(logs.app, name="logs")


def main() -> int:
    """Runs the command line. Our own errors are a line each for what happened and what to do, never a traceback."""
    try:
        app()
    except LetterlockError as error:
        return _tell(str(getattr(error, "reason", "error")), str(error), what_to_do(error), exit_for(error))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _tell("address_in_use", "the address is in use", "set another server.port, or 0 for a free one")
        if error.errno == errno.ENOSPC:
            return _tell("disk_full", "the disk is full", "make room; nothing was half-written")
        where = f": {error.filename}" if error.filename else ""
        return _tell(
            "operating_system", f"{(error.strerror or 'failed').lower()}{where}", "check the path and its mode"
        )
    return Exit.OK


def _tell(code: str, text: str, help_text: str, status: Exit = Exit.REFUSED) -> int:
    if "--json" in sys.argv:
        print(json.dumps({"error": code, "text": text, "do": help_text, "exit": int(status)}), file=sys.stderr)
    else:
        print(f"letterlock: {text}", file=sys.stderr)
        if help_text:
            print(f"  What to do: {help_text}.", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
