"""A challenge, its answer, and the grant that an answer makes: bound to everything that was shown, used once.

A person agrees to *these* terms. The grant carries them, and is spent against the terms as they are at that moment;
one field that differs voids it. Answers are of three kinds that are never merged: signed by a device, asserted by a
tenant, or given by policy. Times are milliseconds UTC; nonces and digests are arguments.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum, unique
from hashlib import blake2b
from typing import ClassVar, Final

from letterlock.assurance.causes import OFFERS, Cause, ConsentScope
from letterlock.model.capability import Channel
from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.model.ids import ChallengeId, MessageId, SubjectId, TenantId
from letterlock.model.protection import ConsentKind, Protection, is_fall
from letterlock.wire.preimage import (
    HASH_BYTES,
    PublicKey,
    Purpose,
    Scope,
    Signature,
    SignatureError,
    Signer,
    context_hash,
    sign,
    verify,
)

FORMAT: Final = 2
AUDIENCE: Final = "consent"
NO_TRANSCRIPT: Final = bytes(HASH_BYTES)
"""Of a conversation in which no session handshake was agreed: a phone number behind a message centre has none."""
MAX_LIFE_MS: Final = 24 * 60 * 60 * 1000
"""An answer is given about a situation; after a day it is another one."""
MAX_READERS: Final = 16
"""More cannot be shown in a dialog that a person reads."""
MAX_TEXT: Final = 255
"""Bytes of a reader's name or a destination."""
PROMPT_WINDOW_MS: Final = 60 * 60 * 1000
"""One question per cause and hour: who can induce failures must not wear a person down."""


def body_commitment(content: bytes | memoryview, nonce: bytes) -> bytes:
    """What stands for a content in the terms: a device that has the content can check it; nobody else learns it.

    Args:
        content: the text, UTF-8.
        nonce: the question's. Whoever has it can try out contents: it is shown to the sender alone.
    """
    return blake2b(content, key=nonce, digest_size=HASH_BYTES, person=b"consent-body").digest()


@unique
class Alternative(Enum):
    """What one can do instead of agreeing."""

    WAIT = "wait"
    """Hold the message until the secure path is there."""
    DISCARD = "discard"
    NOTICE_ONLY = "notice_only"
    """Send word that a message waits, without its content."""


@unique
class Answer(Enum):
    """What was answered. The value is what is signed."""

    AGREED = "agreed"
    REFUSED = "refused"


@unique
class GrantState(Enum):
    """Whether a grant is still good."""

    OPEN = "open"
    SPENT = "spent"
    """Used for its one message."""
    ENDED = "ended"
    """Withdrawn, or the secure path came back once; it does not live again when that goes away."""


@unique
class SecurePath(Enum):
    """Whether the secure path is there now."""

    MISSING = "missing"
    BACK = "back"


@unique
class ConsentReason(Reason):
    """Why there is no challenge, no grant, or no use of a grant."""

    CAUSE_NOT_PROVEN = "cause_not_proven"
    """An attacker could have made this failure: hold and try again, offer nothing."""
    SCOPE_NOT_OFFERED = "scope_not_offered"
    NOT_A_FALL = "not_a_fall"
    MALFORMED = "malformed"
    UNKNOWN_READER = "unknown_reader"
    """Somebody is named for whom this device has no words: nobody could know what they agree to."""
    ASKED_RECENTLY = "asked_recently"
    """This device showed a question about this cause and this conversation in the same window."""
    BODY_DIFFERS = "body_differs"
    """What would be sent is not what was asked about."""
    LIFE_OUT_OF_RANGE = "life_out_of_range"
    EXPIRED = "expired"
    REFUSED = "refused"
    SIGNATURE_REFUSED = "signature_refused"
    TERMS_CHANGED = "terms_changed"
    ALREADY_SPENT = "already_spent"
    ENDED = "ended"
    SECURE_PATH_BACK = "secure_path_back"


class ConsentError(OperationError[ConsentReason]):
    """Nothing may leave on a lesser path because of this answer."""

    fault: ClassVar[Fault] = Fault.POLICY


