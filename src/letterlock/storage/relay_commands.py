"""What the delivery service asks the writer for, and what the writer answers. Plain data.

Bodies are sealed before they come here. Numbers of tenants, mailboxes and groups are the store's own.
"""

from enum import IntEnum, unique
from typing import Final

from msgspec import Struct

from letterlock.model.errors import Fact, Reason
from letterlock.storage.commands import Relied, Shown
from letterlock.storage.errors import CommitReason, CommitRefused
from letterlock.wire.tlog.words import FindingCode, Severity

MAX_KEY_PACKAGES_KEPT: Final = 200
"""A device: bounds a pool."""
LOW_WATER: Final = 10
"""Packages left in a pool, last resort not counted, at which its device is told to make more."""
MAX_SESSIONS: Final = 4
"""A device: a login that raced a restart or a lost answer leaves an older token behind."""
MAX_MEMBERS: Final = 500
"""Devices a group: browser members need seconds a commit above it."""


@unique
class RelayReason(Reason):
    """Why the delivery service refused something: the closed list; the values are the codes of the protocol."""

    NOT_FOUND = "not_found"
    SESSION_ENDED = "unauthenticated"
    """The caller's device was removed while it was asking."""
    BAD_KEY = "bad_key"
    BAD_DEVICE_LIST = "bad_device_list"
    WRONG_ACCOUNT = "wrong_account"
    BAD_SIGNATURE = "bad_signature"
    DEVICE_LIST_VERSION = "device_list_version"
    DEVICE_EXISTS = "device_exists"
    DEVICE_RETIRED = "device_retired"
    NOT_YOUR_DEVICE = "not_your_device"
    SESSION_REFUSED = "session_refused"
    STATE_ROLLED_BACK = "state_rolled_back"
    BAD_KEY_PACKAGE = "bad_key_package"
    SUITE_NOT_ALLOWED = "suite_not_allowed"
    """The settings do not list this MLS cipher suite."""
    LEAF_NOT_LISTED = "leaf_not_listed"
    TOO_MANY_KEY_PACKAGES = "too_many_key_packages"
    CLAIM_QUOTA = "claim_quota"
    BAD_EPOCH = "bad_epoch"
    GROUP_EXISTS = "group_exists"
    NOT_A_MEMBER = "not_a_member"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    BAD_COMMIT = "bad_commit"
    EXTERNAL_COMMIT = "external_commit"
    BAD_WELCOME = "bad_welcome"
    BAD_GROUP_INFO = "bad_group_info"
    BAD_MEMBERS = "bad_members"
    WRONG_EPOCH = "wrong_epoch"
    ACK_AHEAD = "ack_ahead"
    GROUP_QUARANTINED = "group_quarantined"
    """Two accounts reported a commit of this group: it takes nothing any more."""
    WRONG_ERA = "wrong_era"
    """RCC.16: another era than the group's, or a group in whose place a later era is; only the next one advances."""
    ERA_UNKNOWN = "era_unknown"
    """RCC.16: the group has no era that was followed here, so that none can come after it."""
    BORN_DOWNGRADED = "born_downgraded"
    """RCC.16: a group or era whose first GroupInfo carries ``end_mls`` (A14)."""
    ERA_QUOTA = "era_quota"
    NOT_QUARANTINED = "not_quarantined"
    """Only a quarantined group is replaced."""
    BAD_REPORT = "bad_report"
    """A report that is not this device's own, or not about the commit that was ordered."""
    REPORT_STALE = "report_stale"
    """A report of a commit that is no longer known, or that the device took, or was never sent."""
    REPORT_QUOTA = "report_quota"
    MAILBOX_QUOTA = "mailbox_quota"
    """Too much of this sender, or of its tenant, waits in mailboxes."""
    PUSH_NOT_OFFERED = "push_not_offered"
    """The settings list no push service."""
    BAD_PUSH_SUBSCRIPTION = "bad_push_subscription"
    """Its address is not one of a listed push service, or its keys are not keys."""
    PUSH_ENDPOINT_TAKEN = "push_endpoint_taken"
    ATTACHMENT_SIZE = "attachment_size"
    """Not one of the sizes that blobs have, or a piece that reaches beyond the blob's end."""
    ATTACHMENT_EXISTS = "attachment_exists"
    ATTACHMENT_QUOTA = "attachment_quota"
    WRONG_OFFSET = "wrong_offset"
    NO_RECIPIENTS = "no_recipients"
    """Nobody but the caller's device is in the group: nobody would ever fetch it."""
    DELIVERIES_NOT_OFFERED = "deliveries_not_offered"
    """The tenant's policy takes messages of sessions alone."""
    TOKEN_REFUSED = "token_refused"  # noqa: S105 - the code of a reason
    """Unknown, spent, revoked, expired, or of another gateway: one answer for all."""
    TOKEN_TAKEN = "token_taken"  # noqa: S105 - the code of a reason
    TOO_MANY_TOKENS = "too_many_tokens"
    RECEIPTS_NOT_OFFERED = "receipts_not_offered"
    """The tenant's policy keeps no senders, so the server does not learn who received either."""
    RECEIPT_QUEUE_FULL = "receipt_queue_full"
    """Too many receipts wait to be checked: the caller comes back after a moment."""
    BAD_DELIVERY = "bad_delivery"
    """Not a sealed delivery for this token; or it came with credentials, which would say who sent it."""


