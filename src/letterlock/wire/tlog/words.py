"""The words that ledger entries may use: closed lists. A word outside them is refused by encoder and decoder."""

from enum import StrEnum, unique


@unique
class ReasonCode(StrEnum):
    """Why something fell back, was refused, held, quarantined or failed."""

    NO_SECURE_PATH = "no_secure_path"
    PEER_NOT_REGISTERED = "peer_not_registered"
    NO_KEY_PACKAGE = "no_key_package"
    CAPABILITY_ABSENT = "capability_absent"
    CAPABILITY_UNPROVEN = "capability_unproven"
    FIRST_CONTACT = "first_contact"
    HANDSHAKE_FAILED = "handshake_failed"
    HANDSHAKE_MISMATCH = "handshake_mismatch"
    DEVICE_LIST_INVALID = "device_list_invalid"
    ERA_ENDED = "era_ended"
    FLOOR = "floor"
    POLICY = "policy"
    GUARD = "guard"
    CONSENT_MISSING = "consent_missing"
    CONSENT_GIVEN = "consent_given"
    CONSENT_REFUSED = "consent_refused"
    CONSENT_EXPIRED = "consent_expired"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    CONSENT_VOID = "consent_void"
    ROUTE_AVAILABLE = "route_available"
    SECURE_PATH_RETURNED = "secure_path_returned"
    CLAIM_CONTRADICTS_BODY = "claim_contradicts_body"
    CLAIM_NOT_MLS = "claim_not_mls"
    CLAIM_UNAUTHORISED = "claim_unauthorised"
    UNAUTHENTICATED_REPORT = "unauthenticated_report"
    DELIVERY_FAILED = "delivery_failed"
    DELIVERY_TIMEOUT = "delivery_timeout"
    TRANSPORT_DOWN = "transport_down"
    TRANSPORT_REJECTED = "transport_rejected"
    DESTINATION_INVALID = "destination_invalid"
    EXPIRED = "expired"
    THROTTLED = "throttled"
    QUOTA = "quota"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    OPERATOR = "operator"
    OTHER = "other"


@unique
class Answer(StrEnum):
    """How a challenge ended."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


@unique
class FloorCause(StrEnum):
    """Why a floor moved."""

    ATTESTED = "attested"
    DEVICE_LIST = "device_list"
    CONSENT = "consent"
    POLICY = "policy"
    OPERATOR = "operator"


@unique
class StorageKeyStep(StrEnum):
    """What happened to the key of a storage generation."""

    CREATED = "created"
    DESTROY_INTENT = "destroy_intent"
    DESTROYED = "destroyed"


@unique
class Step(StrEnum):
    """Of an effect outside the database: the intent first, the outcome after."""

    INTENT = "intent"
    OUTCOME = "outcome"


@unique
class PurgeKind(StrEnum):
    """What a purge removed."""

    MESSAGES = "messages"
    BODIES = "bodies"
    RECORDS = "records"
    OPENINGS = "openings"
    SESSIONS = "sessions"
    KEY_PACKAGES = "key_packages"
    IDEMPOTENCY = "idempotency"
    OTHER = "other"


@unique
class TenantStep(StrEnum):
    """What happened to a tenant."""

    CREATED = "created"
    CHANGED = "changed"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    API_KEY_ADDED = "api_key_added"
    API_KEY_REVOKED = "api_key_revoked"


@unique
class ToggleWord(StrEnum):
    """What a tenant chose for its conversations."""

    AS_POLICY = "as_policy"
    E2EE_FIRST = "e2ee_first"


@unique
class ReceiptWord(StrEnum):
    """What a device's receipt says of a message."""

    DELIVERED = "delivered"
    DISPLAYED = "displayed"


@unique
class MarkerHop(StrEnum):
    """A part of a server that signs markers, each under a key of its own."""

    ACCEPT = "accept"
    """It takes messages in."""
    DISPATCH = "dispatch"
    """It hands messages to a transport."""


