"""What a decision is made from: a value of enums only, and the number of the cell that it falls into.

Two messages fall into the same cell when no rule and no guard tells them apart. :class:`Cell` is all that rules
and guards ever see, so nothing outside it can make a difference; :meth:`Facts.key` finds the cell by addition.
"""

from collections.abc import Iterable
from enum import Enum, unique
from functools import cache
from itertools import chain, combinations, product
from typing import ClassVar, Final, NamedTuple, Self, final

import msgspec

from letterlock.model.capability import Channel
from letterlock.model.protection import EvidenceGrade, Protection


class Fact(Enum):
    """Base of the enums below; ``weight`` is the member's share in the number of the cell."""

    weight: int

    @property
    def words(self) -> str:
        """The member as words."""
        return str(self.value).replace("_", " ")


@unique
class Body(Fact):
    """In which form the content was submitted."""

    SEALED = "sealed"
    """As ciphertext that only endpoints open."""
    OPEN = "open"
    """Readable by this gateway."""


@unique
class Claim(Fact):
    """What somebody says about the message, beside what can be seen."""

    NONE = "none"
    E2EE_AUTHORISED = "e2ee_authorised"
    """Claimed end-to-end encrypted by a source that may speak for this conversation."""
    E2EE_FOREIGN = "e2ee_foreign"
    """The same claim from anybody else."""


@unique
class Framing(Fact):
    """What the strict parser found."""

    VALID = "valid"
    INVALID = "invalid"
    ABSENT = "absent"


@unique
class Submission(Fact):
    """Who brought the message."""

    DEVICE_SESSION = "device_session"
    TENANT_API = "tenant_api"
    DELIVERY_TOKEN = "delivery_token"  # noqa: S105 - a word, no token
    """Nobody that this gateway knows: whoever holds a token that the recipient handed out. It can be asked nothing."""


@unique
class Consent(Fact):
    """The answer that is in force for exactly this message, destination and cause."""

    NONE = "none"
    POLICY = "policy"
    """An earlier decision by policy. It answers for nobody: policy decides anew."""
    TENANT_ASSERTED = "tenant_asserted"
    DEVICE_SIGNED = "device_signed"


@unique
class OnDowngrade(Fact):
    """What the sender wants where only a fall would get the message through."""

    ASK = "ask"
    HOLD = "hold"
    REFUSE = "refuse"


@unique
class Cause(Fact):
    """Why a secure path that was tried is not used. NONE for a first attempt or a repeat on the same channel."""

    NONE = "none"
    NOT_REACHABLE_ATTESTED = "not_reachable_attested"
    """The peer's signed device list, or a logged statement, says there is no device."""
    UNAUTHENTICATED_FAILURE = "unauthenticated_failure"
    """A failure that anybody on the way could have made up."""
    SECURE_FAILED = "secure_failed"
    """An endpoint said so under its own key."""


@unique
class Face(Fact):
    """Whether whoever submits can be asked a question."""

    CAN_ASK = "can_ask"
    CANNOT_ASK = "cannot_ask"


@unique
class Traffic(Fact):
    """What kind of traffic it is: a notice to somebody, or a conversation with them."""

    NOTIFICATION = "notification"
    CONVERSATION = "conversation"


@unique
class Envelope(Enum):
    """What body, claim and framing come to. The value is the sentence for people."""

    SEALED = "a sealed message with valid framing"
    OPEN = "a readable message without any claim"
    MALFORMED = "a message claimed end-to-end encrypted whose ciphertext has no valid framing"
    UNFRAMED = "ciphertext without a claim and without valid framing"
    FOREIGN = "a sealed message with a claim from somebody who may not speak for the conversation"
    CONTRADICTION = "a readable message that is claimed or framed as end-to-end encrypted"

    @property
    def is_e2ee(self) -> bool:
        """Whether it is handled as end-to-end encrypted: everything but a plainly readable message."""
        return self is not Envelope.OPEN


@unique
class Answer(Enum):
    """A person's answer; what policy decided earlier counts as none."""

    NONE = "none"
    TENANT_ASSERTED = "tenant_asserted"
    DEVICE_SIGNED = "device_signed"


@unique
class Wish(Enum):
    """What the sender wants, as far as the face can do it."""

    ASK = "ask"
    ASK_IMPOSSIBLE = "ask_impossible"
    HOLD = "hold"
    REFUSE = "refuse"


