"""Devices of a tenant with the profile "high-risk" through a real gateway process, and what its store then holds."""

import asyncio
from pathlib import Path
from typing import Any

import apsw
import httpx
from tests.e2e.test_devices_through_the_gateway import ledger_verifies, pair

from letterlock.client import events
from letterlock.lab.demo.world import received, start_gateway, until
from letterlock.wire.tlog.intervals import INTERVAL_MS

QUARTER_HOUR_MS = 900_000


async def test_devices_talk_as_ever_and_the_store_keeps_no_sender_and_no_exact_time(tmp_path: Path) -> None:
    gateway = await start_gateway(tmp_path, profile="high-risk")
    alice, bob = await pair(tmp_path, gateway)
    try:
        group = await alice.device.create_group()
        await alice.device.add_account(group, bob.device.account)
        alice.connect()
        for text in (b"one", b"two", b"three"):
            await alice.device.send(group, text)
        assert await until(lambda: not alice.device.waiting(0, 10))
        with apsw.Connection(str(gateway.folder / "letterlock.db"), flags=apsw.SQLITE_OPEN_READONLY) as db:
            rows: list[tuple[Any, ...]] = db.execute("SELECT sender, accepted_ms, expires_ms FROM message").fetchall()
        db.close()
        assert len(rows) == 5, "commit, Welcome, and three messages"
        assert {sender for sender, *_ in rows} == {None}
        async with httpx.AsyncClient(base_url=gateway.url) as http:
            key = {"authorization": f"Bearer {gateway.api_key}"}
            listed = (await http.get("/v1/messages", headers=key)).json()["messages"]
            answer = await http.get(f"/v1/messages/{listed[0]['id']}/receipt", headers=key)
        assert (answer.status_code, answer.json()["code"]) == (409, "interval_open")
        assert answer.json()["closes_ms"] % INTERVAL_MS == 0
        assert 0 < int(answer.headers["retry-after"]) <= INTERVAL_MS // 1000 + 2
        assert not any(value % QUARTER_HOUR_MS for _, accepted, expires in rows for value in (accepted, expires))
        bob.connect()
        assert await until(lambda: len(received(bob)) == 3)
        assert [event.content for event in received(bob)] == [b"one", b"two", b"three"]
        await bob.device.send(group, b"and back")
        assert await until(lambda: len(received(alice)) == 1)
        assert await until(lambda: not bob.device.waiting(0, 10))
        # What came back to its own author is no message and no finding; and both are told of receipts as ever.
        for phone in (alice, bob):
            told = [event for _, event in phone.device.inbox()]
            assert not [event for event in told if isinstance(event, events.Finding)]
        seen = [event for _, event in alice.device.inbox() if isinstance(event, events.ReceiptSeen)]
        assert len(seen) == 3
        await asyncio.sleep(1.5)
        assert ledger_verifies(gateway.folder)
    finally:
        await alice.close()
        await bob.close()
        await gateway.stop()
