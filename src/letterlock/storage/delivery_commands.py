"""What the writer is asked for delivery tokens, and for messages that come with one. Plain data."""

from msgspec import Struct

from letterlock.storage.commands import Relied, Shown


class AddTokens(Struct, frozen=True):
    """A device will take a message from whoever shows a token of one of these hashes.

    Attributes:
        most: how many of the device may be live.
    """

    tenant: int
    caller: int
    hashes: tuple[bytes, ...]
    expires_ms: int
    most: int


class TokensLive(Struct, frozen=True):
    """How many are live now, those of before among them."""

    live: int


class RevokeTokens(Struct, frozen=True):
    """These are worth nothing any more; harmless where they are not there."""

    tenant: int
    caller: int
    hashes: tuple[bytes, ...]


class PurgeTokens(Struct, frozen=True):
    """Remove those whose time is over."""

    now_ms: int


class AcceptDelivery(Struct, frozen=True):
    """A message that came with a token: the token is spent and the message accepted, or neither."""

    tenant: int
    mailbox: int
    token_hash: bytes
    message_id: bytes
    request_mac: bytes
    kind: int
    sealed: bytes
    generation: int
    size_bucket: int
    shown: Shown
    relied: Relied
    now_ms: int
    expires_ms: int


class TokenRow(Struct, frozen=True):
    """Where a live token leads."""

    tenant: int
    tenant_id: bytes
    mailbox: int


class SpentRow(Struct, frozen=True):
    """What is remembered of a message that came with a token which is spent."""

    request_mac: bytes
    record_hash: bytes
