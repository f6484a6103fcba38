"""Tenants, their API keys, and the version of the policy in force."""

from msgspec import Struct


class AddTenant(Struct, frozen=True, gc=False):
    """A new tenant; the same name again gives the one that is there."""

    id: bytes
    name: str
    profile: str
    salt: bytes
    now_ms: int


class AddApiKey(Struct, frozen=True, gc=False):
    """A new API key; only the hash of its secret is here."""

    tenant: int
    id: bytes
    secret_hash: bytes
    scopes: str
    expires_ms: int | None
    salt: bytes
    now_ms: int


class RevokeApiKey(Struct, frozen=True, gc=False):
    """An API key is worth nothing from now on."""

    tenant: int
    id: bytes
    salt: bytes
    now_ms: int


class PolicyLoaded(Struct, frozen=True, gc=False):
    """A policy was proven and comes into force; decisions made under another are stale."""

    digest: bytes
    cells: int
    now_ms: int


class TenantRow(Struct, frozen=True, gc=False):
    """A tenant."""

    no: int
    id: bytes
    name: str
    profile: str


class ApiKeyRow(Struct, frozen=True, gc=False):
    """An API key."""

    tenant: int
    id: bytes
    secret_hash: bytes
    scopes: str
    expires_ms: int | None
