"""What is left: nothing readable in files, logs, metrics; and receipts that verify offline."""

import asyncio
import os
import random
from pathlib import Path

import httpx
import pytest
import structlog
from tests.open_messages.world import ACCOUNTS, until, world

from letterlock.lab.demo.centre import PASSWORD, SYSTEM_ID
from letterlock.lab.demo.world import start_gateway
from letterlock.lab.smsc import LabSmsc
from letterlock.lab.smsc.behaviour import Fault, FaultKind
from letterlock.lab.sweep import Canary, Capture, Directory, sweep
from letterlock.wire.sms.terms import CommandStatus
from letterlock.wire.tlog.note import VerifierKey
from letterlock.wire.tlog.records import Accepted
from letterlock.wire.tlog.verify import verify_receipt


@pytest.mark.attack("A24")
async def test_no_text_and_no_number_is_left_after_delivery_and_purge(tmp_path: Path) -> None:
    seed = random.Random(7)
    words = [f"quarterly figures {os.urandom(9).hex()}" for _ in range(6)]
    numbers = [f"+4917{seed.randrange(10**8, 10**9)}" for _ in range(6)]
    with structlog.testing.capture_logs() as logged:
        async with LabSmsc(ACCOUNTS) as smsc, world(tmp_path / "store", smsc=smsc) as w:
            sent = await w.notify(words[0], to=numbers[0])
            await w.until_state(sent["id"], "delivered")
            smsc.fail(Fault(FaultKind.REJECT, 1, int(CommandStatus.RINVDSTADR)))
            await w.until_state((await w.notify(words[1], to=numbers[1]))["id"], "failed")
            assert (await w.send(words[2], to=numbers[2])).status_code == 409
            assert (await w.send(words[3], to=numbers[3], claim="E2EE")).status_code == 422
            held = (await w.send(words[4], to=numbers[4], on_downgrade="hold")).json()
            await w.answer(held["challenge"]["id"], "refused")
            assert (await w.send(words[5], to=numbers[5], on_downgrade="maybe")).status_code == 422
            assert (await w.send(words[5], to=numbers[5] + "x")).status_code == 422
            await w.gateway.purger.run()
            metrics = await w.http.get("/metrics")
            canaries = [Canary(f"text {n}", text) for n, text in enumerate(words)]
            canaries += [Canary(f"number {n}", number[1:], is_number=True) for n, number in enumerate(numbers)]
            report = sweep(
                canaries,
                [
                    Directory(tmp_path / "store", "the store's files"),
                    Capture(metrics.content, "metrics"),
                    Capture(repr(logged).encode(), "logs"),
                ],
            )
            assert report.proven, report.lines()
            assert report.hits == 0, report.lines()
            assert logged


async def test_a_messages_receipt_verifies_offline(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        taken = await w.notify("prove it")
        path = f"/v1/messages/{taken['id']}/receipt"
        answer = await w.http.get(path)
        for _ in range(200):
            if answer.status_code == 200:
                break
            assert answer.json()["code"] == "entry_not_signed_yet"
            await asyncio.sleep(0.05)
            answer = await w.http.get(path)
        key = VerifierKey.parse((tmp_path / "ledger.vkey").read_text().strip())
        proven = verify_receipt(answer.content, key)
        assert isinstance(proven.record, Accepted)
        assert proven.record.protection.value == "CLEAR"
        assert (await w.http.get(f"/v1/messages/msg_{'0' * 32}/receipt")).status_code == 404


async def test_lists_are_paged_by_ids_and_by_tenant(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        ids = [(await w.notify(f"number {n}"))["id"] for n in range(5)]
        first = (await w.http.get("/v1/messages", params={"limit": 2})).json()
        second = (await w.http.get("/v1/messages", params={"limit": 2, "before": first["next"]})).json()
        third = (await w.http.get("/v1/messages", params={"limit": 2, "before": second["next"]})).json()
        got = [one["id"] for page in (first, second, third) for one in page["messages"]]
        assert got == ids[::-1]
        assert third["next"] is None
        for bad in ({"limit": "0"}, {"limit": "x"}, {"before": "msg_1"}, {"offset": "1"}):
            assert (await w.http.get("/v1/messages", params=bad)).status_code == 422
        tenant = w.gateway.tenants.all()[0]
        _, reading = await w.gateway.tenants.add_key(tenant.no, ("read",))
        only_read = {"authorization": f"Bearer {reading}"}
        assert (await w.http.get("/v1/messages", headers=only_read)).status_code == 200
        refused = await w.http.post("/v1/messages", json={"to": "+491701234567", "text": "x"}, headers=only_read)
        assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
        described = (await w.http.get("/openapi.json")).json()["paths"]
        assert "post" in described["/v1/messages"]
        assert "delete" in described["/v1/consents/{consent_id}"]


async def test_a_gateway_killed_between_hand_over_and_outcome_loses_nothing(tmp_path: Path) -> None:
    async with LabSmsc({SYSTEM_ID: PASSWORD}) as smsc:
        gateway = await start_gateway(tmp_path, smsc.port)
        smsc.behaviour.response_delay_ms = 300
        body = [{"to": f"+4917000000{n:02d}", "text": f"message {n}", "traffic": "notification"} for n in range(25)]
        headers = {"authorization": f"Bearer {gateway.api_key}"}
        async with httpx.AsyncClient(base_url=gateway.url, headers=headers) as http:
            answer = await http.post("/v1/messages/batch", json={"messages": body}, timeout=20)
        assert [one["status"] for one in answer.json()["results"]] == [202] * 25
        await until(lambda: smsc.submits > 5)
        await gateway.kill()
        before = smsc.submits
        smsc.behaviour.response_delay_ms = 0
        again = await start_gateway(tmp_path, smsc.port)
        async with httpx.AsyncClient(base_url=again.url, headers=headers) as http:
            ids = [one["message"]["id"] for one in answer.json()["results"]]
            for message_id in ids:
                state = ""
                for _ in range(500):
                    state = (await http.get(f"/v1/messages/{message_id}")).json()["state"]
                    if state == "delivered":
                        break
                    await asyncio.sleep(0.02)
                assert state == "delivered"
        await again.stop()
        assert 0 < before <= 25
        duplicates = smsc.submits - 25
        assert 0 <= duplicates <= 10, "no more than the window"
