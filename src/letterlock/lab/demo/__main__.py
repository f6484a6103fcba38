"""``python -m letterlock.lab.demo [--once]``: what the gateway does, seen from outside, with the proof of each step."""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from letterlock.client import events
from letterlock.lab.demo.world import Phone, enrol, start_gateway
from letterlock.lab.sweep import Canary, Directory, Place, ProcessMemory, sweep
from letterlock.model.ids import GroupRef

WAIT_S: Final = 20
POLL_S: Final = 0.02


async def until(done: Callable[[], bool]) -> bool:
    """Waits, within bounds, until something has come."""
    end = time.monotonic() + WAIT_S
    while not done():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(POLL_S)
    return True


def received(phone: Phone) -> list[events.Received]:
    """The messages that this phone has opened and verified."""
    return [event for _, event in phone.device.inbox() if isinstance(event, events.Received)]


def receipts(phone: Phone, kind: str) -> int:
    """How many receipts of a kind this phone has verified."""
    return sum(1 for _, event in phone.device.inbox() if isinstance(event, events.ReceiptSeen) and event.kind == kind)


class Demo:
    """One run: rows for people, and whether everything was as it must be."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.failed: list[str] = []
        self.table = Table(title="Messages: who can read them, and why that is believed")
        for title in ("#", "message", "path", "protection", "grade, checked by", "decision", "who can read it"):
            self.table.add_column(title)

    def row(self, what: str, path: str, security: dict[str, str] | None, decision: str, readers: str) -> None:
        """Adds a row."""
        shown = security or {"protection": "-", "grade": "-", "verifier": "-"}
        self.table.add_row(
            str(len(self.table.rows) + 1), what, path, shown["protection"], f"{shown['grade']}, {shown['verifier']}",
            decision, readers,
        )  # fmt: skip

    def expect(self, what: str, holds: bool) -> None:
        """Says whether something is as it must be."""
        self.console.print(("[green]yes[/] " if holds else "[red]NO[/]  ") + what)
        if not holds:
            self.failed.append(what)

    async def submit(self, phone: Phone, group: GroupRef, body: bytes) -> dict[str, object]:
        """Submits bytes as a phone's app could, beside its SDK; gives the API's result."""
        from base64 import b64encode

        token = await phone.device.token(False)
        message = {"client_message_id": b64encode(os.urandom(16)).decode(), "body": b64encode(body).decode()}
        answer = await phone.http.post(
            f"/v1/groups/{group}/messages", json={"messages": [message]}, headers={"Authorization": f"Bearer {token}"}
        )
        result: dict[str, object] = answer.json()["results"][0]
        return result


async def run(once: bool, console: Console) -> int:
    """Runs the demonstration; 0 when everything held."""
    work = Path(tempfile.mkdtemp(prefix="letterlock-demo-"))
    demo = Demo(console)
    console.print(f"Starting a gateway (one process, SQLite) and two phones; files below {work}")
    gateway = await start_gateway(work)
    phones: list[Phone] = []
    try:
        alice = await enrol(work, gateway, "alice", "iOS 26.3 (lab profile)")
        phones.append(alice)
        bob = await enrol(work, gateway, "bob", "Android RCS (lab profile)")
        phones.append(bob)
        for phone in phones:
            phone.connect()
        texts = await talk(demo, alice, bob)
        console.print(demo.table)
        await prove(demo, gateway.folder, texts, gateway.process.pid)
    finally:
        for phone in phones:
            await phone.close()
        if once or demo.failed:
            await gateway.stop()
    for failure in demo.failed:
        console.print(f"[red]failed:[/] {failure}")
    if demo.failed or once:
        return 1 if demo.failed else 0
    console.print(f"\nThe gateway keeps serving at {gateway.url} until Ctrl-C. API key: {gateway.folder / 'api-key'}")
    console.print(f"  curl -s {gateway.url}/v1/health")
    try:
        await gateway.process.wait()
    except asyncio.CancelledError:
        await gateway.stop()
    return 0


async def talk(demo: Demo, alice: Phone, bob: Phone) -> list[str]:
    """The phones talk; gives the texts that were sent."""
    group = await alice.device.create_group()
    await alice.device.add_account(group, bob.device.account)
    joined = await until(lambda: group in bob.device.groups())
    demo.expect("Bob's phone joined the group by its Welcome, after checking the signed device lists", joined)
    texts = [f"canary {os.urandom(8).hex()} {word}" for word in ("breakfast", "diagnosis", "balance", "goodbye")]
    for number, text in enumerate(texts):
        sender, receiver = (alice, bob) if number % 2 == 0 else (bob, alice)
        before, heard = len(received(receiver)), len(receiver.watched.said)
        await sender.device.send(group, text.encode())
        came = await until(lambda r=receiver, n=before: len(received(r)) > n)  # type: ignore[misc]
        opened = came and received(receiver)[-1].content == text.encode()
        demo.expect(f"{receiver.name} decrypted what {sender.name} sent, signature checked on the device", opened)
        demo.row(
            f"text {number + 1} ({sender.name} to {receiver.name})", "MLS through the relay",
            receiver.watched.said[heard] if came else None, "deliver", "the two phones alone",
        )  # fmt: skip
    delivered = await until(lambda: receipts(alice, "delivered") >= 2 and receipts(bob, "delivered") >= 2)
    demo.expect("delivery receipts came back, encrypted like messages", delivered)
    await bob.device.mark_read(received(bob)[0])
    demo.expect("a read receipt came back", await until(lambda: receipts(alice, "read") >= 1))

    forged = b"this only claims to be end-to-end encrypted " + os.urandom(64)
    result = await demo.submit(alice, group, forged)
    security = result.get("security")
    demo.row("claims E2EE, is not MLS", "refused the relay", security if isinstance(security, dict) else None,
             "quarantine: never opened, not delivered", "nobody: nothing of it is kept")  # fmt: skip
    demo.expect("a claimed E2EE message that is not MLS was quarantined", result["status"] == "quarantined")
    return texts


async def prove(demo: Demo, folder: Path, texts: list[str], pid: int) -> None:
    """The ledger verified offline, and the sweep, each seen by its own tool."""
    await asyncio.sleep(2.5)
    verified = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "letterlock.app.cli", "ledger", "verify", "--data", str(folder)],
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    demo.expect("the ledger verifies offline (letterlock ledger verify; unwitnessed)", verified.returncode == 0)
    canaries = [Canary(f"text {number}", text) for number, text in enumerate(texts, 1)]
    places: list[Place] = [
        Directory(folder, "gateway files"),
        Directory(folder.parent, "work folder with the gateway's log"),
        ProcessMemory(pid, "gateway memory", present="letterlock.gateway"),
    ]
    report = await asyncio.to_thread(sweep, canaries, places)
    demo.expect("the sweep found its planted control in every place and encoding", report.proven)
    demo.expect("and none of the texts: not in files, logs or memory of the gateway", report.hits == 0)


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(prog="letterlock demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end by itself, with status 0 or 1")
    wanted = parser.parse_args()
    try:
        sys.exit(asyncio.run(run(wanted.once, Console())))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
