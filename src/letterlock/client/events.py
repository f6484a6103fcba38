"""What a device tells its application. Events rest sealed in the inbox until the application takes them over."""

from typing import Final

import msgspec


class Received(msgspec.Struct, frozen=True, tag="received"):
    """A message whose sender's envelope was verified on this device: grade ATTESTED, checked by the device."""

    group: bytes
    message: bytes
    account: bytes
    device: bytes
    epoch: int
    accepted_ms: int
    content: bytes

    def __repr__(self) -> str:
        return f"<Received, {len(self.content)} bytes>"


class ReceiptSeen(msgspec.Struct, frozen=True, tag="receipt"):
    """A verified receipt for a message of this device. ``kind`` is ``delivered`` or ``read``."""

    group: bytes
    message: bytes
    account: bytes
    device: bytes
    kind: str


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


DeviceEvent = Received | ReceiptSeen | GroupJoined | GroupChanged | Finding

_DECODER: Final = msgspec.msgpack.Decoder(Received | ReceiptSeen | GroupJoined | GroupChanged | Finding)


def encode(event: DeviceEvent) -> bytes:
    """For the inbox."""
    return msgspec.msgpack.encode(event)


def decode(data: bytes) -> DeviceEvent:
    """From the inbox."""
    event: DeviceEvent = _DECODER.decode(data)
    return event
