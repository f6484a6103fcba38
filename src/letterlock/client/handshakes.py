"""The session handshake on a device: with whom it stands how, in which group, and what may be said and shown there.

Elements travel in envelopes of kind handshake, inside the group's own MLS messages. The exchange itself is pure
(:mod:`letterlock.assurance.handshake`); here are its places in the device's store, and what the device knows of others.
A device whose line on the signed list names :data:`CAPABILITY` always does it: its content without an agreement is not
shown to anybody who does it too.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, final

import msgspec

from letterlock.assurance.envelope import Envelope
from letterlock.assurance.handshake.checks import End, Peer
from letterlock.assurance.handshake.exchange import Handshake, Step, begin, expire, receive, witnessed
from letterlock.assurance.handshake.machine import HandshakeState
from letterlock.assurance.handshake.reasons import RULES, HandshakeError, HandshakeReason, Outcome
from letterlock.client.floors import Put, of_account
from letterlock.client.gate import SUITE
from letterlock.client.groups import GroupRecord
from letterlock.client.state import DeviceState
from letterlock.model.ids import AccountId, DeviceId
from letterlock.model.protection import Protection
from letterlock.wire.handshake import (
    Answer,
    Capabilities,
    Choice,
    Element,
    ElementError,
    Finish,
    Flag,
    FloorSeen,
    Offer,
    Party,
    Tag,
    Verdict,
    parse,
)
from letterlock.wire.handshake.capabilities import read_capabilities
from letterlock.wire.handshake.source import Source

CAPABILITY: Final = "handshake1"
"""On a device's line of the signed list: this device does version 1 of the handshake, always."""
HANDSHAKES: Final = "handshake"
AGREED: Final = "agreed"
"""By group: the agreements that hold, the newest last."""
OFFERS: Final = "offer_to_others"
KNOWN: Final = "capabilities_of"
"""By device: what it signed to this one last."""
ADVERTISED: Final = "advertised"
WAITING: Final = "waiting_words"
"""By message: content that waits for an agreement before it is encrypted."""
WITHHELD: Final = "withheld"
"""By group: content that came under an agreement that this device has not heard of yet."""
MAX_AGREED: Final = 16
MAX_ADVERTISED: Final = 8
MAX_OFFERS: Final = 16
MAX_WITHHELD: Final = 256
"""Far more than comes between a commit that adds a device and the finish of its handshake."""
MLS_VERSION: Final = 1

Get = Callable[[str, bytes], bytes | None]


class KeptHandshake(msgspec.Struct, frozen=True):
    """A :class:`Handshake` at rest."""

    state: HandshakeState
    offer: bytes
    answers: list[tuple[bytes, bytes]]
    spent: list[bytes]
    agreement: bytes
    reason: HandshakeReason | None

    @classmethod
    def of(cls, value: Handshake) -> bytes:
        """For the store."""
        offer = value.offer.encode() if value.offer is not None else b""
        answers = [(device.value, name) for device, name in value.answers]
        return msgspec.msgpack.encode(
            cls(value.state, offer, answers, list(value.spent), value.agreement, value.reason)
        )

    def value(self) -> Handshake:
        """As it was."""
        answers = tuple((DeviceId(device), name) for device, name in self.answers)
        offer = parse(self.offer) if self.offer else None
        return Handshake(self.state, offer, answers, tuple(self.spent), self.agreement, self.reason)


class Words(msgspec.Struct, frozen=True):
    """Content that waits; ``place`` keeps the order."""

    place: int
    ref: bytes
    kind: int
    content: bytes
    resends: bytes


class Withheld(msgspec.Struct, frozen=True):
    """An event that is shown once its agreement is known."""

    agreement: bytes
    event: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """What an element came to.

    Attributes:
        put: what to store.
        send: elements to send in the same group.
        findings: what to tell the application.
        ended: why the conversation is over here; None while it goes on.
        agreed: the agreement that counts from now on; empty when there is no new one.
    """

    put: tuple[Put, ...] = ()
    send: tuple[bytes, ...] = ()
    findings: tuple[HandshakeReason, ...] = ()
    ended: HandshakeReason | None = None
    agreed: bytes = b""


