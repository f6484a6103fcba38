"""The routes of push subscriptions (docs/protocol/devices.md, section 14)."""

from letterlock.faces.http import device_schemas as s
from letterlock.faces.http.device_calls import caller_of, guard, own_device, problems
from letterlock.faces.http.routes import Access, Answer, Call, Route
from letterlock.relay.push import Push
from letterlock.storage.relay_commands import RelayReason
from letterlock.wire.push_targets import ApnsTarget, FcmTarget, PushTarget, WebTarget
from letterlock.wire.webpush import Subscription

_R = RelayReason


class _Handlers:
    """One method a route."""

    def __init__(self, push: Push, public_key: bytes) -> None:
        self._push = push
        self._public_key = public_key

    async def offer(self, call: Call) -> Answer:  # noqa: ARG002 - the same for every device
        return Answer(200, s.PushOffer(self._public_key, [kind.value for kind in self._push.kinds]))

    async def register_web(self, call: Call) -> Answer:
        body = call.body
        return await self._register(call, WebTarget(Subscription(body.endpoint, body.p256dh, body.auth)))

    async def register_apns(self, call: Call) -> Answer:
        return await self._register(call, ApnsTarget(call.body.token))

    async def register_fcm(self, call: Call) -> Answer:
        return await self._register(call, FcmTarget(call.body.token))

    async def _register(self, call: Call, target: PushTarget) -> Answer:
        device = own_device(call)
        return Answer(200, s.PushAnswer(await self._push.register(caller_of(call), device.device_id, target)))

    async def remove(self, call: Call) -> Answer:
        await self._push.remove(own_device(call).mailbox)
        return Answer(204)


def push_routes(push: Push, public_key: bytes) -> tuple[Route, ...]:
    """The entries of the route table. None gives a subscription back.

    Args:
        push: the use case.
        public_key: of VAPID, uncompressed: what a device subscribes with.
    """
    do = _Handlers(push, public_key)
    own = (_R.NOT_FOUND, _R.NOT_YOUR_DEVICE)
    refusals = problems(*own, _R.SESSION_ENDED, _R.PUSH_NOT_OFFERED, _R.BAD_PUSH_SUBSCRIPTION, _R.PUSH_ENDPOINT_TAKEN)
    return (
        Route(
            "GET", "/v1/push", "getPush", "By which push services devices are woken, and the key for Web Push.",
            Access.DEVICE, guard(do.offer), None, {200: s.PushOffer},
        ),
        Route(
            "PUT", "/v1/devices/{device_id}/push", "putPush",
            "Wake this device by Web Push there, and nowhere else any more.",
            Access.DEVICE, guard(do.register_web), s.NewPushSubscription, {200: s.PushAnswer}, refusals,
        ),
        Route(
            "PUT", "/v1/devices/{device_id}/push/apns", "putApnsPush",
            "Wake this device by Apple's push service, and nowhere else any more.",
            Access.DEVICE, guard(do.register_apns), s.NewApnsToken, {200: s.PushAnswer}, refusals,
        ),
        Route(
            "PUT", "/v1/devices/{device_id}/push/fcm", "putFcmPush",
            "Wake this device by Firebase Cloud Messaging, and nowhere else any more.",
            Access.DEVICE, guard(do.register_fcm), s.NewFcmToken, {200: s.PushAnswer}, refusals,
        ),
        Route(
            "DELETE", "/v1/devices/{device_id}/push", "deletePush", "Wake this device no more.",
            Access.DEVICE, guard(do.remove), None, {204: None}, problems(*own),
        ),
    )  # fmt: skip
