"""``python -m letterlock.lab.demo [--once] [--json]``: what the gateway does, seen from outside, with proofs."""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from letterlock.lab.demo.centre import start_centre
from letterlock.lab.demo.record import LEGEND, NOTHING, RELAY, Demo
from letterlock.lab.demo.sms import NUMBERS, play_sms
from letterlock.lab.demo.world import GatewayProcess, start_gateway
from letterlock.lab.phones import ANDROID_RCS, IOS_26_3, PhoneProcess
from letterlock.lab.scenarios.maker import shell
from letterlock.lab.sweep import Canary, Directory, Place, ProcessMemory, sweep

BOTH: Final = "the two phones"
PURGED_S: Final = 2.5
"""A purge is made and a head signed every second."""


async def _waited(phone: PhoneProcess, what: str, count: int = 1) -> list[dict[str, Any]]:
    """What a phone shows until so many of a kind came; all that came until then if they do not."""
    try:
        return await phone.shown(count, what, within_s=20)
    except TimeoutError:
        return []


async def run(once: bool, console: Console, *, as_json: bool = False) -> int:
    """Runs the demonstration; 0 when everything held."""
    demo = Demo(Console(quiet=True) if as_json else console)
    with tempfile.TemporaryDirectory(prefix="letterlock-demo-") as folder:
        work = Path(folder)
        demo.console.print(
            "[bold]Starting[/] a gateway (one process, SQLite), two phones with MLS, and for SMS a message"
        )
        demo.console.print(
            f"centre with phones behind it: each a process of its own on this machine, files below {work}"
        )
        server = work / "gateway"
        server.mkdir()
        centre = await start_centre()
        gateway = await start_gateway(server, centre.port)
        try:
            demo.console.print(
                "\n[bold]Two phones talk, and one of them lies[/] (A3, A16...: rows of docs/threat-model.md)"
            )
            texts = await _phones(demo, work, gateway)
            demo.console.print("\n[bold]A company's software sends SMS[/] over the HTTP API")
            readable = await play_sms(demo, gateway, centre)
            demo.console.print("", demo.table(), *LEGEND, sep="\n")
            demo.console.print("\n[bold]The proof[/]: the ledger, and a search for every text and number that was sent")
            await prove(demo, gateway, texts, readable)
            for failure in demo.failed:
                demo.console.print(f"[red]failed:[/] {failure}")
            if as_json:
                print(demo.json(), flush=True)
            if not once and not demo.failed:
                await _keep_serving(demo.console, gateway)
        finally:
            await gateway.stop()
            await centre.stop()
    return 1 if demo.failed else 0


async def _keep_serving(console: Console, gateway: GatewayProcess) -> None:
    console.print(f"\nThe gateway keeps serving at {gateway.url} until Ctrl-C.")
    console.print(f"  API key of the first tenant: {gateway.secrets / 'api-key'}")
    console.print(f"  curl -s {gateway.url}/v1/health")
    await gateway.process.wait()


async def _phones(demo: Demo, work: Path, gateway: GatewayProcess) -> list[str]:
    phones: list[PhoneProcess] = []
    try:
        for profile in (IOS_26_3, ANDROID_RCS):
            folder = work / profile.name
            folder.mkdir(mode=0o700)
            phone = await PhoneProcess.start(profile, folder)
            phones.append(phone)
            await phone.enrol(gateway.url, gateway.api_key)
            await phone.tell("connect")
            demo.console.print(f"  {profile.title}: enrolled, its account signed its device list, connected")
        return await talk(demo, phones[0], phones[1])
    finally:
        for phone in phones:
            await phone.stop()


async def talk(demo: Demo, alice: PhoneProcess, bob: PhoneProcess) -> list[str]:
    """The phones talk, and one of them lies; gives the texts that were sent."""
    made = await alice.tell("create_group")
    group = made["group"]
    epoch = (await alice.tell("add", group=group, account=bob.account))["epoch"]
    joined = await _waited(bob, "joined")
    demo.expect("Bob's phone joined by its Welcome, after checking the account-signed device lists", bool(joined))
    texts = [f"canary {os.urandom(8).hex()} {word}" for word in ("breakfast", "diagnosis", "balance", "goodbye")]
    for number, text in enumerate(texts):
        there = number % 2 == 0
        sender, receiver, who = (alice, bob, "Alice to Bob") if there else (bob, alice, "Bob to Alice")
        said = (await sender.tell("say", group=group, text=text))["message"]
        shown = next((one for one in await _waited(receiver, "message") if one["what"] == "message"), None)
        opened = shown is not None and shown["text"] == text and shown["grade"] == "ATTESTED"
        demo.expect(f"{who}: decrypted, and the sender's signature verified on the receiving phone", opened)
        if there:
            came = await _waited(alice, "read")  # the Android profile sends one for what it shows
            kinds = [one["what"] for one in came if one.get("message") == said]
            demo.expect(f"{who}: delivery and read receipt came back, encrypted", kinds == ["delivered", "read"])
        else:
            came = await _waited(bob, "delivered")
            demo.expect(f"{who}: delivery receipt came back, encrypted", bool(came))
        if shown is not None:
            demo.row(
                f"text {number + 1}, {who}",
                RELAY,
                shown["server_says"],
                "deliver",
                BOTH,
                "delivered" + ", read" * there + "; the phone verified it",
            )
    await lie(demo, alice, bob, group, bytes.fromhex(made["group_id"]), epoch, texts)
    return texts


