"""The account's signed device list: versioned, hash-chained, verified against the identity key.

The account's identity key signs every version. A version names the hash of the one before it, so two lists with
the same number and different hashes are evidence that somebody shows different peers different devices. The value and
its encoding are in ``assurance.devices``; everything that callers need can be imported from here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from letterlock.assurance.device_codec import parse_body, parse_signed
from letterlock.assurance.devices import (
    MAX_CAPABILITIES,
    MAX_DEVICES,
    MAX_LEAF_KEY,
    NO_PREVIOUS,
    Device,
    DeviceKind,
    DeviceList,
    DeviceListError,
    ListReason,
    SignedDeviceList,
)
from letterlock.model.ids import AccountId, DeviceId, TenantId
from letterlock.wire.preimage import PublicKey, Purpose, Scope, SignatureError, Signer, context_hash, sign, verify

__all__ = [
    "AUDIENCE",
    "MAX_CAPABILITIES",
    "MAX_DEVICES",
    "MAX_LEAF_KEY",
    "NO_PREVIOUS",
    "Device",
    "DeviceKind",
    "DeviceList",
    "DeviceListError",
    "ListChange",
    "ListReason",
    "SignedDeviceList",
    "changes",
    "device_of_leaf",
    "first",
    "leaf_key_listed",
    "parse_body",
    "parse_signed",
    "sign_list",
    "successor",
    "verify_chain",
    "verify_first",
    "verify_next",
]

AUDIENCE: Final = "device-list"


@dataclass(frozen=True, slots=True)
class ListChange:
    """What a version changed, for people and for the gate that screens commits."""

    added: frozenset[DeviceId]
    removed: frozenset[DeviceId]
    altered: frozenset[DeviceId]


def sign_list(content: DeviceList, tenant: TenantId, environment: str, signer: Signer) -> SignedDeviceList:
    """Signs a version with the account's identity key.

    Raises:
        DeviceListError: the signer is not the identity key that the list names.
        PreimageError: the arguments make no preimage.
    """
    if signer.public != content.identity_key:
        raise DeviceListError(ListReason.ANOTHER_IDENTITY_KEY)
    scope = _scope(content.account, tenant, environment)
    return SignedDeviceList(content, sign(signer, Purpose.DEVICE_LIST, scope, content.body()))


def verify_first(
    signed: SignedDeviceList,
    account: AccountId,
    tenant: TenantId,
    environment: str,
    identity_key: PublicKey | None = None,
) -> DeviceList:
    """Checks version 1 of an account: the start of a chain.

    Args:
        signed: what was shown.
        account: whose list it must be.
        tenant: where it holds.
        environment: where it holds.
        identity_key: the key that is already believed, when there is one; without it this is trust on first use.

    Raises:
        DeviceListError: another account or key, not a first version, or a signature that does not verify.
    """
    if signed.content.version != 1:
        raise DeviceListError(ListReason.FIRST_VERSION_EXPECTED, version=signed.content.version)
    if identity_key is not None and signed.content.identity_key != identity_key:
        raise DeviceListError(ListReason.ANOTHER_IDENTITY_KEY)
    return _verified(signed, account, tenant, environment)


def verify_next(held: DeviceList, signed: SignedDeviceList, tenant: TenantId, environment: str) -> DeviceList:
    """Checks that a list follows the one held, or is the one held.

    A new identity key is refused, whoever signs: a person with a new identity key is a new account to its peers.

    Raises:
        DeviceListError: another account or key, a gap, a step back, a fork, or a bad signature.
    """
    shown = signed.content
    if shown.identity_key != held.identity_key:
        raise DeviceListError(ListReason.ANOTHER_IDENTITY_KEY)
    # The signature comes first: an unsigned "fork" is no evidence against anybody.
    _verified(signed, held.account, tenant, environment)
    if shown.version == held.version:
        if shown.digest() != held.digest():
            raise DeviceListError(ListReason.FORKED, version=shown.version)
        return held
    if shown.version != held.version + 1:
        raise DeviceListError(ListReason.VERSION_NOT_NEXT, held=held.version, shown=shown.version)
    if shown.previous != held.digest():
        raise DeviceListError(ListReason.PREVIOUS_HASH_WRONG, version=shown.version)
    return shown


def verify_chain(
    versions: Iterable[SignedDeviceList],
    account: AccountId,
    tenant: TenantId,
    environment: str,
    identity_key: PublicKey | None = None,
) -> DeviceList:
    """Checks a chain from version 1 to its head, and returns the head.

    Raises:
        DeviceListError: the first fault found; an empty chain is FIRST_VERSION_EXPECTED.
    """
    head: DeviceList | None = None
    for signed in versions:
        head = (
            verify_first(signed, account, tenant, environment, identity_key)
            if head is None
            else verify_next(head, signed, tenant, environment)
        )
    if head is None:
        raise DeviceListError(ListReason.FIRST_VERSION_EXPECTED, version=0)
    return head


def first(account: AccountId, issued_ms: int, identity_key: PublicKey, devices: Iterable[Device]) -> DeviceList:
    """Version 1 with these devices, in any order.

    Raises:
        DeviceListError: out of bounds, or a device or key that stands twice.
    """
    return DeviceList(account, 1, NO_PREVIOUS, issued_ms, identity_key, _ordered(devices))


def successor(held: DeviceList, issued_ms: int, devices: Iterable[Device]) -> DeviceList:
    """The next version after ``held``, with these devices, in any order.

    Raises:
        DeviceListError: out of bounds, or a device or key that stands twice.
    """
    return DeviceList(held.account, held.version + 1, held.digest(), issued_ms, held.identity_key, _ordered(devices))


def device_of_leaf(held: DeviceList, leaf_key: bytes) -> Device | None:
    """The device whose MLS leaf uses this signature key, or None (a ghost: refuse it)."""
    return next((entry for entry in held.devices if entry.leaf_key == leaf_key), None)


def leaf_key_listed(held: DeviceList, leaf_key: bytes) -> bool:
    """Whether the account itself listed this MLS signature key."""
    return device_of_leaf(held, leaf_key) is not None


def changes(before: DeviceList, after: DeviceList) -> ListChange:
    """What changed between two versions of one account."""
    old = {entry.device: entry for entry in before.devices}
    new = {entry.device: entry for entry in after.devices}
    return ListChange(
        added=frozenset(new.keys() - old.keys()),
        removed=frozenset(old.keys() - new.keys()),
        altered=frozenset(device for device in old.keys() & new.keys() if old[device] != new[device]),
    )


def _verified(signed: SignedDeviceList, account: AccountId, tenant: TenantId, environment: str) -> DeviceList:
    content = signed.content
    if content.account != account:
        raise DeviceListError(ListReason.ANOTHER_ACCOUNT)
    scope = _scope(account, tenant, environment)
    try:
        verify(content.identity_key, Purpose.DEVICE_LIST, scope, content.body(), signed.signature)
    except SignatureError:
        raise DeviceListError(ListReason.SIGNATURE_REFUSED, version=content.version) from None
    return content


def _scope(account: AccountId, tenant: TenantId, environment: str) -> Scope:
    return Scope(tenant, environment, AUDIENCE, context_hash(account.value))


def _ordered(devices: Iterable[Device]) -> tuple[Device, ...]:
    return tuple(sorted(devices, key=lambda entry: entry.device.value))
