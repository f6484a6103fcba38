"""A device's own keys and names, sealed in its store."""

import os
from collections.abc import Iterable
from typing import Final

import msgspec

from letterlock.assurance.device_list import Device as ListedDevice
from letterlock.assurance.device_list import DeviceKind
from letterlock.model.ids import AccountId, DeviceId, TenantId
from letterlock.wire.preimage import KeyFamily, SoftwareKey, Suite

PLACE: Final = "device"
NAME: Final = b"keys"
SEED: Final = 32


class DeviceKeys(msgspec.Struct, frozen=True):
    """Seeds of 32 bytes, one for each job, and where they hold. ``identity`` is empty on a linked device.

    ``capabilities`` are those that its line on the signed list names beside what every device of this SDK can.
    """

    tenant: bytes
    environment: str
    audience: str
    account: bytes
    device: bytes
    kind: str
    identity: bytes
    envelope: bytes
    session: bytes
    leaf: bytes
    capabilities: list[str] = []

    def __repr__(self) -> str:
        return "<DeviceKeys>"

    @property
    def tenant_id(self) -> TenantId:
        """The tenant."""
        return TenantId(self.tenant)

    @property
    def account_id(self) -> AccountId:
        """The account."""
        return AccountId(self.account)

    @property
    def device_id(self) -> DeviceId:
        """This device."""
        return DeviceId(self.device)

    def identity_key(self) -> SoftwareKey | None:
        """Signs device lists; None on a device that does not hold it."""
        return SoftwareKey(KeyFamily.IDENTITY, Suite.ED25519, self.identity) if self.identity else None

    def envelope_key(self) -> SoftwareKey:
        """Signs envelopes and receipts."""
        return SoftwareKey(KeyFamily.ENVELOPE, Suite.ED25519, self.envelope)

    def session_key(self) -> SoftwareKey:
        """Signs logins."""
        return SoftwareKey(KeyFamily.SESSION, Suite.ED25519, self.session)

    def entry(self, leaf_key: bytes, capabilities: frozenset[str]) -> ListedDevice:
        """What the account's device list says of this device."""
        return ListedDevice(
            self.device_id,
            DeviceKind(self.kind),
            self.envelope_key().public,
            leaf_key,
            self.session_key().public,
            capabilities | frozenset(self.capabilities),
        )


def fresh(
    tenant: TenantId,
    environment: str,
    audience: str,
    account: AccountId,
    kind: DeviceKind,
    identity: bytes,
    capabilities: Iterable[str] = (),
) -> DeviceKeys:
    """New keys for a new device."""
    return DeviceKeys(
        tenant.value,
        environment,
        audience,
        account.value,
        os.urandom(16),
        kind.value,
        identity,
        os.urandom(SEED),
        os.urandom(SEED),
        os.urandom(SEED),
        sorted(capabilities),
    )
