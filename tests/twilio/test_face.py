"""The face by hand: who gets in, what a form may be, and that every refusal has its number and says nothing else."""

import base64
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.open_messages.world import ACCOUNTS, NUMBER, client_of, settings_of
from tests.twilio.sdk import python_library

from letterlock.app.gateway import API_KEY_FILE, Gateway, open_gateway
from letterlock.app.settings import SettingsError, Twilio, TwilioService, from_tree
from letterlock.faces.http.twilio.account import Tokens
from letterlock.faces.http.twilio.errors import ErrorCode, TwilioError
from letterlock.faces.http.twilio.parameters import _SINGLE, _UNSUPPORTED, new_message
from letterlock.lab.smsc import LabSmsc
from letterlock.model.ids import TenantId
from letterlock.wire.twilio.form import MAX_FIELDS, FormError, parse_form
from letterlock.wire.twilio.sids import Kind, parse_sid, sid

NOTICES = "MG" + "a" * 32
GOOD = {"To": NUMBER, "MessagingServiceSid": NOTICES, "Body": "the words"}


class Here:
    """A gateway in this process, and its account."""

    def __init__(self, gateway: Gateway, http: httpx.AsyncClient, account: str, token: str, key: str) -> None:
        self.gateway = gateway
        self.http = http
        self.account = account
        self.token = token
        self.key = key

    def path(self, rest: str = "/Messages.json", account: str = "") -> str:
        return f"/2010-04-01/Accounts/{account or self.account}{rest}"

    async def ask(self, method: str, rest: str = "/Messages.json", **more: Any) -> httpx.Response:
        user, secret = more.pop("auth", (self.account, self.token))
        given_fields = more.pop("headers", {})
        basic = base64.b64encode(f"{user}:{secret}".encode()).decode()
        headers = {"authorization": f"Basic {basic}", **given_fields}
        return await self.http.request(method, self.path(rest, more.pop("account", "")), headers=headers, **more)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncGenerator[Here]:
    centre = LabSmsc(ACCOUNTS)
    await centre.come_back()
    service = TwilioService(sid=NOTICES, traffic="notification")
    settings = msgspec.structs.replace(
        settings_of(tmp_path, centre.port), twilio=Twilio(enabled=True, services=(service,))
    )
    gateway = await open_gateway(settings)
    key = (tmp_path / API_KEY_FILE).read_text().strip()
    try:
        async with client_of(gateway, key) as http:
            told = (await http.get("/v1/twilio/account")).json()
            assert told["services"][1:] == [{"sid": NOTICES, "traffic": "notification", "on_downgrade": "ask"}]
            yield Here(gateway, http, told["account_sid"], told["auth_token"], key)
    finally:
        await gateway.close()
        await centre.go_away()


def refusal(answer: httpx.Response, status: int, code: int) -> dict[str, Any]:
    """A refusal as that API spells it, of this number; it holds nothing of what was sent."""
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    assert (told["code"], told["status"]) == (code, status)
    assert told["more_info"].startswith("urn:letterlock:problem:")
    assert set(told) <= {"code", "message", "more_info", "status", "details"}
    assert NUMBER[1:] not in answer.text
    assert "the words" not in answer.text
    return told


async def test_who_gets_in_and_who_does_not(here: Here) -> None:
    key_id = (await here.http.get("/v1/twilio/account")).json()
    assert key_id["account_sid"] == here.account
    assert (await here.ask("GET")).status_code == 200
    assert (await here.ask("GET", auth=(here.account, here.key))).status_code == 200
    assert (await here.ask("GET", "")).status_code == 404
    other = sid(Kind.ACCOUNT, b"o" * 16)
    for auth in (
        (here.account, ""), ("", here.token), (here.account, here.token[:-1] + "x"), (other, here.token),
        ("SK" + "0" * 32, here.key), (here.account.lower(), here.token), (here.account, here.token + ":"),
    ):  # fmt: skip
        refusal(await here.ask("GET", auth=auth), 401, 20003)
    refusal(await here.ask("GET", account=other), 401, 20003)
    refusal(await here.ask("GET", account=other, auth=(other, here.token)), 401, 20003)
    for field in ("Bearer " + here.key, "Basic", "Basic ???", "Basic " + "A" * 2000, "Digest x"):
        answer = await here.http.get(here.path(), headers={"authorization": field})
        refusal(answer, 401, 20003)
        assert answer.headers["www-authenticate"].startswith("Basic")
    narrow = await here.gateway.tenants.add_key(1, ("read",))
    refusal(await here.ask("GET", auth=(here.account, narrow[1])), 401, 20003)
    wide = await here.gateway.tenants.add_key(1, ("messages",))
    by_own_name = ("SK" + wide[0].value.hex(), wide[1])
    assert (await here.ask("GET", auth=by_own_name)).status_code == 200
    await here.gateway.tenants.revoke_key(1, wide[0])
    refusal(await here.ask("GET", auth=by_own_name), 401, 20003)


