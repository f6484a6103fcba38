"""What devices send and get over HTTP (docs/protocol/devices.md). Bytes are base64; ids are text."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from letterlock.relay.limits import MAX_GROUP_ID, MAX_KEY_PACKAGES_PUT, MAX_STATE_COUNTER, TOKENS_AT_ONCE
from letterlock.storage.relay_commands import MAX_MEMBERS
from letterlock.wire.attachment import BLOB_SIZES, PIECE
from letterlock.wire.delivery import MAX_DELIVERY, TOKEN_BYTES
from letterlock.wire.push_targets import MAX_APNS_TOKEN, MAX_FCM_TOKEN, MIN_APNS_TOKEN
from letterlock.wire.webpush import AUTH_BYTES, MAX_ENDPOINT, PUBLIC_BYTES

ID_PATTERN: Final = "_[0-9a-f]{32}$"

Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
DeviceText = Annotated[str, Meta(pattern="^dev" + ID_PATTERN)]
GroupText = Annotated[str, Meta(pattern="^grp" + ID_PATTERN)]
Counter = Annotated[int, Meta(ge=0, le=MAX_STATE_COUNTER)]
GroupIdBytes = Annotated[bytes, Meta(min_length=1, max_length=MAX_GROUP_ID)]
Devices = Annotated[list[DeviceText], Meta(max_length=MAX_MEMBERS)]


class NewAccount(Struct, frozen=True, forbid_unknown_fields=True):
    """The identity key that will sign this account's device lists."""

    identity_key: Annotated[bytes, Meta(max_length=256)]


class AccountAnswer(Struct, frozen=True):
    """An account, and what goes into every signature of its devices."""

    account_id: str
    tenant_id: str
    environment: str
    audience: str


class NewDeviceList(Struct, frozen=True, forbid_unknown_fields=True):
    """The next version of a signed list."""

    device_list: bytes


class ListAnswer(Struct, frozen=True):
    """The version in force, and the leaf hash of its ledger entry."""

    version: int
    list_hash: bytes
    leaf_hash: bytes


class ListedVersion(Struct, frozen=True):
    """One version."""

    version: int
    device_list: bytes
    leaf_hash: bytes


class ListsAnswer(Struct, frozen=True):
    """Versions, oldest first; ask again from the last until it is the current one."""

    account_id: str
    identity_key: bytes
    current_version: int
    versions: list[ListedVersion]


class NonceAnswer(Struct, frozen=True):
    """Good for one login."""

    nonce: bytes
    expires_ms: int


class NewSession(Struct, frozen=True, forbid_unknown_fields=True):
    """A login: the signature covers the nonce and the counter."""

    nonce: Hash
    state_counter: Counter
    signature: Annotated[bytes, Meta(max_length=256)]


class SessionAnswer(Struct, frozen=True):
    """A token for ``Authorization: Bearer``, and where the mailbox stands."""

    token: str
    expires_ms: int
    mailbox_acknowledged: int
    mailbox_head: int
    mailbox_lost: bool
    key_packages: int


class NewKeyPackage(Struct, frozen=True, forbid_unknown_fields=True):
    """An MLSMessage with a key package."""

    key_package: bytes
    last_resort: bool = False


class NewKeyPackages(Struct, frozen=True, forbid_unknown_fields=True):
    """What is added to the pool."""

    packages: Annotated[list[NewKeyPackage], Meta(min_length=1, max_length=MAX_KEY_PACKAGES_PUT)]


class KeyPackagesAnswer(Struct, frozen=True):
    """The pool after adding to it."""

    accepted: int
    duplicates: int
    available: int
    has_last_resort: bool


class Claim(Struct, frozen=True, forbid_unknown_fields=True):
    """For which devices; without the field, for all."""

    devices: Annotated[list[DeviceText], Meta(max_length=64)] | None = None


class ClaimedPackageAnswer(Struct, frozen=True):
    """A device's package."""

    device_id: str
    key_package: bytes
    last_resort: bool


