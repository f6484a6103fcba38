"""The vault's store: one SQLite file of its own, never part of the state's transactions or its backups.

Deleting is not erasing: ``secure_delete=ON`` overwrites what a deletion frees, and a truncating checkpoint empties
the write-ahead log, in which the row's pages lie too. Neither reaches what was moved when a page was split: about one
erasure in a thousand leaves a piece of its look-up in the gap of an index page. So each erasure searches the file for
pieces of what it deleted, and makes the file anew where it finds one. An erasure that cannot is an error.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import apsw

from letterlock.custody.slots import open_private
from letterlock.custody.vault import Erasure, ErasureOutcome, Row, VaultError, VaultReason

SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x4C4C5654
BUSY_MS: Final = 2_000
"""How long to wait for another connection before that is an error."""
WINDOW: Final = 8
"""Bytes of a piece that is looked for: the shortest that does not stand in a file of any size by chance."""
_BLOCK: Final = 1 << 20
"""Bytes of the file that are searched at once."""

_SCHEMA: Final = """
CREATE TABLE subject (
    row INTEGER PRIMARY KEY, lookup BLOB NOT NULL UNIQUE, sealed_by INTEGER NOT NULL, sealed BLOB NOT NULL
) STRICT;
CREATE TABLE hold (lookup BLOB NOT NULL, hold BLOB NOT NULL, PRIMARY KEY (lookup, hold)) STRICT;
CREATE TABLE erasure (row INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, lookup BLOB NOT NULL) STRICT;
"""
T = TypeVar("T")


class VaultFile:
    """A :class:`~letterlock.custody.vault.VaultStore`; the vault's lock keeps it to one thread at a time."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens the vault's file, or makes it with mode 0600.

        Raises:
            VaultError: IN_USE, NEWER, STORE.
            SlotFileError: the file is open to others, another's, or not a file.
        """
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        os.close(open_private(path, os.O_RDWR))
        opened: list[apsw.Connection] = []
        try:
            connection = apsw.Connection(str(path))
            opened.append(connection)
            connection.set_busy_timeout(BUSY_MS)
            # An exclusive lock from the first access on: a second process fails here, not in the middle.
            for pragma in (
                "locking_mode=EXCLUSIVE",
                "journal_mode=WAL",
                "synchronous=FULL",
                "secure_delete=ON",
                "wal_autocheckpoint=1000",
                "temp_store=MEMORY",
                "mmap_size=0",
                "trusted_schema=OFF",
            ):
                list(connection.execute(f"PRAGMA {pragma}"))
            cls._migrate(connection)
        except apsw.BusyError:
            _close(opened)
            raise VaultError(VaultReason.IN_USE) from None
        except apsw.Error as error:
            _close(opened)
            raise VaultError(VaultReason.STORE, result=getattr(error, "extendedresult", 0)) from None
        except BaseException:
            _close(opened)
            raise
        return cls(connection)

    @staticmethod
    def _migrate(connection: apsw.Connection) -> None:
        with connection:
            version = connection.pragma("user_version")
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            elif connection.pragma("application_id") != APPLICATION_ID:
                raise VaultError(VaultReason.STORE)
            elif version != SCHEMA_VERSION:
                raise VaultError(VaultReason.NEWER, version=int(version), known=SCHEMA_VERSION)

    def find(self, lookups: Sequence[bytes]) -> dict[bytes, Row]:
        """The rows that exist, by look-up."""
        return self._do(lambda: self._find(lookups))

    def _find(self, lookups: Sequence[bytes]) -> dict[bytes, Row]:
        found: dict[bytes, Row] = {}
        for lookup in lookups:
            for sealed_by, sealed in self._query("SELECT sealed_by, sealed FROM subject WHERE lookup = ?", lookup):
                found[lookup] = Row(lookup, sealed_by, sealed)
        return found

    def insert_absent(self, rows: Sequence[Row]) -> dict[bytes, Row]:
        """Inserts those that are new; what is stored now."""

        def insert() -> dict[bytes, Row]:
            with self._db:
                self._db.executemany(
                    "INSERT INTO subject (lookup, sealed_by, sealed) VALUES (?, ?, ?) ON CONFLICT (lookup) DO NOTHING",
                    [(row.lookup, row.sealed_by, row.sealed) for row in rows],
                )
            return self._find([row.lookup for row in rows])

        return self._do(insert)

    def set_hold(self, lookup: bytes, hold: bytes) -> bool:
        """Puts a hold on a row that exists."""

        def put() -> bool:
            with self._db:
                exists = bool(self._query("SELECT 1 FROM subject WHERE lookup = ?", lookup))
                if exists:
                    self._query("INSERT INTO hold (lookup, hold) VALUES (?, ?) ON CONFLICT DO NOTHING", lookup, hold)
            return exists

        return self._do(put)

    def release_hold(self, lookup: bytes, hold: bytes) -> None:
        """Takes one hold off."""
        self._do(lambda: self._query("DELETE FROM hold WHERE lookup = ? AND hold = ?", lookup, hold))

    def held(self, lookup: bytes) -> bool:
        """Whether any hold is on the row."""
        return self._do(lambda: self._held(lookup))

    def _held(self, lookup: bytes) -> bool:
        return bool(self._query("SELECT 1 FROM hold WHERE lookup = ? LIMIT 1", lookup))

    def intend(self, erasure: Erasure) -> None:
        """Records an intended erasure."""
        statement = "INSERT INTO erasure (id, lookup) VALUES (?, ?) ON CONFLICT (id) DO NOTHING"
        self._do(lambda: self._query(statement, erasure.id, erasure.lookup))

    def intended(self) -> tuple[Erasure, ...]:
        """Recorded and not closed, oldest first."""
        rows = self._do(lambda: self._query("SELECT id, lookup FROM erasure ORDER BY row"))
        return tuple(Erasure(identity, lookup) for identity, lookup in rows)

    def erase(self, lookup: bytes) -> ErasureOutcome:
        """Deletes the row unless it is held, and leaves nothing of its content in the file.

        Raises:
            VaultError: RESIDUE if the log could not be emptied, or a piece of it is still there; the row is deleted,
                and calling again finishes.
        """

        def delete() -> tuple[bool, list[bytes]]:
            with self._db:
                held = self._held(lookup)
                sealed = [] if held else self._query("DELETE FROM subject WHERE lookup = ? RETURNING sealed", lookup)
            return held, [content for (content,) in sealed]

        held, sealed = self._do(delete)
        if held:
            return ErasureOutcome.BLOCKED_BY_HOLD
        self.truncate()
        if sealed:
            self._leave_nothing_of(sealed[0])
            return ErasureOutcome.ERASED
        # Deleted by a call that did not come to its end: what is to be looked for is not known any more.
        self._do(self._make_anew)
        self.truncate()
        return ErasureOutcome.ALREADY_ABSENT

    def close_intent(self, erasure: Erasure) -> None:
        """Removes the record of an erasure, and leaves nothing of the look-up in the file unless it is in use again.

        A process that ends between the two leaves what one in a thousand leaves: a piece of a keyed hash.

        Raises:
            VaultError: RESIDUE, as :meth:`erase`.
        """
        lookup = erasure.lookup
        self._do(lambda: self._query("DELETE FROM erasure WHERE id = ?", erasure.id))
        self.truncate()
        if not self._do(lambda: self._in_use(lookup)):
            self._leave_nothing_of(lookup)

    def _in_use(self, lookup: bytes) -> bool:
        """Whether the person came back meanwhile, or another erasure or a hold names it."""
        tables = ("subject", "erasure", "hold")
        return any(self._query(f"SELECT 1 FROM {table} WHERE lookup = ? LIMIT 1", lookup) for table in tables)  # noqa: S608 - our own names

    def _leave_nothing_of(self, secret: bytes) -> None:
        if not self._do(lambda: self._is_left(secret)):
            return
        self._do(self._make_anew)
        self.truncate()
        if self._do(lambda: self._is_left(secret)):
            raise VaultError(VaultReason.RESIDUE)

    def _is_left(self, secret: bytes) -> bool:
        """Whether a piece of it stands anywhere in the database file; the log is empty.

        Read through SQLite's own handle: to open and close the file beside it would drop this process's locks.
        """
        pieces = {secret[at : at + WINDOW] for at in range(len(secret) - WINDOW + 1)}
        [(pages,)], [(page_size,)] = self._query("PRAGMA page_count"), self._query("PRAGMA page_size")
        for at in range(0, pages * page_size, _BLOCK):
            # Longer than the step, so that a piece across two blocks is met.
            _, block = self._db.read("main", 0, at, _BLOCK + WINDOW)
            if any(piece in block for piece in pieces):
                return True
        return False

    def _make_anew(self) -> None:
        """Writes every page anew from its rows: gaps are empty then."""
        self._query("VACUUM")

    def truncate(self) -> None:
        """Brings everything into the database file and empties the write-ahead log.

        Raises:
            VaultError: RESIDUE.
        """
        [(busy, _, _)] = self._do(lambda: self._query("PRAGMA wal_checkpoint(TRUNCATE)"))
        if busy:
            raise VaultError(VaultReason.RESIDUE)

    def close(self) -> None:
        """Closes the file. Harmless when repeated."""
        self._db.close()

    def _query(self, statement: str, *values: bytes) -> list[Any]:
        return list(self._db.execute(statement, values))

    def _do(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except apsw.BusyError:
            raise VaultError(VaultReason.IN_USE) from None
        except apsw.Error as error:
            raise VaultError(VaultReason.STORE, result=getattr(error, "extendedresult", 0)) from None


def _close(opened: list[apsw.Connection]) -> None:
    for connection in opened:
        connection.close()
