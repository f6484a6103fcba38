"""The relay as a device sees it: every route that the SDK calls, on a real store, behind a bad network."""

import json
from base64 import b64decode
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, unique
from hashlib import sha256
from typing import Any, Final

import httpx
from tests.gateway_sealed.stage import Credentials, standard
from tests.relay.world import AUDIENCE, ENVIRONMENT, TENANTS, World

from letterlock.assurance.assess import Path as MessagePath
from letterlock.custody.message_ids import MessageIds
from letterlock.faces.http.app import HttpFace
from letterlock.faces.http.devices import DeviceServices, device_routes
from letterlock.faces.http.group_messages import GroupMessagesHandler
from letterlock.faces.http.receipts import receipt_routes
from letterlock.faces.http.routes import TenantPrincipal
from letterlock.gateway.hub import Hub
from letterlock.gateway.policies import Policies
from letterlock.gateway.sealed import SealedAcceptor
from letterlock.model.capability import Channel
from letterlock.transports.registry import CAPABILITIES
from letterlock.watch.metrics import Metrics

TENANT_KEY: Final = "key-of-the-tenant"


class KeyedCredentials(Credentials):
    """Sessions, and one tenant key."""

    def tenant(self, secret_hash: bytes) -> TenantPrincipal | None:
        """See the routes."""
        if secret_hash != sha256(TENANT_KEY.encode()).digest():
            return None
        return TenantPrincipal(1, TENANTS[1], b"k" * 16, frozenset({"devices"}))


async def no_stream(scope: Any, receive: Any, send: Any) -> None:
    """Devices of these tests fetch their mailbox."""
    raise AssertionError("no stream here")


def whole_face(world: World) -> HttpFace:
    """Accounts, sessions, key packages, groups, mailboxes and messages."""
    acceptor = SealedAcceptor(
        MessagePath.of(*[row for row in CAPABILITIES if row.channel is Channel.RELAY]),
        Policies(standard(), {}, 0),
        world.group_directory,
        world.committer,
        Hub(),
        lambda: world.keys.current(world.clock.now_ms()),
        world.clock,
        MessageIds(b"p" * 32),
        b"p" * 32,
    )
    credentials = KeyedCredentials(world)
    messages = GroupMessagesHandler(
        credentials,
        lambda: world.directory.version,
        acceptor,
        world.directory.hear,
        lambda operation, status: None,
        Metrics().submitted,
    )
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
    return HttpFace(
        (*device_routes(services), *receipt_routes(world.desk), messages.route()),
        credentials,
        group_messages=messages,
        websocket=no_stream,
        observe=lambda operation, status: None,
    )


@unique
class Fault(Enum):
    """What becomes of one call."""

    LOSE_REQUEST = "lose_request"
    LOSE_ANSWER = "lose_answer"
    TWICE = "twice"


@dataclass
class Witness:
    """What went over the wires, for the invariants."""

    packages: list[bytes] = field(default_factory=list)
    offered: dict[bytes, bytes] = field(default_factory=dict)
    """Welcomes by digest, with the commit that they came with."""
    welcomed: set[bytes] = field(default_factory=set)
    """Digests of the welcomes that mailboxes held."""
    requests: list[httpx.Request] = field(default_factory=list)

    def saw(self, request: httpx.Request, response: httpx.Response) -> None:
        """Notes what counts."""
        path = request.url.path
        if request.method == "POST" and path.endswith("/commits"):
            bundle = json.loads(request.content)
            for entry in bundle["welcomes"]:
                self.offered[sha256(b64decode(entry["welcome"])).digest()] = b64decode(bundle["commit"])
        if not response.is_success or not response.content:
            return
        if path.endswith("/claim"):
            self.packages += [b64decode(entry["key_package"]) for entry in response.json()["packages"]]
        elif request.method == "GET" and path.endswith("/mailbox"):
            for item in response.json()["items"]:
                if item["kind"] == "welcome":
                    self.welcomed.add(sha256(b64decode(item["body"])).digest())


class BadNetwork(httpx.AsyncBaseTransport):
    """One device's way to the relay."""

    def __init__(self, face: Callable[[], HttpFace], witness: Witness) -> None:
        self._face = face
        self._witness = witness
        self.faults: deque[Fault] = deque()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See :class:`Fault`."""
        await request.aread()
        fault = self.faults.popleft() if self.faults else None
        if fault is Fault.LOSE_REQUEST:
            raise httpx.ConnectError("lost on the way there")
        if request.method in {"POST", "PUT"}:
            self._witness.requests.append(request)
        response = await self.deliver(request)
        if fault is Fault.TWICE:
            await self.deliver(request)
        if fault is Fault.LOSE_ANSWER:
            raise httpx.ReadError("lost on the way back")
        return response

    async def deliver(self, request: httpx.Request) -> httpx.Response:
        """Brings a request to the relay."""
        again = httpx.Request(request.method, request.url, headers=request.headers, content=request.content)
        response = await httpx.ASGITransport(app=self._face()).handle_async_request(again)
        content = await response.aread()
        answered = httpx.Response(response.status_code, headers=response.headers, content=content)
        self._witness.saw(request, answered)
        return answered
