"""Answers to questions, their withdrawal, and the held message that a yes lets go.

A tenant's authenticated word is recorded as what it is: TENANT_ASSERTED, no proof. Where policy wants a device's
signature it opens nothing. Signatures are checked by :mod:`.device_answers`, and are a kind of their own.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from typing import ClassVar, Final, Protocol

from msgspec import Struct

from letterlock.custody.sealing import Entropy, SealingError, StorageKey, unseal_address, unshred
from letterlock.custody.storage_keys import StorageKeyError
from letterlock.gateway.body_digest import committed_body
from letterlock.gateway.codes import ACTIONS, INDICATORS
from letterlock.gateway.offers import Counts, Subjects
from letterlock.gateway.policies import Policies
from letterlock.gateway.questions import TRAFFICS, About, QuestionBook, QuestionView
from letterlock.gateway.sealed import MAX_STALE
from letterlock.gateway.writer import Writer
from letterlock.model.bodies import ShreddableBody
from letterlock.model.clock import Clock
from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.model.ids import ChallengeId, ConsentId, MessageId, TenantId
from letterlock.model.protection import ConsentKind, EvidenceGrade, Protection
from letterlock.policy.decision import Action, Decision
from letterlock.policy.facts import Body, Claim, Consent, Face, Facts, Framing, OnDowngrade, Submission, Ways
from letterlock.storage.codes import CHANNELS, CONSENT_KINDS, PROTECTIONS
from letterlock.storage.errors import CommitReason, CommitRefused, StorageError, StorageReason
from letterlock.storage.open_commands import AnswerChallenge, Answered, ChallengeRow, HeldRow, WithdrawConsent
from letterlock.storage.relay_commands import RelayReason
from letterlock.storage.sqlite.open_reads import OpenReads
from letterlock.wire.sms.address import PhoneNumber


class ConsentReason(Reason):
    """Why an answer, or its withdrawal, does nothing: stable codes of the API."""

    NOT_FOUND = "not_found"
    ALREADY_ANSWERED = "already_answered"
    EXPIRED = "challenge_expired"
    DEVICE_SIGNATURE_REQUIRED = "device_signature_required"
    SIGNATURE_REFUSED = "consent_signature_refused"
    """Not by this device's listed key, or over something else than this question."""
    DEVICE_NOT_LISTED = "device_not_listed"
    """The account's newest signed list does not have this device."""
    TERMS_CHANGED = "terms_changed"
    """What the question was about is different now: send the message again, and be asked again."""
    SPENT = "consent_spent"


class ConsentError(OperationError[ConsentReason]):
    """Nothing changed."""

    fault: ClassVar[Fault] = Fault.POLICY


class Said(Enum):
    """An answer."""

    AGREED = "agreed"
    REFUSED = "refused"


class AnswerView(Struct, frozen=True):
    """What an answer did.

    Attributes:
        consent: send the message again with it; None where there is nothing to send again.
        released: whether the message that was held for this is on its way now.
        state: where the question stands.
    """

    consent: str | None
    released: bool
    state: str


@dataclass(frozen=True, slots=True)
class Answerer:
    """Who answers, as far as it was checked.

    Attributes:
        kind: what the answer is worth.
        who: an opaque name; kept as a keyed digest.
        caller: the mailbox of the device that signed; 0 for a tenant's word.
        list_version: the account's list on which that device's key was found.
    """

    kind: ConsentKind
    who: bytes = field(repr=False)
    caller: int = 0
    list_version: int = 0


class OpeningKeys(Protocol):
    """The storage keys of the generations."""

    def get(self, generation: int) -> StorageKey:
        """To open what lies there."""
        ...


_ANSWER: Final = {
    CommitReason.NOT_FOUND: ConsentReason.NOT_FOUND,
    CommitReason.ALREADY_ANSWERED: ConsentReason.ALREADY_ANSWERED,
    CommitReason.EXPIRED: ConsentReason.EXPIRED,
}
_FACT: Final = {
    ConsentKind.DEVICE_SIGNED: Consent.DEVICE_SIGNED,
    ConsentKind.TENANT_ASSERTED: Consent.TENANT_ASSERTED,
}
_WITHDRAWAL: Final = {
    CommitReason.NOT_FOUND: ConsentReason.NOT_FOUND,
    CommitReason.ALREADY_ANSWERED: ConsentReason.SPENT,
    CommitReason.NOT_ALLOWED: ConsentReason.SPENT,
}


