"""Runs a message centre: ``python -m letterlock.lab.smsc --port 0``. One JSON line tells the ports; then silence."""

import argparse
import asyncio
import json
import os
import signal
import ssl

from letterlock.lab.smsc.centre import LabSmsc
from letterlock.lab.smsc.control import Control
from letterlock.wire.sms.session import Timers

PASSWORD_VARIABLE = "LAB_SMSC_PASSWORD"  # noqa: S105 - the name of a variable, not a password


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="letterlock.lab.smsc", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="SMPP port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--control-port", type=int, default=0, help="control port on 127.0.0.1")
    parser.add_argument("--system-id", default="letterlock", help="the account that may bind")
    parser.add_argument("--window", type=int, default=100, help="requests that a client may have open")
    parser.add_argument("--receipt-delay-ms", type=int, default=0, help="from a submit to its receipt")
    parser.add_argument("--tls-cert", help="PEM certificate; with it the port speaks TLS only")
    parser.add_argument("--tls-key", help="PEM key of the certificate")
    return parser.parse_args()


async def _main() -> None:
    arguments = _arguments()
    tls = None
    if arguments.tls_cert:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.tls_cert, arguments.tls_key)
    # From the environment, so that it is not in the list of processes.
    accounts = {arguments.system_id: os.environ.get(PASSWORD_VARIABLE, "secret")}
    timers = Timers(window=arguments.window, peer_window=arguments.window)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with LabSmsc(accounts, port=arguments.port, tls=tls, timers=timers) as smsc:
        smsc.behaviour.receipt_delay_ms = arguments.receipt_delay_ms
        control = Control(smsc, arguments.control_port)
        await control.start()
        print(json.dumps({"port": smsc.port, "control_port": control.port}), flush=True)
        await stop.wait()
        await control.stop()


if __name__ == "__main__":
    asyncio.run(_main())
