"""The native route that says how software for Twilio's API gets in: the account's SID and token."""

import msgspec

from letterlock.faces.http.routes import Access, Answer, Call, Route
from letterlock.faces.http.twilio.account import Account, Tokens
from letterlock.faces.http.twilio.services import Services


class TwilioService(msgspec.Struct, frozen=True):
    """A messaging service of the tenant."""

    sid: str
    traffic: str
    on_downgrade: str


class TwilioAccount(msgspec.Struct, frozen=True):
    """What to give the official libraries, beside this gateway's base URL.

    Attributes:
        auth_token: a secret; it is made anew from a key each time, and written nowhere.
    """

    account_sid: str
    auth_token: str
    services: list[TwilioService]

    def __repr__(self) -> str:
        return f"<TwilioAccount {self.account_sid}>"


class TwilioAccountRoutes:
    """Serves it."""

    def __init__(self, tokens: Tokens, services: Services) -> None:
        self._tokens = tokens
        self._services = services

    def routes(self) -> tuple[Route, ...]:
        """The entries of the route table."""
        return (
            Route("GET", "/v1/twilio/account", "getTwilioAccount",
                  "The SID and token for software written for Twilio's Messages API.", Access.TENANT_ADMIN,
                  self.get, None, {200: TwilioAccount}),
        )  # fmt: skip

    async def get(self, call: Call) -> Answer:
        """GET /v1/twilio/account."""
        tenant = call.tenant
        account = Account(tenant.tenant, tenant.tenant_id)
        services = [
            TwilioService(one.sid, one.traffic.value, one.on_downgrade.value)
            for one in self._services.of(tenant.tenant, tenant.tenant_id)
        ]
        return Answer(200, TwilioAccount(account.sid, self._tokens.current(tenant.tenant_id), services))
