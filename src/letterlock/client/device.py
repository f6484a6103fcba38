"""One device of an account: enrols, logs in, keeps groups, sends, receives.

Every step that changes keys is durable before anything leaves; every mailbox run is one durable step before it is
acknowledged. One coroutine at a time changes the state (``_lock``); the relay is never believed about who is who.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import httpx
import msgspec

from letterlock.assurance.device_list import Device as ListedDevice
from letterlock.assurance.device_list import DeviceKind, DeviceList, first, sign_list, successor
from letterlock.client import envelope as envelopes
from letterlock.client import events, keys
from letterlock.client.directory import Directory
from letterlock.client.engine import CommitBundle, MlsEngine
from letterlock.client.errors import (
    DeviceError,
    DeviceReason,
    EngineError,
    GateError,
    GateReason,
    RelayError,
    RelayReason,
)
from letterlock.client.gate import screen_key_package
from letterlock.client.groups import (
    GROUPS,
    PENDING,
    GroupRecord,
    Outgoing,
    PendingCommit,
    chain_next,
    chain_start,
)
from letterlock.client.inbound import Inbound, Item
from letterlock.client.relay import (
    AccountAnswer,
    AckAnswer,
    ClaimAnswer,
    CommitAnswer,
    CommitsAnswer,
    GroupAnswer,
    GroupView,
    KeyPackagesAnswer,
    ListAnswer,
    ListsAnswer,
    MailboxAnswer,
    NonceAnswer,
    RelayCalls,
    SendAnswer,
    SessionAnswer,
)
from letterlock.client.rine import MAX_BATCH, RineEngine
from letterlock.client.store import Change, DeviceStore
from letterlock.client.transport import Sending
from letterlock.model.clock import Clock
from letterlock.model.ids import AccountId, DeviceId, GroupRef, MessageId, TenantId
from letterlock.wire import stream
from letterlock.wire.preimage import KeyFamily, PublicKey, Purpose, Scope, SoftwareKey, Suite, context_hash, sign

CAPABILITIES: Final = frozenset({"mls10"})
RENEW_BEFORE_MS: Final = 30_000
MAX_RACES: Final = 3
"""Times a lost commit is proposed anew before the caller hears of it."""
MAILBOX_PAGE: Final = 100

EngineFactory = Callable[[bytes, dict[str, bytes]], MlsEngine]
"""Makes the engine from the leaf seed and the stored parts."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an account's registration answered; goes into every signature from then on."""

    account: AccountId
    tenant: TenantId
    environment: str
    audience: str


async def register_account(relay: RelayCalls, identity_key: PublicKey) -> Enrolment:
    """Makes an account; the bearer is a tenant key with the scope ``devices``.

    Raises:
        RelayError: the relay refused or did not answer.
    """
    answer = await relay.call("POST", "/v1/accounts", AccountAnswer, {"identity_key": identity_key.encode()})
    try:
        account, tenant = AccountId.parse(answer.account_id), TenantId.parse(answer.tenant_id)
    except ValueError:
        raise RelayError(RelayReason.BAD_ANSWER) from None
    return Enrolment(account, tenant, answer.environment, answer.audience)


def prepare(
    store: DeviceStore, enrolment: Enrolment, kind: DeviceKind = DeviceKind.NATIVE, identity: bytes = b""
) -> None:
    """Gives a fresh store its keys. ``identity`` is the account's identity seed, on the devices that hold it."""
    made = keys.fresh(enrolment.tenant, enrolment.environment, enrolment.audience, enrolment.account, kind, identity)
    store.commit(Change(put=((keys.PLACE, keys.NAME, msgspec.msgpack.encode(made)),)))


