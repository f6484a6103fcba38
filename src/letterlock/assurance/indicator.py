"""What a person is shown about one message's path: closed words, the same on every surface.

The value of a member is the key of its text; the English text is here, translations go by the key. No text has more
than two sentences, and none says more than the evidence carries.
"""

from enum import Enum, unique
from typing import Final

from letterlock.model.protection import EvidenceGrade, Protection


@unique
class Indicator(Enum):
    """One thing to show."""

    E2EE_VERIFIED = "indicator.e2ee_verified"
    """For the viewer's own device alone, after it checked an endpoint's signature for this very message."""
    E2EE_RECEIPT_CHECKED = "indicator.e2ee_receipt_checked"
    E2EE_GROUP_CHECKED = "indicator.e2ee_group_checked"
    E2EE_FRAMED = "indicator.e2ee_framed"
    E2EE_CLAIMED = "indicator.e2ee_claimed"
    ESCROWED = "indicator.escrowed"
    ENCLAVE = "indicator.enclave"
    PROVIDER_READS = "indicator.provider_reads"
    SERVER_READS = "indicator.server_reads"
    NOT_ENCRYPTED = "indicator.not_encrypted"
    UNKNOWN_PATH = "indicator.unknown_path"
    QUARANTINED = "indicator.quarantined"

    @property
    def text(self) -> str:
        """The English text."""
        return _TEXT[self]


_I = Indicator
_TEXT: Final[dict[Indicator, str]] = {
    _I.E2EE_VERIFIED: "End-to-end encrypted, verified on this device.",
    _I.E2EE_RECEIPT_CHECKED: "End-to-end encrypted, receipt checked by this server.",
    _I.E2EE_GROUP_CHECKED: (
        "Sealed in the form of end-to-end encryption; group checked by this server."
        " Its content was not checked, for only devices can."
    ),
    _I.E2EE_FRAMED: "Sealed in the form of end-to-end encryption. Its content was not checked, for only devices can.",
    _I.E2EE_CLAIMED: "Said to be end-to-end encrypted. Nobody has checked it.",
    _I.ESCROWED: "End-to-end encrypted, with a sealed copy that several named people together can open.",
    _I.ENCLAVE: "Readable only inside checked hardware.",
    _I.PROVIDER_READS: "Not end-to-end encrypted. A provider on the way, this gateway included, can read it.",
    _I.SERVER_READS: "Not end-to-end encrypted. Servers on the way can read it.",
    _I.NOT_ENCRYPTED: "Not encrypted. Anybody on the way can read it.",
    _I.UNKNOWN_PATH: "It is not known who on the way can read it.",
    _I.QUARANTINED: "Set apart: it claims end-to-end encryption and does not have its form. It was not opened.",
}

BY_GRADE: Final[dict[EvidenceGrade, Indicator]] = {
    EvidenceGrade.NONE: _I.UNKNOWN_PATH,
    EvidenceGrade.ASSERTED: _I.E2EE_CLAIMED,
    EvidenceGrade.FRAMED: _I.E2EE_FRAMED,
    EvidenceGrade.TRACKED: _I.E2EE_GROUP_CHECKED,
    EvidenceGrade.ATTESTED: _I.E2EE_RECEIPT_CHECKED,
}
"""The most that each grade carries on a server's surface."""

BY_PROTECTION: Final[dict[Protection, Indicator]] = {
    Protection.CLEAR: _I.NOT_ENCRYPTED,
    Protection.HOP: _I.SERVER_READS,
    Protection.PROVIDER: _I.PROVIDER_READS,
    Protection.ENCLAVE: _I.ENCLAVE,
    Protection.ESCROWED: _I.ESCROWED,
    Protection.UNKNOWN: _I.UNKNOWN_PATH,
}
"""What is shown of a path that is less than E2EE."""
