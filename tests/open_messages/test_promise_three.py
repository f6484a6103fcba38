"""Promise 3, no silent step down, over a real store: what can happen to messages happens in a random order.

The other side's capability comes and goes, deliveries fail, people are asked and say yes or no or take it back, time
passes, the gateway is started again, devices and keys change. Whatever reached a phone in clear was allowed to, by a
floor that was there when it was taken or by a yes to exactly this text and number; and the ledger says so.
"""

import os
import random
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.open_messages.people import Person, person
from tests.open_messages.world import ACCOUNTS, World, client_of, settings_of, until

from letterlock.app.clock import SystemClock
from letterlock.app.gateway import API_KEY_FILE, open_gateway
from letterlock.assurance.consent import Answer
from letterlock.client.errors import RelayError
from letterlock.gateway.questions import QuestionBook
from letterlock.lab.smsc import LabSmsc
from letterlock.model.message import MessageState
from letterlock.model.protection import Protection, permits
from letterlock.storage.codes import PROTECTIONS
from letterlock.storage.sqlite.connection import DATABASE
from letterlock.storage.sqlite.open_reads import OpenReads
from letterlock.wire.sms.address import PhoneNumber
from letterlock.wire.tlog.entries import Consent, Fallback

NUMBERS = tuple(f"+4917055501{place:02}" for place in range(6))
FLOORS = (Protection.CLEAR, Protection.PROVIDER, Protection.E2EE)
JUMPS_S = (30, 660, 4_000)
STEPS = 120
TOGETHER = 5
"""Stories of one test: among so many there are steps down, yeses and arrivals."""


@dataclass
class Said:
    """A yes that somebody gave: to which text and number, and until when."""

    text: str
    number: str
    until_ms: int


