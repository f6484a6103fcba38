"""What every stored column holds, and how long it may stay: the one declaration. A test compares it with the schema.

It covers the main database, the vault's file, and the files beside them.
"""

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
    INTERVAL = "until its interval closes, minutes later; then as a record"
    QUESTION = "until the question expires"
    RECEIPTS = "3 days"
    KEPT_COPY = "as long as the consent to keep it says"
    ATTACHMENT = "until every recipient has acknowledged it; 30 days at most, an unfinished upload one day"
    TOKEN = "until spent or revoked; 31 days at most"  # noqa: S105 - words about tokens
    PUSH = "until the device ends it, its push service does, or 30 days after it was last confirmed"
    INTENT = "until its outcome is recorded"
    SUBJECT = "until the person is erased"
    HOLD = "until the legal hold is released"


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
        state="epoch first_epoch private_handshakes log_seq log_head created_ms successor",
    ),
    "group_member": _table(_L.GROUP, routing="group_no mailbox"),
    "group_silent": _table(_L.GROUP, routing="group_no mailbox"),
    "group_public": _table(_L.GROUP, routing="group_no state", state="epoch standing until_ms gaps era"),
    "group_era": _table(_L.GROUP, routing="group_no", state="era entry created_ms", opening="salt"),
    "group_authenticator": _table(_L.GROUP, routing="group_no", state="epoch digest forked"),
    "group_log": _table(
        _L.GROUP_LOG, routing="group_no committer", pseudonym="message_id message idempotency_key request_hash",
        state="seq base_epoch log_head generation created_ms", ledger="record_hash", sealed="sealed",
    ),
    "group_change": _table(_L.GROUP_LOG, routing="group_no mailbox", state="seq added"),
    "group_report": _table(
        _L.GROUP_LOG, routing="group_no mailbox", pseudonym="account", state="base_epoch created_ms"
    ),
    "group_quarantine": _table(
        _L.GROUP, routing="group_no", state="base_epoch commit_hash entry created_ms", opening="salt"
    ),
    "group_roster": _table(_L.GROUP_LOG, routing="group_no", state="epoch digest leaves created_ms"),
    "receipt_waiting": _table(_L.DELIVERY_PLUS_N, pseudonym="no tenant message", routing="handed_by receipt"),
    "message_receipt": _table(_L.DELIVERY_PLUS_N, pseudonym="message", routing="mailbox", state="kind recipients"),
    "receipt_refused": _table(_L.DELIVERY_PLUS_N, pseudonym="message", state="reason count"),
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
        _L.KEPT_COPY, pseudonym="message consent", sealed="sealed", state="generation expires_ms"
    ),
    "outbox": _table(
        _L.UNTIL_DELIVERED, pseudonym="message tenant", sealed="address",
        state="channel generation due_ms attempts fence lease_until_ms traffic parts_sent",
    ),
    "remote_part": _table(_L.RECEIPTS, pseudonym="token message", state="route state expires_ms"),
    "early_receipt": _table(_L.RECEIPTS, pseudonym="token", state="route state expires_ms"),
    "floor": _table(_L.TENANT, pseudonym="tenant subject", state="protection version cause updated_ms"),
    "toggle": _table(_L.TENANT, pseudonym="tenant subject", configuration="mode", state="version updated_ms"),
    "challenge": _table(
        _L.QUESTION, pseudonym="id tenant message binding nonce subject held account",
        state="cause from_protection to_protection channel state created_ms expires_ms",
    ),
    "challenge_device": _table(
        _L.QUESTION, pseudonym="challenge tenant account", sealed="sealed", state="generation"
    ),
    "consent": _table(
        _L.QUESTION, pseudonym="id tenant challenge answered_by used_by", state="kind state created_ms expires_ms"
    ),
    "push_subscription": _table(
        _L.PUSH, routing="mailbox", pseudonym="tenant endpoint_mac", sealed="sealed", state="generation expires_ms"
    ),
    "delivery_token": _table(
        _L.TOKEN, credential_hash="hash", pseudonym="tenant", routing="mailbox", state="expires_ms"
    ),
    "attachment": _table(
        _L.ATTACHMENT, pseudonym="no tenant id", routing="uploader group_no", state="size received expires_ms"
    ),
    "attachment_key": _table(_L.ATTACHMENT, pseudonym="attachment", sealed="wrapped_key", state="generation"),
    "attachment_piece": _table(_L.ATTACHMENT, pseudonym="no attachment", sealed="sealed", state="start"),
    "attachment_awaited": _table(_L.ATTACHMENT, pseudonym="attachment", routing="mailbox"),
    "intent": _table(_L.INTENT, state="no kind created_ms", pseudonym="subject"),
    "ledger_entry": _table(_L.PERMANENT, ledger="i d"),
    "ledger_tile": _table(_L.PERMANENT, ledger="l n d"),
    "ledger_checkpoint": _table(_L.PERMANENT, ledger="size note"),
    "ledger_edge": _table(_L.PERMANENT, ledger="one first hashes"),
    "ledger_head": _table(_L.PERMANENT, ledger="one size peaks"),
    "record_batch": _table(_L.RECORDS, ledger="entry records", opening="seed", state="interval expires_ms"),
    "record_interval": _table(_L.INTERVAL, opening="seed", state="no until_ms"),
    "waiting_record": _table(_L.INTERVAL, ledger="slot record", state="interval"),
}  # fmt: skip

