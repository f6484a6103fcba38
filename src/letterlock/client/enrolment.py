"""Accounts and their devices: registering, signing device lists, learning others', claiming key packages."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import msgspec

from letterlock.assurance.device_list import Device as ListedDevice
from letterlock.assurance.device_list import DeviceKind, DeviceList, first, sign_list, successor
from letterlock.client import keys
from letterlock.client.errors import DeviceError, DeviceReason, GateError, GateReason, RelayError, RelayReason
from letterlock.client.gate import screen_key_package
from letterlock.client.relay import (
    AccountAnswer,
    ClaimAnswer,
    KeyPackagesAnswer,
    ListAnswer,
    ListsAnswer,
    RelayCalls,
)
from letterlock.client.session import Session
from letterlock.client.state import DeviceState
from letterlock.client.store import Change, DeviceStore
from letterlock.model.ids import AccountId, DeviceId, TenantId
from letterlock.wire.preimage import KeyFamily, PublicKey, SoftwareKey, Suite

CAPABILITIES: Final = frozenset({"mls10"})


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an account's registration answered; goes into every signature from then on."""

    account: AccountId
    tenant: TenantId
    environment: str
    audience: str


def new_identity() -> tuple[bytes, PublicKey]:
    """A fresh account identity: the seed to keep, the key to register."""
    seed = os.urandom(keys.SEED)
    return seed, SoftwareKey(KeyFamily.IDENTITY, Suite.ED25519, seed).public


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
    store: DeviceStore,
    enrolment: Enrolment,
    kind: DeviceKind = DeviceKind.NATIVE,
    identity: bytes = b"",
    capabilities: frozenset[str] = frozenset(),
) -> None:
    """Gives a fresh store its keys.

    Args:
        store: a new one.
        enrolment: what the account's registration answered.
        kind: native or web.
        identity: the account's identity seed, on the devices that hold it.
        capabilities: what this device lists beside ``mls10``: with :data:`letterlock.client.handshakes.CAPABILITY` it
            begins every conversation with the session handshake, and holds others who list it to that.
    """
    made = keys.fresh(
        enrolment.tenant,
        enrolment.environment,
        enrolment.audience,
        enrolment.account,
        kind,
        identity,
        capabilities,
    )
    store.commit(Change(put=((keys.PLACE, keys.NAME, msgspec.msgpack.encode(made)),)))


@final
class Accounts:
    """The signed side of a device: its own account's list, other accounts' lists, and key packages both ways."""

    def __init__(self, state: DeviceState, session: Session) -> None:
        self._state: Final = state
        self._session: Final = session

    @property
    def entry(self) -> ListedDevice:
        """This device's own line for the account's device list."""
        return self._state.keys.entry(self._state.engine.leaf_key, CAPABILITIES)

    async def publish_list(self, others: Sequence[ListedDevice], tenant_key: str) -> DeviceList:
        """See :meth:`letterlock.client.device.Device.publish_list`."""
        mine = self._state.keys
        identity = mine.identity_key()
        if identity is None:
            raise DeviceError(DeviceReason.NO_IDENTITY_KEY)
        account, directory = mine.account_id, self._state.directory
        devices = [self.entry, *others]
        held = directory.head(account)
        now = self._state.clock.now_ms()
        shown = first(account, now, identity.public, devices) if held is None else successor(held, now, devices)
        signed = sign_list(shown, mine.tenant_id, mine.environment, identity).encode()
        caller = self._session.with_key(tenant_key) if tenant_key else await self._session.relay()
        await caller.call("POST", f"/v1/accounts/{account}/devices", ListAnswer, {"device_list": signed})
        directory.learn(account, [signed], identity.public)
        return shown

    async def learn(self, account: AccountId, identity_key: PublicKey | None = None) -> DeviceList:
        """Fetches and verifies an account's device lists up to the current one.

        Raises:
            GateError: LIST_REFUSED.
            RelayError: refused or unreachable.
        """
        return await self._learn(await self._session.relay(), account, identity_key)

    async def learn_own(self, tenant_key: str) -> DeviceList:
        """The own account's lists, for a device that no list names yet; verified against the identity key it holds.

        Raises:
            GateError: LIST_REFUSED.
            RelayError: refused or unreachable.
        """
        identity = self._state.keys.identity_key()
        public = identity.public if identity is not None else None
        return await self._learn(self._session.with_key(tenant_key), self._state.keys.account_id, public)

    async def _learn(self, relay: RelayCalls, account: AccountId, identity_key: PublicKey | None) -> DeviceList:
        directory = self._state.directory
        while True:
            since = directory.version(account)
            answer = await relay.call("GET", f"/v1/accounts/{account}/device-list?since={since}", ListsAnswer)
            head = directory.learn(account, [entry.device_list for entry in answer.versions], identity_key)
            if head is None or answer.current_version < head.version:
                raise GateError(GateReason.LIST_REFUSED, account=account)
            if head.version == answer.current_version:
                return head
            if not answer.versions:
                raise GateError(GateReason.LIST_REFUSED, account=account)

    async def publish_key_packages(self, count: int) -> int:
        """Makes and publishes key packages; returns how many the relay holds now."""
        relay = await self._session.relay()
        async with self._state.lock:
            made = self._state.engine.key_packages(count)
            self._state.persist()
        packages = [{"key_package": package, "last_resort": False} for package in made]
        path = f"/v1/devices/{self._state.keys.device_id}/key-packages"
        return (await relay.call("PUT", path, KeyPackagesAnswer, {"packages": packages})).available

    async def claim(
        self, account: AccountId, identity_key: PublicKey | None, devices: Sequence[DeviceId] | None = None
    ) -> dict[DeviceId, bytes]:
        """One key package for each device of an account, or of ``devices``, all checked against its signed list (A1).

        Raises:
            GateError: one thing was wrong; none is used.
            DeviceError: KEY_PACKAGES_EXHAUSTED.
        """
        relay = await self._session.relay()
        wanted = {} if devices is None else {"devices": [str(device) for device in devices]}
        answer = await relay.call("POST", f"/v1/accounts/{account}/key-packages/claim", ClaimAnswer, wanted)
        head = await self.learn(account, identity_key)
        shown = self._state.directory.learn(account, [answer.device_list], identity_key)
        if shown != head or answer.version != head.version:
            raise GateError(GateReason.LIST_REFUSED, account=account)
        found: dict[DeviceId, bytes] = {}
        for claimed in answer.packages:
            try:
                device = DeviceId.parse(claimed.device_id)
            except ValueError:
                raise GateError(GateReason.UNKNOWN_DEVICE) from None
            entry = head.find(device)
            if entry is None or device == self._state.keys.device_id:
                raise GateError(GateReason.UNKNOWN_DEVICE, device=device)
            if device in found:
                raise GateError(GateReason.DUPLICATE_DEVICE, device=device)
            screen_key_package(claimed.key_package, entry, self._state.clock.now_ms())
            found[device] = claimed.key_package
        if answer.exhausted or not found:
            raise DeviceError(DeviceReason.KEY_PACKAGES_EXHAUSTED, missing=len(answer.exhausted))
        return found
