"""Asking the relay to wake this device by Web Push while it is not connected."""

from typing import Final, final

from letterlock.client.errors import DeviceError, DeviceReason
from letterlock.client.relay import PushAnswer, PushOffer
from letterlock.client.session import Session
from letterlock.client.state import DeviceState
from letterlock.wire.webpush import Subscription


@final
class Wakes:
    """Whether there is push, and where to.

    Args:
        state: the device.
        session: logs in when needed.
    """

    def __init__(self, state: DeviceState, session: Session) -> None:
        self._state: Final = state
        self._session: Final = session

    async def key(self) -> bytes:
        """See :meth:`letterlock.client.device.Device.wake_key`."""
        offer = await (await self._session.relay()).call("GET", "/v1/push", PushOffer)
        if not offer.offered:
            raise DeviceError(DeviceReason.PUSH_NOT_OFFERED)
        return offer.public_key

    async def register(self, subscription: Subscription) -> int:
        """See :meth:`letterlock.client.device.Device.wake_at`."""
        body: dict[str, object] = {
            "endpoint": subscription.endpoint,
            "p256dh": subscription.public,
            "auth": subscription.auth,
        }
        return (await (await self._session.relay()).call("PUT", self._path(), PushAnswer, body)).expires_ms

    async def remove(self) -> None:
        """See :meth:`letterlock.client.device.Device.wake_no_more`."""
        await (await self._session.relay()).order("DELETE", self._path())

    def _path(self) -> str:
        return f"/v1/devices/{self._state.keys.device_id}/push"
