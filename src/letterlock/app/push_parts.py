"""Making push: its key, its driver, its use case, and the routes that lead to it."""

import os
from collections.abc import Awaitable, Callable
from typing import Final

from letterlock.app.keys import Keys
from letterlock.app.relay_parts import Schedule
from letterlock.app.settings import PushSettings
from letterlock.faces.http.push import push_routes
from letterlock.faces.http.routes import Route
from letterlock.gateway.hub import Hub
from letterlock.model.clock import Clock
from letterlock.relay.ports import Committer
from letterlock.relay.push import Push, PushReads
from letterlock.transports.push.web import WebPushSender
from letterlock.watch.metrics import Metrics
from letterlock.wire.webpush import HostList, private_key, public_bytes

_LABELS: Final = (b"push vapid 1", b"push vapid 2")
"""The VAPID key comes from the key store, so that it lives as long as the subscriptions that were made with it."""


async def open_push(
    settings: PushSettings,
    committer: Committer,
    reads: PushReads,
    keys: Keys,
    hub: Hub,
    clock: Clock,
    metrics: Metrics,
    add: Schedule,
    purge_every_s: float,
    closers: list[Callable[[], Awaitable[None] | None]],
) -> tuple[Route, ...]:
    """Makes it, and starts it where the settings list a push service."""
    hosts = HostList(settings.hosts)
    vapid_key = private_key(b"".join(keys.derive(label) for label in _LABELS))
    sender = WebPushSender(vapid_key, hosts, settings.subject, clock)
    closers.append(sender.close)
    push = Push(
        committer,
        reads,
        keys.storage,
        keys.derive(b"push endpoints"),
        hosts,
        sender,
        hub.connected,
        clock,
        os.urandom,
        lambda result: metrics.pushed(result.value),
    )
    add("push_subscriptions", purge_every_s, push.purge)
    if hosts:
        hub.absent = push.absent
        closers.append(push.stop)
        await push.start()
    return push_routes(push, public_bytes(vapid_key))