def relay_refused(reason: RelayReason, **facts: Fact) -> CommitRefused:
    """A refusal by the writer; ``relay`` is the fact that says which of our reasons it was."""
    return CommitRefused(CommitReason.NOT_ALLOWED, relay=reason, **facts)


class CreateAccount(Struct, frozen=True):
    """An account with this identity key; the one that exists, if the tenant has it already."""

    tenant: int
    account: bytes
    identity_key: bytes


class AccountCreated(Struct, frozen=True):
    """``created`` is False for an account that was there before."""

    account: bytes
    created: bool


class ListedDevice(Struct, frozen=True):
    """What the relay needs of a device on a verified list."""

    device: bytes
    session_key: bytes
    leaf_key: bytes
    kind: str


class PublishDeviceList(Struct, frozen=True):
    """The next version of an account's list, its signature verified. ``salt`` is fresh, for the ledger entry."""

    tenant: int
    account: bytes
    version: int
    previous: bytes
    digest: bytes
    signed: bytes
    devices: tuple[ListedDevice, ...]
    salt: bytes


class ListPublished(Struct, frozen=True):
    """A version is in force.

    Attributes:
        repeated: it was before; nothing happened.
        removed: mailboxes of devices that are gone.
        ended: mailboxes whose sessions ended: the removed, and those with a new session key.
        session_version: the revocation version after this.
        lowered: groups whose leaves are not all listed any more.
    """

    version: int
    digest: bytes
    leaf_hash: bytes
    repeated: bool
    removed: tuple[int, ...]
    ended: tuple[int, ...]
    session_version: int
    lowered: tuple[int, ...] = ()


class LogIn(Struct, frozen=True):
    """A device proved its session key. ``salt`` is fresh, for a finding; ``heard`` may be ahead of what is stored."""

    tenant: int
    mailbox: int
    session_key: bytes
    token_hash: bytes
    state_counter: int
    heard: int
    expires_ms: int
    salt: bytes


class LoggedIn(Struct, frozen=True):
    """The outcome of a login.

    Attributes:
        rolled_back: refused: the stated counter is not above ``counter``; no session was made.
        ended: hashes of older tokens that made room.
        lost: the mailbox was emptied and is to be reset.
        packages: key packages left, the last resort not counted.
    """

    rolled_back: bool
    counter: int
    ended: tuple[bytes, ...] = ()
    acked: int = 0
    head: int = 0
    lost: bool = False
    packages: int = 0


class LogOut(Struct, frozen=True):
    """Ends one session."""

    tenant: int
    mailbox: int
    token_hash: bytes


