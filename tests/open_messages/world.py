"""A gateway in this process with a real store, a real message centre on a socket, and its HTTP face without one."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
import httpx

from letterlock.app.gateway import API_KEY_FILE, Gateway, open_gateway
from letterlock.app.settings import PolicySettings, Settings, Sms, Store
from letterlock.lab.smsc import LabSmsc
from letterlock.storage.sqlite.connection import DATABASE
from letterlock.wire.sms.address import PhoneNumber
from letterlock.wire.tlog.entries import LedgerEntry, decode_entry

PASSWORD = "lab-pw1"
ACCOUNTS = {"letter": PASSWORD}
NUMBER = "+491701234567"
PHONE = PhoneNumber.parse(NUMBER)


class World:
    """What a test holds on to."""

    def __init__(self, folder: Path, gateway: Gateway, http: httpx.AsyncClient, smsc: LabSmsc) -> None:
        self.folder = folder
        self.gateway = gateway
        self.http = http
        self.smsc = smsc

    async def send(self, text: str, *, key: str | None = None, to: str = NUMBER, **fields: Any) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.http.post("/v1/messages", json={"to": to, "text": text, **fields}, headers=headers)

    async def notify(self, text: str, **fields: Any) -> dict[str, Any]:
        answer = await self.send(text, traffic="notification", **fields)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    async def answer(self, challenge: str, said: str = "agreed") -> httpx.Response:
        body = {"answer": said, "answered_by": "user-17"}
        return await self.http.post(f"/v1/challenges/{challenge}/answer", json=body)

    async def get(self, message_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/messages/{message_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def until_state(self, message_id: str, *states: str) -> dict[str, Any]:
        ends = time.monotonic() + 15
        while True:
            message = await self.get(message_id)
            if message["state"] in states:
                return message
            assert time.monotonic() < ends, message
            await asyncio.sleep(0.01)

    def screen(self, number: str = NUMBER) -> list[str]:
        return [message.read() for message in self.smsc.phone(PhoneNumber.parse(number)).inbox]

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        db = apsw.Connection(str(self.folder / DATABASE), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()

    def entries(self) -> list[LedgerEntry]:
        return [decode_entry(data) for (data,) in self.rows("SELECT d FROM ledger_entry ORDER BY i")]

    def count(self) -> Counter[str]:
        return Counter(entry.t for entry in self.entries())

    def set_floor(self, protection: int, version: int) -> None:
        """Moves the floor of every peer, as other parts of the gateway would."""
        db = apsw.Connection(str(self.folder / DATABASE))
        db.set_busy_timeout(2000)
        db.execute(
            "INSERT INTO floor SELECT DISTINCT tenant, subject, ?, ?, 'attested', 1 FROM message WHERE subject"
            " IS NOT NULL UNION SELECT DISTINCT tenant, subject, ?, ?, 'attested', 1 FROM challenge WHERE true"
            " ON CONFLICT DO UPDATE SET protection=excluded.protection, version=excluded.version",
            (protection, version, protection, version),
        ).fetchall()
        db.close()


def settings_of(folder: Path, port: int, profile: str = "standard", policy_file: str = "") -> Settings:
    os.environ["LETTERLOCK_TEST_SMSC"] = PASSWORD
    return Settings(
        store=Store(folder=str(folder)),
        policy=PolicySettings(profile=profile, file=policy_file),
        sms=Sms(
            hosts=(f"127.0.0.1:{port}",),
            system_id="letter",
            password="env:LETTERLOCK_TEST_SMSC",
            sender="Letterlock",
            tls=False,
        ),
    )


def client_of(gateway: Gateway, secret: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(gateway.face)
    return httpx.AsyncClient(
        transport=transport, base_url="http://gateway", headers={"authorization": f"Bearer {secret}"}
    )


@asynccontextmanager
async def world(
    folder: Path, *, profile: str = "standard", policy_file: str = "", smsc: LabSmsc | None = None
) -> AsyncIterator[World]:
    own = smsc is None
    centre = smsc or LabSmsc(ACCOUNTS)
    if own:
        await centre.come_back()
    gateway = await open_gateway(settings_of(folder, centre.port, profile, policy_file))
    secret = (folder / API_KEY_FILE).read_text().strip()
    try:
        async with client_of(gateway, secret) as http:
            yield World(folder, gateway, http, centre)
    finally:
        await gateway.close()
        if own:
            await centre.go_away()


async def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Waits for a condition; the limit only ends a run that hangs."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "the condition never came true"
        await asyncio.sleep(0.01)
