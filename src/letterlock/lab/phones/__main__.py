"""Runs a phone: commands on standard input, answers on standard output, one JSON line each, in order."""

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

import httpx
import msgspec

from letterlock.lab.phones.commands import DECODER, MAX_LINE, Stop
from letterlock.lab.phones.phone import Phone
from letterlock.lab.phones.profile import PROFILES
from letterlock.model.errors import LetterlockError


async def _serve(phone: Phone) -> None:
    reader = asyncio.StreamReader(limit=MAX_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        while line := await reader.readline():
            stops, answer = await _answer(phone, line)
            sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
            sys.stdout.flush()
            if stops:
                return
    finally:
        await phone.close()


async def _answer(phone: Phone, line: bytes) -> tuple[bool, dict[str, object]]:
    try:
        command = DECODER.decode(line)
        return isinstance(command, Stop), {"ok": True, **await phone.do(command)}
    except msgspec.MsgspecError:
        return False, {"ok": False, "error": "bad_command"}
    except (LetterlockError, LookupError, ValueError, httpx.HTTPError) as error:
        text = str(error) if isinstance(error, LetterlockError) else type(error).__name__
        return False, {"ok": False, "error": text}


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(prog="python -m letterlock.lab.phones", description=__doc__)
    parser.add_argument("--profile", choices=sorted(PROFILES), required=True)
    parser.add_argument("--folder", type=Path, help="for the store; by default one that goes with the phone")
    wanted = parser.parse_args()
    os.umask(0o077)
    with tempfile.TemporaryDirectory(prefix="letterlock-phone-") as own:
        asyncio.run(_serve(Phone(wanted.folder or Path(own), PROFILES[wanted.profile])))


if __name__ == "__main__":
    main()
