"""Per-message records: the leaves of a batch entry's inner tree. One line of ASCII each, made as cheaply as can be.

Fields are separated by one space: version, kind, time (ms), then the kind's own. Commitments are base64 of
32 bytes. Decoding accepts exactly what is encoded.
"""

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from hashlib import sha256
from typing import Final, TypeAlias, TypeVar

from letterlock.model.capability import Channel
from letterlock.model.protection import EvidenceGrade, Protection, Verifier
from letterlock.wire.tlog.commitments import Digest, RuleTag
from letterlock.wire.tlog.entries import MAX_INT, Batch
from letterlock.wire.tlog.errors import EntryError, EntryReason
from letterlock.wire.tlog.proofs import InnerTree
from letterlock.wire.tlog.words import ReasonCode, ReceiptWord

MAX_RECORD: Final = 256
"""Bytes; the longest record has about 160."""
MAX_BATCH: Final = 1 << 16
"""Records of one commit: more than a group commit ever holds, and an inner path of at most 16 hashes."""
_HASH: Final = 32
_E = TypeVar("_E", bound=Enum)


@dataclass(frozen=True, slots=True)
class AcceptedShape:
    """What accepted messages of one decision have in common, written once; keep it with the decision."""

    tail: bytes


@lru_cache(maxsize=8192)
def accepted_shape(
    channel: Channel, protection: Protection, grade: EvidenceGrade, verifier: Verifier, rule: RuleTag
) -> AcceptedShape:
    """The shape of messages accepted under one decision.

    Raises:
        EntryError: an argument is not of its closed type.
    """
    wanted = (Channel, Protection, EvidenceGrade, Verifier, RuleTag)
    if tuple(map(type, (channel, protection, grade, verifier, rule))) != wanted:
        raise EntryError(EntryReason.BAD_VALUE)
    words = f" {channel.value} {protection.value} {grade.value} {verifier.value} {rule} "
    return AcceptedShape(words.encode("ascii"))


def accepted(ts: int, message: bytes, shape: AcceptedShape, size_bucket: int) -> bytes:
    """A message was accepted. ``message`` is its commitment (32 bytes), ``ts`` is in ms."""
    if len(message) != _HASH:
        raise EntryError(EntryReason.BAD_VALUE)
    return b"1 a %d %b%b%d" % (ts, b2a_base64(message, newline=False), shape.tail, size_bucket)


def delivered(ts: int, message: bytes, channel: Channel) -> bytes:
    """A message was delivered, as far as its channel's receipts can be believed."""
    if len(message) != _HASH:
        raise EntryError(EntryReason.BAD_VALUE)
    return b"1 d %d %b %b" % (ts, b2a_base64(message, newline=False), _CHANNEL[channel])


def acked(ts: int, count: int, mailbox: bytes, sequence_range: bytes) -> bytes:
    """A device acknowledged ``count`` items; mailbox and sequence range are commitments (32 bytes)."""
    if len(mailbox) != _HASH or len(sequence_range) != _HASH:
        raise EntryError(EntryReason.BAD_VALUE)
    both = b2a_base64(mailbox, newline=False), b2a_base64(sequence_range, newline=False)
    return b"1 k %d %d %b %b" % (ts, count, *both)


def failed(ts: int, message: bytes, channel: Channel, reason: ReasonCode) -> bytes:
    """A message was given up."""
    if len(message) != _HASH:
        raise EntryError(EntryReason.BAD_VALUE)
    return b"1 f %d %b %b %b" % (ts, b2a_base64(message, newline=False), _CHANNEL[channel], _REASON[reason])


def attested(ts: int, message: bytes, word: ReceiptWord, verifier: Verifier, devices: int, recipients: int) -> bytes:
    """A device's signed receipt was checked: with it, ``devices`` of ``recipients`` have signed for the message."""
    if len(message) != _HASH or not 1 <= devices <= recipients:
        raise EntryError(EntryReason.BAD_VALUE)
    words = word.value.encode("ascii"), verifier.value.encode("ascii")
    return b"1 r %d %b %b %b %d %d" % (ts, b2a_base64(message, newline=False), *words, devices, recipients)


_CHANNEL: Final = {channel: channel.value.encode("ascii") for channel in Channel}
_REASON: Final = {reason: reason.value.encode("ascii") for reason in ReasonCode}


@dataclass(frozen=True, slots=True)
class Accepted:
    """See :func:`accepted`."""

    ts: int
    message: bytes
    channel: Channel
    protection: Protection
    grade: EvidenceGrade
    verifier: Verifier
    rule: RuleTag
    size_bucket: int

    def encode(self) -> bytes:
        """The record's bytes."""
        shape = accepted_shape(self.channel, self.protection, self.grade, self.verifier, self.rule)
        return accepted(self.ts, self.message, shape, self.size_bucket)


@dataclass(frozen=True, slots=True)
class Delivered:
    """See :func:`delivered`."""

    ts: int
    message: bytes
    channel: Channel

    def encode(self) -> bytes:
        """The record's bytes."""
        return delivered(self.ts, self.message, self.channel)


@dataclass(frozen=True, slots=True)
class Acked:
    """See :func:`acked`."""

    ts: int
    count: int
    mailbox: bytes
    sequence_range: bytes

    def encode(self) -> bytes:
        """The record's bytes."""
        return acked(self.ts, self.count, self.mailbox, self.sequence_range)


@dataclass(frozen=True, slots=True)
class Failed:
    """See :func:`failed`."""

    ts: int
    message: bytes
    channel: Channel
    reason: ReasonCode

    def encode(self) -> bytes:
        """The record's bytes."""
        return failed(self.ts, self.message, self.channel, self.reason)


