"""The routes of devices over ASGI: statuses, codes and bodies as docs/protocol/devices.md has them."""

import os
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.gateway_sealed.stage import standard
from tests.relay import mls
from tests.relay.world import AUDIENCE, ENVIRONMENT, TENANTS, Person, Phone, World, bundle, opened

from letterlock.assurance.assess import Path as MessagePath
from letterlock.custody.message_ids import MessageIds
from letterlock.faces.http.app import HttpFace
from letterlock.faces.http.attachments import attachment_routes
from letterlock.faces.http.deliveries import delivery_routes
from letterlock.faces.http.device_calls import STATUS
from letterlock.faces.http.devices import DeviceServices, device_routes
from letterlock.faces.http.handshakes import handshake_routes
from letterlock.faces.http.push import push_routes
from letterlock.faces.http.receipts import receipt_routes
from letterlock.faces.http.routes import Access, DevicePrincipal, Route, TenantPrincipal
from letterlock.gateway.deliveries import Deliveries
from letterlock.gateway.hub import Hub
from letterlock.gateway.policies import Policies
from letterlock.model.capability import Channel
from letterlock.model.ids import AccountId, DeviceId, TenantId
from letterlock.relay.attachments import Attachments
from letterlock.relay.bundle import Bundle
from letterlock.relay.groups import first_chain, next_chain
from letterlock.relay.handshake_reports import HandshakeReports
from letterlock.relay.push import Push
from letterlock.storage.relay_commands import RelayReason
from letterlock.storage.sqlite.attachment_reads import AttachmentReads
from letterlock.storage.sqlite.delivery_reads import DeliveryReads
from letterlock.storage.sqlite.push_reads import PushReads
from letterlock.transports.push.port import PushDrivers
from letterlock.transports.push.web import WebPushSender
from letterlock.transports.registry import CAPABILITIES
from letterlock.wire.webpush import HostList, private_key, public_bytes

GROUP = b"group over http"
KEYS = {sha256(b"key-of-one").digest(): 1, sha256(b"key-of-two").digest(): 2}


def b64(data: bytes) -> str:
    return b64encode(data).decode()


class Credentials:
    def __init__(self, world: World) -> None:
        self._world = world

    def device(self, token_hash: bytes) -> DevicePrincipal | None:
        row = self._world.directory.find(token_hash)
        if row is None:
            return None
        return DevicePrincipal(
            row.tenant,
            TenantId(row.tenant_id),
            row.mailbox,
            DeviceId(row.device),
            row.account,
            row.expires_ms,
            token_hash,
        )

    def tenant(self, secret_hash: bytes) -> TenantPrincipal | None:
        number = KEYS.get(secret_hash)
        return None if number is None else TenantPrincipal(number, TENANTS[number], b"k" * 16, frozenset({"devices"}))


