"""Accepting end-to-end encrypted messages of devices: parse, assess, decide, commit, deliver. The hot path.

Everything that is the same for many messages (assessment, decision, what is shown, the record's shape) is made once
and looked up. What is left per message is the parser, one PRF, one MAC, one sealing, and the writer's rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Protocol

from letterlock.assurance import evidence
from letterlock.assurance.assess import Assessment, Path
from letterlock.assurance.framing import Binding, letterlock_framing
from letterlock.custody.sealing import StorageKey, seal_sealed
from letterlock.gateway.codes import ACTIONS, FALLS, INDICATORS
from letterlock.gateway.hub import Hub
from letterlock.model.bodies import SealedBody, SealedKind
from letterlock.model.capability import Channel
from letterlock.model.clock import Clock
from letterlock.model.ids import MessageId, TenantId
from letterlock.model.message import MessageState
from letterlock.model.protection import Protection
from letterlock.policy.decision import Action, Decision
from letterlock.policy.facts import Body, Claim, Face, Facts, Framing, OnDowngrade, Submission, Traffic, Ways
from letterlock.policy.proof import ProvenPolicy
from letterlock.relay.directory import GroupHead
from letterlock.storage.codes import GRADES, PROTECTIONS, VERIFIERS
from letterlock.storage.commands import Accepted, AcceptSealed, Quarantine, Relied, Shown
from letterlock.storage.errors import CommitReason, CommitRefused, StorageError, StorageReason
from letterlock.wire.mls import FramingError, parse
from letterlock.wire.stream import ItemKind, ResultStatus, encode_delivery_item
from letterlock.wire.tlog.commitments import rule_tag
from letterlock.wire.tlog.records import accepted_shape

MAX_STALE: Final = 3
"""How often a decision is made again when what it relied on has changed; then 503."""
NO_GROUP: Final = bytes(16)

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
        """A group, from memory or the store."""
        ...


class Committer(Protocol):
    """The writer's queue."""

    def submit(self, commands: Sequence[Any], *, tenant: int = 0, size: int = 0) -> Any:
        """Queues commands; a future of their outcomes."""
        ...


class PolicyInForce(Protocol):
    """The proven policy of a tenant, and its version."""

    version: int

    def of(self, tenant: int) -> ProvenPolicy:
        """The tenant's policy."""
        ...


@dataclass(frozen=True, slots=True)
class Sender:
    """The device session that brought a message."""

    tenant: int
    tenant_id: TenantId
    mailbox: int
    session_version: int


