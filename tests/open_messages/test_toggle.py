"""The E2EE-first toggle: of a tenant, of a conversation; in force for the next message, versioned, in the ledger."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from tests.app.stores import called
from tests.open_messages.world import NUMBER, World, world

from letterlock.lab.demo.world import start_gateway
from letterlock.model.protection import Protection
from letterlock.policy.file import profile_source
from letterlock.storage.codes import PROTECTIONS
from letterlock.storage.sqlite.open_reads import OpenReads
from letterlock.wire.tlog.entries import E2eeFirst

TEXT = "only this, to you, now"
OTHER = "+491701234568"


async def flip(w: World, mode: str, **fields: object) -> httpx.Response:
    return await w.http.put("/v1/e2ee-first", json={"mode": mode, **fields})


async def look(w: World, **fields: object) -> tuple[str, int]:
    answer = await w.http.post("/v1/e2ee-first/query", json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["mode"], answer.json()["version"]


def flips(w: World) -> list[E2eeFirst]:
    return [entry for entry in w.entries() if isinstance(entry, E2eeFirst)]


async def clear(w: World, to: str = NUMBER) -> tuple[int, str]:
    """A conversation over SMS whose floor was recorded as CLEAR: it goes without a word, unless the toggle is on."""
    answer = await w.send(TEXT, to=to)
    return answer.status_code, answer.json().get("code", answer.json().get("state"))


async def lowered(w: World) -> None:
    for number in (NUMBER, OTHER):
        await w.send("hello", to=number, traffic="notification")
    w.set_floor(PROTECTIONS.index(Protection.CLEAR), 2)


async def test_one_conversation_and_no_other_from_the_next_message_on(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await lowered(w)
        assert await clear(w) == (202, "queued")
        assert await look(w, to=NUMBER) == ("as_policy", 0)
        done = await flip(w, "e2ee_first", to=NUMBER)
        assert (done.status_code, done.json()) == (200, {"mode": "e2ee_first", "version": 1})
        assert await clear(w) == (409, "consent_required")
        question = (await w.send("and this", on_downgrade="hold")).json()
        assert question["state"] == "held"
        assert await clear(w, OTHER) == (202, "queued")
        # Another spelling is the same conversation; notices are no conversation.
        assert await look(w, to="+49 170 1234567") == ("e2ee_first", 1)
        assert (await w.send("a notice", traffic="notification")).status_code == 202
        assert (await flip(w, "as_policy", to=NUMBER)).json() == {"mode": "as_policy", "version": 2}
        assert await clear(w) == (202, "queued")


async def test_all_of_a_tenants_conversations_and_no_other_tenants(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await lowered(w)
        assert (await flip(w, "e2ee_first")).json() == {"mode": "e2ee_first", "version": 1}
        for number in (NUMBER, OTHER):
            assert await clear(w, number) == (409, "consent_required")
            assert await look(w, to=number) == ("as_policy", 0), "of its own it has chosen nothing"
        challenge = (await w.send(TEXT, to="+491701230000")).json()["challenge"]
        assert challenge["before"] == "E2EE"
        tenant = await w.gateway.tenants.add("other", "standard")
        _, secret = await w.gateway.tenants.add_key(tenant.no)
        foreign = {"authorization": f"Bearer {secret}"}
        answer = await w.http.post("/v1/e2ee-first/query", json={}, headers=foreign)
        assert answer.json() == {"mode": "as_policy", "version": 0}
    async with world(tmp_path) as w:
        assert await look(w) == ("e2ee_first", 1), "it outlives a restart"
        assert (await clear(w, "+491701230001"))[0] == 409


async def test_each_flip_is_one_entry_with_its_version_and_a_repeat_is_none(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for mode, version in (("e2ee_first", 1), ("e2ee_first", 1), ("as_policy", 2), ("e2ee_first", 3)):
            assert (await flip(w, mode)).json() == {"mode": mode, "version": version}
        await flip(w, "e2ee_first", to=NUMBER)
        told = [(entry.word.value, entry.version, entry.peer is None) for entry in flips(w)]
        assert told == [
            ("e2ee_first", 1, True), ("as_policy", 2, True), ("e2ee_first", 3, True), ("e2ee_first", 1, False),
        ]  # fmt: skip
        assert NUMBER[1:] not in str(w.rows("SELECT * FROM toggle"))


async def test_two_who_flip_it_at_once_do_not_overwrite_each_other(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        answers = await asyncio.gather(*(flip(w, "e2ee_first", seen=0) for _ in range(4)))
        codes = sorted(answer.status_code for answer in answers)
        assert codes == [200, 409, 409, 409]
        assert {answer.json().get("code") for answer in answers} == {None, "version_conflict"}
        assert (await flip(w, "as_policy", seen=1)).json()["version"] == 2
        assert len(flips(w)) == 2


async def test_it_asks_for_more_than_policy_and_never_for_less(tmp_path: Path) -> None:
    async with world(tmp_path, profile="consumer") as w:
        await flip(w, "as_policy", to=NUMBER)
        refused = await w.send(TEXT)
        assert (refused.status_code, refused.json()["code"]) == (422, "device_signature_required")
        assert "e2ee_first = true" in profile_source("consumer")


async def test_what_was_agreed_to_before_is_void_and_what_is_decided_meanwhile_is_decided_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as w:
        question = (await w.send(TEXT)).json()["challenge"]
        assert question["before"] == "PROVIDER"
        consent = (await w.answer(question["id"])).json()["consent"]
        await flip(w, "e2ee_first", to=NUMBER)
        assert (await w.send(TEXT, consent=consent)).json()["code"] == "consent_void"
        await flip(w, "as_policy", to=NUMBER)
        await lowered(w)
        # It is flipped after the floor was read and before the commit: the writer has the decision made again.
        read = OpenReads.floor
        flipped: list[int] = []

        async def floor(self: OpenReads, tenant: int, subject: bytes, traffic: int) -> tuple[int | None, int]:
            found = await read(self, tenant, subject, traffic)
            if not flipped:
                flipped.append(1)
                await flip(w, "e2ee_first", to=NUMBER)
            return found

        monkeypatch.setattr(OpenReads, "floor", floor)
        assert await clear(w) == (409, "asked_recently")
        assert w.count()["fallback"] == 0


async def test_a_message_that_waits_to_be_handed_over_is_looked_at_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await lowered(w)
        await w.smsc.go_away()
        taken = (await w.send(TEXT)).json()
        assert taken["state"] == "queued"
        await flip(w, "e2ee_first", to=NUMBER)
        await w.smsc.come_back()
        told = await w.until_state(taken["id"], "not_sent", "sent", "delivered")
        assert (told["state"], told["reason"]) == ("not_sent", "policy_changed")
        assert TEXT not in w.screen()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_field"),
        ({"mode": True}, "wrong_type"),
        ({"mode": "off"}, "wrong_type"),
        ({"mode": "e2ee_first", "to": "12"}, "bad_number"),
        ({"mode": "e2ee_first", "also": 1}, "unknown_field"),
        ({"mode": "e2ee_first", "seen": -1}, "wrong_type"),
    ],
)
async def test_what_is_no_choice_is_refused(tmp_path: Path, body: dict[str, object], code: str) -> None:
    async with world(tmp_path) as w:
        refused = await w.http.put("/v1/e2ee-first", json=body)
        assert (refused.status_code, refused.json()["code"]) == (422, code)
        assert not flips(w)


async def test_a_key_without_the_scope_flips_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        _, secret = await w.gateway.tenants.add_key(1, ("messages", "read", "devices"))
        lesser = {"authorization": f"Bearer {secret}"}
        for method, path, body in (("PUT", "", {"mode": "e2ee_first"}), ("POST", "/query", {})):
            refused = await w.http.request(method, f"/v1/e2ee-first{path}", json=body, headers=lesser)
            assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
        assert not flips(w)


async def test_the_command_flips_it_at_a_running_gateway(tmp_path: Path) -> None:
    gateway = await start_gateway(tmp_path)
    try:
        options = ("--gateway", gateway.url, "--api-key-file", str(gateway.folder / "api-key"), "--json")
        said = []
        for words in ((), ("on",), ("on", "--to", NUMBER), ("as-policy",), ("--to", NUMBER)):
            done = await asyncio.to_thread(called, "e2ee-first", *words, *options)
            assert done.exit_code == 0, done.output
            answer = json.loads(done.output)
            said.append((answer["mode"], answer["version"]))
        assert said == [
            ("as_policy", 0), ("e2ee_first", 1), ("e2ee_first", 1), ("as_policy", 2), ("e2ee_first", 1),
        ]  # fmt: skip
        wrong = await asyncio.to_thread(called, "e2ee-first", "off", *options)
        assert wrong.exit_code == 2
    finally:
        await gateway.stop()