@dataclass(frozen=True, slots=True)
class Terms:
    """Everything an answer is bound to. Change one field, and the answer is about something else.

    Attributes:
        tenant: whose gateway.
        environment: which installation.
        conversation: the peer or group that it is about.
        message: for :attr:`ConsentScope.UNTIL_SECURE`, the message that gave rise to the question.
        body_commitment: :func:`body_commitment` of the content, 32 bytes.
        destination: the normalised address.
        route: the channel.
        row_version: of the channel's capability row.
        before: the protection that the conversation has.
        after: the protection that this path has.
        readers: who could read, by name, as shown.
        cause: why.
        policy_hash: of the policy that is in force, 32 bytes.
        transcript: of the session handshake that is agreed with the other side, 32 bytes, or :data:`NO_TRANSCRIPT`.
        scope: how far the answer reaches.
        expires_ms: after this the answer is worth nothing.
        nonce: 32 random bytes of this question.
    """

    tenant: TenantId
    environment: str
    conversation: SubjectId
    message: MessageId
    body_commitment: bytes = field(repr=False)
    destination: str = field(repr=False)
    route: Channel
    row_version: int
    before: Protection
    after: Protection
    readers: tuple[str, ...]
    cause: Cause
    policy_hash: bytes = field(repr=False)
    transcript: bytes = field(repr=False)
    scope: ConsentScope
    expires_ms: int
    nonce: bytes = field(repr=False)

    def __post_init__(self) -> None:
        hashes = (self.body_commitment, self.policy_hash, self.transcript, self.nonce)
        try:
            texts = [text.encode() for text in (self.destination, *self.readers)]
        except UnicodeEncodeError:
            raise ConsentError(ConsentReason.MALFORMED) from None
        if (
            any(len(one) != HASH_BYTES for one in hashes)
            or not all(1 <= len(text) <= MAX_TEXT for text in texts)
            or len(self.readers) > MAX_READERS
            or not 0 <= self.row_version < 2**63
            or not 0 <= self.expires_ms < 2**63
        ):
            raise ConsentError(ConsentReason.MALFORMED)

    def encode(self) -> bytes:
        """The one encoding: a format byte, then every field but tenant and environment, each with its length.

        Tenant and environment stand in the preimage itself.
        """
        fields = (
            self.conversation.value,
            self.message.value,
            self.body_commitment,
            self.destination.encode(),
            self.route.value.encode(),
            self.row_version.to_bytes(8),
            self.before.value.encode(),
            self.after.value.encode(),
            b"".join(_prefixed(name.encode()) for name in self.readers),
            self.cause.value.encode(),
            self.policy_hash,
            self.transcript,
            self.scope.value.encode(),
            self.expires_ms.to_bytes(8),
            self.nonce,
        )
        return bytes((FORMAT,)) + b"".join(map(_prefixed, fields))


@dataclass(frozen=True, slots=True)
class Challenge:
    """A question to a person: what would happen, why, who could read it, and what else one can do."""

    challenge: ChallengeId
    terms: Terms
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True, slots=True)
class Grant:
    """An answer that permits. Spend it with :func:`spend`; only then may the message leave."""

    challenge: ChallengeId
    kind: ConsentKind
    terms: Terms
    state: GrantState = GrantState.OPEN


def ask(challenge: ChallengeId, terms: Terms, now_ms: int, alternatives: Iterable[Alternative]) -> Challenge:
    """Makes a question, where one may be asked.

    Raises:
        ConsentError: the cause is not proven, or offers no such scope; it is no fall; the life is out of range.
    """
    offer = OFFERS[terms.cause]
    if not offer.may_ask:
        raise ConsentError(ConsentReason.CAUSE_NOT_PROVEN, cause=terms.cause)
    if terms.scope not in offer.scopes:
        raise ConsentError(ConsentReason.SCOPE_NOT_OFFERED, cause=terms.cause, scope=terms.scope)
    if not is_fall(terms.before, terms.after):
        raise ConsentError(ConsentReason.NOT_A_FALL, before=terms.before, after=terms.after)
    if not now_ms < terms.expires_ms <= now_ms + MAX_LIFE_MS:
        raise ConsentError(ConsentReason.LIFE_OUT_OF_RANGE)
    # Waiting and not sending are always possible, so they are always offered.
    offered = dict.fromkeys((Alternative.WAIT, Alternative.DISCARD, *alternatives))
    return Challenge(challenge, terms, tuple(offered))


def worth_showing(challenge: Challenge, tenant: TenantId, environment: str, now_ms: int) -> None:
    """What a device makes sure of before it shows a question: that it may be asked at all, and of this device's person.

    A failure that nobody proved leads to no question, whoever puts one.

    Raises:
        ConsentError: as :func:`ask`; MALFORMED: of another tenant or installation, or without what is always offered.
    """
    terms = challenge.terms
    again = ask(challenge.challenge, terms, now_ms, challenge.alternatives)
    if again != challenge or (terms.tenant, terms.environment) != (tenant, environment):
        raise ConsentError(ConsentReason.MALFORMED)


def sign_answer(challenge: Challenge, answer: Answer, signer: Signer) -> Signature:
    """Signs an answer with a device's envelope-and-receipt key.

    Raises:
        PreimageError: the key is of another family.
    """
    return sign(signer, Purpose.CONSENT, _scope(challenge), _body(challenge, answer))


