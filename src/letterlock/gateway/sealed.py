"""Accepting end-to-end encrypted messages of devices: parse, assess, decide, commit, deliver. The hot path.

Everything that is the same for many messages (assessment, decision, what is shown, the record's shape) is made once
and looked up. What is left per message is the parser, one PRF, one MAC, one sealing, and the writer's rows.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any, Final, Protocol

from msgspec import Struct

from letterlock.assurance import evidence
from letterlock.assurance.assess import Path
from letterlock.assurance.framing import Binding, letterlock_framing
from letterlock.custody.message_ids import MessageIds
from letterlock.custody.request_macs import authenticator_mac, sealed_mac
from letterlock.custody.sealing import NoncePool, SealedColumn, StorageKey
from letterlock.gateway import rcs
from letterlock.gateway.hub import Hub
from letterlock.gateway.outcomes import NOT_ACCEPTED, RCS_NOT_ACCEPTED, NotTaken, Outcome, of_writer
from letterlock.gateway.sealed_policy import PolicyInForce, Prepared, SealedPolicy
from letterlock.gateway.shown import size_bucket
from letterlock.model.bodies import SealedKind
from letterlock.model.clock import Clock
from letterlock.model.ids import ID_BYTES, TenantId
from letterlock.model.message import MessageState
from letterlock.model.traces import Times, Traces
from letterlock.policy.decision import Action, Decision
from letterlock.relay.directory import GroupHead
from letterlock.storage.commands import Accepted, AcceptRcs, AcceptSealed, Quarantine, Relied, Shown
from letterlock.storage.errors import CommitReason, CommitRefused, StorageError, StorageReason
from letterlock.wire.mls import FramingError, parse
from letterlock.wire.stream import ItemKind, ResultStatus, encode_delivery_item

MAX_STALE: Final = 3
"""How often a decision is made again when what it relied on has changed; then 503."""
KNOWN_TERMS: Final = 50_000
"""Devices whose terms are in memory: some 20 MB."""

_KINDS: Final = {
    SealedKind.PRIVATE_APPLICATION: int(ItemKind.APPLICATION),
    SealedKind.PRIVATE_PROPOSAL: int(ItemKind.PROPOSAL),
    SealedKind.PUBLIC_PROPOSAL: int(ItemKind.PROPOSAL),
}
"""What may be sent to a group as a message; commits and welcomes travel in commit bundles only."""


class Groups(Protocol):
    """Group look-up, from memory where possible."""

    def known(self, tenant: int, ref: bytes) -> GroupHead | None:
        """A group that is in memory."""
        ...

    async def find(self, tenant: int, ref: bytes) -> GroupHead | None:
        """A group, from memory or the store; it is in memory afterwards."""
        ...

    def lower(self, numbers: Iterable[int]) -> None:
        """What is said of these groups is not as sure as it was."""
        ...


class Committer(Protocol):
    """The writer's queue."""

    def submit_then(
        self,
        commands: Sequence[Any],
        settle: Callable[[list[Any] | StorageError], None],
        *,
        tenant: int = 0,
        size: int = 0,
    ) -> None:
        """Queues commands; ``settle`` is called with their outcomes, or with why there are none."""
        ...


class Sender(Struct, frozen=True, gc=False):
    """The device session that brought a message."""

    tenant: int
    tenant_id: TenantId
    mailbox: int
    session_version: int
    state_counter: int = 0
    """What the device stated of itself; the caller has compared it with what was heard before."""


class _Terms(Struct, frozen=True, gc=False):
    """What a device's submissions have in common; retention is None where policy does not deliver.

    It is counted from the time that is stored, which may be earlier than now.
    """

    key: StorageKey
    relied: Relied
    prepared: Prepared
    retention_ms: int | None
    column: SealedColumn
    author: bytes
    key_of: Callable[[bytes, bytes], bytes]
    rcs_retention_ms: int | None


class Offered(Struct, gc=False):
    """One submission: the group it is for, the device's own reference, and the bytes."""

    group: bytes
    message_ref: bytes
    body: bytes

    def __repr__(self) -> str:
        return f"<Offered, {len(self.body)} bytes>"


_APPLICATION: Final = int(ItemKind.APPLICATION)
_ACCEPTED_STATE: Final = int(MessageState.ACCEPTED)


