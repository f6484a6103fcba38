"""``letterlock chat`` as two real processes through a real gateway process."""

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.e2e.chatting import ChatProcess, Event, environment

from letterlock.app.clock import SystemClock
from letterlock.client.chat.home import Home, device_of
from letterlock.client.chat.loop import Plan, converse
from letterlock.client.chat.screen import Ended, Line, Shown
from letterlock.client.device import Device
from letterlock.client.errors import DeviceError, DeviceReason
from letterlock.client.relay import RelayCalls
from letterlock.client.transport import DeviceStream, StreamEnd
from letterlock.lab.demo.world import GatewayProcess
from letterlock.lab.phones import IOS_26_3
from letterlock.lab.pytest_plugin import PhoneMaker, letterlock_gateway, letterlock_phone
from letterlock.lab.scenarios.maker import shell

__all__ = ["letterlock_gateway", "letterlock_phone"]

ATTESTED = {
    "protection": "E2EE", "grade": "ATTESTED", "verifier": "device", "indicator": "indicator.e2ee_verified",
}  # fmt: skip
FRAMED = {"protection": "E2EE", "grade": "FRAMED", "verifier": "device", "indicator": "indicator.e2ee_framed"}
Maker = Callable[..., Awaitable[ChatProcess]]


@pytest_asyncio.fixture
async def chatter(letterlock_gateway: GatewayProcess, tmp_path: Path) -> AsyncIterator[Maker]:
    """Starts chats at the gateway, in one folder; ends what is left."""
    made: list[ChatProcess] = []

    async def make(name: str, *options: str) -> ChatProcess:
        key_file = letterlock_gateway.folder / "api-key"
        made.append(await ChatProcess.start(name, letterlock_gateway.url, key_file, tmp_path / "people", *options))
        return made[-1]

    yield make
    for one in made:
        await one.stop()


async def two(chatter: Maker) -> tuple[ChatProcess, ChatProcess, str]:
    """Alice and Bob in a conversation, and Bob's contact line."""
    bob = await chatter("bob")
    contact: str = (await bob.next("ready"))["contact"]
    await bob.next("waiting")
    alice = await chatter("alice", "--with", contact)
    assert (await alice.next("conversation"))["how"] == "started"
    assert (await bob.next("conversation"))["how"] == "added"
    return alice, bob, contact


async def test_both_ways_with_receipts_marks_and_one_safety_number(chatter: Maker) -> None:
    alice, bob, contact = await two(chatter)
    await alice.type("Dinner at eight?")
    sent = await alice.next("sent")
    assert (sent["text"], sent["mark"]) == ("Dinner at eight?", FRAMED)
    came = await bob.next("message")
    assert (came["text"], came["mark"], came["again"]) == ("Dinner at eight?", ATTESTED, False)
    assert came["message"] == sent["message"]
    for kind in ("delivered", "read"):
        receipt = await alice.next("receipt")
        assert (receipt["message"], receipt["kind"], receipt["mark"]) == (sent["message"], kind, ATTESTED)
        assert (receipt["count"], receipt["of"]) == (1, 1)
    await bob.type("//gladly")
    assert (await alice.next("message"))["text"] == "/gladly"
    assert (await bob.next("receipt"))["kind"] == "delivered"

    numbers = []
    for one, identity in ((alice, "contact_line"), (bob, "first_seen")):
        await one.type("/safety")
        safety = await one.next("safety")
        (number,) = safety["numbers"]
        assert number["identity"] == identity
        assert len(number["number"]) == 12
        numbers.append((number["number"], safety["fingerprint"]))
    assert numbers[0] == numbers[1]
    await alice.type("/who", "/floor", "/help", "/nonsense")
    members = (await alice.next("who"))["members"]
    assert sorted((one["this_device"], one["listed"], one["grade"]) for one in members) == [
        (False, True, "ATTESTED"), (True, True, "NONE"),
    ]  # fmt: skip
    (floor,) = (await alice.next("floor"))["floors"]
    assert (floor["account"], floor["protection"]) == (contact.split(":")[0], "E2EE")
    assert "/quit" in (await alice.next("help"))["text"]
    assert (await alice.next("problem"))["code"] == "unknown_command"
    assert (await alice.quit())[0] == 0
    assert alice.events[-1] == {"event": "ended", "waiting": 0}
    assert not bob.all("finding") + alice.all("finding")