def answered_by_device(
    challenge: Challenge, answer: Answer, signature: Signature, envelope_key: PublicKey, now_ms: int
) -> Grant:
    """The grant that a device's signed answer makes.

    Args:
        challenge: as it was asked, kept or rebuilt by this side.
        answer: what the device says it answered.
        signature: by the device.
        envelope_key: of the sender's device, from the account's signed list.
        now_ms: wall time.

    Raises:
        ConsentError: a signature that does not verify, too late, or refused.
    """
    try:
        verify(envelope_key, Purpose.CONSENT, _scope(challenge), _body(challenge, answer), signature)
    except SignatureError:
        raise ConsentError(ConsentReason.SIGNATURE_REFUSED) from None
    return _granted(challenge, answer, ConsentKind.DEVICE_SIGNED, now_ms)


def answered_by_tenant(challenge: Challenge, answer: Answer, now_ms: int) -> Grant:
    """The grant that a tenant's authenticated word makes: recorded, no proof.

    Raises:
        ConsentError: too late, or refused.
    """
    return _granted(challenge, answer, ConsentKind.TENANT_ASSERTED, now_ms)


def allowed_by_policy(challenge: ChallengeId, terms: Terms, now_ms: int) -> Grant:
    """The grant that a written rule makes, under the same terms and for causes that are proven.

    Raises:
        ConsentError: as :func:`ask`.
    """
    return _granted(ask(challenge, terms, now_ms, ()), Answer.AGREED, ConsentKind.POLICY, now_ms)


def spend(grant: Grant, present: Terms, now_ms: int, secure_path: SecurePath) -> Grant:
    """Uses a grant for one message, immediately before it leaves.

    Args:
        grant: as it is stored; the writer applies the result only while that is unchanged.
        present: the terms as they are now, with the grant's own scope, expiry and nonce.
        now_ms: wall time.
        secure_path: whether the secure path is there now; then no grant is worth anything.

    Returns:
        what to store in the grant's place: SPENT, or for UNTIL_SECURE the grant itself.

    Raises:
        ConsentError: spent, ended, too late, the secure path is back (then store :func:`ended`), or a term differs.
    """
    if grant.state is GrantState.SPENT:
        raise ConsentError(ConsentReason.ALREADY_SPENT)
    if grant.state is GrantState.ENDED:
        raise ConsentError(ConsentReason.ENDED)
    if now_ms >= grant.terms.expires_ms:
        raise ConsentError(ConsentReason.EXPIRED)
    if secure_path is SecurePath.BACK:
        raise ConsentError(ConsentReason.SECURE_PATH_BACK)
    if grant.terms.scope is ConsentScope.THIS_MESSAGE:
        if present != grant.terms:
            raise ConsentError(ConsentReason.TERMS_CHANGED)
        return replace(grant, state=GrantState.SPENT)
    # Later messages of the conversation have another id and content; everything else is as agreed.
    if replace(present, message=grant.terms.message, body_commitment=grant.terms.body_commitment) != grant.terms:
        raise ConsentError(ConsentReason.TERMS_CHANGED)
    return grant


def ended(grant: Grant) -> Grant:
    """What to store when a grant is withdrawn or the secure path is back: it is dead for good. A spent one stays so."""
    return grant if grant.state is GrantState.SPENT else replace(grant, state=GrantState.ENDED)


@unique
class Prompt(Enum):
    """Whether a person may be asked now."""

    ASK = "ask"
    HOLD_CAUSE_NOT_PROVEN = "hold_cause_not_proven"
    HOLD_ASKED_RECENTLY = "hold_asked_recently"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that was put before."""

    conversation: SubjectId
    cause: Cause
    at_ms: int


def may_prompt(
    earlier: Iterable[Asked], conversation: SubjectId, cause: Cause, now_ms: int, window_ms: int = PROMPT_WINDOW_MS
) -> Prompt:
    """Whether to ask about this cause now: once per conversation, cause and window, answered or not.

    A question that seems to come from the future counts as recent: a clock that was set back opens nothing.
    """
    if not OFFERS[cause].may_ask:
        return Prompt.HOLD_CAUSE_NOT_PROVEN
    for asked in earlier:
        if asked.conversation == conversation and asked.cause is cause and now_ms - asked.at_ms < window_ms:
            return Prompt.HOLD_ASKED_RECENTLY
    return Prompt.ASK


def _granted(challenge: Challenge, answer: Answer, kind: ConsentKind, now_ms: int) -> Grant:
    if now_ms >= challenge.terms.expires_ms:
        raise ConsentError(ConsentReason.EXPIRED)
    if answer is not Answer.AGREED:
        raise ConsentError(ConsentReason.REFUSED)
    return Grant(challenge.challenge, kind, challenge.terms)


def _scope(challenge: Challenge) -> Scope:
    terms = challenge.terms
    return Scope(terms.tenant, terms.environment, AUDIENCE, context_hash(challenge.challenge.value))


def _body(challenge: Challenge, answer: Answer) -> bytes:
    offered = b"".join(_prefixed(one.value.encode()) for one in challenge.alternatives)
    return challenge.terms.encode() + _prefixed(offered) + _prefixed(answer.value.encode())


def _prefixed(value: bytes) -> bytes:
    return len(value).to_bytes(4) + value
