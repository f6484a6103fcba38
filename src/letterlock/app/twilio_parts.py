"""Making the face for software written for Twilio's API, where settings ask for it."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from letterlock.app.keys import Keys
from letterlock.app.settings import Settings, SettingsError, SettingsReason
from letterlock.faces.http.app import HotHandler
from letterlock.faces.http.credentials import Credentials
from letterlock.faces.http.routes import Route, TenantPrincipal
from letterlock.faces.http.twilio.account import Tokens
from letterlock.faces.http.twilio.face import PREFIX, TwilioFace
from letterlock.faces.http.twilio.messages import Messages
from letterlock.faces.http.twilio.native import TwilioAccountRoutes
from letterlock.faces.http.twilio.services import Service, Services
from letterlock.gateway.message_book import MessageBook
from letterlock.gateway.open_messages import OpenMessages
from letterlock.gateway.tenants import Tenants
from letterlock.model.clock import Clock
from letterlock.policy.facts import OnDowngrade, Traffic
from letterlock.storage.sqlite.committer import GroupCommitter
from letterlock.storage.sqlite.open_reads import OpenReads
from letterlock.watch.metrics import Metrics


@dataclass(frozen=True, slots=True)
class TwilioParts:
    """The face, made: its mount, and the native routes about it. Both empty where it is off."""

    mounted: Mapping[str, HotHandler]
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """Who the tenants are, as the face asks."""

    tenants: Tenants
    credentials: Credentials

    def tenant(self, secret_hash: bytes) -> TenantPrincipal | None:
        return self.credentials.tenant(secret_hash)

    def of_id(self, tenant_id: bytes) -> int | None:
        return self.tenants.number_of(tenant_id)


def open_twilio(
    settings: Settings,
    keys: Keys,
    tenants: Tenants,
    credentials: Credentials,
    sending: OpenMessages,
    committer: GroupCommitter,
    reads: OpenReads,
    clock: Clock,
    metrics: Metrics,
) -> TwilioParts:
    """Makes it.

    Raises:
        SettingsError: a service of a tenant that there is not.
    """
    wanted = settings.twilio
    if not wanted.enabled:
        return TwilioParts({}, ())
    numbers = {row.name: row.no for row in tenants.all()}
    listed: dict[int, list[Service]] = defaultdict(list)
    for one in wanted.services:
        if one.tenant not in numbers:
            raise SettingsError(SettingsReason.INVALID, "twilio.services: a service of a tenant that there is not")
        listed[numbers[one.tenant]].append(Service(one.sid, Traffic(one.traffic), OnDowngrade(one.on_downgrade)))
    tokens = Tokens(keys.derive(b"twilio account tokens"), wanted.token_generation)
    services = Services(listed)
    messages = Messages(sending, MessageBook(committer, reads, clock), services, settings.sms.sender, clock)
    face = TwilioFace(
        messages, tokens, _Known(tenants, credentials), lambda number: tenants.find(number).name, metrics.answered
    )
    return TwilioParts({PREFIX: face}, TwilioAccountRoutes(tokens, services).routes())
