"""After a loss: a lost device is struck off and removed everywhere; a device that lost its state begins anew.

The engine has no way to update a leaf in another member's name, so recovery is removal and addition: a new version of
the signed list first (the lost device can log in no more), then a removal commit in each group. Nothing here is done
because the relay says so.
"""

from dataclasses import dataclass
from enum import Enum, unique
from typing import Final, final

from letterlock.assurance.device_list import DeviceList
from letterlock.client.commits import Commits
from letterlock.client.enrolment import Accounts
from letterlock.client.errors import (
    DeviceError,
    DeviceReason,
    EngineError,
    GateError,
    GateReason,
    RelayError,
    RelayReason,
)
from letterlock.client.relay import GroupView
from letterlock.client.session import Session
from letterlock.client.state import DeviceState
from letterlock.model.ids import DeviceId, GroupRef


@unique
class Removal(Enum):
    """How far the removal from one group got."""

    REMOVED = "removed"
    """A commit took its leaf out: what is sent from that epoch on, it cannot open."""
    PENDING = "pending"
    """Not yet: the relay was not reached, or others were faster. Call again; until then it can still read."""
    STOPPED = "stopped"
    """The group is stopped on this device, which can remove nobody there: another member must, or a new group."""


@dataclass(frozen=True, slots=True)
class GroupExposure:
    """What a lost device could read of one group.

    Attributes:
        group: which.
        known_since: the epoch since which this device knows the group; the lost one may have been there before.
        last_epoch: the last epoch whose messages it can open: up to here it could read everything that was sent.
        removal: how far its removal got; with anything but REMOVED, ``last_epoch`` is only the present one.
    """

    group: GroupRef
    known_since: int
    last_epoch: int
    removal: Removal


@dataclass(frozen=True, slots=True)
class LossStatement:
    """What the loss of a device means. It is no proof of what was read, but of what could be.

    Attributes:
        device: which was lost.
        list_version: the first version of the account's list that names it no more.
        at_ms: when this was stated, by this device's clock.
        groups: each group of this device that the lost one was a member of.
        store_opens_with: what a finder needs beside the device: its client key. With it, also messages that the
            application had not taken over, and whatever the application kept itself, are readable.
        identity_key: whether the account's identity key may have been on it; who has that can sign device lists.
    """

    device: DeviceId
    list_version: int
    at_ms: int
    groups: tuple[GroupExposure, ...]
    store_opens_with: str = "client_key"
    identity_key: str = "may_have_been_on_it"

    @property
    def complete(self) -> bool:
        """Whether it is out of every group that this device knows."""
        return all(exposure.removal is Removal.REMOVED for exposure in self.groups)


