"""The way out: the centre goes and comes back, says no, says nothing, and its receipts come in any order."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.open_messages.world import ACCOUNTS, PHONE, until, world

from letterlock.lab.smsc import LabSmsc
from letterlock.lab.smsc.behaviour import Fault, FaultKind, ReceiptOrder
from letterlock.model.bodies import OpenBody
from letterlock.model.protection import ConsentKind, Protection
from letterlock.policy.file import profile_source
from letterlock.storage.codes import PROTECTIONS
from letterlock.wire.sms.terms import CommandStatus, MessageState
from letterlock.wire.tlog.entries import Fallback, Finding
from letterlock.wire.tlog.words import FindingCode

RULE = """
[[allow]]
id = "small-talk"
reason = "agreed with the customers of this line in writing"
traffic = "conversation"
causes = ["none"]
floors = ["PROVIDER"]
channel = "sms"
"""


async def component(w: Any) -> str:
    return str((await w.http.get("/v1/health")).json()["components"]["sms"])


async def test_while_the_centre_is_away_messages_are_queued_and_then_drained(tmp_path: Path) -> None:
    async with LabSmsc(ACCOUNTS) as smsc, world(tmp_path, smsc=smsc) as w:
        await w.until_state((await w.notify("before"))["id"], "delivered")
        assert await component(w) == "ok"
        await smsc.go_away()
        await until(lambda: not smsc.links)
        sent = [await w.notify(f"while away {number}") for number in range(20)]
        assert {one["state"] for one in sent} == {"queued"}
        await asyncio.sleep(0.1)
        assert await component(w) == "waiting"
        assert (await w.http.get("/v1/health")).json()["status"] == "degraded"
        assert (await w.get(sent[0]["id"]))["state"] == "queued"
        await smsc.come_back()
        for one in sent:
            await w.until_state(one["id"], "delivered")
        assert sorted(w.screen()) == sorted(["before", *(f"while away {number}" for number in range(20))])
        assert w.rows("SELECT count(*) FROM outbox") == [(0,)]


async def test_the_centre_pushes_back_refuses_or_does_not_answer(tmp_path: Path) -> None:
    async with LabSmsc(ACCOUNTS) as smsc, world(tmp_path, smsc=smsc) as w:
        for kind in (FaultKind.THROTTLE, FaultKind.QUEUE_FULL):
            smsc.fail(Fault(kind, 2))
            await w.until_state((await w.notify(f"pushed back {kind.value}"))["id"], "delivered")
        smsc.fail(Fault(FaultKind.REJECT, 1, int(CommandStatus.RINVDSTADR)))
        failed = await w.until_state((await w.notify("no such number"))["id"], "failed")
        assert failed["reason"] == "rejected_permanent"
        assert w.rows("SELECT count(*) FROM shreddable_body") == [(0,)]
        smsc.fail(Fault(FaultKind.DISCONNECT_AFTER))
        told = await w.until_state((await w.notify("perhaps twice"))["id"], "delivered")
        assert told["reason"] == "outcome_unknown"
        assert w.screen().count("perhaps twice") == 2
        assert "no such number" not in w.screen()


async def test_long_messages_go_on_behind_the_parts_that_were_taken(tmp_path: Path) -> None:
    async with LabSmsc(ACCOUNTS) as smsc, world(tmp_path, smsc=smsc) as w:
        text = "part and parcel " * 30
        smsc.fail(Fault(FaultKind.QUEUE_FULL, 1, after=2))
        before = smsc.submits
        told = await w.until_state((await w.notify(text))["id"], "delivered")
        assert told["reason"] is None
        assert w.screen() == [text]
        assert smsc.submits - before == 5  # four parts, and the one that was pushed back


@pytest.mark.attack("A11", "A22")
@pytest.mark.parametrize("order", list(ReceiptOrder))
async def test_receipts_in_any_order_and_twice(tmp_path: Path, order: ReceiptOrder) -> None:
    async with LabSmsc(ACCOUNTS) as smsc, world(tmp_path, smsc=smsc) as w:
        smsc.behaviour.receipt_order = order
        smsc.behaviour.receipt_copies = 3
        smsc.behaviour.response_delay_ms = 50
        taken = [await w.notify(f"counted once {number}") for number in range(5)]
        for one in taken:
            await w.until_state(one["id"], "delivered")
        smsc.behaviour.receipt_state = MessageState.UNDELIVERABLE
        lost = await w.notify("never arrives")
        assert (await w.until_state(lost["id"], "failed"))["state"] == "failed"
        await asyncio.sleep(0.2)
        batches = [entry for entry in w.entries() if entry.t == "batch"]
        assert sum(entry.accepted for entry in batches) == 6  # type: ignore[attr-defined]
        assert sum(entry.delivered for entry in batches) == 5  # type: ignore[attr-defined]
        assert sum(entry.failed for entry in batches) == 1  # type: ignore[attr-defined]
        # A report that anybody on the way could forge opens nothing.
        assert w.count()["fallback"] == w.count()["challenge"] == 0


async def test_what_policy_no_longer_permits_does_not_leave(tmp_path: Path) -> None:
    async with LabSmsc(ACCOUNTS) as smsc, world(tmp_path, smsc=smsc) as w:
        await w.until_state((await w.notify("still permitted"))["id"], "delivered")
        await smsc.go_away()
        await until(lambda: not smsc.links)
        waiting = await w.notify("not any more")
        w.set_floor(PROTECTIONS.index(Protection.E2EE), 1)
        await smsc.come_back()
        told = await w.until_state(waiting["id"], "not_sent")
        assert told["reason"] == "policy_changed"
        assert w.screen() == ["still permitted"]
        assert w.rows("SELECT count(*) FROM shreddable_body") == [(0,)]


async def test_an_inbound_message_is_recorded_and_dropped(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.until_state((await w.notify("hello"))["id"], "delivered")
        w.smsc.send_from(PHONE, "+4915100000", OpenBody(b"answer by SMS please"))

        def recorded() -> bool:
            found = [entry for entry in w.entries() if isinstance(entry, Finding)]
            return [entry.code for entry in found] == [FindingCode.INBOUND_DROPPED]

        await until(recorded)


@pytest.mark.attack("A12")
async def test_each_fall_has_one_entry_and_each_entry_a_delivery(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        sent = []
        for number in range(8):
            to = f"+4917000000{number:02d}"
            question = (await w.send("fall", to=to)).json()["challenge"]["id"]
            consent = (await w.answer(question)).json()["consent"]
            if number % 2:
                answer, withdrawn = await asyncio.gather(
                    w.send("fall", to=to, consent=consent), w.http.delete(f"/v1/consents/{consent}")
                )
                assert (answer.status_code, withdrawn.status_code) in {(202, 409), (409, 204)}
            else:
                answer = await w.send("fall", to=to, consent=consent)
            if answer.status_code == 202:
                sent.append((answer.json()["id"], to))
        for message_id, to in sent:
            await w.until_state(message_id, "delivered")
            assert w.screen(to) == ["fall"]
        falls = [entry for entry in w.entries() if isinstance(entry, Fallback)]
        assert len(falls) == len(sent) == len(w.rows("SELECT 1 FROM message WHERE fall != 0"))
        assert w.smsc.submits == len(sent)


async def test_a_fall_that_a_written_rule_allows_is_recorded_before_it_leaves(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(profile_source("standard") + RULE)
    async with world(tmp_path / "store", policy_file=str(file)) as w:
        taken = await w.send("allowed by a rule")
        assert taken.status_code == 202, taken.text
        block = taken.json()["security"]
        assert (block["fall"], block["rule"]) == ("policy_allowed", "allow.small-talk")
        assert block["indicator"] == "indicator.fell_by_policy"
        await w.until_state(taken.json()["id"], "delivered")
        (fall,) = [entry for entry in w.entries() if isinstance(entry, Fallback)]
        assert (fall.kind, fall.consent) == (ConsentKind.POLICY, None)
        assert (fall.from_, fall.to) == (Protection.PROVIDER, Protection.CLEAR)
        w.set_floor(PROTECTIONS.index(Protection.E2EE), 1)
        # The rule names one floor; a higher one is not covered.
        assert (await w.send("not covered")).json()["code"] == "consent_required"
