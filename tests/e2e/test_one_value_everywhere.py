"""A thousand messages of both kinds: what is said of each is one value on every surface, and in the ledger."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from letterlock.client import api
from letterlock.client.api_answers import ApiCode, ApiError
from letterlock.lab.demo.centre import CentreProcess, start_centre
from letterlock.lab.demo.world import GatewayProcess, Phone, Watched, enrol, start_gateway, until
from letterlock.model.ids import MessageId
from letterlock.model.protection import EvidenceGrade, Protection, Verifier
from letterlock.wire import stream
from letterlock.wire.tlog.commitments import rule_tag
from letterlock.wire.tlog.note import VerifierKey
from letterlock.wire.tlog.records import Accepted

SEALED, NOTICES, AGREED, HELD = 700, 200, 50, 50
TOGETHER = 50
Words = tuple[str, str, str]
"""Protection, grade, verifier."""
E2EE: Words = ("E2EE", "TRACKED", "gateway")
CLEAR: Words = ("CLEAR", "NONE", "nobody")


class Noting(Watched):
    """A device's stream; what it says of each message, by the gateway's own id."""

    def __init__(self, phone: Phone) -> None:
        super().__init__(phone.device)
        self.of: dict[str, Words] = {}

    async def delivered(self, first_seq: int, items: Sequence[stream.Delivery]) -> int:
        for item in items:
            places = (item.protection, item.grade, item.verifier)
            kinds = (Protection, EvidenceGrade, Verifier)
            words = [list(kind)[place].value for kind, place in zip(kinds, places, strict=True)]
            self.of[str(MessageId(item.message_id))] = (words[0], words[1], words[2])
        return await super().delivered(first_seq, items)


class Surfaces:
    """What each of them said of each message, and the rule and indicator besides where it says them."""

    def __init__(self) -> None:
        self.words: dict[str, dict[str, Words]] = {}
        self.more: dict[str, dict[str, tuple[str, ...]]] = {}
        self.indicators: dict[str, str] = {}

    def say(self, surface: str, message: str, words: Words, more: tuple[str, ...] | None = None) -> None:
        self.words.setdefault(message, {})[surface] = words
        if more is not None:
            self.more.setdefault(message, {})[surface] = more

    def block(self, surface: str, message: str, block: Any) -> None:
        """A security block, as JSON or as the SDK has it."""
        told = block if isinstance(block, dict) else {name: getattr(block, name) for name in block.__struct_fields__}
        words = (told["protection"], told["grade"], told["verifier"])
        self.say(surface, message, words, (told["indicator"], told["decision"], told["rule"], told["fall"]))


async def sealed(gateway: GatewayProcess, folder: Path, heard: Surfaces) -> list[str]:
    """Sent by one device, answered over HTTP, delivered over the other's stream."""
    alice, bob = [await enrol(folder, gateway, name, "a phone") for name in ("alice", "bob")]
    noting = Noting(bob)
    bob.watched = noting
    bob.moved(gateway)
    submitted: list[str] = []

    async def answered(response: httpx.Response) -> None:
        if response.request.url.path.endswith("/messages"):
            await response.aread()
            for result in response.json()["results"]:
                submitted.append(result["message_id"])
                told = result["security"]
                words = (told["protection"], told["grade"], told["verifier"])
                heard.say("answer to the device", result["message_id"], words)
                heard.indicators[result["message_id"]] = told["indicator"]

    try:
        group = await alice.device.create_group()
        await alice.device.add_account(group, bob.device.account)
        bob.connect()
        alice.http.event_hooks["response"].append(answered)
        for _ in range(SEALED // TOGETHER):
            for _ in range(TOGETHER):
                await alice.device.send(group, b"sealed words")
            await alice.device.flush()
        assert len(submitted) == SEALED
        assert await until(lambda: set(submitted) <= noting.of.keys())
        for message in submitted:
            heard.say("stream", message, noting.of[message])
    finally:
        await alice.close()
        await bob.close()
    return submitted


async def readable(http: httpx.AsyncClient, heard: Surfaces) -> list[str]:
    """Notices, texts that somebody agreed to, and texts that are held."""
    taken: list[str] = []

    def answer(result: dict[str, Any]) -> None:
        taken.append(result["id"])
        heard.block("answer to the tenant", result["id"], result["security"])

    for start in range(0, NOTICES, TOGETHER):
        batch = [
            {"to": number(at), "text": "a notice", "traffic": "notification"} for at in range(start, start + TOGETHER)
        ]
        for result in (await http.post("/v1/messages/batch", json={"messages": batch})).json()["results"]:
            answer(result["message"])
    for at in range(AGREED):
        body = {"to": number(1_000 + at), "text": "agreed to"}
        challenge = (await http.post("/v1/messages", json=body)).json()["challenge"]["id"]
        said = {"answer": "agreed", "answered_by": "somebody"}
        consent = (await http.post(f"/v1/challenges/{challenge}/answer", json=said)).json()["consent"]
        answer((await http.post("/v1/messages", json=body | {"consent": consent})).json())
    for at in range(HELD):
        body = {"to": number(2_000 + at), "text": "held", "on_downgrade": "hold"}
        answer((await http.post("/v1/messages", json=body)).json())
    return taken


def number(at: int) -> str:
    return f"+4915155{at:06}"


async def looked_at(gateway: GatewayProcess, http: httpx.AsyncClient, messages: list[str], heard: Surfaces) -> None:
    """The API's two routes, the SDK's pages, and the ledger's record of each, proven offline."""
    tenant = api.AsyncTenantApi(http, gateway.api_key)
    key = VerifierKey.parse((gateway.folder / "ledger.vkey").read_text().strip())
    before = ""
    wanted = set(messages)
    while True:
        page = await tenant(api.listing(before, 200))
        for view in page.messages:
            if view.id in wanted:
                heard.block("the SDK's page", view.id, view.security)
        if page.next is None:
            break
        before = page.next
    for message in messages:
        heard.block("security route", message, (await http.get(f"/v1/messages/{message}/security")).json())
        record = (await receipt(tenant, message)).verify(key).record
        assert isinstance(record, Accepted)
        heard.say("ledger", message, (record.protection.value, record.grade.value, record.verifier.value))
        assert str(record.rule) == str(rule_tag(heard.more[message]["security route"][2]))


async def receipt(tenant: api.AsyncTenantApi, message: str) -> api.LedgerReceipt:
    for _ in range(100):
        try:
            return await tenant(api.receipt(message))
        except ApiError as error:
            if error.code is not ApiCode.ENTRY_NOT_SIGNED_YET:
                raise
        await asyncio.sleep(0.1)
    pytest.fail("no head was signed")


async def places(folder: Path) -> tuple[GatewayProcess, CentreProcess]:
    centre = await start_centre()
    return await start_gateway(folder, centre.port), centre


async def test_a_thousand_messages_are_the_same_everywhere(tmp_path: Path) -> None:
    gateway, centre = await places(tmp_path)
    headers = {"Authorization": f"Bearer {gateway.api_key}"}
    heard = Surfaces()
    try:
        async with httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=30) as http:
            devices = await sealed(gateway, tmp_path, heard)
            texts = await readable(http, heard)
            messages = [*devices, *texts]
            assert len(set(messages)) == SEALED + NOTICES + AGREED + HELD == 1_000
            await looked_at(gateway, http, messages, heard)
    finally:
        await gateway.stop()
        await centre.stop()
    by_device = {"answer to the device", "stream", "the SDK's page", "security route", "ledger"}
    by_tenant = {"answer to the tenant", "the SDK's page", "security route", "ledger"}
    for message in messages:
        said = heard.words[message]
        assert said.keys() == (by_device if message in set(devices) else by_tenant)
        # One value, and the one that is true.
        assert set(said.values()) == {E2EE if message in set(devices) else CLEAR}, said
        assert len(set(heard.more[message].values())) == 1, heard.more[message]
    for message in devices:
        assert heard.indicators[message] == heard.more[message]["security route"][0]
    shown = [heard.more[message]["security route"] for message in texts]
    falls = [fall for _, _, _, fall in shown]
    assert falls.count("consented") == AGREED
    assert [indicator for indicator, *_ in shown].count("indicator.held") == HELD
