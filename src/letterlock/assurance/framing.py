"""The two profiles of FRAMED: which comparisons a relay without keys can make, and what they come to.

Framing is not proof: plaintext in a hand-made MLS shell passes every comparison here, and the words shown for FRAMED
say so.
"""

from enum import Enum, unique
from hmac import compare_digest
from typing import Final

from letterlock.assurance.evidence import Framing
from letterlock.model.bodies import SealedBody, SealedKind
from letterlock.model.ids import MessageId

AUTHENTICATOR_BYTES: Final = 32
"""An RCC.16 epoch authenticator: the output of the suite's KDF.Extract, SHA-256 in all deployed suites."""


@unique
class Binding(Enum):
    """Whether the authenticated session binds the message id to the digest of the ciphertext."""

    BY_SESSION = "by_session"
    ABSENT = "absent"


def letterlock_framing(
    body: SealedBody,
    group_id: bytes | None,
    epoch: int,
    kind: SealedKind,
    binding: Binding,
    message_id: MessageId | None = None,
    aad_message_id: MessageId | None = None,
) -> Framing:
    """Compares what the session declared with what the parser found.

    Args:
        body: parsed to its last byte.
        group_id: declared; None where messages of this profile do not belong.
        epoch: declared.
        kind: declared.
        binding: what the session binds.
        message_id: under which it was submitted; needed only beside the next.
        aad_message_id: of the authenticated data, where it has our profile; absent is permitted, another one is not.
    """
    if (
        binding is Binding.BY_SESSION
        and body.epoch == epoch
        and body.kind is kind
        and body.group_id == group_id
        and (aad_message_id is None or aad_message_id == message_id)
    ):
        return Framing.LETTERLOCK
    return Framing.DIFFERS


def rcc16_framing(
    body: SealedBody,
    *,
    cpim_era: int | None,
    cpim_authenticator: bytes | None,
    cpim_message_id: str | None,
    aad_message_id: str | None,
    aad_era: int | None,
    known_authenticator: bytes | None = None,
) -> Framing:
    """Compares the CPIM headers with the authenticated data (RCC.16, section 7.5.3).

    Args:
        body: parsed to its last byte; only an encrypted application message carries a person's words.
        cpim_era: ``mls.Era-ID``, or None where the header is missing.
        cpim_authenticator: ``mls.Epoch-Authenticator``, decoded, or None.
        cpim_message_id: ``imdn.Message-ID``, or None.
        aad_message_id: of the authenticated data, or None where it is not RCC.16's.
        aad_era: likewise.
        known_authenticator: what this group's epoch is known by, where it is known; another one is a fork.
    """
    if body.kind is not SealedKind.PRIVATE_APPLICATION:
        return Framing.DIFFERS
    if cpim_era is None or cpim_authenticator is None or len(cpim_authenticator) != AUTHENTICATOR_BYTES:
        return Framing.DIFFERS
    if cpim_message_id is None or aad_message_id != cpim_message_id or aad_era != cpim_era:
        return Framing.DIFFERS
    if known_authenticator is not None and not compare_digest(known_authenticator, cpim_authenticator):
        return Framing.DIFFERS
    return Framing.RCC16
