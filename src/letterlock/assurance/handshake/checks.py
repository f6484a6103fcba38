"""Comparisons: what the other end says it saw and chose, against what this end knows. Total functions, no state."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from letterlock.assurance.devices import DeviceList
from letterlock.assurance.handshake.reasons import HandshakeReason
from letterlock.model.ids import TenantId
from letterlock.model.protection import Protection, permits
from letterlock.wire.handshake import (
    Answer,
    Capabilities,
    Choice,
    Element,
    Flag,
    FloorSeen,
    MarkerShown,
    Offer,
    Party,
    Seen,
)
from letterlock.wire.preimage import SignatureError, verify

CLOCK_SKEW_MS: Final = 60 * 60 * 1000
"""An hour, as for key packages' lifetimes: clocks of phones are rarely off by more."""
CAPABILITY_AGE_MS: Final = 24 * 60 * 60 * 1000
"""What a device said it can do is evidence for a day; older, and it is asked again."""
ELEMENT_AGE_MS: Final = 30 * 24 * 60 * 60 * 1000
"""As long as a mailbox keeps it."""

_R = HandshakeReason


@dataclass(frozen=True, slots=True)
class End:
    """This end of one conversation, as it is now.

    Attributes:
        tenant: where signatures hold.
        environment: where signatures hold.
        conversation: what every signature is bound to: the MLS group's id.
        party: this device, and its account's list.
        devices: its account's verified head.
        advertised: what it told about itself, newest first; the first is what it says now.
        floor: that it keeps for the peer.
        markers: servers that it was told of.
        earlier: agreements of this conversation that it knows.
        now_ms: ms UTC.
    """

    tenant: TenantId
    environment: str
    conversation: bytes = field(repr=False)
    party: Party
    devices: DeviceList
    advertised: tuple[Capabilities, ...]
    floor: FloorSeen
    markers: tuple[MarkerShown, ...]
    earlier: tuple[bytes, ...] = field(repr=False)
    now_ms: int

    @property
    def says(self) -> Capabilities:
        """What it can do now."""
        return self.advertised[0]


@dataclass(frozen=True, slots=True)
class Peer:
    """The other account, as this end knows it.

    Attributes:
        devices: the newest list of its account that this end verified.
        known: the newest capabilities that its device signed to this end; None when it never did.
    """

    devices: DeviceList
    known: Capabilities | None = None

    def seen(self) -> Seen:
        """What this end was shown of it, for an offer or answer."""
        return Seen(self.devices.version, self.devices.digest(), self.known)


def best(offering: Capabilities, answering: Capabilities) -> Choice | None:
    """What both ends together can do best, by the offering end's order; None where nothing is common."""
    version = next((one for one in offering.versions if one in answering.versions), None)
    suite = next((one for one in offering.suites if one in answering.suites), None)
    if version is None or suite is None:
        return None
    return Choice(version, suite, Protection.E2EE)


def vanished(before: Capabilities | None, now: Capabilities) -> bool:
    """Whether something that a device could do before is missing now. Learning more, or an unknown flag, is not that.

    A flag that was YES and is not any more has vanished, and so has one that is UNKNOWN now: silence is no evidence.
    """
    if before is None:
        return False
    flags = any(was is Flag.YES and is_now is not Flag.YES for was, is_now in zip(before.flags, now.flags, strict=True))
    names = {tag.name: tag.value for tag in now.tags}
    tags = any(names.get(tag.name) != tag.value for tag in before.tags)
    return flags or tags or not {*before.versions} <= {*now.versions} or not {*before.suites} <= {*now.suites}