class Consents:
    """Questions, answers, withdrawals."""

    def __init__(
        self,
        writer: Writer,
        reads: OpenReads,
        vault: Subjects,
        policies: Policies,
        questions: QuestionBook,
        keys: OpeningKeys,
        clock: Clock,
        key: bytes,
        counts: Counts,
        queued: Callable[[], None],
        entropy: Entropy = os.urandom,
    ) -> None:
        self._writer = writer
        self._reads = reads
        self._vault = vault
        self._policies = policies
        self._questions = questions
        self._keys = keys
        self._clock = clock
        self._key = key
        self._counts = counts
        self._queued = queued
        self._entropy = entropy

    async def question(self, tenant: int, challenge: ChallengeId) -> QuestionView:
        """A question, and the consent that it got.

        Raises:
            ConsentError: NOT_FOUND.
        """
        row = await self._row(tenant, challenge)
        return self._questions.view(row, await self._reads.consent_to(tenant, challenge.value))

    async def _row(self, tenant: int, challenge: ChallengeId) -> ChallengeRow:
        row = await self._reads.challenge(tenant, challenge.value)
        if row is None:
            raise ConsentError(ConsentReason.NOT_FOUND)
        return row

    async def answer(
        self, tenant: int, tenant_id: TenantId, challenge: ChallengeId, said: Said, answered_by: str
    ) -> AnswerView:
        """Takes a tenant's word. Agreeing lets a held message go, or gives a consent to come back with.

        ``answered_by`` is the tenant's own opaque name of the person; kept as a keyed digest.

        Raises:
            ConsentError: it does nothing.
            StorageError: the store takes nothing now.
        """

        async def word(_: ChallengeRow) -> Answerer:
            if said is Said.AGREED and not self._questions.takes(tenant, ConsentKind.TENANT_ASSERTED):
                raise ConsentError(ConsentReason.DEVICE_SIGNATURE_REQUIRED)
            return Answerer(ConsentKind.TENANT_ASSERTED, answered_by.encode())

        return await self.settle(tenant, tenant_id, challenge, said, word)

    async def settle(
        self,
        tenant: int,
        tenant_id: TenantId,
        challenge: ChallengeId,
        said: Said,
        whose: Callable[[ChallengeRow], Awaitable[Answerer]],
    ) -> AnswerView:
        """Takes an answer of either kind, as often as the world under it changes, three times at most.

        Args:
            tenant: whose.
            tenant_id: the same, as ids have it.
            challenge: which question.
            said: the answer.
            whose: who answers, checked anew each time; raises ConsentError where the answer is worth nothing.

        Raises:
            ConsentError: it does nothing.
            StorageError: the store takes nothing now.
        """
        for _ in range(MAX_STALE):
            row = await self._row(tenant, challenge)
            decision = None
            version = self._policies.version
            answerer = await whose(row)
            if said is Said.AGREED and row.held is not None:
                decision = await self._held_decision(tenant, tenant_id, row, answerer.kind)
            try:
                outcome: Answered = await self._writer.run(
                    self._command(tenant, row, said, answerer, version, decision), tenant=tenant
                )
            except CommitRefused as refusal:
                if refusal.reason is CommitReason.STALE_DECISION:
                    continue
                if refusal.facts.get("relay") is RelayReason.SESSION_ENDED:
                    raise ConsentError(ConsentReason.DEVICE_NOT_LISTED) from None
                raise ConsentError(_ANSWER.get(refusal.reason, ConsentReason.ALREADY_ANSWERED)) from None
            word = "agreed" if said is Said.AGREED else "declined"
            self._counts.fall(f"{word}_{answerer.kind.value.lower()}", row.cause)
            if outcome.released:
                self._queued()
            consent = str(ConsentId(outcome.consent)) if outcome.consent and row.held is None else None
            return AnswerView(consent, bool(outcome.released), outcome.state)
        raise StorageError(StorageReason.OVERLOADED)

    def _command(
        self, tenant: int, row: ChallengeRow, said: Said, answerer: Answerer, version: int, decision: Decision | None
    ) -> AnswerChallenge:
        # Bound to tenant and question, so that two answers of one person cannot be joined by it.
        who = blake2b(
            row.tenant.to_bytes(8) + row.id + answerer.who, key=self._key, digest_size=32, person=b"answered-by"
        ).digest()
        return AnswerChallenge(
            tenant=tenant,
            challenge=row.id,
            consent=self._entropy(16),
            agreed=int(said is Said.AGREED),
            kind=CONSENT_KINDS.index(answerer.kind),
            caller=answerer.caller,
            list_version=answerer.list_version,
            answered_by=who,
            policy=self._policies.of(tenant).hash,
            policy_version=version,
            indicator=0 if decision is None else INDICATORS.index(decision.indicator),
            decision=0 if decision is None else ACTIONS.index(decision.action),
            rule="" if decision is None else decision.rule,
            now_ms=self._clock.now_ms(),
        )

    async def _held_decision(self, tenant: int, tenant_id: TenantId, row: ChallengeRow, kind: ConsentKind) -> Decision:
        """What policy says of the held message with this answer, after a look whether it is still what was asked about.

        Raises:
            ConsentError: TERMS_CHANGED, EXPIRED.
        """
        assert row.held is not None
        held = await self._reads.held(tenant, row.held)
        if held is None:
            raise ConsentError(ConsentReason.EXPIRED)
        floor = Protection.UNKNOWN if held.floor is None else PROTECTIONS[held.floor]
        traffic = TRAFFICS[held.traffic]
        about, commitment = await self._about(tenant, tenant_id, held, row.nonce)
        decision = self._policies.of(tenant).decide(
            Facts(
                body=Body.OPEN,
                claim=Claim.NONE,
                framing=Framing.ABSENT,
                grade=EvidenceGrade.NONE,
                submission=Submission.TENANT_API,
                floor=floor,
                ways=Ways.of(CHANNELS[row.channel]),
                consent=_FACT[kind],
                on_downgrade=OnDowngrade.HOLD,
                face=Face.CAN_ASK,
                traffic=traffic,
            )
        )
        holds = self._questions.still_holds(row, about, commitment, floor, traffic)
        if not holds or decision.action is not Action.DELIVER:
            self._counts.fall("void", row.cause)
            raise ConsentError(ConsentReason.TERMS_CHANGED)
        return decision

    async def _about(self, tenant: int, tenant_id: TenantId, held: HeldRow, nonce: bytes) -> tuple[About, bytes]:
        message = MessageId(held.message_id)
        try:
            address = unseal_address(self._keys.get(held.address_generation), tenant_id, message, held.address)
            body = unshred(
                ShreddableBody(held.sealed, held.wrapped_key, held.body_generation),
                self._keys.get(held.body_generation),
                tenant_id,
                message,
            )
        except (SealingError, StorageKeyError):
            # Moved to another generation between the read and here: the caller comes again.
            raise StorageError(StorageReason.OVERLOADED) from None
        try:
            commitment = committed_body(body, nonce)
        finally:
            body.destroy()
        loop = asyncio.get_running_loop()
        subject = await loop.run_in_executor(None, self._vault.subject, tenant_id, address)
        about = About(tenant, tenant_id, subject.id, message, PhoneNumber.parse(address.decode("ascii")))
        return about, commitment

    async def withdraw(self, tenant: int, consent: ConsentId) -> None:
        """Ends a consent that was not used yet; whoever commits first, this or the message, wins.

        Raises:
            ConsentError: NOT_FOUND, SPENT.
        """
        try:
            await self._writer.run(WithdrawConsent(tenant, consent.value, self._clock.now_ms()), tenant=tenant)
        except CommitRefused as refusal:
            raise ConsentError(_WITHDRAWAL.get(refusal.reason, ConsentReason.SPENT)) from None
        self._counts.fall("withdrawn", "sender_chose")
