"""Receipts handed to a real gateway process, by a device and by its tenant, and what its surfaces say then."""

import asyncio
from pathlib import Path

import httpx
from tests.e2e.test_devices_through_the_gateway import ledger_verifies, one_message, pair

from letterlock.assurance.receipts import ReceiptType
from letterlock.client import api
from letterlock.client.api_answers import Security
from letterlock.client.sending import _about
from letterlock.lab.demo.world import GatewayProcess, start_gateway
from letterlock.model.ids import MessageId


async def shown(gateway: GatewayProcess, message: str) -> Security:
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        return await api.AsyncTenantApi(http, gateway.api_key)(api.security(message))


async def judged(gateway: GatewayProcess, message: str, refused: int) -> Security:
    """Once nothing waits, and so many were refused."""
    for _ in range(400):
        found = await shown(gateway, message)
        told = found.receipts
        if told is not None and not told.waiting and sum(one.count for one in told.refused) == refused:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError("the worker did not get there")


async def test_receipts_that_are_handed_in_show_on_the_surfaces_of_the_server(tmp_path: Path) -> None:
    gateway = await start_gateway(tmp_path)
    alice, bob = await pair(tmp_path, gateway)
    try:
        group, event = await one_message(alice, bob)
        message = str(MessageId(event.relay_id))
        before = await shown(gateway, message)
        assert before.receipts is None
        assert await bob.device.hand_receipt(event)
        after = await judged(gateway, message, 0)
        assert after.receipts is not None
        assert (after.receipts.attested, after.receipts.recipients, after.receipts.displayed) == (1, 1, 0)
        assert (after.grade, after.verifier, after.decided_on) == ("ATTESTED", "gateway", before.grade)
        assert (after.decision, after.rule, after.indicator) == (before.decision, before.rule, before.indicator)
        assert after.receipts.text == "Receipt checked by this server, for 1 of 1 devices."
        # The tenant asks about two that it was given: one that a device signed, and one that was altered on the way.
        about = _about(bob.device.group(group), event)
        read = bob.device._state.book.made(ReceiptType.DISPLAYED, about)
        altered = read[:-1] + bytes((read[-1] ^ 1,))
        async with httpx.AsyncClient(base_url=gateway.url) as http:
            kept = await api.AsyncTenantApi(http, gateway.api_key)(api.check_receipts(message, [read, altered]))
            assert kept.waiting == 2
            last = await judged(gateway, message, 1)
            metrics = (await http.get("/metrics", headers={"Authorization": f"Bearer {gateway.api_key}"})).text
        assert last.receipts is not None
        assert last.receipts.displayed == 1
        assert [(one.reason, one.count) for one in last.receipts.refused] == [("receipt_signature_refused", 1)]
        assert 'letterlock_checked_receipts_total{outcome="checked"} 2.0' in metrics
        assert 'letterlock_checked_receipts_total{outcome="receipt_signature_refused"} 1.0' in metrics
        log = gateway.log.read_bytes()
        for secret in (event.relay_id.hex(), bob.device.device.value.hex(), event.ciphertext.hex()):
            assert secret.encode() not in log
        await asyncio.sleep(1.5)
        assert ledger_verifies(gateway.folder)
    finally:
        await alice.close()
        await bob.close()
        await gateway.stop()
