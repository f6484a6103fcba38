"""Messaging services: what their messages are, and what happens where one could go only less protected."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from letterlock.model.ids import ID_BYTES, TenantId
from letterlock.policy.facts import OnDowngrade, Traffic
from letterlock.wire.twilio.sids import Kind, parse_sid, sid

_OF_EVERY_TENANT: Final = b"letterlock messaging service of a tenant\0"


@dataclass(frozen=True, slots=True)
class Service:
    """One of them: the wishes with which policy is asked."""

    sid: str
    traffic: Traffic
    on_downgrade: OnDowngrade


class Services:
    """The services of each tenant, by tenant number. Each tenant has one without any setting: the strictest."""

    def __init__(self, listed: Mapping[int, Iterable[Service]]) -> None:
        self._listed = {tenant: {service.sid: service for service in services} for tenant, services in listed.items()}

    def find(self, tenant: int, tenant_id: TenantId, named: str | None) -> Service | None:
        """The service of this SID; without a SID the tenant's own. None where the tenant has no such service."""
        own = default_service(tenant_id)
        if named is None or named == own.sid:
            return own
        if parse_sid(Kind.SERVICE, named) is None:
            return None
        return self._listed.get(tenant, {}).get(named)

    def of(self, tenant: int, tenant_id: TenantId) -> tuple[Service, ...]:
        """All services of a tenant; first its own."""
        return (default_service(tenant_id), *self._listed.get(tenant, {}).values())


def default_service(tenant: TenantId) -> Service:
    """The service that a tenant has without any setting: a conversation, and a question before a step down."""
    value = sha256(_OF_EVERY_TENANT + tenant.value).digest()[:ID_BYTES]
    return Service(sid(Kind.SERVICE, value), Traffic.CONVERSATION, OnDowngrade.ASK)
