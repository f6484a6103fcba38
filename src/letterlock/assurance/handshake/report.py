"""What a device signs when a handshake did not fit: which group, and which reason; nothing of what was said in it."""

from dataclasses import dataclass
from typing import Final

from letterlock.assurance.handshake.reasons import RULES, HandshakeReason, Outcome
from letterlock.model.ids import GroupRef

FORMAT: Final = 1
HANDSHAKE: Final = 2
"""The second kind of a group's reports; the first is a commit that cannot be taken."""
REPORTABLE: Final = frozenset(
    reason
    for reason, rule in RULES.items()
    if rule.outcome is not Outcome.HOLD and reason is not HandshakeReason.PEER_ABORTED
)
"""What was seen here. What is only missing may come, and what the other end saw, it reports."""


@dataclass(frozen=True, slots=True)
class HandshakeReport:
    """A handshake that did not fit, in the relay's name for the group."""

    group: GroupRef
    reason: HandshakeReason

    def body(self) -> bytes:
        """``u8 format = 1 | u8 kind = 2 | 16 group | u8 length, reason``."""
        reason = self.reason.value.encode()
        return bytes((FORMAT, HANDSHAKE)) + self.group.value + len(reason).to_bytes(1) + reason
