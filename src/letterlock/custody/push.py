"""Sealing of push subscriptions at rest: padded to one length, for a length tells the push service."""

from typing import Final

from letterlock.custody.sealing import Entropy, SealingError, SealingReason, StorageKey, seal, unseal
from letterlock.model.ids import DeviceId, TenantId
from letterlock.wire.webpush import AUTH_BYTES, MAX_ENDPOINT, PUBLIC_BYTES, Subscription

COLUMN_PUSH: Final = "push"
_LENGTH: Final = PUBLIC_BYTES + AUTH_BYTES + 2 + MAX_ENDPOINT


def seal_subscription(
    key: StorageKey, tenant: TenantId, device: DeviceId, subscription: Subscription, entropy: Entropy
) -> bytes:
    """Seals a checked subscription."""
    endpoint = subscription.endpoint.encode("ascii")
    framed = subscription.public + subscription.auth + len(endpoint).to_bytes(2) + endpoint
    return seal(key, tenant, device, COLUMN_PUSH, framed.ljust(_LENGTH, b"\0"), entropy)


def unseal_subscription(key: StorageKey, tenant: TenantId, device: DeviceId, blob: bytes) -> Subscription:
    """The subscription again.

    Raises:
        SealingError: as :func:`letterlock.custody.sealing.unseal`; BAD_ADDRESS for a frame that is not ours.
    """
    framed = unseal(key, tenant, device, COLUMN_PUSH, blob)
    at = PUBLIC_BYTES + AUTH_BYTES
    size = int.from_bytes(framed[at : at + 2])
    if len(framed) != _LENGTH or size > MAX_ENDPOINT:
        raise SealingError(SealingReason.BAD_ADDRESS)
    endpoint = framed[at + 2 : at + 2 + size]
    return Subscription(endpoint.decode("ascii"), framed[:PUBLIC_BYTES], framed[PUBLIC_BYTES:at])