@final
class Handshakes:
    """All handshakes of one device. ``get`` is the store as it will be when the present step is durable."""

    def __init__(self, state: DeviceState) -> None:
        self._state: Final = state

    @property
    def on(self) -> bool:
        """Whether this device does the handshake, as its line on the signed list says."""
        return CAPABILITY in self._state.keys.capabilities

    # -- what may be said and shown ---------------------------------------------------------------------------------

    def waits(self, record: GroupRecord, get: Get) -> bool:
        """Whether content of this device has to wait for an agreement in this group."""
        partners = self.partners(record)
        if not partners:
            return False
        if not self.agreement(record.ref, get):
            return True
        open_ones = {HandshakeState.OFFERED, HandshakeState.HELD}
        return any(self._handshake(record, account, get).state in open_ones for account in partners)

    def agreement(self, ref: bytes, get: Get) -> bytes:
        """What this device's envelopes are bound to in a group; empty where nothing was agreed."""
        agreed = self._agreed(ref, get)
        return agreed[-1] if agreed else b""

    def bound(self, record: GroupRecord, content: Envelope, get: Get) -> bool:
        """Whether content may be shown: by what it is bound to, and by who its sender is.

        Returns:
            False where it is bound to an agreement that this device does not know yet.

        Raises:
            HandshakeError: OUT_OF_ORDER: its sender always does the handshake, and this is bound to none.
        """
        if not self.on or not self._does(content.account, content.device):
            return True
        if content.agreement in self._agreed(record.ref, get):
            return True
        if not content.agreement:
            raise HandshakeError(HandshakeReason.OUT_OF_ORDER)
        return False

    def holds(self, ref: bytes, agreement: bytes, get: Get) -> bool:
        """Whether this device knows an agreement of a group."""
        return agreement in self._agreed(ref, get)

    # -- the exchange -------------------------------------------------------------------------------------------------

    def begin(self, record: GroupRecord, get: Get) -> tuple[tuple[Put, ...], tuple[bytes, ...]]:
        """Offers to every account of the group with which nothing is agreed or under way, or which was held.

        An offer that names an older list than its end has now can only be held there: it is made anew too, and so is
        one that nobody answered in time.
        """
        put: list[Put] = []
        send: list[bytes] = []
        idle = {HandshakeState.IDLE, HandshakeState.HELD}
        for account in self.partners(record):
            end, peer = self._end(record, account, get), self._peer(account, None, get)
            before = expire(self._handshake(record, account, get), end.now_ms).handshake
            if before.state not in idle and not _outdated(before, end, peer):
                continue
            choice = Choice(MLS_VERSION, int(SUITE), Protection.E2EE)
            step = begin(before, end, peer, choice, os.urandom(32), self._state.keys.session_key())
            put.append(self._put(record, account, step.handshake))
            send += step.send
        return tuple(put), tuple(send)

    def take(self, record: GroupRecord, content: Envelope, get: Get) -> Taken:
        """Takes the body of an envelope of kind handshake, whose sender was verified.

        Raises:
            HandshakeError: it is nothing that this device could take now; nothing changes.
        """
        if not self.on:
            return Taken()
        try:
            element: Element | None = parse(content.body)
        except ElementError:
            element = None
        if element is not None:
            if (element.party.account, element.party.device) != (content.account, content.device):
                raise HandshakeError(HandshakeReason.ANOTHER_PEER)
            looked_on = self._looked_on(record, element, get)
            if looked_on is not None:
                return looked_on
        before = self._handshake(record, content.account, get)
        end, peer = self._end(record, content.account, get), self._peer(content.account, content.device, get)
        step = receive(before, content.body, end, peer, os.urandom(32), self._state.keys.session_key())
        return self._done(record, content, element, step, get)

    def _done(self, record: GroupRecord, content: Envelope, element: Element | None, step: Step, get: Get) -> Taken:
        put = [self._put(record, content.account, step.handshake)]
        if step.told is not None:
            put.append((KNOWN, content.device.value, step.told.encode()))
        if step.agreement:
            earlier = element.content.earlier if element is not None and isinstance(element.content, Finish) else ()
            put.append(self._agree(record.ref, (*earlier, step.agreement), get))
        findings = tuple(reason for reason in (step.reason, step.finding) if reason is not None)
        over = step.reason is not None and RULES[step.reason].outcome is Outcome.DOWNGRADE_DETECTED
        return Taken(tuple(put), step.send, findings, step.reason if over else None, step.agreement)

    def _looked_on(self, record: GroupRecord, element: Element, get: Get) -> Taken | None:
        """What others say to others; None where it is this device's business."""
        content, mine = element.content, self._state.keys
        if isinstance(content, Offer):
            if content.peer == mine.account_id:
                return None
            offers = (*self._offers(record.ref, get), element.encode())[-MAX_OFFERS:]
            return Taken(put=((OFFERS, record.ref, msgspec.msgpack.encode(offers)),))
        if isinstance(content, Answer):
            return None if content.peer == mine.device_id else Taken()
        held = self._handshake(record, element.party.account, get).offer
        if held is not None and held.name() == content.offer:
            return None
        others = {offer.name(): offer for offer in map(parse, self._offers(record.ref, get))}
        offer = others.get(content.offer)
        if content.verdict is not Verdict.AGREED:
            # The end of a handshake between others; of one of ours, when it names nothing that others began.
            return Taken() if offer is not None or held is None else None
        if offer is None:
            raise HandshakeError(HandshakeReason.ANOTHER_OFFER)
        account = element.party.account
        found = witnessed(element, offer, self._end(record, account, get), self._peer(account, None, get))
        return Taken(put=(self._agree(record.ref, (*content.earlier, found), get),), agreed=found)

    # -- what this device knows ---------------------------------------------------------------------------------------

    def says(self, get: Get) -> tuple[Capabilities, ...]:
        """What this device told about itself, newest first; the first as of now."""
        told = [read_capabilities(Source(data)) for data in self._advertised(get)]
        now = self._state.clock.now_ms()
        first = told[0] if told else Capabilities(now, (), (MLS_VERSION,), (int(SUITE),))
        return (replace(first, observed_ms=now), *told[1:])

    def advertised(self, tags: Iterable[Tag], flags: tuple[Flag, Flag, Flag], get: Get) -> Put:
        """What to store when the platform says something else of itself than before."""
        says = Capabilities(self._state.clock.now_ms(), tuple(sorted(tags)), (MLS_VERSION,), (int(SUITE),), flags)
        before = self._advertised(get) or [Capabilities(0, (), (MLS_VERSION,), (int(SUITE),)).encode()]
        kept = [says.encode(), *before][:MAX_ADVERTISED]
        return (ADVERTISED, b"", msgspec.msgpack.encode(kept))

    def standing(self, record: GroupRecord, account: AccountId) -> Handshake:
        """Where the handshake with an account stands."""
        return self._handshake(record, account, self._state.store.get)

    def _end(self, record: GroupRecord, account: AccountId, get: Get) -> End:
        mine = self._state.keys
        own = self._state.directory.head(mine.account_id)
        if own is None:
            raise HandshakeError(HandshakeReason.LIST_BEHIND)
        floor = self._state.floors.floor(of_account(account))
        return End(
            mine.tenant_id,
            mine.environment,
            record.group_id,
            Party(mine.account_id, mine.device_id, own.version, own.digest()),
            own,
            self.says(get),
            FloorSeen(floor.protection, floor.version),
            (),
            tuple(self._agreed(record.ref, get)),
            self._state.clock.now_ms(),
        )

    def _peer(self, account: AccountId, device: DeviceId | None, get: Get) -> Peer:
        head = self._state.directory.head(account)
        if head is None:
            raise HandshakeError(HandshakeReason.LIST_BEHIND)
        if device is None and len(head.devices) == 1:
            # What one device said is nothing to hold against another.
            device = head.devices[0].device
        data = get(KNOWN, device.value) if device is not None else None
        return Peer(head, read_capabilities(Source(data)) if data is not None else None)

    def partners(self, record: GroupRecord) -> list[AccountId]:
        """Accounts with other devices in the group, all of which do the handshake; none where this device does not."""
        if not self.on or record.stopped:
            return []
        found: dict[AccountId, bool] = {}
        for _, leaf in self._state.roster(record).leaves:
            owner = self._state.directory.of_leaf(leaf)
            if owner is not None and owner[1].device != self._state.keys.device_id:
                found[owner[0]] = found.get(owner[0], True) and CAPABILITY in owner[1].capabilities
        return sorted(account for account, does in found.items() if does)

    def _does(self, account: AccountId, device: DeviceId) -> bool:
        head = self._state.directory.head(account)
        entry = head.find(device) if head is not None else None
        return entry is not None and CAPABILITY in entry.capabilities

    def _handshake(self, record: GroupRecord, account: AccountId, get: Get) -> Handshake:
        data = get(HANDSHAKES, record.ref + account.value)
        return Handshake() if data is None else msgspec.msgpack.decode(data, type=KeptHandshake).value()

    def _put(self, record: GroupRecord, account: AccountId, value: Handshake) -> Put:
        return (HANDSHAKES, record.ref + account.value, KeptHandshake.of(value))

    def _agreed(self, ref: bytes, get: Get) -> list[bytes]:
        data = get(AGREED, ref)
        return [] if data is None else msgspec.msgpack.decode(data, type=list[bytes])

    def _agree(self, ref: bytes, more: Iterable[bytes], get: Get) -> Put:
        new = list(more)
        kept = [one for one in self._agreed(ref, get) if one not in new] + new
        return (AGREED, ref, msgspec.msgpack.encode(kept[-MAX_AGREED:]))

    def _offers(self, ref: bytes, get: Get) -> list[bytes]:
        data = get(OFFERS, ref)
        return [] if data is None else msgspec.msgpack.decode(data, type=list[bytes])

    def _advertised(self, get: Get) -> list[bytes]:
        data = get(ADVERTISED, b"")
        return [] if data is None else msgspec.msgpack.decode(data, type=list[bytes])


def _outdated(handshake: Handshake, end: End, peer: Peer) -> bool:
    """Whether this end's offer is out, and names an older list of either end."""
    offer = handshake.offer
    if handshake.state is not HandshakeState.OFFERED or offer is None or not isinstance(offer.content, Offer):
        return False
    named = (offer.party.list_version, offer.content.seen.list_version)
    return named != (end.devices.version, peer.devices.version)
