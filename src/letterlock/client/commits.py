"""Groups and their commits: proposed, stored, offered to the relay, and only then counted.

A commit that is under way survives a crash: its bundle is stored before it leaves, and :mod:`letterlock.client.pending`
offers the very same one again.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import msgspec

from letterlock.assurance.envelope import EnvelopeKind
from letterlock.client import events
from letterlock.client.engine import CommitBundle
from letterlock.client.enrolment import Accounts
from letterlock.client.errors import DeviceError, DeviceReason, GateError, GateReason, RelayError, RelayReason
from letterlock.client.groups import GROUPS, PENDING, SPOKEN, GroupRecord, Outgoing, PendingCommit, chain_start
from letterlock.client.handshakes import WAITING, WITHHELD, Words
from letterlock.client.pending import PendingCommits
from letterlock.client.receiving import Receiving
from letterlock.client.relay import GroupAnswer
from letterlock.client.session import Session
from letterlock.client.state import DeviceState
from letterlock.model.ids import AccountId, DeviceId, GroupRef
from letterlock.wire.preimage import PublicKey

MAX_RACES: Final = 3
"""Times a lost commit is proposed anew before the caller hears of it."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A commit of the engine, and whose mailboxes it adds and removes."""

    bundle: CommitBundle
    adds: Sequence[str] = ()
    removes: Sequence[str] = ()


@final
class Commits:
    """Makes groups and changes them."""

    def __init__(
        self, state: DeviceState, session: Session, accounts: Accounts, receiving: Receiving, pending: PendingCommits
    ) -> None:
        self._state: Final = state
        self._session: Final = session
        self._accounts: Final = accounts
        self._receiving: Final = receiving
        self._pending: Final = pending

    async def create_group(self, replaces: GroupRef | None = None) -> GroupRef:
        """Makes a group with this device alone; ``replaces`` names the quarantined one that it follows."""
        relay = await self._session.relay()
        async with self._state.lock:
            group_id = os.urandom(16)
            epoch = self._state.engine.create(group_id)
            self._state.persist()
            body: dict[str, object] = {"group_id": group_id, "epoch": epoch}
            if replaces is not None:
                body["replaces"] = str(replaces)
            answer = await relay.call("POST", "/v1/groups", GroupAnswer, body)
            try:
                ref = GroupRef.parse(answer.group)
            except ValueError:
                raise RelayError(RelayReason.BAD_ANSWER) from None
            self._state.remember(GroupRecord(ref.value, group_id, chain_start(group_id, epoch), joined=epoch))
            return ref

    async def add_account(self, ref: GroupRef, account: AccountId, identity_key: PublicKey | None) -> int:
        """See :meth:`letterlock.client.device.Device.add_account`."""
        packages = await self._accounts.claim(account, identity_key)
        return await self._add(ref, account, packages)

    async def add_devices(self, ref: GroupRef, account: AccountId, devices: Sequence[DeviceId]) -> int:
        """Adds some devices of an account; returns the epoch. Raises as :meth:`add_account`."""
        return await self._add(ref, account, await self._accounts.claim(account, None, devices))

    async def _add(self, ref: GroupRef, account: AccountId, packages: dict[DeviceId, bytes]) -> int:
        def propose(group_id: bytes) -> Proposal | None:
            # Looked at each time: whoever won the race may have added some of them.
            present = self._state.leaf_keys(ref)
            adds = {
                device: package
                for device, package in packages.items()
                if self._state.leaf_of(account, device) not in present
            }
            if not adds:
                return None
            return Proposal(self._state.engine.add(group_id, list(adds.values())), adds=[str(name) for name in adds])

        return await self.race(ref, propose)

    async def remove_device(self, ref: GroupRef, device: DeviceId) -> int:
        """Removes one member device; returns the epoch."""

        def propose(group_id: bytes) -> Proposal | None:
            for member in self._state.engine.roster(group_id):
                if self._state.directory.device_of(member.identity) == device:
                    return Proposal(self._state.engine.remove(group_id, [member.leaf]), removes=[str(device)])
            raise GateError(GateReason.UNKNOWN_DEVICE, device=device)

        return await self.race(ref, propose)

    async def refresh_keys(self, ref: GroupRef) -> int:
        """A commit that only gives this device fresh keys; returns the epoch."""

        def propose(group_id: bytes) -> Proposal | None:
            # Looked up each time: a roll-back between two attempts makes another engine.
            return Proposal(self._state.engine.update(group_id))

        return await self.race(ref, propose)

    async def forget(self, ref: GroupRef) -> None:
        """See :meth:`letterlock.client.device.Device.forget_group`."""
        async with self._state.lock:
            record = self._state.group(ref)
            if not record.stopped:
                raise DeviceError(DeviceReason.GROUP_GOES_ON, group=ref)
            self._state.engine.forget(record.group_id)
            # Words that the relay has not taken go with the keys that sealed them: sealed anew after coming back they
            # would reach people whom nobody had in mind. Whoever wrote them is told.
            store = self._state.store
            waiting = [(at, msgspec.msgpack.decode(data, type=Outgoing)) for at, data in store.outbox()]
            waiting = [(at, entry) for at, entry in waiting if entry.ref == ref.value]
            held = {name: msgspec.msgpack.decode(data, type=Words) for name, data in store.entries(WAITING).items()}
            unsealed = {name for name, words in held.items() if words.ref == ref.value}
            words = unsealed | {entry.message for _, entry in waiting if EnvelopeKind(entry.kind).speaks}
            told = events.Finding(ref.value, "send", DeviceReason.GROUP_FORGOTTEN.value, stopped=False)
            kept = (GROUPS, PENDING, WITHHELD)
            # Their numbers are free again: members would else miss them, receipts too, once this device is back.
            spoken = min((entry.number for _, entry in waiting), default=0) - 1
            put = ((SPOKEN, ref.value, spoken.to_bytes(8)),) if waiting else ()
            self._state.persist(
                put=put,
                gone=(*((place, ref.value) for place in kept), *((WAITING, name) for name in unsealed)),
                sent=tuple(at for at, _ in waiting),
                inbox=(events.encode(told),) * len(words),
            )
            del self._state.groups[ref.value]

    async def race(self, ref: GroupRef, propose: Callable[[bytes], Proposal | None]) -> int:
        """Proposes until a commit wins, at most :data:`MAX_RACES` times, or until there is nothing left to propose."""
        for attempt in range(1, MAX_RACES + 1):
            await self._pending.settle()
            # What waits is taken first: the keys of its epoch do not outlive many commits.
            await self._receiving.sync()
            async with self._state.lock:
                record = self._state.live(ref)
                made = propose(record.group_id)
                if made is None:
                    return self._state.engine.epoch(record.group_id)
                bundle = made.bundle
                pending = PendingCommit(
                    ref.value,
                    bundle.base_epoch,
                    bundle.commit,
                    list(bundle.welcomes),
                    bundle.group_info,
                    bundle.pending_state,
                    list(made.adds),
                    list(made.removes),
                    os.urandom(16),
                )
                self._state.persist(put=((PENDING, ref.value, msgspec.msgpack.encode(pending)),))
                try:
                    return await self._pending.submit(ref)
                except DeviceError as error:
                    if error.reason is not DeviceReason.LOST_RACE or attempt == MAX_RACES:
                        raise
        raise DeviceError(DeviceReason.LOST_RACE)
