"""The whole gateway in this process, and clients with each kind of credential."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import httpx

from letterlock.app.gateway import Gateway, open_gateway
from letterlock.app.settings import Settings, Store
from letterlock.faces.http.credentials import Credentials
from letterlock.storage.relay_rows import SessionRow

DEVICE_TOKEN = "a-device-session"
CANARY = "LETTERCANARY7f3a"


@dataclass(frozen=True)
class Served:
    """A gateway, a client for it, and secrets: by scope, of a device, or of nobody."""

    gateway: Gateway
    client: httpx.AsyncClient
    keys: dict[str, str]

    def as_(self, who: str | None) -> dict[str, str]:
        return {} if who is None else {"authorization": f"Bearer {self.keys[who]}"}


@asynccontextmanager
async def served(folder: Path) -> AsyncGenerator[Served]:
    gateway = await open_gateway(Settings(store=Store(folder=str(folder / "store"))))
    try:
        tenant = gateway.tenants.all()[0]
        keys = {"device": DEVICE_TOKEN, "nobody": CANARY}
        for scopes in (("messages", "devices", "read", "admin"), ("messages",), ("devices",), ("read",), ("admin",)):
            _, secret = await gateway.tenants.add_key(tenant.no, scopes)
            keys["all" if len(scopes) > 1 else scopes[0]] = secret
        credentials = gateway.face._sessions
        assert isinstance(credentials, Credentials)
        # A session of a device that no route finds: enough for every check before the use case, and for "not found".
        token_hash = sha256(DEVICE_TOKEN.encode()).digest()
        row = SessionRow(tenant.no, tenant.id, 999, b"d" * 16, b"a" * 16, 2**50, token_hash, 0)
        credentials._sessions.add(row)
        transport = httpx.ASGITransport(gateway.face)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
            yield Served(gateway, client, keys)
    finally:
        await gateway.close()
