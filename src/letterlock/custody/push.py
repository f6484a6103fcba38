"""Sealing of push targets at rest: padded to one length, for a length tells the push service."""

from typing import Final

from letterlock.custody.sealing import Entropy, SealingError, SealingReason, StorageKey, seal, unseal
from letterlock.model.ids import DeviceId, TenantId
from letterlock.wire.push_targets import ApnsTarget, FcmTarget, PushTarget, WebTarget
from letterlock.wire.webpush import AUTH_BYTES, MAX_ENDPOINT, PUBLIC_BYTES, Subscription

COLUMN_PUSH: Final = "push"
_WEB, _APNS, _FCM = 1, 2, 3
_KEYS: Final = PUBLIC_BYTES + AUTH_BYTES
_LENGTH: Final = 1 + _KEYS + 2 + MAX_ENDPOINT


def seal_target(key: StorageKey, tenant: TenantId, device: DeviceId, target: PushTarget, entropy: Entropy) -> bytes:
    """Seals a checked target: ``u8 service || keys of Web Push || u16 length || address || zeros``."""
    keys = bytes(_KEYS)
    if isinstance(target, WebTarget):
        service, address = _WEB, target.subscription.endpoint.encode("ascii")
        keys = target.subscription.public + target.subscription.auth
    elif isinstance(target, ApnsTarget):
        service, address = _APNS, target.token
    else:
        service, address = _FCM, target.token.encode("ascii")
    framed = bytes((service,)) + keys + len(address).to_bytes(2) + address
    return seal(key, tenant, device, COLUMN_PUSH, framed.ljust(_LENGTH, b"\0"), entropy)


def unseal_target(key: StorageKey, tenant: TenantId, device: DeviceId, blob: bytes) -> PushTarget:
    """The target again.

    Raises:
        SealingError: as :func:`letterlock.custody.sealing.unseal`; BAD_ADDRESS for a frame that is not ours.
    """
    framed = unseal(key, tenant, device, COLUMN_PUSH, blob)
    at = 1 + _KEYS
    size = int.from_bytes(framed[at : at + 2])
    if len(framed) != _LENGTH or size > MAX_ENDPOINT:
        raise SealingError(SealingReason.BAD_ADDRESS)
    address = framed[at + 2 : at + 2 + size]
    if framed[0] == _WEB:
        public, auth = framed[1 : 1 + PUBLIC_BYTES], framed[1 + PUBLIC_BYTES : at]
        return WebTarget(Subscription(address.decode("ascii"), public, auth))
    if framed[0] == _APNS:
        return ApnsTarget(address)
    if framed[0] == _FCM:
        return FcmTarget(address.decode("ascii"))
    raise SealingError(SealingReason.BAD_ADDRESS)
