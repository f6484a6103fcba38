"""Who calls: HTTP Basic with an account's SID and token, or with an API key.

The token is made from a key of the key store, the tenant's id and a number that the operator raises: it is written
nowhere, can be shown again, and signs the callbacks, as software written for that API expects of one token.
"""

import hmac
from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Final, Protocol

from letterlock.faces.http.routes import TenantPrincipal
from letterlock.faces.http.twilio.errors import ErrorCode, TwilioError
from letterlock.model.ids import TenantId
from letterlock.wire.twilio.sids import Kind, parse_sid, sid

MAX_CREDENTIAL: Final = 512
TOKEN_BYTES: Final = 16
"""As long as that API's own: 32 hex digits."""
SCOPE: Final = "messages"
_BASIC: Final = b"basic "


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant as a caller of this face."""

    tenant: int
    tenant_id: TenantId

    @property
    def sid(self) -> str:
        """The account's SID."""
        return sid(Kind.ACCOUNT, self.tenant_id.value)


class Tenants(Protocol):
    """Who the tenants are, and which API keys are good."""

    def tenant(self, secret_hash: bytes) -> TenantPrincipal | None:
        """The tenant of a live API key."""
        ...

    def of_id(self, tenant_id: bytes) -> int | None:
        """The number of a tenant by its id."""
        ...


class Tokens:
    """The tokens of all accounts.

    Args:
        key: 32 bytes of the key store, for this alone.
        generation: raising it makes new tokens; those of the one before are good until it is raised again.
    """

    def __init__(self, key: bytes, generation: int) -> None:
        self._key = key
        self._generation = generation

    def __repr__(self) -> str:
        return "<Tokens>"

    def current(self, tenant: TenantId) -> str:
        """The token that callbacks are signed with."""
        return self._of(tenant, self._generation)

    def accepted(self, tenant: TenantId) -> Iterable[str]:
        """The tokens that are taken."""
        yield self._of(tenant, self._generation)
        if self._generation > 1:
            yield self._of(tenant, self._generation - 1)

    def _of(self, tenant: TenantId, generation: int) -> str:
        data = tenant.value + generation.to_bytes(4, "big")
        return blake2b(data, key=self._key, digest_size=TOKEN_BYTES, person=b"account-token").hexdigest()


def account_of(authorization: bytes | None, named: str, tokens: Tokens, tenants: Tenants) -> Account:
    """The account of a request to ``/Accounts/{named}``.

    Raises:
        TwilioError: 20003 with 401; the same for every reason, so that nobody learns which tenants there are.
    """
    user, secret = _credential(authorization)
    name = named.encode("utf-8", "replace")
    wanted = parse_sid(Kind.ACCOUNT, named)
    number = None if wanted is None else tenants.of_id(wanted)
    # The same work whoever calls: an unknown tenant has tokens too, which nobody knows.
    tenant_id = TenantId(bytes(16) if wanted is None else wanted)
    good = False
    for token in tokens.accepted(tenant_id):
        good |= hmac.compare_digest(token.encode(), secret)
    good &= user == name
    key = tenants.tenant(sha256(secret).digest())
    if key is not None and key.tenant_id == tenant_id and SCOPE in key.scopes:
        # An API key goes under the account's name or, as that API has it, under its own.
        good |= user in (name, sid(Kind.API_KEY, key.key_id).encode())
    if not good or number is None:
        raise _unauthenticated()
    return Account(number, tenant_id)


def _credential(authorization: bytes | None) -> tuple[bytes, bytes]:
    if authorization is None or len(authorization) > MAX_CREDENTIAL or authorization[:6].lower() != _BASIC:
        raise _unauthenticated()
    try:
        pair = b64decode(authorization[6:].strip(), validate=True)
    except ValueError:
        raise _unauthenticated() from None
    user, mark, secret = pair.partition(b":")
    if not mark or not user or not secret:
        raise _unauthenticated()
    return user, secret


def _unauthenticated() -> TwilioError:
    return TwilioError(
        401, ErrorCode.AUTHENTICATE, "Authenticate: the account's SID and token, or an API key of it.",
        headers=((b"www-authenticate", b'Basic realm="Letterlock"'),),
    )  # fmt: skip