async def not_served(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("not among these routes")


def routes_of(world: World) -> tuple[Route, ...]:
    services = DeviceServices(
        world.accounts,
        world.sessions,
        world.packages,
        world.groups,
        world.mailboxes,
        world.reports,
        ENVIRONMENT,
        AUDIENCE,
    )
    attachments = Attachments(
        world.committer, world.reads, AttachmentReads(world.readers), world.keys, world.clock, os.urandom
    )
    hosts = HostList(("push.example.net",))
    key = private_key(bytes(64))
    push = Push(
        world.committer, PushReads(world.readers), world.keys, bytes(32),
        PushDrivers(WebPushSender(key, hosts, "mailto:a@b.c", world.clock)), Hub().connected, world.clock, os.urandom,
        lambda _: None,
    )  # fmt: skip
    deliveries = Deliveries(
        MessagePath.of(*[row for row in CAPABILITIES if row.channel is Channel.RELAY]), Policies(standard(), {}, 0),
        DeliveryReads(world.readers), world.committer, Hub(), lambda: world.keys.current(0), world.clock,
        MessageIds(b"p" * 32), b"p" * 32,
    )  # fmt: skip
    return (
        *device_routes(services),
        *attachment_routes(attachments),
        *push_routes(push, public_bytes(key)),
        *receipt_routes(world.desk),
        *handshake_routes(
            HandshakeReports(world.committer, world.reads, world.clock, ENVIRONMENT, AUDIENCE, os.urandom)
        ),
        *delivery_routes(deliveries),
    )


class Http:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.tokens: dict[DeviceId, str] = {}

    async def __call__(
        self, method: str, path: str, who: Phone | str | None = None, body: Any = None
    ) -> tuple[int, dict[str, Any]]:
        headers = {}
        if who is not None:
            headers["authorization"] = f"Bearer {who if isinstance(who, str) else self.tokens[who.id]}"
        answer = await self._client.request(method, path, json=body, headers=headers)
        return answer.status_code, answer.json() if answer.content else {}

    async def log_in(self, phone: Phone) -> dict[str, Any]:
        status, made = await self("POST", f"/v1/devices/{phone.id}/session/nonce")
        assert status == 200
        phone.counter += 1
        raw = b64decode(made["nonce"])
        status, session = await self(
            "POST",
            f"/v1/devices/{phone.id}/session",
            None,
            {"nonce": made["nonce"], "state_counter": phone.counter, "signature": b64(phone.login(raw))},
        )
        assert status == 201
        self.tokens[phone.id] = session["token"]
        return session


@asynccontextmanager
async def serving(folder: Path) -> AsyncGenerator[tuple[World, Http]]:
    async with opened(folder) as world:
        face = HttpFace(
            routes_of(world),
            Credentials(world),
            group_messages=not_served,
            websocket=not_served,
            observe=lambda operation, status: None,
        )
        transport = httpx.ASGITransport(app=face)
        async with httpx.AsyncClient(transport=transport, base_url="http://gw") as client:
            yield world, Http(client)


async def enrol(http: Http, name: str, *phones: Phone, key: str = "key-of-one", tenant: int = 1) -> Person:
    person = Person(name, tenant)
    body = {"identity_key": b64(person.identity.public.encode())}
    status, made = await http("POST", "/v1/accounts", key, body)
    assert status == 201
    assert (made["tenant_id"], made["environment"], made["audience"]) == (str(TENANTS[tenant]), ENVIRONMENT, AUDIENCE)
    assert await http("POST", "/v1/accounts", key, body) == (200, made)
    person.account = AccountId.parse(made["account_id"])
    person.head = person.next_list(phones)
    data = {"device_list": b64(person.signed(person.head))}
    status, answer = await http("POST", f"/v1/accounts/{person.account}/devices", key, data)
    assert status == 201
    assert answer["version"] == 1
    assert await http("POST", f"/v1/accounts/{person.account}/devices", key, data) == (200, answer)
    for phone in phones:
        phone.account = person.account
    return person


def as_json(offer: Bundle) -> dict[str, Any]:
    return {
        "group_id": b64(offer.group_id),
        "base_epoch": offer.base_epoch,
        "commit": b64(offer.commit),
        "welcomes": [{"recipients": [str(d) for d in w.recipients], "welcome": b64(w.body)} for w in offer.welcomes],
        "adds": [str(device) for device in offer.adds],
        "removes": [str(device) for device in offer.removes],
        "idempotency_key": b64(offer.idempotency_key),
        "state_counter": offer.state_counter,
    }


async def test_the_whole_way_of_two_devices(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, http):
        ann, bob = Phone("a1"), Phone("b1")
        first = await enrol(http, "ann", ann)
        second = await enrol(http, "bob", bob)
        session = await http.log_in(ann)
        assert {k: session[k] for k in ("mailbox_acknowledged", "mailbox_head", "mailbox_lost", "key_packages")} == {
            "mailbox_acknowledged": 0, "mailbox_head": 0, "mailbox_lost": False, "key_packages": 0,
        }  # fmt: skip
        await http.log_in(bob)
        package = bob.package()
        status, kept = await http(
            "PUT", f"/v1/devices/{bob.id}/key-packages", bob, {"packages": [{"key_package": b64(package)}]}
        )
        assert (status, kept) == (200, {"accepted": 1, "duplicates": 0, "available": 1, "has_last_resort": False})
        status, claimed = await http("POST", f"/v1/accounts/{second.account}/key-packages/claim", ann, {})
        assert status == 200
        assert claimed["packages"] == [{"device_id": str(bob.id), "key_package": b64(package), "last_resort": False}]
        assert second.head is not None
        assert claimed["device_list"] == b64(second.signed(second.head))
        status, made = await http("POST", "/v1/groups", ann, {"group_id": b64(GROUP), "epoch": 1})
        assert (status, made["epoch"], made["chain"]) == (201, 1, b64(first_chain(GROUP, 1)))
        assert (await http("POST", "/v1/groups", ann, {"group_id": b64(GROUP), "epoch": 1})) == (200, made)
        group = f"/v1/groups/{made['group']}"
        offer = bundle(GROUP, 1, adds=(bob,))
        status, done = await http("POST", f"{group}/commits", ann, as_json(offer))
        chain = b64(next_chain(first_chain(GROUP, 1), 1, offer.commit))
        assert (status, done["epoch"], done["chain"]) == (201, 2, chain)
        status, box = await http("GET", f"/v1/devices/{bob.id}/mailbox?after=0&limit=5", bob)
        assert status == 200
        assert box["head"] == 1
        item = box["items"][0]
        assert (item["sequence"], item["kind"], item["group"]) == (1, "welcome", made["group"])
        assert (item["protection"], item["grade"], item["verifier"]) == ("E2EE", "FRAMED", "gateway")
        assert item["body"] == b64(offer.welcomes[0].body)
        update = bundle(GROUP, 2, mark=b"u")
        assert (await http("POST", f"{group}/commits", bob, as_json(update)))[0] == 201
        status, problem = await http("POST", f"{group}/commits", ann, as_json(bundle(GROUP, 2)))
        assert status == 409
        assert (problem["code"], problem["current_epoch"], problem["missing"]) == ("wrong_epoch", 3, [1])
        status, log = await http("GET", f"{group}/commits?from_epoch=1", ann)
        assert [(c["base_epoch"], c["commit"]) for c in log["commits"]] == [
            (1, b64(offer.commit)),
            (2, b64(update.commit)),
        ]
        assert log["commits"][0]["adds"] == [{"account_id": str(second.account), "device_id": str(bob.id)}]
        status, state = await http("GET", group, bob)
        assert (state["epoch"], state["group_id"], len(state["members"])) == (3, b64(GROUP), 2)
        ack = f"/v1/devices/{bob.id}/mailbox/ack"
        assert await http("POST", ack, bob, {"through": 1, "state_counter": 9}) == (200, {"acknowledged": 1})
        status, problem = await http("POST", ack, bob, {"through": 2, "state_counter": 9})
        assert (status, problem["code"]) == (409, "ack_ahead")
        reset = f"/v1/devices/{bob.id}/mailbox/reset"
        assert await http("POST", reset, bob, {"state_counter": 10}) == (200, {"acknowledged": 1})
        status, lists = await http("GET", f"/v1/accounts/{first.account}/device-list?since=0", bob)
        assert (status, lists["current_version"], [v["version"] for v in lists["versions"]]) == (200, 1, [1])
        assert (await http("DELETE", f"/v1/devices/{bob.id}/key-packages", bob)) == (204, {})
        assert (await http("DELETE", f"/v1/devices/{bob.id}/session", bob)) == (204, {})
        assert (await http("GET", group, bob))[0] == 401


async def test_how_far_a_group_is_followed_is_told_and_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("rine_mls")
    from tests.relay.test_relay_with_engine import EnginePhone

    async with serving(tmp_path) as (_, http):
        ann, bob = EnginePhone("a1"), Phone("b1")
        try:
            await enrol(http, "ann", ann)
            await enrol(http, "bob", bob)
            await http.log_in(ann)
            await http.log_in(bob)
            epoch = ann.engine.create(GROUP)
            _, made = await http("POST", "/v1/groups", ann, {"group_id": b64(GROUP), "epoch": epoch})
            group = f"/v1/groups/{made['group']}"
            _, state = await http("GET", group, ann)
            assert state["tracking"] == {"standing": "not_followed", "epoch": 0, "gaps": 0}
            info = bytes(ann.engine._group(GROUP).group_info())
            status, problem = await http("POST", f"{group}/anchor", bob, {"group_info": b64(info)})
            assert (status, problem["code"]) == (403, "not_a_member")
            for broken in (b"", info[:-1] + bytes([info[-1] ^ 1])):
                status, problem = await http("POST", f"{group}/anchor", ann, {"group_info": b64(broken)})
                assert (status, problem["code"]) == (422, "bad_group_info")
            followed = {"standing": "followed", "epoch": epoch, "gaps": 0}
            assert await http("POST", f"{group}/anchor", ann, {"group_info": b64(info)}) == (200, followed)
            _, state = await http("GET", group, ann)
            assert state["tracking"] == followed
        finally:
            ann.engine.close()


@pytest.mark.attack("A17", "A18")
async def test_refusals_have_their_status_and_code(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, http):
        ann, bob, far = Phone("a1"), Phone("b1"), Phone("f1", tenant=2)
        first = await enrol(http, "ann", ann)
        second = await enrol(http, "bob", bob)
        await enrol(http, "far", far, key="key-of-two", tenant=2)
        for phone in (ann, bob, far):
            await http.log_in(phone)
        _, made = await http("POST", "/v1/groups", ann, {"group_id": b64(GROUP), "epoch": 0})
        group = f"/v1/groups/{made['group']}"
        packages = {"packages": [{"key_package": b64(b"no")}]}
        wrong_leaf = {"packages": [{"key_package": b64(bob.package())}]}
        low = {"nonce": b64(bytes(32)), "state_counter": 0, "signature": b64(bytes(66))}
        other = as_json(bundle(GROUP, 0, commit=mls.commit(GROUP, 0, sender=4)))
        asked: list[tuple[str, str, Phone | str | None, Any, int, str]] = [
            ("POST", "/v1/accounts", "key-of-one", {"identity_key": b64(b"\x01" + bytes(32))}, 422, "bad_key"),
            ("POST", "/v1/accounts", "key-of-one", {"identity_key": "!"}, 422, "wrong_type"),
            ("POST", "/v1/accounts", "key-of-one", {"identity_key": "", "x": 1}, 422, "unknown_field"),
            ("POST", "/v1/accounts", ann, {"identity_key": ""}, 403, "scope_missing"),
            ("POST", f"/v1/accounts/{first.account}/devices", bob, {"device_list": ""}, 404, "not_found"),
            ("POST", f"/v1/accounts/{first.account}/devices", ann, {"device_list": ""}, 422, "bad_device_list"),
            ("GET", f"/v1/accounts/{first.account}/device-list", far, None, 404, "not_found"),
            ("GET", "/v1/accounts/acc_x/device-list", ann, None, 404, "not_found"),
            ("GET", f"/v1/accounts/{first.account}/device-list?since=-1", ann, None, 422, "bad_parameter"),
            ("POST", "/v1/devices/dev_x/session/nonce", None, None, 404, "not_found"),
            ("POST", f"/v1/devices/{ann.id}/session", None, low, 401, "session_refused"),
            ("PUT", f"/v1/devices/{ann.id}/key-packages", bob, packages, 403, "not_your_device"),
            ("PUT", f"/v1/devices/{ann.id}/key-packages", ann, packages, 422, "bad_key_package"),
            ("PUT", f"/v1/devices/{ann.id}/key-packages", ann, wrong_leaf, 422, "leaf_not_listed"),
            ("POST", f"/v1/accounts/{second.account}/key-packages/claim", far, {}, 404, "not_found"),
            ("POST", f"/v1/accounts/{second.account}/key-packages/claim", ann, {"devices": ["x"]}, 422, "wrong_type"),
            ("POST", "/v1/groups", ann, {"group_id": b64(b"new"), "epoch": 2}, 422, "bad_epoch"),
            ("POST", "/v1/groups", ann, {"group_id": "", "epoch": 0}, 422, "wrong_type"),
            ("POST", "/v1/groups", bob, {"group_id": b64(GROUP), "epoch": 0}, 409, "group_exists"),
            ("POST", "/v1/groups", "key-of-one", {"group_id": b64(GROUP), "epoch": 0}, 403, "scope_missing"),
            ("POST", f"{group}/commits", bob, as_json(bundle(GROUP, 0)), 403, "not_a_member"),
            ("POST", f"{group}/commits", far, as_json(bundle(GROUP, 0)), 404, "not_found"),
            ("POST", f"{group}/commits", ann, other, 422, "external_commit"),
            ("POST", f"{group}/commits", ann, as_json(bundle(GROUP, 5)), 409, "wrong_epoch"),
            ("GET", group, bob, None, 403, "not_a_member"),
            ("GET", f"/v1/devices/{ann.id}/mailbox", bob, None, 403, "not_your_device"),
            ("GET", f"/v1/devices/{ann.id}/mailbox?limit=0", ann, None, 422, "bad_parameter"),
            ("GET", f"/v1/devices/{ann.id}/mailbox", None, None, 401, "unauthenticated"),
        ]
        for method, path, who, body, status, code in asked:
            found, problem = await http(method, path, who, body)
            assert (found, problem.get("code")) == (status, code), (method, path)
        ann.counter -= 1
        _, made = await http("POST", f"/v1/devices/{ann.id}/session/nonce")
        raw = b64decode(made["nonce"])
        body = {"nonce": made["nonce"], "state_counter": ann.counter, "signature": b64(ann.login(raw))}
        status, problem = await http("POST", f"/v1/devices/{ann.id}/session", None, body)
        assert (status, problem["code"], problem["acknowledged_counter"]) == (409, "state_rolled_back", 1)


async def test_the_quota_says_when_to_come_back(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, http):
        ann, bob = Phone("a1"), Phone("b1")
        await enrol(http, "ann", ann)
        second = await enrol(http, "bob", bob)
        await http.log_in(ann)
        path = f"/v1/accounts/{second.account}/key-packages/claim"
        for _ in range(30):
            assert (await http("POST", path, ann, {}))[0] == 200
        answer = await http._client.post(path, json={}, headers={"authorization": f"Bearer {http.tokens[ann.id]}"})
        assert answer.status_code == 429
        assert answer.json()["code"] == "claim_quota"
        assert answer.headers["retry-after"] == "3600"


async def test_the_table_is_whole(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        routes = routes_of(world)
    assert set(STATUS) == set(RelayReason)
    assert len({route.operation for route in routes}) == len(routes)
    listed = {code for route in routes for codes in route.problems.values() for code in codes}
    assert listed == {reason.value for reason in RelayReason}
    for route in routes:
        for status, codes in route.problems.items():
            assert {STATUS[RelayReason(code)] for code in codes} == {status}
    public = {route.operation for route in routes if route.access is Access.PUBLIC}
    assert public == {"createNonce", "createSession", "deliver"}