def test_a_token_is_the_tenants_own_and_is_replaced_step_by_step() -> None:
    ann, bob = TenantId(b"a" * 16), TenantId(b"b" * 16)
    first, second, third = (Tokens(bytes(32), generation) for generation in (1, 2, 3))
    assert len({first.current(ann), first.current(bob), second.current(ann), Tokens(b"k" * 32, 1).current(ann)}) == 4
    assert first.current(ann) in second.accepted(ann)
    assert first.current(ann) not in third.accepted(ann)
    assert list(first.accepted(ann)) == [first.current(ann)]
    assert first.current(ann) not in repr(first)


async def test_forms_that_are_none_and_paths_that_lead_nowhere(here: Here) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert (await here.ask("POST", data=GOOD)).status_code == 201
    for body in (b"Body", b"Body=%ff", b"Body=\xff", b"&".join([b"a=b"] * (MAX_FIELDS + 1))):
        refusal(await here.ask("POST", content=body, headers=form), 400, 20001)
    refusal(await here.ask("POST", content=b"Body=" + b"x" * 70_000, headers=form), 413, 20413)
    refusal(await here.ask("POST", json=GOOD), 415, 20001)
    refusal(await here.ask("POST", "/Messages.json?Body=x", data=GOOD), 400, 20001)
    for rest, method, status, code in (
        ("/Calls.json", "GET", 404, 20404), ("/Messages.xml", "GET", 404, 20404), ("/Messages.json", "PUT", 405, 20004),
        ("/Messages/SM1.json", "GET", 404, 20404), ("/Messages/" + "SM" + "0" * 32 + ".json", "PATCH", 405, 20004),
        ("/Messages/" + "SM" + "0" * 32 + "/Media.json", "GET", 404, 20404), (".json", "POST", 405, 20004),
        ("/Messages/" + "XX" + "0" * 32 + ".json", "DELETE", 404, 20404),
    ):  # fmt: skip
        refusal(await here.ask(method, rest), status, code)


async def test_each_wrong_parameter_has_its_number(here: Here) -> None:
    for change, status, code in (
        ({"To": ""}, 400, 21604), ({"To": "0170 1234567"}, 400, 21211), ({"To": "whatsapp:" + NUMBER}, 400, 21612),
        ({"Body": ""}, 400, 21602), ({"Body": "x" * 1601}, 400, 21617), ({"From": "Somebody"}, 400, 21606),
        ({"MessagingServiceSid": ""}, 400, 21603), ({"MessagingServiceSid": "MG1"}, 400, 21701),
        ({"ValidityPeriod": "0"}, 400, 20001), ({"ValidityPeriod": "36001"}, 400, 20001),
        ({"ContentRetention": "retain"}, 400, 99502), ({"AddressRetention": "retain"}, 400, 99502),
        ({"ContentRetention": "keep"}, 400, 20001), ({"Attempt": "many"}, 400, 20001),
        ({"ForceDelivery": "true"}, 400, 99501), ({"RiskCheck": "enable"}, 400, 99501),
        ({"SmartEncoded": "true"}, 400, 99501), ({"PersistentAction": "geo:1,2"}, 400, 99501),
        ({"PersistentAction": "letterlock:consent=con_1"}, 400, 20001), ({"Nonsense": "x"}, 400, 20001),
        ({"FallbackFrom": "+15550001111"}, 400, 99501), ({"Body": ["one", "two"]}, 400, 20001),
    ):  # fmt: skip
        refusal(await here.ask("POST", data={**GOOD, **change}), status, code)
    refusal(await here.ask("POST", data={**GOOD, "MessagingServiceSid": "", "FallbackFrom": "x"}), 400, 21603)
    fallback = {"To": NUMBER, "Body": "the words", "From": "Letterlock", "FallbackFrom": "+15550001111"}
    refusal(await here.ask("POST", data=fallback), 400, 21667)
    harmless = {
        "ContentRetention": "discard", "AddressRetention": "obfuscate", "ForceDelivery": "false", "Attempt": "2",
        "RiskCheck": "disable", "SmartEncoded": "False", "ValidityPeriod": "36000", "From": "Letterlock",
    }  # fmt: skip
    assert (await here.ask("POST", data={**GOOD, **harmless})).status_code == 201
    assert len((await here.ask("GET")).json()["messages"]) == 1


