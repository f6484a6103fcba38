"""Tenants, API keys and policy versions as rows."""

import apsw

from letterlock.storage.errors import CommitReason
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.state import refused
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.storage.tenant_commands import (
    AddApiKey,
    AddTenant,
    ApiKeyRow,
    PolicyLoaded,
    RevokeApiKey,
    TenantRow,
)
from letterlock.wire.tlog import entries
from letterlock.wire.tlog.commitments import CommitmentKind, Digest, commit
from letterlock.wire.tlog.words import TenantStep


def add_tenant(tx: Transaction, command: AddTenant) -> TenantRow:
    """Adds a tenant, or finds the one of that name."""
    found = first(tx.db, "SELECT no, id, name, profile FROM tenant WHERE name=?", (command.name,))
    if found is not None:
        return TenantRow(*found)
    no = rows(tx.db, "SELECT coalesce(max(no), 0) + 1 FROM tenant")[0][0]
    run(
        tx.db,
        "INSERT INTO tenant (no, id, name, profile, created_ms) VALUES (?,?,?,?,?)",
        (no, command.id, command.name, command.profile, command.now_ms),
    )
    _tell(tx, command.id, command.salt, TenantStep.CREATED, command.now_ms)
    return TenantRow(no, command.id, command.name, command.profile)


def add_api_key(tx: Transaction, command: AddApiKey) -> None:
    """Adds an API key."""
    tenant = first(tx.db, "SELECT id FROM tenant WHERE no=?", (command.tenant,))
    if tenant is None:
        raise refused(CommitReason.NOT_FOUND)
    run(
        tx.db,
        "INSERT INTO api_key (tenant, id, secret_hash, scopes, created_ms, expires_ms) VALUES (?,?,?,?,?,?)",
        (command.tenant, command.id, command.secret_hash, command.scopes, command.now_ms, command.expires_ms),
    )
    _tell(tx, tenant[0], command.salt, TenantStep.API_KEY_ADDED, command.now_ms)


def revoke_api_key(tx: Transaction, command: RevokeApiKey) -> None:
    """Ends an API key; decisions that relied on it are made again."""
    tenant = first(tx.db, "SELECT id FROM tenant WHERE no=?", (command.tenant,))
    changed = run(
        tx.db,
        "UPDATE api_key SET revoked_ms=? WHERE tenant=? AND id=? AND revoked_ms IS NULL",
        (command.now_ms, command.tenant, command.id),
    )
    if tenant is None or not changed:
        raise refused(CommitReason.NOT_FOUND)
    _tell(tx, tenant[0], command.salt, TenantStep.API_KEY_REVOKED, command.now_ms)


def policy_loaded(tx: Transaction, command: PolicyLoaded) -> int:
    """Puts a policy into force; gives its version."""
    version = tx.state.policy_version + 1
    run(tx.db, "UPDATE counter SET value=? WHERE name='policy_version'", (version,))
    tx.append(
        entries.PolicyLoaded(ts=command.now_ms, policy=Digest(command.digest), version=version, cells=command.cells)
    )

    def effect() -> None:
        tx.state.policy_version = version

    tx.then(effect)
    return version


def _tell(tx: Transaction, tenant: bytes, salt: bytes, step: TenantStep, now_ms: int) -> None:
    tx.append(entries.Tenant(ts=now_ms, tenant=commit(CommitmentKind.TENANT, salt, tenant), step=step))


def all_tenants(db: apsw.Connection) -> list[TenantRow]:
    """All tenants."""
    return [TenantRow(*row) for row in rows(db, "SELECT no, id, name, profile FROM tenant ORDER BY no")]


def live_api_keys(db: apsw.Connection) -> list[ApiKeyRow]:
    """All API keys that are not revoked."""
    found = rows(db, "SELECT tenant, id, secret_hash, scopes, expires_ms FROM api_key WHERE revoked_ms IS NULL")
    return [ApiKeyRow(*row) for row in found]
