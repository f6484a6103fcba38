"""What every stored column holds, and how long it may stay: the one declaration. A test compares it with the schema."""

from enum import Enum, unique
from typing import Final, NamedTuple


@unique
class DataClass(Enum):
    """What a column holds. There is no class for readable content, because there is no such column."""

    SEALED = "sealed"
    """Ciphertext: of endpoints, or under a storage key."""
    ROUTING = "routing"
    """Who talks with whom through which mailbox or group."""
    PSEUDONYM = "pseudonym"
    """Random or keyed ids that stand for people, devices and messages."""
    PUBLIC_KEY = "public_key"
    CREDENTIAL_HASH = "credential_hash"
    OPENING = "opening"
    """Opens a commitment of the ledger."""
    STATE = "state"
    """Words and numbers about what happened."""
    CONFIGURATION = "configuration"
    LEDGER = "ledger"
    """Content-free, append-only."""


@unique
class Lifetime(Enum):
    """How long it may stay."""

    PERMANENT = "permanent"
    TENANT = "as long as the tenant"
    ACCOUNT = "as long as the account; a revoked device leaves a tombstone"
    SESSION = "until the session ends"
    GROUP = "as long as the group"
    GROUP_LOG = "30 days"
    PACKAGE = "until claimed or over"
    UNTIL_DELIVERED = "until delivered, given up or expired"
    DELIVERY_PLUS_N = "N minutes after the end of the message (a setting)"
    DEDUPLICATION = "7 days"
    RECORDS = "400 days"
    QUESTION = "until the question expires"
    RECEIPTS = "3 days"


class Column(NamedTuple):
    """One column's declaration."""

    data: DataClass
    lifetime: Lifetime


_D = DataClass
_L = Lifetime


def _table(lifetime: Lifetime, **groups: str) -> dict[str, Column]:
    """Columns by class: ``routing="a b"`` declares two columns."""
    return {name: Column(DataClass[data.upper()], lifetime) for data, names in groups.items() for name in names.split()}


TABLES: Final[dict[str, dict[str, Column]]] = {
    "counter": _table(_L.PERMANENT, state="name value"),
    "tenant": _table(_L.TENANT, pseudonym="no id", configuration="name profile e2ee_first version", state="created_ms"),
    "api_key": _table(
        _L.TENANT, pseudonym="tenant id", credential_hash="secret_hash", configuration="scopes",
        state="created_ms expires_ms revoked_ms",
    ),
    "account": _table(
        _L.ACCOUNT, pseudonym="tenant id subject", public_key="identity_key", state="list_version list_hash created_ms"
    ),
    "device_list_version": _table(
        _L.ACCOUNT, pseudonym="tenant account", state="version list_hash entry created_ms", public_key="signed",
        ledger="leaf_hash", opening="salt",
    ),
    "device": _table(
        _L.ACCOUNT, routing="mailbox account", pseudonym="tenant id", public_key="session_key leaf_key",
        state="kind head acked state_counter lost created_ms revoked_ms",
    ),
    "device_session": _table(
        _L.SESSION, pseudonym="tenant", credential_hash="token_hash", routing="mailbox", state="expires_ms"
    ),
    "key_package": _table(
        _L.PACKAGE, pseudonym="no tenant ref", routing="mailbox", public_key="package", state="last_resort expires_ms"
    ),
    "published_package": _table(_L.PACKAGE, pseudonym="tenant ref", state="expires_ms"),
    "mls_group": _table(
        _L.GROUP, pseudonym="no tenant ref group_id", routing="creator",
        state="epoch first_epoch private_handshakes log_seq log_head created_ms",
    ),
    "group_member": _table(_L.GROUP, routing="group_no mailbox"),
    "group_silent": _table(_L.GROUP, routing="group_no mailbox"),
    "group_log": _table(
        _L.GROUP_LOG, routing="group_no committer", pseudonym="message_id message idempotency_key request_hash",
        state="seq base_epoch log_head generation created_ms", ledger="record_hash", sealed="sealed",
    ),
    "group_change": _table(_L.GROUP_LOG, routing="group_no mailbox", state="seq added"),
    "message": _table(
        _L.DELIVERY_PLUS_N, pseudonym="seq tenant id subject consent", routing="group_no sender",
        state="state channel protection grade verifier indicator decision rule fall pending size_bucket entry slot"
        " reason accepted_ms updated_ms expires_ms purge_ms",
    ),
    "message_key": _table(
        _L.DEDUPLICATION, pseudonym="id tenant seq request_mac", ledger="record_hash", state="status expires_ms"
    ),
    "sealed_body": _table(_L.UNTIL_DELIVERED, pseudonym="message", sealed="sealed", state="generation"),
    "mailbox_item": _table(_L.UNTIL_DELIVERED, routing="key", pseudonym="message", state="kind"),
    "shreddable_body": _table(_L.UNTIL_DELIVERED, pseudonym="message", sealed="sealed wrapped_key", state="generation"),
    "kept_copy": _table(
        _L.QUESTION, pseudonym="message consent", sealed="sealed", state="generation expires_ms"
    ),
    "outbox": _table(
        _L.UNTIL_DELIVERED, pseudonym="message tenant", sealed="address",
        state="channel generation due_ms attempts fence lease_until_ms",
    ),
    "remote_part": _table(_L.RECEIPTS, pseudonym="token message", state="route state expires_ms"),
    "early_receipt": _table(_L.RECEIPTS, pseudonym="token", state="route state expires_ms"),
    "floor": _table(_L.TENANT, pseudonym="tenant subject", state="protection version cause updated_ms"),
    "challenge": _table(
        _L.QUESTION, pseudonym="id tenant message binding nonce subject held",
        state="cause from_protection to_protection channel state created_ms expires_ms",
    ),
    "consent": _table(
        _L.QUESTION, pseudonym="id tenant challenge answered_by used_by", state="kind state created_ms expires_ms"
    ),
    "intent": _table(_L.PERMANENT, state="no kind done created_ms", pseudonym="subject"),
    "ledger_entry": _table(_L.PERMANENT, ledger="i d"),
    "ledger_tile": _table(_L.PERMANENT, ledger="l n d"),
    "ledger_checkpoint": _table(_L.PERMANENT, ledger="size note"),
    "ledger_head": _table(_L.PERMANENT, ledger="one size peaks"),
    "record_batch": _table(_L.RECORDS, ledger="entry records", opening="seed", state="expires_ms"),
}  # fmt: skip
