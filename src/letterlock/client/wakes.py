"""Asking the relay to wake this device by a push service while it is not connected."""

from typing import Final, final

from letterlock.client.errors import DeviceError, DeviceReason
from letterlock.client.relay import PushAnswer, PushOffer
from letterlock.client.session import Session
from letterlock.client.state import DeviceState
from letterlock.wire.push_targets import PushKind, PushTarget, WebTarget


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
        if PushKind.WEB.value not in offer.kinds:
            raise DeviceError(DeviceReason.PUSH_NOT_OFFERED)
        return offer.public_key

    async def register(self, target: PushTarget) -> int:
        """See :meth:`letterlock.client.device.Device.wake_at`."""
        if isinstance(target, WebTarget):
            one = target.subscription
            body: dict[str, object] = {"endpoint": one.endpoint, "p256dh": one.public, "auth": one.auth}
            path = self._path()
        else:
            body, path = {"token": target.token}, f"{self._path()}/{target.kind.value}"
        return (await (await self._session.relay()).call("PUT", path, PushAnswer, body)).expires_ms

    async def remove(self) -> None:
        """See :meth:`letterlock.client.device.Device.wake_no_more`."""
        await (await self._session.relay()).order("DELETE", self._path())

    def _path(self) -> str:
        return f"/v1/devices/{self._state.keys.device_id}/push"
