"""Push: who wants to be woken, and waking those who are not connected. Losing a push loses no message."""

import asyncio
import contextlib
import hmac
import random
from collections.abc import Callable
from typing import Final, Protocol, final

import structlog

from letterlock.custody.push import seal_target, unseal_target
from letterlock.model.clock import Clock
from letterlock.model.ids import DeviceId, TenantId
from letterlock.relay.errors import RelayError
from letterlock.relay.groups import Caller
from letterlock.relay.limits import PUSH_TTL_MS, PUSHES_AT_ONCE
from letterlock.relay.ports import Committer, Entropy, SealingKeys, settle
from letterlock.relay.push_schedule import PushSchedule
from letterlock.storage.push_commands import DropSubscription, PurgeSubscriptions, PutSubscription, SubscriptionRow
from letterlock.storage.relay_commands import RelayReason
from letterlock.transports.push.port import PushDrivers, PushOutcome, PushResult
from letterlock.wire.push_targets import PushKind, PushTarget
from letterlock.wire.webpush import PushError

_log: Final = structlog.get_logger("letterlock.push")


class PushReads(Protocol):
    """The store's queries. Every one raises StorageError where the store fails."""

    async def subscription(self, mailbox: int, now_ms: int) -> SubscriptionRow | None:
        """A device's subscription that is not over."""
        ...

    async def subscribed(self) -> tuple[tuple[int, bool], ...]:
        """All mailboxes with a subscription, and whether something waits there."""
        ...


