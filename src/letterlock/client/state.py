"""What one device is at this moment: its store, its keys, its MLS engine and its groups, in step with one another.

Every change is one durable step (:meth:`DeviceState.persist`); when the store refuses it, memory goes back to what is
durable. ``lock`` is held by whoever changes anything: one coroutine at a time.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple, final

import msgspec

from letterlock.assurance.receipts import roster_hash
from letterlock.client import keys
from letterlock.client.directory import Directory
from letterlock.client.engine import PAST_EPOCHS, EngineFactory
from letterlock.client.errors import DeviceError, DeviceReason
from letterlock.client.floors import DeviceFloors, Put, of_account
from letterlock.client.groups import GROUPS, PENDING, GroupRecord, PendingCommit
from letterlock.client.receipts import ReceiptBook
from letterlock.client.sent import REPORTS, ROSTERS, epoch_name
from letterlock.client.store import Change, DeviceStore
from letterlock.client.tokens import ISSUED, Issued, Token, derive
from letterlock.model.clock import Clock
from letterlock.model.ids import AccountId, DeviceId, GroupRef
from letterlock.model.protection import Protection
from letterlock.wire.delivery import hash_of, name_of


class Roster(NamedTuple):
    """The members of a group at an epoch: leaf index and leaf key, and :func:`roster_hash` over them."""

    epoch: int
    leaves: tuple[tuple[int, bytes], ...]
    digest: bytes


@final
class DeviceState:
    """The state of one device, on its store.

    Args:
        store: what is durable.
        clock: wall time.
        make_engine: makes the MLS engine.

    Raises:
        DeviceError: NOT_ENROLLED: the store holds no keys.
    """

    def __init__(self, store: DeviceStore, clock: Clock, make_engine: EngineFactory) -> None:
        held = store.get(keys.PLACE, keys.NAME)
        if held is None:
            raise DeviceError(DeviceReason.NOT_ENROLLED)
        self.store: Final = store
        self.keys: Final = msgspec.msgpack.decode(held, type=keys.DeviceKeys)
        self.clock: Final = clock
        self.lock: Final = asyncio.Lock()
        self.floors: Final = DeviceFloors(store, self.keys)
        self.directory: Final = Directory(store, self.keys.tenant_id, self.keys.environment, self.floors)
        self.groups: dict[bytes, GroupRecord] = {}
        self.wake: Callable[[], None] = lambda: None
        """Called when the outbox grows."""
        self.book: Final = ReceiptBook(self.keys, self.directory, self.floors)
        self._rosters: dict[bytes, Roster] = {}
        self._tokens: dict[bytes, tuple[bytes, Token]] | None = None
        self.login_counter: int | None = None
        """What a login under way states."""
        self._make_engine: Final = make_engine
        self.engine = make_engine(self.keys.leaf, store.engine_parts())
        self._resume()

    def group(self, ref: GroupRef) -> GroupRecord:
        """What is kept of a group.

        Raises:
            DeviceError: UNKNOWN_GROUP.
        """
        record = self.groups.get(ref.value)
        if record is None:
            raise DeviceError(DeviceReason.UNKNOWN_GROUP)
        return record

    def live(self, ref: GroupRef) -> GroupRecord:
        """The same for a group that is neither stopped nor left.

        Raises:
            DeviceError: UNKNOWN_GROUP, GROUP_STOPPED.
        """
        record = self.group(ref)
        if record.stopped:
            raise DeviceError(DeviceReason.GROUP_STOPPED, group=ref)
        return record

    def stated_counter(self) -> int:
        """The counter that calls state now.

        While a login is under way it is the one before: the relay takes a login only with a number above all that it
        has heard, and a call on another connection could be heard first.
        """
        return self.store.state_counter if self.login_counter is None else self.login_counter - 1

    def leaf_keys(self, ref: GroupRef) -> set[bytes]:
        """The leaf keys of a group's members now."""
        return {member.identity for member in self.engine.roster(self.live(ref).group_id)}

    def leaf_of(self, account: AccountId, device: DeviceId) -> bytes:
        """The leaf key that an account lists for a device; empty when it lists none."""
        head = self.directory.head(account)
        entry = head.find(device) if head else None
        return entry.leaf_key if entry else b""

    def roster(self, record: GroupRecord) -> Roster:
        """The members at the group's epoch; read from the engine once per epoch, which costs more than encrypting."""
        epoch = self.engine.epoch(record.group_id)
        held = self._rosters.get(record.ref)
        if held is None or held.epoch != epoch:
            leaves = tuple((member.leaf, member.identity) for member in self.engine.roster(record.group_id))
            held = Roster(epoch, leaves, roster_hash(record.group_id, epoch, leaves))
            self._rosters[record.ref] = held
        return held

    def leaving(self, record: GroupRecord) -> tuple[tuple[Put, ...], tuple[tuple[str, bytes], ...]]:
        """What to write and delete when a group leaves its epoch: receipts for its messages still name its roster."""
        roster = self.roster(record)
        put = ((ROSTERS, epoch_name(record.ref, roster.epoch), roster.digest),)
        old = roster.epoch - PAST_EPOCHS
        if old < 0:
            return put, ()
        return put, ((ROSTERS, epoch_name(record.ref, old)), (REPORTS, epoch_name(record.ref, old)))

    def require_floor(self, record: GroupRecord) -> None:
        """Returns only when a message to this group stays at or above the floor of every member's account.

        A leaf that no verified list names (any more) can read what is sent, and nobody answers for it.

        Raises:
            DeviceError: BELOW_FLOOR.
        """
        owners = [self.directory.of_leaf(leaf) for _, leaf in self.roster(record).leaves]
        path = Protection.UNKNOWN if None in owners else Protection.E2EE
        accounts = {owner[0] for owner in owners if owner is not None} - {self.keys.account_id}
        self.floors.require([of_account(account) for account in sorted(accounts)], path)

    def persist(
        self,
        *,
        put: tuple[tuple[str, bytes, bytes], ...] = (),
        gone: tuple[tuple[str, bytes], ...] = (),
        outbox: tuple[bytes, ...] = (),
        sent: tuple[int, ...] = (),
        inbox: tuple[bytes, ...] = (),
        cursor: int | None = None,
    ) -> list[int]:
        """One durable step with whatever the engine changed. When it fails, memory goes back to what is durable.

        Returns:
            the positions of the new outbox entries.
        """
        changes = self.engine.take_changes()
        try:
            return self.store.commit(Change(changes, put, gone, outbox, sent, inbox, (), cursor))[0]
        except BaseException:
            self.roll_back()
            raise

    def remember(self, record: GroupRecord) -> None:
        """Keeps a group's record."""
        self.persist(put=((GROUPS, record.ref, msgspec.msgpack.encode(record)),))
        self.groups[record.ref] = record

    def close_group(self, ref: GroupRef, why: str) -> None:
        """Nothing more is taken or sent in this group."""
        self.remember(msgspec.structs.replace(self.group(ref), stopped=why))

    def roll_back(self) -> None:
        """Memory becomes what is durable."""
        self.engine.close()
        self.engine = self._make_engine(self.keys.leaf, self.store.engine_parts())
        self.groups.clear()
        self._rosters.clear()
        self._tokens = None
        self._resume()

    def issued_token(self, name: bytes) -> tuple[bytes, Token] | None:
        """The token of this name that this device handed out, and the seed of its bundle."""
        if self._tokens is None:
            self._tokens = {}
            for seed, data in self.store.entries(ISSUED).items():
                for place in range(msgspec.msgpack.decode(data, type=Issued).count):
                    token = derive(seed, place)
                    self._tokens[name_of(hash_of(token.shown))] = (seed, token)
        return self._tokens.get(name)

    def forget_tokens(self) -> None:
        """What was handed out has changed."""
        self._tokens = None

    def close(self) -> None:
        """Removes the engine's traces from memory storage and closes the store."""
        self.engine.close()
        self.store.close()

    def _resume(self) -> None:
        for data in self.store.entries(GROUPS).values():
            record = msgspec.msgpack.decode(data, type=GroupRecord)
            self.groups[record.ref] = record
        for data in self.store.entries(PENDING).values():
            pending = msgspec.msgpack.decode(data, type=PendingCommit)
            self.engine.resume(self.groups[pending.ref].group_id, pending.pending_state)