@final
class Device:
    """A device on its store. Made by :func:`prepare` first.

    Args:
        store: its durable state.
        http: an ``httpx.AsyncClient`` with the gateway's base URL.
        clock: wall time, for the session's end.
        engine: makes the MLS engine; ``rine-mls`` by default.

    Raises:
        DeviceError: NOT_ENROLLED: the store holds no keys.
    """

    def __init__(
        self, store: DeviceStore, http: httpx.AsyncClient, clock: Clock, engine: EngineFactory = RineEngine
    ) -> None:
        held = store.get(keys.PLACE, keys.NAME)
        if held is None:
            raise DeviceError(DeviceReason.NOT_ENROLLED)
        self._store: Final = store
        self._keys: Final = msgspec.msgpack.decode(held, type=keys.DeviceKeys)
        self._clock: Final = clock
        self._make_engine: Final = engine
        self._engine = engine(self._keys.leaf, store.engine_parts())
        self._relay: Final = RelayCalls(http)
        self._lock: Final = asyncio.Lock()
        self._session_ends = 0
        self._wake: Callable[[], None] = lambda: None
        self.directory: Final = Directory(store, self._keys.tenant_id, self._keys.environment)
        self._groups: dict[bytes, GroupRecord] = {}
        self._resume()

    # -- who I am -------------------------------------------------------------------------------------------------

    @property
    def device(self) -> DeviceId:
        """This device's id."""
        return self._keys.device_id

    @property
    def account(self) -> AccountId:
        """This device's account."""
        return self._keys.account_id

    @property
    def entry(self) -> ListedDevice:
        """This device's own line for the account's device list."""
        return self._keys.entry(self._engine.leaf_key, CAPABILITIES)

    @property
    def engine(self) -> MlsEngine:
        """The MLS engine, for looking; changing it from outside breaks the order of things."""
        return self._engine

    async def publish_list(self, others: Sequence[ListedDevice] = (), tenant_key: str = "") -> DeviceList:
        """Signs and publishes the account's next device list: this device and ``others``.

        Args:
            others: the account's other devices.
            tenant_key: for the first list, when no device can log in yet.

        Raises:
            DeviceError: NO_IDENTITY_KEY.
            RelayError: refused or unreachable.
        """
        identity = self._keys.identity_key()
        if identity is None:
            raise DeviceError(DeviceReason.NO_IDENTITY_KEY)
        devices = [self.entry, *others]
        held = self.directory.head(self.account)
        now = self._clock.now_ms()
        shown = first(self.account, now, identity.public, devices) if held is None else successor(held, now, devices)
        signed = sign_list(shown, self._keys.tenant_id, self._keys.environment, identity).encode()
        caller = RelayCalls(self._relay.http, tenant_key) if tenant_key else await self._session()
        await caller.call("POST", f"/v1/accounts/{self.account}/devices", ListAnswer, {"device_list": signed})
        self.directory.learn(self.account, [signed], identity.public)
        return shown

    async def learn_account(self, account: AccountId, identity_key: PublicKey | None = None) -> DeviceList:
        """Fetches and verifies an account's device lists up to the current one.

        Raises:
            GateError: LIST_REFUSED.
            RelayError: refused or unreachable.
        """
        relay = await self._session()
        while True:
            since = self.directory.version(account)
            answer = await relay.call("GET", f"/v1/accounts/{account}/device-list?since={since}", ListsAnswer)
            head = self.directory.learn(account, [entry.device_list for entry in answer.versions], identity_key)
            if head is None or answer.current_version < head.version:
                raise GateError(GateReason.LIST_REFUSED, account=account)
            if head.version == answer.current_version:
                return head
            if not answer.versions:
                raise GateError(GateReason.LIST_REFUSED, account=account)

    # -- session --------------------------------------------------------------------------------------------------

    async def login(self) -> SessionAnswer:
        """Logs in: a fresh nonce, signed by the session key together with the state counter.

        Raises:
            DeviceError: STATE_ROLLED_BACK: this is an old copy of the device; enrol a new one.
            RelayError: refused or unreachable.
        """
        path = f"/v1/devices/{self.device}/session"
        open_relay = RelayCalls(self._relay.http)
        nonce = (await open_relay.call("POST", f"{path}/nonce", NonceAnswer)).nonce
        counter = self._store.count()
        mine = self._keys
        scope = Scope(mine.tenant_id, mine.environment, mine.audience, context_hash(mine.account, mine.device))
        signature = sign(mine.session_key(), Purpose.SESSION, scope, nonce + counter.to_bytes(8))
        body = {"nonce": nonce, "state_counter": counter, "signature": signature.encode()}
        try:
            answer = await open_relay.call("POST", path, SessionAnswer, body)
        except RelayError as error:
            if error.reason is RelayReason.STATE_ROLLED_BACK:
                raise DeviceError(DeviceReason.STATE_ROLLED_BACK) from None
            raise
        if answer.mailbox_acknowledged > self._store.cursor:
            # The relay deleted what this state never saw: the state is older than the device (A18).
            raise DeviceError(DeviceReason.STATE_ROLLED_BACK)
        self._relay.bearer = answer.token
        self._session_ends = answer.expires_ms
        return answer

    async def token(self, renew: bool) -> str:
        """A valid session token, for the stream."""
        if renew or not self._relay.bearer or self._clock.now_ms() > self._session_ends - RENEW_BEFORE_MS:
            await self.login()
        return self._relay.bearer

    async def publish_key_packages(self, count: int = MAX_BATCH) -> int:
        """Makes and publishes key packages; returns how many the relay holds now."""
        relay = await self._session()
        async with self._lock:
            made = self._engine.key_packages(count)
            self._persist()
        packages = [{"key_package": package, "last_resort": False} for package in made]
        path = f"/v1/devices/{self.device}/key-packages"
        return (await relay.call("PUT", path, KeyPackagesAnswer, {"packages": packages})).available

    # -- groups ---------------------------------------------------------------------------------------------------

    def group(self, ref: GroupRef) -> GroupRecord:
        """What is kept of a group.

        Raises:
            DeviceError: UNKNOWN_GROUP.
        """
        record = self._groups.get(ref.value)
        if record is None:
            raise DeviceError(DeviceReason.UNKNOWN_GROUP)
        return record

    def groups(self) -> list[GroupRef]:
        """All groups of this device."""
        return [GroupRef(ref) for ref in self._groups]

    async def create_group(self) -> GroupRef:
        """Makes a group with this device alone."""
        relay = await self._session()
        async with self._lock:
            group_id = os.urandom(16)
            epoch = self._engine.create(group_id)
            self._persist()
            answer = await relay.call("POST", "/v1/groups", GroupAnswer, {"group_id": group_id, "epoch": epoch})
            try:
                ref = GroupRef.parse(answer.group)
            except ValueError:
                raise RelayError(RelayReason.BAD_ANSWER) from None
            record = GroupRecord(ref.value, group_id, chain_start(group_id, epoch))
            self._remember(record)
            return ref

    async def add_account(self, ref: GroupRef, account: AccountId, identity_key: PublicKey | None = None) -> int:
        """Adds every device of an account; returns the epoch. A lost race is proposed again on the winner's epoch.

        Raises:
            GateError: the relay showed a device or leaf that the account did not sign (A1); nothing was sent.
            DeviceError: KEY_PACKAGES_EXHAUSTED, LOST_RACE, GROUP_STOPPED.
        """
        packages = await self.claim(account, identity_key)
        present = self._leaf_keys(ref)
        adds = {
            device: package for device, package in packages.items() if self._leaf_of(account, device) not in present
        }
        return await self._race(
            ref,
            lambda group_id: self._engine.add(group_id, list(adds.values())),
            adds=[str(device) for device in adds],
        )

    async def remove_device(self, ref: GroupRef, device: DeviceId) -> int:
        """Removes one member device; returns the epoch."""

        def propose(group_id: bytes) -> CommitBundle:
            for member in self._engine.roster(group_id):
                owner = self.directory.of_leaf(member.identity)
                if owner is not None and owner[1].device == device:
                    return self._engine.remove(group_id, [member.leaf])
            raise GateError(GateReason.UNKNOWN_DEVICE, device=device)

        return await self._race(ref, propose, removes=[str(device)])

    async def refresh_keys(self, ref: GroupRef) -> int:
        """A commit that only gives this device fresh keys; returns the epoch."""
        return await self._race(ref, self._engine.update)

    async def claim(self, account: AccountId, identity_key: PublicKey | None = None) -> dict[DeviceId, bytes]:
        """One key package for each device of an account, all checked against its signed list (A1).

        Raises:
            GateError: one thing was wrong; none is used.
            DeviceError: KEY_PACKAGES_EXHAUSTED.
        """
        relay = await self._session()
        answer = await relay.call("POST", f"/v1/accounts/{account}/key-packages/claim", ClaimAnswer, {})
        head = await self.learn_account(account, identity_key)
        if self.directory.learn(account, [answer.device_list], identity_key) != head or answer.version != head.version:
            raise GateError(GateReason.LIST_REFUSED, account=account)
        found: dict[DeviceId, bytes] = {}
        for claimed in answer.packages:
            try:
                device = DeviceId.parse(claimed.device_id)
            except ValueError:
                raise GateError(GateReason.UNKNOWN_DEVICE) from None
            entry = head.find(device)
            if entry is None or device == self.device:
                raise GateError(GateReason.UNKNOWN_DEVICE, device=device)
            if device in found:
                raise GateError(GateReason.DUPLICATE_DEVICE, device=device)
            screen_key_package(claimed.key_package, entry)
            found[device] = claimed.key_package
        if answer.exhausted or not found:
            raise DeviceError(DeviceReason.KEY_PACKAGES_EXHAUSTED, missing=len(answer.exhausted))
        return found

    # -- messages -------------------------------------------------------------------------------------------------

    async def send(self, ref: GroupRef, content: bytes) -> MessageId:
        """Encrypts, stores, and hands over to the stream (or the next :meth:`flush`). Durable when it returns.

        Raises:
            DeviceError: UNKNOWN_GROUP, GROUP_STOPPED.
            EnvelopeError: TOO_LARGE.
            EngineError: a commit is under way, or this device was removed.
        """
        async with self._lock:
            message = MessageId(os.urandom(16))
            outgoing = self._sealed(self._live(ref), envelopes.EnvelopeKind.CONTENT, message, content)
            self._persist(outbox=(msgspec.msgpack.encode(outgoing),))
        self._wake()
        return message

    async def mark_read(self, received: events.Received) -> None:
        """Sends a read receipt."""
        body = envelopes.ReceiptBody(
            MessageId(received.message), DeviceId(received.device), envelopes.digest(received.content)
        )
        async with self._lock:
            record = self._live(GroupRef(received.group))
            outgoing = self._sealed(record, envelopes.EnvelopeKind.READ, MessageId(os.urandom(16)), body.encode())
            self._persist(outbox=(msgspec.msgpack.encode(outgoing),))
        self._wake()

    def inbox(self) -> list[tuple[int, events.DeviceEvent]]:
        """What was received and not taken over yet, by position."""
        return [(position, events.decode(data)) for position, data in self._store.inbox()]

    async def take(self, positions: Sequence[int]) -> None:
        """The application has these events; they are deleted here."""
        async with self._lock:
            self._store.commit(Change(taken=tuple(positions)))

    async def sync(self) -> int:
        """Fetches the mailbox over HTTP until it is empty; returns how many items were taken."""
        relay = await self._session()
        await self.settle()
        taken = 0
        while True:
            path = f"/v1/devices/{self.device}/mailbox"
            query = f"?after={self._store.cursor}&limit={MAILBOX_PAGE}"
            page = (await relay.call("GET", path + query, MailboxAnswer)).items
            if not page:
                return taken
            items = [Item.of_mailbox(entry) for entry in page]
            await self._take_items(items)
            taken += len(items)
            through = {"through": self._store.cursor, "state_counter": self._store.state_counter}
            await relay.call("POST", f"{path}/ack", AckAnswer, through)

    async def flush(self) -> int:
        """Sends the outbox over HTTP; returns how many were accepted."""
        relay = await self._session()
        accepted = 0
        for sending, outgoing in self._outgoing(0, stream.MAX_ITEMS):
            path = f"/v1/groups/{GroupRef(outgoing.ref)}/messages"
            message = {"client_message_id": outgoing.message_ref, "body": outgoing.body}
            body = {"messages": [message], "state_counter": self._store.state_counter}
            answer = await relay.call("POST", path, SendAnswer, body)
            if len(answer.results) != 1 or answer.results[0].client_message_id != outgoing.message_ref:
                raise RelayError(RelayReason.BAD_ANSWER)
            result = answer.results[0]
            status = _HTTP_RESULTS.get(result.code if result.status == "refused" else result.status)
            accepted += result.status in {"accepted", "duplicate"}
            if status is not None:
                await self.answered([(sending, stream.Result(status, stream.NO_ID, stream.NO_HASH))])
        return accepted

    # -- the stream's side ----------------------------------------------------------------------------------------

    def attach(self, wake: Callable[[], None]) -> None:
        """Names what is called when the outbox grows: ``DeviceStream.wake``."""
        self._wake = wake

    def cursor(self) -> int:
        """The last mailbox sequence in the stored state."""
        return self._store.cursor

    async def delivered(self, first_seq: int, items: Sequence[stream.Delivery]) -> int:
        """Takes a run of the mailbox; the state is durable when it returns."""
        run: list[Item] = []
        for offset, delivery in enumerate(items):
            body = delivery.body or await self._large_body(first_seq + offset)
            run.append(Item(first_seq + offset, delivery.kind, delivery.group_ref, delivery.accepted_ms, body))
        await self.settle()
        await self._take_items(run)
        return self._store.cursor

    def waiting(self, after: int, limit: int) -> list[Sending]:
        """Outbox entries after a position."""
        return [sending for sending, _ in self._outgoing(after, limit)]

    async def answered(self, results: Sequence[tuple[Sending, stream.Result]]) -> None:
        """Takes the relay's answers into the state."""
        async with self._lock:
            entries = dict(self._store.outbox())
            sent: list[int] = []
            again: list[bytes] = []
            findings: list[bytes] = []
            for sending, result in results:
                data = entries.get(sending.position)
                if data is None or result.status is stream.ResultStatus.OVERLOADED:
                    continue
                sent.append(sending.position)
                if result.status in {stream.ResultStatus.ACCEPTED, stream.ResultStatus.DUPLICATE}:
                    continue
                outgoing = msgspec.msgpack.decode(data, type=Outgoing)
                if result.status is stream.ResultStatus.EPOCH_TOO_OLD:
                    resealed = self._resealed(outgoing)
                    if resealed is not None:
                        again.append(msgspec.msgpack.encode(resealed))
                        continue
                code = result.status.name.lower()
                findings.append(events.encode(events.Finding(outgoing.ref, "send", code, stopped=False)))
            self._persist(outbox=tuple(again), sent=tuple(sent), inbox=tuple(findings))
        if again:
            self._wake()

    async def settle(self) -> None:
        """Learns the fate of commits that were under way when the device last stopped."""
        for ref in [GroupRef(name) for name in self._store.entries(PENDING)]:
            async with self._lock:
                try:
                    await self._submit(ref)
                except DeviceError as error:
                    if error.reason is not DeviceReason.LOST_RACE:
                        raise

    def close(self) -> None:
        """Removes the engine's traces from memory storage and closes the store."""
        self._engine.close()
        self._store.close()

    # -- inside ---------------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        for data in self._store.entries(GROUPS).values():
            record = msgspec.msgpack.decode(data, type=GroupRecord)
            self._groups[record.ref] = record
        for data in self._store.entries(PENDING).values():
            pending = msgspec.msgpack.decode(data, type=PendingCommit)
            self._engine.resume(self._groups[pending.ref].group_id, pending.pending_state)

    async def _session(self) -> RelayCalls:
        await self.token(renew=False)
        return self._relay

    def _persist(
        self,
        *,
        put: tuple[tuple[str, bytes, bytes], ...] = (),
        gone: tuple[tuple[str, bytes], ...] = (),
        outbox: tuple[bytes, ...] = (),
        sent: tuple[int, ...] = (),
        inbox: tuple[bytes, ...] = (),
        cursor: int | None = None,
    ) -> None:
        """One durable step with whatever the engine changed. When it fails, memory goes back to what is durable."""
        changes = self._engine.take_changes()
        try:
            self._store.commit(Change(changes, put, gone, outbox, sent, inbox, (), cursor))
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        """Memory becomes what is durable."""
        self._engine.close()
        self._engine = self._make_engine(self._keys.leaf, self._store.engine_parts())
        self._groups.clear()
        self._resume()

    def _remember(self, record: GroupRecord) -> None:
        self._persist(put=((GROUPS, record.ref, msgspec.msgpack.encode(record)),))
        self._groups[record.ref] = record

    def _live(self, ref: GroupRef) -> GroupRecord:
        record = self.group(ref)
        if record.stopped:
            raise DeviceError(DeviceReason.GROUP_STOPPED, group=ref)
        return record

    def _leaf_keys(self, ref: GroupRef) -> set[bytes]:
        return {member.identity for member in self._engine.roster(self._live(ref).group_id)}

    def _leaf_of(self, account: AccountId, device: DeviceId) -> bytes:
        head = self.directory.head(account)
        entry = head.find(device) if head else None
        return entry.leaf_key if entry else b""

    def _sealed(
        self, record: GroupRecord, kind: envelopes.EnvelopeKind, message: MessageId, content: bytes
    ) -> Outgoing:
        """Envelope and MLS; the caller persists it before it leaves."""
        head = self.directory.head(self.account)
        if head is None:
            raise DeviceError(DeviceReason.NOT_ENROLLED)
        mine = self._keys
        epoch = self._engine.epoch(record.group_id)
        plain = envelopes.Envelope(
            kind, self.account, self.device, head.version, head.digest(), record.group_id, epoch, message, content
        )
        sealed = envelopes.seal(plain, mine.tenant_id, mine.environment, mine.envelope_key())
        body = self._engine.encrypt(record.group_id, sealed)
        return Outgoing(record.ref, os.urandom(16), body, int(kind), message.value, content)

    def _resealed(self, outgoing: Outgoing) -> Outgoing | None:
        """The same words under the current epoch, or None when the group is over for this device."""
        try:
            record = self._live(GroupRef(outgoing.ref))
            kind = envelopes.EnvelopeKind(outgoing.kind)
            return self._sealed(record, kind, MessageId(outgoing.message), outgoing.content)
        except (DeviceError, EngineError):
            return None

    def _outgoing(self, after: int, limit: int) -> list[tuple[Sending, Outgoing]]:
        found: list[tuple[Sending, Outgoing]] = []
        for position, data in self._store.outbox():
            if position > after and len(found) < limit:
                entry = msgspec.msgpack.decode(data, type=Outgoing)
                target = stream.Submission(stream.TargetKind.GROUP, entry.ref, entry.message_ref, entry.body)
                found.append((Sending(position, target), entry))
        return found

    async def _race(
        self,
        ref: GroupRef,
        propose: Callable[[bytes], CommitBundle],
        adds: Sequence[str] = (),
        removes: Sequence[str] = (),
    ) -> int:
        """Proposes until a commit wins, at most :data:`MAX_RACES` times."""
        for attempt in range(1, MAX_RACES + 1):
            async with self._lock:
                record = self._live(ref)
                bundle = propose(record.group_id)
                pending = PendingCommit(
                    ref.value,
                    bundle.base_epoch,
                    bundle.commit,
                    list(bundle.welcomes),
                    bundle.group_info,
                    bundle.pending_state,
                    list(adds),
                    list(removes),
                    os.urandom(16),
                )
                self._persist(put=((PENDING, ref.value, msgspec.msgpack.encode(pending)),))
                try:
                    return await self._submit(ref)
                except DeviceError as error:
                    if error.reason is not DeviceReason.LOST_RACE or attempt == MAX_RACES:
                        raise
            await self.sync()
        raise DeviceError(DeviceReason.LOST_RACE)

    async def _submit(self, ref: GroupRef) -> int:
        """Sends the stored pending commit; confirms or discards it. Unreachable leaves it pending."""
        data = self._store.get(PENDING, ref.value)
        if data is None:
            raise DeviceError(DeviceReason.LOST_RACE)
        pending = msgspec.msgpack.decode(data, type=PendingCommit)
        record = self.group(ref)
        relay = await self._session()
        gone = ((PENDING, ref.value),)
        counter = self._store.state_counter
        try:
            answer = await relay.call(
                "POST", f"/v1/groups/{ref}/commits", CommitAnswer, _bundle(pending, record, counter)
            )
        except RelayError as error:
            if error.reason not in _FINAL:
                raise
            self._engine.discard(record.group_id)
            self._persist(gone=gone)
            if error.reason is RelayReason.WRONG_EPOCH:
                raise DeviceError(DeviceReason.LOST_RACE) from None
            raise
        chain = chain_next(record.chain, pending.base_epoch, pending.commit)
        if not record.chain:
            # Welcomed devices hold no head yet: the first one they are told is what later ones must follow.
            chain = answer.chain
        stopped = "" if answer.chain == chain else "log_forked"
        inbox = (events.encode(events.Finding(ref.value, "commit", stopped, stopped=True)),) if stopped else ()
        self._engine.confirm(record.group_id)
        after = GroupRecord(record.ref, record.group_id, chain, stopped)
        self._persist(put=((GROUPS, ref.value, msgspec.msgpack.encode(after)),), gone=gone, inbox=inbox)
        self._groups[ref.value] = after
        return answer.epoch

    async def _take_items(self, items: Sequence[Item]) -> None:
        async with self._lock:
            inbound = Inbound(
                self._engine, self.directory, self._store, self._keys, dict(self._groups), self._hints, self._sealed
            )
            try:
                change = await inbound.take(items)
            except BaseException:
                self._roll_back()
                raise
            self._persist(put=change.put, outbox=change.outbox, inbox=change.inbox, cursor=change.cursor)
            self._groups = inbound.groups
        if change.outbox:
            self._wake()

    async def _hints(self, ref: GroupRef, from_epoch: int | None) -> None:
        """Fetches and verifies the lists of accounts that the relay names; what it says is only where to look."""
        relay = await self._session()
        if from_epoch is None:
            hints = (await relay.call("GET", f"/v1/groups/{ref}", GroupView)).members
        else:
            path = f"/v1/groups/{ref}/commits?from_epoch={from_epoch}"
            hints = [hint for entry in (await relay.call("GET", path, CommitsAnswer)).commits for hint in entry.adds]
        for account in dict.fromkeys(hint.account_id for hint in hints):
            try:
                await self.learn_account(AccountId.parse(account))
            except ValueError:
                raise RelayError(RelayReason.BAD_ANSWER) from None

    async def _large_body(self, sequence: int) -> bytes:
        """A body that does not fit a frame."""
        relay = await self._session()
        path = f"/v1/devices/{self.device}/mailbox?after={sequence - 1}&limit=1"
        items = (await relay.call("GET", path, MailboxAnswer)).items
        if len(items) != 1 or items[0].sequence != sequence:
            raise RelayError(RelayReason.BAD_ANSWER)
        return items[0].body


