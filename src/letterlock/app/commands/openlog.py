"""Opening a log for the ``ledger`` commands: a store's, beside a running gateway, or an exported directory's."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import apsw

from letterlock.app.commands.output import wrong_usage
from letterlock.ledger.errors import LedgerError, LedgerReason
from letterlock.ledger.export import LogDirectory
from letterlock.ledger.files import read_file
from letterlock.ledger.serve import StoreReader
from letterlock.storage.errors import StorageError, StorageReason
from letterlock.storage.sqlite.connection import DATABASE, migrations, open_reader, storage_errors
from letterlock.storage.sqlite.ledger_rows import LedgerRows
from letterlock.wire.tlog.checkpoint import SignedHead, open_checkpoint, peek_checkpoint
from letterlock.wire.tlog.errors import NoteError
from letterlock.wire.tlog.hashes import Frontier, fold_peaks, leaf_hash, unpack_peaks
from letterlock.wire.tlog.note import VerifierKey
from letterlock.wire.tlog.tiles import TILE_WIDTH, LogReader
from letterlock.wire.tlog.verdict import Finding, HeldHead, Verdict
from letterlock.wire.tlog.verify import held_from_note

KEY_FILE: Final = "ledger.vkey"
HEAD_FILE: Final = "ledger-head.note"


@dataclass(frozen=True, slots=True)
class OpenLog:
    """A log that is ready to be read.

    Attributes:
        reader: its files, at the head that is in use.
        key: its public key.
        trusted: where the key comes from, in words.
        kept: the head of the second place, where there is one and it is not the head in use.
        former: heads that the store has signed since its last full tile.
        rows: the store's; None for an exported log.
    """

    reader: LogReader
    key: VerifierKey
    trusted: str
    kept: tuple[HeldHead, ...] = ()
    former: tuple[HeldHead, ...] = ()
    rows: LedgerRows | None = None

    def head(self) -> SignedHead:
        """The signed head.

        Raises:
            LedgerError: nothing was signed yet.
            NoteError: the head is not this log's.
        """
        note = self.reader.checkpoint()
        if note is None:
            raise LedgerError(LedgerReason.NOTHING_SIGNED)
        return open_checkpoint(note, self.key)


def parse_key(text: str) -> VerifierKey:
    """A key from an option: the key itself, or the path of a file that holds it."""
    path = Path(text)
    if "+" not in text and path.is_file():
        text = path.read_text()
    try:
        return VerifierKey.parse(text.strip())
    except NoteError as error:
        wrong_usage(f"--key: {error}; a key is one line, name+id+base64, or a file with that line")


def open_store(folder: Path, key: str | None, head_file: Path | None = None) -> OpenLog:
    """Opens a store's log.

    Raises:
        StorageError: the store is damaged, or of another schema.
    """
    if not (folder / DATABASE).is_file():
        wrong_usage(f"no store in {folder}; give its folder with --data, or start `letterlock serve` once")
    if key is None and not (folder / KEY_FILE).is_file():
        wrong_usage(f"no {KEY_FILE} in {folder}: give the log's key with --key")
    log_key = parse_key(key if key is not None else (folder / KEY_FILE).read_text())
    # The second place before the store: the gateway writes it first.
    kept = read_file(head_file if head_file is not None else folder / HEAD_FILE)
    db = open_reader(folder)
    with storage_errors():
        found, known = int(db.execute("PRAGMA user_version").get), len(migrations())
        if found > known:
            raise StorageError(StorageReason.NEWER_SCHEMA, found=found, known=known)
        rows = LedgerRows(db)
        note, size = rows.last_checkpoint(), rows.head()[0]
        edge = rows.edge()
        former = _former(db, _claimed(note), log_key)
    held: tuple[HeldHead, ...] = ()
    one = None if kept is None else _kept(kept, note, log_key)
    if one is not None:
        if one.size <= size and one.size > _claimed(note):
            # A crash came between the two places: what was signed last is the head.
            note = kept
        else:
            held = (one,)
    trusted = "given" if key is not None else f"{KEY_FILE} of the same folder: compare it with a copy kept elsewhere"
    return OpenLog(StoreReader(rows, _claimed(note), note, edge), log_key, trusted, held, former, rows)


def _kept(kept: bytes, note: bytes | None, log_key: VerifierKey) -> HeldHead | None:
    """The head of the second place; None where not even the store's own is of this key."""
    try:
        return held_from_note(kept, log_key)
    except NoteError:
        if note is not None:
            try:
                open_checkpoint(note, log_key)
            except NoteError:
                return None
        raise


def _former(db: apsw.Connection, size: int, log_key: VerifierKey) -> tuple[HeldHead, ...]:
    found = []
    first = size - size % TILE_WIDTH
    notes = db.execute("SELECT note FROM ledger_checkpoint WHERE size > ? AND size < ?", (first, size)).fetchall()
    for (note,) in notes:
        try:
            found.append(held_from_note(bytes(note), log_key))  # type: ignore[arg-type]  # a column of blobs
        except NoteError:
            continue
    return tuple(found)


def narrowed(log: OpenLog, verdict: Verdict) -> Verdict:
    """The same verdict with a narrower place, from what a store knows besides: its rows, and the peaks of its head.

    They count where not even the hashes of its newest entries lead to the signed head: somebody changed these too.
    """
    if log.rows is None or verdict.finding is None or verdict.head is None or verdict.first_bad is None:
        return verdict
    exact = verdict.bad_before == verdict.first_bad + 1
    size = verdict.head.checkpoint.size
    gap = _first_gap(log.rows, size)
    loose = not exact or verdict.finding is Finding.DATA_MISSING or (gap is not None and gap <= verdict.first_bad)
    if gap is not None and loose and verdict.finding is not Finding.TAIL_DROPPED:
        return replace(verdict, finding=Finding.DATA_MISSING, first_bad=gap, bad_before=gap + 1)
    stored, packed = log.rows.head()
    peaks = unpack_peaks(packed)
    if exact or stored != size or fold_peaks(peaks) != verdict.head.checkpoint.root:
        return verdict
    # The peaks lead to the signed root, so each of them vouches for its own range of entries.
    at = 0
    for peak, height in zip(peaks, [h for h in reversed(range(64)) if size >> h & 1], strict=True):
        end = at + (1 << height)
        if _root(log.rows, at, end) != peak:
            first, before = max(at, verdict.first_bad), min(end, verdict.bad_before or end)
            return replace(verdict, first_bad=first, bad_before=before) if first < before else verdict
        at = end
    return verdict


def _first_gap(rows: LedgerRows, size: int) -> int | None:
    for first in range(0, size, TILE_WIDTH):
        last = min(size, first + TILE_WIDTH)
        if len(rows.entries(first, last)) != last - first:
            return next(index for index in range(first, last) if not rows.entries(index, index + 1))
    return None


def _root(rows: LedgerRows, first: int, last: int) -> bytes:
    frontier = Frontier()
    for start in range(first, last, TILE_WIDTH):
        for entry in rows.entries(start, min(last, start + TILE_WIDTH)):
            frontier.push(leaf_hash(entry))
    return frontier.root()


def open_directory(root: Path, key: str | None) -> OpenLog:
    """Opens an exported log."""
    if key is None:
        wrong_usage("an exported log needs --key, from a place you trust")
    return OpenLog(LogDirectory(root), parse_key(key), "given")


def _claimed(note: bytes | None) -> int:
    if note is None:
        return 0
    try:
        return peek_checkpoint(note).size
    except NoteError:
        return 0
