"""A delivery service on a real store, and devices with real keys."""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.relay import mls

from letterlock.app.receipt_parts import SharedIds
from letterlock.assurance.device_list import (
    Device,
    DeviceKind,
    DeviceList,
    first,
    sign_list,
    successor,
)
from letterlock.custody.message_ids import MessageIds
from letterlock.custody.sealing import StorageKey
from letterlock.custody.storage_keys import StorageKeyError, StorageKeyReason
from letterlock.model.capability import Channel
from letterlock.model.clock import ManualClock
from letterlock.model.ids import AccountId, DeviceId, GroupRef, TenantId
from letterlock.model.protection import EvidenceGrade, Protection, Verifier
from letterlock.relay.accounts import Accounts
from letterlock.relay.bundle import Bundle, Welcome
from letterlock.relay.claim_quota import ClaimQuota
from letterlock.relay.directory import GroupDirectory, SessionDirectory
from letterlock.relay.groups import Caller, Groups
from letterlock.relay.key_packages import KeyPackages
from letterlock.relay.mailboxes import Mailboxes
from letterlock.relay.nonces import NonceBook
from letterlock.relay.receipts import ReceiptDesk
from letterlock.relay.reports import Reports
from letterlock.relay.sessions import Login, Sessions
from letterlock.storage.commands import Relied, Shown
from letterlock.storage.relay_commands import GroupCommitted
from letterlock.storage.sqlite.committer import GroupCommitter
from letterlock.storage.sqlite.core import StoreCore
from letterlock.storage.sqlite.reader import Readers
from letterlock.storage.sqlite.receipt_reads import ReceiptReads
from letterlock.storage.sqlite.registry import handlers
from letterlock.storage.sqlite.relay_ops import relay_handlers
from letterlock.storage.sqlite.relay_reads import RelayReads
from letterlock.wire.mls import CipherSuite
from letterlock.wire.mls.group import Root
from letterlock.wire.preimage import KeyFamily, Purpose, Scope, SoftwareKey, Suite, context_hash, sign
from letterlock.wire.tlog.commitments import rule_tag
from letterlock.wire.tlog.records import accepted_shape

ENVIRONMENT = "test"
AUDIENCE = "gw.example"
TENANTS = {1: TenantId(b"\x01" * 16), 2: TenantId(b"\x02" * 16)}
SHOWN = Shown(
    5, 2, 2, 0, 0, "rule", 0,
    accepted_shape(Channel.RELAY, Protection.E2EE, EvidenceGrade.FRAMED, Verifier.GATEWAY, rule_tag("rule")),
)  # fmt: skip


class Keys:
    """One generation's key."""

    def __init__(self) -> None:
        self._key = StorageKey(7, AESGCM(b"k" * 32))

    def current(self, now_ms: int) -> StorageKey:
        return self._key

    def get(self, generation: int) -> StorageKey:
        if generation != 7:
            raise StorageKeyError(StorageKeyReason.DESTROYED)
        return self._key


class Policy:
    def __init__(self) -> None:
        self.version = 0

    def shown(self, tenant: int) -> tuple[Shown, Relied]:
        return SHOWN, Relied(self.version)


class Notified:
    def __init__(self) -> None:
        self.deliveries: list[tuple[int, int]] = []
        self.lows: list[int] = []

    def notify(self, deliveries: tuple[tuple[int, int], ...]) -> None:
        self.deliveries.extend(deliveries)

    def low(self, mailbox: int) -> None:
        self.lows.append(mailbox)


