"""What a device keeps of the messages that it sent: enough to check receipts, never a word of what they say."""

from dataclasses import dataclass
from typing import Final

import msgspec

from letterlock.assurance.receipts import NO_ERA, Receipted, ReceiptType
from letterlock.model.ids import DeviceId, MessageId
from letterlock.model.protection import EvidenceGrade, Protection, Verifier
from letterlock.wire.imdn.receipts import ClientFailure

SENT: Final = "sent"
DIGESTS: Final = "digest"
"""SHA-256 of a ciphertext to its message's id: a device that could not open it knows no other name for it."""
ROSTERS: Final = "roster"
"""Group reference and epoch to roster hash, for the epochs whose messages still open."""
REPORTS: Final = "reports"


class Decided(msgspec.Struct, frozen=True):
    """What was known when it was decided to send. Nothing that comes later changes it."""

    protection: Protection
    grade: EvidenceGrade
    verifier: Verifier


class Heard(msgspec.Struct, frozen=True):
    """What one recipient device signed about one message."""

    list_version: int
    types: list[int]
    failures: list[int] = []


class SentRecord(msgspec.Struct, frozen=True):
    """One message that was sent. ``resends`` is the id of the message that it repeats, or empty."""

    ref: bytes
    message: bytes
    sender: bytes
    group_id: bytes
    epoch: int
    ciphertext: bytes
    roster: bytes
    recipients: list[bytes]
    decided: Decided
    sent_ms: int
    resends: bytes = b""
    heard: dict[bytes, Heard] = {}

    def __repr__(self) -> str:
        return f"<SentRecord, {len(self.recipients)} recipients>"

    def receipted(self) -> Receipted:
        """The message as receipts must name it."""
        return Receipted(
            MessageId(self.message),
            DeviceId(self.sender),
            self.group_id,
            NO_ERA,
            self.epoch,
            self.ciphertext,
            self.roster,
        )


@dataclass(frozen=True, slots=True)
class MessageReceipts:
    """What recipients signed about one message: ``attested`` of ``recipients`` devices.

    Attributes:
        message: its id.
        decided: what was known when it was sent; no receipt changes it.
        recipients: the devices that it was encrypted to.
        attested: those whose signed receipt was verified on this device.
        displayed: those of them that say a person saw it.
        failed: devices that could not open it, with their last reason; none of them is attested.
    """

    message: MessageId
    decided: Decided
    recipients: frozenset[DeviceId]
    attested: frozenset[DeviceId]
    displayed: frozenset[DeviceId]
    failed: dict[DeviceId, ClientFailure]

    def grade(self, device: DeviceId) -> EvidenceGrade:
        """The grade of this message for one recipient device, checked by this device."""
        return EvidenceGrade.ATTESTED if device in self.attested else self.decided.grade

    @classmethod
    def of(cls, record: SentRecord) -> "MessageReceipts":
        """From what is kept."""
        heard = {DeviceId(device): one for device, one in record.heard.items()}
        attested = {device for device, one in heard.items() if set(one.types) - {ReceiptType.FAILED}}
        displayed = {device for device, one in heard.items() if ReceiptType.DISPLAYED in one.types}
        failed = {
            device: ClientFailure(one.failures[-1])
            for device, one in heard.items()
            if one.failures and device not in attested
        }
        return cls(
            MessageId(record.message),
            record.decided,
            frozenset(map(DeviceId, record.recipients)),
            frozenset(attested),
            frozenset(displayed),
            failed,
        )


def epoch_name(ref: bytes, epoch: int) -> bytes:
    """The name of what is kept for a group's epoch."""
    return ref + epoch.to_bytes(8)
