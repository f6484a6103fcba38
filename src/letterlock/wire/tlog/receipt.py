"""Receipts: one message's record, its path inside a batch entry, and the entry's proof. One file, offline.

A receipt is a proof file (c2sp.org/tlog-proof) whose ``extra`` holds the entry, the record and the inner path, so
that any tool of that format can check the outer half.
"""

from dataclasses import dataclass
from typing import Final, Self

from letterlock.wire.tlog.errors import ProofFileError, ProofFileReason
from letterlock.wire.tlog.hashes import HASH_SIZE
from letterlock.wire.tlog.proof_file import ProofFile

MAX_INNER_HASHES: Final = 16
"""The height of the largest batch."""
_VERSION: Final = b"letterlock/v1/receipt\x00"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A parsed receipt. Nothing is verified yet.

    Attributes:
        proof: the outer proof; its ``extra`` is made from the rest.
        entry: the batch entry's bytes.
        record: the record's bytes.
        slot: the record's place in the batch.
        inner_path: from the record up to the batch's root.
    """

    proof: ProofFile
    entry: bytes
    record: bytes
    slot: int
    inner_path: tuple[bytes, ...]

    def encode(self) -> bytes:
        """The receipt as a proof file.

        Raises:
            ProofFileError: a part is too large for its length field.
        """
        if len(self.entry) > 0xFFFF or len(self.record) > 0xFFFF or not 0 <= self.slot <= 0xFFFF_FFFF:
            raise ProofFileError(ProofFileReason.MALFORMED_RECEIPT)
        if len(self.inner_path) > MAX_INNER_HASHES:
            raise ProofFileError(ProofFileReason.TOO_MANY_HASHES)
        parts = (
            _VERSION,
            len(self.entry).to_bytes(2, "big"),
            self.entry,
            len(self.record).to_bytes(2, "big"),
            self.record,
            self.slot.to_bytes(4, "big"),
            bytes((len(self.inner_path),)),
            *self.inner_path,
        )
        return ProofFile(self.proof.index, self.proof.path, self.proof.checkpoint, b"".join(parts)).encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads a receipt strictly, to its last byte.

        Raises:
            ProofFileError: malformed.
        """
        proof = ProofFile.parse(data)
        rest = proof.extra or b""
        if not rest.startswith(_VERSION):
            raise ProofFileError(ProofFileReason.MALFORMED_RECEIPT)
        entry, rest = _take(rest[len(_VERSION) :])
        record, rest = _take(rest)
        if len(rest) < 5 or rest[4] > MAX_INNER_HASHES or len(rest) != 5 + HASH_SIZE * rest[4]:
            raise ProofFileError(ProofFileReason.MALFORMED_RECEIPT)
        path = tuple(rest[at : at + HASH_SIZE] for at in range(5, len(rest), HASH_SIZE))
        return cls(proof, entry, record, int.from_bytes(rest[:4], "big"), path)


def _take(data: bytes) -> tuple[bytes, bytes]:
    end = 2 + int.from_bytes(data[:2], "big")
    if len(data) < 2 or len(data) < end:
        raise ProofFileError(ProofFileReason.MALFORMED_RECEIPT)
    return data[2:end], data[end:]