class World:
    """All use cases on one store."""

    def __init__(self, folder: Path, clock: ManualClock, suites: Iterable[int], roots: tuple[Root, ...] = ()) -> None:
        listed = frozenset(map(CipherSuite, suites))
        self.folder = folder
        self.clock = clock
        core = StoreCore(folder, handlers() | relay_handlers(), clock, order=MessageIds(b"p" * 32))
        self.core = core
        self.ids = MessageIds(b"p" * 32)
        self.committer = GroupCommitter(core, asyncio.get_running_loop())
        self.readers = Readers(folder)
        self.reads = RelayReads(self.readers)
        self.directory = SessionDirectory(clock)
        self.group_directory = GroupDirectory(self.reads)
        self.keys = Keys()
        self.policy = Policy()
        self.notified = Notified()
        self.ended: list[int] = []
        self.directory.on_device_ended(self.ended.append)
        self.nonces = NonceBook(clock, os.urandom)
        self.accounts = Accounts(
            self.committer, self.reads, self.directory, self.group_directory, ENVIRONMENT, os.urandom
        )
        self.sessions = Sessions(
            self.committer, self.reads, self.directory, self.nonces, clock, ENVIRONMENT, AUDIENCE, os.urandom
        )
        self.served: list[int] = []
        self.packages = KeyPackages(
            self.committer, ClaimQuota(clock), clock, os.urandom, listed, self.notified.low, self.served.append
        )
        self.groups = Groups(
            self.committer, self.reads, self.group_directory, self.keys, self.notified, self.policy, clock, os.urandom,
            listed, roots,
        )  # fmt: skip
        self.reported: list[bool] = []
        self.reports = Reports(
            self.committer, self.reads, self.keys, ENVIRONMENT, AUDIENCE, os.urandom, self.reported.append
        )
        self.counted: dict[str, int] = {}
        ids = SharedIds(b"p" * 32)
        self.desk = ReceiptDesk(
            self.committer, ReceiptReads(self.readers, ids.key_of), ids.key_of, b"p" * 32, ENVIRONMENT, os.urandom,
            self._count,
        )  # fmt: skip
        self.mailboxes = Mailboxes(self.committer, self.reads, self.keys, self.directory, clock)

    def _count(self, outcome: str, number: int) -> None:
        self.counted[outcome] = self.counted.get(outcome, 0) + number

    async def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return await self.readers.read(lambda db: db.execute(sql, values).fetchall())

    async def count(self, table: str) -> int:
        return int((await self.rows(f"SELECT count(*) FROM {table}"))[0][0])

    async def close(self) -> None:
        await self.committer.close()
        self.readers.close()


@asynccontextmanager
async def opened(
    folder: Path, clock: ManualClock | None = None, suites: Iterable[int] = (1,), roots: tuple[Root, ...] = ()
) -> AsyncGenerator[World]:
    """The store, with two tenants; opened again, with what it held."""
    made = World(folder, clock or ManualClock(), suites, roots)
    try:
        if not await made.count("tenant"):
            made.core._db.execute(  # before the first command, so nobody else writes
                "INSERT INTO tenant (no, id, name, profile, created_ms) VALUES (1, ?, 'one', 'standard', 0),"
                " (2, ?, 'two', 'standard', 0)",
                (TENANTS[1].value, TENANTS[2].value),
            ).fetchall()
        await made.sessions.load()
        yield made
    finally:
        await made.close()


class Phone:
    """One device: its keys and its counter."""

    def __init__(self, name: str, tenant: int = 1, suite: int = 1) -> None:
        seed = hashlib.sha256(name.encode()).digest()

        def secret(what: str) -> bytes:
            return hashlib.sha256(seed + what.encode()).digest()

        self.tenant = tenant
        self.id = DeviceId(secret("id")[:16])
        self.session_key = SoftwareKey(KeyFamily.SESSION, Suite.ED25519, secret("session"))
        self.envelope = SoftwareKey(KeyFamily.ENVELOPE, Suite.ED25519, secret("envelope"))
        self.suite = suite
        self.leaf = mls.SuiteLeaf(secret("leaf"), suite)
        self.entry = Device(
            self.id,
            DeviceKind.NATIVE,
            self.envelope.public,
            self.leaf.public,
            self.session_key.public,
        )
        self.counter = 0
        self.mailbox = 0
        self.account = AccountId(bytes(16))
        self._made = 0

    def package(self) -> bytes:
        self._made += 1
        return mls.key_package_message(self.leaf, self._made, suite=self.suite)

    def login(
        self,
        nonce: bytes,
        *,
        counter: int | None = None,
        tenant: TenantId | None = None,
        environment: str = ENVIRONMENT,
        audience: str = AUDIENCE,
        key: SoftwareKey | None = None,
        account: AccountId | None = None,
        purpose: Purpose = Purpose.SESSION,
    ) -> bytes:
        scope = Scope(
            tenant or TENANTS[self.tenant],
            environment,
            audience,
            context_hash((account or self.account).value, self.id.value),
        )
        body = nonce + (self.counter if counter is None else counter).to_bytes(8, "big")
        return sign(key or self.session_key, purpose, scope, body).encode()

    async def log_in(self, world: World) -> Login:
        self.counter += 1
        nonce, _ = world.sessions.nonce(self.id)
        return await world.sessions.log_in(self.id, nonce, self.counter, self.login(nonce))

    @property
    def caller(self) -> Caller:
        return Caller(self.tenant, TENANTS[self.tenant], self.mailbox, self.account.value)

    async def put(self, world: World, count: int = 1, *, last_resort: bool = False) -> None:
        await world.packages.put(self.tenant, self.mailbox, [(self.package(), last_resort) for _ in range(count)])


