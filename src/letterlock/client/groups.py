"""What a device keeps about its groups and its sends, and the hash chain of a group's commits."""

import hashlib
from typing import Final

import msgspec

GROUPS: Final = "group"
PENDING: Final = "pending"
SEEN: Final = "seen"
_CHAIN_LABEL: Final = b"letterlock group log v1\0"


class GroupRecord(msgspec.Struct, frozen=True):
    """One group. ``stopped`` holds the reason why nothing more is taken or sent; ``chain`` is the commit log's head."""

    ref: bytes
    group_id: bytes
    chain: bytes
    stopped: str = ""


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
    """One send: the ciphertext and its reference, and the words, should the epoch pass before it is taken."""

    ref: bytes
    message_ref: bytes
    body: bytes
    kind: int
    message: bytes
    content: bytes


def chain_start(group_id: bytes, epoch: int) -> bytes:
    """The chain of a group without commits (docs/protocol/devices.md, section 5)."""
    return hashlib.sha256(_CHAIN_LABEL + epoch.to_bytes(8) + len(group_id).to_bytes(8) + group_id).digest()


def chain_next(chain: bytes, base_epoch: int, commit: bytes) -> bytes:
    """The chain after a commit."""
    return hashlib.sha256(chain + base_epoch.to_bytes(8) + hashlib.sha256(commit).digest()).digest()
