"""At a start: what was intended outside the database before a crash is gone on with, and its outcome recorded."""

import asyncio
from typing import Final

import structlog

from letterlock.app.keys import Keys
from letterlock.custody.storage_keys import StorageKeyError
from letterlock.gateway.erasures import Erasures
from letterlock.gateway.maintenance import GenerationRows
from letterlock.model.clock import Clock
from letterlock.storage.sqlite.committer import GroupCommitter
from letterlock.storage.sqlite.intent_ops import open_destructions
from letterlock.storage.sqlite.reader import Readers

_log: Final = structlog.get_logger("letterlock.app")


async def resume_intents(committer: GroupCommitter, readers: Readers, keys: Keys, clock: Clock) -> int:
    """Goes on with every open intent; returns how many there were.

    Raises:
        StorageError, VaultError, SlotFileError: the store or the vault failed.
    """
    loop = asyncio.get_running_loop()
    rows = GenerationRows(committer, loop)
    destructions = readers.read_now(open_destructions)
    for generation in destructions:
        try:
            await loop.run_in_executor(None, keys.storage.resume_destruction, generation, clock.now_ms(), rows)
        except StorageKeyError as error:
            # Rows have come to it that must be moved first: maintenance does so, and destroys it then.
            _log.warning("destruction_not_resumed", reason=error.reason.value)
    return len(destructions) + await Erasures(committer, keys.vault).resume()