@final
class Push:
    """Subscriptions, and the one task that sends.

    Args:
        committer: the writer.
        reads: the store's queries.
        keys: storage keys.
        endpoint_key: 32 bytes, for the keyed hash of addresses.
        drivers: the push services that the settings name; none: push is not offered.
        connected: whether a device is connected here.
        clock: wall time and steady time.
        entropy: for nonces.
        observe: told what came of each push.
        draw: even numbers in [0, 1), for delays.
    """

    def __init__(
        self,
        committer: Committer,
        reads: PushReads,
        keys: SealingKeys,
        endpoint_key: bytes,
        drivers: PushDrivers,
        connected: Callable[[int], bool],
        clock: Clock,
        entropy: Entropy,
        observe: Callable[[PushResult], None],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._committer: Final = committer
        self._reads: Final = reads
        self._keys: Final = keys
        self._endpoint_key: Final = endpoint_key
        self._drivers: Final = drivers
        self._connected: Final = connected
        self._clock: Final = clock
        self._entropy: Final = entropy
        self._observe: Final = observe
        self._schedule: Final = PushSchedule(draw)
        self._subscribed: Final[set[int]] = set()
        self._wake: Final = asyncio.Event()
        self._free: Final = asyncio.Semaphore(PUSHES_AT_ONCE)
        self._sending: Final[set[asyncio.Task[None]]] = set()
        self._task: asyncio.Task[None] | None = None

    @property
    def offered(self) -> bool:
        """Whether the settings name a push service."""
        return bool(self._drivers.kinds)

    @property
    def kinds(self) -> tuple[PushKind, ...]:
        """Which push services they name."""
        return self._drivers.kinds

    async def register(self, caller: Caller, device: DeviceId, target: PushTarget) -> int:
        """Keeps a device's one subscription; returns until when, unless it is confirmed by the same call again.

        Raises:
            RelayError: PUSH_NOT_OFFERED, BAD_PUSH_SUBSCRIPTION; PUSH_ENDPOINT_TAKEN: another device has it.
        """
        try:
            served = self._drivers.check(target)
        except PushError:
            raise RelayError(RelayReason.BAD_PUSH_SUBSCRIPTION) from None
        if not served:
            raise RelayError(RelayReason.PUSH_NOT_OFFERED)
        now = self._clock.now_ms()
        key = self._keys.current(now)
        command = PutSubscription(
            caller.tenant,
            caller.mailbox,
            hmac.digest(self._endpoint_key, target.address.encode(), "sha256"),
            seal_target(key, caller.tenant_id, device, target, self._entropy),
            key.generation,
            now + PUSH_TTL_MS,
        )
        await settle(self._committer, command, type(None), lambda _: self._subscribed.add(caller.mailbox), tenant=0)
        return command.expires_ms

    async def remove(self, mailbox: int) -> None:
        """Ends a device's subscription; harmless when there is none."""
        await settle(self._committer, DropSubscription(mailbox), type(None), tenant=0)
        self._forget(mailbox)

    async def purge(self) -> int:
        """Removes subscriptions that were not confirmed in time; returns how many. To be run often."""
        self._schedule.tidy(self._clock.monotonic_ms())
        return await settle(self._committer, PurgeSubscriptions(self._clock.now_ms()), int, tenant=0)

    def absent(self, mailbox: int) -> None:
        """Something was committed for a device that is not connected. For the hot path: two looks into memory."""
        if mailbox in self._subscribed and self._schedule.wish(mailbox, self._clock.monotonic_ms()):
            self._wake.set()

    def _forget(self, mailbox: int) -> None:
        self._subscribed.discard(mailbox)
        self._schedule.forget(mailbox)

    async def start(self) -> None:
        """Learns who is subscribed, and wakes those for whom something waited when the gateway ended."""
        for mailbox, waiting in await self._reads.subscribed():
            self._subscribed.add(mailbox)
            if waiting and self.offered:
                self._schedule.wish(mailbox, self._clock.monotonic_ms())
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends the task; what was not sent is not sent."""
        tasks = [*self._sending, *([] if self._task is None else [self._task])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            due = self._schedule.next_ms()
            now = self._clock.monotonic_ms()
            if due is None or due > now:
                # Not wait_for: it may swallow the cancellation of a task whose event has just been set.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if due is None else (due - now) / 1_000):
                        await self._wake.wait()
            self.send_due()

    def send_due(self) -> None:
        """Starts what is due, as many at once as the limit allows."""
        for mailbox in self._schedule.take(self._clock.monotonic_ms()):
            task = asyncio.create_task(self._send(mailbox))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def settled(self) -> None:
        """Waits until nothing is being sent."""
        while self._sending:
            await asyncio.gather(*self._sending)

    async def _send(self, mailbox: int) -> None:
        async with self._free:
            if self._connected(mailbox):
                self._schedule.forget(mailbox)
                return
            try:
                row = await self._reads.subscription(mailbox, self._clock.now_ms())
                if row is None:
                    self._forget(mailbox)
                    return
                if not row.waiting:
                    # It was here meanwhile and has fetched everything.
                    self._schedule.forget(mailbox)
                    return
                key = self._keys.get(row.generation)
                target = unseal_target(key, TenantId(row.tenant_id), DeviceId(row.device), row.sealed)
                await self._follow(mailbox, row, await self._drivers.send(target))
            except Exception as error:  # noqa: BLE001 - a wish left under way would swallow all later ones
                _log.warning("push_failed", error_type=type(error).__name__)
                self._again(mailbox, 0)

    async def _follow(self, mailbox: int, row: SubscriptionRow, outcome: PushOutcome) -> None:
        self._observe(outcome.result)
        if outcome.result is PushResult.UNAUTHORISED:
            _log.error("push_key_refused")
        if outcome.result in {PushResult.RETRY, PushResult.UNAUTHORISED}:
            self._again(mailbox, outcome.wait_s * 1_000)
        elif outcome.result is PushResult.GONE:
            await settle(self._committer, DropSubscription(mailbox, row.endpoint_mac), type(None), tenant=0)
            # Still subscribed where the device has named another address meanwhile: the next wish finds out.
            self._schedule.forget(mailbox)
        else:
            self._schedule.done(mailbox, self._clock.monotonic_ms())
            self._wake.set()

    def _again(self, mailbox: int, wait_ms: int) -> None:
        if self._schedule.failed(mailbox, self._clock.monotonic_ms(), wait_ms):
            self._wake.set()