async def test_who_wants_no_read_receipts_sends_none(chatter: Maker) -> None:
    bob = await chatter("bob", "--no-read-receipts")
    alice = await chatter("alice", "--with", (await bob.next("ready"))["contact"])
    await alice.next("conversation")
    await alice.type("one", "two")
    for _ in range(2):
        assert (await alice.next("receipt"))["kind"] == "delivered"
    await bob.until(lambda: bob.texts() == ["one", "two"])
    await bob.type("back")  # whatever bob sealed before this has arrived when this has
    await alice.next("message")
    assert {receipt["kind"] for receipt in alice.all("receipt")} == {"delivered"}


@pytest.mark.attack("A1")
async def test_a_fingerprint_that_is_wrong_is_refused_and_nothing_is_sent(chatter: Maker) -> None:
    bob = await chatter("bob")
    contact: str = (await bob.next("ready"))["contact"]
    wrong = contact[:-1] + ("0" if contact[-1] != "0" else "1")
    alice = await chatter("alice", "--with", wrong)
    status, said = await alice.ends()
    assert (status, json.loads(said)["error"]) == (40, "identity_key_is_not_that_of_the_contact_line")
    assert not alice.all("conversation")
    # Nothing was kept of it either: the right line is taken, and this is the first conversation that Bob hears of.
    alice = await chatter("alice", "--with", contact)
    assert (await alice.next("conversation"))["peers"][0]["identity"] == "contact_line"
    await alice.type("hello")
    await bob.next("message")
    assert [one["how"] for one in bob.all("conversation")] == ["added"]
    await alice.quit()
    # A conversation that goes on is refused under a wrong line as well.
    alice = await chatter("alice", "--with", wrong)
    await alice.type("canary")
    assert (await alice.ends())[0] == 40
    await bob.type("/who")
    await bob.next("who")
    assert bob.texts() == ["hello"]


async def test_what_is_no_contact_is_refused(
    chatter: Maker, letterlock_gateway: GatewayProcess, tmp_path: Path
) -> None:
    alice = await chatter("alice")
    own: str = (await alice.next("ready"))["contact"]
    await alice.quit()
    nobody = "acc_" + "0" * 32 + own[36:]
    for line, reason in (
        (own, "contact_line_is_your_own"),
        (nobody, "contact_is_not_known_to_the_gateway"),
        (own[:-1], "not_a_contact_line"),
    ):
        status, said = await (await chatter("alice", "--with", line)).ends()
        told = json.loads(said)
        assert (status, told["error"]) == (40, reason)
        assert told["do"]
    # Nor does another gateway take a device that it does not know; its own does.
    other = await gateway_on(tmp_path, 0)
    try:
        status, said = await (await chatter("alice", "--gateway", other.url)).ends()
        assert (status, json.loads(said)["error"]) == (40, "gateway_does_not_take_this_device")
    finally:
        await other.stop()
    assert (await (await chatter("alice")).next("ready"))["state"] == "resumed"


async def test_a_restart_resumes_and_shows_what_came_meanwhile(chatter: Maker) -> None:
    alice, bob, contact = await two(chatter)
    await alice.type("before")
    await bob.next("message")
    assert (await bob.quit())[0] == 0
    await alice.type(*(f"meanwhile {number}" for number in range(5)))
    for _ in range(6):
        await alice.next("sent")
    bob = await chatter("bob")
    assert (await bob.next("ready"))["state"] == "resumed"
    assert (await bob.next("conversation"))["how"] == "resumed"
    await bob.until(lambda: len(bob.texts()) == 5)
    assert bob.texts() == [f"meanwhile {number}" for number in range(5)]
    assert not [line for line in bob.all("message") if line["again"]]
    await bob.type("I am back")
    assert (await alice.next("message"))["text"] == "I am back"
    # The starter finds the same conversation again, with and without naming it.
    await alice.quit()
    for options in (("--with", contact), ()):
        alice = await chatter("alice", *options)
        assert (await alice.next("conversation"))["how"] == "resumed"
        await alice.type(f"once more {len(options)}")
        await bob.until(lambda: bob.texts()[-1] == f"once more {len(options)}")  # noqa: B023 - waited for here
        await alice.quit()


