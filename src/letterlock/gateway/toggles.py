"""The E2EE-first toggle of a tenant and of its conversations: flipped, looked at, and in force for the next message."""

import asyncio
from typing import ClassVar

from msgspec import Struct

from letterlock.gateway.offers import Subjects
from letterlock.gateway.policies import Policies
from letterlock.gateway.writer import Writer
from letterlock.model.clock import Clock
from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.model.ids import TenantId
from letterlock.model.toggle import Choice
from letterlock.storage.errors import CommitRefused
from letterlock.storage.sqlite.open_reads import OpenReads
from letterlock.storage.tenant_commands import CHOICES, WHOLE_TENANT, SetE2eeFirst, Toggled
from letterlock.wire.sms.address import PhoneNumber


class ToggleReason(Reason):
    """Why it is not flipped."""

    VERSION_CONFLICT = "version_conflict"
    """Somebody flipped it since the caller looked."""


class ToggleError(OperationError[ToggleReason]):
    """Nothing changed."""

    fault: ClassVar[Fault] = Fault.POLICY


class ToggleView(Struct, frozen=True):
    """What is chosen: ``e2ee_first`` or ``as_policy``; the version goes up by one with every flip, and begins at 0."""

    mode: str
    version: int


class Toggles:
    """Flips it."""

    def __init__(self, writer: Writer, reads: OpenReads, vault: Subjects, policies: Policies, clock: Clock) -> None:
        self._writer = writer
        self._reads = reads
        self._vault = vault
        self._policies = policies
        self._clock = clock

    async def look(self, tenant: int, tenant_id: TenantId, number: PhoneNumber | None) -> ToggleView:
        """What is chosen for a conversation, or for the whole tenant.

        Raises:
            StorageError, VaultError: the store or the vault failed.
        """
        return _view(await self._reads.e2ee_first(tenant, await self._subject(tenant_id, number)))

    async def choose(
        self, tenant: int, tenant_id: TenantId, number: PhoneNumber | None, choice: Choice, seen: int | None
    ) -> ToggleView:
        """Flips it; when this returns, no message is decided as before.

        Args:
            tenant: whose.
            tenant_id: the same, as ids have it.
            number: the conversation; None for all of the tenant's.
            choice: what it is to be.
            seen: the version that the caller has seen; None for whatever there is.

        Raises:
            ToggleError: VERSION_CONFLICT.
            StorageError, VaultError: the store or the vault failed; nothing changed.
        """
        subject = await self._subject(tenant_id, number)
        command = SetE2eeFirst(tenant, subject, CHOICES.index(choice), seen, self._clock.now_ms())
        try:
            done: Toggled = await self._writer.run(command, tenant=tenant)
        except CommitRefused:
            raise ToggleError(ToggleReason.VERSION_CONFLICT) from None
        self._policies.version = max(self._policies.version, done.decisions)
        return _view(done)

    async def _subject(self, tenant_id: TenantId, number: PhoneNumber | None) -> bytes:
        if number is None:
            return WHOLE_TENANT
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(None, self._vault.subject, tenant_id, number.e164().encode())
        return found.id.value


def _view(found: Toggled) -> ToggleView:
    return ToggleView(CHOICES[found.mode].value, found.version)
