"""What a device keeps about its groups and its sends, and the hash chain of a group's commits."""

import hashlib
from typing import Final

import msgspec

GROUPS: Final = "group"
PENDING: Final = "pending"
STUCK: Final = "stuck"
"""By group: the commit that this device could not take, until the relay has its report."""
SEEN: Final = "seen"
SPOKEN: Final = "spoken"
"""By group: the number of this device's newest message."""
HEARD: Final = "heard"
"""By group, the epoch of joining and sender's device: what has come of its messages (:class:`Heard`)."""
MAX_GAP: Final = 1_024
"""Numbers that may be awaited of one sender; a wider gap is no delay."""
APPLIED: Final = 16
"""Commits whose hash is kept, to know a second one of the same epoch: far more than a relay delivers late."""
_CHAIN_LABEL: Final = b"letterlock group log v1\0"


class GroupRecord(msgspec.Struct, frozen=True):
    """One group.

    Attributes:
        ref: the relay's name for it.
        group_id: the MLS group id.
        chain: the commit log's head; empty while this device was told none.
        stopped: why nothing more is taken or sent; empty while the group goes on.
        joined: the epoch at which this device came in.
        applied: base epoch and SHA-256 of the newest commits that were applied here, at most :data:`APPLIED`.
    """

    ref: bytes
    group_id: bytes
    chain: bytes
    stopped: str = ""
    joined: int = 0
    applied: list[tuple[int, bytes]] = []

    def after(self, base_epoch: int, commit: bytes, chain: bytes, stopped: str) -> "GroupRecord":
        """The record once a commit counts."""
        applied = [*self.applied, (base_epoch, hashlib.sha256(commit).digest())][-APPLIED:]
        return msgspec.structs.replace(self, chain=chain, stopped=stopped, applied=applied)

    def contradicts(self, base_epoch: int, commit: bytes) -> bool:
        """Whether another commit of this epoch was applied here: one log cannot hold both."""
        digest = hashlib.sha256(commit).digest()
        return any(epoch == base_epoch and held != digest for epoch, held in self.applied)


class StuckCommit(msgspec.Struct, frozen=True):
    """A commit that is to be reported: the epoch that it is for, where it was met (0: made here), and its hash."""

    base_epoch: int
    sequence: int
    commit_hash: bytes


class PendingCommit(msgspec.Struct, frozen=True):
    """A commit that was proposed and whose fate is not known yet."""

    ref: bytes
    base_epoch: int
    commit: bytes
    welcomes: list[bytes]
    group_info: bytes
    pending_state: bytes
    adds: list[str]
    removes: list[str]
    idempotency_key: bytes


class Outgoing(msgspec.Struct, frozen=True):
    """One send: the ciphertext and its reference, and the words, should the epoch pass before it is taken.

    With a ``token`` it is a copy for one ``device``, a sealed delivery that never goes over the session; ``content`` is
    then the MLS message in it.
    """

    ref: bytes
    message_ref: bytes
    body: bytes
    kind: int
    message: bytes
    content: bytes
    number: int
    token: bytes = b""
    device: bytes = b""


def chain_start(group_id: bytes, epoch: int) -> bytes:
    """The chain of a group without commits (docs/protocol/devices.md, section 5)."""
    return hashlib.sha256(_CHAIN_LABEL + epoch.to_bytes(8) + len(group_id).to_bytes(8) + group_id).digest()


def chain_next(chain: bytes, base_epoch: int, commit: bytes) -> bytes:
    """The chain after a commit."""
    return hashlib.sha256(chain + base_epoch.to_bytes(8) + hashlib.sha256(commit).digest()).digest()


class Heard(msgspec.Struct, frozen=True):
    """Which numbers of one sender have come: all up to ``newest`` but the ``awaited``."""

    newest: int
    awaited: list[int]

    def then(self, number: int, settled: int) -> tuple["Heard", bool]:
        """After one more message: and whether something is missing that the relay had taken before it was sealed."""
        between = range(self.newest + 1, number)
        wide = len(between) > MAX_GAP
        open_ones = [one for one in (*self.awaited, *(() if wide else between)) if one != number]
        awaited = [one for one in open_ones if one > settled][-MAX_GAP:]
        return Heard(max(self.newest, number), awaited), wide or len(awaited) < len(open_ones)
