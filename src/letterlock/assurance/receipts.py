"""Receipts: a device's signed statement about one message that it received. They make a sent message ATTESTED.

A receipt says which ciphertext, in which group, era, epoch and roster, from which device; the signature is by the
receiving device's envelope-and-receipt key, purpose ``receipt``. All numbers big-endian::

    body      = u8 format = 1 | u8 type | u8 failure | 16 message | 16 sender device | u32 era | u64 epoch
                | 32 SHA-256 of the ciphertext | 32 roster hash
    on the wire: body | u8 length, group id | 16 account | 16 device | u64 list version | 32 list hash | 66 signature

The context hash is over group id, account, device, list version and list hash; the audience is :data:`AUDIENCE`.
A device that could not open a message knows neither its id nor its sender: both are zeros in a failure.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum, unique
from typing import ClassVar, Final

from letterlock.assurance.devices import Device
from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.model.ids import ID_BYTES, AccountId, DeviceId, MessageId, TenantId
from letterlock.wire.imdn.receipts import ClientFailure
from letterlock.wire.preimage import (
    HASH_BYTES,
    Purpose,
    Scope,
    Signature,
    SignatureError,
    Signer,
    context_hash,
    sign,
    verify,
)

FORMAT: Final = 1
AUDIENCE: Final = "device-receipt"
NO_ERA: Final = 0
"""Groups of our own profile have no eras (RCC.16 counts from 1)."""
MAX_GROUP_ID: Final = 255
NO_MESSAGE: Final = MessageId(bytes(ID_BYTES))
NO_SENDER: Final = DeviceId(bytes(ID_BYTES))
_ROSTER: Final = b"letterlock/v1/hash/roster\0"
_BODY: Final = 3 + 2 * ID_BYTES + 4 + 8 + 2 * HASH_BYTES
_TAIL: Final = 2 * ID_BYTES + 8 + HASH_BYTES + 66


@unique
class ReceiptType(IntEnum):
    """What happened. The numbers of RCC.16, section 7.6, and one more."""

    DELIVERED = 1
    """Decrypted on the device, and its sender's signature verified."""
    DISPLAYED = 2
    """Shown to a person, by the device's own account."""
    FAILED = 3
    """Not opened, after the device tried to mend it; with a reason."""


@unique
class ReceiptReason(Reason):
    """Why a receipt is refused. Nothing is concluded from a refused one."""

    MALFORMED = "receipt_malformed"
    UNKNOWN_FORMAT = "receipt_format_unknown"
    OTHER_MESSAGE = "receipt_of_another_message"
    OTHER_SENDER = "receipt_for_another_senders_message"
    OTHER_GROUP = "receipt_of_another_group"
    OTHER_EPOCH = "receipt_of_another_era_or_epoch"
    OTHER_CIPHERTEXT = "receipt_of_another_ciphertext"
    OTHER_ROSTER = "receipt_of_another_roster"
    OTHER_DEVICE = "receipt_of_another_device"
    NOT_A_RECIPIENT = "receipt_of_a_device_that_was_no_recipient"
    BAD_SIGNATURE = "receipt_signature_refused"
    UNKNOWN_MESSAGE = "receipt_of_a_message_not_sent_from_here"
    REPLAYED = "receipt_seen_before"
    CONTRADICTS = "failure_reported_after_delivery"
    OTHER_LIST = "receipt_under_another_device_list"
    """It names a version of the device list that is not the account's."""
    KEY_REPLACED = "receipt_key_not_in_force"
    """Signed with a key that the account's list does not name any more."""
    GROUP_NOT_FOLLOWED = "receipt_of_a_group_not_followed"
    """The checker cannot tell who was in the group: it concludes nothing either way."""
    NOT_POSITIVE = "receipt_of_a_failure"
    """A failure attests nothing; it is its sender's business."""


class ReceiptError(OperationError[ReceiptReason]):
    """A receipt proves nothing about this message."""

    fault: ClassVar[Fault] = Fault.PEER


