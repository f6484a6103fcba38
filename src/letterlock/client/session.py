"""The device's session: a fresh nonce, signed together with the state counter, for a short-lived token."""

import asyncio
from typing import Final, final

import httpx

from letterlock.client.errors import DeviceError, DeviceReason, RelayError, RelayReason
from letterlock.client.relay import NonceAnswer, RelayCalls, SessionAnswer
from letterlock.client.state import DeviceState
from letterlock.wire.preimage import Purpose, Scope, context_hash, sign

RENEW_BEFORE_MS: Final = 30_000
"""A token is renewed this long before its end, so that a call under way does not outlive it."""


@final
class Session:
    """Logs in when a call needs it.

    Args:
        state: the device.
        http: an ``httpx.AsyncClient`` with the gateway's base URL.
    """

    def __init__(self, state: DeviceState, http: httpx.AsyncClient) -> None:
        self._state: Final = state
        self._relay: Final = RelayCalls(http)
        self._ends_ms = 0
        self._last: SessionAnswer | None = None
        self._logging_in: Final = asyncio.Lock()

    async def relay(self) -> RelayCalls:
        """The relay's calls, with a valid token."""
        await self.token(renew=False)
        return self._relay

    def live_at(self, now_ms: int) -> bool:
        """Whether the relay gave a token that is still good: then it knows that the device is here."""
        return now_ms <= self._ends_ms

    def with_key(self, bearer: str) -> RelayCalls:
        """The relay's calls with a tenant key, or with nothing."""
        return RelayCalls(self._relay.http, bearer)

    async def token(self, renew: bool) -> str:
        """A valid session token; a fresh one when ``renew``."""
        if renew or not self._relay.bearer or self._state.clock.now_ms() > self._ends_ms - RENEW_BEFORE_MS:
            await self.login()
        return self._relay.bearer

    async def login(self) -> SessionAnswer:
        """Logs in.

        Raises:
            DeviceError: STATE_ROLLED_BACK: this is an old copy of the device; enrol a new one.
            RelayError: refused or unreachable.
        """
        before = self._relay.bearer
        async with self._logging_in:
            if self._last is not None and self._relay.bearer != before:
                return self._last
            try:
                self._last = await self._log_in()
            finally:
                self._state.login_counter = None
            return self._last

    async def _log_in(self) -> SessionAnswer:
        mine = self._state.keys
        path = f"/v1/devices/{mine.device_id}/session"
        open_relay = self.with_key("")
        nonce = (await open_relay.call("POST", f"{path}/nonce", NonceAnswer)).nonce
        counter = self._state.login_counter = self._state.store.count()
        scope = Scope(mine.tenant_id, mine.environment, mine.audience, context_hash(mine.account, mine.device))
        signature = sign(mine.session_key(), Purpose.SESSION, scope, nonce + counter.to_bytes(8))
        body = {"nonce": nonce, "state_counter": counter, "signature": signature.encode()}
        try:
            answer = await open_relay.call("POST", path, SessionAnswer, body)
        except RelayError as error:
            if error.reason is RelayReason.STATE_ROLLED_BACK:
                raise DeviceError(DeviceReason.STATE_ROLLED_BACK) from None
            raise
        if answer.mailbox_acknowledged > self._state.store.cursor:
            # The relay deleted what this state never saw: the state is older than the device (A18).
            raise DeviceError(DeviceReason.STATE_ROLLED_BACK)
        self._relay.bearer = answer.token
        self._ends_ms = answer.expires_ms
        return answer