@dataclass(slots=True)
class Offered:
    """One submission: the group it is for, the device's own reference, and the bytes."""

    group: bytes
    message_ref: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one submission.

    Attributes:
        status: for the stream.
        message_id: 16 bytes; zeros where refused.
        record_hash: leaf hash of its ledger record; zeros where refused.
        shown: what every surface says of it; None where refused.
        fanout: to how many mailboxes it went.
    """

    status: ResultStatus
    message_id: bytes
    record_hash: bytes
    shown: Shown | None
    fanout: int


_REFUSED: Final = {
    CommitReason.CONFLICT: ResultStatus.CONFLICT,
    CommitReason.NOT_FOUND: ResultStatus.UNKNOWN_TARGET,
    CommitReason.NOT_ALLOWED: ResultStatus.NOT_ALLOWED,
    CommitReason.WRONG_EPOCH: ResultStatus.WRONG_EPOCH,
    CommitReason.EPOCH_TOO_OLD: ResultStatus.EPOCH_TOO_OLD,
}


def refused(status: ResultStatus) -> Outcome:
    """A submission that was not accepted."""
    return _NOT_ACCEPTED[status]


_NOT_ACCEPTED: Final = {status: Outcome(status, bytes(16), bytes(32), None, 0) for status in ResultStatus}


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
        prf_key: 32 bytes; makes message ids out of devices' own references, so that a retry finds its first answer.
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
        prf_key: bytes,
    ) -> None:
        self._path = path
        self._policy = policy
        self._groups = groups
        self._committer = committer
        self._hub = hub
        self._storage_key = storage_key
        self._clock = clock
        self._prf_key = prf_key
        self._prepared: dict[tuple[int, evidence.Framing, evidence.Form], tuple[Decision, Shown]] = {}
        self._prepared_for = -1

    async def load_group(self, tenant: int, ref: bytes) -> None:
        """Makes sure that a group is in memory, so that :meth:`accept` queues without waiting: order is kept."""
        if self._groups.known(tenant, ref) is None:
            await self._groups.find(tenant, ref)

    def shown(self, tenant: int) -> tuple[Shown, Relied]:
        """What is said of a tenant's handshake messages, and what that relies on: they are framed as messages are."""
        _, shown = self._decided(tenant, evidence.Framing.LETTERLOCK, evidence.Form.SEALED)
        return shown, Relied(self._policy.version)

    async def accept(self, sender: Sender, offered: Sequence[Offered]) -> list[Outcome]:
        """Takes a batch of submissions; one transaction, outcomes in the same order.

        Raises:
            StorageError: the store takes nothing now; nothing was accepted.
        """
        for _ in range(MAX_STALE):
            outcomes = await self._attempt(sender, offered)
            if outcomes is not None:
                return outcomes
        raise StorageError(StorageReason.OVERLOADED)

    async def _attempt(self, sender: Sender, offered: Sequence[Offered]) -> list[Outcome] | None:
        now = self._clock.now_ms()
        key = self._storage_key()
        commands: list[AcceptSealed | Quarantine] = []
        outcomes: list[Outcome | None] = []
        size = 0
        for one in offered:
            group = self._groups.known(sender.tenant, one.group) or await self._groups.find(sender.tenant, one.group)
            if group is None:
                outcomes.append(_NOT_ACCEPTED[ResultStatus.UNKNOWN_TARGET])
                continue
            command = self._command(sender, group, one, key, now)
            if command is None:
                outcomes.append(_NOT_ACCEPTED[ResultStatus.NOT_ALLOWED])
                continue
            outcomes.append(None)
            commands.append(command)
            size += len(one.body)
        if commands:
            results = await self._committer.submit(commands, tenant=sender.tenant, size=size)
            if any(isinstance(r, CommitRefused) and r.reason is CommitReason.STALE_DECISION for r in results):
                # Those of the batch that were accepted are found again as duplicates, with their first answer.
                return None
            at = 0
            for index, one in enumerate(offered):
                if outcomes[index] is None:
                    outcomes[index] = self._settle(one, commands[at], results[at])
                    at += 1
        return [outcome for outcome in outcomes if outcome is not None]

    def _command(
        self, sender: Sender, group: GroupHead, one: Offered, key: StorageKey, now: int
    ) -> AcceptSealed | Quarantine | None:
        """The command for one submission; None where policy or its kind forbids it."""
        message_id = self.message_id(sender, one.message_ref)
        request_mac = blake2b(one.group + one.body, key=self._prf_key, digest_size=16).digest()
        body: SealedBody | None
        try:
            body = parse(one.body)
        except FramingError:
            body, framing, form = None, evidence.Framing.ABSENT, evidence.Form.UNPARSED
        else:
            form = evidence.Form.SEALED
            # The session authenticates id and ciphertext in one frame; the group is the one that was addressed.
            framing = letterlock_framing(
                body, group.group_id, body.epoch, body.kind, MessageId(message_id), Binding.BY_SESSION
            )
        decision, shown = self._decided(sender.tenant, framing, form)
        if decision.action is Action.QUARANTINE:
            return Quarantine(
                sender.tenant, message_id, request_mac, sender.mailbox, shown, size_bucket(len(one.body)),
                Relied(self._policy.version, sender.session_version), now, now + decision.metadata_ms,
            )  # fmt: skip
        if decision.action is not Action.DELIVER or body is None:
            return None
        kind = _KINDS.get(body.kind)
        if kind is None or framing is not evidence.Framing.LETTERLOCK:
            return None
        return AcceptSealed(
            tenant=sender.tenant,
            message_id=message_id,
            request_mac=request_mac,
            sender=sender.mailbox,
            group=group.number,
            mailbox=0,
            kind=kind,
            epoch=body.epoch,
            sealed=seal_sealed(key, sender.tenant_id, MessageId(message_id), one.body),
            generation=key.generation,
            size_bucket=size_bucket(len(one.body)),
            shown=shown,
            state=MessageState.ACCEPTED,
            relied=Relied(self._policy.version, sender.session_version),
            now_ms=now,
            expires_ms=now + decision.retention_ms,
        )

    def message_id(self, sender: Sender, message_ref: bytes) -> bytes:
        """The id of a device's message: a keyed function of its own reference, random to everybody else."""
        return blake2b(
            sender.tenant_id.value + sender.mailbox.to_bytes(8, "big") + message_ref,
            key=self._prf_key,
            digest_size=16,
            person=b"message-id",
        ).digest()

    def _decided(self, tenant: int, framing: evidence.Framing, form: evidence.Form) -> tuple[Decision, Shown]:
        if self._prepared_for != self._policy.version:
            self._prepared.clear()
            self._prepared_for = self._policy.version
        found = self._prepared.get((tenant, framing, form))
        if found is None:
            found = self._decide(tenant, framing, form)
            self._prepared[tenant, framing, form] = found
        return found

    def _decide(self, tenant: int, framing: evidence.Framing, form: evidence.Form) -> tuple[Decision, Shown]:
        assessment = self._path.look_up(
            evidence.Envelope(form, evidence.Claim.E2EE, framing),
            evidence.Session(evidence.Source.LISTED_DEVICE, evidence.Standing.AUTHORISED),
        )
        parsed = form is evidence.Form.SEALED
        decision = self._policy.of(tenant).decide(
            Facts(
                body=Body.SEALED,
                claim=Claim.E2EE_AUTHORISED,
                framing=Framing.VALID if parsed else Framing.INVALID,
                grade=assessment.grade,
                submission=Submission.DEVICE_SESSION,
                floor=Protection.E2EE,
                ways=Ways.of(Channel.RELAY),
                on_downgrade=OnDowngrade.REFUSE,
                face=Face.CANNOT_ASK,
                traffic=Traffic.CONVERSATION,
            )
        )
        return decision, shown_of(assessment, decision)

    def _settle(self, one: Offered, command: AcceptSealed | Quarantine, result: Any) -> Outcome:
        if isinstance(result, CommitRefused):
            return _NOT_ACCEPTED[_REFUSED.get(result.reason, ResultStatus.NOT_ALLOWED)]
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


SIZE_BUCKETS: Final = (256, 512, 1024, 2048, 4096, 16384, 65536)
"""Upper bounds; rows and records say which bucket, never the size."""


def size_bucket(size: int) -> int:
    """Which bucket a body of this many bytes falls into, 0 to 7."""
    for bucket, bound in enumerate(SIZE_BUCKETS):
        if size <= bound:
            return bucket
    return len(SIZE_BUCKETS)


def shown_of(assessment: Assessment, decision: Decision) -> Shown:
    """What every surface says, from an assessment and a decision: one value, kept with the decision."""
    channel = decision.channels[0] if decision.channels else Channel.RELAY
    return Shown(
        protection=PROTECTIONS.index(assessment.show_as),
        grade=GRADES.index(assessment.grade),
        verifier=VERIFIERS.index(assessment.verifier),
        indicator=INDICATORS.index(decision.indicator),
        decision=ACTIONS.index(decision.action),
        rule=decision.rule,
        fall=FALLS.index(decision.fall),
        shape=accepted_shape(
            channel, assessment.show_as, assessment.grade, assessment.verifier, rule_tag(decision.rule)
        ),
    )
