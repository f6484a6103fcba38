"""The dispatcher: takes queued messages under leases, looks at the guards once more, and hands them to the channel.

The outcome is committed under the lease's fence, so a late one of somebody who lost the lease changes nothing. A lease
that ends without an outcome (the process died between the hand-over and the commit) is taken again: at most as many
messages as the window holds may then arrive twice, and none is lost. One process alone holds the store, so at start-up
the leases of the one before are over at once.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

import structlog

from letterlock.custody.sealing import SealingError, StorageKey, unseal_address, unshred
from letterlock.custody.storage_keys import StorageKeyError
from letterlock.gateway.codes import FALLS
from letterlock.gateway.policies import Policies
from letterlock.gateway.questions import TRAFFICS
from letterlock.gateway.receipts import SMS_ROUTE, remote_token
from letterlock.gateway.writer import Writer
from letterlock.model.bodies import OpenBody, ShreddableBody
from letterlock.model.capability import Channel
from letterlock.model.clock import Clock
from letterlock.model.ids import MessageId, TenantId
from letterlock.model.message import MessageEvent
from letterlock.model.protection import EvidenceGrade, Protection
from letterlock.policy.decision import Action
from letterlock.policy.facts import Body, Claim, Consent, Face, Facts, Framing, OnDowngrade, Submission, Ways
from letterlock.storage.codes import CONSENT_KINDS, PROTECTIONS
from letterlock.storage.errors import CommitRefused, StorageError
from letterlock.storage.open_commands import EndLeases, GiveUp, Lease, Leased, Postpone, Sent
from letterlock.transports.smpp import LinkState, Outcome, SubmitError, SubmitReason, SubmitResult
from letterlock.wire.sms.address import PhoneNumber

LEASE_MS: Final = 60_000
SUBMIT_S: Final = 50.0
"""A hand-over that takes longer is given up before its lease ends; nobody else can have the message meanwhile."""
LOOK_EVERY_S: Final = 1.0
"""How often the outbox is looked at without being woken: for what was put off."""
FIRST_PAUSE_MS: Final = 500
LONGEST_PAUSE_MS: Final = 60_000
SHORT_PAUSE_MS: Final = 200
"""After the link went away: the message waits for the link, not for its turn."""
DRAIN_S: Final = 5.0
_RANDOM: Final = secrets.SystemRandom()
_CONSENT: Final = {kind: Consent[kind.name] for kind in CONSENT_KINDS}

_log: Final = structlog.get_logger("letterlock.dispatch")


class OpeningKeys(Protocol):
    """The storage keys of the generations."""

    def get(self, generation: int) -> StorageKey:
        """To open what lies there."""
        ...


class Link(Protocol):
    """The SMPP client."""

    @property
    def state(self) -> LinkState:
        """What the link is doing."""
        ...

    async def submit(
        self, to: PhoneNumber, sender: str, body: OpenBody, *, message_ref: MessageId, resume_from: int = 0
    ) -> SubmitResult:
        """Sends a text."""
        ...


class Dispatcher:
    """Empties the outbox of the SMS channel.

    Args:
        window: how many messages are handed over at a time.
        sender: who the messages are from, as the centre knows it.
        key: makes tokens of the centre's ids.
        observe: told outcomes, for metrics.
    """

    def __init__(
        self,
        writer: Writer,
        link: Link,
        policies: Policies,
        keys: OpeningKeys,
        clock: Clock,
        *,
        sender: str,
        window: int,
        key: bytes,
        observe: Callable[[str], None],
        jitter: Callable[[], float] = _RANDOM.random,
    ) -> None:
        self._writer = writer
        self._link = link
        self._policies = policies
        self._keys = keys
        self._clock = clock
        self._sender = sender
        self._window = window
        self._key = key
        self._observe = observe
        self._jitter = jitter
        self._wake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None

    @property
    def health(self) -> str:
        """``ok``, or ``waiting`` while there is no link: messages stay queued then."""
        return "ok" if self._link.state is LinkState.BOUND else "waiting"

    def start(self) -> None:
        """Begins, on the running loop."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop().create_task(self._run())

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    async def stop(self) -> None:
        """Takes no more, and waits for what is being handed over."""
        if self._loop is not None:
            self._loop.cancel()
            with suppress(asyncio.CancelledError):
                await self._loop
            self._loop = None
        if self._running:
            await asyncio.wait(self._running, timeout=DRAIN_S)
        for task in tuple(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self) -> None:
        resumed = False
        while True:
            self._wake.clear()
            try:
                if not resumed:
                    await self._writer.run(EndLeases(SMS_ROUTE, self._clock.now_ms()))
                    resumed = True
                taken = await self._take()
            except StorageError as error:
                _log.warning("outbox_not_read", reason=error.reason.value)
                taken = 0
            if not taken:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._wake.wait()

    async def _take(self) -> int:
        room = self._window - len(self._running)
        if room <= 0 or self._link.state is not LinkState.BOUND:
            return 0
        now = self._clock.now_ms()
        leased: Sequence[Leased] = await self._writer.run(Lease(SMS_ROUTE, room, now, now + LEASE_MS))
        for one in leased:
            task = asyncio.get_running_loop().create_task(self._dispatch(one))
            self._running.add(task)
            task.add_done_callback(self._done)
        return len(leased)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._wake.set()

    async def _dispatch(self, one: Leased) -> None:
        try:
            await self._hand_over(one)
        except CommitRefused:
            # The lease was lost: whoever has it now tells the outcome.
            self._observe("lease_lost")
        except StorageError as error:
            _log.warning("outcome_not_stored", reason=error.reason.value)
        except Exception as error:  # noqa: BLE001 - the text could hold content; the lease ends by itself
            _log.error("dispatch_failed", error_type=type(error).__name__)

    async def _hand_over(self, one: Leased) -> None:
        if not self._permitted(one):
            await self._end(one, MessageEvent.WITHDRAWN, "policy_changed")
            return
        tenant, message = TenantId(one.tenant_id), MessageId(one.message_id)
        try:
            address = unseal_address(self._keys.get(one.address_generation), tenant, message, one.address)
            body = unshred(
                ShreddableBody(one.sealed, one.wrapped_key, one.body_generation),
                self._keys.get(one.body_generation),
                tenant,
                message,
            )
        except (SealingError, StorageKeyError) as error:
            # It was moved to another generation since; if its key is gone for good it expires.
            _log.warning("outbox_row_not_opened", reason=error.reason.value)
            await self._postpone(one, (), 0, SHORT_PAUSE_MS)
            return
        try:
            number = PhoneNumber.parse(address.decode("ascii"))
            async with asyncio.timeout(SUBMIT_S):
                result = await self._link.submit(
                    number, self._sender, body, message_ref=message, resume_from=one.parts_sent
                )
        except TimeoutError:
            self._observe("unknown")
            await self._postpone(one, (), 1, self._pause(one.attempts))
        except SubmitError as error:
            await self._not_taken(one, error)
        else:
            tokens = self._tokens(result.remote_ids)
            await self._writer.run(Sent(one.seq, one.fence, SMS_ROUTE, tokens, self._clock.now_ms()))
            self._observe("sent")
        finally:
            body.destroy()

    def _permitted(self, one: Leased) -> bool:
        """Whether policy, as it is now, still lets this message leave on this channel, for the same reason."""
        decision = self._policies.of(one.tenant).decide(
            Facts(
                body=Body.OPEN,
                claim=Claim.NONE,
                framing=Framing.ABSENT,
                grade=EvidenceGrade.NONE,
                submission=Submission.TENANT_API,
                floor=Protection.UNKNOWN if one.floor is None else PROTECTIONS[one.floor],
                ways=Ways.of(Channel.SMS),
                consent=Consent.NONE if one.consent_kind is None else _CONSENT[CONSENT_KINDS[one.consent_kind]],
                on_downgrade=OnDowngrade.REFUSE,
                face=Face.CANNOT_ASK,
                traffic=TRAFFICS[one.traffic],
            )
        )
        return (
            decision.action is Action.DELIVER
            and Channel.SMS in decision.channels
            and decision.fall is FALLS[one.fall]
        )  # fmt: skip

    async def _not_taken(self, one: Leased, error: SubmitError) -> None:
        reason = error.reason
        tokens = self._tokens(error.accepted)
        if not reason.is_worth_retrying and reason is not SubmitReason.CLOSED:
            await self._end(one, MessageEvent.FAILED, reason.value)
            return
        unknown = reason.outcome is Outcome.UNKNOWN
        no_link = reason.outcome is Outcome.NOT_SENT
        self._observe("unknown" if unknown else "put_off")
        pause = SHORT_PAUSE_MS if no_link else self._pause(one.attempts)
        await self._postpone(one, tokens, int(unknown), pause)

    def _pause(self, attempts: int) -> int:
        full = min(FIRST_PAUSE_MS << min(attempts - 1, 20), LONGEST_PAUSE_MS)
        return round(full * (1 + self._jitter()) / 2)

    async def _postpone(self, one: Leased, tokens: tuple[bytes, ...], unknown: int, pause_ms: int) -> None:
        now = self._clock.now_ms()
        await self._writer.run(Postpone(one.seq, one.fence, SMS_ROUTE, tokens, unknown, now + pause_ms, now))

    async def _end(self, one: Leased, event: MessageEvent, reason: str) -> None:
        await self._writer.run(GiveUp(one.seq, one.fence, event, reason, self._clock.now_ms()))
        self._observe("failed" if event is MessageEvent.FAILED else "not_sent")

    def _tokens(self, remote_ids: Sequence[str]) -> tuple[bytes, ...]:
        return tuple(remote_token(self._key, SMS_ROUTE, remote_id) for remote_id in remote_ids)
