"""Questions and answers: bound to what was shown, asked once, ended by time."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.open_messages.world import NUMBER, World, world

from letterlock.model.protection import Protection
from letterlock.policy.file import profile_source
from letterlock.storage.codes import PROTECTIONS
from letterlock.storage.sqlite.open_reads import OpenReads

TEXT = "only this, to you, now"


async def agreed(w: World, **fields: Any) -> str:
    question = (await w.send(TEXT, **fields)).json()["challenge"]["id"]
    return str((await w.answer(question)).json()["consent"])


async def other_floor(w: World, consent: str) -> httpx.Response:
    w.set_floor(PROTECTIONS.index(Protection.E2EE), 3)
    return await w.send(TEXT, consent=consent)


CHANGES: dict[str, Callable[[World, str], Awaitable[httpx.Response]]] = {
    "text": lambda w, consent: w.send(TEXT + ".", consent=consent),
    "number": lambda w, consent: w.send(TEXT, to="+491701234568", consent=consent),
    "idempotency key": lambda w, consent: w.send(TEXT, key="another", consent=consent),
    "floor": other_floor,
}


@pytest.mark.attack("A8")
@pytest.mark.parametrize("change", list(CHANGES))
async def test_a_consent_is_void_when_anything_changed(tmp_path: Path, change: str) -> None:
    async with world(tmp_path) as w:
        consent = await agreed(w)
        refused = await CHANGES[change](w, consent)
        assert (refused.status_code, refused.json()["code"]) == (409, "consent_void")
        after = await w.send(TEXT, consent=consent)
        assert (after.status_code, after.json()["code"]) == (409, "consent_spent")
        assert w.count()["fallback"] == 0
        assert w.rows("SELECT state FROM challenge") == [("secure_failed",)]


@pytest.mark.attack("A8")
async def test_another_policy_or_transport_row_voids_answers_and_held_messages(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        consent = await agreed(w)
        held = (await w.send(TEXT, to="+491701230000", on_downgrade="hold")).json()
    file = tmp_path / "policy.toml"
    file.write_text(profile_source("standard").replace("metadata_minutes = 60", "metadata_minutes = 59"))
    async with world(tmp_path, policy_file=str(file)) as w:
        refused = await w.send(TEXT, consent=consent)
        assert (refused.status_code, refused.json()["code"]) == (409, "consent_void")
        answer = await w.answer(held["challenge"]["id"])
        assert (answer.status_code, answer.json()["code"]) == (409, "terms_changed")
        assert (await w.get(held["id"]))["state"] == "held"


async def test_nothing_of_number_or_text_is_kept_with_a_question(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        question = (await w.send(TEXT)).json()["challenge"]
        (row,) = w.rows("SELECT * FROM challenge")
        assert TEXT not in str(row)
        assert NUMBER[1:] not in str(row)
        shown = (await w.http.get(f"/v1/challenges/{question['id']}")).json()
        assert shown == question
        tenant = await w.gateway.tenants.add("other", "standard")
        _, secret = await w.gateway.tenants.add_key(tenant.no)
        foreign = {"authorization": f"Bearer {secret}"}
        unseen = await w.http.get(f"/v1/challenges/{question['id']}", headers=foreign)
        assert unseen.status_code == 404
        body = {"answer": "agreed", "answered_by": "x"}
        assert (
            await w.http.post(f"/v1/challenges/{question['id']}/answer", json=body, headers=foreign)
        ).status_code == 404


@pytest.mark.attack("A10")
async def test_a_no_is_not_asked_about_again_in_its_window(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        question = (await w.send(TEXT)).json()["challenge"]["id"]
        refused = (await w.answer(question, "refused")).json()
        assert (refused["consent"], refused["released"]) == (None, False)
        again = await w.send("another try")
        assert (again.status_code, again.json()["code"]) == (409, "asked_recently")
        assert again.json()["challenge"] == question
        held = (await w.send("a third", on_downgrade="hold")).json()
        assert (held["state"], held["challenge"]) == ("held", None)
        # Another peer is another matter.
        assert (await w.send(TEXT, to="+491701234568")).json()["code"] == "consent_required"
        assert w.count()["challenge"] == 2


async def test_a_withdrawn_consent_is_worth_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        consent = await agreed(w)
        assert (await w.http.delete(f"/v1/consents/{consent}")).status_code == 204
        assert (await w.http.delete(f"/v1/consents/{consent}")).status_code == 409
        refused = await w.send(TEXT, consent=consent)
        assert (refused.status_code, refused.json()["code"]) == (409, "consent_spent")
        unknown = await w.send(TEXT, consent="con_" + "0" * 32)
        assert (unknown.status_code, unknown.json()["code"]) == (422, "consent_unknown")
        assert w.count()["fallback"] == 0


async def test_a_held_message_that_nobody_lets_go_ends_not_sent(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        held = (await w.send(TEXT, on_downgrade="hold", expires_in_s=1)).json()
        await asyncio.sleep(1.1)
        late = await w.answer(held["challenge"]["id"])
        assert (late.status_code, late.json()["code"]) == (409, "challenge_expired")
        await w.gateway.purger.run()
        told = await w.get(held["id"])
        assert (told["state"], told["reason"]) == ("not_sent", "expired")
        assert w.rows("SELECT count(*) FROM shreddable_body") == [(0,)]
        ended = [entry for entry in w.entries() if entry.t == "consent"]
        assert [entry.answer.value for entry in ended] == ["expired"]  # type: ignore[attr-defined]


async def test_where_policy_wants_a_devices_signature_a_tenants_word_opens_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, profile="consumer") as w:
        refused = await w.send(TEXT)
        assert (refused.status_code, refused.json()["code"]) == (422, "device_signature_required")
        held = (await w.send(TEXT, on_downgrade="hold")).json()
        assert (held["state"], held["challenge"]) == ("held", None)
        assert w.count()["fallback"] == 0


async def test_a_floor_that_moves_meanwhile_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path) as w:
        await w.notify("hello")
        w.set_floor(PROTECTIONS.index(Protection.CLEAR), 2)
        true_floor = OpenReads.floor
        looked: list[int] = []

        async def old_floor(self: OpenReads, tenant: int, subject: bytes, traffic: int) -> tuple[int | None, int]:
            looked.append(1)
            return (0, 1) if len(looked) <= stale else await true_floor(self, tenant, subject, traffic)

        monkeypatch.setattr(OpenReads, "floor", old_floor)
        stale = 2
        assert (await w.send("hi", traffic="notification")).status_code == 202
        assert len(looked) == 3
        looked.clear()
        stale = 99
        over = await w.send("hi again", traffic="notification")
        assert (over.status_code, len(looked)) == (503, 3)
        assert over.headers["retry-after"]
