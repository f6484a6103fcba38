"""The tenant's client against a real gateway process: every route, its typed answers and its typed refusals."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from letterlock.client import api
from letterlock.client.api_answers import Answered, ApiCode, ApiError, MessageRequest, OnDowngrade, Traffic
from letterlock.lab.demo.centre import CentreProcess, start_centre
from letterlock.lab.demo.world import GatewayProcess, start_gateway
from letterlock.wire.tlog.note import VerifierKey

NUMBER = "+4915155572693"
CANARY = "CANARY-api-22b1"
T = TypeVar("T")


class Tenant:
    """A tenant's server beside the gateway."""

    def __init__(self, gateway: GatewayProcess, centre: CentreProcess, http: httpx.AsyncClient) -> None:
        self.gateway = gateway
        self.centre = centre
        self.http = http
        self.api = api.AsyncTenantApi(http, gateway.api_key)

    async def refused(self, call: api.Call[T], key: str = "") -> ApiError:
        with pytest.raises(ApiError) as caught:
            await (api.AsyncTenantApi(self.http, key) if key else self.api)(call)
        assert CANARY not in str(caught.value) + repr(caught.value)
        return caught.value

    async def receipt(self, message: str) -> api.LedgerReceipt:
        """Once the head that covers it is signed."""
        for _ in range(100):
            try:
                return await self.api(api.receipt(message))
            except ApiError as error:
                if error.code is not ApiCode.ENTRY_NOT_SIGNED_YET:
                    raise
            await asyncio.sleep(0.1)
        pytest.fail("no head was signed")

    async def until(self, message: str, state: str) -> None:
        for _ in range(400):
            if (await self.api(api.fetch(message))).state == state:
                return
            await asyncio.sleep(0.05)
        pytest.fail("it did not get there")


@pytest.fixture
async def tenant(tmp_path: Path) -> AsyncIterator[Tenant]:
    centre = await start_centre()
    gateway = await start_gateway(tmp_path, centre.port)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=20) as http:
        yield Tenant(gateway, centre, http)
    await gateway.stop()
    await centre.stop()


def notice(text: str = CANARY, to: str = NUMBER) -> MessageRequest:
    return MessageRequest(to, text, traffic=Traffic.NOTIFICATION)


