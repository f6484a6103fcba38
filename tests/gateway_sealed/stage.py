"""Devices with sessions, one group, and the acceptor and stream on a real store; the connection is played by hand."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.relay.world import Phone, World, enrolled, group_of, opened
from tests.wire_mls.making import private_message

from letterlock.assurance.assess import Path as MessagePath
from letterlock.custody.message_ids import MessageIds
from letterlock.custody.sealing import StorageKey
from letterlock.faces.http.routes import DevicePrincipal, TenantPrincipal
from letterlock.faces.http.stream import DeviceStream
from letterlock.gateway.acks import AckCollector
from letterlock.gateway.hub import Hub
from letterlock.gateway.mail_pages import MailPages
from letterlock.gateway.policies import Policies
from letterlock.gateway.sealed import SealedAcceptor, Sender
from letterlock.model.capability import Channel
from letterlock.model.ids import DeviceId, GroupRef, TenantId
from letterlock.policy.file import profile_source
from letterlock.policy.proof import ProvenPolicy, prove
from letterlock.transports.registry import CAPABILITIES
from letterlock.watch.metrics import Metrics
from letterlock.wire import stream as frames
from letterlock.wire.stream import Submission, TargetKind

GROUP = b"a group"
_proven: list[ProvenPolicy] = []


def standard() -> ProvenPolicy:
    if not _proven:
        _proven.append(prove(profile_source("standard"), CAPABILITIES))
    return _proven[0]


class Credentials:
    """Sessions of the world's devices, and no API keys."""

    def __init__(self, world: World) -> None:
        self._world = world

    def device(self, token_hash: bytes) -> DevicePrincipal | None:
        row = self._world.directory.find(token_hash)
        if row is None:
            return None
        return DevicePrincipal(
            row.tenant, TenantId(row.tenant_id), row.mailbox, DeviceId(row.device), row.account, row.expires_ms,
            token_hash,
        )  # fmt: skip

    def tenant(self, secret_hash: bytes) -> TenantPrincipal | None:
        return None


class Stage:
    """Everything that a stream needs."""

    def __init__(self, world: World, phones: list[Phone], tokens: list[str], group: GroupRef) -> None:
        self.world = world
        self.phones = phones
        self.tokens = tokens
        self.group = group
        self.hub = Hub()
        self.metrics = Metrics()
        self.policies = Policies(standard(), {}, 0)
        self.credentials = Credentials(world)
        self.busy = False
        self.acceptor = SealedAcceptor(
            MessagePath.of(*[row for row in CAPABILITIES if row.channel is Channel.RELAY]),
            self.policies,
            world.group_directory,
            world.committer,
            self.hub,
            self._key,
            world.clock,
            MessageIds(b"p" * 32),
            b"p" * 32,
        )
        world.directory.on_session_ended(self.hub.wake)
        self.acks = AckCollector(world.committer, world.clock, 0.001)
        self.pages = MailPages(world.reads, world.keys)
        self.stream = DeviceStream(
            self.credentials,
            lambda: world.directory.version,
            self.acceptor,
            self.acks,
            self.pages,
            self.hub,
            world.clock,
            self.metrics,
            lambda: self.busy,
            world.directory.hear,
        )

    def _key(self) -> StorageKey:
        return self.world.keys.current(self.world.clock.now_ms())

    def sender(self, number: int) -> Sender:
        phone = self.phones[number]
        return Sender(1, phone.caller.tenant_id, phone.mailbox, self.world.directory.version)

    def sealed(self, mark: bytes = b"m", *, size: int = 100, epoch: int = 1) -> bytes:
        return private_message(mark.ljust(size, b"\xcc"), group_id=GROUP, epoch=epoch)

    def submission(self, mark: bytes, **how: Any) -> Submission:
        return Submission(TargetKind.GROUP, self.group.value, sha256(mark).digest()[:16], self.sealed(mark, **how))

    def connect(self, number: int, **how: Any) -> "Connection":
        return Connection(self, self.tokens[number], counter=self.phones[number].counter, **how)


@asynccontextmanager
async def staged(folder: Path, names: Sequence[str] = ("ann", "bob", "eve")) -> AsyncGenerator[Stage]:
    async with opened(folder) as world:
        phones = await enrolled(world, *names)
        tokens = [(await phone.log_in(world)).token for phone in phones]
        group = await group_of(world, GROUP, phones[0], *phones[1:])
        yield Stage(world, phones, tokens, group)
        await asyncio.sleep(0.01)


class Connection:
    """A device's end of a stream: what it sends, what it got, and whether it reads."""

    def __init__(
        self,
        stage: Stage,
        token: str | None,
        *,
        path: str = "/v1/stream",
        protocol: str = frames.SUBPROTOCOL,
        counter: int = 0,
    ) -> None:
        self.counter = counter
        headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
        scope = {"type": "websocket", "path": path, "headers": headers, "subprotocols": [protocol]}
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._in.put_nowait({"type": "websocket.connect"})
        self.out: asyncio.Queue[frames.ServerFrame] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self.accepted = False
        self.code: int | None = None
        self.task = asyncio.create_task(stage.stream(scope, self._in.get, self._send))

    async def _send(self, message: Any) -> None:
        if message["type"] == "websocket.accept":
            self.accepted = True
        elif message["type"] == "websocket.close":
            self.code = message["code"]
        else:
            self.out.put_nowait(frames.decode_server(message["bytes"]))
            await self.reads.wait()

    def say(self, data: bytes) -> None:
        self._in.put_nowait({"type": "websocket.receive", "bytes": data})

    def say_text(self, text: str) -> None:
        self._in.put_nowait({"type": "websocket.receive", "text": text})

    async def hello(self, applied: int = 0, window: int = 100) -> frames.Welcome:
        self.say(frames.encode_hello(applied, window, self.counter))
        welcome = await self.next()
        assert isinstance(welcome, frames.Welcome)
        return welcome

    async def next(self, seconds: float = 10) -> frames.ServerFrame:
        return await asyncio.wait_for(self.out.get(), seconds)

    async def results(self, count: int) -> list[frames.Result]:
        """So many results; deliveries that come in between are put aside."""
        found: list[frames.Result] = []
        aside = []
        while len(found) < count:
            frame = await self.next()
            if isinstance(frame, frames.Results):
                found += frame.items
            else:
                aside.append(frame)
        for frame in aside:
            self.out.put_nowait(frame)
        return found

    async def deliveries(self, count: int) -> list[tuple[int, frames.Delivery]]:
        found: list[tuple[int, frames.Delivery]] = []
        while len(found) < count:
            frame = await self.next()
            if isinstance(frame, frames.Deliver):
                found += enumerate(frame.items, frame.first_seq)
        return found

    async def close_code(self) -> int | None:
        await asyncio.wait_for(asyncio.shield(self.task), 20)
        return self.code

    async def hang_up(self) -> None:
        self._in.put_nowait({"type": "websocket.disconnect", "code": 1000})
        self.reads.set()
        await asyncio.wait_for(self.task, 20)
