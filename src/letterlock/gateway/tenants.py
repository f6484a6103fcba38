"""Tenants and their API keys, in memory as the store says; a revoked key is dead at once."""

import os
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Final

from letterlock.gateway.writer import Writer
from letterlock.model.clock import Clock
from letterlock.model.ids import ApiKeyId, TenantId
from letterlock.storage.tenant_commands import AddApiKey, AddTenant, ApiKeyRow, RevokeApiKey, TenantRow

SCOPES: Final = ("messages", "devices", "read", "admin")
KEY_PREFIX: Final = "ll_"
SECRET_BYTES: Final = 32
SALT_BYTES: Final = 16


class Tenants:
    """Who the tenants are, and which API keys are good.

    Args:
        writer: the writer's queue.
        clock: wall time.
        tenants: those of the store.
        keys: the keys of the store that are not revoked.
        adopt: gives a new tenant the policy of its profile; None where nothing is decided.
        entropy: for ids, secrets and salts.
    """

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        tenants: list[TenantRow],
        keys: list[ApiKeyRow],
        adopt: Callable[[TenantRow], Awaitable[None]] | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._adopt = adopt
        self._entropy = entropy
        self._tenants = {row.no: row for row in tenants}
        self._keys = {row.secret_hash: row for row in keys}

    def all(self) -> tuple[TenantRow, ...]:
        """All tenants."""
        return tuple(self._tenants.values())

    def find(self, number: int) -> TenantRow:
        """A tenant by its number.

        Raises:
            KeyError: there is none.
        """
        return self._tenants[number]

    def number_of(self, tenant_id: bytes) -> int | None:
        """The number of the tenant with this id."""
        return next((row.no for row in self._tenants.values() if row.id == tenant_id), None)

    def key(self, secret_hash: bytes) -> tuple[ApiKeyRow, TenantRow] | None:
        """The live API key with this hash of its secret, and its tenant."""
        row = self._keys.get(secret_hash)
        if row is None or (row.expires_ms is not None and row.expires_ms <= self._clock.now_ms()):
            return None
        return row, self._tenants[row.tenant]

    async def add(self, name: str, profile: str) -> TenantRow:
        """Adds a tenant, or finds the one of that name."""
        command = AddTenant(self._entropy(16), name, profile, self._entropy(SALT_BYTES), self._clock.now_ms())
        row: TenantRow = await self._writer.run(command)
        if self._adopt is not None:
            # Before it has a key: nothing is ever decided for it under another policy.
            await self._adopt(row)
        self._tenants[row.no] = row
        return row

    async def add_key(
        self, tenant: int, scopes: tuple[str, ...] = SCOPES, expires_ms: int | None = None
    ) -> tuple[ApiKeyId, str]:
        """Makes an API key; the secret is in the answer and nowhere else."""
        secret = KEY_PREFIX + self._entropy(SECRET_BYTES).hex()
        key_id = ApiKeyId(self._entropy(16))
        row = ApiKeyRow(tenant, key_id.value, sha256(secret.encode()).digest(), ",".join(scopes), expires_ms)
        await self._writer.run(
            AddApiKey(
                tenant, row.id, row.secret_hash, row.scopes, expires_ms, self._entropy(SALT_BYTES),
                self._clock.now_ms(),
            )
        )  # fmt: skip
        self._keys[row.secret_hash] = row
        return key_id, secret

    async def revoke_key(self, tenant: int, key_id: ApiKeyId) -> None:
        """Ends an API key.

        Raises:
            CommitRefused: there is no live key of this id.
        """
        for hashed, row in list(self._keys.items()):
            if row.id == key_id.value and row.tenant == tenant:
                # Dead here before the store knows: there is no moment in which it is neither.
                del self._keys[hashed]
        await self._writer.run(RevokeApiKey(tenant, key_id.value, self._entropy(SALT_BYTES), self._clock.now_ms()))

    def tenant_id(self, number: int) -> TenantId:
        """A tenant's external id."""
        return TenantId(self._tenants[number].id)
