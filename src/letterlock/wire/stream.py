"""Binary frames of the device stream ``letterlock.v1`` (docs/protocol/stream.md). Big-endian, bounded, no I/O.

Every frame is ``u8 version, u8 type`` and a body. A device opens with HELLO (the last mailbox sequence it has
applied), the server answers WELCOME (credit for submissions). SUBMIT carries a batch of messages and RESULT answers
them in order; DELIVER carries a run of a mailbox and ACK acknowledges it cumulatively. A device never has more
submissions without a result than its credit.
"""

from dataclasses import dataclass, field
from enum import IntEnum, unique
from struct import Struct
from typing import ClassVar, Final, TypeVar

from letterlock.model.errors import Fault, OperationError, Reason

VERSION: Final = 1
SUBPROTOCOL: Final = "letterlock.v1"
MAX_FRAME: Final = 1 << 20
"""Bytes a frame may have: a WebSocket message of this size is still one allocation on a small machine."""
MAX_ITEMS: Final = 256
"""Messages a frame may carry: one group commit of the store."""
MAX_BODY: Final = 64 << 10
"""Bytes a message may have: fits an MLS PrivateMessage with generous padding; files travel as attachments."""
INITIAL_CREDIT: Final = 1024
"""Submissions a device may have in flight: bounds the server's memory for one connection."""
REFERENCE_TIME: Final = 6
"""Bytes of a message's reference that may tell the time: milliseconds since 1970, as in RFC 9562, section 5.7."""
MAX_STATE_COUNTER: Final = 2**63 - 1
"""What every store can hold."""


@unique
class FrameType(IntEnum):
    """First the device's frames, from 0x80 on the server's."""

    HELLO = 0x00
    SUBMIT = 0x01
    ACK = 0x02
    WELCOME = 0x80
    RESULT = 0x81
    DELIVER = 0x82
    NOTICE = 0x83


@unique
class TargetKind(IntEnum):
    """What a submission is addressed to."""

    GROUP = 1
    """The other member devices of a group."""
    DEVICE = 2
    """One device's mailbox."""


@unique
class ItemKind(IntEnum):
    """What a mailbox item is."""

    APPLICATION = 1
    PROPOSAL = 2
    COMMIT = 3
    WELCOME = 4
    DELIVERY = 5
    """Submitted with a delivery token: of which group, only the recipient can tell."""


@unique
class ResultStatus(IntEnum):
    """What became of one submission."""

    ACCEPTED = 0
    """Durable, recorded, on its way."""
    DUPLICATE = 1
    """Accepted before under the same client message id; the ids are those of the first time."""
    QUARANTINED = 2
    """Claims to be end-to-end encrypted and is not MLS: recorded, not delivered, and its bytes are not kept."""
    NOT_ALLOWED = 3
    """Not a member, or policy refuses."""
    EPOCH_TOO_OLD = 4
    """MIMI epochTooOld: catch up with the group first."""
    WRONG_EPOCH = 5
    """MIMI wrongEpoch: ahead of the group's head."""
    UNKNOWN_TARGET = 6
    """No such group or device in this tenant."""
    CONFLICT = 7
    """The client message id was used for other bytes."""
    OVERLOADED = 8
    """Not accepted: the writer's queue is full; try again later."""
    TOO_LARGE = 9
    """Body over the limit."""
    GROUP_QUARANTINED = 10
    """Members reported a commit that they cannot take: the group is over, and a new one is needed."""
    MAILBOX_QUOTA = 11
    """Not accepted: too much of this sender, or its tenant, waits in mailboxes; try again later, this one first."""
    WRONG_ERA = 12
    """RCC.16 incorrect-era: another era than the group's, or a later one is in the group's place."""
    MLS_HEADER_MISSING = 13
    """RCC.16: a message to a group with an era that is not a message/cpim with both MLS headers and a message id."""
    WRONG_AUTHENTICATOR = 14
    """RCC.16 incorrect-epoch-authenticator: of another form, or another one than the first of this epoch."""
    MESSAGE_ID_DIFFERS = 15
    """RCC.16: the authenticated data is not of the profile, or names another message id or era than the headers."""
    ERA_UNKNOWN = 16
    """RCC.16: a message/cpim to a group that has no era, or whose era is not followed here."""


