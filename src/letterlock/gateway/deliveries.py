"""Messages without a session: whoever holds a token that a device handed out puts one into its mailbox.

The relay learns where it goes and not whom it is from; nothing of the caller is looked at, kept or logged. No token, no
work: what does not lead to one costs a hash and one look into the store.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final, Protocol

from msgspec import Struct

from letterlock.assurance.assess import Path
from letterlock.custody.message_ids import MessageIds
from letterlock.custody.sealing import StorageKey, seal_sealed
from letterlock.gateway.hub import Hub
from letterlock.gateway.sealed_policy import PolicyInForce, SealedPolicy
from letterlock.gateway.shown import size_bucket
from letterlock.model.clock import Clock
from letterlock.model.ids import MessageId, TenantId
from letterlock.model.traces import Deliveries as Taken
from letterlock.policy.decision import Action
from letterlock.relay.errors import RelayError
from letterlock.relay.groups import MAX_STALE, Caller
from letterlock.relay.limits import DELIVERIES_AT_ONCE, TOKEN_TTL_MS, TOKENS_LIVE
from letterlock.relay.ports import Committer, settle
from letterlock.storage.commands import Accepted, Relied
from letterlock.storage.delivery_commands import (
    AcceptDelivery,
    AddTokens,
    PurgeTokens,
    RevokeTokens,
    SpentRow,
    TokenRow,
    TokensLive,
)
from letterlock.storage.errors import CommitReason, CommitRefused, StorageError, StorageReason
from letterlock.storage.relay_commands import RelayReason
from letterlock.wire.delivery import DeliveryError, hash_of, name_of, parse_for
from letterlock.wire.stream import ItemKind, encode_delivery_item

DAY_MS: Final = 86_400_000
_AUTHOR: Final = b"\xff" * 24
"""In place of who sent it: the token is what a repetition is known by."""
_NO_GROUP: Final = bytes(16)
_KIND: Final = int(ItemKind.DELIVERY)


class Tokens(Protocol):
    """The store's query. Raises StorageError where the store fails."""

    async def token(self, hashed: bytes, key: bytes, now_ms: int) -> TokenRow | SpentRow | None:
        """Where a live token leads; or what came with it, once it is spent."""
        ...


class Delivered(Struct, frozen=True):
    """What became of a message: its id and the leaf hash of its ledger record; the same for a repetition."""

    message_id: bytes
    record_hash: bytes
    repeated: bool