@dataclass
class Model:
    """What a witness has seen: enough to say whether a text may be on a phone."""

    floor: Protection = Protection.CLEAR
    toggle: bool = False
    yes: dict[str, Said] = field(default_factory=dict)
    """By consent."""
    held: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Held messages: by their question, text and number."""
    waiting: set[str] = field(default_factory=set)
    """Held texts about which nobody is asked: they leave when a floor permits it, and not before."""
    allowed: dict[str, str] = field(default_factory=dict)
    """By text, why it may leave: ``floor``, or the consent."""
    used: Counter[str] = field(default_factory=Counter)

    @property
    def permits_clear(self) -> bool:
        return not self.toggle and permits(self.floor, Protection.CLEAR)


class Story:
    """One run, from one seed."""

    def __init__(self, folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.draw = random.Random(seed)
        self.monkeypatch = monkeypatch
        self.later_ms = 0
        self.model = Model()
        self.texts = 0
        self.centre = LabSmsc(ACCOUNTS)
        self.away = False
        self.opened = AsyncExitStack()
        """What is open, a beginning that failed midway too."""
        self.w: World
        self.alice: Person

    async def begin(self) -> None:
        real = SystemClock.now_ms
        self.monkeypatch.setattr(SystemClock, "now_ms", lambda clock: real(clock) + self.later_ms)
        await self.centre.come_back()
        self.opened.push_async_callback(self.centre.go_away)
        gateway = await open_gateway(settings_of(self.folder, self.centre.port))
        secret = (self.folder / API_KEY_FILE).read_text().strip()
        self.w = World(self.folder, gateway, client_of(gateway, secret), self.centre)
        self.opened.push_async_callback(self.stopped)
        self.alice = await person(self.w)
        self.opened.callback(self.alice.close)
        for number in NUMBERS:
            await self.w.notify("hello", to=number)
        self.w.set_floor(PROTECTIONS.index(self.model.floor), 1)

    async def stopped(self) -> None:
        await self.w.http.aclose()
        await self.w.gateway.close()

    # -- what can happen --------------------------------------------------------------------------------------------

    async def capability_changes(self) -> None:
        self.model.floor = self.draw.choice(FLOORS)
        db = apsw.Connection(str(self.folder / DATABASE))
        db.set_busy_timeout(5000)
        db.execute(
            "UPDATE floor SET version=version+1, protection=?", (PROTECTIONS.index(self.model.floor),)
        ).fetchall()
        db.close()

    async def toggle_flips(self) -> None:
        self.model.toggle = not self.model.toggle
        mode = "e2ee_first" if self.model.toggle else "as_policy"
        assert (await self.w.http.put("/v1/e2ee-first", json={"mode": mode})).status_code == 200

    async def delivery_fails(self) -> None:
        if self.away:
            await self.centre.come_back()
        else:
            await self.centre.go_away()
        self.away = not self.away

    async def restart(self) -> None:
        await self.stopped()
        self.w.gateway = await open_gateway(settings_of(self.folder, self.centre.port))
        self.w.http = client_of(self.w.gateway, (self.folder / API_KEY_FILE).read_text().strip())
        # At a start it is looked whether what is held may leave by now.
        if self.model.permits_clear:
            self.model.allowed |= dict.fromkeys(self.model.waiting, "floor")

    async def time_passes(self) -> None:
        self.later_ms += self.draw.choice(JUMPS_S) * 1000
        for _ in range(3):
            await self.w.gateway.maintenance.turn_keys()
        await self.w.gateway.purger.run()

    async def keys_change(self) -> None:
        if len(self.alice.opened) == 1:
            second = await self.alice.another_device()
            await second.login()
        else:
            await self.alice.device.publish_list([])
            self.alice.opened.pop().close()

    async def sent(self) -> None:
        """A new text, asked about, held or refused where it may not go."""
        self.texts += 1
        text, number = f"text {self.texts} {os.urandom(4).hex()}", self.draw.choice(NUMBERS)
        wish = self.draw.choice(("ask", "hold", "refuse"))
        sender = self.draw.choice((None, self.alice.sender))
        named = {} if sender is None else {"sender": sender}
        before = self.model.permits_clear
        answer = await self.w.send(text, to=number, on_downgrade=wish, **named)
        told = answer.json()
        if answer.status_code == 202 and told["state"] == "queued":
            assert before, "a text went below its floor without a word"
            self.model.allowed[text] = "floor"
        elif answer.status_code == 202:
            assert not before
            if told["challenge"] is not None:
                self.model.held[told["challenge"]["id"]] = (text, number)
            else:
                self.model.waiting.add(text)
        elif told["code"] == "consent_required":
            assert not before
            await self.answered(told["challenge"]["id"], text, number, sender)
        else:
            assert told["code"] in {"below_floor", "asked_recently"}, told

    async def answered(self, challenge: str, text: str, number: str, sender: str | None) -> None:
        """By the device where it is asked, or by the tenant; or by nobody."""
        by, said = self.draw.choice(("device", "tenant", "nobody")), self.draw.choice(("agreed", "agreed", "refused"))
        held = challenge in self.model.held
        consent: str | None = None
        released = False
        expires_ms = (await self.w.http.get(f"/v1/challenges/{challenge}")).json().get("expires_ms", 0)
        if by == "tenant":
            done = await self.w.answer(challenge, said)
            if done.status_code == 200:
                consent, released = done.json()["consent"], done.json()["released"]
        elif by == "device":
            waiting = await self.alice.device.questions.waiting()
            mine = [one for one in waiting.questions if str(one.challenge) == challenge]
            if mine:
                try:
                    view = await self.alice.device.questions.answer(mine[0], Answer(said))
                except RelayError:
                    return
                consent, released = view.consent, view.released
        if said == "agreed" and consent is not None and not held:
            self.model.yes[consent] = Said(text, number, expires_ms)
            if self.draw.random() < 0.5:
                await self.used(consent, text, number, sender)
        if released:
            assert said == "agreed"
            self.model.allowed[text] = challenge

    async def held_answered(self) -> None:
        if self.model.held:
            challenge = self.draw.choice(sorted(self.model.held))
            await self.answered(challenge, *self.model.held[challenge], None)
            if self.draw.random() < 0.5:
                self.model.held.pop(challenge)

    async def used(self, consent: str, text: str, number: str, sender: str | None) -> None:
        """Come back with: mostly as agreed; sometimes with another text, or to another number."""
        said = self.model.yes[consent]
        if self.draw.random() < 0.25:
            text = f"{text} and more"
        elif self.draw.random() < 0.25:
            number = next(one for one in NUMBERS if one != number)
        named = {} if sender is None else {"sender": sender}
        now = self.w.gateway.clock.now_ms()
        answer = await self.w.send(text, to=number, consent=consent, **named)
        if answer.status_code == 202 and not answer.json()["duplicate"]:
            if answer.json()["security"]["fall"] == "consented":
                assert (text, number) == (said.text, said.number), "a yes was used for something else"
                assert now < said.until_ms, "a yes was used after its time"
                self.model.used[consent] += 1
                assert self.model.used[consent] == 1, "a yes was used twice"
                self.model.allowed[text] = consent
            else:
                assert self.model.permits_clear
                self.model.allowed[text] = "floor"

    async def used_later(self) -> None:
        if self.model.yes:
            consent = self.draw.choice(sorted(self.model.yes))
            said = self.model.yes[consent]
            await self.used(consent, said.text, said.number, self.draw.choice((None, self.alice.sender)))

    async def withdrawn(self) -> None:
        if self.model.yes:
            consent = self.draw.choice(sorted(self.model.yes))
            done = await self.w.http.delete(f"/v1/consents/{consent}")
            if done.status_code == 204:
                # Used after this it would be on nobody's list of what is allowed.
                assert self.model.used[consent] == 0
                self.model.yes[consent] = Said("", "", 0)

    # -- what must be true ------------------------------------------------------------------------------------------

    def phones(self) -> list[str]:
        return [
            message.read()
            for number in NUMBERS
            for message in self.centre.phone(PhoneNumber.parse(number)).inbox
            if message.read() != "hello"
        ]

    async def settled(self) -> None:
        if self.away:
            await self.delivery_fails()
        waiting = int(MessageState.QUEUED)
        await until(lambda: not self.w.rows("SELECT 1 FROM message WHERE state=?", (waiting,)), 30)

    def holds(self) -> Counter[str]:
        # One whose link broke in the moment of handing over may come twice, and its row says so.
        arrived = set(self.phones())
        for text in arrived:
            assert text in self.model.allowed, "a text is on a phone that nothing and nobody allowed"
        entries = self.w.entries()
        falls = [entry for entry in entries if isinstance(entry, Fallback)]
        by_consent = [why for why in self.model.allowed.values() if why != "floor"]
        assert len(falls) == len(by_consent), "each step down has its entry, and each entry its step down"
        assert all(entry.consent is not None for entry in falls)
        yes = Counter(
            entry.kind for entry in entries if isinstance(entry, Consent) and entry.answer.value == "accepted"
        )
        assert not Counter(entry.kind for entry in falls) - yes, "of each kind no more steps down than yeses"
        return Counter({"arrived": len(arrived), "falls": len(falls), "yes": sum(yes.values())})


the_floor = OpenReads.floor


async def blind(reads: OpenReads, *of: Any) -> tuple[int, int]:
    """A gateway that takes every floor for the lowest, at the version that it has."""
    _, version = await the_floor(reads, *of)
    return PROTECTIONS.index(Protection.CLEAR), version


async def run(folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """A whole story; what it came to."""
    folder.mkdir()
    story = Story(folder, seed, monkeypatch)
    async with story.opened:
        await story.begin()
        happenings = {
            story.sent: 30, story.held_answered: 12, story.used_later: 12, story.withdrawn: 5,
            story.capability_changes: 12, story.toggle_flips: 4, story.delivery_fails: 6, story.time_passes: 6,
            story.restart: 3, story.keys_change: 4,
        }  # fmt: skip
        for happening in story.draw.choices([*happenings], [*happenings.values()], k=STEPS):
            await happening()
        await story.settled()
        return story.holds()


async def stories(folder: Path, seeds: range, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Several of them, one after the other, each with a store of its own."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        with monkeypatch.context() as patched:
            seen += await run(folder / str(seed), seed, patched)
    return seen


@pytest.mark.attack("A9", "A12")
@pytest.mark.parametrize("first", [0, 5, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(10, 100, 5))])
async def test_whatever_happens_in_whatever_order_nothing_steps_down_in_silence(
    tmp_path: Path, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = await stories(tmp_path, range(first, first + TOGETHER), monkeypatch)
    # Runs in which nothing fell, or nothing arrived, would have shown nothing.
    assert min(seen["arrived"], seen["falls"], seen["yes"]) >= 1


FLAWS: dict[str, tuple[tuple[object, str, object], str]] = {
    "a yes is good for anything": ((QuestionBook, "still_holds", lambda *_: True), "a yes was used"),
    "the floor is not looked at": ((OpenReads, "floor", blind), "below its floor without a word"),
}
"""What is broken, and what the witness says then. Any other failure would be one of the test."""


@pytest.mark.parametrize("flaw", list(FLAWS))
async def test_a_planted_flaw_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flaw: str) -> None:
    broken, said = FLAWS[flaw]
    monkeypatch.setattr(*broken)
    with pytest.raises(AssertionError, match=said):
        await stories(tmp_path, range(12), monkeypatch)
