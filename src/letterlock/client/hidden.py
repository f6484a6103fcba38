"""Sending without a session: by tokens that recipients handed out, over a connection of its own.

Each message of such a group is encrypted once by MLS and sealed once more for every recipient's device, under the key
of one of its tokens. Tokens are taken in the durable step that puts the copies into the outbox, and a copy never goes
over the session: where there is no token, nothing is encrypted and the caller is told.
"""

import os
from collections.abc import Callable
from typing import Final, final

import httpx
import msgspec

from letterlock.client import events, tokens
from letterlock.client.errors import DeviceError, DeviceReason, RelayError, RelayReason
from letterlock.client.floors import Put
from letterlock.client.groups import GroupRecord, Outgoing
from letterlock.client.relay import DeliveryAnswer, RelayCalls, RevokedTokens, TokensAnswer
from letterlock.client.session import Session
from letterlock.client.state import DeviceState
from letterlock.client.tokens import BUNDLE, HELD, HIDDEN, ISSUED, LOW, SEED_BYTES, Bundle, Entry, Issued
from letterlock.model.ids import DeviceId, GroupRef
from letterlock.wire.delivery import NONCE_BYTES

Get = Callable[[str, bytes], bytes | None]
_AT_ONCE: Final = 1_024
"""Hashes a call: what the relay takes."""
WAITS_MS: Final = 30 * 86_400_000
"""How long a message may wait in a mailbox after its token was spent."""
_OF_THE_TOKEN: Final = frozenset({RelayReason.FORBIDDEN, RelayReason.CONFLICT})
"""The token is of no use any more: unknown to the relay, or spent on something else."""


