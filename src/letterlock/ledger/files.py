"""Durable files: written aside and synced before they get their name; the directory is synced after."""

import os
from pathlib import Path

from letterlock.ledger.errors import LedgerError, LedgerReason

_MODE = 0o644


def read_file(path: Path) -> bytes | None:
    """A file's bytes; None when it is not there.

    Raises:
        OSError: it is there and cannot be read.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def replace_file(path: Path, data: bytes) -> None:
    """Puts a file in place of another, atomically; durable when it returns.

    Raises:
        OSError: the disk is full or refuses.
    """
    aside = _write_aside(path, data)
    try:
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def add_file(path: Path, data: bytes) -> None:
    """Adds a file that never changes. It is there already with the same bytes: nothing happens.

    The name appears only when the bytes are on disk (a hard link from the synced file aside). The directory is not
    synced here: see :func:`sync_directory`.

    Raises:
        LedgerError: other bytes are there; they are left alone.
        OSError: the disk is full or refuses.
    """
    found = read_file(path)
    if found is None:
        aside = _write_aside(path, data)
        try:
            os.link(aside, path)
        except FileExistsError:
            found = path.read_bytes()
        finally:
            aside.unlink(missing_ok=True)
    if found is not None and found != data:
        raise LedgerError(LedgerReason.OTHER_BYTES_THERE)


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable.

    Raises:
        OSError: the disk refuses.
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_aside(path: Path, data: bytes) -> Path:
    aside = path.with_name(f".{path.name}.{os.getpid()}.new")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    return aside
