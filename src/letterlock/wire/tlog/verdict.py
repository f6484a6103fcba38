"""What verification of a log can say: the closed list of findings, and the verdict."""

from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Final

from letterlock.wire.tlog.checkpoint import SignedHead
from letterlock.wire.tlog.diagnosis import Damage
from letterlock.wire.tlog.errors import NoteReason


@unique
class Gravity(StrEnum):
    """What a finding means for whoever asked; the command line turns it into an exit status."""

    CANNOT_VERIFY = "cannot_verify"
    TAMPERED = "tampered"
    FORKED_OR_ROLLED_BACK = "forked_or_rolled_back"


@unique
class Finding(StrEnum):
    """What is wrong with a log: the closed list."""

    CHECKPOINT_MISSING = "checkpoint_missing"
    CHECKPOINT_MALFORMED = "checkpoint_malformed"
    BAD_SIGNATURE = "bad_signature"
    NOT_SIGNED_BY_LOG = "not_signed_by_log"
    OTHER_LOG = "other_log"
    DATA_MISSING = "data_missing"
    DATA_MALFORMED = "data_malformed"
    ENTRY_CHANGED = "entry_changed"
    ENTRIES_REORDERED = "entries_reordered"
    TILE_CHANGED = "tile_changed"
    TAIL_REWRITTEN = "tail_rewritten"
    TAIL_DROPPED = "tail_dropped"
    FORKED = "forked"
    ENTRY_OUTSIDE_SCHEMA = "entry_outside_schema"

    @property
    def gravity(self) -> Gravity:
        """What it means."""
        return _GRAVITY.get(self, Gravity.TAMPERED)


_GRAVITY: Final[dict[Finding, Gravity]] = {
    Finding.CHECKPOINT_MISSING: Gravity.CANNOT_VERIFY,
    Finding.DATA_MISSING: Gravity.CANNOT_VERIFY,
    Finding.TAIL_DROPPED: Gravity.FORKED_OR_ROLLED_BACK,
    Finding.FORKED: Gravity.FORKED_OR_ROLLED_BACK,
}
_DAMAGE: Final[dict[Damage, Finding]] = {
    Damage.MISSING: Finding.DATA_MISSING,
    Damage.MALFORMED: Finding.DATA_MALFORMED,
    Damage.CHANGED: Finding.ENTRY_CHANGED,
    Damage.REORDERED: Finding.ENTRIES_REORDERED,
    Damage.TILE: Finding.TILE_CHANGED,
    Damage.REWRITTEN: Finding.TAIL_REWRITTEN,
}
_NOTE: Final[dict[NoteReason, Finding]] = {
    NoteReason.INVALID_SIGNATURE: Finding.BAD_SIGNATURE,
    NoteReason.LOG_SIGNATURE_MISSING: Finding.NOT_SIGNED_BY_LOG,
    NoteReason.NOT_A_LOG_KEY: Finding.NOT_SIGNED_BY_LOG,
    NoteReason.WRONG_ORIGIN: Finding.OTHER_LOG,
}


def finding_of_damage(kind: Damage) -> Finding:
    """The finding for a kind of damage."""
    return _DAMAGE[kind]


def finding_of_note(reason: NoteReason) -> Finding:
    """The finding for a checkpoint that was refused."""
    return _NOTE.get(reason, Finding.CHECKPOINT_MALFORMED)


@unique
class Witnessing(StrEnum):
    """Whether anybody else vouches for a head."""

    UNWITNESSED = "unwitnessed"
    """Nobody: going back is noticed only against a head held elsewhere."""
    WITNESSED = "witnessed"


@unique
class Schema(StrEnum):
    """Whether entries must also be of our closed schema."""

    LETTERLOCK = "letterlock"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class HeldHead:
    """A head that somebody kept elsewhere: a size and a root, and the signed note if they have it."""

    size: int
    root: bytes
    note: bytes | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verification of a log gave.

    Attributes:
        finding: what is wrong; None when nothing is.
        first_bad: the index of the first entry that cannot be trusted; None when nothing is wrong, or when the
            checkpoint itself is bad and no entry can be named.
        bad_before: the first bad entry lies below this index; ``first_bad + 1`` where the place is exact.
        head: the signed head, where its signature holds.
        checked: how many entries were hashed and found in order.
        kinds: how many entries of each type, when nothing is wrong and the schema was checked.
    """

    finding: Finding | None
    first_bad: int | None = None
    bad_before: int | None = None
    head: SignedHead | None = None
    checked: int = 0
    kinds: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def witnessing(self) -> Witnessing:
        """Whether a known witness signed the head as well."""
        return Witnessing.WITNESSED if self.head and self.head.cosigners else Witnessing.UNWITNESSED