@final
class Ways:
    """A set of channels that are available for a message: one shared value per set, made by :meth:`of`."""

    __slots__ = ("channels", "weight")
    _all: ClassVar[dict[frozenset[Channel], "Ways"]] = {}

    def __init__(self, channels: tuple[Channel, ...], weight: int) -> None:
        self.channels: Final = channels
        self.weight: Final = weight

    @classmethod
    def of(cls, *channels: Channel) -> "Ways":
        """The set with exactly these channels."""
        return cls._all[frozenset(channels)]

    @classmethod
    def every(cls) -> tuple["Ways", ...]:
        """All sets, the empty one first."""
        return tuple(cls._all.values())

    @classmethod
    def _fill(cls, subsets: Iterable[tuple[Channel, ...]], radix: int) -> None:
        for index, subset in enumerate(subsets):
            cls._all[frozenset(subset)] = cls(subset, index * radix)

    def __reduce__(self) -> tuple[object, ...]:
        return (Ways.of, self.channels)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    @property
    def words(self) -> str:
        """The channels by name."""
        return " and ".join(channel.value for channel in self.channels) or "no channel"

    def __repr__(self) -> str:
        return f"Ways({self.words})"


class Cell(NamedTuple):
    """One class of facts: all that a rule or a guard can see."""

    envelope: Envelope
    grade: EvidenceGrade
    submission: Submission
    floor: Protection
    ways: Ways
    answer: Answer
    wish: Wish
    cause: Cause
    traffic: Traffic

    @property
    def words(self) -> str:
        """The cell in words that a person understands."""
        if self.envelope not in _ROUTED:
            return self.envelope.value
        graded = f", graded {self.grade.value}," if self.envelope is Envelope.SEALED else ""
        return (
            f"{self.envelope.value}{graded} brought by a {self.submission.words}; floor {self.floor.value}; "
            f"available: {self.ways.words}; consent: {self.answer.value.replace('_', ' ')}; "
            f"on downgrade: {self.wish.value.replace('_', ' ')}; cause: {self.cause.words}; "
            f"traffic: {self.traffic.words}"
        )


_ROUTED: Final = frozenset({Envelope.SEALED, Envelope.OPEN})
_STRAY: Final = (Envelope.MALFORMED, Envelope.UNFRAMED, Envelope.FOREIGN, Envelope.CONTRADICTION)


def classify(body: Body, claim: Claim, framing: Framing) -> Envelope:
    """What body, claim and framing come to; total over all 18 combinations.

    A readable body with any claim or any sign of framing contradicts itself. A claim from elsewhere is never
    believed, valid framing or not. Ciphertext needs valid framing, or it is not known to be ciphertext at all.
    """
    if body is Body.OPEN:
        plain = claim is Claim.NONE and framing is Framing.ABSENT
        return Envelope.OPEN if plain else Envelope.CONTRADICTION
    if claim is Claim.E2EE_FOREIGN:
        return Envelope.FOREIGN
    if framing is Framing.VALID:
        return Envelope.SEALED
    return Envelope.MALFORMED if claim is Claim.E2EE_AUTHORISED else Envelope.UNFRAMED


def _weigh(kind: type[Fact], radix: int) -> int:
    for index, member in enumerate(kind):
        member.weight = index * radix
    return radix * len(kind)


# The number of a cell, least significant digit first. What is below BLOCK is the same for sealed and open.
_CAUSE_RADIX: Final = _weigh(Traffic, 1)
_WISH_RADIX: Final = _weigh(Cause, _CAUSE_RADIX)
_ANSWER_RADIX: Final = _WISH_RADIX * len(Wish)
_WAYS_RADIX: Final = _ANSWER_RADIX * len(Answer)
_SUBSETS: Final = tuple(chain.from_iterable(combinations(Channel, size) for size in range(len(Channel) + 1)))
Ways._fill(_SUBSETS, _WAYS_RADIX)  # pyright: ignore[reportPrivateUsage]
_FLOOR_RADIX: Final = _WAYS_RADIX * len(_SUBSETS)
_FLOOR: Final = {floor: index * _FLOOR_RADIX for index, floor in enumerate(Protection)}
BLOCK: Final = _weigh(Submission, _FLOOR_RADIX * len(Protection))
"""How many cells there are of each envelope that is routed, for one grade."""
_GRADE: Final = {grade: index * BLOCK for index, grade in enumerate(EvidenceGrade)}
SEALED_CELLS: Final = BLOCK * len(EvidenceGrade)
"""The cells of sealed messages come first: a block for each grade."""
_STRAY_AT: Final = SEALED_CELLS + BLOCK
CELLS: Final = _STRAY_AT + len(_STRAY)
"""How many cells there are."""

