"""Receipts of RCS devices that are not ours (RCC.16, section 7.6): what they confirm, and what may be done about one.

A positive receipt of an encrypted conversation is signed with the recipient's MLS leaf key. Where that signature was
checked, a recipient device has confirmed the message, in those words: the key is on no device list that an account of
ours signed, so the grade stays what it was and is never ATTESTED. A failure confirms nothing; its reason has a remedy
(:mod:`letterlock.assurance.remedies`), and none of them is to send in clear.
"""

from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

from letterlock.assurance.remedies import Remedy, remedy
from letterlock.wire.imdn.receipts import ClientFailure, Imdn, ReceiptStatus

MAX_REPORTS: Final = 5
"""Failures of one device about one message that are looked at (RCC.16, section 7.7)."""
MAX_RESENDS: Final = 2
"""Resends that failed within an hour, after which the group is repaired instead."""


@unique
class Signed(Enum):
    """What is known of a receipt's signature."""

    CHECKED = "checked"
    """By the leaf key of a recipient at the message's epoch."""
    ABSENT = "absent"
    REFUSED = "refused"


@unique
class ForeignWord(Enum):
    """What a receipt is worth; the value is what people are shown."""

    DELIVERED = "Recipient device confirmed: delivered."
    DISPLAYED = "Recipient device confirmed: displayed."
    FAILED = "Recipient device could not take it."
    UNPROVEN_FAILURE = "A failure was reported, by nobody in particular."
    NOTHING = "Nothing is concluded."

    @property
    def confirms(self) -> bool:
        """Whether a recipient's device has the message."""
        return self in {ForeignWord.DELIVERED, ForeignWord.DISPLAYED}


@dataclass(frozen=True, slots=True)
class History:
    """What came before, about the same message and device.

    Attributes:
        reports: failures that were looked at.
        failed_resends: resends within the last hour that failed as well.
        confirmed: a positive receipt was accepted.
    """

    reports: int = 0
    failed_resends: int = 0
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class ForeignVerdict:
    """What to show, and what may help.

    Attributes:
        remedy: NOTHING wherever nothing was concluded.
        finding: the receipt contradicts what is known, or its signature does not hold.
    """

    word: ForeignWord
    remedy: Remedy = Remedy.NOTHING
    finding: bool = False

    @property
    def may_resend(self) -> bool:
        """Whether the same words may be sent again, as a new encrypted message. Nothing does it by itself."""
        return self.remedy is Remedy.RESEND


_POSITIVE: Final = {
    ReceiptStatus.DELIVERED: ForeignWord.DELIVERED,
    ReceiptStatus.DISPLAYED: ForeignWord.DISPLAYED,
}
_NOTHING: Final = ForeignVerdict(ForeignWord.NOTHING)
_FORGED: Final = ForeignVerdict(ForeignWord.NOTHING, finding=True)


def weigh(receipt: Imdn, signed: Signed, history: History) -> ForeignVerdict:
    """What a foreign receipt about an encrypted message of ours means.

    Args:
        receipt: parsed.
        signed: what is known of its signature.
        history: what came before.
    """
    if signed is Signed.REFUSED:
        return _FORGED
    positive = _POSITIVE.get(receipt.status)
    if positive is not None:
        # In an encrypted conversation a server on the path could write an unsigned one.
        return ForeignVerdict(positive) if signed is Signed.CHECKED else _FORGED
    if receipt.status is not ReceiptStatus.FAILED:
        return _NOTHING
    if history.confirmed:
        return _FORGED
    if history.reports >= MAX_REPORTS:
        return _NOTHING
    if receipt.failure is None:
        # The one receipt that devices take unsigned. It proves nothing, so nothing is sent again for it.
        return ForeignVerdict(ForeignWord.UNPROVEN_FAILURE)
    if isinstance(receipt.failure, ClientFailure) and signed is not Signed.CHECKED:
        return _FORGED
    helps = remedy(receipt.failure)
    if helps is Remedy.RESEND and history.failed_resends >= MAX_RESENDS:
        helps = Remedy.REPAIR_GROUP
    return ForeignVerdict(ForeignWord.FAILED, helps)