@unique
class NoticeCode(IntEnum):
    """Why the server says something outside the batches."""

    DRAINING = 1
    """The server is about to stop; reconnect."""
    SESSION_ENDED = 2
    """The session expired or was revoked."""
    PROTOCOL_ERROR = 3
    """A frame was refused; the connection is closed."""
    REPLACED = 4
    """The device connected again elsewhere."""
    KEY_PACKAGES_LOW = 5
    """Few key packages of this device are left: make more."""
    QUESTION_WAITING = 6
    """A question to the device's account waits for an answer: fetch it. What it is about is not said here."""


class FrameReason(Reason):
    """Why a frame was refused."""

    TOO_LONG = "frame_too_long"
    TRUNCATED = "frame_truncated"
    TRAILING = "frame_has_trailing_bytes"
    BAD_VERSION = "frame_version_unknown"
    BAD_TYPE = "frame_type_unknown"
    BAD_VALUE = "frame_value_unknown"
    TOO_MANY = "frame_has_too_many_items"
    BODY_TOO_LONG = "frame_body_too_long"


class FrameError(OperationError[FrameReason]):
    """A frame that is not one."""

    fault: ClassVar[Fault] = Fault.PEER


@dataclass(frozen=True, slots=True)
class Hello:
    """The device's first frame: the last sequence it has applied, and how many items it takes unacknowledged.

    ``state_counter`` counts the durable changes of the device's state; here and in the other frames, 0 states none.
    """

    applied: int
    window: int
    state_counter: int = 0


@dataclass(frozen=True, slots=True)
class Submission:
    """One message in a SUBMIT. ``message_ref`` is the device's own 16 bytes: the same again is a retry.

    The first :data:`REFERENCE_TIME` of them may tell the time, the rest is random.
    """

    target_kind: TargetKind
    target: bytes
    message_ref: bytes
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Submit:
    """A batch; the submissions are numbered ``first_ref``, ``first_ref + 1`` ... on this connection."""

    first_ref: int
    items: tuple[Submission, ...]
    state_counter: int = 0


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything up to and including this sequence is applied and may be deleted."""

    applied: int
    state_counter: int = 0


@dataclass(frozen=True, slots=True)
class Welcome:
    """The server's first frame: the mailbox's newest sequence, and the credit for submissions."""

    head: int
    credit: int


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one submission: its message id and the hash of its ledger record (zeros when refused)."""

    status: ResultStatus
    message_id: bytes
    record_hash: bytes


