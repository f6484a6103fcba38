"""Reading the log out of its store: the files of the static layout, and proofs."""

from collections.abc import Sequence

from letterlock.ledger.errors import LedgerError, LedgerReason
from letterlock.ledger.ports import LedgerReads
from letterlock.wire.tlog.checkpoint import SignedHead
from letterlock.wire.tlog.entries import Interval, decode_entry
from letterlock.wire.tlog.errors import TileError, TreeError
from letterlock.wire.tlog.hashes import HASH_SIZE, leaf_hash
from letterlock.wire.tlog.intervals import IntervalRecords
from letterlock.wire.tlog.proof_file import ProofFile
from letterlock.wire.tlog.proofs import prove_consistency, prove_inclusion
from letterlock.wire.tlog.receipt import Receipt
from letterlock.wire.tlog.records import BatchBuilder
from letterlock.wire.tlog.tiles import (
    TILE_WIDTH,
    TileHashes,
    encode_bundle,
    split_tile,
    tile_root,
    width_at,
)


class StoreReader:
    """A store as a :class:`letterlock.wire.tlog.tiles.LogReader`, at one size of the log.

    Full tiles come from their rows, partial ones are computed from at most 255 entries or tiles.

    Args:
        store: its rows.
        size: of the log.
        note: the signed head.
        edge: a first index and the leaf hashes from there on, to be believed as a stored tile is; empty for none.
    """

    __slots__ = ("_edge", "_note", "_size", "_store")

    def __init__(
        self, store: LedgerReads, size: int, note: bytes | None = None, edge: tuple[int, bytes] = (0, b"")
    ) -> None:
        self._edge = edge
        self._store = store
        self._size = size
        self._note = note

    def checkpoint(self) -> bytes | None:
        """The signed note that it was made with."""
        return self._note

    def tile(self, level: int, index: int, width: int) -> bytes | None:
        """A tile's bytes; None when the log, at this size, does not hold all of its hashes."""
        if not 0 < width <= width_at(self._size, level, index):
            return None
        full = self._store.full_tile(level, index)
        if full is not None:
            return full[: 32 * width]
        if width == TILE_WIDTH:
            return None
        first = index * TILE_WIDTH
        first_of_edge, hashes = self._edge
        if level == 0 and first == first_of_edge and len(hashes) >= HASH_SIZE * width:
            return hashes[: HASH_SIZE * width]
        if level == 0:
            parts = [leaf_hash(entry) for entry in self._store.entries(first, first + width)]
        else:
            tiles = [self._store.full_tile(level - 1, first + place) for place in range(width)]
            try:
                parts = [tile_root(split_tile(data, TILE_WIDTH)) for data in tiles if data is not None]
            except TileError:
                return None
        return b"".join(parts) if len(parts) == width else None

    def bundle(self, index: int, width: int) -> bytes | None:
        """An entry bundle's bytes."""
        if not 0 < width <= width_at(self._size, 0, index):
            return None
        entries = self._store.entries(index * TILE_WIDTH, index * TILE_WIDTH + width)
        return encode_bundle(entries) if len(entries) == width else None


class Prover:
    """Makes proofs from a store, against one signed head."""

    __slots__ = ("_hashes", "_head", "_store")

    def __init__(self, store: LedgerReads, head: SignedHead) -> None:
        self._store = store
        self._head = head
        size = head.checkpoint.size
        self._hashes = TileHashes(StoreReader(store, size, head.note), size)

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """The inclusion path of an entry, at the head's size or an older one.

        Raises:
            LedgerError: no such entry under that size, the size is above the head's, or rows are missing.
        """
        wanted = self._head.checkpoint.size if size is None else size
        if not 0 <= index < wanted <= self._head.checkpoint.size:
            raise LedgerError(LedgerReason.NOT_YET_SIGNED, index=index, size=wanted)
        try:
            return prove_inclusion(self._hashes, index, wanted)
        except (TreeError, TileError):
            raise LedgerError(LedgerReason.ROWS_MISSING, index=index) from None

    def consistency(self, older: int, newer: int | None = None) -> list[bytes]:
        """The proof that the log at ``newer`` (the head's size by default) begins with the log at ``older``.

        Raises:
            LedgerError: the sizes do not fit, or rows are missing.
        """
        wanted = self._head.checkpoint.size if newer is None else newer
        if not 0 <= older <= wanted <= self._head.checkpoint.size:
            raise LedgerError(LedgerReason.NOT_YET_SIGNED, older=older, newer=wanted)
        try:
            return prove_consistency(self._hashes, older, wanted)
        except (TreeError, TileError):
            raise LedgerError(LedgerReason.ROWS_MISSING, older=older) from None

    def proof_file(self, index: int, extra: bytes | None = None) -> ProofFile:
        """An entry's proof with the head's note.

        Raises:
            LedgerError: see :meth:`inclusion`.
        """
        return ProofFile(index, tuple(self.inclusion(index)), self._head.note, extra)

    def entry(self, index: int) -> bytes:
        """An entry's bytes.

        Raises:
            LedgerError: ROWS_MISSING.
        """
        rows = self._store.entries(index, index + 1)
        if not rows:
            raise LedgerError(LedgerReason.ROWS_MISSING, index=index)
        return rows[0]

    def receipt(self, index: int, records: Sequence[bytes], slot: int, seed: bytes = b"") -> Receipt:
        """The receipt of one record of a batch or interval entry.

        Args:
            index: the entry's.
            records: all of the entry's, in slot order.
            slot: the record's place among them.
            seed: what an interval's padding follows from; a batch needs none.

        Raises:
            LedgerError: see :meth:`inclusion`; or the entry's row is missing.
            EntryError: no such slot; an interval without its seed.
        """
        proof = self.proof_file(index)
        entry = self.entry(index)
        made: BatchBuilder | IntervalRecords
        if isinstance(decode_entry(entry), Interval):
            made = IntervalRecords(records, seed)
        else:
            made = BatchBuilder()
            for record in records:
                made.add(record)
        return Receipt(proof, entry, made.record(slot), slot, tuple(made.inner_proof(slot)))