@dataclass(frozen=True, slots=True)
class Receipted:
    """The message that a receipt is about, as sender and receiver each know it.

    Attributes:
        message: the message's id, inside its signed envelope.
        sender: the device that sent it.
        group_id: the MLS group.
        era: :data:`NO_ERA` in our own profile.
        epoch: of the MLS message.
        ciphertext: SHA-256 of the MLSMessage as it travelled.
        roster: :func:`roster_hash` at that epoch.
    """

    message: MessageId
    sender: DeviceId
    group_id: bytes = field(repr=False)
    era: int
    epoch: int
    ciphertext: bytes = field(repr=False)
    roster: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a device says. Its entry on list ``list_version`` names the key.

    Raises:
        ReceiptError: MALFORMED: a reason without failure, a failure without reason, or a field out of bounds.
    """

    kind: ReceiptType
    about: Receipted
    failure: ClientFailure | None
    account: AccountId
    device: DeviceId
    list_version: int
    list_hash: bytes = field(repr=False)

    def __post_init__(self) -> None:
        about, failed = self.about, self.kind is ReceiptType.FAILED
        lengths = {len(about.ciphertext), len(about.roster), len(self.list_hash)}
        if (
            failed is not (self.failure is not None)
            or failed is not (about.message == NO_MESSAGE)
            or failed is not (about.sender == NO_SENDER)
            or lengths != {HASH_BYTES}
            or not 1 <= len(about.group_id) <= MAX_GROUP_ID
            or not 0 <= about.era < 1 << 32
            or not 0 <= about.epoch < 1 << 64
            or not 1 <= self.list_version < 1 << 63
        ):
            raise ReceiptError(ReceiptReason.MALFORMED)

    def body(self) -> bytes:
        """The signed body."""
        about = self.about
        return b"".join(
            (
                bytes((FORMAT, self.kind, self.failure or 0)),
                about.message.value,
                about.sender.value,
                about.era.to_bytes(4),
                about.epoch.to_bytes(8),
                about.ciphertext,
                about.roster,
            )
        )

    def scope(self, tenant: TenantId, environment: str) -> Scope:
        """Where it holds."""
        context = context_hash(
            self.about.group_id,
            self.account.value,
            self.device.value,
            self.list_version.to_bytes(8),
            self.list_hash,
        )
        return Scope(tenant, environment, AUDIENCE, context)


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """A receipt with its signature, checked or not. Anybody who has the device list can check it."""

    content: Receipt
    signature: Signature = field(repr=False)

    def encode(self) -> bytes:
        """As it travels."""
        receipt = self.content
        group_id = receipt.about.group_id
        return b"".join(
            (
                receipt.body(),
                bytes((len(group_id),)),
                group_id,
                receipt.account.value,
                receipt.device.value,
                receipt.list_version.to_bytes(8),
                receipt.list_hash,
                self.signature.encode(),
            )
        )


def roster_hash(group_id: bytes, epoch: int, leaves: Iterable[tuple[int, bytes]]) -> bytes:
    """Names the members of a group at an epoch.

    Args:
        group_id: the MLS group.
        epoch: at which these are the members.
        leaves: leaf index and leaf signature key of each.
    """
    found = [_lp(group_id), epoch.to_bytes(8)]
    for leaf, key in sorted(leaves):
        found += (leaf.to_bytes(4), _lp(key))
    return hashlib.sha256(_ROSTER + b"".join(found)).digest()


def sign_receipt(receipt: Receipt, tenant: TenantId, environment: str, signer: Signer) -> SignedReceipt:
    """Signs with the receiving device's envelope-and-receipt key."""
    return SignedReceipt(receipt, sign(signer, Purpose.RECEIPT, receipt.scope(tenant, environment), receipt.body()))


def parse(data: bytes) -> SignedReceipt:
    """Reads a receipt to its last byte, without believing it.

    Raises:
        ReceiptError: MALFORMED, UNKNOWN_FORMAT.
    """
    if not data or data[0] != FORMAT:
        raise ReceiptError(ReceiptReason.UNKNOWN_FORMAT if data else ReceiptReason.MALFORMED)
    if len(data) < _BODY + 1 or len(data) != _BODY + 1 + data[_BODY] + _TAIL:
        raise ReceiptError(ReceiptReason.MALFORMED, length=len(data))
    at = 3

    def take(count: int) -> bytes:
        nonlocal at
        at += count
        return data[at - count : at]

    try:
        kind = ReceiptType(data[1])
        failure = ClientFailure(data[2]) if data[2] else None
        message, sender = MessageId(take(ID_BYTES)), DeviceId(take(ID_BYTES))
        era, epoch = int.from_bytes(take(4)), int.from_bytes(take(8))
        ciphertext, roster = take(HASH_BYTES), take(HASH_BYTES)
        group_id = take(take(1)[0])
        account, device = AccountId(take(ID_BYTES)), DeviceId(take(ID_BYTES))
        version, list_hash = int.from_bytes(take(8)), take(HASH_BYTES)
        signature = Signature.parse(take(66))
    except (ValueError, SignatureError):
        raise ReceiptError(ReceiptReason.MALFORMED) from None
    about = Receipted(message, sender, group_id, era, epoch, ciphertext, roster)
    return SignedReceipt(Receipt(kind, about, failure, account, device, version, list_hash), signature)


def check(
    signed: SignedReceipt,
    sent: Receipted,
    recipients: Iterable[DeviceId],
    entry: Device,
    tenant: TenantId,
    environment: str,
) -> Receipt:
    """Believes a receipt, or says why not.

    Args:
        signed: the receipt.
        sent: the message as its sender sent it.
        recipients: the devices that it was encrypted to.
        entry: the receiving device's entry on its account's verified device list.
        tenant: where it holds.
        environment: where it holds.

    Raises:
        ReceiptError: the first thing that does not fit.
    """
    receipt, about = signed.content, signed.content.about
    positive = receipt.kind is not ReceiptType.FAILED
    for fits, reason in (
        (about.group_id == sent.group_id, ReceiptReason.OTHER_GROUP),
        (not positive or about.message == sent.message, ReceiptReason.OTHER_MESSAGE),
        (not positive or about.sender == sent.sender, ReceiptReason.OTHER_SENDER),
        ((about.era, about.epoch) == (sent.era, sent.epoch), ReceiptReason.OTHER_EPOCH),
        (about.ciphertext == sent.ciphertext, ReceiptReason.OTHER_CIPHERTEXT),
        (about.roster == sent.roster, ReceiptReason.OTHER_ROSTER),
        (entry.device == receipt.device, ReceiptReason.OTHER_DEVICE),
        (receipt.device in set(recipients), ReceiptReason.NOT_A_RECIPIENT),
    ):
        if not fits:
            raise ReceiptError(reason)
    try:
        scope = receipt.scope(tenant, environment)
        verify(entry.envelope_key, Purpose.RECEIPT, scope, receipt.body(), signed.signature)
    except SignatureError:
        raise ReceiptError(ReceiptReason.BAD_SIGNATURE) from None
    return receipt


def _lp(value: bytes) -> bytes:
    return len(value).to_bytes(4) + value
