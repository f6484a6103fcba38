"""The routes of delivery tokens, and the one that takes messages without a session (docs/protocol/devices.md, 14)."""

from typing import Final

from letterlock.faces.http import device_schemas as s
from letterlock.faces.http.device_calls import caller_of, guard, own_device, problems
from letterlock.faces.http.routes import Access, Answer, Call, Route
from letterlock.gateway.deliveries import Deliveries
from letterlock.relay.errors import RelayError
from letterlock.storage.relay_commands import RelayReason

_R = RelayReason
MAX_BODY: Final = 96 << 10
"""Bytes of a delivery as JSON: the largest body in base64, and the token."""
_CREDENTIALS: Final = (b"authorization", b"cookie")


class _Handlers:
    """One method a route."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    async def add(self, call: Call) -> Answer:
        own_device(call)
        live, until = await self._deliveries.add(caller_of(call), call.body.hashes)
        return Answer(200, s.TokensAnswer(live, until))

    async def revoke(self, call: Call) -> Answer:
        own_device(call)
        return Answer(200, s.RevokedTokens(await self._deliveries.revoke(caller_of(call), call.body.hashes)))

    async def deliver(self, call: Call) -> Answer:
        if any(name in call.headers for name in _CREDENTIALS):
            # A client that sends them by mistake would tell who it is with every message.
            raise RelayError(_R.BAD_DELIVERY)
        done = await self._deliveries.deliver(call.body.token, call.body.body)
        status = "duplicate" if done.repeated else "accepted"
        return Answer(200, s.DeliveryAnswer(status, "msg_" + done.message_id.hex(), done.record_hash.hex()))


def delivery_routes(deliveries: Deliveries) -> tuple[Route, ...]:
    """The entries of the route table."""
    do = _Handlers(deliveries)
    own = (_R.NOT_FOUND, _R.NOT_YOUR_DEVICE, _R.SESSION_ENDED)
    tokens = "/v1/devices/{device_id}/delivery-tokens"
    return (
        Route(
            "POST", tokens, "addDeliveryTokens", "Take a message from whoever shows a token of one of these hashes.",
            Access.DEVICE, guard(do.add), s.TokenHashes, {200: s.TokensAnswer},
            problems(*own, _R.DELIVERIES_NOT_OFFERED, _R.TOO_MANY_TOKENS, _R.TOKEN_TAKEN),
        ),
        Route(
            "POST", f"{tokens}/revoke", "revokeDeliveryTokens", "Tokens that are worth nothing any more.",
            Access.DEVICE, guard(do.revoke), s.TokenHashes, {200: s.RevokedTokens}, problems(*own),
        ),
        Route(
            "POST", "/v1/deliveries", "deliver", "One message for whoever handed out this token; without credentials.",
            Access.PUBLIC, guard(do.deliver), s.NewDelivery, {200: s.DeliveryAnswer},
            problems(_R.BAD_DELIVERY, _R.TOKEN_REFUSED, _R.IDEMPOTENCY_CONFLICT, _R.MAILBOX_QUOTA), (), MAX_BODY,
        ),
    )  # fmt: skip
