"""Tenants, their API keys, and the version of the policy in force."""

from typing import Final

from msgspec import Struct

from letterlock.model.toggle import Choice


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


CHOICES: Final = tuple(Choice)
"""As rows number them: only ever growing at the end."""
WHOLE_TENANT: Final = b""
"""In the place of a peer: all of a tenant's conversations."""


class SetE2eeFirst(Struct, frozen=True, gc=False):
    """Flips the E2EE-first toggle of a peer, or of :data:`WHOLE_TENANT`; ``seen`` is a version that it must have."""

    tenant: int
    subject: bytes
    mode: int
    seen: int | None
    now_ms: int


class Toggled(Struct, frozen=True, gc=False):
    """What is chosen now; ``decisions`` is the version of policy from which on it is in force, 0 where only read."""

    mode: int
    version: int
    decisions: int


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
