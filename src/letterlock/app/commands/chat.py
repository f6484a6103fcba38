"""``chat``: a terminal for a conversation between two people, each with a device of their own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from letterlock.app.commands.output import wrong_usage

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from letterlock.assurance.texts import Texts
    from letterlock.client.chat.loop import Plan
    from letterlock.client.chat.screen import Screen, Shown

_READ: Final = 65_536
_MAX_LINE: Final = 65_536
"""Bytes of a typed line that are looked at: more than a text may have, so that a longer one is refused, not cut."""


def chat(
    name: Annotated[str, typer.Argument(help="A name for you on this machine: lower-case letters, digits, dot, dash.")],
    gateway: Annotated[
        str, typer.Option("--gateway", help="The gateway; plain http on loopback alone.")
    ] = "http://127.0.0.1:8480",
    with_contact: Annotated[
        str, typer.Option("--with", metavar="CONTACT", help="Whose contact line; without it, wait to be added.")
    ] = "",
    api_key_file: Annotated[
        Path, typer.Option("--api-key-file", help="A tenant's API key, read once, to enrol; scope: devices.")
    ] = Path("letterlock-data/api-key"),
    data: Annotated[Path, typer.Option("--data", help="Where devices live, a folder for each name.")] = Path(
        "letterlock-chat"
    ),
    stay: Annotated[bool, typer.Option("--stay", help="Go on receiving after the end of input.")] = False,
    read_receipts: Annotated[
        bool, typer.Option("--read-receipts/--no-read-receipts", help="Tell senders that their lines were shown here.")
    ] = True,
    language: Annotated[
        str, typer.Option("--language", help="Of questions and of the words for protection: en, es, de, hi, ar.")
    ] = "en",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line for everything shown.")] = False,
) -> None:
    """Talk end-to-end encrypted: type lines, see who can read them and who proved what.

    The first start enrols a device: account, signed device list, key packages. It prints a contact line for others.

    The device's state is sealed under a key in a file of mode 0600 beside it; there is no passphrase.

    Needs the MLS engine: the extra `client`. Type /help in the conversation. Ctrl-C or /quit ends it.
    """
    import asyncio
    import os

    from letterlock.assurance.texts import Language, texts_of
    from letterlock.client.chat.contact import Contact
    from letterlock.client.chat.loop import Plan
    from letterlock.client.errors import ChatError, ChatReason

    def api_key() -> str:
        try:
            return api_key_file.read_text().strip()
        except FileNotFoundError:
            raise ChatError(ChatReason.API_KEY_NEEDED) from None

    _check(name, gateway)
    try:
        spoken = Language(language)
    except ValueError:
        wrong_usage("--language is one of " + ", ".join(one.value for one in Language))
    contact = Contact.parse(with_contact) if with_contact else None
    plan = Plan(name, data / name, gateway.rstrip("/"), contact, api_key, stay, read_receipts, spoken)
    try:
        asyncio.run(_run(plan, _printer(texts_of(spoken), as_json=as_json)))
    except BrokenPipeError:
        # Whoever read what was shown is gone; what was not shown whole is shown at the next start.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _check(name: str, gateway: str) -> None:
    import re

    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
        wrong_usage("a name has up to 64 lower-case letters, digits, dots, dashes")
    from letterlock.app.commands.calls import check_gateway

    check_gateway(gateway)


async def _run(plan: "Plan", screen: "Screen") -> None:
    """Until the conversation ends; SIGINT, SIGTERM and SIGHUP end it at once, in order."""
    import asyncio
    import signal
    from contextlib import suppress

    from letterlock.app.clock import SystemClock
    from letterlock.client.chat.loop import converse

    lines: asyncio.Queue[str | None] = asyncio.Queue(1)
    task = asyncio.create_task(converse(plan, lines, screen, SystemClock()))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    _read_input(loop, lines)
    with suppress(asyncio.CancelledError):
        await task


def _read_input(loop: "asyncio.AbstractEventLoop", lines: "asyncio.Queue[str | None]") -> None:
    """Brings standard input in, whatever it is: a terminal, a pipe, a file.

    A thread, since not each of these can be waited for; it ends with the process.
    """
    import asyncio
    import os
    import threading
    from concurrent.futures import CancelledError
    from contextlib import suppress

    async def put(text: str | None) -> None:
        await lines.put(text)
        # Read on only when this line is done: after /quit nothing more is taken from the terminal.
        await lines.join()

    def hand_on(line: bytes | None) -> None:
        # What is no UTF-8 goes on as it is, and is refused where it would be sent.
        text = None if line is None else line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        putting = put(text)
        try:
            asyncio.run_coroutine_threadsafe(putting, loop).result()
        except RuntimeError:  # the loop is closed
            putting.close()
            raise

    def read() -> None:
        held = b""
        with suppress(OSError, RuntimeError, CancelledError):
            while piece := os.read(0, _READ):
                *whole, rest = (held + piece).split(b"\n")
                for line in whole:
                    hand_on(line[:_MAX_LINE])
                held = rest[:_MAX_LINE]
            if held:
                hand_on(held)
        with suppress(RuntimeError, CancelledError):
            hand_on(None)

    threading.Thread(target=read, name="letterlock-input", daemon=True).start()


def _printer(texts: "Texts", *, as_json: bool) -> "Callable[[Shown], None]":
    import sys
    from io import TextIOWrapper

    from letterlock.client.chat.screen import as_json as json_line
    from letterlock.client.chat.wording import text

    if isinstance(sys.stdout, TextIOWrapper):
        # A terminal that lacks a letter shows its escape; it must not stop what comes after.
        sys.stdout.reconfigure(errors="backslashreplace")

    def show(shown: "Shown") -> None:
        print(json_line(shown) if as_json else text(shown, _clock, texts), flush=True)

    return show


def _clock(ms: int) -> str:
    """Local time of day; with the date when it is not today's."""
    from datetime import UTC, datetime

    at = datetime.fromtimestamp(ms / 1000, UTC).astimezone()
    today = datetime.now(UTC).astimezone().date()
    return at.strftime("%H:%M:%S" if at.date() == today else "%Y-%m-%d %H:%M:%S")
