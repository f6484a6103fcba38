"""The closed reasons of the device's operations. None holds content, keys or addresses."""

from enum import unique
from typing import ClassVar

from letterlock.model.errors import Fault, OperationError, Reason


@unique
class EngineReason(Reason):
    """Why the MLS engine, or its adapter, did not do something."""

    NOT_MEMORY_BACKED = "state_directory_is_not_memory_backed"
    NOT_INSTALLED = "engine_is_not_installed"
    UNKNOWN_ENGINE = "engine_is_not_known"
    UNKNOWN_GROUP = "unknown_group"
    GROUP_EXISTS = "group_exists"
    GROUP_LEFT = "group_left"
    """This device was removed from the group."""
    COMMIT_PENDING = "commit_pending"
    """A commit or a join waits for confirm or discard; nothing else happens in this group before."""
    NOTHING_PENDING = "nothing_pending"
    WRONG_EPOCH = "wrong_epoch"
    WRONG_KIND = "wrong_kind"
    """Not a kind of MLS message that belongs here."""
    NOT_FOR_US = "not_for_us"
    """A welcome for a key package that is not here, or was used before."""
    REFUSED = "refused_by_the_engine"
    """Decryption, signature, replay or structure: the engine said no, and its state is as before."""
    OWN_MESSAGE = "own_message"
    TOO_MANY = "too_many"
    STATE_DAMAGED = "state_damaged"
    ABSENT = "capability_absent"
    """The engine has no such function; it is not imitated."""


class EngineError(OperationError[EngineReason]):
    """An MLS operation failed. The engine's state is what it was before the call."""

    fault: ClassVar[Fault] = Fault.PEER


@unique
class StoreReason(Reason):
    """Why the device's store failed."""

    IN_USE = "store_is_used_by_another_process"
    NEWER_SCHEMA = "store_is_newer_than_this_program"
    NOT_A_STORE = "not_a_device_store"
    WRONG_KEY = "wrong_client_key_or_damaged"
    FULL = "disk_full"
    READ_ONLY = "store_is_read_only"
    IO = "store_input_output"
    CLOSED = "store_is_closed"
    CURSOR_BACK = "cursor_goes_back"


class StoreError(OperationError[StoreReason]):
    """The device's durable state could not be read or written; nothing was half-written."""


@unique
class PayloadReason(Reason):
    """Why what a message says is refused."""

    MALFORMED = "payload_malformed"
    UNKNOWN_FORMAT = "payload_format_unknown"
    NOT_TEXT = "payload_not_utf8"
    OUT_OF_BOUNDS = "payload_field_out_of_bounds"
    UNSAFE_NAME = "payload_file_name_not_safe"


class PayloadError(OperationError[PayloadReason]):
    """A payload cannot be made, or one that came says something that its type does not allow."""

    fault: ClassVar[Fault] = Fault.PEER


@unique
class MediaReason(Reason):
    """Why a medium is not sealed, or a blob does not become a medium."""

    TOO_LARGE = "medium_too_large"
    EMPTY = "medium_empty"
    BAD_LOCATOR = "locator_names_no_attachment"
    CUT_SHORT = "blob_shorter_than_it_says"
    TAMPERED = "blob_not_authentic"
    """A chunk was changed, moved, left out or added, or belongs to another blob."""
    ANOTHER_BLOB = "blob_is_not_the_one_that_was_referred_to"
    BAD_PADDING = "blob_padding_not_empty"


class MediaError(OperationError[MediaReason]):
    """A medium cannot be sealed, or what the relay handed out is not what the sender sealed. Nothing of it is given."""

    fault: ClassVar[Fault] = Fault.PEER


@unique
class TokenReason(Reason):
    """Why a delivery, or what hands out tokens, is refused."""

    NOT_A_DELIVERY = "not_a_sealed_delivery"
    UNKNOWN = "delivery_for_a_token_that_was_not_handed_out"
    NOT_AUTHENTIC = "delivery_not_authentic"
    NOT_MLS = "delivery_holds_no_mls_message"
    MALFORMED = "tokens_malformed"


class TokenError(OperationError[TokenReason]):
    """A delivery cannot be opened, or tokens cannot be taken. Nothing of it counts."""

    fault: ClassVar[Fault] = Fault.PEER


@unique
class GateReason(Reason):
    """Why a key package, a commit or a welcome is refused before, or without, the engine."""

    NOT_PARSED = "not_parsed"
    WRONG_GROUP = "wrong_group"
    WRONG_EPOCH = "wrong_epoch"
    EXTERNAL_COMMIT = "external_commit"
    SENDER_UNKNOWN = "sender_unknown"
    PROPOSAL_BY_REFERENCE = "proposal_by_reference"
    PROPOSAL_KIND = "proposal_kind_not_allowed"
    LEAF_NOT_LISTED = "leaf_not_on_the_signed_list"
    CREDENTIAL_MISMATCH = "credential_is_not_the_leaf_key"
    LEAF_CHANGED = "sender_leaf_key_changed"
    UNKNOWN_DEVICE = "device_not_on_the_signed_list"
    DUPLICATE_DEVICE = "device_named_twice"
    LIST_REFUSED = "device_list_refused"
    ROSTER_UNKNOWN = "roster_cannot_be_checked"
    """The relay does not say, or no longer, whose the leaves are: this device may have been removed meanwhile."""
    LOG_FORKED = "log_forked"
    """Two commits for one epoch, or a log head that does not follow: members are shown different histories."""
    COMMIT_MISSING = "commit_missing"
    """Something of a later epoch came: the commit that leads there was withheld."""
    COMMIT_INVALID = "commit_not_valid_for_the_public_state"
    """What this device computed of the group's public state does not allow the commit (RFC 9420, sections 7 and 12)."""
    ENGINE_DIFFERS = "engine_reached_another_state"
    """After the commit the engine tells another state than the one that this device computed."""
    SUITE = "suite_not_supported"
    PRIVATE_COMMIT = "private_commit_cannot_be_screened"
    LIFETIME_TOO_LONG = "lifetime_too_long"
    NOT_YET_VALID = "lifetime_not_begun"
    EXPIRED = "lifetime_over"
    BORN_DOWNGRADED = "group_says_that_it_is_not_encrypted"
    """The group's context carries ``end_mls`` (RCC.16): joining it would be a step down by itself (A14)."""


