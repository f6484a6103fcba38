"""The static export: a directory in the tlog-tiles layout, for mirrors, auditors and write-once media.

Files of full tiles and bundles never change. A file that is there with other bytes stops the export: either the
log or the export was tampered with. The checkpoint goes last, so that it never promises what is not there.
"""

from dataclasses import dataclass
from pathlib import Path

from letterlock.ledger.errors import LedgerError, LedgerReason
from letterlock.ledger.files import add_file, read_file, replace_file, sync_directory
from letterlock.wire.tlog.checkpoint import open_checkpoint
from letterlock.wire.tlog.note import VerifierKey
from letterlock.wire.tlog.tiles import (
    TILE_WIDTH,
    Address,
    LogReader,
    Resource,
    bundle_address,
    bundles_at,
    tile_address,
    tiles_at,
)


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did.

    Attributes:
        size: entries of the log in the directory now.
        added: files that were not there before.
    """

    size: int
    added: int


class LogDirectory:
    """An exported log as a :class:`letterlock.wire.tlog.tiles.LogReader`."""

    __slots__ = ("_root",)

    def __init__(self, root: Path) -> None:
        self._root = root

    def checkpoint(self) -> bytes | None:
        """The signed checkpoint."""
        return read_file(self._root / "checkpoint")

    def tile(self, level: int, index: int, width: int) -> bytes | None:
        """A tile's bytes; a partial one may also be read from the full one that replaced it."""
        return self._read(tile_address(level, index, width), tile_address(level, index))

    def bundle(self, index: int, width: int) -> bytes | None:
        """An entry bundle's bytes."""
        return self._read(bundle_address(index, width), bundle_address(index))

    def _read(self, wanted: Address, full: Address) -> bytes | None:
        data = read_file(self._root / wanted.path)
        if data is None and wanted.kind is Resource.TILE and wanted.width < TILE_WIDTH:
            whole = read_file(self._root / full.path)
            data = None if whole is None else whole[: 32 * wanted.width]
        return data


def export_log(reader: LogReader, log_key: VerifierKey, root: Path) -> Exported:
    """Writes the log at its signed checkpoint into a directory; what is there already is checked, not rewritten.

    Raises:
        LedgerError: nothing is signed yet, rows are missing, other bytes are there, or the directory holds a newer
            log than the reader.
        NoteError: a checkpoint, here or there, is not of this log.
        OSError: the disk is full or refuses.
    """
    note = reader.checkpoint()
    if note is None:
        raise LedgerError(LedgerReason.NOTHING_SIGNED)
    size = open_checkpoint(note, log_key).checkpoint.size
    root.mkdir(parents=True, exist_ok=True)
    found = read_file(root / "checkpoint")
    if found is not None:
        there = open_checkpoint(found, log_key).checkpoint
        if there.size > size:
            raise LedgerError(LedgerReason.EXPORT_NEWER, size=size, there=there.size)
        if there.size == size and there != open_checkpoint(note, log_key).checkpoint:
            raise LedgerError(LedgerReason.OTHER_BYTES_THERE, size=size)
    added = 0
    touched: set[Path] = set()
    for address in (*bundles_at(size), *tiles_at(size)):
        if address.kind is Resource.ENTRIES:
            data = reader.bundle(address.index, address.width)
        else:
            data = reader.tile(address.level, address.index, address.width)
        if data is None:
            raise LedgerError(LedgerReason.ROWS_MISSING, level=address.level, index=address.index)
        path = root / address.path
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.exists()
        add_file(path, data)
        if not before:
            added += 1
            while path != root and path.parent not in touched:
                path = path.parent
                touched.add(path)
    for folder in sorted(touched, reverse=True):
        sync_directory(folder)
    replace_file(root / "checkpoint", note)
    return Exported(size, added)
