"""The ports of the log. Storage implements the store; custody gives the signer; the app says where heads are kept."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from letterlock.wire.tlog.growth import FullTile, Integration
from letterlock.wire.tlog.note import VerifierKey

Tx_contra = TypeVar("Tx_contra", contravariant=True)


class Signer(Protocol):
    """Holds the log's key."""

    @property
    def verifier_key(self) -> VerifierKey:
        """The public half; its name is the log's origin."""
        ...

    def sign(self, message: bytes) -> bytes:
        """An Ed25519 signature (64 bytes) over the message."""
        ...


class HeadKeeper(Protocol):
    """The second place for the last signed head, apart from the store: a file elsewhere, a witness, a register."""

    def load(self) -> bytes | None:
        """The note that was kept last; None when none ever was."""
        ...

    def save(self, note: bytes) -> None:
        """Keeps a note; durable when it returns."""
        ...


class LedgerReads(Protocol):
    """What the log needs to read from its store. All of it is committed and durable."""

    def head(self) -> tuple[int, bytes]:
        """Size and packed peaks (:func:`letterlock.wire.tlog.hashes.pack_peaks`) of the last commit."""
        ...

    def entries(self, first: int, last: int) -> Sequence[bytes]:
        """Entries ``first`` to ``last - 1`` in order; fewer when rows are missing."""
        ...

    def full_tile(self, level: int, index: int) -> bytes | None:
        """A full tile's 8,192 bytes."""
        ...

    def last_checkpoint(self) -> bytes | None:
        """The signed note of the greatest size."""
        ...


class LedgerStore(LedgerReads, Protocol):
    """The store as the signer of heads sees it."""

    def save_checkpoint(self, size: int, note: bytes) -> None:
        """Adds a signed note; durable when it returns. The same size again with the same bytes is harmless."""
        ...


class LedgerWrites(Protocol[Tx_contra]):
    """Writing, inside a transaction of the store's own. Rows are written once."""

    def put_entries(self, tx: Tx_contra, first: int, entries: Sequence[bytes]) -> None:
        """Inserts entries at their indexes."""
        ...

    def put_tiles(self, tx: Tx_contra, tiles: Sequence[FullTile]) -> None:
        """Inserts tiles that became full."""
        ...

    def put_head(self, tx: Tx_contra, size: int, peaks: bytes) -> None:
        """Replaces the head row."""
        ...


class Appends(Protocol[Tx_contra]):
    """How other rooms write to the log: inside the transaction of the state change it tells of."""

    def append(self, tx: Tx_contra, entry: bytes) -> bytes:
        """Adds an entry and gives its leaf hash. The index is known when the transaction is integrated."""
        ...

    def integrated(self, tx: Tx_contra) -> Integration:
        """Integrates what was appended in this transaction: called once, just before it commits."""
        ...
