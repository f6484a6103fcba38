"""The official libraries, unmodified, against a real gateway process: one line of a user's program is another."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.twilio.sdk import Library, node_library, python_library

from letterlock.lab.demo.centre import CentreProcess, start_centre
from letterlock.lab.demo.world import GatewayProcess, start_gateway
from letterlock.lab.sweep import Canary, Directory, sweep

NUMBER = "+4915155572693"
NOTICES, HELD, STRICT = "MG" + "a" * 32, "MG" + "b" * 32, "MG" + "c" * 32
SETTINGS = "[twilio]\nenabled = true\n" + "".join(
    f'[[twilio.services]]\nsid = "{sid}"\n{wishes}\n'
    for sid, wishes in (
        (NOTICES, 'traffic = "notification"'),
        (HELD, 'on_downgrade = "hold"'),
        (STRICT, 'on_downgrade = "refuse"'),
    )
)
Make = Callable[[str, str, str], Library]
BOTH = pytest.mark.parametrize("make", [python_library, node_library])


@dataclass
class Here:
    """A gateway with an SMS centre, and how software for that API gets in."""

    gateway: GatewayProcess
    centre: CentreProcess
    http: httpx.AsyncClient
    account: str
    token: str


@asynccontextmanager
async def served(folder: Path, further: str = SETTINGS) -> AsyncGenerator[Here]:
    centre = await start_centre()
    gateway = await start_gateway(folder, centre.port, further=further)
    try:
        headers = {"Authorization": f"Bearer {gateway.api_key}"}
        async with httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=20) as http:
            told = (await http.get("/v1/twilio/account")).raise_for_status().json()
            yield Here(gateway, centre, http, told["account_sid"], told["auth_token"])
    finally:
        await gateway.stop()
        await centre.stop()


@asynccontextmanager
async def library(make: Make, here: Here, token: str = "") -> AsyncGenerator[Library]:
    made = make(here.gateway.url, here.account, token or here.token)
    try:
        yield made
    finally:
        made.close()


def wanted(make: Make, **fields: Any) -> dict[str, Any]:
    """The names of a message's parameters, as each language has them."""
    if make is python_library:
        return fields
    camel = {name: "".join([name.split("_")[0], *(part.title() for part in name.split("_")[1:])]) for name in fields}
    return {camel[name].removesuffix("_"): value for name, value in fields.items()}


async def until(ask: Callable[[], Any], state: str) -> Any:
    ends = time.monotonic() + 20
    while (found := await ask())["status"] != state:
        assert time.monotonic() < ends, found
        await asyncio.sleep(0.05)
    return found


async def a_message_is_made_sent_read_and_listed(here: Here, client: Library, make: Make, number: str) -> None:
    text = "your table is ready"
    made = await client.done("create", wanted(make, to=number, messaging_service_sid=NOTICES, body=text))
    assert made["status"] == "queued"
    assert (made["body"], made["to"], made["direction"]) == (text, number, "outbound-api")
    assert made["sid"].startswith("SM")
    found = await until(lambda: client.done("fetch", made["sid"]), "delivered")
    assert await here.centre.inbox(number) == [text]
    # Neither words nor number are kept: that is what a reader is shown.
    assert (found["body"], found["to"]) == ("", "+XXXXXXXXXXX")
    security = (await here.http.get(found["links"]["security"])).json()
    assert security["protection"] == "CLEAR"
    listed = await client.done("list", {"limit": 20})
    assert listed[0]["sid"] == made["sid"]


async def a_refused_step_down_is_the_librarys_own_exception(
    here: Here, client: Library, make: Make, number: str
) -> None:
    message = wanted(make, to=number, from_="Letterlock", body="between us")
    refused = await client.call("create", message)
    assert refused["error"] in {"TwilioRestException", "RestException"}
    assert (refused["status"], refused["code"]) == (409, 99409)
    challenge = refused["details"]["challenge"]
    assert (challenge["after"], challenge["channel"]) == ("CLEAR", "sms")
    assert await here.centre.inbox(number) == []
    answered = await here.http.post(challenge["answer_at"], json={"answer": "agreed", "answered_by": "ann"})
    message |= wanted(make, persistent_action=[f"letterlock:consent={answered.json()['consent']}"])
    other = await client.call("create", {**message, "body": "something else"})
    assert (other["code"], other["details"]["reason"]) == (99000, "consent_void")
    assert await here.centre.inbox(number) == []


async def a_consent_that_came_back_with_its_message_sends_it_once(
    here: Here, client: Library, make: Make, number: str
) -> None:
    message = wanted(make, to=number, from_="Letterlock", body="between us")
    asked = (await client.call("create", message))["details"]["challenge"]
    answered = await here.http.post(asked["answer_at"], json={"answer": "agreed", "answered_by": "ann"})
    message |= wanted(make, persistent_action=[f"letterlock:consent={answered.json()['consent']}"])
    sent = await client.done("create", message)
    await until(lambda: client.done("fetch", sent["sid"]), "delivered")
    assert (await client.done("create", message))["sid"] == sent["sid"]
    spent = await client.call("create", {**message, "body": "something else"})
    assert (spent["status"], spent["details"]["reason"]) == (409, "idempotency_conflict")
    assert await here.centre.inbox(number) == ["between us"]


