"""Interval entries: the records of a stretch of time under one root whose size says little of how many there were.

The leaves are the records of the interval, then random hashes up to the next of a few sizes. An interval without a
record has an entry all the same, so that the log grows alike whether somebody wrote or not.
"""

from collections.abc import Sequence
from hashlib import sha256, shake_256
from typing import Final

from letterlock.wire.tlog.commitments import Digest
from letterlock.wire.tlog.entries import Interval
from letterlock.wire.tlog.errors import EntryError, EntryReason
from letterlock.wire.tlog.proofs import InnerTree
from letterlock.wire.tlog.records import MAX_BATCH

INTERVAL_MS: Final = 300_000
"""Five minutes: an entry's time is what a stored message can be traced to, and no stored time is finer than that."""
SMALLEST: Final = 64
"""Leaves of an interval in which little or nothing happened."""
_HASH: Final = 32
_SEED: Final = 32


def interval_end(now_ms: int) -> int:
    """When the interval that this moment lies in closes: intervals are the same everywhere, from 1970 on."""
    return now_ms - now_ms % INTERVAL_MS + INTERVAL_MS


def padded_size(count: int) -> int:
    """How many leaves an interval of so many records has: 64, 128, 256, ... 65,536.

    Raises:
        EntryError: more than one interval entry holds.
    """
    if count > MAX_BATCH:
        raise EntryError(EntryReason.BATCH_FULL)
    size = SMALLEST
    while size < count:
        size *= 2
    return size


class IntervalRecords:
    """The records of one interval, in slot order, with the padding that follows from its seed.

    Args:
        records: at most 65,536; none is an interval without a record.
        seed: 32 random bytes, kept as long as the records. Whoever has them can tell padding from records.

    Raises:
        EntryError: too many; or SALT_TOO_SHORT: without its seed the padding, and so every proof, would be another.
    """

    __slots__ = ("_records", "_tree")

    def __init__(self, records: Sequence[bytes], seed: bytes) -> None:
        if len(seed) != _SEED:
            raise EntryError(EntryReason.SALT_TOO_SHORT)
        self._records = tuple(records)
        missing = padded_size(len(self._records)) - len(self._records)
        padding = shake_256(b"letterlock/v1/interval-padding\x00" + seed).digest(missing * _HASH)
        hashes = [sha256(b"\x00" + record).digest() for record in self._records]
        hashes += [padding[at : at + _HASH] for at in range(0, len(padding), _HASH)]
        self._tree = InnerTree(tuple(hashes))

    def entry(self, until_ms: int) -> Interval:
        """The entry of the interval that ends at this moment."""
        return Interval(ts=until_ms, n=self._tree.size, root=Digest(self._tree.root))

    def record(self, slot: int) -> bytes:
        """One record.

        Raises:
            EntryError: no such slot.
        """
        if not 0 <= slot < len(self._records):
            raise EntryError(EntryReason.NO_SUCH_SLOT)
        return self._records[slot]

    def inner_proof(self, slot: int) -> list[bytes]:
        """The inner path of a record.

        Raises:
            EntryError: no such slot.
        """
        self.record(slot)
        return self._tree.prove(slot)
