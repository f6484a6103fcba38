"""Opening the store: one process, the right schema, the pragmas that make deletion real, and clear errors."""

import errno
import fcntl
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Final

import apsw

from letterlock.storage.errors import StorageError, StorageReason

DATABASE: Final = "letterlock.db"
LOCK: Final = "store.lock"
BUSY_MS: Final = 2_000
"""How long a statement waits for another connection of ours; the writer's transactions are far shorter."""
READER_CACHE_KIB: Final = 4_096
WRITER_CACHE_KIB: Final = 32_768
MIGRATION_NAME: Final = re.compile(r"(\d{4})_[a-z_]+\.sql")


class StoreLock:
    """Holds the store for this process; a second one gets a clear error."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(_of_os_error(error)) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            locked = isinstance(error, BlockingIOError)
            raise StorageError(StorageReason.LOCKED if locked else StorageReason.IO_FAILED) from None

    def release(self) -> None:
        """Lets another process have the store."""
        os.close(self._file)


def _of_os_error(error: OSError) -> StorageReason:
    if error.errno == errno.ENOSPC:
        return StorageReason.DISK_FULL
    return StorageReason.IO_FAILED if error.errno == errno.EIO else StorageReason.READ_ONLY


@contextmanager
def storage_errors() -> Generator[None]:
    """Turns what SQLite raises into :class:`StorageError`; messages of SQLite go no further."""
    try:
        yield
    except apsw.FullError:
        raise StorageError(StorageReason.DISK_FULL) from None
    except (apsw.BusyError, apsw.LockedError):
        raise StorageError(StorageReason.LOCKED) from None
    except (apsw.CorruptError, apsw.NotADBError):
        raise StorageError(StorageReason.CORRUPT) from None
    except (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError):
        raise StorageError(StorageReason.READ_ONLY) from None
    except apsw.IOError:
        raise StorageError(StorageReason.IO_FAILED) from None
    except apsw.InterruptError:
        raise StorageError(StorageReason.OVERLOADED) from None
    except apsw.Error:
        raise StorageError(StorageReason.FAILED) from None


def open_writer(folder: Path) -> apsw.Connection:
    """The one connection that writes; brings the schema up to date.

    Raises:
        StorageError: newer schema, damaged file, no space, not writable.
    """
    with storage_errors():
        db = apsw.Connection(str(folder / DATABASE))
        try:
            (folder / DATABASE).chmod(0o600)
            db.set_busy_timeout(BUSY_MS)
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                "secure_delete=ON",
                "foreign_keys=ON",
                "wal_autocheckpoint=0",
                "temp_store=MEMORY",
                f"cache_size=-{WRITER_CACHE_KIB}",
                "trusted_schema=OFF",
            ):
                db.execute(f"PRAGMA {pragma}").fetchall()
            migrate(db)
        except OSError as error:
            db.close()
            raise StorageError(_of_os_error(error)) from None
        except BaseException:
            db.close()
            raise
    return db


def open_reader(folder: Path) -> apsw.Connection:
    """A connection that cannot write."""
    with storage_errors():
        db = apsw.Connection(str(folder / DATABASE), flags=apsw.SQLITE_OPEN_READONLY)
        db.set_busy_timeout(BUSY_MS)
        for pragma in ("query_only=ON", f"cache_size=-{READER_CACHE_KIB}", "trusted_schema=OFF"):
            db.execute(f"PRAGMA {pragma}").fetchall()
    return db


def migrations() -> list[tuple[int, str]]:
    """The numbered migrations, in order, without holes."""
    found = []
    for item in resources.files("letterlock.storage.sqlite.migrations").iterdir():
        if not item.name.endswith(".sql"):
            continue
        match = MIGRATION_NAME.fullmatch(item.name)
        if match is None:
            # Passed over in silence, it would be missing from every store.
            raise StorageError(StorageReason.CORRUPT)
        found.append((int(match[1]), item.read_text()))
    found.sort()
    if [number for number, _ in found] != list(range(1, len(found) + 1)):
        raise StorageError(StorageReason.CORRUPT)
    return found


def migrate(db: apsw.Connection) -> None:
    """Applies what is missing, each migration in one transaction; a newer schema is refused untouched."""
    steps = migrations()
    present = int(db.execute("PRAGMA user_version").get)
    if present > len(steps):
        raise StorageError(StorageReason.NEWER_SCHEMA, found=present, known=len(steps))
    for number, sql in steps[present:]:
        with db:
            db.execute(sql).fetchall()
            db.execute(f"PRAGMA user_version={number}").fetchall()
