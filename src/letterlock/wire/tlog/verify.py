"""Offline verification of a whole log, of one entry's proof, and of one message's receipt.

It needs the log's public key and nothing from the gateway. What it finds is one of a closed list, with the first
bad index as exactly as the data allow: a place is exact where the signed tree still vouches for the hashes around
it, and a range where everything up to the signed root was rewritten.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from letterlock.wire.tlog.checkpoint import Checkpoint, SignedHead, open_checkpoint
from letterlock.wire.tlog.diagnosis import Damage, diagnose
from letterlock.wire.tlog.entries import Batch, Interval, decode_entry
from letterlock.wire.tlog.errors import EntryError, EntryReason, NoteError, TileError
from letterlock.wire.tlog.growth import TreeState, integrate
from letterlock.wire.tlog.hashes import EMPTY_ROOT, Frontier, leaf_hash
from letterlock.wire.tlog.note import VerifierKey
from letterlock.wire.tlog.proof_file import ProofFile
from letterlock.wire.tlog.proofs import verify_inclusion
from letterlock.wire.tlog.receipt import Receipt
from letterlock.wire.tlog.records import Record, decode_record
from letterlock.wire.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, LogReader, split_bundle, width_at
from letterlock.wire.tlog.verdict import (
    Finding,
    HeldHead,
    Schema,
    Verdict,
    finding_of_damage,
    finding_of_note,
)


def verify_log(
    reader: LogReader,
    log_key: VerifierKey,
    *,
    witnesses: Sequence[VerifierKey] = (),
    held: Sequence[HeldHead] = (),
    schema: Schema = Schema.LETTERLOCK,
) -> Verdict:
    """Verifies a log from its first byte to its signed head, and against heads held elsewhere.

    Every entry is hashed and every tile compared. Whatever bytes the reader gives, the answer is a verdict.

    Args:
        reader: an exported directory, a database or a server.
        log_key: the log's own key, from a trusted place.
        witnesses: keys of witnesses; a line of theirs must be valid, none is required here.
        held: heads kept elsewhere. One whose note the log signed shows a fork; one without shows a rewritten tail.
        schema: whether every entry must also be of the closed schema.
    """
    note = reader.checkpoint()
    if note is None:
        return Verdict(Finding.CHECKPOINT_MISSING)
    try:
        head = open_checkpoint(note, log_key, witnesses)
    except NoteError as refused:
        return Verdict(finding_of_note(refused.reason))
    size, root = head.checkpoint.size, head.checkpoint.root
    longest = max((one.size for one in held), default=0)
    if longest > size:
        return Verdict(Finding.TAIL_DROPPED, size, size + 1, head)
    walk = _Walk(reader, size, {one.size for one in held}, schema)
    if walk.intact and walk.state.root == root:
        contradicted = _against_held(head, log_key, held, walk)
        if contradicted is not None:
            return contradicted
        if walk.alien is not None:
            return Verdict(Finding.ENTRY_OUTSIDE_SCHEMA, walk.alien, walk.alien + 1, head, size)
        return Verdict(None, head=head, checked=size, kinds=dict(walk.kinds))
    return _damaged(reader, head, held, walk)


class _Walk:
    """One pass over entries and tiles, in order, up to the first thing that is not as it should be."""

    __slots__ = ("_reader", "_schema", "_size", "alien", "intact", "kinds", "roots", "state")

    def __init__(self, reader: LogReader, size: int, wanted: set[int], schema: Schema) -> None:
        self._reader = reader
        self._schema = schema
        self._size = size
        self.kinds: Counter[str] = Counter()
        self.alien: int | None = None
        """The first entry outside the schema."""
        self.state = TreeState()
        self.roots = {0: EMPTY_ROOT}
        """Roots at the sizes that were asked for, as far as the pass came."""
        self.intact = all(self._step(index, wanted) for index in range(-(-size // TILE_WIDTH))) and self._edge()

    def _step(self, index: int, wanted: set[int]) -> bool:
        width = width_at(self._size, 0, index)
        data = self._reader.bundle(index, width)
        try:
            entries = split_bundle(data, width) if data is not None else []
        except TileError:
            entries = []
        if not entries:
            return False
        before = self.state
        grown = integrate(before, entries)
        self.state = grown.state
        here = [one for one in wanted if before.size < one <= self.state.size]
        if here:
            frontier = Frontier.restore(before.size, before.peaks)
            for value in grown.leaf_hashes:
                frontier.push(value)
                if frontier.size in here:
                    self.roots[frontier.size] = frontier.root()
        if self._schema is Schema.LETTERLOCK:
            self._check_schema(before.size, entries)
        return all(self._reader.tile(tile.level, tile.index, TILE_WIDTH) == tile.data for tile in grown.tiles)

    def _edge(self) -> bool:
        return all(
            self._reader.tile(level, (self._size >> (TILE_HEIGHT * level)) // TILE_WIDTH, len(data) // 32) == data
            for level, data in enumerate(self.state.edge)
            if data
        )

    def _check_schema(self, first: int, entries: Sequence[bytes]) -> None:
        for index, entry in enumerate(entries, first):
            try:
                self.kinds[decode_entry(entry).t] += 1
            except EntryError:
                if self.alien is None:
                    self.alien = index


def _against_held(head: SignedHead, log_key: VerifierKey, held: Sequence[HeldHead], walk: _Walk) -> Verdict | None:
    """Compares a log that is sound in itself with heads held elsewhere."""
    wrong = sorted((one for one in held if walk.roots[one.size] != one.root), key=lambda one: one.size)
    if not wrong:
        return None
    first = wrong[0]
    good = max((one.size for one in held if one.size < first.size and walk.roots[one.size] == one.root), default=0)
    forked = any(_signed(one, log_key) for one in wrong)
    finding = Finding.FORKED if forked else Finding.TAIL_REWRITTEN
    return Verdict(finding, good, max(first.size, good + 1), head, walk.state.size)


def _signed(one: HeldHead, log_key: VerifierKey) -> bool:
    """Whether the log itself signed this head: then two signed histories contradict each other."""
    if one.note is None:
        return False
    try:
        checkpoint = open_checkpoint(one.note, log_key).checkpoint
    except NoteError:
        return False
    return (checkpoint.size, checkpoint.root) == (one.size, one.root)


def _damaged(reader: LogReader, head: SignedHead, held: Sequence[HeldHead], walk: _Walk) -> Verdict:
    place = diagnose(reader, head.checkpoint.size, head.checkpoint.root)
    first, before = place.first, place.before
    if place.kind is Damage.REWRITTEN:
        # The signed root no longer vouches for anything here; heads held elsewhere narrow it down.
        known = [(one.size, walk.roots[one.size] == one.root) for one in held if one.size in walk.roots]
        first = max([first, *(size for size, good in known if good and size < before)])
        before = min([before, *(size for size, good in known if not good and size > first)])
    return Verdict(finding_of_damage(place.kind), first, before, head, walk.state.size)


@dataclass(frozen=True, slots=True)
class ProvenEntry:
    """An entry that is shown to be in the log.

    Attributes:
        index: its place.
        entry: its bytes.
        head: the signed head that it was proven against.
    """

    index: int
    entry: bytes
    head: SignedHead


def verify_entry_proof(
    proof: bytes, entry: bytes, log_key: VerifierKey, witnesses: Sequence[VerifierKey] = ()
) -> ProvenEntry:
    """Checks a proof file for an entry that the caller holds.

    Raises:
        ProofFileError: the file is malformed.
        NoteError: its checkpoint is not acceptable.
        TreeError: the entry is not shown to be in the log.
    """
    parsed = ProofFile.parse(proof)
    return _prove(parsed, entry, log_key, witnesses)


def _prove(parsed: ProofFile, entry: bytes, log_key: VerifierKey, witnesses: Sequence[VerifierKey]) -> ProvenEntry:
    head = open_checkpoint(parsed.checkpoint, log_key, witnesses)
    verify_inclusion(parsed.index, head.checkpoint.size, leaf_hash(entry), parsed.path, head.checkpoint.root)
    return ProvenEntry(parsed.index, entry, head)


@dataclass(frozen=True, slots=True)
class ProvenRecord:
    """A message's record that is shown to be in the log.

    Attributes:
        record: what it says.
        slot: its place in the batch.
        batch: the batch entry.
        index: the entry's place in the log.
        head: the signed head that it was proven against.
    """

    record: Record
    slot: int
    batch: Batch | Interval
    index: int
    head: SignedHead


def verify_receipt(receipt: bytes, log_key: VerifierKey, witnesses: Sequence[VerifierKey] = ()) -> ProvenRecord:
    """Checks a receipt: the record is in the batch's tree, the batch entry is in the log, the log signed it.

    Whose message it is follows from the commitment in the record, for whoever holds the opening.

    Raises:
        ProofFileError: the receipt is malformed.
        NoteError: its checkpoint is not acceptable.
        TreeError: a path does not lead where it must.
        EntryError: the entry or the record is outside the schema, or the entry stands for no records.
    """
    parsed = Receipt.parse(receipt)
    proven = _prove(parsed.proof, parsed.entry, log_key, witnesses)
    batch = decode_entry(parsed.entry)
    if not isinstance(batch, Batch | Interval):
        raise EntryError(EntryReason.UNKNOWN_TYPE)
    verify_inclusion(parsed.slot, batch.n, leaf_hash(parsed.record), parsed.inner_path, batch.root.value)
    return ProvenRecord(decode_record(parsed.record), parsed.slot, batch, proven.index, proven.head)


def held_from_note(note: bytes, log_key: VerifierKey) -> HeldHead:
    """A held head from a note that was kept elsewhere.

    Raises:
        NoteError: it is not this log's signed checkpoint.
    """
    checkpoint: Checkpoint = open_checkpoint(note, log_key).checkpoint
    return HeldHead(checkpoint.size, checkpoint.root, note)