async def test_kill_9_loses_no_line_and_repeats_none_unsaid(chatter: Maker) -> None:
    chance = random.Random(9)
    alice, bob, contact = await two(chatter)
    typed: list[str] = []
    shown: list[Event] = []
    for cycle in range(4):
        lines = [f"canary {cycle} {number}" for number in range(10)]
        await alice.type(*lines)
        typed += lines
        await alice.until(lambda: len(alice.all("sent")) == 10)  # noqa: B023 - waited for here
        await asyncio.sleep(chance.random() * 0.05)
        victim = chance.choice(("alice", "bob")) if cycle else "bob"
        if victim == "bob":
            await bob.kill()
            shown += bob.all("message")
            bob = await chatter("bob")
        await alice.kill()  # what is sealed but not taken leaves at the next start
        alice = await chatter("alice", "--with", contact)
        assert (await alice.next("conversation"))["how"] == "resumed"
    await bob.until(lambda: {line["text"] for line in [*shown, *bob.all("message")]} == set(typed))
    lines_shown = [*shown, *bob.all("message")]
    # Killed between noting that a line is being shown and showing it, the next run shows it for the first time, marked.
    seen: list[str] = []
    for line in lines_shown:
        if line["text"] not in seen:
            seen.append(line["text"])
        else:
            assert line["again"], "a repetition is marked as one"
    assert seen == typed
    await bob.type("all there")
    assert (await alice.next("message"))["text"] == "all there"
    assert not bob.all("finding")


async def test_a_gateway_that_goes_away_is_said_and_come_back_to(tmp_path: Path) -> None:
    gateway = await gateway_on(tmp_path, 0)
    port = httpx.URL(gateway.url).port
    assert port is not None
    key_file, people = gateway.folder / "api-key", tmp_path / "people"
    bob = await ChatProcess.start("bob", gateway.url, key_file, people)
    chats = [bob]
    try:
        contact = (await bob.next("ready"))["contact"]
        alice = await ChatProcess.start("alice", gateway.url, key_file, people, "--with", contact)
        chats.append(alice)
        await bob.next("conversation")
        await alice.until(lambda: bool(alice.all("connection")))
        await gateway.kill()
        await alice.until(lambda: alice.all("connection")[-1]["state"] == "lost")
        await alice.type("typed in the dark")
        await alice.until(lambda: bool(alice.all("sent")))
        # A start without a gateway goes on with a conversation that there is, too.
        await alice.kill()
        alice = await ChatProcess.start("alice", gateway.url, key_file, people, "--with", contact)
        chats.append(alice)
        assert (await alice.next("ready"))["waiting"] == 1
        assert (await alice.next("connection"))["state"] == "lost"
        assert (await alice.next("conversation"))["how"] == "resumed"
        gateway = await gateway_on(tmp_path, port)
        await bob.until(lambda: bob.texts() == ["typed in the dark"])
        assert alice.all("connection")[-1]["state"] == "connected"
    finally:
        for one in chats:
            await one.stop()
        await gateway.stop()


