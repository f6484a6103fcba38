"""Enums as the small numbers that rows hold: positions in these tuples, which only ever grow at the end."""

from typing import Final

from letterlock.model.capability import Channel
from letterlock.model.protection import ConsentKind, EvidenceGrade, Protection, Verifier

PROTECTIONS: Final = tuple(Protection)
GRADES: Final = tuple(EvidenceGrade)
VERIFIERS: Final = tuple(Verifier)
CHANNELS: Final = tuple(Channel)
CONSENT_KINDS: Final = tuple(ConsentKind)