class Deliveries:
    """Tokens of devices, and what comes with them.

    Args:
        path: the relay's path, with its assessments.
        policy: what is in force.
        tokens: the store's query.
        committer: the writer.
        hub: live delivery.
        storage_key: gives the present generation's key.
        clock: wall time.
        ids: makes message ids; for this object alone.
        mac_key: 32 bytes; messages are remembered by a digest under it.
    """

    def __init__(
        self,
        path: Path,
        policy: PolicyInForce,
        tokens: Tokens,
        committer: Committer,
        hub: Hub,
        storage_key: Callable[[], StorageKey],
        clock: Clock,
        ids: MessageIds,
        mac_key: bytes,
    ) -> None:
        self._policy: Final = SealedPolicy(path, policy)
        self._tokens: Final = tokens
        self._committer: Final = committer
        self._hub: Final = hub
        self._storage_key: Final = storage_key
        self._clock: Final = clock
        self._ids: Final = ids
        self._mac_key: Final = mac_key
        self._under_way = 0

    async def add(self, caller: Caller, hashes: Sequence[bytes]) -> tuple[int, int]:
        """Takes hashes of tokens that a device hands out; returns how many are live, and until when these are good.

        They are kept in the order of their hashes, under the end of a day, so that rows do not say which belong
        together; a device gives many at once, sorted.

        Raises:
            RelayError: DELIVERIES_NOT_OFFERED, TOO_MANY_TOKENS, TOKEN_TAKEN, SESSION_ENDED.
        """
        if self._policy.of(caller.tenant).deliveries is not Taken.BY_TOKEN:
            raise RelayError(RelayReason.DELIVERIES_NOT_OFFERED)
        until = self._clock.now_ms() + TOKEN_TTL_MS
        until += -until % DAY_MS
        command = AddTokens(caller.tenant, caller.mailbox, tuple(sorted(hashes)), until, TOKENS_LIVE)
        return (await settle(self._committer, command, TokensLive, tenant=caller.tenant)).live, until

    async def revoke(self, caller: Caller, hashes: Sequence[bytes]) -> int:
        """Tokens are worth nothing any more; returns how many were live.

        Raises:
            RelayError: SESSION_ENDED.
        """
        command = RevokeTokens(caller.tenant, caller.mailbox, tuple(hashes))
        return await settle(self._committer, command, int, tenant=caller.tenant)

    async def purge(self) -> int:
        """Removes tokens whose time is over; returns how many. To be run often."""
        return await settle(self._committer, PurgeTokens(self._clock.now_ms()), int, tenant=0)

    async def deliver(self, token: bytes, body: bytes) -> Delivered:
        """Spends a token on one message. The same again, within a week, has the first answer.

        Raises:
            RelayError: BAD_DELIVERY; TOKEN_REFUSED, whatever is wrong with it; IDEMPOTENCY_CONFLICT: it was spent on
                other bytes; MAILBOX_QUOTA: too much of the recipient's tenant waits.
            StorageError: OVERLOADED: too many are under way; or the store failed.
        """
        if self._under_way >= DELIVERIES_AT_ONCE:
            raise StorageError(StorageReason.OVERLOADED)
        self._under_way += 1
        try:
            return await self._deliver(token, body)
        finally:
            self._under_way -= 1

    async def _deliver(self, token: bytes, body: bytes) -> Delivered:
        hashed = hash_of(token)
        try:
            parse_for(body, hashed)
        except DeliveryError:
            raise RelayError(RelayReason.BAD_DELIVERY) from None
        key = self._ids.rough_key_of(_AUTHOR, name_of(hashed))
        mac = blake2b(body, key=self._mac_key, digest_size=16).digest()
        message_id = self._ids.outside(key)
        for _ in range(MAX_STALE):
            found = await self._tokens.token(hashed, key, self._clock.now_ms())
            if found is None:
                raise RelayError(RelayReason.TOKEN_REFUSED)
            if isinstance(found, SpentRow):
                if found.request_mac != mac:
                    raise RelayError(RelayReason.IDEMPOTENCY_CONFLICT)
                return Delivered(message_id, found.record_hash, repeated=True)
            try:
                return await self._accept(found, hashed, message_id, mac, body)
            except CommitRefused as refusal:
                if refusal.reason is CommitReason.CONFLICT:
                    raise RelayError(RelayReason.IDEMPOTENCY_CONFLICT) from None
                if refusal.reason is not CommitReason.STALE_DECISION:
                    raise RelayError(RelayReason.TOKEN_REFUSED) from None
        raise StorageError(StorageReason.OVERLOADED)

    async def _accept(self, to: TokenRow, hashed: bytes, message_id: bytes, mac: bytes, body: bytes) -> Delivered:
        prepared = self._policy.of(to.tenant)
        if prepared.deliveries is not Taken.BY_TOKEN or prepared.delivered.action is not Action.DELIVER:
            raise RelayError(RelayReason.TOKEN_REFUSED)
        key, traces, now = self._storage_key(), prepared.traces, self._clock.now_ms()
        shown, stamp = prepared.delivered_shown, traces.begin(now)
        command = AcceptDelivery(
            to.tenant, to.mailbox, hashed, message_id, mac, _KIND,
            seal_sealed(key, TenantId(to.tenant_id), MessageId(message_id), body), key.generation,
            size_bucket(len(body)), shown, Relied(self._policy.version), stamp,
            traces.end(now + prepared.delivered.retention_ms),
        )  # fmt: skip

        def then(accepted: Accepted) -> None:
            head = encode_delivery_item(
                _KIND, message_id, _NO_GROUP, stamp, shown.protection, shown.grade, shown.verifier, len(body)
            )
            self._hub.publish(accepted.deliveries, head, body)

        done = await settle(self._committer, command, Accepted, then, tenant=to.tenant, size=len(body))
        return Delivered(done.message_id, done.record_hash, done.duplicate)