class SealedAcceptor:
    """Takes end-to-end encrypted messages.

    Args:
        path: the relay's path, with its assessments.
        policy: what is in force.
        groups: group look-up.
        committer: the writer.
        hub: live delivery.
        storage_key: gives the present generation's key.
        clock: wall time.
        ids: makes message ids out of devices' own references, so that a retry finds its first answer.
        mac_key: 32 bytes; requests are remembered by a digest under it.
    """

    def __init__(
        self,
        path: Path,
        policy: PolicyInForce,
        groups: Groups,
        committer: Committer,
        hub: Hub,
        storage_key: Callable[[], StorageKey],
        clock: Clock,
        ids: MessageIds,
        mac_key: bytes,
    ) -> None:
        self._policy = SealedPolicy(path, policy)
        self._groups = groups
        self._committer = committer
        self._hub = hub
        self._storage_key = storage_key
        self._clock = clock
        self._ids = ids
        self._mac_key = mac_key
        self._nonces = NoncePool()
        self._columns: dict[int, SealedColumn] = {}
        self._known_terms: dict[int, _Terms] = {}

    def knows(self, tenant: int, ref: bytes) -> bool:
        """Whether a group is in memory, so that :meth:`offer` can find it."""
        return self._groups.known(tenant, ref) is not None

    async def load_group(self, tenant: int, ref: bytes) -> None:
        """Makes sure that a group is in memory, so that :meth:`offer` queues without waiting: order is kept."""
        if self._groups.known(tenant, ref) is None:
            await self._groups.find(tenant, ref)

    def shown(self, tenant: int) -> tuple[Shown, Relied]:
        """What is said of a tenant's handshake messages, and what that relies on: they are framed as messages are."""
        return self._policy.of(tenant).framed_shown, Relied(self._policy.version)

    async def accept(
        self, sender: Sender, offered: Sequence[Offered], renew: Callable[[], Sender | None] | None = None
    ) -> list[Outcome]:
        """Takes a batch of submissions; one transaction, outcomes in the same order.

        Args:
            sender: the session, with the revocation version that it was checked at.
            offered: the submissions.
            renew: checks the session again after something that it relied on has changed: revoking one device
                makes the decisions of all others stale. None where the session has ended; it does not raise.

        Raises:
            StorageError: the store takes nothing now; nothing was accepted.
        """
        for one in offered:
            if not self.knows(sender.tenant, one.group):
                await self.load_group(sender.tenant, one.group)
        future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()

        def then(outcomes: list[Outcome] | StorageError) -> None:
            if future.done():
                return
            if isinstance(outcomes, StorageError):
                future.set_exception(outcomes)
            else:
                future.set_result(outcomes)

        self.offer(sender, offered, then, renew)
        return await future

    def offer(
        self,
        sender: Sender,
        offered: Sequence[Offered],
        then: Callable[[list[Outcome] | StorageError], None],
        renew: Callable[[], Sender | None] | None = None,
        tries: int = MAX_STALE,
    ) -> None:
        """As :meth:`accept`, without waiting: ``then`` is called once the outcomes are durable.

        A group that is not in memory is an unknown one; see :meth:`load_group`.

        Raises:
            StorageError: OVERLOADED or CLOSED, at once; ``then`` is not called.
        """
        tenant = sender.tenant
        known = self._groups.known
        now = self._clock.now_ms()
        terms = self._terms(sender)
        commands: list[AcceptSealed | Quarantine] = []
        outcomes: list[Outcome | None] = []
        size = at = 0
        key_of, author = terms.key_of, terms.author
        stamp = terms.prepared.traces.begin(now)
        ids = self._ids.outside(b"".join([key_of(author, one.message_ref) for one in offered]))
        for one in offered:
            message_id = ids[at : at + ID_BYTES]
            at += ID_BYTES
            group = known(tenant, one.group)
            if group is None:
                outcomes.append(NOT_ACCEPTED[ResultStatus.UNKNOWN_TARGET])
                continue
            try:
                command = self._command(sender, group, one, message_id, terms, now, stamp)
            except NotTaken as refusal:
                outcomes.append(refusal.outcome)
                continue
            outcomes.append(None)
            commands.append(command)
            size += len(one.body)

        def settle(results: list[Any] | StorageError) -> None:
            if isinstance(results, StorageError):
                then(results)
            elif _stale(results):
                # Those of the batch that were accepted are found again as duplicates, with their first answer.
                self._again(sender, offered, then, renew, tries)
            else:
                then(self._settled(offered, commands, outcomes, results))

        self._committer.submit_then(commands, settle, tenant=tenant, size=size)

    def _again(
        self,
        sender: Sender,
        offered: Sequence[Offered],
        then: Callable[[list[Outcome] | StorageError], None],
        renew: Callable[[], Sender | None] | None,
        tries: int,
    ) -> None:
        """Decides again after what was relied on has changed."""
        if tries <= 1:
            then(StorageError(StorageReason.OVERLOADED))
            return
        renewed = sender if renew is None else renew()
        if renewed is None:
            then([NOT_ACCEPTED[ResultStatus.NOT_ALLOWED]] * len(offered))
            return
        try:
            self.offer(renewed, offered, then, renew, tries - 1)
        except StorageError as error:
            then(error)

    def _settled(
        self,
        offered: Sequence[Offered],
        commands: Sequence[AcceptSealed | Quarantine],
        refused: Sequence[Outcome | None],
        results: Sequence[Any],
    ) -> list[Outcome]:
        """The outcome of each submission, in their order; what was accepted goes to those who are connected."""
        if len(commands) == len(offered):
            return list(map(self._settle, offered, commands, results))
        outcomes: list[Outcome] = []
        at = 0
        for one, outcome in zip(offered, refused, strict=True):
            if outcome is None:
                outcomes.append(self._settle(one, commands[at], results[at]))
                at += 1
            else:
                outcomes.append(outcome)
        return outcomes

    def _command(
        self,
        sender: Sender,
        group: GroupHead,
        one: Offered,
        message_id: bytes,
        terms: _Terms,
        now: int,
        stamp: int,
    ) -> AcceptSealed | Quarantine:
        """The command for one submission, stored under the time ``stamp``.

        Raises:
            NotTaken: its kind, its group or policy forbids it.
        """
        body = one.body
        digest = sha256(body).digest()
        try:
            sealed = parse(body)
        except FramingError:
            return self._no_mls(sender, group, one, message_id, digest, terms, now, stamp)
        request_mac = sealed_mac(self._mac_key, one.group, sealed.epoch, digest)
        # The session authenticates id and ciphertext in one frame; the group is the one that was addressed.
        framing = letterlock_framing(sealed, group.bare_id, sealed.epoch, sealed.kind, Binding.BY_SESSION)
        kind = _APPLICATION if sealed.kind is SealedKind.PRIVATE_APPLICATION else _KINDS.get(sealed.kind)
        if framing is not evidence.Framing.LETTERLOCK or kind is None or terms.retention_ms is None:
            bare = group.bare_id is None and sealed.group_id == group.group_id and kind is not None
            raise NotTaken(
                RCS_NOT_ACCEPTED[ResultStatus.MLS_HEADER_MISSING] if bare else NOT_ACCEPTED[ResultStatus.NOT_ALLOWED]
            )
        prepared = terms.prepared
        shown = prepared.tracked_shown if group.tracks(sealed.epoch, sender.mailbox, now) else prepared.framed_shown
        # In the order of the fields: names cost as much as the rest of making it.
        return AcceptSealed(
            sender.tenant, message_id, request_mac, sender.mailbox, group.number, 0, kind, sealed.epoch,
            terms.column.seal(terms.key, message_id, body, self._nonces.take()), terms.key.generation,
            size_bucket(len(body)), shown, _ACCEPTED_STATE, terms.relied, stamp,
            stamp + terms.retention_ms, sender.state_counter,
        )  # fmt: skip

    def _no_mls(
        self,
        sender: Sender,
        group: GroupHead,
        one: Offered,
        message_id: bytes,
        digest: bytes,
        terms: _Terms,
        now: int,
        stamp: int,
    ) -> AcceptSealed | Quarantine:
        """The command for what is no bare MLSMessage: of an RCS client, or nothing that can be delivered.

        Raises:
            NotTaken: a message/cpim that does not hold, or policy forbids it.
        """
        body = one.body
        found = rcs.read(body, group)
        if found is None:
            request_mac = sealed_mac(self._mac_key, one.group, 0, digest)
            return _unframed(sender, message_id, request_mac, len(body), terms, now)
        if isinstance(found, ResultStatus):
            raise NotTaken(RCS_NOT_ACCEPTED[found])
        prepared, epoch = terms.prepared, found.sealed.epoch
        if terms.rcs_retention_ms is None:
            raise NotTaken(NOT_ACCEPTED[ResultStatus.NOT_ALLOWED])
        tracked = group.tracks(epoch, sender.mailbox, now)
        return AcceptRcs(
            tenant=sender.tenant,
            message_id=message_id,
            request_mac=sealed_mac(self._mac_key, one.group, epoch, digest),
            sender=sender.mailbox,
            group=group.number,
            mailbox=0,
            kind=_APPLICATION,
            epoch=epoch,
            sealed=terms.column.seal(terms.key, message_id, body, self._nonces.take()),
            generation=terms.key.generation,
            size_bucket=size_bucket(len(body)),
            shown=prepared.rcs_tracked_shown if tracked else prepared.rcs_shown,
            state=_ACCEPTED_STATE,
            relied=terms.relied,
            now_ms=stamp,
            expires_ms=stamp + terms.rcs_retention_ms,
            state_counter=sender.state_counter,
            authenticator=authenticator_mac(self._mac_key, one.group, found.era, epoch, found.authenticator),
        )

    def _terms(self, sender: Sender) -> _Terms:
        """What the submissions of a device have in common, as long as nothing of it changes."""
        key, version = self._storage_key(), self._policy.version
        found = self._known_terms.get(sender.mailbox)
        if (
            found is not None
            and found.key is key
            and found.relied.policy == version
            and found.relied.session == sender.session_version
        ):
            return found
        tenant = sender.tenant
        column = self._columns.get(tenant)
        if column is None:
            column = self._columns[tenant] = SealedColumn(sender.tenant_id)
        prepared = self._policy.of(tenant)
        traces = prepared.traces
        keeps, keeps_rcs = _keeps(prepared.framed, traces), _keeps(prepared.rcs, traces)
        key_of = self._ids.key_of if traces.times is Times.EXACT else self._ids.rough_key_of
        relied = Relied(version, sender.session_version)
        terms = _Terms(key, relied, prepared, keeps, column, _author(sender), key_of, keeps_rcs)
        if len(self._known_terms) >= KNOWN_TERMS:
            self._known_terms.clear()
        self._known_terms[sender.mailbox] = terms
        return terms

    def _settle(self, one: Offered, command: AcceptSealed | Quarantine, result: Any) -> Outcome:
        if isinstance(result, CommitRefused):
            return self._writers_refusal(command, result.reason)
        accepted: Accepted = result
        if accepted.duplicate:
            status = ResultStatus.DUPLICATE
        elif isinstance(command, Quarantine):
            status = ResultStatus.QUARANTINED
        else:
            status = ResultStatus.ACCEPTED
            shown = command.shown
            head = encode_delivery_item(
                command.kind, command.message_id, one.group, command.now_ms, shown.protection, shown.grade,
                shown.verifier, len(one.body),
            )  # fmt: skip
            self._hub.publish(accepted.deliveries, head, one.body)
        return Outcome(status, accepted.message_id, accepted.record_hash, command.shown, len(accepted.deliveries))

    def _writers_refusal(self, command: AcceptSealed | Quarantine, reason: CommitReason) -> Outcome:
        if not isinstance(command, AcceptRcs):
            return of_writer(reason, NOT_ACCEPTED)
        if reason is CommitReason.AUTHENTICATORS_FORKED:
            self._groups.lower((command.group,))
        return of_writer(reason, RCS_NOT_ACCEPTED)


def _author(sender: Sender) -> bytes:
    return sender.tenant_id.value + sender.mailbox.to_bytes(8, "big")


def _keeps(decision: Decision, traces: Traces) -> int | None:
    return traces.end(decision.retention_ms + traces.step_ms - 1) if decision.action is Action.DELIVER else None


def _unframed(sender: Sender, message_id: bytes, request_mac: bytes, size: int, terms: _Terms, now: int) -> Quarantine:
    decision, traces = terms.prepared.unframed, terms.prepared.traces
    if decision.action is not Action.QUARANTINE:
        raise NotTaken(NOT_ACCEPTED[ResultStatus.NOT_ALLOWED])
    return Quarantine(
        sender.tenant, message_id, request_mac, sender.mailbox, terms.prepared.unframed_shown, size_bucket(size),
        terms.relied, traces.begin(now), traces.end(now + decision.metadata_ms), sender.state_counter,
    )  # fmt: skip


def _stale(results: Sequence[Any]) -> bool:
    for result in results:  # noqa: SIM110 - a generator costs more than all the rest of this for one message
        if type(result) is CommitRefused and result.reason is CommitReason.STALE_DECISION:
            return True
    return False