class GateError(OperationError[GateReason]):
    """Refused at the gate. What was refused never reached the engine, or was thrown away before it counted."""

    fault: ClassVar[Fault] = Fault.PEER


@unique
class DeviceReason(Reason):
    """Why a device did not do something."""

    NOT_LOGGED_IN = "not_logged_in"
    NOT_ENROLLED = "not_enrolled"
    UNKNOWN_GROUP = "unknown_group"
    GROUP_STOPPED = "group_stopped_at_the_gate"
    GROUP_GOES_ON = "group_goes_on"
    GROUP_FORGOTTEN = "group_forgotten"
    """It still waited to be sent when its group was forgotten here: it went to nobody, and will not."""
    KEY_PACKAGES_EXHAUSTED = "peer_has_no_key_packages"
    NO_IDENTITY_KEY = "this_device_holds_no_identity_key"
    MAILBOX_GAP = "mailbox_gap"
    MESSAGES_MISSING = "messages_missing"
    """A sender's numbers have a gap: something that it sent did not come. Said once, and not an end."""
    STATE_ROLLED_BACK = "state_rolled_back"
    """The relay has heard of a newer state of this device: it must enrol anew before it sends (A18)."""
    LOST_RACE = "another_commit_won"
    BELOW_FLOOR = "below_the_floor_kept_on_this_device"
    HELD = "held_until_the_secure_path_is_there"
    """Nothing lesser is on offer: nobody proved that the secure path cannot be had."""
    SCOPE_NOT_OFFERED = "consent_scope_not_offered"
    ALIAS_TAKEN = "number_is_linked_to_another_account"
    NOT_THIS_DEVICE = "another_device_must_do_this"
    GROUP_REPLACED = "group_closed_for_a_new_one"
    GROUP_QUARANTINED = "group_quarantined"
    """Members reported a commit that they cannot take: only a new group helps."""
    GIVEN_UP = "group_given_up_by_the_author_of_its_last_commit"
    NOT_THE_AUTHOR = "last_commit_was_not_made_here"
    UNKNOWN_MESSAGE = "message_not_sent_from_here"
    NO_RESEND = "resend_would_be_wrong"
    """A recipient told an outcome (RCC.16, 7 to 12): everything that can be done was done."""
    CONTENT_TOO_LARGE = "content_too_large"
    PUSH_NOT_OFFERED = "push_not_offered"
    """This gateway's settings list no push service."""
    NO_DELIVERY_TOKENS = "no_delivery_tokens_of_a_member"
    """A member's device has handed out none, or none is left: nothing was encrypted, and nothing goes another way."""
    NO_WAY_APART = "no_connection_apart_for_hidden_sending"
    REMOVED = "device_was_removed_from_its_account"
    CONNECTED_ELSEWHERE = "device_connected_a_second_time"
    """Another process runs on a copy of this device."""


class DeviceError(OperationError[DeviceReason]):
    """The device refuses, or cannot."""


@unique
class ChatReason(Reason):
    """Why a conversation does not begin."""

    NOT_A_NAME = "not_a_name"
    NOT_A_CONTACT = "not_a_contact_line"
    OWN_CONTACT = "contact_line_is_your_own"
    FINGERPRINT_DIFFERS = "identity_key_is_not_that_of_the_contact_line"
    """The relay shows, or showed earlier, another identity key than the contact line names. Nothing was sent."""
    NOT_A_GATEWAY = "not_a_gateway_address"
    PLAIN_HTTP = "plain_http_beyond_loopback"
    API_KEY_NEEDED = "api_key_needed_to_enrol"
    KEY_FILE_MISSING = "key_file_of_the_device_is_missing"
    KEY_FILE_OPEN = "key_file_of_the_device_readable_by_others"
    KEY_FILE_UNUSABLE = "key_file_of_the_device_unusable"
    CONTACT_UNKNOWN = "contact_is_not_known_to_the_gateway"
    NOT_TAKEN = "gateway_does_not_take_this_device"
    """Another gateway, or this device was removed."""


class ChatError(OperationError[ChatReason]):
    """A conversation could not begin. Nothing was sent to anybody."""


@unique
class RelayReason(Reason):
    """What the relay or the gateway answered, as far as a client acts on it."""

    UNREACHABLE = "unreachable"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    WRONG_EPOCH = "wrong_epoch"
    GROUP_QUARANTINED = "group_quarantined"
    STATE_ROLLED_BACK = "state_rolled_back"
    DEVICE_LIST_VERSION = "device_list_version"
    CONSENT_REQUIRED = "consent_required"
    REFUSED = "refused"
    TOO_MANY_REQUESTS = "too_many_requests"
    OVERLOADED = "overloaded"
    SERVER = "server_error"
    BAD_ANSWER = "answer_not_understood"


class RelayError(OperationError[RelayReason]):
    """A call to the relay did not succeed. ``fault`` is whose fault the relay said, not who is right."""

    fault: ClassVar[Fault] = Fault.PEER
