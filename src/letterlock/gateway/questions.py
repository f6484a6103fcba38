"""Questions about a step down: the terms that are shown, and the keyed digest that binds an answer to them.

Neither destination nor content is kept with a question: the terms are built again when somebody comes back with the
answer, and must come to the same digest. One changed field, and the answer was to something else.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from letterlock.assurance.causes import OFFERS, Cause, ConsentScope
from letterlock.assurance.consent import NO_TRANSCRIPT, Alternative, Challenge, Terms
from letterlock.assurance.texts import english
from letterlock.gateway.policies import Policies
from letterlock.gateway.security import Assessments, readers_of
from letterlock.model.capability import CapabilityRow, Channel
from letterlock.model.ids import AccountId, ChallengeId, ConsentId, MessageId, SubjectId, TenantId
from letterlock.model.protection import ConsentKind, Protection
from letterlock.policy.facts import Answer, Traffic
from letterlock.storage.codes import CHANNELS, CONSENT_KINDS, PROTECTIONS
from letterlock.storage.open_commands import ChallengeRow
from letterlock.wire.sms.address import PhoneNumber

BINDING_BYTES: Final = 32
TRAFFICS: Final = tuple(Traffic)
"""Kinds of traffic as rows number them: only ever growing at the end."""
ALTERNATIVES: Final = (Alternative.WAIT, Alternative.DISCARD)
_ANSWERS: Final = {
    ConsentKind.DEVICE_SIGNED: Answer.DEVICE_SIGNED,
    ConsentKind.TENANT_ASSERTED: Answer.TENANT_ASSERTED,
}
"""What people answer with. What policy allows, nobody is asked about."""


class Choice(Struct, frozen=True):
    """Something else that one can do."""

    name: str
    text: str


class QuestionView(Struct, frozen=True):
    """A question as people see it.

    Attributes:
        id: answer it under this id.
        message_id: what it is about.
        state: where it stands in the fallback machine.
        reason: why it is asked, as a closed word; reason_text in a sentence.
        says: who says so; says_text in a sentence.
        channel: the way that a yes would open.
        before: the protection that the conversation has.
        after: the protection on that way; after_text says what that means.
        readers: who could read, by name.
        alternatives: what else one can do.
        scope: how far a yes reaches.
        expires_ms: after this an answer is worth nothing.
        kinds: of which kinds an answer may be.
        kind: of which kind the yes is that it got; None while there is none.
        consent: to send the message again with, where there is a yes and the message was not held.
    """

    id: str
    message_id: str
    state: str
    reason: str
    reason_text: str
    says: str
    says_text: str
    channel: str
    before: str
    after: str
    after_text: str
    readers: list[str]
    alternatives: list[Choice]
    scope: str
    scope_text: str
    expires_ms: int
    kinds: list[str]
    kind: str | None
    consent: str | None


@dataclass(frozen=True, slots=True)
class About:
    """What a question is about, beside what policy and transports say."""

    tenant: int
    tenant_id: TenantId
    subject: SubjectId
    message: MessageId
    number: PhoneNumber = field(repr=False)


class QuestionBook:
    """Makes terms, and binds and compares them."""

    def __init__(
        self,
        policies: Policies,
        rows: Iterable[CapabilityRow],
        assessments: Assessments,
        environment: str,
        key: bytes,
    ) -> None:
        self._policies = policies
        self._rows = {row.channel: row for row in rows}
        self._assessments = assessments
        self._environment = environment
        self._key = key

    def before(self, tenant: int, floor: Protection, traffic: Traffic) -> Protection:
        """The protection that a conversation has: its recorded floor, or the policy's."""
        policy = self._policies.of(tenant).policy
        if policy.e2ee_first and traffic is Traffic.CONVERSATION:
            return Protection.E2EE
        if floor is not Protection.UNKNOWN:
            return floor
        return policy.floors.conversation if traffic is Traffic.CONVERSATION else policy.floors.notification

    def after(self, channel: Channel) -> Protection:
        """The protection of a readable message on a channel."""
        return self._assessments.readable(channel).show_as

    def takes(self, tenant: int, kind: ConsentKind) -> bool:
        """Whether the policy takes an answer of this kind for what a tenant's software sends."""
        return _ANSWERS[kind] in self._policies.of(tenant).policy.consent.tenant_api

    def may_ask(self, tenant: int, account: AccountId | None) -> bool:
        """Whether there is anybody whose answer policy would take: the tenant's people, or an account's devices."""
        signed = account is not None and self.takes(tenant, ConsentKind.DEVICE_SIGNED)
        return signed or self.takes(tenant, ConsentKind.TENANT_ASSERTED)

    def terms(
        self,
        about: About,
        commitment: bytes,
        channel: Channel,
        before: Protection,
        cause: Cause,
        expires_ms: int,
        nonce: bytes,
    ) -> Terms:
        """The terms as they are now.

        Args:
            about: what the question is about.
            commitment: of the content, with this nonce.
            channel: the way that a yes would open.
            before: the protection that the conversation has.
            cause: why.
            expires_ms: the question's end.
            nonce: 32 random bytes.

        Raises:
            ConsentError: MALFORMED.
        """
        return Terms(
            tenant=about.tenant_id,
            environment=self._environment,
            conversation=about.subject,
            message=about.message,
            body_commitment=commitment,
            destination=about.number.e164(),
            route=channel,
            row_version=self._rows[channel].version,
            before=before,
            after=self.after(channel),
            readers=tuple(readers_of(self._assessments.readable(channel))),
            cause=cause,
            policy_hash=self._policies.of(about.tenant).hash,
            transcript=NO_TRANSCRIPT,
            scope=ConsentScope.THIS_MESSAGE,
            expires_ms=expires_ms,
            nonce=nonce,
        )

    def bind(self, terms: Terms) -> bytes:
        """The digest that stands for terms; without the key nobody can try out numbers or texts."""
        environment = terms.environment.encode()
        head = terms.tenant.value + len(environment).to_bytes(2) + environment
        return blake2b(
            head + terms.encode(), key=self._key, digest_size=BINDING_BYTES, person=b"question"
        ).digest()  # fmt: skip

    def still_holds(
        self, row: ChallengeRow, about: About, commitment: bytes, floor: Protection, traffic: Traffic
    ) -> bool:
        """Whether the terms of a stored question are exactly what they would be now, for this message.

        ``commitment`` is of this message's content, with the question's nonce.
        """
        present = self.terms(
            about,
            commitment,
            CHANNELS[row.channel],
            self.before(about.tenant, floor, traffic),
            Cause(row.cause),
            row.expires_ms,
            row.nonce,
        )
        return hmac.compare_digest(self.bind(present), row.binding)

    def challenge(self, row: ChallengeRow, about: About, commitment: bytes) -> Challenge | None:
        """A question as a device shows and signs it; None where policy or the transport's row are others by now."""
        cause = Cause(row.cause)
        before = PROTECTIONS[row.before]
        terms = self.terms(about, commitment, CHANNELS[row.channel], before, cause, row.expires_ms, row.nonce)
        if not hmac.compare_digest(self.bind(terms), row.binding):
            return None
        return Challenge(ChallengeId(row.id), terms, ALTERNATIVES)

    def view(self, row: ChallengeRow, consent: tuple[bytes, int] | None = None) -> QuestionView:
        """A question for people; ``consent`` is what it got, and of which kind."""
        channel = CHANNELS[row.channel]
        cause = Cause(row.cause)
        says = OFFERS[cause].says
        after = PROTECTIONS[row.after]
        texts = english()
        return QuestionView(
            id=str(ChallengeId(row.id)),
            message_id=str(MessageId(row.message)),
            state=row.state,
            reason=cause.value,
            reason_text=texts.cause[cause],
            says=says.value,
            says_text=texts.says[says],
            channel=channel.value,
            before=PROTECTIONS[row.before].value,
            after=after.value,
            after_text=texts.loss[after],
            readers=readers_of(self._assessments.readable(channel)),
            alternatives=[Choice(one.value, texts.alternative[one]) for one in ALTERNATIVES],
            scope=ConsentScope.THIS_MESSAGE.value,
            scope_text=texts.scope[ConsentScope.THIS_MESSAGE],
            expires_ms=row.expires_ms,
            kinds=[kind.value for kind in ConsentKind if kind in _ANSWERS and self._offered(row, kind)],
            kind=None if consent is None else CONSENT_KINDS[consent[1]].value,
            # A held message is on its way by its answer: there is nothing to come back with.
            consent=None if consent is None or row.held is not None else str(ConsentId(consent[0])),
        )

    def _offered(self, row: ChallengeRow, kind: ConsentKind) -> bool:
        return self.takes(row.tenant, kind) and (kind is not ConsentKind.DEVICE_SIGNED or row.account is not None)
