"""Accepting readable messages of tenants: normalise, assess, decide, seal, commit; or ask, hold, refuse.

The text is an OpenBody from the first line on and is destroyed at the last. What reaches the writer is sealed.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from letterlock.assurance import consent as consents
from letterlock.assurance.causes import Cause
from letterlock.assurance.fallback import FallbackState
from letterlock.custody.sealing import Entropy, StorageKey, seal_address, shred_seal
from letterlock.gateway.body_digest import body_digest, committed_body
from letterlock.gateway.codes import FALLS
from letterlock.gateway.held import policy_fall
from letterlock.gateway.offers import (
    Counts,
    Offer,
    Questioned,
    SaidClaim,
    SendError,
    SendReason,
    Subjects,
    Taken,
)
from letterlock.gateway.policies import Policies
from letterlock.gateway.questions import TRAFFICS, About, QuestionBook
from letterlock.gateway.sealed import MAX_STALE
from letterlock.gateway.sealed_questions import seal_question
from letterlock.gateway.security import Assessments
from letterlock.gateway.shown import shown_of, size_bucket
from letterlock.gateway.writer import Writer
from letterlock.model.capability import Channel
from letterlock.model.clock import Clock
from letterlock.model.ids import AccountId, ChallengeId, MessageId, TenantId
from letterlock.model.message import MessageState
from letterlock.model.protection import ConsentKind, EvidenceGrade, Protection
from letterlock.policy.decision import Action, Decision, Fall, Refusal
from letterlock.policy.facts import Body, Claim, Consent, Face, Facts, Framing, OnDowngrade, Submission, Ways
from letterlock.storage import open_commands
from letterlock.storage.codes import CHANNELS, CONSENT_KINDS, PROTECTIONS
from letterlock.storage.commands import Accepted, Relied
from letterlock.storage.errors import CommitReason, CommitRefused, StorageError, StorageReason
from letterlock.storage.open_commands import ChallengeRow, ConsentRow, MessageRow
from letterlock.storage.sqlite.open_reads import OpenReads
from letterlock.wire.sms.encode import measure
from letterlock.wire.sms.errors import TextError, TextReason
from letterlock.wire.tlog.words import ReasonCode

MESSAGES_ROUTE: Final = b"POST /v1/messages"
QUESTION_LIFE_MS: Final = consents.PROMPT_WINDOW_MS
"""How long a question without a held message waits: as long as it keeps others like it from being asked."""


_REFUSALS: Final = {
    Refusal.CLAIM_CONTRADICTS_BODY: (SendReason.CLAIM_CONTRADICTS_BODY, ReasonCode.CLAIM_CONTRADICTS_BODY),
    Refusal.CLAIM_NOT_AUTHORISED: (SendReason.CLAIM_NOT_AUTHORISED, ReasonCode.CLAIM_UNAUTHORISED),
    Refusal.E2EE_NOT_FRAMED: (SendReason.E2EE_NOT_FRAMED, ReasonCode.CLAIM_NOT_MLS),
    Refusal.BELOW_FLOOR: (SendReason.BELOW_FLOOR, ReasonCode.FLOOR),
    Refusal.CONSENT_REQUIRED: (SendReason.DEVICE_SIGNATURE_REQUIRED, ReasonCode.CONSENT_MISSING),
    Refusal.NO_ROUTE: (SendReason.NO_ROUTE, ReasonCode.NO_SECURE_PATH),
    Refusal.SECURE_PATH_MISSING: (SendReason.SECURE_PATH_MISSING, ReasonCode.NO_SECURE_PATH),
    Refusal.FAILURE_NOT_AUTHENTICATED: (SendReason.FAILURE_NOT_AUTHENTICATED, ReasonCode.UNAUTHENTICATED_REPORT),
}
_COMMIT: Final = {
    CommitReason.CONFLICT: SendReason.IDEMPOTENCY_CONFLICT,
    CommitReason.NOT_FOUND: SendReason.CONSENT_UNKNOWN,
    CommitReason.ALREADY_ANSWERED: SendReason.CONSENT_SPENT,
    CommitReason.NOT_ALLOWED: SendReason.CONSENT_SPENT,
    CommitReason.EXPIRED: SendReason.CONSENT_EXPIRED,
}
_KIND: Final = {
    ConsentKind.DEVICE_SIGNED: Consent.DEVICE_SIGNED,
    ConsentKind.TENANT_ASSERTED: Consent.TENANT_ASSERTED,
    ConsentKind.POLICY: Consent.POLICY,
}


@dataclass(frozen=True, slots=True)
class _Ready:
    """What stays the same over attempts."""

    tenant: int
    tenant_id: TenantId
    offer: Offer
    about: About
    mac: bytes
    consent: ConsentRow | None
    devices: tuple[int, ...]
    """The mailboxes of the sender's devices."""

    @property
    def account(self) -> AccountId | None:
        """In whose name it is sent."""
        return self.offer.sender


