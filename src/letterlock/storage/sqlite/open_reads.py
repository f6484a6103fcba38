"""What readable messages, questions and answers need to read."""

from typing import Any

import apsw

from letterlock.storage.open_commands import ChallengeRow, ConsentRow, MessageRow
from letterlock.storage.sqlite.reader import Readers
from letterlock.storage.sqlite.rows import first, rows

_CHALLENGE = (
    "h.id, h.tenant, h.message, h.binding, h.nonce, h.subject, h.cause, h.from_protection, h.to_protection, h.channel,"
    " h.state, h.held, h.created_ms, h.expires_ms"
)
_MESSAGE = (
    "SELECT seq, tenant, id, state, channel, protection, grade, verifier, indicator, decision, rule, fall, pending,"
    " entry, slot, reason, accepted_ms, updated_ms, expires_ms FROM message"
)


class OpenReads:
    """Queries on the readers."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def floor(self, tenant: int, subject: bytes) -> tuple[int, int] | None:
        """A peer's recorded floor and its version."""
        return await self._readers.read(
            lambda db: first(
                db, "SELECT protection, version FROM floor WHERE tenant=? AND subject=?", (tenant, subject)
            )
        )

    async def challenge(self, tenant: int, challenge: bytes) -> ChallengeRow | None:
        """A question."""

        def work(db: apsw.Connection) -> ChallengeRow | None:
            row = first(db, f"SELECT {_CHALLENGE} FROM challenge h WHERE h.id=? AND h.tenant=?", (challenge, tenant))  # noqa: S608
            return None if row is None else ChallengeRow(*row)

        return await self._readers.read(work)

    async def consent(self, tenant: int, consent: bytes) -> ConsentRow | None:
        """A consent, with its question."""

        def work(db: apsw.Connection) -> ConsentRow | None:
            row = first(
                db,
                f"SELECT c.id, c.kind, c.state, c.expires_ms, {_CHALLENGE} FROM consent c"  # noqa: S608
                " JOIN challenge h ON h.id=c.challenge WHERE c.id=? AND c.tenant=?",
                (consent, tenant),
            )
            return None if row is None else ConsentRow(row[0], row[1], row[2], row[3], ChallengeRow(*row[4:]))

        return await self._readers.read(work)

    async def message(self, tenant: int, message_id: bytes) -> MessageRow | None:
        """A message by its external id."""

        def work(db: apsw.Connection) -> MessageRow | None:
            key = first(db, "SELECT seq FROM message_key WHERE id=? AND tenant=?", (message_id, tenant))
            row = None if key is None else first(db, f"{_MESSAGE} WHERE seq=?", (key[0],))
            return None if row is None else MessageRow(*row)

        return await self._readers.read(work)

    async def messages(self, tenant: int, before: int, limit: int) -> list[MessageRow]:
        """A tenant's messages, newest first, below a number."""

        def work(db: apsw.Connection) -> list[MessageRow]:
            found = rows(db, f"{_MESSAGE} WHERE seq<? AND tenant=? ORDER BY seq DESC LIMIT ?", (before, tenant, limit))
            return [MessageRow(*row) for row in found]

        return await self._readers.read(work)

    async def records(self, entry: int) -> tuple[bytes, ...] | None:
        """The records behind a batch entry, in slot order."""

        def work(db: apsw.Connection) -> Any:
            row = first(db, "SELECT records FROM record_batch WHERE entry=?", (entry,))
            return None if row is None else tuple(row[0].split(b"\n"))

        found: tuple[bytes, ...] | None = await self._readers.read(work)
        return found