async def test_a_notice_is_sent_found_listed_and_proven(tenant: Tenant) -> None:
    call = api.send(notice(), "once-1")
    taken = await tenant.api(call)
    assert (taken.state, taken.duplicate, taken.challenge) == ("queued", False, None)
    assert taken.security is not None
    shown = taken.security
    assert (shown.protection, shown.decision, shown.fall) == ("CLEAR", "deliver", "not_a_fall")
    again = await tenant.api(call)
    assert (again.id, again.duplicate) == (taken.id, True)
    await tenant.until(taken.id, "delivered")
    assert await tenant.centre.inbox(NUMBER) == [CANARY]
    view = await tenant.api(api.fetch(taken.id))
    assert (view.channel, view.record_hash, view.security.readers) == ("sms", taken.record_hash, taken.security.readers)
    assert await tenant.api(api.security(taken.id)) == view.security
    second = await tenant.api(api.send(notice("another"), "once-2"))
    page = await tenant.api(api.listing(limit=1))
    assert ([message.id for message in page.messages], page.next) == ([second.id], second.id)
    older = await tenant.api(api.listing(before=second.id))
    assert ([message.id for message in older.messages], older.next) == ([taken.id], None)
    assert CANARY not in repr((call, call.body, taken, view, page))

    command = [sys.executable, "-m", "letterlock.app.cli", "ledger", "key", "--data", str(tenant.gateway.folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    told = await asyncio.to_thread(lambda: subprocess.check_output(command, env=environment, text=True))
    key = VerifierKey.parse(told.strip())
    receipt = await tenant.receipt(taken.id)
    assert receipt.verify(key).record is not None
    with pytest.raises(Exception, match=r"."):
        api.LedgerReceipt(receipt.data.replace(b"A", b"B", 1)).verify(key)


async def test_a_batch_is_answered_one_by_one(tenant: Tenant) -> None:
    messages = [
        notice("one"),
        notice("two", to="0151"),
        MessageRequest(NUMBER, "three", on_downgrade=OnDowngrade.REFUSE),
    ]
    answer = await tenant.api(api.send_batch(messages, "batch-1"))
    first, second, third = answer.results
    assert first.message is not None
    assert (first.message.state, first.error()) == ("queued", None)
    errors = (second.error(), third.error())
    assert [error and error.code for error in errors] == [ApiCode.BAD_NUMBER, ApiCode.BELOW_FLOOR]
    again = await tenant.api(api.send_batch(messages, "batch-1"))
    assert again.results[0].message is not None
    assert again.results[0].message.duplicate


async def test_a_step_down_is_asked_about_answered_and_spent(tenant: Tenant) -> None:
    message = MessageRequest(NUMBER, CANARY)
    asked = await tenant.refused(api.send(message, "ask-1"))
    assert asked.code is ApiCode.CONSENT_REQUIRED
    assert asked.challenge is not None
    assert (asked.challenge.after, asked.challenge.channel) == ("CLEAR", "sms")
    assert asked.challenge.readers
    assert (await tenant.api(api.challenge(asked.challenge.id))).id == asked.challenge.id
    soon = await tenant.refused(api.send(message, "ask-2"))
    assert (soon.code, soon.challenge_id) == (ApiCode.ASKED_RECENTLY, asked.challenge.id)
    done = await tenant.api(api.answer(asked.challenge.id, Answered.AGREED, "person-7"))
    assert done.consent is not None
    twice = await tenant.refused(api.answer(asked.challenge.id, Answered.AGREED, "person-7"))
    assert twice.code is ApiCode.ALREADY_ANSWERED
    agreed = MessageRequest(NUMBER, CANARY, consent=done.consent)
    changed = MessageRequest(NUMBER, "other words", consent=done.consent)
    taken = await tenant.api(api.send(agreed, "ask-1"))
    assert taken.security is not None
    assert taken.security.fall == "consented"
    assert (await tenant.refused(api.send(changed, "ask-4"))).code in {ApiCode.CONSENT_SPENT, ApiCode.CONSENT_VOID}
    assert (await tenant.refused(api.withdraw(done.consent))).code is ApiCode.CONSENT_SPENT


async def test_a_held_message_waits_for_its_answer_and_a_consent_can_be_taken_back(tenant: Tenant) -> None:
    held = await tenant.api(api.send(MessageRequest(NUMBER, CANARY, on_downgrade=OnDowngrade.HOLD), "hold-1"))
    assert held.state == "held"
    assert held.challenge is not None
    ended = await tenant.api(api.answer(held.challenge.id, Answered.REFUSED, "person-7"))
    assert (ended.released, ended.consent) == (False, None)
    await tenant.until(held.id, "not_sent")
    asked = await tenant.refused(api.send(MessageRequest("+4915155572694", CANARY), "hold-2"))
    assert asked.challenge is not None
    agreed = await tenant.api(api.answer(asked.challenge.id, Answered.AGREED, "person-7"))
    assert agreed.consent is not None
    await tenant.api(api.withdraw(agreed.consent))
    late = await tenant.refused(api.send(MessageRequest("+4915155572694", CANARY, consent=agreed.consent), "hold-3"))
    assert late.code is ApiCode.CONSENT_SPENT


@pytest.mark.attack("A17")
async def test_refusals_carry_the_gateways_code(tenant: Tenant) -> None:
    await tenant.api(api.send(notice(), "k"))
    unknown = "msg_" + "ab" * 16
    calls: tuple[tuple[api.Call[Any], ApiCode, int], ...] = (
        (api.send(notice("other words"), "k"), ApiCode.IDEMPOTENCY_CONFLICT, 409),
        (api.send(notice(to="110"), "n"), ApiCode.BAD_NUMBER, 422),
        (api.send(MessageRequest(NUMBER, CANARY, on_downgrade=OnDowngrade.REFUSE), "r"), ApiCode.BELOW_FLOOR, 422),
        (api.send(notice("x" * 5000), "l"), ApiCode.WRONG_TYPE, 422),
        (api.send(notice(), "k y"), ApiCode.BAD_PARAMETER, 422),
        (api.fetch(unknown), ApiCode.NOT_FOUND, 404),
        (api.fetch("../accounts?x"), ApiCode.NOT_FOUND, 404),
        (api.security(unknown), ApiCode.NOT_FOUND, 404),
        (api.receipt(unknown), ApiCode.NOT_FOUND, 404),
        (api.listing(limit=0), ApiCode.BAD_PARAMETER, 422),
        (api.challenge("chl_" + "ab" * 16), ApiCode.NOT_FOUND, 404),
        (api.answer("a/b", Answered.AGREED, "p"), ApiCode.NOT_FOUND, 404),
        (api.withdraw("con_" + "ab" * 16), ApiCode.NOT_FOUND, 404),
    )
    for call, code, status in calls:
        error = await tenant.refused(call)
        assert (error.code, error.facts["status"]) == (code, status), call
    assert (await tenant.refused(api.fetch(unknown), "not-a-key")).code is ApiCode.UNAUTHENTICATED


async def test_transports_are_listed_and_a_blocking_client_does_the_same(tenant: Tenant) -> None:
    rows = {row.channel: row for row in (await tenant.api(api.transports())).transports}
    assert (rows["sms"].protection_at_best, rows["relay"].protection_at_best) == ("CLEAR", "E2EE")

    def blocking() -> str:
        with httpx.Client(base_url=tenant.gateway.url) as http:
            return api.TenantApi(http, tenant.gateway.api_key)(api.send(notice(), "b")).state

    assert await asyncio.to_thread(blocking) == "queued"
    await tenant.gateway.stop()
    assert (await tenant.refused(api.transports())).code is ApiCode.UNREACHABLE