GENERATION_TABLES: Final = (
    "sealed_body", "shreddable_body", "outbox", "kept_copy", "group_log", "attachment_key", "push_subscription",
    "challenge_device",
)  # fmt: skip
"""Tables whose rows name the generation of the storage key that they are sealed under: it lives as long as they do."""

VAULT: Final[dict[str, dict[str, Column]]] = {
    "subject": _table(_L.SUBJECT, pseudonym="row lookup", sealed="sealed", state="sealed_by"),
    "hold": _table(_L.HOLD, pseudonym="lookup hold"),
    "erasure": _table(_L.INTENT, pseudonym="row id lookup"),
}
"""The vault's file: the only way from an identifier to a pseudonym. No backup holds it."""

MEANING: Final[dict[DataClass, str]] = {
    _D.SEALED: "ciphertext of endpoints, or under a key of this gateway that is kept outside the database",
    _D.ROUTING: "who talks with whom, through which mailbox or group",
    _D.PSEUDONYM: "random or keyed ids that stand for people, devices and messages",
    _D.PUBLIC_KEY: "public halves of keys, and what they signed about themselves",
    _D.CREDENTIAL_HASH: "hashes of random secrets; nobody logs in with them",
    _D.OPENING: "opens commitments of the ledger, and goes before them",
    _D.STATE: "words, numbers and times about what happened",
    _D.CONFIGURATION: "what an operator has set",
    _D.LEDGER: "content-free, append-only, signed; and the records behind it",
}


class StoredFile(NamedTuple):
    """A file of the store's folder.

    Attributes:
        name: a suffix of SQLite (``-wal``, ``-shm``) belongs to its database.
        holds: what, for people.
        backup: whether a backup may have it.
    """

    name: str
    holds: str
    backup: bool


FILES: Final = (
    StoredFile("letterlock.db", "the main database", True),
    StoredFile("vault.db", "the vault: identifiers, sealed, to pseudonyms", False),
    StoredFile("keys.store", "the file key store: keys, sealed under root.key or the passphrase", False),
    StoredFile("root.key", "32 random bytes that open keys.store; elsewhere, or absent, if settings say so", False),
    StoredFile("storage.keys", "keys of storage generations, wrapped by the key store, destroyed in place", False),
    StoredFile("ledger.vkey", "the log's public key", True),
    StoredFile("ledger-head.note", "the last signed head, unless settings name another place", True),
    StoredFile("api-key", "the first tenant's API key, once, beside root.key; move it to your secrets", False),
    StoredFile("store.lock", "held by the one process that writes; empty", False),
)

DAY_MS: Final = 86_400_000


class Due(NamedTuple):
    """Which rows of a table are past their time.

    Attributes:
        table: whose rows.
        lifetime: which one they have.
        where: an SQL condition; ``:by`` is the time, in milliseconds, at or before which a row must have been due.
        rounds: purges until the one that surely looks at the row.
        seconds: what may pass besides, where the purge of these rows has a rhythm of its own.
    """

    table: str
    lifetime: Lifetime
    where: str
    rounds: int = 1
    seconds: int = 0


DUE: Final = (
    Due("message", _L.DELIVERY_PLUS_N, "purge_ms <= :by"),
    # Not in a mailbox: a message that could not be sent in time. State 1 waits in mailboxes, which are swept hourly.
    Due("message", _L.UNTIL_DELIVERED, "purge_ms IS NULL AND expires_ms <= :by AND state <> 1"),
    Due("message", _L.UNTIL_DELIVERED, "purge_ms IS NULL AND expires_ms <= :by AND state = 1", seconds=3_600),
    # One purge looks at a sixty-fourth of the keys.
    Due("message_key", _L.DEDUPLICATION, "expires_ms <= :by", rounds=64),
    Due("record_batch", _L.RECORDS, "expires_ms <= :by"),
    Due("record_interval", _L.INTERVAL, "until_ms <= :by"),
    Due("device_session", _L.SESSION, "expires_ms <= :by"),
    Due("key_package", _L.PACKAGE, "expires_ms <= :by"),
    Due("published_package", _L.PACKAGE, "expires_ms <= :by"),
    Due("group_log", _L.GROUP_LOG, f"created_ms <= :by - {30 * DAY_MS}"),
    Due(
        "group_roster",
        _L.GROUP_LOG,
        f"created_ms <= :by - {30 * DAY_MS} AND (group_no, epoch) NOT IN (SELECT no, epoch FROM mls_group)",  # noqa: S608
    ),
    Due("group_report", _L.GROUP_LOG, f"created_ms <= :by - {30 * DAY_MS}"),
    Due("remote_part", _L.RECEIPTS, "expires_ms <= :by"),
    Due("early_receipt", _L.RECEIPTS, "expires_ms <= :by"),
    Due("kept_copy", _L.KEPT_COPY, "expires_ms <= :by"),
    Due("push_subscription", _L.PUSH, "expires_ms <= :by"),
    Due("delivery_token", _L.TOKEN, "expires_ms <= :by"),
    Due("attachment", _L.ATTACHMENT, "expires_ms <= :by"),
    Due("consent", _L.QUESTION, "expires_ms <= :by AND id NOT IN (SELECT consent FROM kept_copy)"),
    Due("challenge", _L.QUESTION, "expires_ms <= :by AND id NOT IN (SELECT challenge FROM consent)"),
)
"""How overdue rows are found. Rows of other tables go with the row that they belong to."""
