"""Signing heads, in the one safe order: commit, sign, keep in the store, keep in the second place, publish.

A signed head that the log cannot live up to is a fork that anybody can prove. So nothing is signed before it is
durable, and after a start nothing is signed unless the store holds everything that was ever signed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from letterlock.ledger.errors import SigningError, SigningReason
from letterlock.ledger.files import read_file, replace_file
from letterlock.ledger.ports import HeadKeeper, LedgerStore, Signer
from letterlock.ledger.serve import StoreReader
from letterlock.wire.tlog.checkpoint import Checkpoint, SignedHead, open_checkpoint
from letterlock.wire.tlog.errors import NoteError, TileError, TreeError
from letterlock.wire.tlog.hashes import EMPTY_ROOT, fold_peaks, unpack_peaks
from letterlock.wire.tlog.note import KeyType, SignatureLine, with_signatures
from letterlock.wire.tlog.proofs import prove_consistency, verify_consistency
from letterlock.wire.tlog.tiles import TileHashes
from letterlock.wire.tlog.verdict import Witnessing


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """What is shown of the log.

    Attributes:
        origin: its name.
        size: entries that are durable.
        signed_size: entries under the last signed head; -1 when nothing was signed yet.
        witnessing: ``unwitnessed`` unless a witness's signature on the last head was verified.
    """

    origin: str
    size: int
    signed_size: int
    witnessing: Witnessing


class FileHeadKeeper:
    """Keeps the last signed head in a file: written aside, synced, renamed over, directory synced."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path: Final = path

    def load(self) -> bytes | None:
        """See :class:`letterlock.ledger.ports.HeadKeeper`."""
        return read_file(self._path)

    def save(self, note: bytes) -> None:
        """See :class:`letterlock.ledger.ports.HeadKeeper`."""
        replace_file(self._path, note)


class HeadSigner:
    """Signs the log's heads. One per log; :meth:`start` first."""

    __slots__ = ("_keeper", "_last", "_signer", "_started", "_store")

    def __init__(self, store: LedgerStore, signer: Signer, keeper: HeadKeeper) -> None:
        self._store = store
        self._signer = signer
        self._keeper = keeper
        self._last: SignedHead | None = None
        self._started = False

    def start(self) -> SignedHead | None:
        """Checks the store against every head that was signed before, here and in the second place.

        Returns:
            The last signed head; None for a log that never signed.

        Raises:
            SigningError: the store is behind a signed head or contradicts it, or a kept head is not of this log.
        """
        if self._signer.verifier_key.key_type is not KeyType.ED25519:
            raise SigningError(SigningReason.SIGNER_IS_NOT_A_LOG_KEY)
        self._started = False
        notes = (self._store.last_checkpoint(), self._keeper.load())
        heads = [self._open(note) for note in notes if note is not None]
        for head in heads:
            self._holds(head.checkpoint)
        self._last = max(heads, key=lambda head: head.checkpoint.size, default=None)
        if self._last is not None:
            # A crash may have come between the two places: both get the newer head before anything else.
            self._store.save_checkpoint(self._last.checkpoint.size, self._last.note)
            self._keeper.save(self._last.note)
        self._started = True
        return self._last

    def _open(self, note: bytes) -> SignedHead:
        try:
            return open_checkpoint(note, self._signer.verifier_key)
        except NoteError:
            raise SigningError(SigningReason.KEPT_HEAD_NOT_OURS) from None

    def _holds(self, signed: Checkpoint) -> None:
        """Checks that the store's tree begins with a signed one."""
        size, packed = self._store.head()
        if size < signed.size:
            raise SigningError(SigningReason.STORE_BEHIND_SIGNED_HEAD, size=size, signed=signed.size)
        try:
            root = fold_peaks(unpack_peaks(packed))
            if signed.size:
                hashes = TileHashes(StoreReader(self._store, size), size)
                proof = prove_consistency(hashes, signed.size, size)
                verify_consistency(signed.size, size, proof, signed.root, root)
            elif signed.root != EMPTY_ROOT:
                raise SigningError(SigningReason.STORE_CONTRADICTS_SIGNED_HEAD, size=size)
        except (TreeError, TileError):
            raise SigningError(SigningReason.STORE_CONTRADICTS_SIGNED_HEAD, size=size, signed=signed.size) from None

    def sign(self) -> SignedHead:
        """Signs the store's durable head, keeps it in both places, and only then gives it out for publishing.

        The same size again gives the same head, without signing anew.

        Raises:
            SigningError: not started, the store went back, or the signer's signature does not verify.
        """
        if not self._started:
            raise SigningError(SigningReason.NOT_STARTED)
        key = self._signer.verifier_key
        size, packed = self._store.head()
        checkpoint = Checkpoint(key.name, size, fold_peaks(unpack_peaks(packed)))
        last = self._last
        if last is not None:
            if size < last.checkpoint.size:
                raise SigningError(SigningReason.STORE_BEHIND_SIGNED_HEAD, size=size, signed=last.checkpoint.size)
            if size == last.checkpoint.size:
                if checkpoint.root != last.checkpoint.root:
                    raise SigningError(SigningReason.STORE_CONTRADICTS_SIGNED_HEAD, size=size)
                return last
        text = checkpoint.text()
        note = with_signatures(text, [SignatureLine.by(key, self._signer.sign(text))])
        try:
            head = open_checkpoint(note, key)
        except NoteError:
            raise SigningError(SigningReason.SIGNER_GAVE_BAD_SIGNATURE) from None
        # The second place first: were it the other way round, a crash and an old copy of the store would let a
        # published head be forgotten.
        self._keeper.save(note)
        self._store.save_checkpoint(size, note)
        self._last = head
        return head

    @property
    def last(self) -> SignedHead | None:
        """The last signed head."""
        return self._last

    def status(self) -> LedgerStatus:
        """What is shown of the log."""
        size, _ = self._store.head()
        last = self._last
        signed = -1 if last is None else last.checkpoint.size
        seen = Witnessing.WITNESSED if last is not None and last.cosigners else Witnessing.UNWITNESSED
        return LedgerStatus(self._signer.verifier_key.name, size, signed, seen)
