"""Forgetting a person: the intent with its entry, the vault's row gone from the files, the outcome with its entry.

Every step can be the last before a crash; the next start goes on from there.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Final

from letterlock.custody.vault import Erasure, ErasureOutcome, Vault, VaultError, VaultReason
from letterlock.gateway.writer import Writer
from letterlock.model.ids import TenantId
from letterlock.storage.maintenance_commands import EndErasure, IntendErasure

SALT_BYTES: Final = 16


class Erasures:
    """Carries out erasures in the vault, and records them."""

    def __init__(self, writer: Writer, vault: Vault, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._writer = writer
        self._vault = vault
        self._entropy = entropy

    async def erase(self, tenant: TenantId, identifier: bytes) -> ErasureOutcome:
        """Forgets an identifier of a tenant, and ends what waits to be sent to it.

        Raises:
            VaultError: HELD, BAD_IDENTIFIER, or the vault failed.
            StorageError: the store failed; the next start goes on.
        """
        try:
            erasure = await asyncio.to_thread(self._vault.intend_erasure, tenant, identifier)
        except VaultError as error:
            if error.reason is VaultReason.ABSENT:
                return ErasureOutcome.ALREADY_ABSENT
            raise
        return await self._carry_out(erasure)

    async def resume(self) -> int:
        """Goes on with what a crash left open; how many there were. At start-up.

        Raises:
            As :meth:`erase`.
        """
        found = await asyncio.to_thread(self._vault.open_erasures)
        for erasure in found:
            await self._carry_out(erasure)
        return len(found)

    async def _carry_out(self, erasure: Erasure) -> ErasureOutcome:
        subject = await asyncio.to_thread(self._vault.subject_of, erasure)
        if subject is not None:
            await self._writer.run(IntendErasure(erasure.id, subject.value, self._entropy(SALT_BYTES)))
        outcome = await asyncio.to_thread(self._vault.erase, erasure)
        # An intent that is open was about a row that was there: it is gone now, by this call or by one before a crash.
        count = int(outcome is not ErasureOutcome.BLOCKED_BY_HOLD)
        await self._writer.run(EndErasure(erasure.id, count, self._entropy(SALT_BYTES)))
        await asyncio.to_thread(self._vault.close_erasure, erasure)
        return outcome
