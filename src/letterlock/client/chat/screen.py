"""What a conversation shows: one value for each thing, the same for people and for programs. Pure."""

import json
from collections.abc import Callable
from typing import Any, Final

import msgspec

from letterlock.assurance.indicator import BY_GRADE, BY_PROTECTION, Indicator
from letterlock.model.protection import EvidenceGrade, Protection, Verifier

PINNED: Final = "contact_line"
"""The identity key was compared with a contact line that a person gave."""
FIRST_SEEN: Final = "first_seen"
"""The identity key is the one that the relay showed first, and never another since."""


class Mark(msgspec.Struct, frozen=True):
    """Protection of a message's path, why it is believed, who checked; and the words that may be shown for that."""

    protection: Protection
    grade: EvidenceGrade
    verifier: Verifier
    indicator: Indicator

    @classmethod
    def on_this_device(cls, protection: Protection, grade: EvidenceGrade, verifier: Verifier) -> "Mark":
        """The mark on the viewer's own device: "verified" for what this very device attested, and nothing else."""
        if protection is not Protection.E2EE:
            shown = BY_PROTECTION[protection]
        elif grade is EvidenceGrade.ATTESTED and verifier is Verifier.DEVICE:
            shown = Indicator.E2EE_VERIFIED
        else:
            shown = BY_GRADE[grade]
        return cls(protection, grade, verifier, shown)


class _Shown(msgspec.Struct, frozen=True, tag_field="event"):
    """One thing to show. Holds what people wrote: never to be logged."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Ready(_Shown, frozen=True, tag="ready"):
    """This person's device is there. ``state`` is ``enrolled`` or ``resumed``; ``contact`` is for others.

    ``waiting`` sealed items of an earlier run go out now.
    """

    name: str
    contact: str
    account: str
    device: str
    state: str
    store: str
    key_file: str
    waiting: int


class Waiting(_Shown, frozen=True, tag="waiting"):
    """There is nobody to talk to yet."""


class Peer(msgspec.Struct, frozen=True):
    """An account in a conversation; ``identity`` is :data:`PINNED` or :data:`FIRST_SEEN`."""

    account: str
    contact: str
    identity: str


class Conversation(_Shown, frozen=True, tag="conversation"):
    """Where typed lines go. ``how`` is ``started``, ``resumed``, or ``added`` (by one of ``peers``).

    ``current`` is False for one that this device was added to while another goes on.
    """

    group: str
    how: str
    peers: list[Peer]
    current: bool


class Line(_Shown, frozen=True, tag="message"):
    """What somebody else wrote. ``time_ms`` is when the gateway says that it took it.

    ``again`` is True when the last run ended while this was being shown: it may have been shown before.
    """

    message: str
    group: str
    account: str
    device: str
    time_ms: int
    kind: str
    text: str
    mark: Mark
    again: bool


class Sent(_Shown, frozen=True, tag="sent"):
    """A typed line, encrypted and durable. It leaves now, or when the gateway is there again."""

    message: str
    group: str
    time_ms: int
    text: str
    mark: Mark


class Receipt(_Shown, frozen=True, tag="receipt"):
    """A recipient device's signed receipt, checked here: ``delivered`` or ``read`` by ``count`` of ``of`` devices."""

    message: str
    group: str
    account: str
    device: str
    kind: str
    count: int
    of: int
    mark: Mark


class Failed(_Shown, frozen=True, tag="failed"):
    """A recipient device could not open a message of this device; what may help."""

    message: str
    group: str
    account: str
    device: str
    reason: str
    remedy: str


class Changed(_Shown, frozen=True, tag="changed"):
    """Members came or went. ``active`` is False when this device was removed."""

    group: str
    epoch: int
    active: bool
    members: list[str]


class Found(_Shown, frozen=True, tag="finding"):
    """Something was refused here. ``text`` says it in plain words; ``stopped``: the conversation stands."""

    group: str
    operation: str
    reason: str
    text: str
    stopped: bool


class Connection(_Shown, frozen=True, tag="connection"):
    """``state`` is ``connected`` or ``lost``. While it is lost, typed lines wait on this device."""

    state: str


class SafetyNumber(msgspec.Struct, frozen=True):
    """With one account: twelve groups of digits, of both identity keys."""

    account: str
    contact: str
    number: list[str]
    identity: str


class Safety(_Shown, frozen=True, tag="safety"):
    """For comparing aloud. ``fingerprint`` is of the group at its epoch: it differs where histories do."""

    numbers: list[SafetyNumber]
    group: str
    epoch: int
    fingerprint: list[str]


class Member(msgspec.Struct, frozen=True):
    """One device in the group; ``evidence`` is what it signed in this run, checked here."""

    account: str
    device: str
    identity: str
    listed: bool
    this_device: bool
    grade: EvidenceGrade


class Who(_Shown, frozen=True, tag="who"):
    """The members by the group's own roster, and the signed lists that this device verified."""

    group: str
    epoch: int
    members: list[Member]


class FloorOf(msgspec.Struct, frozen=True):
    """Below what nothing is sent to an account, and why."""

    account: str
    protection: Protection
    basis: str
    version: int


class Floors(_Shown, frozen=True, tag="floor"):
    """This device's own floors for the others in the conversation."""

    floors: list[FloorOf]


class Question(_Shown, frozen=True, tag="question"):
    """A question to this person, in their language: answered with ``/yes`` or ``/no`` and its ``number``.

    ``direction`` is that of the language. ``question`` names where the message would go.
    """

    number: int
    challenge: str
    language: str
    direction: str
    question: str
    why: str
    fall: str
    readers: str
    loss: str
    scope: str
    time_left: str
    alternatives: list[str]
    agree: str
    refuse: str
    expires_ms: int
    lines: list[str]


class Answered(_Shown, frozen=True, tag="answered"):
    """What became of an answer. ``released``: the message that was held for it is on its way."""

    number: int
    challenge: str
    answer: str
    state: str
    released: bool
    text: str


class Help(_Shown, frozen=True, tag="help"):
    """What can be typed, and what the words mean."""

    text: str


class Problem(_Shown, frozen=True, tag="problem"):
    """Something that was typed did not happen. ``code`` is stable."""

    code: str
    text: str


class Ended(_Shown, frozen=True, tag="ended"):
    """The last thing. ``waiting`` sealed items go out at the next start."""

    waiting: int


Shown = (
    Ready | Waiting | Conversation | Line | Sent | Receipt | Failed | Changed | Found | Connection | Safety | Who
    | Floors | Question | Answered | Help | Problem | Ended
)  # fmt: skip
Screen = Callable[[Shown], None]


def as_json(shown: Shown) -> str:
    """One line of ASCII: what somebody wrote cannot steer a terminal through it."""
    values: dict[str, Any] = msgspec.to_builtins(shown)
    return json.dumps(values)
