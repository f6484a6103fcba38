"""Receipts on a device: made for what it received, and checked for what it sent."""

import hashlib
from collections.abc import Callable
from typing import Final, final

import msgspec

from letterlock.assurance import receipts
from letterlock.assurance.device_list import Device as ListedDevice
from letterlock.assurance.envelope import Envelope, EnvelopeError, EnvelopeReason
from letterlock.assurance.receipts import Receipt, Receipted, ReceiptError, ReceiptReason, ReceiptType
from letterlock.assurance.remedies import remedy
from letterlock.client import events
from letterlock.client.directory import Directory
from letterlock.client.errors import DeviceError, DeviceReason, EngineError, EngineReason
from letterlock.client.floors import DeviceFloors, Put
from letterlock.client.keys import DeviceKeys
from letterlock.client.sent import DIGESTS, SENT, Heard, MessageReceipts, SentRecord
from letterlock.model.errors import OperationError
from letterlock.wire.imdn.receipts import ClientFailure

MAX_REPORTS: Final = 16
"""Failures that a device reports for one group and epoch: who can inject junk must not make it talk without end."""
MAX_FAILURES: Final = 5
"""Failures of one device that are kept for one message (RCC.16: at most five reports a message)."""
Get = Callable[[str, bytes], bytes | None]
"""Reads an entry of the store, with whatever the running step is about to write."""

_REPORTED: Final = {
    EngineReason.REFUSED: ClientFailure.FAILED_TO_DECRYPT,
    EnvelopeReason.SENDER_NOT_LISTED: ClientFailure.INVALID_CREDENTIAL,
    EnvelopeReason.SENDER_MISMATCH: ClientFailure.INVALID_CREDENTIAL,
    EnvelopeReason.BAD_SIGNATURE: ClientFailure.INVALID_CREDENTIAL,
}
"""What is told to the sender. Nothing else: a replay or a malformed envelope is no sender's business."""


def digest(ciphertext: bytes) -> bytes:
    """SHA-256 of an MLSMessage as it travelled."""
    return hashlib.sha256(ciphertext).digest()


def reportable(error: OperationError) -> ClientFailure | None:  # type: ignore[type-arg]
    """The RCC.16 reason for a message that could not be taken, or None where nothing is told."""
    return _REPORTED.get(error.reason) if isinstance(error, EngineError | EnvelopeError) else None


@final
class ReceiptBook:
    """Makes and checks receipts; what it returns, the caller stores in its own durable step."""

    def __init__(self, keys: DeviceKeys, directory: Directory, floors: DeviceFloors) -> None:
        self._keys: Final = keys
        self._directory: Final = directory
        self._floors: Final = floors

    def made(self, kind: ReceiptType, about: Receipted, failure: ClientFailure | None = None) -> bytes:
        """A signed receipt, to go into an envelope.

        Raises:
            DeviceError: NOT_ENROLLED: no list of this device's own account.
        """
        mine = self._keys
        head = self._directory.head(mine.account_id)
        if head is None:
            raise DeviceError(DeviceReason.NOT_ENROLLED)
        receipt = Receipt(kind, about, failure, mine.account_id, mine.device_id, head.version, head.digest())
        return receipts.sign_receipt(receipt, mine.tenant_id, mine.environment, mine.envelope_key()).encode()

    def taken(
        self, group: bytes, content: Envelope, entry: ListedDevice, get: Get
    ) -> tuple[tuple[Put, ...], events.DeviceEvent] | None:
        """What a receipt that came in a verified envelope means; None when it is about another device's message.

        Args:
            group: reference of the group that it came through.
            content: the envelope.
            entry: its sender's entry on the verified list.
            get: reads the store.

        Raises:
            ReceiptError: it proves nothing; see :class:`letterlock.assurance.receipts.ReceiptReason`.
        """
        signed = receipts.parse(content.body)
        receipt = signed.content
        failed = receipt.kind is ReceiptType.FAILED
        if not failed and receipt.about.sender != self._keys.device_id:
            return None
        if (receipt.account, receipt.device) != (content.account, content.device):
            raise ReceiptError(ReceiptReason.OTHER_DEVICE)
        message = get(DIGESTS, receipt.about.ciphertext) if failed else receipt.about.message.value
        if message is None:
            return None
        data = get(SENT, message)
        if data is None:
            raise ReceiptError(ReceiptReason.UNKNOWN_MESSAGE)
        record = msgspec.msgpack.decode(data, type=SentRecord)
        before = MessageReceipts.of(record)
        mine = self._keys
        receipts.check(signed, record.receipted(), before.recipients, entry, mine.tenant_id, mine.environment)
        after = self._noted(record, receipt)
        put: tuple[Put, ...] = ((SENT, message, msgspec.msgpack.encode(after)),)
        account, device = content.account.value, content.device.value
        if receipt.failure is not None:
            told = events.DeliveryFailed(
                group, message, account, device, int(receipt.failure), remedy(receipt.failure).value
            )
            return put, told
        shown = MessageReceipts.of(after)
        kind = "delivered" if receipt.kind is ReceiptType.DELIVERED else "read"
        seen = events.ReceiptSeen(group, message, account, device, kind, len(shown.attested), len(shown.recipients))
        # Evidence about this message; for what is sent next, the floor may rise.
        return put + self._floors.after_message(content.account), seen

    def _noted(self, record: SentRecord, receipt: Receipt) -> SentRecord:
        held = record.heard.get(receipt.device.value, Heard(receipt.list_version, []))
        if receipt.failure is not None:
            if held.types and set(held.types) != {ReceiptType.FAILED}:
                raise ReceiptError(ReceiptReason.CONTRADICTS)
            if receipt.failure in held.failures or len(held.failures) >= MAX_FAILURES:
                raise ReceiptError(ReceiptReason.REPLAYED)
        elif receipt.kind in held.types:
            raise ReceiptError(ReceiptReason.REPLAYED)
        failures = held.failures if receipt.failure is None else [*held.failures, int(receipt.failure)]
        noted = Heard(receipt.list_version, sorted({*held.types, int(receipt.kind)}), failures)
        return msgspec.structs.replace(record, heard={**record.heard, receipt.device.value: noted})