async def a_service_chooses_hold_or_refusal(here: Here, client: Library, make: Make, number: str) -> None:
    held = await client.done("create", wanted(make, to=number, messaging_service_sid=HELD, body="later"))
    assert held["status"] == "accepted"
    assert await here.centre.inbox(number) == []
    path = held["links"]["challenge"]
    done = await here.http.post(f"{path}/answer", json={"answer": "agreed", "answered_by": "ann"})
    assert done.json()["released"] is True
    await until(lambda: client.done("fetch", held["sid"]), "delivered")
    strict = await client.call("create", wanted(make, to=number, messaging_service_sid=STRICT, body="never"))
    assert (strict["status"], strict["code"], strict["details"]["reason"]) == (403, 99000, "below_floor")
    foreign = await client.call("create", wanted(make, to=number, messaging_service_sid="MG" + "d" * 32, body="never"))
    assert (foreign["status"], foreign["code"]) == (400, 21701)
    assert await here.centre.inbox(number) == ["later"]


async def who_is_not_the_account_gets_nothing(here: Here, client: Library, make: Make, number: str) -> None:
    async with library(make, here, "0" * 32) as stranger:
        refused = await stranger.call("fetch", "SM" + "0" * 32)
        assert (refused["status"], refused["code"]) == (401, 20003)
    async with library(make, here, here.gateway.api_key) as by_key:
        refused = await by_key.call("fetch", "SM" + "0" * 32)
        assert (refused["status"], refused["code"]) == (404, 20404)


STORIES = (
    a_message_is_made_sent_read_and_listed,
    a_refused_step_down_is_the_librarys_own_exception,
    a_consent_that_came_back_with_its_message_sends_it_once,
    a_service_chooses_hold_or_refusal,
    who_is_not_the_account_gets_nothing,
)


@BOTH
async def test_a_program_written_for_that_api(tmp_path: Path, make: Make) -> None:
    async with served(tmp_path) as here, library(make, here) as client:
        for at, story in enumerate(STORIES):
            await story(here, client, make, f"+4915155572{600 + at}")


async def test_pages_days_deletion_refusals_by_name_and_nothing_kept(tmp_path: Path) -> None:
    async with served(tmp_path) as here, library(python_library, here) as client:
        sids = []
        for number in range(5):
            made = await client.done(
                "create",
                {"to": NUMBER, "messaging_service_sid": NOTICES, "body": f"canary {number} of the drop-in face"},
            )
            sids.append(made["sid"])
        for sid in sids:
            await until(lambda sid=sid: client.done("fetch", sid), "delivered")  # type: ignore[misc]
        listed = await client.done("list", {"page_size": 2})
        assert [one["sid"] for one in listed] == sids[::-1]
        assert [one["sid"] for one in await client.done("list", {"limit": 3, "page_size": 2})] == sids[:1:-1]
        now = int(time.time())
        assert len(await client.done("list", {"date_sent_after": now - 600})) == 5
        assert await client.done("list", {"date_sent_before": now - 86_400 * 2}) == []
        assert await client.done("list", {"from_": "Somebody"}) == []
        by_number = await client.call("list", {"to": NUMBER})
        assert by_number == {"error": "TwilioException"}
        assert (await client.done("redact", sids[0]))["body"] == ""
        cancel = await client.call("cancel", sids[0])
        assert (cancel["status"], cancel["code"]) == (409, 30409)
        assert await client.done("media", sids[0]) == []
        assert await client.done("account") == "default"
        assert await client.done("delete", sids[0]) is True
        assert (await client.call("fetch", sids[0]))["code"] == 20404
        assert (await client.call("delete", sids[0]))["code"] == 20404
        assert (await here.http.get("/v1/messages/msg_" + sids[0][2:])).status_code == 404
        for field, value in (
            ("media_url", ["https://example.net/a.png"]), ("send_at", "2030-01-01T00:00:00Z"),
            ("status_callback", "https://example.net/told"), ("content_sid", "HX" + "0" * 32),
            ("fallback_from", "+15550001111"),
        ):  # fmt: skip
            body = {} if field == "content_sid" else {"body": "not to be sent"}
            refused = await client.call(
                "create", {"to": NUMBER, "messaging_service_sid": NOTICES, **body, field: value}
            )
            name = "".join(part.title() for part in field.split("_"))
            assert (refused["code"], refused["details"]["parameter"]) == (99501, name)
        assert len(await here.centre.inbox(NUMBER)) == 5
        bad = await client.call(
            "create", {"to": "12" + NUMBER, "messaging_service_sid": NOTICES, "body": "canary 0 of"}
        )
        assert bad["code"] == 21211
        assert NUMBER[1:] not in str(bad)
        await asyncio.sleep(2.5)
        canaries = [Canary(f"text {at}", f"canary {at} of the drop-in face") for at in range(5)]
        canaries.append(Canary("number", NUMBER[1:], is_number=True))
        canaries.append(Canary("token", here.token))
        report = sweep(canaries, [Directory(tmp_path, "gateway files and log")])
        assert report.proven
        assert report.hits == 0, report.lines()
