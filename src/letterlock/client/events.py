"""What a device tells its application. Events rest sealed in the inbox until the application takes them over."""

from typing import Final

import msgspec

from letterlock.client.payload import ReceivedPayload


class Received(msgspec.Struct, frozen=True, tag="received"):
    """A message whose sender's envelope was verified on this device: grade ATTESTED, checked by the device.

    ``ciphertext`` and ``roster`` are the hashes that a receipt for it names; ``relay_id`` is the relay's own name for
    it, empty where it came without a session.
    """

    group: bytes
    message: bytes
    account: bytes
    device: bytes
    epoch: int
    accepted_ms: int
    content: bytes
    ciphertext: bytes
    roster: bytes
    relay_id: bytes = b""

    def __repr__(self) -> str:
        return f"<Received, {len(self.content)} bytes>"


class PayloadReceived(msgspec.Struct, frozen=True, tag="payload"):
    """The same, where the message holds a payload; a type that this version does not know is an ``Unknown``."""

    group: bytes
    message: bytes
    account: bytes
    device: bytes
    epoch: int
    accepted_ms: int
    payload: ReceivedPayload
    ciphertext: bytes
    roster: bytes
    relay_id: bytes = b""

    def __repr__(self) -> str:
        return f"<PayloadReceived, {type(self.payload).__name__}>"


class ReceiptSeen(msgspec.Struct, frozen=True, tag="receipt"):
    """A recipient device's verified receipt: for it, the message is ATTESTED. ``kind`` is ``delivered`` or ``read``.

    ``attested`` of ``recipients`` devices have signed for this message by now.
    """

    group: bytes
    message: bytes
    account: bytes
    device: bytes
    kind: str
    attested: int
    recipients: int


class DeliveryFailed(msgspec.Struct, frozen=True, tag="failed"):
    """A recipient device's verified report that it could not open a message of this device.

    ``failure`` is a number of :class:`letterlock.wire.imdn.receipts.ClientFailure`, ``remedy`` a word of
    :class:`letterlock.assurance.remedies.Remedy`. Nothing is sent again by itself.
    """

    group: bytes
    message: bytes
    account: bytes
    device: bytes
    failure: int
    remedy: str


class GroupJoined(msgspec.Struct, frozen=True, tag="joined"):
    """A welcome was taken; every leaf of the roster is on a signed list."""

    group: bytes
    epoch: int


class GroupChanged(msgspec.Struct, frozen=True, tag="changed"):
    """A commit was applied. ``active`` is False when this device was removed."""

    group: bytes
    epoch: int
    active: bool


class Finding(msgspec.Struct, frozen=True, tag="finding"):
    """Something was refused. ``operation`` and ``reason`` are stable codes; ``stopped`` says that the group stands."""

    group: bytes
    operation: str
    reason: str
    stopped: bool


DeviceEvent = Received | PayloadReceived | ReceiptSeen | DeliveryFailed | GroupJoined | GroupChanged | Finding

_DECODER: Final = msgspec.msgpack.Decoder(
    Received | PayloadReceived | ReceiptSeen | DeliveryFailed | GroupJoined | GroupChanged | Finding
)


def encode(event: DeviceEvent) -> bytes:
    """For the inbox."""
    return msgspec.msgpack.encode(event)


def decode(data: bytes) -> DeviceEvent:
    """From the inbox."""
    event: DeviceEvent = _DECODER.decode(data)
    return event
