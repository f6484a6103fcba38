"""What a person is shown about one message's path: closed words, the same on every surface.

The value of a member is the key of its text (:mod:`.texts`). No text has more than two sentences, and none says more
than the evidence carries.
"""

from enum import Enum, unique
from typing import Final

from letterlock.assurance.texts import english
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
        return english().indicator[self.value]


_I = Indicator
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
