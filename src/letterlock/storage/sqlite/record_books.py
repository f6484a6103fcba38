"""Where records go: under the batch entry of their commit, or into an interval, where they wait for its entry."""

from dataclasses import dataclass, field
from typing import Final

from letterlock.wire.tlog.commitments import MIN_SALT, record_salts
from letterlock.wire.tlog.hashes import leaf_hash
from letterlock.wire.tlog.records import BatchBuilder

SALTS_AT_ONCE: Final = 64
THIS_COMMIT: Final = -1
"""In a message's row, until its commit is about to end: the entry of this very commit."""


def place_of(interval: int) -> int:
    """What a message's row says instead of an entry when its record goes with an interval."""
    return -2 - interval


def interval_of(place: int) -> int | None:
    """The interval that a message's row names; None where it names an entry."""
    return -2 - place if place < THIS_COMMIT else None


class Salts:
    """The salts of records' commitments, in slot order; they can be derived again while the seed's row lives."""

    __slots__ = ("_made", "_seed")

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._made = b""

    def of(self, slot: int) -> bytes:
        """The salt of one slot."""
        at = slot * MIN_SALT
        if at >= len(self._made):
            self._made = record_salts(self._seed, 2 * slot + SALTS_AT_ONCE)
        return self._made[at : at + MIN_SALT]


class CommitBook:
    """The records of one commit, for its batch entry."""

    __slots__ = ("_salts", "batch")

    place: Final = THIS_COMMIT
    """What a message's row says of where its record is."""

    def __init__(self, seed: bytes) -> None:
        self.batch = BatchBuilder()
        self._salts = Salts(seed)

    def salt(self) -> bytes:
        """The salt of the next record's commitments."""
        return self._salts.of(len(self.batch))

    def add(self, record: bytes) -> tuple[int, bytes]:
        """Adds a record; gives its slot and leaf hash.

        Raises:
            EntryError: the batch is full.
        """
        return self.batch.add(record)


@dataclass(slots=True)
class IntervalBook:
    """The records of an open interval: how many have rows, and those of this commit that have none yet.

    Attributes:
        no: the interval's number; none has it again.
        until_ms: when it closes.
        rows: its records that have rows.
        kept: whether the interval itself has a row.
        unsaved: records of the open transaction, in slot order.
    """

    no: int
    seed: bytes = field(repr=False)
    until_ms: int
    rows: int = 0
    kept: bool = False
    unsaved: list[bytes] = field(default_factory=list, repr=False)
    _salts: Salts = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._salts = Salts(self.seed)

    @property
    def place(self) -> int:
        """What a message's row says of where its record is."""
        return place_of(self.no)

    def __len__(self) -> int:
        return self.rows + len(self.unsaved)

    def salt(self) -> bytes:
        """The salt of the next record's commitments."""
        return self._salts.of(len(self))

    def add(self, record: bytes) -> tuple[int, bytes]:
        """Adds a record; gives its slot and leaf hash."""
        self.unsaved.append(record)
        return len(self) - 1, leaf_hash(record)


Book = CommitBook | IntervalBook
