"""Settings of one SMPP link. Times are milliseconds."""

import ssl
from dataclasses import dataclass, field
from enum import Enum, unique

from letterlock.wire.sms.receipts import IdForms
from letterlock.wire.sms.segmentation import DEFAULT_MAX_PARTS, MAX_PARTS, LongStyle
from letterlock.wire.sms.session import Timers

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@unique
class PlainText(Enum):
    """Where SMPP may go without TLS."""

    LOOPBACK_ONLY = "loopback_only"
    ANYWHERE = "anywhere"
    """An operator's word that something else protects the way: a tunnel or a private line."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of the message centre."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SmppConfig:
    """One link to a message centre.

    Attributes:
        endpoints: addresses of the centre, tried in turn.
        system_id: name of the account there.
        password: its password, never shown.
        system_type: what the centre wants to hear, often nothing.
        tls: with a context the link is TLS from its first octet, with the context's verification.
        plain_text: where a link without TLS is permitted.
        timers: window, answers, bind and enquiry.
        long_style: how parts of long messages are marked.
        max_parts: a longer message is refused.
        id_forms: how the centre writes message ids.
        connect_ms: time for TCP and TLS.
        reconnect_min_ms, reconnect_max_ms: the pause between attempts grows from one to the other, with jitter.
        throttle_min_ms, throttle_max_ms: the pause after THROTTLED and MSGQFUL grows likewise.
        patience_ms: how long a submit tries on under throttling before it gives up.
        max_waiting: submits that may wait for the window; more are refused.
        max_inbound: messages and receipts of the centre in our hands; more are refused, and it sends them again.

    Raises:
        ValueError: settings that contradict each other. It names the setting, never a value.
    """

    endpoints: tuple[Endpoint, ...]
    system_id: str
    password: str = field(repr=False)
    system_type: str = ""
    tls: ssl.SSLContext | None = None
    plain_text: PlainText = PlainText.LOOPBACK_ONLY
    timers: Timers = field(default_factory=Timers)
    long_style: LongStyle = LongStyle.UDH_8BIT
    max_parts: int = DEFAULT_MAX_PARTS
    id_forms: IdForms = field(default_factory=IdForms)
    connect_ms: int = 10_000
    reconnect_min_ms: int = 500
    reconnect_max_ms: int = 60_000
    throttle_min_ms: int = 100
    throttle_max_ms: int = 10_000
    patience_ms: int = 30_000
    max_waiting: int = 10_000
    max_inbound: int = 1_000

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise ValueError("endpoints: at least one address")
        if self.tls is None and self.plain_text is PlainText.LOOPBACK_ONLY:
            for endpoint in self.endpoints:
                if endpoint.host not in _LOOPBACK:
                    raise ValueError("endpoints: an address that is not loopback needs tls")
        if not 1 <= self.max_parts <= MAX_PARTS:
            raise ValueError(f"max_parts: 1 to {MAX_PARTS}")
        if not 0 < self.reconnect_min_ms <= self.reconnect_max_ms:
            raise ValueError("reconnect_min_ms: positive, and not over reconnect_max_ms")
        if not 0 < self.throttle_min_ms <= self.throttle_max_ms:
            raise ValueError("throttle_min_ms: positive, and not over throttle_max_ms")
        if min(self.connect_ms, self.max_waiting, self.max_inbound, self.timers.window) < 1 or self.patience_ms < 0:
            raise ValueError("connect_ms, max_waiting, max_inbound and window: at least 1")