@unique
class Severity(StrEnum):
    """How much a finding matters."""

    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"


@unique
class FindingCode(StrEnum):
    """What was noticed."""

    DOWNGRADE_SUSPECTED = "downgrade_suspected"
    CAPABILITY_SUPPRESSED = "capability_suppressed"
    HANDSHAKE_TAMPERED = "handshake_tampered"
    IDENTITY_MISBOUND = "identity_misbound"
    CLAIM_CONTRADICTS_BODY = "claim_contradicts_body"
    CLAIM_NOT_MLS = "claim_not_mls"
    CLAIM_UNAUTHORISED = "claim_unauthorised"
    GHOST_DEVICE = "ghost_device"
    EXTERNAL_COMMIT = "external_commit"
    GROUP_FORKED = "group_forked"
    """A member's GroupInfo tells another state than the commits led to."""
    GROUP_COMMIT_INVALID = "group_commit_invalid"
    """A commit, or a first GroupInfo, that is not valid for the group's public state, or of another device."""
    GROUP_UNREADABLE = "group_unreadable"
    """A private commit: the group is not followed any more."""
    GROUP_ROSTER_DIFFERS = "group_roster_differs"
    """The leaves of a group are not the listed devices of its members."""
    GROUP_CREDENTIAL_REFUSED = "group_credential_refused"
    """RCC.16: a member's certificate is not one of the profile, below no configured root, or too little is left."""
    GROUP_LEAF_EXPIRED = "group_leaf_expired"
    GROUP_REANCHORED = "group_reanchored"
    """A group is followed again after a stretch that was not."""
    GROUP_COMMIT_REPORTED = "group_commit_reported"
    """A member's device signed that it cannot take a commit that was ordered here."""
    GROUP_QUARANTINED = "group_quarantined"
    """Two accounts reported the same commit: the group takes nothing any more."""
    GROUP_REPLACED = "group_replaced"
    """A member of a quarantined group made a new one in its place."""
    GROUP_ERA_ADVANCED = "group_era_advanced"
    """RCC.16: a member made the group again, with the same members, in the place of the one before."""
    EPOCH_AUTHENTICATOR_FORKED = "epoch_authenticator_forked"
    """RCC.16: two authenticators for one group, era and epoch. Its members may not be in the same group."""
    DEVICE_CLONED = "device_cloned"
    DEVICE_LIST_FORK = "device_list_fork"
    STATE_ROLLED_BACK = "state_rolled_back"
    LEDGER_ROLLED_BACK = "ledger_rolled_back"
    RECEIPT_ON_OTHER_CHANNEL = "receipt_on_other_channel"
    RECEIPT_FORGED = "receipt_forged"
    """A signature that the device's listed key did not make."""
    RECEIPT_OF_OTHER_MESSAGE = "receipt_of_other_message"
    RECEIPT_OF_OTHER_GROUP = "receipt_of_other_group"
    """About another group, epoch or roster than the message went to."""
    RECEIPT_OF_OTHER_DEVICE = "receipt_of_other_device"
    """Handed in by another device, or of one that was no recipient."""
    RECEIPT_KEY_REPLACED = "receipt_key_replaced"
    """Signed with a key, or under a device list, that is not the account's present one."""
    REPLAY = "replay"
    CONSENT_FARMING = "consent_farming"
    QUOTA_DRAINING = "quota_draining"
    LAST_RESORT_SERVED = "last_resort_served"
    """A key package that is used more than once was handed out: its device had no other."""
    MAILBOX_QUOTA_REACHED = "mailbox_quota_reached"
    """Too much of some senders waits in mailboxes: nothing more is taken of them."""
    AUTHENTICATION_FAILED = "authentication_failed"
    PLAINTEXT_FOUND = "plaintext_found"
    OVERDUE_ROWS = "overdue_rows"
    CLOCK_JUMPED = "clock_jumped"
    INBOUND_DROPPED = "inbound_dropped"
    """A message from a transport was taken, and there is no inbox for it."""