class ClaimAnswer(Struct, frozen=True):
    """The account's list, and one package a device."""

    account_id: str
    identity_key: bytes
    device_list: bytes
    version: int
    leaf_hash: bytes
    packages: list[ClaimedPackageAnswer]
    exhausted: list[str]


class NewGroup(Struct, frozen=True, forbid_unknown_fields=True):
    """A group with its creator alone, at the epoch where the creator's engine stands."""

    group_id: GroupIdBytes
    epoch: Annotated[int, Meta(ge=0, le=MAX_STATE_COUNTER)]
    replaces: GroupText | None = None
    """The quarantined group that this one follows."""


class GroupAnswer(Struct, frozen=True):
    """The relay's name for the group, and the head of its log."""

    group: str
    epoch: int
    chain: bytes


class NewWelcome(Struct, frozen=True, forbid_unknown_fields=True):
    """An MLSMessage with a Welcome, and whom it is for."""

    recipients: Devices
    welcome: bytes


class NewCommit(Struct, frozen=True, forbid_unknown_fields=True):
    """A commit bundle."""

    group_id: GroupIdBytes
    base_epoch: Annotated[int, Meta(ge=0, le=MAX_STATE_COUNTER)]
    commit: bytes
    idempotency_key: Annotated[bytes, Meta(min_length=16, max_length=16)]
    state_counter: Counter
    welcomes: Annotated[list[NewWelcome], Meta(max_length=MAX_MEMBERS)] = []
    group_info: bytes | None = None
    adds: Devices = []
    removes: Devices = []


class CommitAnswer(Struct, frozen=True):
    """The epoch after the commit, the head of the log, and the leaf hash of its ledger record."""

    epoch: int
    chain: bytes
    leaf_hash: bytes


class EraAnswer(Struct, frozen=True):
    """The group of the new era, where it stands after its first commit, and the leaf hash of the commit's record."""

    group: str
    era: int
    epoch: int
    chain: bytes
    leaf_hash: bytes


class Member(Struct, frozen=True):
    """A hint: whoever believes it looks at the account's signed list."""

    account_id: str
    device_id: str


class TrackingAnswer(Struct, frozen=True):
    """How far the relay follows a group's public state: docs/protocol/tracking.md."""

    standing: Literal["not_followed", "followed", "lowered", "lost"]
    epoch: int
    gaps: int


class QuarantineAnswer(Struct, frozen=True):
    """The commit that two accounts could not take, and since when the group takes nothing any more."""

    base_epoch: int
    commit_hash: bytes
    since_ms: int


class SupersededAnswer(Struct, frozen=True):
    """The group that is in the place of this one, and its era (RCC.16)."""

    group: str
    era: int


class GroupStateAnswer(Struct, frozen=True):
    """Where a group stands."""

    group: str
    group_id: bytes
    epoch: int
    chain: bytes
    members: list[Member]
    tracking: TrackingAnswer
    quarantine: QuarantineAnswer | None = None
    era: int | None = None
    superseded_by: SupersededAnswer | None = None


class NewAnchor(Struct, frozen=True, forbid_unknown_fields=True):
    """An MLSMessage with the GroupInfo of the group's head, and its tree."""

    group_info: bytes


class NewReport(Struct, frozen=True, forbid_unknown_fields=True):
    """A commit that the calling device cannot take, signed by its envelope-and-receipt key."""

    kind: Literal["invalid_commit"]
    base_epoch: Annotated[int, Meta(ge=0, le=MAX_STATE_COUNTER)]
    sequence: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    commit_hash: Hash
    signature: Annotated[bytes, Meta(max_length=256)]


class ReportAnswer(Struct, frozen=True):
    """How many accounts count for this commit, and whether the group is quarantined now."""

    accounts: int
    quarantined: bool


class LoggedCommitAnswer(Struct, frozen=True):
    """One commit of the log."""

    base_epoch: int
    commit: bytes
    adds: list[Member]
    removes: list[Member]
    chain: bytes


class CommitsAnswer(Struct, frozen=True):
    """Commits, oldest first."""

    commits: list[LoggedCommitAnswer]


