"""``serve``, ``demo``, ``transports``, ``version``."""

from typing import Annotated

import typer

from letterlock.app.commands.output import Config, Json, print_json, print_table


def serve(
    config: Config = None,
    announce: Annotated[
        bool, typer.Option("--announce", help="Print one JSON line with the address once it listens, for scripts.")
    ] = False,
) -> None:
    """Run the gateway until Ctrl-C.

    Without a file: loopback, port 8480, SQLite in ./letterlock-data.

    The first start makes a tenant, and writes its API key to the file api-key in that folder.
    """
    from letterlock.app.serve import run
    from letterlock.app.settings import load

    run(load(config), announce=announce)


def demo(
    once: Annotated[bool, typer.Option("--once", help="End by itself, with status 0 or 1.")] = False,
    as_json: Json = False,
) -> None:
    """Start a gateway, phones with a real MLS engine and a message centre for SMS; show who can read what; prove it.

    Everything stays on this machine, in a folder that is removed at the end.

    Without --once the gateway keeps serving until Ctrl-C. Exit codes: 0 every claim held; 1 one did not.
    """
    import signal
    import subprocess
    import sys

    # The laboratory is a process of its own: it sees the gateway only from outside. A session of its own, so that a
    # Ctrl-C reaches it once, from here; it then ends its gateway in order.
    command = [
        sys.executable,
        "-m",
        "letterlock.lab.demo",
        *(["--once"] if once else []),
        *(["--json"] if as_json else []),
    ]
    process = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - our own module

    def end(_number: int, _frame: object) -> None:
        process.send_signal(signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    status = process.wait()
    raise typer.Exit(status if status >= 0 else 128 - status)


def transports(as_json: Json = False) -> None:
    """Compare the transports, and say who reads on each. The same rows that routing uses."""
    from letterlock.transports.registry import CAPABILITIES
    from letterlock.transports.table import comparison_table

    table = comparison_table(CAPABILITIES)
    if as_json:
        print_json([dict(zip(table.columns, row, strict=True)) for row in table.rows])
        return
    for row in table.rows:
        print_table(row[0], ("", ""), list(zip(table.columns[1:], row[1:], strict=True)))
        print()


def version(as_json: Json = False) -> None:
    """Print the version."""
    from letterlock import __version__

    if as_json:
        print_json({"version": __version__})
    else:
        print(__version__)