class Person:
    """An account: its identity key and the head of its list."""

    def __init__(self, name: str, tenant: int = 1) -> None:
        self.tenant = tenant
        self.identity = SoftwareKey(KeyFamily.IDENTITY, Suite.ED25519, hashlib.sha256(b"id" + name.encode()).digest())
        self.account = AccountId(bytes(16))
        self.head: DeviceList | None = None

    async def enrol(self, world: World, *phones: Phone) -> None:
        self.account, _ = await world.accounts.create(self.tenant, self.identity.public.encode())
        await self.publish(world, phones)

    def next_list(self, phones: Iterable[Phone], issued_ms: int = 1) -> DeviceList:
        entries = [phone.entry for phone in phones]
        if self.head is None:
            return first(self.account, issued_ms, self.identity.public, entries)
        return successor(self.head, issued_ms, entries)

    def signed(self, content: DeviceList, environment: str = ENVIRONMENT, tenant: TenantId | None = None) -> bytes:
        return sign_list(content, tenant or TENANTS[self.tenant], environment, self.identity).encode()

    async def publish(self, world: World, phones: Iterable[Phone]) -> bytes:
        content = self.next_list(phones)
        data = self.signed(content)
        await world.accounts.publish(self.tenant, TENANTS[self.tenant], self.account, data)
        self.head = content
        for phone in phones:
            phone.account = self.account
            found = await world.rows("SELECT mailbox FROM device WHERE tenant=? AND id=?", self.tenant, phone.id.value)
            phone.mailbox = found[0][0]
        return data


async def enrolled(world: World, *names: str, tenant: int = 1) -> list[Phone]:
    """One account with one device for each name."""
    phones = []
    for name in names:
        phone = Phone(name, tenant)
        await Person(name, tenant).enrol(world, phone)
        phones.append(phone)
    return phones


def bundle(
    group_id: bytes,
    epoch: int,
    *,
    adds: tuple[Phone, ...] = (),
    removes: tuple[Phone, ...] = (),
    mark: bytes = b"s",
    key: bytes | None = None,
    counter: int = 1,
    **changed: Any,
) -> Bundle:
    packages = tuple(mls.key_package(phone.leaf, 900) for phone in adds)
    fields: dict[str, Any] = {
        "group_id": group_id,
        "base_epoch": epoch,
        "commit": mls.commit(group_id, epoch, adds=packages, removes=tuple(range(1, 1 + len(removes))), mark=mark),
        "welcomes": [Welcome([phone.id for phone in adds], mls.welcome(mark))] if adds else [],
        "group_info": None,
        "adds": [phone.id for phone in adds],
        "removes": [phone.id for phone in removes],
        "idempotency_key": key or os.urandom(16),
        "state_counter": counter,
    }
    return Bundle(**(fields | changed))


async def group_of(world: World, group_id: bytes, creator: Phone, *others: Phone) -> GroupRef:
    """A group at epoch 1 (or 0, with its creator alone)."""
    ref, _, _ = await world.groups.create(creator.caller, group_id, 0)
    if others:
        done: GroupCommitted = await world.groups.commit(creator.caller, ref, bundle(group_id, 0, adds=others))
        assert done.epoch == 1
    return ref
