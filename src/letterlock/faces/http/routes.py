"""The route table: validation, authorisation, OpenAPI and the tests' enumeration all come from it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Any, Final

import msgspec

from letterlock.model.ids import DeviceId, TenantId

DEFAULT_BODY: Final = 64 << 10
"""Bytes a request body may have unless its route says otherwise."""


@unique
class Access(Enum):
    """Who may call a route."""

    PUBLIC = "public"
    """Anybody."""
    TENANT_MESSAGES = "messages"
    """An API key with the scope ``messages``."""
    TENANT_DEVICES = "devices"
    """An API key with the scope ``devices``."""
    TENANT_READ = "read"
    """An API key with the scope ``read``."""
    TENANT_MESSAGES_OR_READ = "messages_or_read"
    """An API key with the scope ``messages`` or ``read``."""
    TENANT_ADMIN = "admin"
    """An API key with the scope ``admin``: settings of the tenant."""
    DEVICE = "device"
    """A device with a session."""
    DEVICE_OR_DEVICES_KEY = "device_or_devices"
    """A device with a session, or an API key with the scope ``devices``."""
    DEVICE_OR_MESSAGES_KEY = "device_or_messages"
    """A device with a session, or an API key with the scope ``messages``."""


@dataclass(frozen=True, slots=True)
class TenantPrincipal:
    """A caller with an API key."""

    tenant: int
    tenant_id: TenantId
    key_id: bytes
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class DevicePrincipal:
    """A device with a session. ``version`` is the revocation version that the session was checked at."""

    tenant: int
    tenant_id: TenantId
    mailbox: int
    device_id: DeviceId
    account: bytes
    expires_ms: int
    token_hash: bytes


Principal = TenantPrincipal | DevicePrincipal | None


@dataclass(frozen=True, slots=True)
class Call:
    """One request: authenticated, authorised, validated."""

    principal: Principal
    path: dict[str, str]
    query: dict[str, str]
    body: Any
    headers: dict[bytes, bytes]

    @property
    def tenant(self) -> TenantPrincipal:
        """The tenant's principal; the route's access has made sure of it."""
        assert isinstance(self.principal, TenantPrincipal)
        return self.principal

    @property
    def device(self) -> DevicePrincipal:
        """The device's principal; the route's access has made sure of it."""
        assert isinstance(self.principal, DevicePrincipal)
        return self.principal


class Answer(msgspec.Struct, frozen=True):
    """What a handler gives: a status and a struct, or raw bytes with their media type."""

    status: int
    body: msgspec.Struct | bytes | None = None
    media_type: str = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def __repr__(self) -> str:
        return f"<Answer {self.status}>"


@dataclass(frozen=True, slots=True)
class Streaming:
    """What a handler gives for an answer without an end: chunks, until there are no more or the caller has gone.

    A generator that is slow to be read is slow to be asked: nothing is queued between it and the connection.
    """

    chunks: AsyncGenerator[bytes]
    media_type: str


Handler = Callable[[Call], Awaitable[Answer | Streaming]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter."""

    name: str
    summary: str
    schema: dict[str, Any]
    required: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API.

    Attributes:
        path: with parameters in braces, for example ``/v1/messages/{message_id}``.
        request: the struct that the JSON body must be; None where there is no body.
        answers: status to struct (or None) of what succeeds.
        problems: status to codes of what may be refused, beyond what holds for every route.
    """

    method: str
    path: str
    operation: str
    summary: str
    access: Access
    handler: Handler
    request: type[msgspec.Struct] | None = None
    answers: Mapping[int, type[msgspec.Struct] | None] = field(default_factory=dict)
    problems: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    query: tuple[Parameter, ...] = ()
    max_body: int = DEFAULT_BODY
    media_type: str = "application/json"