@final
class Recovery:
    """Removes, re-adds, and starts over."""

    def __init__(self, state: DeviceState, session: Session, accounts: Accounts, commits: Commits) -> None:
        self._state: Final = state
        self._session: Final = session
        self._accounts: Final = accounts
        self._commits: Final = commits

    async def remove_lost(self, device: DeviceId) -> LossStatement:
        """See :meth:`letterlock.client.device.Device.remove_lost`."""
        mine = self._state.keys
        if device == mine.device_id:
            raise DeviceError(DeviceReason.NOT_THIS_DEVICE, device=device)
        head = await self._accounts.learn(mine.account_id)
        if head.find(device) is not None:
            others = [entry for entry in head.devices if entry.device not in {device, mine.device_id}]
            head = await self._accounts.publish_list(others, "")
        refs = [GroupRef(name) for name in self._state.groups]
        exposures = [await self._expel(ref, device) for ref in refs if self._is_in(ref, device)]
        return LossStatement(device, head.version, self._state.clock.now_ms(), tuple(exposures))

    async def repair(self, ref: GroupRef) -> int:
        """See :meth:`letterlock.client.device.Device.repair_group`."""
        record = self._state.live(ref)
        roster = self._state.roster(record)
        owners = (self._state.directory.account_of(leaf) for _, leaf in roster.leaves)
        accounts = sorted({account for account in owners if account is not None})
        heads = [await self._accounts.learn(account) for account in accounts]
        # Removal first: whoever is welcomed refuses a roster with a leaf that nobody lists.
        for _, leaf in roster.leaves:
            device = self._state.directory.device_of(leaf)
            if device is not None and not self._state.directory.listed(leaf):
                await self._commits.remove_device(ref, device)
        for head in heads:
            present = self._state.leaf_keys(ref)
            missing = [
                entry.device
                for entry in head.devices
                if entry.leaf_key not in present and entry.device != self._state.keys.device_id
            ]
            if missing:
                await self._commits.add_devices(ref, head.account, missing)
        return self._state.engine.epoch(record.group_id)

    async def replace(self, ref: GroupRef) -> GroupRef:
        """See :meth:`letterlock.client.device.Device.replace_group`."""
        record = self._state.group(ref)
        leaves = [member.identity for member in self._state.engine.roster(record.group_id)]
        found = {owner[0] for leaf in leaves if (owner := self._state.directory.of_leaf(leaf)) is not None}
        fresh = await self._commits.create_group(ref if await self._quarantined(ref) else None)
        mine = self._state.keys.account_id
        for account in sorted(found):
            head = await self._accounts.learn(account)
            others = [entry.device for entry in head.devices if entry.device != self._state.keys.device_id]
            if others or account != mine:
                await self._commits.add_devices(fresh, account, others)
        if not record.stopped:
            for leaf in leaves:
                device = self._state.directory.device_of(leaf)
                if device is not None and device != self._state.keys.device_id:
                    await self._commits.remove_device(ref, device)
            async with self._state.lock:
                self._state.close_group(ref, str(DeviceReason.GROUP_REPLACED))
        return fresh

    async def begin_anew(self, instead_of: DeviceId, tenant_key: str) -> DeviceList:
        """See :meth:`letterlock.client.device.Device.begin_anew`."""
        mine = self._state.keys
        if mine.identity_key() is None:
            raise DeviceError(DeviceReason.NO_IDENTITY_KEY)
        head = await self._accounts.learn_own(tenant_key)
        if head.find(instead_of) is None:
            raise GateError(GateReason.UNKNOWN_DEVICE, device=instead_of)
        others = [entry for entry in head.devices if entry.device not in {instead_of, mine.device_id}]
        return await self._accounts.publish_list(others, tenant_key)

    async def _quarantined(self, ref: GroupRef) -> bool:
        """Whether the relay says so: then it records which group the new one follows."""
        relay = await self._session.relay()
        try:
            view = await relay.call("GET", f"/v1/groups/{ref}", GroupView)
        except RelayError as error:
            if error.reason in {RelayReason.FORBIDDEN, RelayReason.NOT_FOUND}:
                return False
            raise
        return view.quarantine is not None

    def _is_in(self, ref: GroupRef, device: DeviceId) -> bool:
        record = self._state.group(ref)
        members = self._state.engine.roster(record.group_id)
        return any(self._state.directory.device_of(member.identity) == device for member in members)

    async def _expel(self, ref: GroupRef, device: DeviceId) -> GroupExposure:
        record = self._state.group(ref)
        if record.stopped:
            now = self._state.engine.epoch(record.group_id)
            return GroupExposure(ref, record.joined, now, Removal.STOPPED)
        try:
            epoch = await self._commits.remove_device(ref, device)
        except (DeviceError, RelayError, GateError, EngineError):
            now = self._state.engine.epoch(record.group_id)
            removal = Removal.PENDING if self._is_in(ref, device) else Removal.REMOVED
            return GroupExposure(ref, record.joined, now - (removal is Removal.REMOVED), removal)
        return GroupExposure(ref, record.joined, epoch - 1, Removal.REMOVED)
