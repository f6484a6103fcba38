"""Checkpoints: what a log signs (c2sp.org/tlog-checkpoint). Origin, size and root, one line each."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from letterlock.wire.tlog.errors import MAX_TREE_SIZE, NoteError, NoteReason
from letterlock.wire.tlog.hashes import HASH_SIZE
from letterlock.wire.tlog.note import (
    Cosigner,
    VerifierKey,
    check_key_name,
    decode_canonical_base64,
    open_note,
    parse_note,
)

_MAX_DIGITS: Final = 19
MAX_EXTENSIONS: Final = 16
"""Extension lines are discouraged by the format; a few are read, none is written."""


def parse_decimal(text: str) -> int | None:
    """A size or index: ASCII digits without leading zeros, up to 2**63 - 1; else None."""
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS or (text[0] == "0" and text != "0"):
        return None
    value = int(text)
    return value if value <= MAX_TREE_SIZE else None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a log at one size.

    Attributes:
        origin: the log's unique name; the same as the name of its key.
        size: how many entries.
        root: the RFC 6962 root over them.
        extensions: further signed lines, as found.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_key_name(self.origin)
        if not 0 <= self.size <= MAX_TREE_SIZE or len(self.root) != HASH_SIZE:
            raise NoteError(NoteReason.MALFORMED_CHECKPOINT)

    def text(self) -> bytes:
        """The bytes that are signed."""
        lines = (self.origin, str(self.size), b64encode(self.root).decode("ascii"), *self.extensions)
        return ("\n".join(lines) + "\n").encode()

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Reads the signed text.

        Raises:
            NoteError: malformed.
        """
        try:
            lines = text.decode().split("\n")
        except UnicodeDecodeError:
            raise NoteError(NoteReason.NOT_UTF8) from None
        if not 4 <= len(lines) <= 4 + MAX_EXTENSIONS or lines.pop() or not all(lines):
            raise NoteError(NoteReason.MALFORMED_CHECKPOINT)
        size = parse_decimal(lines[1])
        root = decode_canonical_base64(lines[2])
        if size is None:
            raise NoteError(NoteReason.MALFORMED_CHECKPOINT)
        return cls(lines[0], size, root, tuple(lines[3:]))


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A checkpoint whose log signature was verified, with the note that carries it.

    Attributes:
        checkpoint: what was signed.
        note: the bytes to show to others.
        cosigners: the known witnesses that signed as well; none means ``unwitnessed``.
    """

    checkpoint: Checkpoint
    note: bytes
    cosigners: tuple[Cosigner, ...]


def open_checkpoint(data: bytes, log_key: VerifierKey, witnesses: Sequence[VerifierKey] = ()) -> SignedHead:
    """Verifies a signed checkpoint of this log. The origin must be the name of the log's key.

    Raises:
        NoteError: malformed, of another log, not signed by the log, or with an invalid known signature.
    """
    opened = open_note(data, log_key, witnesses)
    checkpoint = Checkpoint.parse(opened.note.text)
    if checkpoint.origin != log_key.name:
        raise NoteError(NoteReason.WRONG_ORIGIN)
    return SignedHead(checkpoint, data, opened.cosigners)


def peek_checkpoint(data: bytes) -> Checkpoint:
    """What a note claims, with nothing verified: for messages about a note that was refused.

    Raises:
        NoteError: malformed.
    """
    return Checkpoint.parse(parse_note(data).text)
