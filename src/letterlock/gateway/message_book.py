"""What a tenant may look at and forget: its own readable messages, by id and by time. Never what they say."""

from typing import ClassVar, Final, Protocol

from letterlock.gateway.writer import Writer
from letterlock.model.capability import Channel
from letterlock.model.clock import Clock
from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.model.ids import MessageId
from letterlock.storage.codes import CHANNELS
from letterlock.storage.errors import CommitReason, CommitRefused
from letterlock.storage.maintenance_commands import ForgetMessage
from letterlock.storage.open_commands import MessageRow

READ_AT_ONCE: Final = 200
MAX_READS: Final = 20
"""Of one page: those that devices sent are passed over, and a page that finds few of others ends early."""


class BookReason(Reason):
    """Why a message was not forgotten."""

    NOT_FOUND = "not_found"
    NOT_FINAL = "not_final"
    """It is still on its way."""


class BookError(OperationError[BookReason]):
    """Nothing changed."""

    fault: ClassVar[Fault] = Fault.POLICY


class Reads(Protocol):
    """Rows of messages."""

    async def message(self, tenant: int, message_id: bytes) -> MessageRow | None:
        """A message by its external id."""
        ...

    async def messages(self, tenant: int, before: bytes | None, limit: int) -> list[MessageRow]:
        """A tenant's messages, newest first, older than the one with this id."""
        ...


class MessageBook:
    """Looks them up."""

    def __init__(self, writer: Writer, reads: Reads, clock: Clock) -> None:
        self._writer = writer
        self._reads = reads
        self._clock = clock

    async def find(self, tenant: int, message_id: MessageId) -> MessageRow | None:
        """A readable message of the tenant."""
        row = await self._reads.message(tenant, message_id.value)
        return row if row is not None and _readable(row) else None

    async def page(
        self, tenant: int, before: MessageId | None, limit: int, since_ms: int, until_ms: int
    ) -> tuple[list[MessageRow], MessageId | None]:
        """Readable messages that were accepted in ``[since_ms, until_ms)``, newest first.

        Returns:
            at most ``limit`` of them, and where to go on: None at the end.
        """
        found: list[MessageRow] = []
        at = before
        for _ in range(MAX_READS):
            rows = await self._reads.messages(tenant, None if at is None else at.value, READ_AT_ONCE)
            for row in rows:
                if row.accepted_ms < since_ms:
                    return found, None
                at = MessageId(row.id)
                if _readable(row) and row.accepted_ms < until_ms:
                    found.append(row)
                    if len(found) == limit:
                        return found, at
            if len(rows) < READ_AT_ONCE:
                return found, None
        return found, at

    async def forget(self, tenant: int, message_id: MessageId) -> None:
        """Deletes what is left of a message that has come to its end.

        Raises:
            BookError: there is none, or it is still on its way.
            StorageError: the store takes nothing now.
        """
        try:
            await self._writer.run(ForgetMessage(tenant, message_id.value, self._clock.now_ms()), tenant=tenant)
        except CommitRefused as refusal:
            missing = refusal.reason is CommitReason.NOT_FOUND
            raise BookError(BookReason.NOT_FOUND if missing else BookReason.NOT_FINAL) from None


def _readable(row: MessageRow) -> bool:
    return CHANNELS[row.channel] is not Channel.RELAY