@dataclass(frozen=True, slots=True)
class Results:
    """Answers in the order of the submissions; each gives one credit back."""

    first_ref: int
    items: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One mailbox item. ``protection``, ``grade`` and ``verifier`` are the words' positions in their enums."""

    kind: ItemKind
    message_id: bytes
    group_ref: bytes
    accepted_ms: int
    protection: int
    grade: int
    verifier: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Deliver:
    """A run of the mailbox without holes: ``first_seq``, ``first_seq + 1`` ..."""

    first_seq: int
    items: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something outside the batches."""

    code: NoticeCode


ClientFrame = Hello | Submit | Ack
ServerFrame = Welcome | Results | Deliver | Notice

_HEAD: Final = Struct(">BB")
_HELLO: Final = Struct(">BBQHQ")
_SUBMIT: Final = Struct(">BBIHQ")
_BATCH: Final = Struct(">BBIH")
_SUBMISSION: Final = Struct(">B16s16sI")
_ACK: Final = Struct(">BBQQ")
_WELCOME: Final = Struct(">BBQI")
_RESULT: Final = Struct(">B16s32s")
_RUN: Final = Struct(">BBQH")
_DELIVERY: Final = Struct(">B16s16sQBBBI")
_NOTICE: Final = Struct(">BBH")

NO_ID: Final = bytes(16)
NO_HASH: Final = bytes(32)


def encode_hello(applied: int, window: int, state_counter: int = 0) -> bytes:
    """HELLO."""
    return _HELLO.pack(VERSION, FrameType.HELLO, applied, window, state_counter)


def encode_submit(first_ref: int, items: list[Submission] | tuple[Submission, ...], state_counter: int = 0) -> bytes:
    """SUBMIT.

    Raises:
        FrameError: more items or bytes than a frame takes.
    """
    _check_count(len(items))
    parts = [_SUBMIT.pack(VERSION, FrameType.SUBMIT, first_ref & 0xFFFFFFFF, len(items), state_counter)]
    for item in items:
        if len(item.body) > MAX_BODY:
            raise FrameError(FrameReason.BODY_TOO_LONG, size=len(item.body))
        parts.append(_SUBMISSION.pack(item.target_kind, item.target, item.message_ref, len(item.body)))
        parts.append(item.body)
    return _joined(parts)


def encode_ack(applied: int, state_counter: int = 0) -> bytes:
    """ACK."""
    return _ACK.pack(VERSION, FrameType.ACK, applied, state_counter)


def encode_welcome(head: int, credit: int) -> bytes:
    """WELCOME."""
    return _WELCOME.pack(VERSION, FrameType.WELCOME, head, credit)


def encode_results(first_ref: int, items: list[tuple[int, bytes, bytes]]) -> bytes:
    """RESULT from plain ``(status, message id, record hash)``."""
    _check_count(len(items))
    pack = _RESULT.pack
    return _BATCH.pack(VERSION, FrameType.RESULT, first_ref & 0xFFFFFFFF, len(items)) + b"".join(
        [pack(status, message_id, record_hash) for status, message_id, record_hash in items]
    )


def encode_delivery_item(
    kind: int,
    message_id: bytes,
    group_ref: bytes,
    accepted_ms: int,
    protection: int,
    grade: int,
    verifier: int,
    size: int,
) -> bytes:
    """The head of one item; the body follows it. A sender packs it once for all mailboxes of a fan-out."""
    return _DELIVERY.pack(kind, message_id, group_ref, accepted_ms, protection, grade, verifier, size)


def encode_deliver(first_seq: int, parts: list[bytes], count: int) -> bytes:
    """DELIVER from alternating item heads and bodies.

    Raises:
        FrameError: more items or bytes than a frame takes.
    """
    _check_count(count)
    return _joined([_RUN.pack(VERSION, FrameType.DELIVER, first_seq, count), *parts])


def encode_notice(code: NoticeCode) -> bytes:
    """NOTICE."""
    return _NOTICE.pack(VERSION, FrameType.NOTICE, code)


def decode_client(frame: bytes) -> ClientFrame:
    """What a device sent.

    Raises:
        FrameError: anything but one whole frame of a device.
    """
    kind = _head(frame)
    if kind == FrameType.SUBMIT:
        return _decode_submit(frame)
    if kind == FrameType.ACK:
        _, _, applied, counter = _exact(_ACK, frame)
        return Ack(applied, _counter(counter))
    if kind == FrameType.HELLO:
        _, _, applied, window, counter = _exact(_HELLO, frame)
        if window == 0:
            raise FrameError(FrameReason.BAD_VALUE)
        return Hello(applied, window, _counter(counter))
    raise FrameError(FrameReason.BAD_TYPE)


def decode_server(frame: bytes) -> ServerFrame:
    """What the server sent.

    Raises:
        FrameError: anything but one whole frame of the server.
    """
    kind = _head(frame)
    if kind == FrameType.DELIVER:
        return _decode_deliver(frame)
    if kind == FrameType.RESULT:
        return _decode_results(frame)
    if kind == FrameType.WELCOME:
        _, _, head, credit = _exact(_WELCOME, frame)
        return Welcome(head, credit)
    if kind == FrameType.NOTICE:
        return Notice(_known(NoticeCode, _exact(_NOTICE, frame)[2]))
    raise FrameError(FrameReason.BAD_TYPE)


def _joined(parts: list[bytes]) -> bytes:
    frame = b"".join(parts)
    if len(frame) > MAX_FRAME:
        raise FrameError(FrameReason.TOO_LONG, size=len(frame))
    return frame


def _check_count(count: int) -> None:
    if not 0 < count <= MAX_ITEMS:
        raise FrameError(FrameReason.TOO_MANY, count=count)


def _head(frame: bytes) -> int:
    if len(frame) > MAX_FRAME:
        raise FrameError(FrameReason.TOO_LONG, size=len(frame))
    if len(frame) < _HEAD.size:
        raise FrameError(FrameReason.TRUNCATED)
    if frame[0] != VERSION:
        raise FrameError(FrameReason.BAD_VERSION)
    return frame[1]


def _exact(layout: Struct, frame: bytes) -> tuple[int, ...]:
    if len(frame) != layout.size:
        raise FrameError(FrameReason.TRUNCATED if len(frame) < layout.size else FrameReason.TRAILING)
    return layout.unpack(frame)


def _counter(stated: int) -> int:
    if stated > MAX_STATE_COUNTER:
        raise FrameError(FrameReason.BAD_VALUE)
    return stated


_E = TypeVar("_E", bound=IntEnum)


def _known(words: type[_E], value: int) -> _E:
    try:
        return words(value)
    except ValueError:
        raise FrameError(FrameReason.BAD_VALUE) from None


_TARGETS: Final = {int(kind): kind for kind in TargetKind}


def _decode_submit(frame: bytes) -> Submit:
    end = len(frame)
    if end < _SUBMIT.size:
        raise FrameError(FrameReason.TRUNCATED)
    _, _, first_ref, count, counter = _SUBMIT.unpack_from(frame)
    _check_count(count)
    at = _SUBMIT.size
    items: list[Submission] = []
    for _ in range(count):
        body_at = at + _SUBMISSION.size
        if body_at > end:
            raise FrameError(FrameReason.TRUNCATED)
        target_kind, target, message_ref, size = _SUBMISSION.unpack_from(frame, at)
        at = body_at + size
        if size > MAX_BODY:
            raise FrameError(FrameReason.BODY_TOO_LONG, size=size)
        if at > end:
            raise FrameError(FrameReason.TRUNCATED)
        known = _TARGETS.get(target_kind)
        if known is None:
            raise FrameError(FrameReason.BAD_VALUE)
        items.append(Submission(known, target, message_ref, frame[body_at:at]))
    if at != end:
        raise FrameError(FrameReason.TRAILING)
    return Submit(first_ref, tuple(items), _counter(counter))


def _decode_results(frame: bytes) -> Results:
    if len(frame) < _BATCH.size:
        raise FrameError(FrameReason.TRUNCATED)
    _, _, first_ref, count = _BATCH.unpack_from(frame)
    _check_count(count)
    wanted = _BATCH.size + count * _RESULT.size
    if len(frame) != wanted:
        raise FrameError(FrameReason.TRUNCATED if len(frame) < wanted else FrameReason.TRAILING)
    return Results(
        first_ref,
        tuple(
            Result(_known(ResultStatus, status), message_id, record_hash)
            for status, message_id, record_hash in _RESULT.iter_unpack(memoryview(frame)[_BATCH.size :])
        ),
    )


def _decode_deliver(frame: bytes) -> Deliver:
    end = len(frame)
    if end < _RUN.size:
        raise FrameError(FrameReason.TRUNCATED)
    _, _, first_seq, count = _RUN.unpack_from(frame)
    _check_count(count)
    at = _RUN.size
    items: list[Delivery] = []
    for _ in range(count):
        body_at = at + _DELIVERY.size
        if body_at > end:
            raise FrameError(FrameReason.TRUNCATED)
        kind, message_id, group, accepted_ms, protection, grade, verifier, size = _DELIVERY.unpack_from(frame, at)
        at = body_at + size
        if size > MAX_BODY:
            raise FrameError(FrameReason.BODY_TOO_LONG, size=size)
        if at > end:
            raise FrameError(FrameReason.TRUNCATED)
        items.append(
            Delivery(
                _known(ItemKind, kind), message_id, group, accepted_ms, protection, grade, verifier, frame[body_at:at]
            )
        )
    if at != end:
        raise FrameError(FrameReason.TRAILING)
    return Deliver(first_seq, tuple(items))
