"""The credentials that are good now: sessions of devices from the relay, API keys from the tenants."""

from letterlock.faces.http.routes import DevicePrincipal, TenantPrincipal
from letterlock.gateway.tenants import Tenants
from letterlock.model.ids import DeviceId, TenantId
from letterlock.relay.directory import SessionDirectory


class Credentials:
    """Implements :class:`letterlock.faces.http.auth.Sessions`."""

    def __init__(self, sessions: SessionDirectory, tenants: Tenants) -> None:
        self._sessions = sessions
        self._tenants = tenants

    def device(self, token_hash: bytes) -> DevicePrincipal | None:
        """The device of a live session."""
        row = self._sessions.find(token_hash)
        if row is None:
            return None
        return DevicePrincipal(
            row.tenant,
            TenantId(row.tenant_id),
            row.mailbox,
            DeviceId(row.device),
            row.account,
            row.expires_ms,
            token_hash,
        )

    def tenant(self, secret_hash: bytes) -> TenantPrincipal | None:
        """The tenant of a live API key."""
        found = self._tenants.key(secret_hash)
        if found is None:
            return None
        key, tenant = found
        return TenantPrincipal(tenant.no, TenantId(tenant.id), key.id, frozenset(key.scopes.split(",")))
