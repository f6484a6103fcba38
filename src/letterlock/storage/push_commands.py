"""What the writer is asked for push subscriptions. Plain data; addresses and keys are sealed before they come here."""

from msgspec import Struct


class PutSubscription(Struct, frozen=True):
    """A device wants to be woken there, and nowhere else any more. The same again prolongs it."""

    tenant: int
    caller: int
    endpoint_mac: bytes
    sealed: bytes
    generation: int
    expires_ms: int


class DropSubscription(Struct, frozen=True):
    """It is over. With a hash, only if it is still the one of this address. Harmless where there is none."""

    mailbox: int
    endpoint_mac: bytes | None = None


class PurgeSubscriptions(Struct, frozen=True):
    """Remove those that were not confirmed in time."""

    now_ms: int


class SubscriptionRow(Struct, frozen=True):
    """One subscription, sealed, and what its seal is bound to."""

    tenant_id: bytes
    device: bytes
    endpoint_mac: bytes
    sealed: bytes
    generation: int
    waiting: bool
    """Whether the mailbox holds anything."""