async def test_a_token_of_the_caller_makes_a_retry_harmless(here: Here) -> None:
    headers = {"I-Twilio-Idempotency-Token": "order-17"}
    first = await here.ask("POST", data=GOOD, headers=headers)
    again = await here.ask("POST", data=GOOD, headers=headers)
    assert first.json()["sid"] == again.json()["sid"]
    told = refusal(await here.ask("POST", data={**GOOD, "Body": "others"}, headers=headers), 409, 99000)
    assert told["details"]["reason"] == "idempotency_conflict"
    # The native API's keys are another space.
    native = {"to": NUMBER, "text": "the words", "traffic": "notification"}
    taken = await here.http.post("/v1/messages", json=native, headers={"Idempotency-Key": "order-17"})
    assert taken.status_code == 202
    assert taken.json()["id"][4:] != first.json()["sid"][2:]
    refusal(await here.ask("POST", data=GOOD, headers={"I-Twilio-Idempotency-Token": "x" * 129}), 400, 20001)


@pytest.mark.attack("A7")
async def test_another_face_is_the_same_peer_with_the_same_floor(here: Here) -> None:
    native = await here.http.post("/v1/messages", json={"to": NUMBER, "text": "the words", "on_downgrade": "refuse"})
    own = await here.ask("POST", data={"To": NUMBER, "Body": "the words", "From": "Letterlock"})
    assert native.json()["code"] == "below_floor"
    told = refusal(own, 409, 99409)
    assert (told["details"]["challenge"]["before"], told["details"]["challenge"]["after"]) == ("PROVIDER", "CLEAR")
    again = await here.http.post("/v1/messages", json={"to": NUMBER, "text": "the words"})
    assert again.json()["code"] in {"asked_recently", "consent_required"}
    assert again.status_code == 409


async def test_queries_of_a_list(here: Here) -> None:
    for query in ("PageSize=0", "PageSize=1001", "Page=1", "PageToken=PA1", "Page=x", "DateSent=2026-13-01", "To=x",
                  "Other=1", "PageSize=1&PageSize=2", "DateSent%3E=yesterday"):  # fmt: skip
        refusal(await here.ask("GET", f"/Messages.json?{query}"), 400, 20001)
    for number in range(3):
        await here.ask("POST", data={**GOOD, "Body": f"{number}"})
    page = (await here.ask("GET", "/Messages.json?PageSize=2&Page=0")).json()
    assert (page["start"], page["end"], page["page_size"], len(page["messages"])) == (0, 1, 2, 2)
    following = page["next_page_uri"].partition(here.account)[2]
    rest = (await here.ask("GET", following)).json()
    assert (rest["page"], rest["next_page_uri"], len(rest["messages"])) == (1, None, 1)
    day = page["messages"][0]["date_created"]
    assert day.endswith("+0000")


async def test_it_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    gateway = await open_gateway(settings_of(tmp_path, 1))
    try:
        async with client_of(gateway, (tmp_path / API_KEY_FILE).read_text().strip()) as http:
            assert (await http.get("/v1/twilio/account")).status_code == 404
            answer = await http.get(f"/2010-04-01/Accounts/{sid(Kind.ACCOUNT, b'a' * 16)}/Messages.json")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    finally:
        await gateway.close()
    twice = {"enabled": True, "services": [{"sid": NOTICES}, {"sid": NOTICES}]}
    with pytest.raises(SettingsError):
        from_tree({"twilio": twice})
    nobody = msgspec.structs.replace(
        settings_of(tmp_path / "other", 1),
        twilio=Twilio(enabled=True, services=(TwilioService(sid=NOTICES, tenant="nobody"),)),
    )
    with pytest.raises(SettingsError):
        await open_gateway(nobody)


async def test_every_parameter_of_the_library_is_done_or_refused_by_name() -> None:
    library = python_library("http://127.0.0.1:1", "AC" + "0" * 32, "x")
    try:
        names = set(await library.done("parameters"))
    finally:
        library.close()
    assert names == _SINGLE | _UNSUPPORTED | {"PersistentAction"}


@given(st.binary(max_size=200))
def test_a_form_is_read_or_refused(raw: bytes) -> None:
    try:
        found = parse_form(raw)
    except FormError:
        return
    assert all(found.values())
    assert sum(map(len, found.values())) <= MAX_FIELDS


@given(st.dictionaries(st.sampled_from(sorted(_SINGLE | _UNSUPPORTED)), st.lists(st.text(max_size=40), min_size=1)))
def test_a_message_is_made_or_refused_with_a_number(form: dict[str, list[str]]) -> None:
    try:
        made = new_message(form)
    except TwilioError as error:
        told = json.loads(error.body())
    else:
        told = {"code": None}
        assert made.text
        assert made.to not in repr(made)
    assert told["code"] is None or told["code"] in set(ErrorCode)


@given(st.text(max_size=40))
def test_an_id_has_one_spelling(text: str) -> None:
    value = parse_sid(Kind.MESSAGE, text)
    assert value is None or sid(Kind.MESSAGE, value) == text
