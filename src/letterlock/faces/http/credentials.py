"""The credentials that are good now: sessions of devices from the relay, API keys from the tenants."""

from typing import Final

from letterlock.faces.http.routes import DevicePrincipal, TenantPrincipal
from letterlock.gateway.tenants import Tenants
from letterlock.model.ids import DeviceId, TenantId
from letterlock.relay.directory import SessionDirectory
from letterlock.storage.relay_rows import SessionRow

MAX_PRINCIPALS: Final = 100_000
"""Made once a session, because making one costs as much as parsing a message."""


class Credentials:
    """Implements :class:`letterlock.faces.http.auth.Sessions`."""

    def __init__(self, sessions: SessionDirectory, tenants: Tenants) -> None:
        self._sessions = sessions
        self._tenants = tenants
        self._principals: dict[bytes, tuple[SessionRow, DevicePrincipal]] = {}

    def device(self, token_hash: bytes) -> DevicePrincipal | None:
        """The device of a live session."""
        row = self._sessions.find(token_hash)
        if row is None:
            self._principals.pop(token_hash, None)
            return None
        found = self._principals.get(token_hash)
        if found is not None and found[0] is row:
            return found[1]
        principal = DevicePrincipal(
            row.tenant,
            TenantId(row.tenant_id),
            row.mailbox,
            DeviceId(row.device),
            row.account,
            row.expires_ms,
            token_hash,
        )
        if len(self._principals) >= MAX_PRINCIPALS:
            self._principals.clear()
        self._principals[token_hash] = (row, principal)
        return principal

    def tenant(self, secret_hash: bytes) -> TenantPrincipal | None:
        """The tenant of a live API key."""
        found = self._tenants.key(secret_hash)
        if found is None:
            return None
        key, tenant = found
        return TenantPrincipal(tenant.no, TenantId(tenant.id), key.id, frozenset(key.scopes.split(",")))