@final
class Hidden:
    """Tokens of one device: those it handed out, those it got, and what goes by them.

    Args:
        state: the device.
        session: for handing out: the relay must know whose tokens they are.
        apart: an ``httpx.AsyncClient`` with the gateway's base URL that shares nothing with the session's; None where
            the application has none, and then nothing can be hidden.
    """

    def __init__(self, state: DeviceState, session: Session, apart: httpx.AsyncClient | None) -> None:
        self._state: Final = state
        self._session: Final = session
        self._apart: Final = None if apart is None else RelayCalls(apart)

    # -- who sends how ----------------------------------------------------------------------------------------------

    def on(self, ref: bytes) -> bool:
        """Whether this device sends in a group by tokens alone."""
        return self._state.store.get(HIDDEN, ref) is not None

    def require_way(self) -> None:
        """Returns only where there is a connection apart.

        Raises:
            DeviceError: NO_WAY_APART.
        """
        if self._apart is None:
            raise DeviceError(DeviceReason.NO_WAY_APART)

    async def begin(self, ref: GroupRef) -> None:
        """From now on this device sends in the group by tokens alone.

        Raises:
            DeviceError: UNKNOWN_GROUP, GROUP_STOPPED, NO_WAY_APART.
        """
        self.require_way()
        async with self._state.lock:
            record = self._state.live(ref)
            self._state.persist(put=((HIDDEN, record.ref, b"1"),))

    async def end(self, ref: GroupRef) -> None:
        """From now on it sends over its session again: the relay sees who sends."""
        async with self._state.lock:
            self._state.persist(gone=((HIDDEN, self._state.group(ref).ref),))

    def recipients(self, record: GroupRecord) -> list[bytes]:
        """The devices of the other leaves; a leaf that no verified list names has none.

        Raises:
            DeviceError: NO_DELIVERY_TOKENS: such a leaf can have handed out none.
        """
        mine = self._state.keys.device_id
        devices = [self._state.directory.device_of(leaf) for _, leaf in self._state.roster(record).leaves]
        found = [one.value for one in devices if one is not None and one != mine]
        if len(found) != len(devices) - 1:
            raise DeviceError(DeviceReason.NO_DELIVERY_TOKENS)
        return found

    # -- sending ----------------------------------------------------------------------------------------------------

    def require(self, record: GroupRecord, get: Get) -> None:
        """Returns only where every recipient's device has handed out a token that is left: before anything is sealed.

        Raises:
            DeviceError: NO_DELIVERY_TOKENS, with the first device that has none.
        """
        now = self._state.clock.now_ms()
        for device in self.recipients(record):
            if tokens.take(self._held(device, get), now)[0] is None:
                raise DeviceError(DeviceReason.NO_DELIVERY_TOKENS, device=DeviceId(device))

    def ready(self, record: GroupRecord) -> bool:
        """Whether :meth:`require` would return."""
        try:
            self.require(record, self._state.store.get)
        except DeviceError:
            return False
        return True

    def copies(self, record: GroupRecord, outgoing: Outgoing, get: Get) -> tuple[list[Outgoing], tuple[Put, ...]]:
        """One copy of a message for each recipient's device, each with its token; and what is left of the tokens.

        Raises:
            DeviceError: NO_DELIVERY_TOKENS.
        """
        made: list[Outgoing] = []
        put: list[Put] = []
        for device in self.recipients(record):
            copy, left = self._copy(outgoing, device, outgoing.body, get)
            if copy is None:
                raise DeviceError(DeviceReason.NO_DELIVERY_TOKENS, device=DeviceId(device))
            made.append(copy)
            put.append(left)
        return made, tuple(put)

    def _copy(self, outgoing: Outgoing, device: bytes, message: bytes, get: Get) -> tuple[Outgoing | None, Put]:
        token, left = tokens.take(self._held(device, get), self._state.clock.now_ms())
        put = (HELD, device, msgspec.msgpack.encode(left))
        if token is None:
            return None, put
        body = tokens.seal(token, message, os.urandom(NONCE_BYTES))
        fields = {"body": body, "content": message, "token": token.shown, "device": device}
        return msgspec.structs.replace(outgoing, **fields), put

    async def flush(self) -> int:
        """Sends what waits by tokens; returns how many were accepted.

        Raises:
            DeviceError: NO_WAY_APART.
            RelayError: unreachable, or takes none now: the rest goes with the next call.
        """
        accepted = 0
        waiting = [
            (position, entry)
            for position, data in self._state.store.outbox()
            if (entry := msgspec.msgpack.decode(data, type=Outgoing)).token
        ]
        if waiting:
            self.require_way()
        for position, entry in waiting:
            accepted += await self._send(position, entry)
        return accepted

    async def _send(self, position: int, entry: Outgoing) -> int:
        assert self._apart is not None, "the caller has made sure"
        try:
            await self._apart.call("POST", "/v1/deliveries", DeliveryAnswer, {"token": entry.token, "body": entry.body})
        except RelayError as error:
            if error.reason not in {*_OF_THE_TOKEN, RelayReason.REFUSED}:
                raise
            return await self._refused(position, entry, error)
        async with self._state.lock:
            self._state.persist(sent=(position,))
        return 1

    async def _refused(self, position: int, entry: Outgoing, error: RelayError) -> int:
        """Another token, if there is one: it may have been revoked, or spent by a state that was lost."""
        async with self._state.lock:
            code, again, put = str(error.reason), None, None
            if error.reason in _OF_THE_TOKEN:
                again, put = self._copy(entry, entry.device, entry.content, self._state.store.get)
                code = str(DeviceReason.NO_DELIVERY_TOKENS)
            said = () if again is not None else (events.encode(events.Finding(entry.ref, "send", code, stopped=False)),)
            encoded = () if again is None else (msgspec.msgpack.encode(again),)
            at = self._state.persist(put=() if put is None else (put,), outbox=encoded, sent=(position,), inbox=said)
        return 0 if again is None else await self._send(at[0], again)

    def _held(self, device: bytes, get: Get) -> list[Bundle]:
        data = get(HELD, device)
        return [] if data is None else msgspec.msgpack.decode(data, type=list[Bundle])

    # -- handing out ------------------------------------------------------------------------------------------------

    def wanting(self, record: GroupRecord) -> list[bytes]:
        """Members' devices that hold few tokens of this device, or none."""
        now = self._state.clock.now_ms()
        left: dict[bytes, int] = {}
        for data in self._state.store.entries(ISSUED).values():
            one = msgspec.msgpack.decode(data, type=Issued)
            if one.until_ms > now and one.used < one.count:
                left[one.device] = left.get(one.device, 0) + one.count - one.used
        return [device for device in self.recipients(record) if left.get(device, 0) <= LOW]

    async def make(self, devices: list[bytes]) -> list[Entry]:
        """New bundles for these devices: the relay has their hashes, and this device knows them again.

        They are told to the relay together, in the order of their hashes: it cannot see which of them one device gets.

        Raises:
            RelayError: refused or unreachable; nothing was handed out.
        """
        seeds = [os.urandom(SEED_BYTES) for _ in devices]
        told: list[bytes] = []
        for seed in seeds:
            told += tokens.hashes(seed, BUNDLE)
        relay = await self._session.relay()
        path = f"/v1/devices/{self._state.keys.device_id}/delivery-tokens"
        until = 0
        for at in range(0, len(told), _AT_ONCE):
            part = sorted(told[at : at + _AT_ONCE])
            until = (await relay.call("POST", path, TokensAnswer, {"hashes": part})).expires_ms
        return [Entry(device, seed, BUNDLE, until) for device, seed in zip(devices, seeds, strict=True)]

    def handed(self, entries: list[Entry]) -> tuple[tuple[Put, ...], tuple[tuple[str, bytes], ...]]:
        """What to write with the message that hands these out, and what to delete: nothing comes of old ones."""
        put = [
            (ISSUED, one.seed, msgspec.msgpack.encode(Issued(one.device, one.count, one.until_ms))) for one in entries
        ]
        over = self._state.clock.now_ms() - WAITS_MS
        kept = self._state.store.entries(ISSUED).items()
        old = [(seed, msgspec.msgpack.decode(data, type=Issued)) for seed, data in kept]
        gone = [(ISSUED, seed) for seed, one in old if one.until_ms < over]
        return tuple(put), tuple(gone)

    async def revoke(self, device: DeviceId) -> int:
        """Whatever a device still holds of this one is worth nothing any more; returns how many tokens were live.

        Raises:
            RelayError: refused or unreachable: what was not revoked is still known here.
        """
        relay = await self._session.relay()
        path = f"/v1/devices/{self._state.keys.device_id}/delivery-tokens/revoke"
        ended = 0
        for seed, data in self._state.store.entries(ISSUED).items():
            one = msgspec.msgpack.decode(data, type=Issued)
            if one.device != device.value:
                continue
            body: dict[str, object] = {"hashes": sorted(tokens.hashes(seed, one.count))}
            ended += (await relay.call("POST", path, RevokedTokens, body)).revoked
            async with self._state.lock:
                # What was taken before is on its way and opens still; no more is counted on.
                spent = msgspec.structs.replace(one, used=one.count)
                self._state.persist(put=((ISSUED, seed, msgspec.msgpack.encode(spent)),))
        return ended
