"""Proof files: one entry's inclusion with the checkpoint that it leads to (c2sp.org/tlog-proof, version 1).

``extra`` is not authenticated by the file: whoever reads it checks it against the entry.
"""

from base64 import b64encode
from dataclasses import dataclass
from typing import Final, Self

from letterlock.wire.tlog.checkpoint import parse_decimal
from letterlock.wire.tlog.errors import NoteError, ProofFileError, ProofFileReason
from letterlock.wire.tlog.hashes import HASH_SIZE
from letterlock.wire.tlog.note import MAX_NOTE_BYTES, decode_canonical_base64

HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_HASHES: Final = 63
"""The height of the tallest tree that these sizes allow."""
MAX_EXTRA_BYTES: Final = 200_000
"""An entry (65,535 bytes at most), a record and an inner path, with room to spare."""
_MAX_FILE: Final = MAX_NOTE_BYTES + 2 * MAX_EXTRA_BYTES


@dataclass(frozen=True, slots=True)
class ProofFile:
    """A parsed proof. Nothing is verified yet.

    Attributes:
        index: which entry.
        path: its inclusion path, leaf upwards.
        checkpoint: the signed note.
        extra: unauthenticated bytes for the reader, if there are any.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def encode(self) -> bytes:
        """The file's bytes."""
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {b64encode(self.extra).decode('ascii')}")
        lines.append(f"index {self.index}")
        lines += (b64encode(value).decode("ascii") for value in self.path)
        return ("\n".join(lines) + "\n\n").encode("ascii") + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads a file strictly.

        Raises:
            ProofFileError: malformed or too large.
        """
        if len(data) > _MAX_FILE:
            raise ProofFileError(ProofFileReason.TOO_LARGE, length=len(data))
        head, blank, checkpoint = data.partition(b"\n\n")
        if not blank or not checkpoint:
            raise ProofFileError(ProofFileReason.NO_CHECKPOINT)
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise ProofFileError(ProofFileReason.NOT_UTF8) from None
        if lines.pop(0) != HEADER:
            raise ProofFileError(ProofFileReason.BAD_HEADER)
        extra: bytes | None = None
        if lines and lines[0].startswith("extra "):
            try:
                extra = decode_canonical_base64(lines.pop(0).removeprefix("extra "))
            except NoteError:
                raise ProofFileError(ProofFileReason.BAD_EXTRA) from None
            if len(extra) > MAX_EXTRA_BYTES:
                raise ProofFileError(ProofFileReason.BAD_EXTRA)
        index = parse_decimal(lines[0].removeprefix("index ")) if lines and lines[0].startswith("index ") else None
        if index is None:
            raise ProofFileError(ProofFileReason.BAD_INDEX)
        if len(lines) - 1 > MAX_HASHES:
            raise ProofFileError(ProofFileReason.TOO_MANY_HASHES, hashes=len(lines) - 1)
        return cls(index, tuple(map(_hash, lines[1:])), checkpoint, extra)


def _hash(line: str) -> bytes:
    try:
        value = decode_canonical_base64(line)
    except NoteError:
        value = b""
    if len(value) != HASH_SIZE:
        raise ProofFileError(ProofFileReason.BAD_HASH)
    return value
