"""Fixed keys, ids and lists that the tests of this room build on."""

from letterlock.assurance.device_list import Device, DeviceKind, DeviceList, first
from letterlock.model.ids import AccountId, DeviceId, TenantId
from letterlock.wire.preimage import KeyFamily, SoftwareKey, Suite

TENANT = TenantId(bytes([1]) * 16)
OTHER_TENANT = TenantId(bytes([2]) * 16)
ENVIRONMENT = "test"
ACCOUNT = AccountId(bytes([3]) * 16)
OTHER_ACCOUNT = AccountId(bytes([4]) * 16)


def key(family: KeyFamily, number: int, suite: Suite = Suite.ED25519) -> SoftwareKey:
    return SoftwareKey(family, suite, bytes([number]) * 32)


IDENTITY = key(KeyFamily.IDENTITY, 10)
OTHER_IDENTITY = key(KeyFamily.IDENTITY, 11)


def device(number: int, **changed: object) -> Device:
    fields: dict[str, object] = {
        "device": DeviceId(bytes([number]) * 16),
        "kind": DeviceKind.NATIVE,
        "envelope_key": key(KeyFamily.ENVELOPE, 100 + number).public,
        "leaf_key": bytes([number]) * 32,
        "session_key": key(KeyFamily.SESSION, 150 + number).public,
        "capabilities": frozenset({"mls10", "receipts"}),
    }
    return Device(**(fields | changed))  # type: ignore[arg-type]


def first_list(*numbers: int) -> DeviceList:
    return first(ACCOUNT, 1_700_000_000_000, IDENTITY.public, [device(number) for number in numbers])
