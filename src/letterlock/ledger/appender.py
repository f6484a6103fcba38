"""Appending: collects the entries of one transaction, integrates them, and adopts the result once it is durable."""

from collections.abc import Sequence

from letterlock.ledger.errors import LedgerError, LedgerReason
from letterlock.ledger.ports import LedgerReads, LedgerWrites, Tx_contra
from letterlock.wire.tlog.errors import TileError, TreeError
from letterlock.wire.tlog.growth import Integration, TreeState, edge_widths, integrate
from letterlock.wire.tlog.hashes import leaf_hash, pack_peaks, unpack_peaks
from letterlock.wire.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, split_tile, tile_root


def restore_state(store: LedgerReads) -> TreeState:
    """The state of the log from its rows: at most 255 entries and 255 tiles a level are read.

    Raises:
        LedgerError: rows are missing, or do not lead to the stored head.
    """
    size, packed = store.head()
    edge: list[bytes] = []
    for level, width in enumerate(edge_widths(size)):
        first = (size >> (TILE_HEIGHT * level)) - width
        if level == 0:
            parts = [leaf_hash(entry) for entry in store.entries(first, size)]
        else:
            tiles = [store.full_tile(level - 1, first + place) for place in range(width)]
            parts = [_tile_root(data) for data in tiles if data is not None]
        if len(parts) != width:
            raise LedgerError(LedgerReason.ROWS_MISSING, size=size, level=level)
        edge.append(b"".join(parts))
    try:
        return TreeState.restore(size, unpack_peaks(packed), edge)
    except TreeError:
        raise LedgerError(LedgerReason.HEAD_DOES_NOT_FIT_ROWS, size=size) from None


def _tile_root(data: bytes) -> bytes:
    try:
        return tile_root(split_tile(data, TILE_WIDTH))
    except TileError:
        raise LedgerError(LedgerReason.HEAD_DOES_NOT_FIT_ROWS) from None


class Appender:
    """Collects the entries of one transaction at a time, for a single writer.

    ``append`` as often as needed, ``integrate`` once before the commit, then ``adopt`` after it, or ``discard``
    when the transaction is rolled back: nothing has happened then.
    """

    __slots__ = ("_entries", "_state")

    def __init__(self, state: TreeState) -> None:
        self._state = state
        self._entries: list[bytes] = []

    @property
    def state(self) -> TreeState:
        """The state after the last adopted transaction."""
        return self._state

    def append(self, entry: bytes) -> bytes:
        """Adds an entry to the transaction and gives its leaf hash."""
        self._entries.append(entry)
        return leaf_hash(entry)

    @property
    def pending(self) -> Sequence[bytes]:
        """The entries of the open transaction."""
        return self._entries

    def integrate(self) -> Integration:
        """The next state with the open transaction's entries. Pure: may be asked again.

        Raises:
            TileError: an entry is too large for the format.
        """
        return integrate(self._state, self._entries)

    def write(self, writes: LedgerWrites[Tx_contra], tx: Tx_contra) -> Integration:
        """Integrates and writes rows into the open transaction: entries, full tiles, head."""
        step = self.integrate()
        if self._entries:
            writes.put_entries(tx, step.first, self._entries)
            if step.tiles:
                writes.put_tiles(tx, step.tiles)
            writes.put_head(tx, step.state.size, pack_peaks(step.state.peaks))
        return step

    def adopt(self, step: Integration) -> None:
        """The transaction is durable: goes on from its state.

        Raises:
            ValueError: the step did not start from the present state; a second writer is at work.
        """
        if step.first != self._state.size:
            raise ValueError("the step starts from another state")
        self._state = step.state
        self._entries = []

    def discard(self) -> None:
        """The transaction was rolled back: its entries never were."""
        self._entries = []
