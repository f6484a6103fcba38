"""What the gateway asks the writer for on its own account: purging, key generations, signed heads."""

from msgspec import Struct

from letterlock.custody.sealing import StorageKey


class Purge(Struct, frozen=True, gc=False):
    """Delete what is overdue, at most ``limit`` rows of a kind; ``shard`` says which part of the keys to look at."""

    now_ms: int
    limit: int
    shard: int


class Purged(Struct, frozen=True, gc=False):
    """How many rows went.

    Attributes:
        messages: rows of messages past their time.
        expired: messages that were given up undelivered.
        keys: memories of accepted requests.
        records: batches of ledger records.
        other: sessions, key packages, receipts without a message, challenges.
    """

    messages: int
    expired: int
    keys: int
    records: int
    other: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.messages + self.expired + self.keys + self.records + self.other


class ForgetMessage(Struct, frozen=True, gc=False):
    """Delete one readable message's row now: its tenant asks for it. Only where it has come to its end."""

    tenant: int
    message_id: bytes
    now_ms: int


class CountReferences(Struct, frozen=True, gc=False):
    """How many rows refer to each storage-key generation."""


class Rewrap(Struct, frozen=True):
    """Move rows from one generation to another, at most ``limit``."""

    source: StorageKey
    target: StorageKey
    held: bool
    limit: int


class CloseIntervals(Struct, frozen=True, gc=False):
    """Give every interval of the ledger that ended by then its entry.

    Attributes:
        until_ms: intervals that close later stay open.
        silent: an interval in which nothing was recorded has an entry too, if any tenant's messages wait for intervals.
    """

    until_ms: int
    silent: bool


class SaveCheckpoint(Struct, frozen=True, gc=False):
    """Keep a signed head."""

    size: int
    note: bytes


class IntendDestruction(Struct, frozen=True):
    """A storage key's generation is about to be destroyed. The same again is harmless."""

    generation: int


class Destroyed(Struct, frozen=True):
    """It is destroyed: ends the intent. Without an open one, nothing happens."""

    generation: int


class IntendErasure(Struct, frozen=True):
    """A subject is about to be forgotten: what waits to be sent to it ends. The same again is harmless.

    Attributes:
        erasure: 16 random bytes, the erasure's own name.
        salt: for the commitment to it.
    """

    erasure: bytes
    subject: bytes
    salt: bytes


class EndErasure(Struct, frozen=True):
    """How an erasure ended: ``rows`` identifiers are forgotten. Without an open intent, nothing happens."""

    erasure: bytes
    rows: int
    salt: bytes


class RecordEvent(Struct, frozen=True):
    """Append one ledger entry that goes with no other change."""

    entry: object
