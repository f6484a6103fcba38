"""Readable messages over HTTP to a real message centre: taken, asked about, held, refused."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.open_messages.world import NUMBER, until, world

from letterlock.model.protection import Protection
from letterlock.storage.codes import PROTECTIONS


async def test_a_notice_is_sent_and_shown_as_what_it_is_everywhere(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        taken = await w.notify("Your parcel is here.")
        assert taken["state"] == "queued"
        block = taken["security"]
        assert (block["protection"], block["grade"], block["verifier"]) == ("CLEAR", "NONE", "nobody")
        assert block["readers"] == ["this gateway", "SMSC / carrier"]
        assert (block["decision"], block["rule"], block["fall"]) == ("deliver", "routing.notification", "not_a_fall")
        assert block["indicator_text"] == "Not encrypted. Anybody on the way can read it."
        told = await w.until_state(taken["id"], "delivered")
        assert w.screen() == ["Your parcel is here."]
        alone = (await w.http.get(f"/v1/messages/{taken['id']}/security")).json()
        listed = (await w.http.get("/v1/messages")).json()["messages"][0]
        assert told["security"] == alone == block == listed["security"]
        assert NUMBER[1:] not in str(listed)
        assert w.count()["fallback"] == 0


@pytest.mark.attack("A8")
async def test_a_conversation_is_asked_about_then_consented_then_spent(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        asked = await w.send("Meet me at noon.")
        assert asked.status_code == 409
        assert asked.json()["code"] == "consent_required"
        question = asked.json()["challenge"]
        assert (question["reason"], question["says"]) == ("sender_chose", "sender")
        assert (question["before"], question["after"], question["channel"]) == ("PROVIDER", "CLEAR", "sms")
        assert {one["name"] for one in question["alternatives"]} == {"wait", "discard"}
        assert w.rows("SELECT count(*) FROM shreddable_body") == [(0,)]
        again = await w.send("Meet me at noon.")
        assert (again.status_code, again.json()["code"]) == (409, "asked_recently")
        assert again.json()["challenge"] == question["id"]
        answered = (await w.answer(question["id"])).json()
        assert answered["state"] == "consented"
        twice = await w.answer(question["id"])
        assert (twice.status_code, twice.json()["code"]) == (409, "already_answered")
        sent = await w.send("Meet me at noon.", consent=answered["consent"])
        assert sent.status_code == 202, sent.text
        assert sent.json()["security"]["fall"] == "consented"
        assert sent.json()["security"]["indicator"] == "indicator.fell_by_tenant"
        await w.until_state(sent.json()["id"], "delivered")
        repeat = await w.send("Meet me at noon.", consent=answered["consent"])
        assert repeat.json()["duplicate"] is True
        other = await w.send("Meet me at one.", consent=answered["consent"])
        assert other.status_code == 409
        assert w.screen() == ["Meet me at noon."]
        counted = w.count()
        assert (counted["challenge"], counted["consent"], counted["fallback"]) == (1, 1, 1)


@pytest.mark.attack("A16")
async def test_a_readable_text_that_claims_e2ee_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        refused = await w.send("secret words here", claim="E2EE", traffic="notification")
        assert (refused.status_code, refused.json()["code"]) == (422, "claim_contradicts_body")
        assert w.count()["refusal"] == 1
        assert w.rows("SELECT count(*) FROM message") == [(0,)]
        assert (await w.notify("plain words"))["state"] == "queued"


async def test_refused_where_the_sender_wants_that(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        refused = await w.send("hello", on_downgrade="refuse")
        assert (refused.status_code, refused.json()["code"]) == (422, "below_floor")
        assert [entry.t for entry in w.entries()][-1] == "refusal"


async def test_held_released_by_a_yes_and_ended_by_a_no(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        held = await w.send("the first", on_downgrade="hold")
        assert held.status_code == 202
        assert held.json()["state"] == "held"
        assert held.json()["security"]["indicator"] == "indicator.held"
        question = held.json()["challenge"]
        await asyncio.sleep(0.1)
        assert w.screen() == []
        assert w.rows("SELECT count(*) FROM shreddable_body") == [(1,)]
        assert (await w.answer(question["id"])).json()["released"] is True
        told = await w.until_state(held.json()["id"], "delivered")
        assert told["security"]["fall"] == "consented"
        assert told["security"]["indicator"] == "indicator.fell_by_tenant"
        names = [entry.t for entry in w.entries()]
        assert names.index("fallback") < names.index("release")
        other = await w.send("the second", on_downgrade="hold", to="+491700000002")
        assert (await w.answer(other.json()["challenge"]["id"], "refused")).json()["released"] is False
        ended = await w.get(other.json()["id"])
        assert (ended["state"], ended["security"]["indicator"]) == ("not_sent", "indicator.refused")
        assert w.rows("SELECT count(*) FROM shreddable_body") == [(0,)]
        assert w.rows("SELECT count(*) FROM outbox") == [(0,)]
        assert w.screen("+491700000002") == []
        assert w.count()["fallback"] == 1


@pytest.mark.attack("A17")
async def test_idempotency_keys(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        first = await w.notify("once", key="order-1")
        second = await w.notify("once", key="order-1")
        assert second["id"] == first["id"]
        assert (second["duplicate"], first["duplicate"]) == (True, False)
        assert second["record_hash"] == first["record_hash"]
        changes: tuple[dict[str, Any], ...] = (
            {"text": "twice"},
            {"to": "+491700000009"},
            {"traffic": "conversation"},
            {"expires_in_s": 5},
        )
        for changed in changes:
            fields: dict[str, Any] = {"text": "once", "traffic": "notification", **changed}
            refused = await w.send(key="order-1", **fields)
            assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_conflict")
        tenant = await w.gateway.tenants.add("other", "standard")
        _, secret = await w.gateway.tenants.add_key(tenant.no)
        own = {"authorization": f"Bearer {secret}", "Idempotency-Key": "order-1"}
        body = {"to": NUMBER, "text": "once", "traffic": "notification"}
        foreign = await w.http.post("/v1/messages", json=body, headers=own)
        assert foreign.status_code == 202
        assert foreign.json()["id"] != first["id"]
        unseen = await w.http.get(f"/v1/messages/{first['id']}", headers={"authorization": f"Bearer {secret}"})
        assert unseen.status_code == 404
        await w.until_state(first["id"], "delivered")
        await until(lambda: w.screen() == ["once", "once"])


async def test_a_batch_takes_and_refuses_each_by_itself(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        messages = [
            {"to": NUMBER, "text": "one", "traffic": "notification"},
            {"to": "0170 1234", "text": "two", "traffic": "notification"},
            {"to": NUMBER, "text": "three"},
            {"to": NUMBER, "text": "x" * 4000, "traffic": "notification"},
        ]
        answer = await w.http.post("/v1/messages/batch", json={"messages": messages}, headers={"Idempotency-Key": "b"})
        results = answer.json()["results"]
        assert [one["status"] for one in results] == [202, 422, 409, 422]
        codes = [one["problem"] and one["problem"]["code"] for one in results]
        assert codes == [None, "bad_number", "consent_required", "text_too_long"]
        again = await w.http.post("/v1/messages/batch", json={"messages": messages}, headers={"Idempotency-Key": "b"})
        assert again.json()["results"][0]["message"]["duplicate"] is True
        # The same question about the same message is no second question.
        assert again.json()["results"][2]["problem"]["challenge"] == results[2]["problem"]["challenge"]


@pytest.mark.attack("A7")
async def test_another_spelling_of_a_number_is_the_same_peer(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.notify("hello")
        w.set_floor(PROTECTIONS.index(Protection.E2EE), 1)
        for spelling in (NUMBER, "0049 170 1234567", "tel:+49-170-1234567", "+49 (170) 123.4567"):
            refused = await w.send("again", to=spelling, traffic="notification", on_downgrade="refuse")
            assert (refused.status_code, refused.json()["code"]) == (422, "below_floor")
        assert (await w.send("hi", to="+491701234568", traffic="notification")).status_code == 202