async def lie(
    demo: Demo, alice: PhoneProcess, bob: PhoneProcess, group: str, group_id: bytes, epoch: int, texts: list[str]
) -> None:
    """A dishonest app beside the SDK: what only looks encrypted, what only claims it, and the same thing twice."""
    texts += [f"canary {os.urandom(8).hex()} {word}, in clear" for word in ("in a shell", "readable")]
    reference = b64encode(os.urandom(16)).decode()
    fake = b64encode(shell(group_id, epoch, texts[-2].encode())).decode()
    answer = await alice.tell("raw", group=group, body=fake, reference=reference)
    refused = await _waited(bob, "not shown")
    demo.expect(
        "plaintext in an MLS shell: a server knows its group and no more, and the receiving phone refuses it (A3)",
        answer["security"]["grade"] == "TRACKED" and len(refused) == 1,
    )
    liar = "anybody who looks: its sender lied"
    demo.row("plaintext in an MLS shell", RELAY, answer["security"], "deliver", liar, "delivered; the phone refused it")
    again = await alice.tell("raw", group=group, body=fake, reference=reference)
    same = (again["status"], again["message_id"]) == ("duplicate", answer["message_id"])
    demo.expect("the same submission again is the same message, not a second one", same)
    demo.row("the same, sent again", RELAY, again["security"], "the first answer", "as above", "one message")
    other = b64encode(shell(group_id, epoch, os.urandom(80))).decode()
    conflict = await alice.tell("raw", group=group, body=other, reference=reference)
    demo.expect("another body under the same id is refused (A17)", conflict.get("code") == "client_message_conflict")
    demo.row("same id, another body", RELAY, NOTHING, "refuse: client_message_conflict", "nobody", "refused")
    claimed = await alice.tell("raw", group=group, body=b64encode(texts[-1].encode()).decode())
    demo.expect("a claimed E2EE message that is not MLS was quarantined (A16)", claimed["status"] == "quarantined")
    demo.row("claims E2EE, is not MLS", RELAY, claimed["security"], "quarantine", "this gateway; nothing kept",
             "quarantined")  # fmt: skip
    strayed = await alice.tell("raw", group=group, body=b64encode(shell(os.urandom(16), epoch, bytes(80))).decode())
    demo.expect("an MLS message of another group is refused", strayed["status"] == "refused")
    demo.row("for another group", RELAY, NOTHING, "refuse", "nobody", "refused")
    ahead = await alice.tell("raw", group=group, body=b64encode(shell(group_id, epoch + 9, bytes(80))).decode())
    demo.expect("an MLS message of an epoch to come is refused", ahead.get("code") == "epoch_ahead")
    demo.row("of a future epoch", RELAY, NOTHING, "refuse: epoch_ahead", "nobody", "refused")
    demo.expect("none of these reached Bob's screen", await bob.screen() == [])


async def prove(demo: Demo, gateway: GatewayProcess, texts: list[str], readable: list[str]) -> None:
    """The ledger verified offline, and the sweep, each seen by its own tool.

    Args:
        demo: the run.
        gateway: serving.
        texts: of the phones; the last two were sent to the gateway readable, by a liar.
        readable: what went by SMS.
    """
    with demo.console.status("Waiting for the purge and the next signed head of the ledger..."):
        await asyncio.sleep(PURGED_S)
    verified = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "letterlock.app.cli", "ledger", "verify", "--data", str(gateway.folder)],
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    demo.expect("the ledger verifies offline (letterlock ledger verify; unwitnessed)", verified.returncode == 0)
    sealed = [Canary(f"text {number}", text) for number, text in enumerate(texts, 1)]
    # The long one is known by its beginning: a canary has its bounds.
    sms = [Canary(f"SMS {number}", text[:60]) for number, text in enumerate(readable, 1)]
    numbers = [Canary(f"number {at}", number[1:], is_number=True) for at, number in enumerate(NUMBERS, 1)]
    disk: list[Place] = [
        Directory(gateway.folder, "gateway files"),
        Directory(gateway.folder.parent, "gateway files with its log"),
    ]
    memory: list[Place] = [ProcessMemory(gateway.process.pid, "gateway memory", present="letterlock.gateway")]
    with demo.console.status("Sweeping files, log and memory of the gateway..."):
        on_disk = await asyncio.to_thread(sweep, [*sealed, *sms, *numbers], disk)
        in_memory = await asyncio.to_thread(sweep, sealed[:-2], memory)
        passing = await asyncio.to_thread(sweep, [*sealed[-2:], *sms, *numbers], memory)
    found = on_disk.hits_by_canary()
    proven = on_disk.proven and in_memory.proven
    demo.expect("the sweep found its planted control in every place and encoding", proven)
    left = sum(found.get(one.label, 0) for one in sealed)
    demo.expect("none of the phones' texts, the liar's included, is in the gateway's files or log", left == 0)
    left = sum(found.get(one.label, 0) for one in (*sms, *numbers))
    demo.expect("no SMS text and no phone number is in the gateway's files or log, after delivery", left == 0)
    demo.expect("no end-to-end encrypted text is in the gateway's memory", in_memory.hits == 0)
    demo.console.print(f"    (in memory, best effort: {passing.hits} traces of what was sent to it readable)")


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(prog="letterlock demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end by itself, with status 0 or 1")
    parser.add_argument("--json", action="store_true", help="print what was seen as JSON")
    wanted = parser.parse_args()
    # A shell that runs this in the background lets it ignore interrupts, and it would never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.exit(asyncio.run(run(wanted.once, Console(), as_json=wanted.json)))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
