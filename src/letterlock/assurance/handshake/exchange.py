"""One end of a handshake: bytes come in, bytes go out, a frozen value in between. Time and randomness are arguments.

Whoever began says with a finish which answers count; the hash of that finish in its conversation is the *agreement*,
which both ends put into the signed context of everything that follows. Whatever does not fit ends the handshake at both
ends, for good, unless it is only missing: then it holds. A lesser path is never the result.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from letterlock.assurance.handshake.checks import (
    ELEMENT_AGE_MS,
    End,
    Peer,
    judge_answer,
    judge_offer,
    of_peer,
    vanished,
)
from letterlock.assurance.handshake.machine import DELIVERING, HandshakeEvent, HandshakeState, MachineError, step
from letterlock.assurance.handshake.reasons import RULES, HandshakeError, HandshakeReason, Outcome
from letterlock.model.ids import DeviceId
from letterlock.wire.handshake import (
    NO_HASH,
    Agreement,
    Answer,
    Capabilities,
    Choice,
    Element,
    ElementError,
    Finish,
    Offer,
    Verdict,
    parse,
)
from letterlock.wire.handshake.elements import MAX_EARLIER
from letterlock.wire.preimage import Signer, sign

MAX_SPENT: Final = 64
"""Elements that are known again: more than one conversation makes."""

_R, _S, _E = HandshakeReason, HandshakeState, HandshakeEvent


@dataclass(frozen=True, slots=True)
class Handshake:
    """Where this end stands with one account, in one conversation.

    Attributes:
        state: by the table of ``machine``.
        offer: the offer that counts, this end's or the other's; None while idle.
        answers: which devices' answers count, or this end's own, by name.
        spent: names of elements that were taken before.
        agreement: the newest agreement; empty before there is one.
        reason: why it is held or was ended.
    """

    state: HandshakeState = _S.IDLE
    offer: Element | None = None
    answers: tuple[tuple[DeviceId, bytes], ...] = field(default=(), repr=False)
    spent: tuple[bytes, ...] = field(default=(), repr=False)
    agreement: bytes = field(default=b"", repr=False)
    reason: HandshakeReason | None = None

    @property
    def delivers(self) -> bool:
        """Whether anything of the conversation may be sent, or given to anybody."""
        return self.state in DELIVERING


@dataclass(frozen=True, slots=True)
class Step:
    """What one event came to.

    Attributes:
        handshake: the value after it.
        send: elements to send, in order.
        reason: what did not fit, or None.
        finding: what is remarkable although it goes on, or None.
        told: capabilities that the other end signed, to be remembered; None where nothing new is believed.
        agreement: an agreement that counts from now on; empty when there is none.
    """

    handshake: Handshake
    send: tuple[bytes, ...] = field(default=(), repr=False)
    reason: HandshakeReason | None = None
    finding: HandshakeReason | None = None
    told: Capabilities | None = None
    agreement: bytes = field(default=b"", repr=False)


def begin(before: Handshake, end: End, peer: Peer, choice: Choice, nonce: bytes, signer: Signer) -> Step:
    """Offers.

    Args:
        before: the value so far; a handshake may be begun again when it is held, or when a list changed.
        end: this end, as it is now.
        peer: the other account.
        choice: what the conversation uses.
        nonce: 32 random bytes.
        signer: this device's session key.

    Raises:
        MachineError: it was ended, or the other end's offer is being answered.
        PreimageError: the signer is not a session key.
    """
    after = step(before.state, _E.OFFER_SENT)
    devices = tuple(sorted(entry.device for entry in peer.devices.devices))
    offer = Offer(
        nonce, end.now_ms, peer.devices.account, devices, peer.seen(), end.says, end.floor, choice, end.markers
    )
    element = _signed(offer, end, signer)
    begun = replace(before, state=after, offer=element, answers=(), reason=None)
    return Step(_spent(begun, element.name()), send=(element.encode(),))


def receive(before: Handshake, data: bytes, end: End, peer: Peer, nonce: bytes, signer: Signer) -> Step:
    """Takes one element of the other end.

    Args:
        before: the value so far.
        data: the element as it came.
        end: this end, as it is now.
        peer: the account that it is said to come from.
        nonce: 32 random bytes, should an answer be due.
        signer: this device's session key.

    Raises:
        HandshakeError: the handshake was ended before: nothing is taken, nothing changes.
    """
    if before.state is _S.ABORTED:
        raise HandshakeError(before.reason or _R.OUT_OF_ORDER)
    try:
        element = parse(data)
    except ElementError:
        return _wrong(before, _R.NOT_READ, NO_HASH, end, signer)
    name = element.name()
    if name in before.spent:
        reason = _R.REFLECTED if element.party.device == end.party.device else _R.REPLAYED
        return _wrong(before, reason, name, end, signer)
    content = element.content
    if isinstance(content, Offer):
        made = _offered(before, element, content, end, peer, nonce, signer)
    elif isinstance(content, Answer):
        made = _answered(before, element, content, end, peer, signer)
    else:
        made = _finished(before, element, content, end, peer, signer)
    return replace(made, handshake=_spent(made.handshake, name)) if made.reason is None else made


def expire(before: Handshake, now_ms: int, patience_ms: int = ELEMENT_AGE_MS) -> Step:
    """Holds a handshake whose offer nobody answered in time; everything else stays as it is."""
    content = before.offer.content if before.offer is not None else None
    waiting = before.state is _S.OFFERED and isinstance(content, Offer)
    if not waiting or not isinstance(content, Offer) or now_ms - content.made_ms < patience_ms:
        return Step(before)
    return _held(before, _R.UNANSWERED)


def witnessed(element: Element, offer: Element, end: End, peer: Peer) -> bytes:
    """The agreement of two other members, for one that only looks on: both elements signed by the end that began.

    Raises:
        HandshakeError: they are not, or do not belong together.
    """
    refused = of_peer(element, end, peer) or of_peer(offer, end, peer)
    if refused is not None:
        raise HandshakeError(refused)
    finish = element.content
    assert isinstance(finish, Finish)
    if finish.verdict is not Verdict.AGREED:
        raise HandshakeError(_R.PEER_ABORTED)
    if finish.offer != offer.name() or element.party.device != offer.party.device:
        raise HandshakeError(_R.ANOTHER_OFFER)
    return Agreement(end.conversation, finish).digest()


def _offered(
    before: Handshake, element: Element, offer: Offer, end: End, peer: Peer, nonce: bytes, signer: Signer
) -> Step:
    reason = judge_offer(element, offer, end, peer)
    if reason is not None:
        return _wrong(before, reason, element.name(), end, signer)
    event = _E.OFFER_TAKEN
    if before.state is _S.OFFERED:
        # Both began: the device with the lower id is the one whose offer counts, at both ends.
        if end.party.device < element.party.device:
            return Step(replace(before, state=step(before.state, _E.CROSSED_KEPT)), told=offer.capabilities)
        event = _E.CROSSED_YIELDED
    answer = Answer(
        nonce, end.now_ms, element.name(), element.party.device, peer.seen(), end.says, end.floor, offer.choice,
        end.markers,
    )  # fmt: skip
    made = _signed(answer, end, signer)
    mine = ((end.party.device, made.name()),)
    after = replace(before, state=step(before.state, event), offer=element, answers=mine, reason=None)
    finding = _R.CAPABILITY_VANISHED if vanished(peer.known, offer.capabilities) else None
    return Step(_spent(after, made.name()), (made.encode(),), finding=finding, told=offer.capabilities)


def _answered(before: Handshake, element: Element, answer: Answer, end: End, peer: Peer, signer: Signer) -> Step:
    own = before.offer
    if own is None or own.party.device != end.party.device or not isinstance(own.content, Offer):
        return _wrong(before, _R.OUT_OF_ORDER, answer.offer, end, signer)
    reason = judge_answer(element, answer, own.content, own.name(), end, peer)
    if reason is None and any(device == element.party.device for device, _ in before.answers):
        reason = _R.ANSWER_CHANGED
    if reason is not None:
        return _wrong(before, reason, own.name(), end, signer)
    answers = tuple(sorted((*before.answers, (element.party.device, element.name()))))
    earlier = tuple(sorted({*end.earlier, before.agreement} - {b""}))[:MAX_EARLIER]
    finish = Finish(Verdict.AGREED, own.name(), earlier, answers)
    made = _signed(finish, end, signer)
    agreement = Agreement(end.conversation, finish).digest()
    after = replace(
        before, state=step(before.state, _E.ANSWER_TAKEN), answers=answers, agreement=agreement, reason=None
    )
    finding = _R.CAPABILITY_VANISHED if vanished(peer.known, answer.capabilities) else None
    return Step(
        _spent(after, made.name()), (made.encode(),), finding=finding, told=answer.capabilities, agreement=agreement
    )


def _finished(before: Handshake, element: Element, finish: Finish, end: End, peer: Peer, signer: Signer) -> Step:
    reason = of_peer(element, end, peer)
    if reason is None and finish.verdict is not Verdict.AGREED:
        ended = replace(before, state=step(before.state, _E.PEER_ABORTED), reason=_R.PEER_ABORTED)
        return Step(ended, reason=_R.PEER_ABORTED)
    theirs = before.offer
    if reason is None and (theirs is None or theirs.party.device == end.party.device):
        reason = _R.OUT_OF_ORDER
    if reason is None and theirs is not None:
        if finish.offer != theirs.name() or element.party.device != theirs.party.device:
            reason = _R.ANOTHER_OFFER
        else:
            counted = dict(finish.answers).get(end.party.device)
            given = dict(before.answers).get(end.party.device)
            if counted is not None and counted != given:
                reason = _R.ANSWER_CHANGED
            else:
                return _closed(before, finish, end, _E.FINISH_OF_OTHERS if counted is None else _E.FINISH_TAKEN, signer)
    return _wrong(before, reason or _R.OUT_OF_ORDER, finish.offer, end, signer)


def _closed(before: Handshake, finish: Finish, end: End, event: HandshakeEvent, signer: Signer) -> Step:
    try:
        state = step(before.state, event)
    except MachineError:
        # A finish that does not count this end any more, after one that did; or one while it is held.
        return _wrong(before, _R.OUT_OF_ORDER, finish.offer, end, signer)
    agreement = Agreement(end.conversation, finish).digest()
    return Step(replace(before, state=state, agreement=agreement, reason=None), agreement=agreement)


def _wrong(before: Handshake, reason: HandshakeReason, offer: bytes, end: End, signer: Signer) -> Step:
    if RULES[reason].outcome is Outcome.HOLD:
        return _held(before, reason)
    ended = replace(before, state=step(before.state, _E.MISMATCH), reason=reason)
    told = _signed(Finish(Verdict.DOWNGRADE_DETECTED, offer), end, signer)
    return Step(ended, (told.encode(),), reason)


def _held(before: Handshake, reason: HandshakeReason) -> Step:
    return Step(replace(before, state=step(before.state, _E.HOLD), reason=reason), reason=reason)


def _signed(content: Offer | Answer | Finish, end: End, signer: Signer) -> Element:
    scope = end.party.scope(end.conversation, end.tenant, end.environment)
    return Element(content, end.party, sign(signer, content.purpose, scope, content.body()))


def _spent(handshake: Handshake, name: bytes) -> Handshake:
    return replace(handshake, spent=(*handshake.spent, name)[-MAX_SPENT:])
