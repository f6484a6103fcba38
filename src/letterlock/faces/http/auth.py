"""Who is calling: API keys of tenants and sessions of devices, both looked up by hash and never stored in clear.

Both secrets have 256 random bits, so a plain SHA-256 is enough, and a look-up by hash leaks nothing by its time.
"""

from hashlib import sha256
from typing import Final, Protocol

from letterlock.faces.http.problems import Code, Problem
from letterlock.faces.http.routes import Access, DevicePrincipal, Principal, TenantPrincipal

BEARER: Final = b"Bearer "
MAX_TOKEN: Final = 256

_DEVICE: Final = frozenset({Access.DEVICE, Access.DEVICE_OR_DEVICES_KEY, Access.DEVICE_OR_MESSAGES_KEY})
_SCOPE: Final = {
    Access.TENANT_MESSAGES: "messages",
    Access.TENANT_MESSAGES_OR_READ: "messages",
    Access.TENANT_DEVICES: "devices",
    Access.TENANT_READ: "read",
    Access.TENANT_ADMIN: "admin",
    Access.DEVICE_OR_DEVICES_KEY: "devices",
    Access.DEVICE_OR_MESSAGES_KEY: "messages",
}


class Sessions(Protocol):
    """Who holds which credential."""

    def device(self, token_hash: bytes) -> DevicePrincipal | None:
        """The device of a live session."""
        ...

    def tenant(self, secret_hash: bytes) -> TenantPrincipal | None:
        """The tenant of a live API key."""
        ...


def authenticate(sessions: Sessions, authorization: bytes | None) -> Principal:
    """Who the header field says it is; None where there is none.

    Raises:
        Problem: there is one, and it is nobody's.
    """
    if authorization is None:
        return None
    if not authorization.startswith(BEARER) or len(authorization) > MAX_TOKEN:
        raise Problem(Code.UNAUTHENTICATED, detail="Send 'Authorization: Bearer <API key or session token>'.")
    hashed = sha256(authorization[len(BEARER) :]).digest()
    principal = sessions.device(hashed) or sessions.tenant(hashed)
    if principal is None:
        raise Problem(Code.UNAUTHENTICATED, detail="This key or session is unknown, expired or revoked.")
    return principal


def authorise(principal: Principal, access: Access) -> None:
    """Whether this caller may use routes of this access.

    Raises:
        Problem: 401 without a credential, 403 with the wrong one.
    """
    if access is Access.PUBLIC:
        return
    if principal is None:
        raise Problem(Code.UNAUTHENTICATED, detail="This call needs 'Authorization: Bearer ...'.")
    if isinstance(principal, DevicePrincipal):
        if access not in _DEVICE:
            raise Problem(Code.SCOPE_MISSING, detail="This call is for API keys, not for device sessions.")
        return
    scope = _SCOPE.get(access)
    if scope is None:
        raise Problem(Code.SCOPE_MISSING, detail="This call is for device sessions, not for API keys.")
    if access is Access.TENANT_MESSAGES_OR_READ and "read" in principal.scopes:
        return
    if scope not in principal.scopes:
        raise Problem(
            Code.SCOPE_MISSING, detail="The API key lacks the scope that this call needs.", members={"scope": scope}
        )
