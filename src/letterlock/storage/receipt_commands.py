"""What the writer is asked for about receipts that this server checks, and what is read of them. Plain data."""

from typing import Final

from msgspec import Struct

WAITING_OF_ONE: Final = 200
"""Receipts that one device handed in and that wait: some 20 ms of work."""
WAITING_OF_TENANT: Final = 5_000
"""Receipts of one tenant that wait: half a second of work, and 2 MB."""
WAITING: Final = 20_000
"""All of them: a gateway that was down while everybody's devices had something to hand in starts with no more."""


class HandReceipts(Struct, frozen=True):
    """Receipts about one message, to be checked later. ``handed_by`` is a mailbox, or 0 for the tenant's software."""

    tenant: int
    handed_by: int
    message_key: bytes
    receipts: tuple[bytes, ...]


class ReceiptsHanded(Struct, frozen=True):
    """How many of them wait now that did not before."""

    new: int


class ReceiptVerdict(Struct, frozen=True):
    """What came of one.

    Attributes:
        no: the row that waited.
        reason: why it proves nothing; empty where it holds.
        mailbox: of the device that signed it; with ``account``, 0 and empty where nothing may be believed of it.
        kind: 1 delivered, 2 displayed.
        recipients: the devices that the message was encrypted to.
        list_version: the head of the account's list that it was checked against: where another is in force by now,
            it is checked again.
    """

    no: int
    reason: str
    account: bytes = b""
    mailbox: int = 0
    kind: int = 0
    recipients: int = 0
    list_version: int = 0


class JudgeReceipts(Struct, frozen=True):
    """Verdicts of one round of the worker. ``salts`` are fresh, one for each kind of finding that there can be."""

    verdicts: tuple[ReceiptVerdict, ...]
    salts: tuple[bytes, ...]


class ReceiptsJudged(Struct, frozen=True):
    """The reason of each that is done, in order; empty for those that hold. ``again`` are to be checked again."""

    outcomes: tuple[str, ...]
    again: int


class WaitingReceipt(Struct, frozen=True):
    """A receipt that waits, and what its message was.

    Attributes:
        group: the group's number.
        request_mac: see :mod:`letterlock.custody.request_macs`.
        sender: the device that sent the message.
        era: of the group (RCC.16); 0 where it has none.
    """

    no: int
    tenant: int
    tenant_id: bytes
    message: int
    handed_by: int
    receipt: bytes
    group: int
    ref: bytes
    group_id: bytes
    request_mac: bytes
    sender_mailbox: int
    sender: bytes
    era: int = 0


class Signatory(Struct, frozen=True):
    """The device that a receipt names, as the store has it.

    Attributes:
        revoked: it is on no list any more.
        named: the signed list that the receipt names, and its hash; None where there is no such version.
        head: the list in force, and its version.
        roster: hash and number of leaves of the message's group at the epoch that the receipt names; None where that
            group was not followed there.
        member: whether the device's leaf was in the group at that epoch.
    """

    mailbox: int
    account: bytes
    revoked: bool
    named: tuple[bytes, bytes] | None
    head: tuple[int, bytes]
    roster: tuple[bytes, int] | None
    member: bool


class ReceiptCounts(Struct, frozen=True):
    """What was checked of one message.

    Attributes:
        attested: devices with a receipt that holds.
        displayed: those of them that say a person saw it.
        recipients: devices that it was encrypted to; 0 before the first receipt that holds.
        waiting: receipts that wait to be checked.
        refused: those that prove nothing, by reason.
    """

    attested: int
    displayed: int
    recipients: int
    waiting: int
    refused: tuple[tuple[str, int], ...]
