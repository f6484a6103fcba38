"""Shared by the tests of custody: quick key stores, ids, and rows that refer to generations."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from letterlock.custody.file_keystore import FileKeyStore
from letterlock.custody.generations import References
from letterlock.custody.sealing import StorageKey, reseal, seal_sealed, unseal_sealed
from letterlock.custody.unlocking import RootKeyFile
from letterlock.model.ids import MessageId, TenantId

TENANT = TenantId(b"t" * 16)
OTHER_TENANT = TenantId(b"u" * 16)


def keystore(folder: Path) -> FileKeyStore:
    """A new key store under a root key file."""
    return FileKeyStore.create(folder / "keys", RootKeyFile.create(folder / "root"))


def reopened(folder: Path) -> FileKeyStore:
    return FileKeyStore.open(folder / "keys", RootKeyFile(folder / "root"))


@dataclass
class MemoryRows:
    """Rows in memory that behave as the store does: each knows its generation, and may be under a hold."""

    rows: dict[MessageId, tuple[int, bool, bytes]] = field(default_factory=dict)
    batch: int = 1_000
    told: list[tuple[str, int]] = field(default_factory=list)

    def add(self, key: StorageKey, content: bytes, held: bool = False) -> MessageId:
        message = MessageId(os.urandom(16))
        self.rows[message] = (key.generation, held, seal_sealed(key, TENANT, message, content))
        return message

    def open(self, message: MessageId, keys: Mapping[int, StorageKey]) -> bytes:
        generation, _, blob = self.rows[message]
        return unseal_sealed(keys[generation], TENANT, message, blob)

    def intend_destruction(self, generation: int) -> None:
        self.told.append(("intent", generation))

    def destroyed(self, generation: int) -> None:
        self.told.append(("destroyed", generation))

    def references(self) -> Mapping[int, References]:
        counts: dict[int, References] = {}
        for generation, held, _ in self.rows.values():
            before = counts.get(generation, References())
            counts[generation] = References(before.free + (not held), before.held + held)
        return counts

    def rewrap(self, source: StorageKey, target: StorageKey, held: bool) -> int:
        chosen = [m for m, row in self.rows.items() if row[0] == source.generation and row[1] is held][: self.batch]
        for message in chosen:
            blob = reseal(source, target, TENANT, message, "sealed", self.rows[message][2])
            self.rows[message] = (target.generation, held, blob)
        return len(chosen)