_weigh(Framing, 1)
_weigh(Claim, len(Framing))
_weigh(Body, len(Framing) * len(Claim))


def _begin(envelope: Envelope) -> int:
    """Where an envelope's cells begin; below zero: its only cell, counted from the end, where no digit matters."""
    if envelope in _STRAY:
        return _STRAY.index(envelope) - len(_STRAY)
    return SEALED_CELLS if envelope is Envelope.OPEN else 0


_BEGINS: Final = tuple(_begin(classify(*parts)) for parts in product(Body, Claim, Framing))
_weigh(Face, 1)
_weigh(OnDowngrade, len(Face))
_WISHES: Final[tuple[Wish, ...]] = (Wish.ASK, Wish.ASK_IMPOSSIBLE, Wish.HOLD, Wish.HOLD, Wish.REFUSE, Wish.REFUSE)
_WISH_AT: Final[tuple[int, ...]] = tuple(list(Wish).index(wish) * _WISH_RADIX for wish in _WISHES)
_ANSWERS: Final = {
    Consent.NONE: Answer.NONE,
    Consent.POLICY: Answer.NONE,
    Consent.TENANT_ASSERTED: Answer.TENANT_ASSERTED,
    Consent.DEVICE_SIGNED: Answer.DEVICE_SIGNED,
}
for _kind, _answer in _ANSWERS.items():
    _kind.weight = list(Answer).index(_answer) * _ANSWER_RADIX


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a decision depends on. A frozen, slotted struct: built once per message on the hot path.

    Attributes:
        body: the form in which the content was submitted.
        claim: what was said about it.
        framing: what the strict parser found.
        grade: the strongest evidence that exists now.
        submission: who brought it.
        floor: of the conversation; UNKNOWN where none was ever recorded, then the policy's own applies.
        ways: the channels that are available. With a consent, only those that the consent names.
        consent: the answer in force for exactly this message.
        on_downgrade: what the sender wants where only a fall would get it through.
        cause: why a secure path that was tried is not used.
        face: whether the submitter can be asked.
        traffic: a notice or a conversation.
    """

    body: Body
    claim: Claim
    framing: Framing
    grade: EvidenceGrade
    submission: Submission
    floor: Protection
    ways: Ways
    on_downgrade: OnDowngrade
    face: Face
    traffic: Traffic
    consent: Consent = Consent.NONE
    cause: Cause = Cause.NONE

    def key(self) -> int:
        """The number of the cell that these facts fall into."""
        begins = _BEGINS[self.body.weight + self.claim.weight + self.framing.weight]
        if begins < 0:
            return CELLS + begins
        rest = (
            self.submission.weight
            + _FLOOR[self.floor]
            + self.ways.weight
            + self.consent.weight
            + _WISH_AT[self.on_downgrade.weight + self.face.weight]
            + self.cause.weight
            + self.traffic.weight
        )
        return rest + begins if begins else rest + _GRADE[self.grade]

    @property
    def cell(self) -> Cell:
        """The cell itself, for proofs and explanations."""
        return cells()[self.key()]


@cache
def cells() -> tuple[Cell, ...]:
    """All cells in the order of their numbers: every class of facts that a rule or a guard tells apart."""
    rest = (Submission, Protection, Ways.every(), Answer, Wish, Cause, Traffic)
    sealed = (Cell(Envelope.SEALED, *parts) for parts in product(EvidenceGrade, *rest))
    readable = (Cell(Envelope.OPEN, EvidenceGrade.NONE, *parts) for parts in product(*rest))
    anything = (
        EvidenceGrade.NONE,
        Submission.TENANT_API,
        Protection.UNKNOWN,
        Ways.of(*Channel),
        Answer.NONE,
        Wish.REFUSE,
        Cause.NONE,
        Traffic.NOTIFICATION,
    )
    stray = (Cell(envelope, *anything) for envelope in _STRAY)
    return (*sealed, *readable, *stray)
