"""The device's durable state: one SQLite file, every value sealed under the client key, every change one transaction.

What belongs together is written together: the mailbox cursor with the MLS state that the mailbox items led to and
the messages that came out ("applied once"), the outbox entry with the MLS state that encrypted it ("persist before
send"). ``state_counter`` grows by one with each change; an old copy of the file is thereby found out (A18).
WAL with synchronous=FULL: a commit that returned survives a power cut. Freed pages are overwritten
(secure_delete), and the log is truncated when the store opens and closes; between, it may hold older sealed pages.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import apsw

from letterlock.client.engine import StateChanges
from letterlock.client.errors import StoreError, StoreReason
from letterlock.client.sealing import ClientKey

SCHEMA_VERSION: Final = 1
_APPLICATION_ID: Final = 0x4C4C4456  # "LLDV"
_SCHEMA: Final = """
CREATE TABLE numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (place TEXT NOT NULL, name BLOB NOT NULL, sealed BLOB NOT NULL,
                      PRIMARY KEY (place, name)) WITHOUT ROWID;
CREATE TABLE outbox (position INTEGER PRIMARY KEY AUTOINCREMENT, sealed BLOB NOT NULL);
CREATE TABLE inbox (position INTEGER PRIMARY KEY AUTOINCREMENT, sealed BLOB NOT NULL);
INSERT INTO numbers VALUES ('state_counter', 0), ('cursor', 0);
"""
_ENGINE: Final = "engine"
_CHECK: Final = "check"


@dataclass(frozen=True, slots=True)
class Change:
    """One durable step. Everything in it happens, or nothing.

    Attributes:
        engine: what the MLS engine reported as changed.
        put: ``(place, name, content)`` entries to write.
        gone: ``(place, name)`` entries to delete.
        outbox: entries to append, in order.
        sent: positions of the outbox that are done.
        inbox: entries to append, in order.
        taken: positions of the inbox that the application has taken over.
        cursor: the last mailbox sequence that this state includes.
    """

    engine: StateChanges = field(default_factory=lambda: StateChanges((), ()))
    put: tuple[tuple[str, bytes, bytes], ...] = field(default=(), repr=False)
    gone: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    outbox: tuple[bytes, ...] = field(default=(), repr=False)
    sent: tuple[int, ...] = ()
    inbox: tuple[bytes, ...] = field(default=(), repr=False)
    taken: tuple[int, ...] = ()
    cursor: int | None = None


@final
class DeviceStore:
    """Opens or makes the file. One process at a time.

    Args:
        path: the file; its folder exists.
        key: the client key.

    Raises:
        StoreError: IN_USE, NEWER_SCHEMA, NOT_A_STORE, WRONG_KEY, READ_ONLY, FULL, IO.
    """

    def __init__(self, path: Path, key: ClientKey) -> None:
        self._key: Final = key
        self._db: apsw.Connection | None = None
        try:
            db = apsw.Connection(str(path))
            self._db = db
            _prepare(db)
            self._check_key()
        except apsw.Error as error:
            self._abandon()
            raise _translated(error) from None
        except StoreError:
            self._abandon()
            raise

    @property
    def state_counter(self) -> int:
        """How many durable changes there were."""
        return self._number("state_counter")

    @property
    def cursor(self) -> int:
        """The last mailbox sequence that the state includes."""
        return self._number("cursor")

    def get(self, place: str, name: bytes) -> bytes | None:
        """One entry."""
        row = self._rows("SELECT sealed FROM entries WHERE place = ? AND name = ?", (place, self._name(place, name)))
        return _split(self._key.open(place, self._name(place, name), row[0][0]))[1] if row else None

    def entries(self, place: str) -> dict[bytes, bytes]:
        """All entries of a place, by name."""
        rows = self._rows("SELECT name, sealed FROM entries WHERE place = ?", (place,))
        return dict(_split(self._key.open(place, hidden, sealed)) for hidden, sealed in rows)

    def engine_parts(self) -> dict[str, bytes]:
        """The MLS engine's state."""
        return {name.decode(): content for name, content in self.entries(_ENGINE).items()}

    def outbox(self) -> list[tuple[int, bytes]]:
        """What waits to be sent, in order, by position."""
        return self._queue("outbox")

    def inbox(self) -> list[tuple[int, bytes]]:
        """What the application has not taken over yet, in order, by position."""
        return self._queue("inbox")

    def commit(self, change: Change) -> tuple[list[int], list[int]]:
        """Makes one change durable; when it returns, it survives a power cut.

        Returns:
            the positions of the new outbox entries and of the new inbox entries.

        Raises:
            StoreError: CURSOR_BACK, FULL, IO, READ_ONLY, CLOSED; nothing was changed.
        """
        db = self._connection()
        try:
            db.execute("BEGIN IMMEDIATE")
            done = self._apply(db, change)
            db.execute("COMMIT")
        except BaseException as error:
            # A full disk may have rolled back already (SQLite documents this for SQLITE_FULL).
            if db.in_transaction:
                db.execute("ROLLBACK")
            if isinstance(error, apsw.Error):
                raise _translated(error) from None
            raise
        return done

    def count(self) -> int:
        """One more durable change without content: before a login. Returns the new counter."""
        self.commit(Change())
        return self.state_counter

    def close(self) -> None:
        """Truncates the log and closes. Harmless when repeated."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(apsw.Error):
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.close()

    # -- inside ---------------------------------------------------------------------------------------------------

    def _apply(self, db: apsw.Connection, change: Change) -> tuple[list[int], list[int]]:
        if change.cursor is not None:
            if change.cursor < self.cursor:
                raise StoreError(StoreReason.CURSOR_BACK, held=self.cursor, shown=change.cursor)
            db.execute("UPDATE numbers SET value = ? WHERE name = 'cursor'", (change.cursor,))
        put = [(_ENGINE, name.encode(), content) for name, content in change.engine.put]
        gone = [(_ENGINE, name.encode()) for name in change.engine.gone]
        db.executemany("DELETE FROM entries WHERE place = ? AND name = ?", self._named([*gone, *change.gone]))
        db.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", self._sealed([*put, *change.put]))
        db.executemany("DELETE FROM outbox WHERE position = ?", [(position,) for position in change.sent])
        db.executemany("DELETE FROM inbox WHERE position = ?", [(position,) for position in change.taken])
        outbox = [self._append(db, "outbox", content) for content in change.outbox]
        inbox = [self._append(db, "inbox", content) for content in change.inbox]
        db.execute("UPDATE numbers SET value = value + 1 WHERE name = 'state_counter'")
        return outbox, inbox

    def _append(self, db: apsw.Connection, table: str, content: bytes) -> int:
        sealed = self._key.seal(table, b"", content)
        db.execute(f"INSERT INTO {table} (sealed) VALUES (?)", (sealed,))  # noqa: S608 - our own two names
        return db.last_insert_rowid()

    def _named(self, names: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        return [(place, self._name(place, name)) for place, name in names]

    def _sealed(self, entries: Iterable[tuple[str, bytes, bytes]]) -> list[tuple[str, bytes, bytes]]:
        rows = []
        for place, name, content in entries:
            hidden = self._name(place, name)
            rows.append((place, hidden, self._key.seal(place, hidden, len(name).to_bytes(2) + name + content)))
        return rows

    def _queue(self, table: str) -> list[tuple[int, bytes]]:
        rows = self._rows(f"SELECT position, sealed FROM {table} ORDER BY position", ())  # noqa: S608 - our own names
        return [(position, self._key.open(table, b"", sealed)) for position, sealed in rows]

    def _name(self, place: str, name: bytes) -> bytes:
        return self._key.pseudonym(place, name)

    def _number(self, name: str) -> int:
        return int(self._rows("SELECT value FROM numbers WHERE name = ?", (name,))[0][0])

    def _rows(self, query: str, arguments: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            return list(self._connection().execute(query, arguments))
        except apsw.Error as error:
            raise _translated(error) from None

    def _connection(self) -> apsw.Connection:
        if self._db is None:
            raise StoreError(StoreReason.CLOSED)
        return self._db

    def _check_key(self) -> None:
        """A wrong key is found out at once, not at the first message."""
        if self.get(_CHECK, b"key") is None:
            if self.state_counter:
                raise StoreError(StoreReason.WRONG_KEY)
            self.commit(Change(put=((_CHECK, b"key", b"ok"),)))

    def _abandon(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()


def _prepare(db: apsw.Connection) -> None:
    db.set_busy_timeout(0)
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    version = db.pragma("user_version")
    if version > SCHEMA_VERSION:
        raise StoreError(StoreReason.NEWER_SCHEMA, held=version, known=SCHEMA_VERSION)
    if version and db.pragma("application_id") != _APPLICATION_ID:
        raise StoreError(StoreReason.NOT_A_STORE)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA secure_delete = ON")
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("BEGIN IMMEDIATE")
    try:
        if version == 0:
            if list(db.execute("SELECT 1 FROM sqlite_master LIMIT 1")):
                raise StoreError(StoreReason.NOT_A_STORE)
            db.execute(_SCHEMA)
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _split(content: bytes) -> tuple[bytes, bytes]:
    end = 2 + int.from_bytes(content[:2])
    return content[2:end], content[end:]


def _translated(error: apsw.Error) -> StoreError:
    """The text of SQLite's errors is dropped: it may hold a path or a value."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return StoreError(reason)
    return StoreError(StoreReason.IO)


_REASONS: Final[tuple[tuple[type[apsw.Error], StoreReason], ...]] = (
    (apsw.BusyError, StoreReason.IN_USE),
    (apsw.LockedError, StoreReason.IN_USE),
    (apsw.NotADBError, StoreReason.NOT_A_STORE),
    (apsw.CorruptError, StoreReason.NOT_A_STORE),
    (apsw.FullError, StoreReason.FULL),
    (apsw.ReadOnlyError, StoreReason.READ_ONLY),
    (apsw.CantOpenError, StoreReason.IO),
)
