"""Consent on a person's own device: a tenant's software, a gateway, a message centre, and ``letterlock chat``."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.chatting import ChatProcess

from letterlock.lab.demo.centre import CentreProcess, start_centre
from letterlock.lab.demo.world import GatewayProcess, start_gateway

NUMBER = "+4915155512881"
TEXT = "The results are here: please call us before noon."


class Place:
    """A gateway whose policy takes a device's signature and nothing less, and a way over SMS."""

    def __init__(self, folder: Path, gateway: GatewayProcess, centre: CentreProcess) -> None:
        self.folder = folder
        self.gateway = gateway
        self.centre = centre
        self.chats: list[ChatProcess] = []

    async def chat(self, *options: str) -> ChatProcess:
        key_file = self.gateway.folder / "api-key"
        made = await ChatProcess.start("alice", self.gateway.url, key_file, self.folder / "people", *options)
        self.chats.append(made)
        return made

    async def send(self, sender: str, **fields: Any) -> httpx.Response:
        body = {"to": NUMBER, "text": TEXT, "sender": sender, **fields}
        return await self.call("POST", "/v1/messages", body)

    async def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.gateway.api_key}"}
        async with httpx.AsyncClient(base_url=self.gateway.url, headers=headers, timeout=20) as http:
            return await http.request(method, path, json=body)

    async def until_arrived(self, texts: list[str]) -> None:
        for _ in range(600):
            if await self.centre.inbox(NUMBER) == texts:
                return
            await asyncio.sleep(0.05)
        pytest.fail("not arrived")


@asynccontextmanager
async def place(folder: Path) -> AsyncIterator[Place]:
    centre = await start_centre()
    gateway = await start_gateway(folder, centre.port, profile="consumer")
    made = Place(folder, gateway, centre)
    try:
        yield made
    finally:
        for one in made.chats:
            await one.stop()
        await made.gateway.stop()
        await centre.stop()


async def test_asked_on_the_device_signed_there_and_sent(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        alice = await here.chat()
        account = (await alice.next("ready"))["account"]
        await alice.until(lambda: any(event["state"] == "connected" for event in alice.all("connection")))
        asked = await here.send(account)
        assert (asked.status_code, asked.json()["code"]) == (409, "consent_required")
        challenge = asked.json()["challenge"]
        assert challenge["kinds"] == ["DEVICE_SIGNED"]
        # Told over the stream that something waits; what it is was fetched, and put into words on the device.
        question = await alice.next("question")
        assert (question["challenge"], question["number"], question["language"]) == (challenge["id"], 1, "en")
        assert NUMBER in question["question"]
        assert "SMS" in question["question"]
        assert "this service" in question["readers"]
        assert "every mobile network on the way" in question["readers"]
        assert question["fall"].count("\u2068") == 2
        assert TEXT not in str(question)
        await alice.type("/yes 2", "/yes", "/yes 1")
        assert [(await alice.next("problem"))["code"] for _ in range(2)] == ["unknown_question"] * 2
        answered = await alice.next("answered")
        assert (answered["answer"], answered["state"], answered["released"]) == ("agreed", "consented", False)
        told = (await here.call("GET", f"/v1/challenges/{challenge['id']}")).json()
        assert told["kind"] == "DEVICE_SIGNED"
        sent = await here.send(account, consent=told["consent"])
        assert sent.status_code == 202, sent.text
        assert sent.json()["security"]["indicator"] == "indicator.fell_by_device"
        await here.until_arrived([TEXT])
        await alice.type("/yes 1")
        assert (await alice.next("problem"))["code"] == "unknown_question"


@pytest.mark.attack("A10")
async def test_asked_while_away_over_a_gateway_that_died_and_refused_in_arabic(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        alice = await here.chat()
        account = (await alice.next("ready"))["account"]
        await alice.quit()
        held = (await here.send(account, on_downgrade="hold")).json()
        assert held["state"] == "held"
        await here.gateway.kill()
        here.gateway = await start_gateway(here.folder, here.centre.port, profile="consumer")
        alice = await here.chat("--language", "ar")
        question = await alice.next("question")
        assert (question["challenge"], question["language"]) == (held["challenge"]["id"], "ar")
        assert question["direction"] == "rtl"
        assert "هل تُرسَل هذه الرسالة" in question["question"]
        assert all((line[0], line[-1]) == ("\u2067", "\u2069") for line in question["lines"])
        await alice.type("/no 1")
        answered = await alice.next("answered")
        assert (answered["answer"], answered["text"]) == ("refused", "رفضتَ. لم تُرسَل.")
        view = (await here.call("GET", f"/v1/messages/{held['id']}")).json()
        assert (view["state"], view["reason"]) == ("not_sent", "consent_refused")
        again = await here.send(account)
        assert (again.status_code, again.json()["code"]) == (409, "asked_recently")
        assert await here.centre.inbox(NUMBER) == []


async def test_an_unknown_language_is_wrong_usage(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        status, said = await (await here.chat("--language", "fr")).ends()
        assert (status, "--language is one of en, es, de, hi, ar" in " ".join(said.split())) == (2, True), said