_FINAL: Final = frozenset(
    {
        RelayReason.WRONG_EPOCH,
        RelayReason.REFUSED,
        RelayReason.FORBIDDEN,
        RelayReason.NOT_FOUND,
        RelayReason.CONFLICT,
    }
)
"""Answers after which a pending commit will never be accepted."""

_HTTP_RESULTS: Final = {
    "accepted": stream.ResultStatus.ACCEPTED,
    "duplicate": stream.ResultStatus.DUPLICATE,
    "quarantined": stream.ResultStatus.QUARANTINED,
    "not_found": stream.ResultStatus.UNKNOWN_TARGET,
    "epoch_too_old": stream.ResultStatus.EPOCH_TOO_OLD,
    "epoch_ahead": stream.ResultStatus.WRONG_EPOCH,
    "not_a_member": stream.ResultStatus.NOT_ALLOWED,
    "client_message_conflict": stream.ResultStatus.CONFLICT,
    "too_large": stream.ResultStatus.TOO_LARGE,
    "wrong_group": stream.ResultStatus.UNKNOWN_TARGET,
    "bad_body": stream.ResultStatus.QUARANTINED,
}


def _bundle(pending: PendingCommit, record: GroupRecord, state_counter: int) -> dict[str, object]:
    # One welcome for each added device, in order; engines that make one for all repeat it.
    welcomes = [
        {"recipients": [device], "welcome": welcome}
        for device, welcome in zip(pending.adds, pending.welcomes, strict=True)
    ]
    return {
        "group_id": record.group_id,
        "base_epoch": pending.base_epoch,
        "commit": pending.commit,
        "welcomes": welcomes,
        "group_info": pending.group_info,
        "adds": pending.adds,
        "removes": pending.removes,
        "idempotency_key": pending.idempotency_key,
        "state_counter": state_counter,
    }


def new_identity() -> tuple[bytes, PublicKey]:
    """A fresh account identity: the seed to keep, the key to register."""
    seed = os.urandom(keys.SEED)
    return seed, SoftwareKey(KeyFamily.IDENTITY, Suite.ED25519, seed).public