async def gateway_on(work: Path, port: int) -> GatewayProcess:
    folder, settings = work / "store", work / "letterlock.toml"
    settings.write_text(f"[server]\nport = {port}\n[store]\nfolder = {json.dumps(str(folder))}\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "letterlock.app.cli", "serve", "--config", str(settings), "--announce",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    return GatewayProcess(process, json.loads(line)["url"], folder, work / "gateway.log", folder)


async def test_two_who_start_at_once_end_up_in_one_conversation(chatter: Maker) -> None:
    contacts = {}
    for name in ("alice", "bob"):
        one = await chatter(name)
        contacts[name] = (await one.next("ready"))["contact"]
        await one.quit()
    alice, bob = await chatter("alice", "--with", contacts["bob"]), await chatter("bob", "--with", contacts["alice"])
    for one in (alice, bob):
        await one.next("conversation")
        await one.until(lambda: bool(one.all("connection")))  # noqa: B023 - waited for here
    await alice.type("one")
    await bob.type("two")
    await bob.until(lambda: bob.texts() == ["one"])
    await alice.until(lambda: alice.texts() == ["two"])
    for one in (alice, bob):
        await one.quit()
    # At the latest after a start both write into the same group.
    alice, bob = await chatter("alice", "--with", contacts["bob"]), await chatter("bob", "--with", contacts["alice"])
    groups = {(await one.next("conversation"))["group"] for one in (alice, bob)}
    assert len(groups) == 1


async def test_piped_input_is_sent_and_the_end_of_input_ends_it(chatter: Maker) -> None:
    _, bob, contact = await two(chatter)
    carol = await chatter("carol", "--with", contact)
    await carol.type("from a script")
    carol.close_input()
    status, said = await carol.ends()
    assert (status, said) == (0, "")
    assert carol.events[-1] == {"event": "ended", "waiting": 0}
    added = await bob.next("conversation")
    assert (added["how"], added["current"]) == ("added", False)
    assert (await bob.next("message"))["account"] == added["peers"][0]["account"]


async def test_what_cannot_be_sent_is_said(chatter: Maker) -> None:
    bob = await chatter("bob")
    await bob.next("waiting")
    await bob.type("to nobody", "/safety", "", "   ")
    for _ in range(2):
        assert (await bob.next("problem"))["code"] == "nobody_here"
    alice = await chatter("alice", "--with", bob.all("ready")[0]["contact"])
    await alice.next("conversation")
    assert alice.process.stdin is not None
    alice.process.stdin.write(b"canary " + b"x" * 200_000 + b"\ncanary \xff\n")
    await alice.type("fits")
    assert (await alice.next("problem"))["code"] == "payload_field_out_of_bounds"
    assert (await alice.next("problem"))["code"] == "payload_not_utf8"
    assert (await bob.next("message"))["text"] == "fits"
    assert bob.texts() == ["fits"]


async def test_ctrl_c_ends_cleanly(chatter: Maker) -> None:
    alice, bob, _ = await two(chatter)
    for one, number in ((alice, signal.SIGINT), (bob, signal.SIGTERM)):
        one.process.send_signal(number)
        assert await one.ends() == (0, "")
        assert one.events[-1]["event"] == "ended"


async def test_the_terminal_is_not_steered_by_what_somebody_writes(
    chatter: Maker, letterlock_gateway: GatewayProcess, tmp_path: Path
) -> None:
    alice, bob, _ = await two(chatter)
    await bob.quit()
    nasty = "\x1b[2J\x1b]0;owned\x07\x9b31m over\rwritten \u202egnp"
    await alice.type(nasty)
    await alice.next("sent")
    command = [sys.executable, "-m", "letterlock.app.cli", "chat", "bob", "--gateway", letterlock_gateway.url]
    process = await asyncio.create_subprocess_exec(
        *command, "--data", str(tmp_path / "people"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env=environment(),
    )  # fmt: skip
    printed, _ = await asyncio.wait_for(process.communicate(b"/safety\n/who\n/floor\n/help\n/quit\n"), 60)
    text = printed.decode()
    (line,) = (one for one in text.splitlines() if "owned" in one)
    assert r"\x1b[2J\x1b]0;owned\x07\x9b31m over\x0dwritten \u202egnp" in line
    assert line.endswith("[E2EE ATTESTED: End-to-end encrypted, verified on this device]")
    assert all(sign.isprintable() or sign == "\n" for sign in text)
    assert text.splitlines()[-1] == "Ended."


@pytest.mark.parametrize("leave", [b"\x03", b"\x04", b"/quit\n"], ids=["ctrl-c", "ctrl-d", "quit"])
async def test_in_a_real_terminal(
    chatter: Maker, letterlock_gateway: GatewayProcess, tmp_path: Path, leave: bytes
) -> None:
    alice, bob, _ = await two(chatter)
    await bob.quit()
    ours, theirs = os.openpty()
    # A session whose terminal this is, then the command in it.
    in_terminal = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    command = ["-m", "letterlock.app.cli", "chat", "bob", "--gateway", letterlock_gateway.url]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", in_terminal, *command, "--data", str(tmp_path / "people"),
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment(), start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    printed = b""

    async def until(words: bytes) -> None:
        nonlocal printed
        while words not in printed:
            printed += await asyncio.to_thread(os.read, ours, 4096)

    await until(b"* Connected.")
    os.write(ours, b"half a ")
    await alice.type("an interruption")
    await until(b"> an interruption  [")
    os.write(ours, b"\x12")  # the terminal itself prints again what it holds
    await until(b"\r\nhalf a ")
    os.write(ours, b"line\n")
    await until(b"sealed  [E2EE FRAMED")
    assert (await alice.next("message"))["text"] == "half a line"
    os.write(ours, leave)
    await until(b"Ended.")
    assert await asyncio.wait_for(process.wait(), 60) == 0
    os.close(ours)


async def test_a_terminal_without_the_letters_shows_escapes_and_goes_on(
    chatter: Maker, letterlock_gateway: GatewayProcess, tmp_path: Path
) -> None:
    alice, bob, _ = await two(chatter)
    await bob.quit()
    await alice.type("Grüße", "plain")
    for _ in range(2):
        await alice.next("sent")
    command = [sys.executable, "-m", "letterlock.app.cli", "chat", "bob", "--gateway", letterlock_gateway.url]
    process = await asyncio.create_subprocess_exec(
        *command, "--data", str(tmp_path / "people"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={**environment(), "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    printed, _ = await asyncio.wait_for(process.communicate(b"/quit\n"), 60)
    assert (process.returncode, b"> Gr\\xfc\\xdfe  [" in printed, b"> plain  [" in printed) == (0, True, True)


async def test_when_nobody_reads_any_more_it_ends_and_loses_nothing(
    chatter: Maker, letterlock_gateway: GatewayProcess, tmp_path: Path
) -> None:
    alice, bob, _ = await two(chatter)
    await bob.quit()
    command = [sys.executable, "-m", "letterlock.app.cli", "chat", "bob", "--gateway", letterlock_gateway.url]
    read, write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *command, "--json", "--stay", "--data", str(tmp_path / "people"), stdin=asyncio.subprocess.DEVNULL,
        stdout=write, stderr=asyncio.subprocess.PIPE, env=environment(),
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read, "rb") as output:
        while b'"connected"' not in await asyncio.to_thread(output.readline):
            pass
    await alice.type("canary")
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, said) == (0, b"")
    bob = await chatter("bob")
    line = await bob.next("message")
    assert (line["text"], line["again"]) == ("canary", True)


@pytest.mark.attack("A3")
async def test_what_the_gate_refuses_is_said_in_words_and_never_shown(
    chatter: Maker, letterlock_phone: PhoneMaker
) -> None:
    bob = await chatter("bob")
    contact = (await bob.next("ready"))["contact"]
    phone = await letterlock_phone(IOS_26_3)
    made = await phone.tell("create_group")
    group = made["group"]
    epoch = (await phone.tell("add", group=group, account=contact.split(":")[0]))["epoch"]
    assert (await bob.next("conversation"))["peers"][0]["account"] == phone.account
    body = shell(bytes.fromhex(made["group_id"]), epoch, b"canary in a shell" + bytes(40))
    await phone.tell("raw", group=group, body=b64encode(body).decode())
    found = await bob.next("finding")
    assert (found["group"], found["reason"], found["stopped"]) == (group, "refused_by_the_engine", False)
    assert found["text"].startswith("A message could not be opened")
    await phone.tell("say", group=group, text="genuine")
    assert (await bob.next("message"))["text"] == "genuine"
    assert "canary" not in json.dumps(bob.events)


@pytest.mark.attack("A18")
async def test_an_old_copy_of_a_person_is_refused(chatter: Maker, tmp_path: Path) -> None:
    _, bob, _ = await two(chatter)
    await bob.quit()
    shutil.copytree(tmp_path / "people/bob", tmp_path / "people/copy")
    bob = await chatter("bob")
    await bob.until(lambda: bool(bob.all("connection")))
    await bob.quit()
    status, said = await (await chatter("copy")).ends()
    assert (status, json.loads(said)["error"]) == (1, "state_rolled_back")
    bob = await chatter("bob")
    assert (await bob.next("conversation"))["how"] == "resumed"


def refused(*arguments: str, before: str = "") -> tuple[int, str]:
    start = "from letterlock.app.cli import main; sys.exit(main())"
    code = f"import sys; {before}sys.argv = ['letterlock', *sys.argv[1:]]; {start}"
    done = subprocess.run(
        [sys.executable, "-c", code, "chat", *arguments],
        check=False, capture_output=True, text=True, env=environment(), stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_without_the_engine_it_says_so_and_registers_nothing(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "people"), "--gateway", "http://127.0.0.1:9")
    status, said = refused("bob", *data, before="sys.modules['rine_mls'] = None; ")
    assert (status, said.splitlines()[0]) == (40, "letterlock: engine is not installed")
    assert "extra `client`" in said
    # With it, the next thing that is missing is told: first the key, then the gateway.
    missing = ("--api-key-file", str(tmp_path / "none"))
    assert "api key needed to enrol" in refused("bob", *data, *missing)[1]
    (tmp_path / "key").write_text("canary")
    status, said = refused("bob", *data, "--api-key-file", str(tmp_path / "key"))
    assert (status, said.splitlines()[0]) == (40, "letterlock: unreachable")
    assert "canary" not in said


def test_the_server_starts_without_the_client() -> None:
    code = "import sys, letterlock.app.cli, letterlock.app.serve; print([m for m in sys.modules if 'client' in m])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment())
    assert "letterlock.client" not in done.stdout
    assert "rine" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("Bob",), 2, "a name has up to 64"),
        (("../bob",), 2, "a name has up to 64"),
        (("bob", "--gateway", "ftp://127.0.0.1"), 40, "not a gateway address"),
        (("bob", "--gateway", "http://gateway.example"), 40, "plain http beyond loopback"),
        (("bob", "--with", "canary"), 40, "not a contact line"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_made(
    arguments: tuple[str, ...], status: int, words: str, tmp_path: Path
) -> None:
    people = tmp_path / "people"
    got, said = refused(*arguments, "--data", str(people))
    assert (got, words in said, people.exists()) == (status, True, False)
    assert "canary" not in said


async def test_the_key_file_is_guarded(chatter: Maker, tmp_path: Path) -> None:
    bob = await chatter("bob")
    ready = await bob.next("ready")
    key, store = Path(ready["key_file"]), Path(ready["store"])
    assert [file.stat().st_mode & 0o777 for file in (key, store, store.parent)] == [0o600, 0o600, 0o700]
    status, said = await (await chatter("bob")).ends()
    assert (status, json.loads(said)["error"]) == (40, "store_is_used_by_another_process")
    await bob.quit()
    secret = key.read_bytes()
    for mode, content, reason in (
        (0o640, secret, "key_file_of_the_device_readable_by_others"),
        (0o600, secret[:-1], "key_file_of_the_device_unusable"),
        (0o600, os.urandom(32), "wrong_client_key_or_damaged"),
        (0o600, None, "key_file_of_the_device_is_missing"),
    ):
        key.unlink()
        if content is not None:
            key.write_bytes(content)
            key.chmod(mode)
        status, said = await (await chatter("bob")).ends()
        assert (status, json.loads(said)["error"]) == (40, reason)
    key.write_bytes(secret)
    key.chmod(0o600)
    bob = await chatter("bob")
    assert (await bob.next("ready"))["account"] == ready["account"]


# -- what only the inside can bring about: a crash at one exact place -------------------------------------------------


async def test_an_enrolment_goes_on_where_a_crash_left_it(letterlock_gateway: GatewayProcess, tmp_path: Path) -> None:
    """After the account and before the list; and after the gateway took the list, before this device noted that."""
    asked: list[str] = []

    def api_key() -> str:
        asked.append("key")
        return letterlock_gateway.api_key

    real = RelayCalls.call

    async def cut_off(self: RelayCalls, method: str, path: str, *rest: Any) -> Any:
        answer = await real(self, method, path, *rest)
        if path.endswith("/devices"):
            raise ConnectionAbortedError
        return answer

    async def never(self: Device, tenant_key: str) -> None:
        raise ConnectionAbortedError

    async with httpx.AsyncClient(base_url=letterlock_gateway.url, timeout=20) as http:
        for number, (where, name, broken) in enumerate(
            ((Device, "publish_list", never), (RelayCalls, "call", cut_off))
        ):
            folder = tmp_path / f"home-{number}"
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(where, name, broken)
                with pytest.raises(ConnectionAbortedError):
                    await device_of(Home(folder), http, SystemClock(), api_key)
            device, state = await device_of(Home(folder), http, SystemClock(), api_key)
            assert state == "enrolled"
            assert (await device.login()).mailbox_head == 0
            account, before = device.account, len(asked)
            device.close()
            device, state = await device_of(Home(folder), http, SystemClock(), api_key)
            assert (state, device.account, len(asked)) == ("resumed", account, before)
            device.close()


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (StreamEnd.REMOVED, DeviceReason.REMOVED),
        (StreamEnd.REPLACED, DeviceReason.CONNECTED_ELSEWHERE),
        (StreamEnd.ROLLED_BACK, DeviceReason.STATE_ROLLED_BACK),
        (StreamEnd.STOPPED, None),
    ],
)
async def test_an_end_that_the_gateway_says_is_told(
    letterlock_gateway: GatewayProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: StreamEnd, reason: object
) -> None:
    async def ends(self: DeviceStream) -> StreamEnd:
        return end

    monkeypatch.setattr(DeviceStream, "run", ends)
    shown: list[Shown] = []
    plan = Plan("bob", tmp_path / "bob", letterlock_gateway.url, None, lambda: letterlock_gateway.api_key, True, True)
    running = converse(plan, asyncio.Queue(), shown.append, SystemClock())
    if reason is None:
        await running
    else:
        with pytest.raises(DeviceError) as ended:
            await running
        assert ended.value.reason is reason
    assert shown[-1] == Ended(0)


class Crash(BaseException):
    """The process ends here."""


async def test_what_a_crash_left_half_shown_is_shown_again_and_marked(
    chatter: Maker, letterlock_gateway: GatewayProcess, tmp_path: Path
) -> None:
    alice, bob, _ = await two(chatter)
    await bob.quit()
    await alice.type("one", "two")
    for _ in range(2):
        await alice.next("sent")
    await alice.quit()
    shown: list[Shown] = []

    def screen(value: Shown) -> None:
        shown.append(value)
        if isinstance(value, Line) and value.text == "one" and not value.again:
            raise Crash

    plan = Plan("bob", tmp_path / "people/bob", letterlock_gateway.url, None, lambda: "", False, True)
    with pytest.raises(Crash):
        await converse(plan, asyncio.Queue(), screen, SystemClock())
    assert [one.text for one in shown if isinstance(one, Line)] == ["one"]
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    lines.put_nowait(None)
    for expected in ([("one", True), ("two", True)], []):
        shown.clear()
        lines.put_nowait(None)
        await converse(plan, lines, screen, SystemClock())
        assert [(one.text, one.again) for one in shown if isinstance(one, Line)] == expected