def of_peer(element: Element, end: End, peer: Peer) -> HandshakeReason | None:
    """Whether a device on the peer's list signed this for this conversation."""
    party = element.party
    if party.device == end.party.device:
        return _R.REFLECTED
    if party.account != peer.devices.account:
        return _R.ANOTHER_PEER
    if party.list_version > peer.devices.version:
        return _R.LIST_BEHIND
    entry = peer.devices.find(party.device)
    if entry is None:
        return _R.UNKNOWN_SIGNER
    scope = party.scope(end.conversation, end.tenant, end.environment)
    try:
        verify(entry.session_key, element.content.purpose, scope, element.content.body(), element.signature)
    except SignatureError:
        return _R.SIGNATURE_REFUSED
    # Only a signed contradiction is evidence of two lists.
    if party.list_version == peer.devices.version and party.list_hash != peer.devices.digest():
        return _R.LIST_FORKED
    return None


def judge_offer(element: Element, offer: Offer, end: End, peer: Peer) -> HandshakeReason | None:
    """The first thing about an offer that does not fit, or None."""
    refused = of_peer(element, end, peer)
    if refused is not None:
        return refused
    chosen = best(offer.capabilities, end.says)
    return next((reason for reason in _offer_reasons(offer, chosen, end) if reason is not None), None)


def _offer_reasons(offer: Offer, chosen: Choice | None, end: End) -> Iterator[HandshakeReason | None]:
    if offer.peer != end.party.account:
        yield _R.ANOTHER_PEER
    yield _saw(offer.seen, end)
    if {*offer.devices} != {entry.device for entry in end.devices.devices}:
        yield _R.DEVICES_DIFFER
    yield from _common(offer, chosen, end)


def judge_answer(
    element: Element, answer: Answer, offer: Offer, name: bytes, end: End, peer: Peer
) -> HandshakeReason | None:
    """The first thing about an answer to this end's own offer that does not fit, or None."""
    refused = of_peer(element, end, peer)
    if refused is not None:
        return refused
    return next((reason for reason in _answer_reasons(element, answer, offer, name, end) if reason is not None), None)


def _answer_reasons(
    element: Element, answer: Answer, offer: Offer, name: bytes, end: End
) -> Iterator[HandshakeReason | None]:
    if answer.peer != end.party.device or element.party.device not in offer.devices:
        yield _R.ANOTHER_PEER
    if answer.offer != name:
        yield _R.ANOTHER_OFFER
    yield _saw(answer.seen, end)
    chosen = best(offer.capabilities, answer.capabilities)
    yield from _common(answer, chosen, end)
    if answer.choice != offer.choice:
        yield _R.WEAKER_CHOICE


def _saw(seen: Seen, end: End) -> HandshakeReason | None:
    """Whether the other end was shown this end as it is."""
    if seen.list_version != end.devices.version:
        return _R.LIST_BEHIND
    if seen.list_hash != end.devices.digest():
        return _R.LIST_FORKED
    shown = seen.capabilities
    if shown is not None and not any(shown.same(one) for one in end.advertised):
        return _R.SEEN_DIFFERS
    return None


def _common(said: Offer | Answer, chosen: Choice | None, end: End) -> Iterator[HandshakeReason | None]:
    yield _age(said, end.now_ms)
    own = {marker.server: marker for marker in end.markers}
    if any(own.get(marker.server, marker) != marker for marker in said.markers):
        yield _R.MARKERS_DIFFER
    # Each end's own floor binds it; what the other says of its floor can only make this one stricter.
    if not all(permits(floor.protection, said.choice.protection) for floor in (end.floor, said.floor)):
        yield _R.BELOW_FLOOR
    if chosen is None:
        yield _R.NOTHING_IN_COMMON
    elif said.choice != chosen:
        yield _R.WEAKER_CHOICE


def _age(said: Offer | Answer, now_ms: int) -> HandshakeReason | None:
    if said.made_ms > now_ms + CLOCK_SKEW_MS:
        return _R.CLOCK_SKEW
    if said.made_ms < now_ms - ELEMENT_AGE_MS:
        return _R.TOO_OLD
    observed = said.capabilities.observed_ms
    if observed > said.made_ms or observed < said.made_ms - CAPABILITY_AGE_MS:
        return _R.CAPABILITIES_STALE
    return None