class OpenMessages:
    """Takes readable messages.

    Args:
        ways: the channels that readable messages may take here.
        key: 32 bytes: makes ids of idempotency keys, and digests.
        queued: called when a message may leave.
        asked: called with the mailboxes of devices for which a question waits.
    """

    def __init__(
        self,
        writer: Writer,
        reads: OpenReads,
        vault: Subjects,
        policies: Policies,
        assessments: Assessments,
        questions: QuestionBook,
        storage_key: Callable[[], StorageKey],
        ways: Ways,
        clock: Clock,
        key: bytes,
        counts: Counts,
        queued: Callable[[], None],
        asked: Callable[[Sequence[int]], None],
        entropy: Entropy = os.urandom,
    ) -> None:
        self._writer = writer
        self._reads = reads
        self._vault = vault
        self._policies = policies
        self._assessments = assessments
        self._questions = questions
        self._storage_key = storage_key
        self._ways = ways
        self._clock = clock
        self._key = key
        self._counts = counts
        self._queued = queued
        self._asked = asked
        self._entropy = entropy

    async def accept(self, tenant: int, tenant_id: TenantId, offer: Offer) -> Taken | Questioned:
        """Takes a message, or says what has to be answered first. The body is destroyed in every case.

        Raises:
            SendError: refused; nothing is kept.
            StorageError: the store takes nothing now.
            VaultError: the vault failed.
        """
        try:
            ready = await self._ready(tenant, tenant_id, offer)
            if isinstance(ready, Taken):
                return ready
            for _ in range(MAX_STALE):
                outcome = await self._attempt(ready)
                if outcome is not None:
                    return outcome
        finally:
            offer.body.destroy()
        raise StorageError(StorageReason.OVERLOADED)

    async def _ready(self, tenant: int, tenant_id: TenantId, offer: Offer) -> _Ready | Taken:
        try:
            measure(offer.body)
        except TextError as error:
            long = error.reason is TextReason.TOO_MANY_PARTS
            raise SendError(SendReason.TEXT_TOO_LONG if long else SendReason.TEXT_UNENCODABLE) from None
        digest = body_digest(offer.body, self._key)
        mac = self._mac(offer, digest)
        consent = None
        if offer.consent is not None:
            consent = await self._reads.consent(tenant, offer.consent.value)
            if consent is None:
                raise SendError(SendReason.CONSENT_UNKNOWN)
        message_id = self._message_id(tenant_id, offer, consent)
        if offer.key is not None or consent is not None:
            known = await self._reads.known(tenant, message_id.value)
            if known is not None:
                if known.request_mac != mac:
                    raise SendError(SendReason.IDEMPOTENCY_CONFLICT)
                return await self._again(tenant, message_id, known.status, known.record_hash)
        loop = asyncio.get_running_loop()
        subject = await loop.run_in_executor(None, self._vault.subject, tenant_id, offer.number.e164().encode())
        about = About(tenant, tenant_id, subject.id, message_id, offer.number)
        devices: tuple[int, ...] = ()
        if offer.sender is not None:
            devices = await self._reads.devices_of(tenant, offer.sender.value)
            if not devices:
                raise SendError(SendReason.SENDER_UNKNOWN)
        return _Ready(tenant, tenant_id, offer, about, mac, consent, devices)

    def _mac(self, offer: Offer, digest: bytes) -> bytes:
        fields = (
            offer.number.e164().encode(),
            digest,
            offer.traffic.value.encode(),
            offer.claim.value.encode(),
            offer.on_downgrade.value.encode(),
            b"" if offer.consent is None else offer.consent.value,
            b"" if offer.expires_in_ms is None else offer.expires_in_ms.to_bytes(8),
            b"" if offer.sender is None else offer.sender.value,
        )
        framed = b"".join(len(one).to_bytes(2) + one for one in fields)
        return blake2b(framed, key=self._key, digest_size=16, person=b"request").digest()

    def _message_id(self, tenant_id: TenantId, offer: Offer, consent: ConsentRow | None) -> MessageId:
        if offer.key is not None:
            data = tenant_id.value + len(MESSAGES_ROUTE).to_bytes(2) + MESSAGES_ROUTE + offer.key
            return MessageId(blake2b(data, key=self._key, digest_size=16, person=b"message-id").digest())
        # An answer is about one message: coming back with it is sending that message.
        return MessageId(self._entropy(16) if consent is None else consent.challenge.message)

    async def _again(self, tenant: int, message_id: MessageId, status: int, record_hash: bytes) -> Taken:
        row = await self._reads.message(tenant, message_id.value)
        return Taken(message_id, MessageState(status), record_hash, row, None, duplicate=True)

    async def _attempt(self, ready: _Ready) -> Taken | Questioned | None:
        offer, tenant = ready.offer, ready.tenant
        version = self._policies.version
        policy = self._policies.of(tenant)
        traffic = TRAFFICS.index(offer.traffic)
        found, floor_version = await self._reads.floor(tenant, ready.about.subject.value, traffic)
        floor = Protection.UNKNOWN if found is None else PROTECTIONS[found]
        relied = Relied(version, -1, floor_version)
        answer = Consent.NONE
        ways = self._ways
        if ready.consent is not None:
            answer = await self._check_consent(ready, ready.consent, floor)
            ways = Ways.of(CHANNELS[ready.consent.challenge.channel])
        facts = Facts(
            body=Body.OPEN,
            claim=Claim.NONE if offer.claim is SaidClaim.NONE else Claim.E2EE_AUTHORISED,
            framing=Framing.ABSENT,
            grade=EvidenceGrade.NONE,
            submission=Submission.TENANT_API,
            floor=floor,
            ways=ways,
            consent=answer,
            on_downgrade=offer.on_downgrade,
            face=Face.CAN_ASK,
            traffic=offer.traffic,
        )
        decision = policy.decide(facts)
        before = self._questions.before(tenant, floor, offer.traffic)
        try:
            if decision.action is Action.DELIVER:
                return await self._deliver(ready, decision, before, relied)
            if decision.action is Action.HOLD:
                wished = Facts(**{**_parts(facts), "on_downgrade": OnDowngrade.ASK})
                return await self._hold(ready, decision, policy.decide(wished).offered, before, relied)
            if decision.action is Action.ASK and self._questions.may_ask(tenant, ready.account):
                return await self._ask(ready, decision, before, floor)
        except CommitRefused as refusal:
            if refusal.reason is CommitReason.STALE_DECISION:
                return None
            raise SendError(_COMMIT.get(refusal.reason, SendReason.CONSENT_VOID)) from None
        raise await self._refuse(ready, decision)

    async def _check_consent(self, ready: _Ready, consent: ConsentRow, floor: Protection) -> Consent:
        """What a consent is worth for this very message.

        Raises:
            SendError: spent, ended, too late, or given for something else (then it is void from now on).
        """
        if consent.state != "open":
            raise SendError(SendReason.CONSENT_SPENT)
        if consent.expires_ms <= self._clock.now_ms():
            raise SendError(SendReason.CONSENT_EXPIRED)
        if not self._is_about(ready, consent.challenge, floor):
            policy = self._policies.of(ready.tenant)
            await self._writer.run(
                open_commands.VoidConsent(
                    ready.tenant, consent.id, ready.about.message.value, policy.hash, "consent.void",
                    self._clock.now_ms(),
                )
            )  # fmt: skip
            self._counts.fall("void", consent.challenge.cause)
            raise SendError(SendReason.CONSENT_VOID)
        return _KIND[CONSENT_KINDS[consent.kind]]

    async def _deliver(self, ready: _Ready, decision: Decision, before: Protection, relied: Relied) -> Taken:
        channel = decision.channels[0]
        fall = None
        if decision.fall is not Fall.NOT_A_FALL:
            fall = self._fall(ready, decision, before, channel)
        taken = await self._commit(ready, decision, channel, MessageState.QUEUED, relied, fall, None)
        if not taken.duplicate:
            if decision.fall is not Fall.NOT_A_FALL:
                self._counts.fall(_counted(decision, ready.consent), Cause.SENDER_CHOSE.value)
            self._queued()
        return taken

    def _fall(self, ready: _Ready, decision: Decision, before: Protection, channel: Channel) -> open_commands.Fall:
        policy = self._policies.of(ready.tenant).hash
        after = self._questions.after(channel)
        if decision.fall is not Fall.CONSENTED:
            return policy_fall(before, after, policy)
        assert ready.consent is not None
        kind = CONSENT_KINDS[ready.consent.kind]
        return open_commands.Fall(
            PROTECTIONS.index(before), PROTECTIONS.index(after), policy, kind.value, ReasonCode.CONSENT_GIVEN.value,
            ready.consent.id,
        )  # fmt: skip

    async def _hold(
        self,
        ready: _Ready,
        decision: Decision,
        offered: tuple[Channel, ...],
        before: Protection,
        relied: Relied,
    ) -> Taken:
        channel = offered[0] if offered else Channel.SMS
        now = self._clock.now_ms()
        question = None
        if offered and self._questions.may_ask(ready.tenant, ready.account):
            until = min(now + _life(ready.offer, decision), now + consents.MAX_LIFE_MS)
            question = self._question(ready, decision, channel, before, now, until)
        taken = await self._commit(ready, decision, channel, MessageState.HELD, relied, None, question)
        self._counts.fall("held", Cause.SENDER_CHOSE.value)
        if question is None or taken.duplicate:
            return taken
        put = await self._reads.challenge(ready.tenant, question.id)
        if put is not None:
            self._ring(ready, put)
        view = None if put is None else self._questions.view(put)
        return Taken(taken.message_id, taken.state, taken.record_hash, taken.row, view, duplicate=False)

    async def _ask(self, ready: _Ready, decision: Decision, before: Protection, floor: Protection) -> Questioned:
        now = self._clock.now_ms()
        command = self._question(ready, decision, decision.offered[0], before, now, now + QUESTION_LIFE_MS)
        asked: open_commands.Asked = await self._writer.run(command, tenant=ready.tenant)
        row = await self._reads.challenge(ready.tenant, asked.id)
        if row is None:
            raise StorageError(StorageReason.FAILED)
        if not asked.is_new and not self._is_same(ready, row, floor):
            self._counts.fall("asked_recently", command.cause)
            raise SendError(SendReason.ASKED_RECENTLY, challenge=ChallengeId(asked.id))
        self._counts.fall("asked", command.cause)
        self._ring(ready, row)
        return Questioned(self._questions.view(row))

    def _ring(self, ready: _Ready, row: ChallengeRow) -> None:
        if row.account is not None:
            self._asked(ready.devices)

    def _is_same(self, ready: _Ready, row: ChallengeRow, floor: Protection) -> bool:
        """Whether an open question is this very one: then a retry gets it again, and nobody is asked twice."""
        if row.state != FallbackState.CHALLENGED.value or row.message != ready.about.message.value:
            return False
        return self._is_about(ready, row, floor)

    def _is_about(self, ready: _Ready, row: ChallengeRow, floor: Protection) -> bool:
        """Whether a question is about this very message as it would leave now, and of the same sender."""
        if row.account != (None if ready.account is None else ready.account.value):
            return False
        commitment = committed_body(ready.offer.body, row.nonce)
        return self._questions.still_holds(row, ready.about, commitment, floor, ready.offer.traffic)

    def _question(
        self, ready: _Ready, decision: Decision, channel: Channel, before: Protection, now: int, until: int
    ) -> open_commands.Ask:
        cause = Cause.SENDER_CHOSE
        challenge = ChallengeId(self._entropy(16))
        nonce = self._entropy(32)
        commitment = committed_body(ready.offer.body, nonce)
        terms = self._questions.terms(ready.about, commitment, channel, before, cause, until, nonce)
        consents.ask(challenge, terms, now, ())
        account, sealed, generation = b"", b"", 0
        if ready.account is not None and self._questions.takes(ready.tenant, ConsentKind.DEVICE_SIGNED):
            key = self._storage_key()
            account, generation = ready.account.value, key.generation
            sealed = seal_question(key, ready.tenant_id, challenge, commitment, ready.about.number, self._entropy)
        return open_commands.Ask(
            id=challenge.value,
            tenant=ready.tenant,
            message_id=ready.about.message.value,
            binding=self._questions.bind(terms),
            nonce=terms.nonce,
            subject=ready.about.subject.value,
            cause=cause.value,
            before=PROTECTIONS.index(before),
            after=PROTECTIONS.index(terms.after),
            channel=CHANNELS.index(channel),
            policy=terms.policy_hash,
            rule=decision.rule,
            now_ms=now,
            expires_ms=until,
            window_ms=consents.PROMPT_WINDOW_MS,
            account=account,
            sealed=sealed,
            generation=generation,
        )

    async def _commit(
        self,
        ready: _Ready,
        decision: Decision,
        channel: Channel,
        state: MessageState,
        relied: Relied,
        fall: open_commands.Fall | None,
        question: open_commands.Ask | None,
    ) -> Taken:
        offer, about = ready.offer, ready.about
        now = self._clock.now_ms()
        key = self._storage_key()
        assessed = self._assessments.readable(channel)
        shown = shown_of(assessed, decision, channel)
        waiting = shred_seal(offer.body, key, ready.tenant_id, about.message, self._entropy)
        address = seal_address(key, ready.tenant_id, about.message, offer.number.e164().encode(), self._entropy)
        expires = now + _life(offer, decision)
        command = open_commands.AcceptOpen(
            tenant=ready.tenant,
            message_id=about.message.value,
            request_mac=ready.mac,
            subject=about.subject.value,
            channel=CHANNELS.index(channel),
            traffic=TRAFFICS.index(offer.traffic),
            shown=shown,
            size_bucket=size_bucket(offer.body.size),
            state=int(state),
            sealed=waiting.sealed,
            wrapped_key=waiting.wrapped_key,
            address=address,
            generation=waiting.generation,
            relied=relied,
            policy=self._policies.of(ready.tenant).hash,
            rule=decision.rule,
            fall=fall,
            question=question,
            now_ms=now,
            expires_ms=expires,
        )
        size = len(waiting.sealed) + len(address)
        accepted: Accepted = await self._writer.run(command, tenant=ready.tenant, size=size)
        if accepted.duplicate:
            return await self._again(ready.tenant, about.message, accepted.status, accepted.record_hash)
        self._counts.message(channel.value, assessed.show_as.value, state.name.lower())
        row = MessageRow(
            accepted.seq, ready.tenant, about.message.value, int(state), command.channel, shown.protection,
            shown.grade, shown.verifier, shown.indicator, shown.decision, shown.rule, shown.fall, 0, accepted.entry,
            accepted.slot, None, now, now, expires, accepted.record_hash,
        )  # fmt: skip
        return Taken(about.message, state, accepted.record_hash, row, None, duplicate=False)

    async def _refuse(self, ready: _Ready, decision: Decision) -> SendError:
        refusal = decision.refusal or Refusal.BELOW_FLOOR
        reason, word = _REFUSALS[refusal]
        await self._writer.run(
            open_commands.Refuse(
                ready.tenant, ready.about.message.value, self._policies.of(ready.tenant).hash, decision.rule,
                word.value, self._clock.now_ms(),
            ),
            tenant=ready.tenant,
        )  # fmt: skip
        self._counts.fall("refused", reason.value)
        return SendError(reason)


def _life(offer: Offer, decision: Decision) -> int:
    """How long a message may wait, in milliseconds: as policy has it, or less if the sender wants that."""
    return min(decision.retention_ms, offer.expires_in_ms or decision.retention_ms)


def _counted(decision: Decision, consent: ConsentRow | None) -> str:
    """The metric's word for a step down: kinds of consent are counted apart."""
    if consent is None:
        return decision.fall.value
    return f"{decision.fall.value}_{CONSENT_KINDS[consent.kind].value.lower()}"


def _parts(facts: Facts) -> dict[str, Any]:
    return {name: getattr(facts, name) for name in facts.__struct_fields__}


assert FALLS.index(Fall.CONSENTED) == 1, "the store knows CONSENTED by this number"
