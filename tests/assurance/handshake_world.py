"""Two ends of a handshake on a wire that a test may cut, bend and turn; fixed keys and times, so that runs repeat."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.assurance.samples import ACCOUNT, ENVIRONMENT, OTHER_ACCOUNT, TENANT, device, key

from letterlock.assurance.device_list import Device, DeviceList, first
from letterlock.assurance.handshake.checks import End, Peer
from letterlock.assurance.handshake.exchange import Handshake, Step, begin, receive
from letterlock.assurance.handshake.reasons import HandshakeError
from letterlock.model.ids import AccountId
from letterlock.model.protection import MarkerKind, Protection
from letterlock.wire.handshake import (
    Capabilities,
    Choice,
    Element,
    Flag,
    FloorSeen,
    MarkerShown,
    Party,
    Tag,
    parse,
)
from letterlock.wire.preimage import KeyFamily, SoftwareKey, sign

CONVERSATION = bytes(range(16))
NOW = 1_750_000_000_000
TAGS = (Tag("+g.gsma.rcs.mls.mls-kds", "2"), Tag("+g.gsma.rcs.mls.mls-version", "v1"))
CAPABILITIES = Capabilities(NOW, TAGS, (1,), (2, 1), (Flag.YES, Flag.UNKNOWN, Flag.YES))
CHOICE = Choice(1, 2, Protection.E2EE)
MARKER = MarkerShown("relay.example", frozenset({MarkerKind.ROUTE, MarkerKind.STORE}), bytes([9]) * 32)


def devices_of(account: AccountId, *entries: Device) -> DeviceList:
    identity = key(KeyFamily.IDENTITY, 10 if account == ACCOUNT else 11)
    return first(account, NOW, identity.public, entries)


def session_key(number: int) -> SoftwareKey:
    return key(KeyFamily.SESSION, 150 + number)


def nonce(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@dataclass
class Side:
    """One device: what it knows, where it stands, and everything that it may give to a person."""

    number: int
    account: AccountId
    own: DeviceList
    peer: Peer
    handshake: Handshake = field(default_factory=Handshake)
    end_changes: dict[str, Any] = field(default_factory=dict)
    now: int = NOW
    agreements: list[bytes] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    turns: int = 0

    @property
    def end(self) -> End:
        party = Party(self.account, device(self.number).device, self.own.version, self.own.digest())
        plain = End(
            TENANT, ENVIRONMENT, CONVERSATION, party, self.own, (CAPABILITIES,), FloorSeen(Protection.E2EE, 1),
            (MARKER,), tuple(self.agreements), self.now,
        )  # fmt: skip
        return replace(plain, **self.end_changes)

    def begin(self, choice: Choice = CHOICE) -> tuple[bytes, ...]:
        self.turns += 1
        return self._take(
            begin(
                self.handshake,
                self.end,
                self.peer,
                choice,
                nonce(f"{self.number} {self.turns}"),
                session_key(self.number),
            )
        )

    def receive(self, data: bytes) -> tuple[bytes, ...]:
        """What goes back. After an end, everything is refused and nothing goes."""
        self.turns += 1
        made = nonce(f"{self.number} {self.turns}")
        try:
            return self._take(receive(self.handshake, data, self.end, self.peer, made, session_key(self.number)))
        except HandshakeError:
            return ()

    def _take(self, step: Step) -> tuple[bytes, ...]:
        self.steps.append(step)
        self.handshake = step.handshake
        if step.agreement:
            self.agreements.append(step.agreement)
        if step.told is not None:
            self.peer = replace(self.peer, known=step.told)
        return step.send

    @property
    def delivered(self) -> bool:
        """Whether a message that came now, bound to the newest agreement, would be given to a person."""
        return self.handshake.delivers and bool(self.agreements)

    def resigned(self, element: Element, **changed: Any) -> bytes:
        """The element with other words, signed by this side's true key: what a lying peer, or a stolen key, can do."""
        content = replace(element.content, **changed)
        return self.signed(content, element.party)

    def signed(self, content: Any, party: Party) -> bytes:
        scope = party.scope(CONVERSATION, TENANT, ENVIRONMENT)
        return Element(content, party, sign(session_key(self.number), content.purpose, scope, content.body())).encode()


def pair(known: bool = False) -> tuple[Side, Side]:
    """Ann with device 1, and Bob with devices 2 and 3; Bob's device 2 is the other side."""
    ann_list, bob_list = devices_of(ACCOUNT, device(1)), devices_of(OTHER_ACCOUNT, device(2), device(3))
    told = CAPABILITIES if known else None
    return (
        Side(1, ACCOUNT, ann_list, Peer(bob_list, told)),
        Side(2, OTHER_ACCOUNT, bob_list, Peer(ann_list, told)),
    )


Bend = Callable[[bytes], bytes | None]


def straight(data: bytes) -> bytes | None:
    return data


def run(ann: Side, bob: Side, there: Bend = straight, back: Bend = straight, limit: int = 20) -> list[bytes]:
    """Ann begins; every element passes the wire; until nothing travels any more. Returns all that was put on it."""
    on_the_wire: list[bytes] = []
    waiting = [(bob, there, data) for data in ann.begin()]
    for _ in range(limit):
        if not waiting:
            return on_the_wire
        to, bend, data = waiting.pop(0)
        on_the_wire.append(data)
        bent = bend(data)
        if bent is None:
            continue
        other, other_bend = (ann, back) if to is bob else (bob, there)
        waiting += [(other, other_bend, answer) for answer in to.receive(bent)]
    raise AssertionError("they never come to an end")


def only(kind: type, change: Callable[[Element], bytes | None]) -> Bend:
    """Changes elements of one kind, and lets the others pass."""

    def bend(data: bytes) -> bytes | None:
        element = parse(data)
        return change(element) if isinstance(element.content, kind) else data

    return bend
