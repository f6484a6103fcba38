"""What this server concludes from a device's signed receipt. Pure.

The server knows a message by its group, epoch and the digest of its bytes, which it kept under a key; it never sees
the id inside the envelope. A device that sent the message compares that too (:mod:`letterlock.client.receipts`), so a
device's own verdict says more, and only that one may be shown as "verified".
"""

from collections.abc import Iterable
from typing import Final

from letterlock.assurance.device_list import Device, DeviceListError, parse_signed
from letterlock.assurance.receipts import (
    Receipted,
    ReceiptError,
    ReceiptReason,
    ReceiptType,
    SignedReceipt,
    check,
)
from letterlock.custody.request_macs import sealed_mac
from letterlock.model.ids import DeviceId, TenantId
from letterlock.storage.receipt_commands import ReceiptVerdict, Signatory, WaitingReceipt

NEARBY_EPOCHS: Final = 8
"""How far from the epoch that a receipt names its message is looked for, to say which of the two is wrong."""
POSITIVE: Final = frozenset({ReceiptType.DELIVERED, ReceiptType.DISPLAYED})


def judge(
    row: WaitingReceipt, signed: SignedReceipt, who: Signatory | None, key: bytes, environment: str
) -> ReceiptVerdict:
    """The verdict on one receipt.

    Args:
        row: the receipt's row, and what its message was.
        signed: the receipt, read.
        who: the device that it names, as the store has it; None where there is none.
        key: of the digests of requests.
        environment: the installation's name, as it stands in signatures.
    """
    receipt = signed.content
    if who is None:
        return ReceiptVerdict(row.no, ReceiptReason.OTHER_DEVICE.value)
    try:
        _require(row, signed, who, key, environment)
    except ReceiptError as error:
        return ReceiptVerdict(row.no, error.reason.value, who.account)
    assert who.roster is not None, "a receipt without a roster to compare with does not hold"
    return ReceiptVerdict(
        row.no, "", who.account, who.mailbox, int(receipt.kind), max(1, who.roster[1] - 1), who.head[0]
    )


def _require(row: WaitingReceipt, signed: SignedReceipt, who: Signatory, key: bytes, environment: str) -> None:
    """Raises ReceiptError: the first thing that does not fit."""
    receipt, about = signed.content, signed.content.about
    if receipt.kind not in POSITIVE:
        raise ReceiptError(ReceiptReason.NOT_POSITIVE)
    if who.account != receipt.account.value or (row.handed_by and row.handed_by != who.mailbox):
        raise ReceiptError(ReceiptReason.OTHER_DEVICE)
    if about.group_id != row.group_id:
        raise ReceiptError(ReceiptReason.OTHER_GROUP)
    if about.era != row.era:
        raise ReceiptError(ReceiptReason.OTHER_EPOCH)
    if sealed_mac(key, row.ref, about.epoch, about.ciphertext) != row.request_mac:
        raise ReceiptError(_which(row, about, key))
    if about.sender.value != row.sender:
        raise ReceiptError(ReceiptReason.OTHER_SENDER)
    if not who.member or who.mailbox == row.sender_mailbox:
        raise ReceiptError(ReceiptReason.NOT_A_RECIPIENT)
    if who.roster is None:
        raise ReceiptError(ReceiptReason.GROUP_NOT_FOLLOWED)
    if about.roster != who.roster[0]:
        raise ReceiptError(ReceiptReason.OTHER_ROSTER)
    entry = _signing_key(signed, who)
    # Group, epoch, digest and sender are those of the message by now; what is left to this is the signature.
    check(signed, about, (receipt.device,), entry, TenantId(row.tenant_id), environment)
    if who.revoked or not _still_listed(entry, who):
        raise ReceiptError(ReceiptReason.KEY_REPLACED)


def _which(row: WaitingReceipt, about: Receipted, key: bytes) -> ReceiptReason:
    """Whether it is the right ciphertext under another epoch, or another ciphertext."""
    low = max(0, about.epoch - NEARBY_EPOCHS)
    nearby: Iterable[int] = range(low, min(1 << 64, about.epoch + NEARBY_EPOCHS + 1))
    right = any(sealed_mac(key, row.ref, epoch, about.ciphertext) == row.request_mac for epoch in nearby)
    return ReceiptReason.OTHER_EPOCH if right else ReceiptReason.OTHER_CIPHERTEXT


def _signing_key(signed: SignedReceipt, who: Signatory) -> Device:
    """The device's entry on the list that its receipt names, which is one that this server holds."""
    receipt = signed.content
    if who.named is None or who.named[1] != receipt.list_hash:
        raise ReceiptError(ReceiptReason.OTHER_LIST)
    entry = _entry(who.named[0], receipt.device)
    if entry is None:
        raise ReceiptError(ReceiptReason.OTHER_LIST)
    return entry


def _still_listed(entry: Device, who: Signatory) -> bool:
    now = _entry(who.head[1], entry.device)
    return now is not None and now.envelope_key == entry.envelope_key


def _entry(data: bytes, device: DeviceId) -> Device | None:
    try:
        # Verified when it was published; a row that does not read names no key.
        return parse_signed(data).content.find(device)
    except DeviceListError:
        return None