@dataclass(frozen=True, slots=True)
class Attested:
    """See :func:`attested`."""

    ts: int
    message: bytes
    word: ReceiptWord
    verifier: Verifier
    devices: int
    recipients: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return attested(self.ts, self.message, self.word, self.verifier, self.devices, self.recipients)


Record: TypeAlias = Accepted | Delivered | Acked | Failed | Attested


def decode_record(data: bytes) -> Record:
    """Reads a record strictly.

    Raises:
        EntryError: unknown version, kind or word, a bad number or commitment, another spelling, too large.
    """
    if len(data) > MAX_RECORD:
        raise EntryError(EntryReason.TOO_LARGE, length=len(data))
    try:
        version, kind, stamp, *rest = data.decode("ascii").split(" ")
    except ValueError:
        raise EntryError(EntryReason.NOT_CANONICAL) from None
    if version != "1":
        raise EntryError(EntryReason.UNKNOWN_VERSION)
    record: Record
    ts = _number(stamp)
    match kind, rest:
        case "a", [message, channel, protection, grade, verifier, rule, bucket]:
            record = Accepted(
                ts,
                _hash(message),
                _word(Channel, channel),
                _word(Protection, protection),
                _word(EvidenceGrade, grade),
                _word(Verifier, verifier),
                RuleTag.parse(rule),
                _number(bucket),
            )
        case "d", [message, channel]:
            record = Delivered(ts, _hash(message), _word(Channel, channel))
        case "k", [count, mailbox, sequence_range]:
            record = Acked(ts, _number(count), _hash(mailbox), _hash(sequence_range))
        case "f", [message, channel, reason]:
            record = Failed(ts, _hash(message), _word(Channel, channel), _word(ReasonCode, reason))
        case "r", [message, word, verifier, devices, recipients]:
            record = Attested(
                ts,
                _hash(message),
                _word(ReceiptWord, word),
                _word(Verifier, verifier),
                _number(devices),
                _number(recipients),
            )
        case _:
            raise EntryError(EntryReason.UNKNOWN_TYPE)
    if record.encode() != data:
        raise EntryError(EntryReason.NOT_CANONICAL)
    return record


def _number(text: str) -> int:
    if not text.isdigit() or len(text) > 16:
        raise EntryError(EntryReason.BAD_VALUE)
    value = int(text)
    if value > MAX_INT:
        raise EntryError(EntryReason.BAD_VALUE)
    return value


def _hash(text: str) -> bytes:
    try:
        value = a2b_base64(text, strict_mode=True)
    except (Base64Error, ValueError):
        raise EntryError(EntryReason.BAD_VALUE) from None
    if len(value) != _HASH:
        raise EntryError(EntryReason.BAD_VALUE)
    return value


def _word(kind: type[_E], text: str) -> _E:
    try:
        return kind(text)
    except ValueError:
        raise EntryError(EntryReason.BAD_VALUE) from None


_COUNTED: Final = {ord("a"): 0, ord("d"): 1, ord("k"): 2, ord("f"): 3, ord("r"): 4}


class BatchBuilder:
    """Collects the records of one commit; then gives the entry for them, and the inner paths."""

    __slots__ = ("_hashes", "_tree", "records")

    def __init__(self) -> None:
        self.records: list[bytes] = []
        """The records so far, in slot order: for the erasable row."""
        self._hashes: list[bytes] = []
        self._tree: InnerTree | None = None

    def add(self, record: bytes) -> tuple[int, bytes]:
        """Adds a record and gives its slot and leaf hash.

        Raises:
            EntryError: the batch is full.
        """
        slot = len(self._hashes)
        if slot >= MAX_BATCH:
            raise EntryError(EntryReason.BATCH_FULL)
        self.records.append(record)
        hashed = sha256(b"\x00" + record).digest()
        self._hashes.append(hashed)
        return slot, hashed

    def __len__(self) -> int:
        return len(self._hashes)

    def record_hash(self, slot: int) -> bytes:
        """The leaf hash of one record.

        Raises:
            EntryError: no such slot.
        """
        if not 0 <= slot < len(self._hashes):
            raise EntryError(EntryReason.NO_SUCH_SLOT)
        return self._hashes[slot]

    def record(self, slot: int) -> bytes:
        """One record.

        Raises:
            EntryError: no such slot.
        """
        self.record_hash(slot)
        return self.records[slot]

    def _built(self) -> InnerTree:
        if self._tree is None or self._tree.size != len(self._hashes):
            self._tree = InnerTree(tuple(self._hashes))
        return self._tree

    @property
    def root(self) -> bytes:
        """The root of the inner tree over the records so far."""
        return self._built().root

    def inner_proof(self, slot: int) -> list[bytes]:
        """The inner path of a record.

        Raises:
            EntryError: no such slot.
        """
        self.record_hash(slot)
        return self._built().prove(slot)

    def entry(self, ts: int) -> Batch:
        """The entry for these records.

        Raises:
            EntryError: there are none, or one is of no known kind.
        """
        if not self.records:
            raise EntryError(EntryReason.BATCH_EMPTY)
        counts = [0, 0, 0, 0, 0]
        for record in self.records:
            place = _COUNTED.get(record[2]) if len(record) > 2 else None
            if place is None:
                raise EntryError(EntryReason.UNKNOWN_TYPE)
            counts[place] += 1
        first, second, third, fourth, fifth = counts
        return Batch(
            ts=ts,
            accepted=first,
            delivered=second,
            acked=third,
            failed=fourth,
            n=len(self.records),
            root=Digest(self.root),
            attested=fifth or None,
        )