class MailboxItem(Struct, frozen=True):
    """One item. ``group`` is empty for what was not sent to a group."""

    sequence: int
    kind: str
    group: str
    message_id: str
    accepted_ms: int
    protection: str
    grade: str
    verifier: str
    body: bytes


class MailboxAnswer(Struct, frozen=True):
    """A page of a mailbox."""

    items: list[MailboxItem]
    head: int


class Acknowledgement(Struct, frozen=True, forbid_unknown_fields=True):
    """All up to ``through`` is in the device's durable state."""

    through: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    state_counter: Counter


class Reset(Struct, frozen=True, forbid_unknown_fields=True):
    """The device starts anew after its mailbox was lost."""

    state_counter: Counter


class AcknowledgedAnswer(Struct, frozen=True):
    """Everything up to here is acknowledged."""

    acknowledged: int


class NewAttachment(Struct, frozen=True, forbid_unknown_fields=True):
    """The size of the encrypted blob: one of eight."""

    size: Annotated[int, Meta(ge=1, le=BLOB_SIZES[-1])]


class NewPiece(Struct, frozen=True, forbid_unknown_fields=True):
    """The next bytes of the blob."""

    offset: Annotated[int, Meta(ge=0, lt=BLOB_SIZES[-1])]
    piece: Annotated[bytes, Meta(min_length=1, max_length=PIECE)]


class AttachmentAnswer(Struct, frozen=True):
    """How far an upload is; whole when ``received`` is ``size``."""

    size: int
    received: int
    expires_ms: int


class PieceAnswer(Struct, frozen=True):
    """A part of the blob, and how long all of it is."""

    offset: int
    piece: bytes
    size: int


class PushOffer(Struct, frozen=True):
    """By which push services devices are woken, and the key for Web Push: an uncompressed point of P-256 (RFC 8292)."""

    public_key: bytes
    kinds: list[str]


class NewPushSubscription(Struct, frozen=True, forbid_unknown_fields=True):
    """A subscription as the Push API gives it."""

    endpoint: Annotated[str, Meta(min_length=1, max_length=MAX_ENDPOINT)]
    p256dh: Annotated[bytes, Meta(min_length=PUBLIC_BYTES, max_length=PUBLIC_BYTES)]
    auth: Annotated[bytes, Meta(min_length=AUTH_BYTES, max_length=AUTH_BYTES)]


class NewApnsToken(Struct, frozen=True, forbid_unknown_fields=True):
    """What Apple's push service gave the app."""

    token: Annotated[bytes, Meta(min_length=MIN_APNS_TOKEN, max_length=MAX_APNS_TOKEN)]


class NewFcmToken(Struct, frozen=True, forbid_unknown_fields=True):
    """What Firebase Cloud Messaging gave the app."""

    token: Annotated[str, Meta(min_length=32, max_length=MAX_FCM_TOKEN)]


class PushAnswer(Struct, frozen=True):
    """When it ends unless it is sent again."""

    expires_ms: int


class TokenHashes(Struct, frozen=True, forbid_unknown_fields=True):
    """SHA-256 of each token: the relay is not shown a token before it is used."""

    hashes: Annotated[list[Hash], Meta(min_length=1, max_length=TOKENS_AT_ONCE)]


class TokensAnswer(Struct, frozen=True):
    """How many tokens of this device are live, and until when those of this request are good."""

    live: int
    expires_ms: int


class RevokedTokens(Struct, frozen=True):
    """How many of them were live."""

    revoked: int


class NewDelivery(Struct, frozen=True, forbid_unknown_fields=True):
    """A token of the recipient's device, and a sealed delivery."""

    token: Annotated[bytes, Meta(min_length=TOKEN_BYTES, max_length=TOKEN_BYTES)]
    body: Annotated[bytes, Meta(max_length=MAX_DELIVERY)]


class DeliveryAnswer(Struct, frozen=True):
    """``accepted``, or ``duplicate`` for the same again."""

    status: str
    message_id: str
    record_hash: str
