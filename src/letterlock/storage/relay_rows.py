"""What the delivery service reads. Bodies come sealed, as they lie there."""

from msgspec import Struct

from letterlock.storage.relay_commands import GroupStanding


class AccountRow(Struct, frozen=True):
    """An account and the head of its list; version 0 and empty bytes before the first list."""

    identity_key: bytes
    version: int
    signed: bytes


class ListVersion(Struct, frozen=True):
    """One version of a signed list."""

    version: int
    signed: bytes
    leaf_hash: bytes


class LoginCandidate(Struct, frozen=True):
    """A device that may be the one that logs in: ids are unique within a tenant only."""

    tenant: int
    tenant_id: bytes
    account: bytes
    mailbox: int
    session_key: bytes


class SessionRow(Struct, frozen=True):
    """A session, with what its principal needs."""

    tenant: int
    tenant_id: bytes
    mailbox: int
    device: bytes
    account: bytes
    expires_ms: int
    token_hash: bytes
    state_counter: int
    """The highest that the device had stated when the row was read."""


class Tracking(Struct, frozen=True):
    """How far a group's public state is followed, without the state.

    Attributes:
        epoch: that it was followed to.
        standing: see :class:`GroupStanding`.
        until_ms: until when all leaves hold.
        gaps: how many stretches were not followed.
        mailboxes: of the devices whose leaves are in it; empty unless it is followed.
    """

    epoch: int
    standing: GroupStanding
    until_ms: int
    gaps: int
    mailboxes: frozenset[int]
    era: int | None = None


class Quarantined(Struct, frozen=True):
    """Why a group takes nothing any more: the commit that two accounts reported."""

    base_epoch: int
    commit_hash: bytes
    since_ms: int


class Superseded(Struct, frozen=True):
    """The group in whose place another era is (RCC.16): its name, and its era."""

    ref: bytes
    era: int


class LeafRow(Struct, frozen=True):
    """A device that is a member, and its listed leaf key."""

    mailbox: int
    leaf_key: bytes


class GroupRow(Struct, frozen=True):
    """A group's head."""

    number: int
    tenant: int
    ref: bytes
    group_id: bytes
    epoch: int
    chain: bytes
    first_epoch: int
    private_handshakes: bool
    tracking: Tracking | None = None
    quarantined: Quarantined | None = None
    era: int | None = None
    """As far as the group is, or was, followed."""
    superseded: Superseded | None = None
    """The era in force, where it is a later one."""


class MemberRow(Struct, frozen=True):
    """A leaf, as the relay was told."""

    account: bytes
    device: bytes


class EarlierCommit(Struct, frozen=True):
    """What this caller committed before under the same idempotency key."""

    request_hash: bytes
    epoch: int
    chain: bytes
    record_hash: bytes


class EarlierEra(Struct, frozen=True):
    """The era that this caller made of a group, under the same idempotency key."""

    ref: bytes
    era: int
    commit: EarlierCommit


class CommitRow(Struct, frozen=True):
    """One commit of a group's log."""

    base_epoch: int
    message_id: bytes
    sealed: bytes
    generation: int
    chain: bytes
    adds: tuple[MemberRow, ...]
    removes: tuple[MemberRow, ...]


class ItemRow(Struct, frozen=True):
    """One mailbox item; ``group`` is empty for a message that was not to a group."""

    sequence: int
    kind: int
    group: bytes
    message_id: bytes
    accepted_ms: int
    protection: int
    grade: int
    verifier: int
    sealed: bytes
    generation: int


class MailboxRow(Struct, frozen=True):
    """Where a mailbox stands."""

    tenant: int
    head: int
    acked: int
    lost: bool


class FullMailbox(Struct, frozen=True):
    """A mailbox that has to be emptied."""

    tenant: int
    mailbox: int


class AttachmentRow(Struct, frozen=True):
    """An attachment that is not gone.

    Attributes:
        awaited: whether the mailbox that was asked for may fetch it.
    """

    number: int
    uploader: int
    size: int
    received: int
    wrapped_key: bytes
    generation: int
    expires_ms: int
    awaited: bool


class PieceRow(Struct, frozen=True):
    """A piece of an attachment, sealed, and where it begins."""

    start: int
    sealed: bytes
