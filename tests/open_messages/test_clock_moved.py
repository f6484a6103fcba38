"""The whole gateway, every kind of row in it, and the clock moved past all lifetimes: what is due goes, and a command
says that nothing is overdue (S20)."""

import os
import time
from pathlib import Path

import httpx
import pytest
from tests.app.stores import parsed
from tests.open_messages.world import World, world

from letterlock.app.clock import SystemClock
from letterlock.client.device import Device
from letterlock.client.enrolment import new_identity, prepare, register_account
from letterlock.client.relay import RelayCalls
from letterlock.client.sealing import ClientKey
from letterlock.client.store import DeviceStore
from letterlock.model.clock import ManualClock
from letterlock.model.ids import AccountId
from letterlock.storage.sqlite.connection import DATABASE

DAY_MS = 86_400_000
SHARDS = 64
"""Purges that look at all remembered requests: one part of them each."""
FILLED = (
    "message", "message_key", "mailbox_item", "sealed_body", "shreddable_body", "record_batch", "device_session",
    "key_package", "published_package", "group_log", "challenge", "consent",
)  # fmt: skip
"""What the traffic of this test leaves, and time must take away."""


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How far all clocks of the gateway, and of the commands, are ahead (ms)."""
    ahead = [0]
    monkeypatch.setattr(SystemClock, "now_ms", lambda _: time.time_ns() // 1_000_000 + ahead[0])
    return ahead


async def phone(here: World, folder: Path, name: str, http: httpx.AsyncClient) -> Device:
    key = here.http.headers["authorization"].removeprefix("Bearer ")
    seed, public = new_identity()
    enrolment = await register_account(RelayCalls(http, key), public)
    store = DeviceStore(folder / f"{name}.db", ClientKey(os.urandom(32)))
    prepare(store, enrolment, identity=seed)
    device = Device(store, http, ManualClock(time.time_ns() // 1_000_000))
    await device.publish_list(tenant_key=key)
    await device.publish_key_packages(5)
    return device


async def traffic(here: World, folder: Path) -> None:
    """Sealed messages, read and waiting; readable ones delivered, held, asked about and agreed to."""
    transport = httpx.ASGITransport(here.gateway.face)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        ann, bob = [await phone(here, folder, name, http) for name in ("ann", "bob")]
        group = await ann.create_group()
        await ann.add_account(group, AccountId(bob.account.value))
        await ann.send(group, b"read")
        assert await ann.flush() == 1
        assert await bob.sync() > 0
        await ann.send(group, b"never fetched")
        assert await ann.flush() >= 1
        ann.close()
        bob.close()
    delivered = await here.notify("delivered")
    await here.until_state(delivered["id"], "delivered")
    asked = await here.send("a conversation")
    assert asked.status_code == 409
    agreed = await here.answer(asked.json()["challenge"]["id"])
    assert agreed.json()["state"] == "consented"
    held = await here.send("held", on_downgrade="hold")
    assert held.json()["state"] == "held"


async def test_time_takes_everything_that_is_due(tmp_path: Path, moved: list[int]) -> None:
    folder = tmp_path / "store"
    async with world(folder) as here:
        await traffic(here, tmp_path)

        def counts() -> dict[str, int]:
            return {table: here.rows(f"SELECT count(*) FROM {table}")[0][0] for table in FILLED}

        def overdue() -> dict[str, object]:
            return {
                rule["table"]: rule["overdue"]
                for rule in parsed("retention", "verify", "--data", str(folder), status=status)["rules"]  # type: ignore[attr-defined]
                if rule["overdue"]
            }

        status = 0
        assert overdue() == {}
        assert all(counts().values()), counts()
        entries = len(here.entries())

        moved[0] = 401 * DAY_MS
        status = 1
        found = overdue()
        assert {"message", "message_key", "record_batch", "device_session", "key_package", "group_log"} <= set(found)

        async def maintain() -> None:
            for _ in range(SHARDS):
                await here.gateway.purger.run()
            for _, _, work in here.gateway.maintenance._more:
                await work()
            await here.gateway.maintenance.turn_keys()

        await maintain()
        status = 0
        assert overdue() == {}
        # What never arrived has just been given up; its rows stay the N minutes that every message's end has.
        assert {table for table, rows in counts().items() if rows} <= {"message", "record_batch"}
        moved[0] += 3_600_000
        await maintain()
        assert overdue() == {}
        # The purges were recorded, and those records have their own 400 days.
        assert {table for table, rows in counts().items() if rows} <= {"record_batch"}
        now = time.time_ns() // 1_000_000 + moved[0]
        assert all(expires > now for (expires,) in here.rows("SELECT expires_ms FROM record_batch"))
        # The log keeps its entries: they hold no content and no identifiers.
        assert len(here.entries()) >= entries
        # Of what the log of pages held, nothing is left: it was 401 days of rows, and is now what was written since.
        await here.gateway.committer.truncate()
        assert (folder / f"{DATABASE}-wal").stat().st_size < 1 << 20