class RaiseCounter(Struct, frozen=True):
    """A device stated its counter along with a send or an acknowledgement; the highest is kept, nothing is refused."""

    tenant: int
    mailbox: int
    state_counter: int


class NewPackage(Struct, frozen=True):
    """A parsed key package; ``ref`` is SHA-256 of its bytes."""

    ref: bytes
    package: bytes
    leaf_key: bytes
    last_resort: bool
    expires_ms: int


class PutKeyPackages(Struct, frozen=True):
    """Adds to a device's pool."""

    tenant: int
    mailbox: int
    packages: tuple[NewPackage, ...]


class PackagesKept(Struct, frozen=True):
    """The pool after adding to it."""

    accepted: int
    duplicates: int
    available: int
    has_last_resort: bool


class ClearKeyPackages(Struct, frozen=True):
    """Empties a device's pool; what was published stays published."""

    tenant: int
    mailbox: int


class ClaimKeyPackages(Struct, frozen=True):
    """One package for each device of an account, except the claimer; ``devices`` None for all."""

    tenant: int
    account: bytes
    devices: tuple[bytes, ...] | None
    claimer: int


class ClaimedPackage(Struct, frozen=True):
    """A package that is gone from the pool, or a last resort that stays."""

    device: bytes
    package: bytes
    last_resort: bool


class Claimed(Struct, frozen=True):
    """An account's list at the moment of the claim, and what was claimed.

    Attributes:
        low: mailboxes of devices with few packages left.
    """

    identity_key: bytes
    signed: bytes
    version: int
    leaf_hash: bytes
    packages: tuple[ClaimedPackage, ...]
    exhausted: tuple[bytes, ...]
    low: tuple[int, ...] = ()


class NoteFinding(Struct, frozen=True):
    """Something was noticed; ``account`` is committed to with ``salt``."""

    code: FindingCode
    severity: Severity
    account: bytes
    salt: bytes


@unique
class GroupStanding(IntEnum):
    """How far a group's public state is followed. The values are stored."""

    FOLLOWED = 0
    """To its head, and its leaves are the listed devices of its members."""
    LOWERED = 1
    """To its head, and something about its members is not as it should be. A later commit may mend it."""
    LOST = 2
    """Not to its head: only a new anchor helps."""


class PublicState(Struct, frozen=True):
    """A group's public state, packed.

    Attributes:
        epoch: that ``state`` is of.
        standing: see :class:`GroupStanding`.
        until_ms: until when all its leaves hold.
        gaps: how many stretches were not followed.
        state: docs/protocol/tracking.md, section 4.
    """

    epoch: int
    standing: GroupStanding
    until_ms: int
    gaps: int
    state: bytes
    roster: bytes = b""
    """Names the members at this epoch (:func:`letterlock.assurance.receipts.roster_hash`); empty where they are not
    the listed ones."""
    leaves: int = 0
    era: int | None = None
    """Of a group of RCS clients (RCC.16)."""


class CreateGroup(Struct, frozen=True):
    """A group with its creator alone. ``chain`` is the head of its empty log."""

    tenant: int
    creator: int
    ref: bytes
    group_id: bytes
    epoch: int
    chain: bytes
    replaces: int = 0
    """The number of the quarantined group that it follows; 0 for none."""
    salt: bytes = b""
    """Fresh, for the entry that says so."""


class GroupCreated(Struct, frozen=True):
    """``created`` is False for the same group created before by the same device."""

    number: int
    ref: bytes
    created: bool


class ReportCommit(Struct, frozen=True):
    """A device states, signed, that it cannot take a commit of its group. The signature is verified.

    Attributes:
        message_id: of the commit whose hash was compared.
        sequence: where the device met it in its mailbox; 0 from the device that made it.
        salts: two fresh ones, for the entries.
    """

    tenant: int
    caller: int
    account: bytes
    group: int
    base_epoch: int
    message_id: bytes
    commit_hash: bytes
    sequence: int
    salts: tuple[bytes, bytes]


