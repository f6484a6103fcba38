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
from letterlock.assurance.consent import Alternative, Terms
from letterlock.assurance.texts import english
from letterlock.gateway.policies import Policies
from letterlock.gateway.security import Assessments, readers_of
from letterlock.model.capability import CapabilityRow, Channel
from letterlock.model.ids import ChallengeId, MessageId, SubjectId, TenantId
from letterlock.model.protection import Protection
from letterlock.policy.facts import Answer, Traffic
from letterlock.storage.codes import CHANNELS, PROTECTIONS
from letterlock.storage.open_commands import ChallengeRow
from letterlock.wire.sms.address import PhoneNumber

BINDING_BYTES: Final = 32
TRAFFICS: Final = tuple(Traffic)
"""Kinds of traffic as rows number them: only ever growing at the end."""


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


@dataclass(frozen=True, slots=True)
class About:
    """What a question is about, beside what policy and transports say."""

    tenant: int
    tenant_id: TenantId
    subject: SubjectId
    message: MessageId
    body: bytes = field(repr=False)
    """Keyed digest of the content."""
    number: PhoneNumber


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

    def takes_tenants_word(self, tenant: int) -> bool:
        """Whether the policy takes a tenant's word for a person's answer."""
        return Answer.TENANT_ASSERTED in self._policies.of(tenant).policy.consent.tenant_api

    def terms(
        self, about: About, channel: Channel, before: Protection, cause: Cause, expires_ms: int, nonce: bytes
    ) -> Terms:
        """The terms as they are now.

        Raises:
            ConsentError: MALFORMED.
        """
        return Terms(
            tenant=about.tenant_id,
            environment=self._environment,
            conversation=about.subject,
            message=about.message,
            body_commitment=about.body,
            destination=about.number.e164(),
            route=channel,
            row_version=self._rows[channel].version,
            before=before,
            after=self.after(channel),
            readers=tuple(readers_of(self._assessments.readable(channel))),
            cause=cause,
            policy_hash=self._policies.of(about.tenant).hash,
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

    def still_holds(self, row: ChallengeRow, about: About, floor: Protection, traffic: Traffic) -> bool:
        """Whether the terms of a stored question are exactly what they would be now, for this message."""
        present = self.terms(
            about,
            CHANNELS[row.channel],
            self.before(about.tenant, floor, traffic),
            Cause(row.cause),
            row.expires_ms,
            row.nonce,
        )
        return hmac.compare_digest(self.bind(present), row.binding)

    def view(self, row: ChallengeRow) -> QuestionView:
        """A question for people."""
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
            alternatives=[Choice(one.value, texts.alternative[one]) for one in (Alternative.WAIT, Alternative.DISCARD)],
            scope=ConsentScope.THIS_MESSAGE.value,
            scope_text=texts.scope[ConsentScope.THIS_MESSAGE],
            expires_ms=row.expires_ms,
        )
