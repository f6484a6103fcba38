"""Making the way in for messages without a session: its use case and its routes."""

from collections.abc import Callable

from letterlock.app.relay_parts import Schedule
from letterlock.assurance.assess import Path
from letterlock.custody.message_ids import MessageIds
from letterlock.custody.sealing import StorageKey
from letterlock.faces.http.deliveries import delivery_routes
from letterlock.faces.http.routes import Route
from letterlock.gateway.deliveries import Deliveries
from letterlock.gateway.hub import Hub
from letterlock.gateway.sealed_policy import PolicyInForce
from letterlock.model.clock import Clock
from letterlock.relay.ports import Committer
from letterlock.storage.sqlite.delivery_reads import DeliveryReads
from letterlock.storage.sqlite.reader import Readers


def open_deliveries(
    path: Path,
    policy: PolicyInForce,
    readers: Readers,
    committer: Committer,
    hub: Hub,
    storage_key: Callable[[], StorageKey],
    clock: Clock,
    id_key: bytes,
    add: Schedule,
    purge_every_s: float,
) -> tuple[Route, ...]:
    """Makes it; its periodic work is named to ``add``."""
    deliveries = Deliveries(
        path, policy, DeliveryReads(readers), committer, hub, storage_key, clock, MessageIds(id_key), id_key
    )
    add("delivery_tokens", purge_every_s, deliveries.purge)
    return delivery_routes(deliveries)