class CommitReported(Struct, frozen=True):
    """The report is kept.

    Attributes:
        accounts: how many accounts count for this commit.
        quarantined: whether the group is quarantined now.
        repeated: this account had reported the commit before; nothing happened.
    """

    accounts: int
    quarantined: bool
    repeated: bool


class SealedHandshake(Struct, frozen=True):
    """A commit or a Welcome, sealed: one message, whatever the number of its recipients."""

    message_id: bytes
    sealed: bytes
    size_bucket: int


class NewWelcome(Struct, frozen=True):
    """A Welcome and the ids of the devices it is for."""

    body: SealedHandshake
    recipients: tuple[bytes, ...]


class CommitGroup(Struct, frozen=True):
    """A commit bundle: all of it, or nothing.

    Attributes:
        request_hash: of everything the caller sent, to tell a repetition from another request.
        commit_hash: SHA-256 of the commit, for the chain.
        private: the commit is a PrivateMessage, so nobody outside can follow the group from here.
        generation: of the storage key that sealed all bodies.
        public: what the commit made of the group's public state; None where it was not followed.
        finding: what was noticed about the commit.
    """

    tenant: int
    caller: int
    group: int
    base_epoch: int
    commit: SealedHandshake
    commit_hash: bytes
    private: bool
    welcomes: tuple[NewWelcome, ...]
    adds: tuple[bytes, ...]
    removes: tuple[bytes, ...]
    idempotency_key: bytes
    request_hash: bytes
    state_counter: int
    generation: int
    shown: Shown
    relied: Relied
    expires_ms: int
    public: PublicState | None = None
    finding: NoteFinding | None = None


class AnchorGroup(Struct, frozen=True):
    """A group's public state is taken from a GroupInfo of its head, and what there was before is replaced.

    Attributes:
        epoch: the head that it is of; another one is refused.
        finding: that a gap lies before it.
    """

    tenant: int
    caller: int
    group: int
    epoch: int
    public: PublicState
    finding: NoteFinding | None


class GroupAnchored(Struct, frozen=True):
    """It is in force."""


class GroupCommitted(Struct, frozen=True):
    """The commit is the group's history now.

    Attributes:
        record_hash: leaf hash of the commit's ledger record.
        deliveries: mailboxes and the sequence that commit or Welcome has in each.
        repeated: this is the first answer again.
    """

    epoch: int
    chain: bytes
    record_hash: bytes
    deliveries: tuple[tuple[int, int], ...]
    repeated: bool


class AdvanceEra(Struct, frozen=True):
    """A group is made again under its MLS id, with the same members, in the place of the one before: all or nothing.

    Attributes:
        group: the number of the one before.
        era: of the new one.
        ref: the new one's name.
        chain: the head of its empty log.
        commit: its first commit, which welcomes every other member; its ``group`` is not known yet, and 0.
        salt: fresh, for the entry that says so.
    """

    group: int
    era: int
    ref: bytes
    group_id: bytes
    chain: bytes
    commit: CommitGroup
    salt: bytes


class EraAdvanced(Struct, frozen=True):
    """The new group and its first commit."""

    ref: bytes
    era: int
    commit: GroupCommitted


class ResetMailbox(Struct, frozen=True):
    """A device starts anew after its mailbox was lost; numbering goes on."""

    tenant: int
    mailbox: int
    state_counter: int


class MailboxReset(Struct, frozen=True):
    """Everything up to here counts as acknowledged."""

    acknowledged: int


class LoseMailbox(Struct, frozen=True):
    """Empties a mailbox that is overfull or overdue (never from the middle), and stops fan-out to it."""

    tenant: int
    mailbox: int


class MailboxLost(Struct, frozen=True):
    """How many items were dropped."""

    dropped: int


class PurgeRelay(Struct, frozen=True):
    """Removes what is past its time: sessions, key packages, hashes of published packages, old commits."""

    now_ms: int
    commits_before_ms: int


class RelayPurged(Struct, frozen=True):
    """How many rows went."""

    sessions: int
    packages: int
    published: int
    commits: int
