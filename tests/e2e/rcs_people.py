"""Ann and Bob of an RCS group (GSMA RCC.16) as a real gateway sees them: over HTTP, with certificates of today."""

import os
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.relay.rcs_chat import RcsChat
from tests.relay.world import Person, Phone
from tests.wire_mls.certificate_maker import LEAF, ROOT
from tests.wire_mls.group_maker import GROUP

from letterlock.lab.demo.world import GatewayProcess, start_gateway
from letterlock.model.ids import AccountId, DeviceId, GroupRef, TenantId
from letterlock.relay.bundle import Bundle
from letterlock.wire.mls.group.certificates import DAY_S
from letterlock.wire.mls.structures import Extension

Answer = dict[str, Any]


def b64(data: bytes) -> str:
    return b64encode(data).decode()


def as_json(offer: Bundle) -> Answer:
    return {
        "group_id": b64(offer.group_id),
        "base_epoch": offer.base_epoch,
        "commit": b64(offer.commit),
        "welcomes": [{"recipients": [str(d) for d in w.recipients], "welcome": b64(w.body)} for w in offer.welcomes],
        "group_info": None if offer.group_info is None else b64(offer.group_info),
        "adds": [str(device) for device in offer.adds],
        "removes": [str(device) for device in offer.removes],
        "idempotency_key": b64(offer.idempotency_key),
        "state_counter": offer.state_counter,
    }


class RcsPeople:
    """Their bundles are made by hand, as RcsChat makes them; everything goes through the gateway's HTTP face."""

    def __init__(self, client: httpx.AsyncClient, api_key: str, *extensions: Extension) -> None:
        now = int(time.time())
        today = replace(LEAF, since=now - 10 * DAY_S, until=now + 60 * DAY_S)
        self._client, self._api_key = client, api_key
        self._tokens: dict[DeviceId, str] = {}
        # Nothing that RcsChat does with a world of its own is called here.
        self.chat = RcsChat(None, extensions, today, today)  # type: ignore[arg-type]
        self.ann, self.bob = self.chat.phones
        self.group = GroupRef(bytes(16))

    async def call(self, method: str, path: str, who: Phone | None = None, body: Any = None) -> tuple[int, Answer]:
        """One request: of a device, or of the tenant's software."""
        token = self._api_key if who is None else self._tokens[who.id]
        answer = await self._client.request(method, path, json=body, headers={"authorization": f"Bearer {token}"})
        return answer.status_code, answer.json() if answer.content else {}

    async def enrol(self) -> None:
        """Both are enrolled and logged in; Ann has made the group."""
        for name, phone, signer in zip("ab", self.chat.phones, (self.chat.made.members[0], self.chat.bob), strict=True):
            phone.entry = replace(phone.entry, leaf_key=signer.public)
            await self._enrol(Person(name), phone)
        status, made = await self.call("POST", "/v1/groups", self.ann, {"group_id": b64(GROUP), "epoch": 0})
        assert status == 201
        self.group = GroupRef.parse(made["group"])

    async def _enrol(self, person: Person, phone: Phone) -> None:
        status, made = await self.call(
            "POST", "/v1/accounts", None, {"identity_key": b64(person.identity.public.encode())}
        )
        assert status == 201
        tenant, account = TenantId.parse(made["tenant_id"]), AccountId.parse(made["account_id"])
        person.account = phone.account = account
        content = person.next_list([phone])
        environment, audience = made["environment"], made["audience"]
        signed = person.signed(content, environment, tenant)
        status, _ = await self.call("POST", f"/v1/accounts/{account}/devices", None, {"device_list": b64(signed)})
        assert status == 201
        _, nonce = await self.call("POST", f"/v1/devices/{phone.id}/session/nonce")
        phone.counter += 1
        proof = phone.login(b64decode(nonce["nonce"]), tenant=tenant, environment=environment, audience=audience)
        body = {"nonce": nonce["nonce"], "state_counter": phone.counter, "signature": b64(proof)}
        status, session = await self.call("POST", f"/v1/devices/{phone.id}/session", None, body)
        assert status == 201
        self._tokens[phone.id] = session["token"]

    async def commit(self, offer: Bundle, group: GroupRef | None = None) -> tuple[int, Answer]:
        return await self.call("POST", f"/v1/groups/{group or self.group}/commits", self.ann, as_json(offer))

    async def advance(self, offer: Bundle, group: GroupRef | None = None) -> tuple[int, Answer]:
        return await self.call("POST", f"/v1/groups/{group or self.group}/eras", self.ann, as_json(offer))

    async def send(self, who: Phone, body: bytes, group: GroupRef | None = None) -> Answer:
        """What the gateway says of one message."""
        wanted = {
            "messages": [{"client_message_id": b64(os.urandom(16)), "body": b64(body)}],
            "state_counter": who.counter,
        }
        status, answer = await self.call("POST", f"/v1/groups/{group or self.group}/messages", who, wanted)
        assert status == 200
        (result,) = answer["results"]
        del result["client_message_id"]
        return dict(result)

    async def mailbox(self, who: Phone) -> list[Answer]:
        status, page = await self.call("GET", f"/v1/devices/{who.id}/mailbox", who)
        assert status == 200
        return list(page["items"])

    async def look(self, who: Phone, group: GroupRef | None = None) -> Answer:
        status, found = await self.call("GET", f"/v1/groups/{group or self.group}", who)
        assert status == 200
        return found


@asynccontextmanager
async def rcs_people(work: Path, *extensions: Extension) -> AsyncGenerator[tuple[GatewayProcess, RcsPeople]]:
    """A gateway that knows the root of their certificates, and both of them."""
    roots = work / "roots.pem"
    roots.write_bytes(x509.load_der_x509_certificate(ROOT.make()).public_bytes(Encoding.PEM))
    gateway = await start_gateway(work, further=f'[mls]\nsuites = [1, 2]\nrcc16_roots = ["{roots}"]\n')
    try:
        async with httpx.AsyncClient(base_url=gateway.url, timeout=20) as client:
            people = RcsPeople(client, gateway.api_key, *extensions)
            await people.enrol()
            yield gateway, people
    finally:
        await gateway.stop()
