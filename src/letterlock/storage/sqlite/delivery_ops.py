"""Delivery tokens in the writer: spent with the message that they let in, in one transaction."""

from typing import Final

from letterlock.model.message import MessageState
from letterlock.storage.commands import Accepted
from letterlock.storage.delivery_commands import AcceptDelivery, AddTokens, PurgeTokens, RevokeTokens, TokensLive
from letterlock.storage.relay_commands import RelayReason, relay_refused
from letterlock.storage.sqlite.message_ops import check_relied, find_duplicate, insert_message
from letterlock.storage.sqlite.relay_mail import PURGE_BATCH, caller_alive
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.state import MAILBOX_SHIFT
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog.commitments import message_commitment
from letterlock.wire.tlog.entries import Purge
from letterlock.wire.tlog.records import accepted
from letterlock.wire.tlog.words import PurgeKind

_RELAY: Final = 0
"""The channel's number."""


def add_tokens(tx: Transaction, command: AddTokens) -> TokensLive:
    """Keeps the hashes of tokens that the caller hands out; the same again is harmless.

    Raises:
        CommitRefused: too many; one of them leads to another mailbox.
    """
    db = tx.db
    caller_alive(tx, command.tenant, command.caller)
    for hashed in command.hashes:
        row = first(db, "SELECT mailbox FROM delivery_token WHERE hash=?", (hashed,))
        if row is not None and row[0] != command.caller:
            raise relay_refused(RelayReason.TOKEN_TAKEN)
    db.executemany(
        "INSERT OR IGNORE INTO delivery_token (hash, tenant, mailbox, expires_ms) VALUES (?,?,?,?)",
        [(hashed, command.tenant, command.caller, command.expires_ms) for hashed in command.hashes],
    )
    live: int = rows(db, "SELECT count(*) FROM delivery_token WHERE mailbox=?", (command.caller,))[0][0]
    if live > command.most:
        raise relay_refused(RelayReason.TOO_MANY_TOKENS, most=command.most)
    return TokensLive(live)


def revoke_tokens(tx: Transaction, command: RevokeTokens) -> int:
    """Forgets tokens of the caller; how many there were."""
    caller_alive(tx, command.tenant, command.caller)
    return sum(
        run(tx.db, "DELETE FROM delivery_token WHERE hash=? AND mailbox=?", (hashed, command.caller))
        for hashed in command.hashes
    )


def purge_tokens(tx: Transaction, command: PurgeTokens) -> int:
    """Removes tokens whose time is over, a bounded number."""
    gone = run(
        tx.db,
        "DELETE FROM delivery_token WHERE hash IN (SELECT hash FROM delivery_token WHERE expires_ms<=? LIMIT ?)",
        (command.now_ms, PURGE_BATCH),
    )
    if gone:
        tx.append(Purge(ts=tx.now_ms, kind=PurgeKind.OTHER, rows=gone, before=command.now_ms))
    return gone


def accept_delivery(tx: Transaction, command: AcceptDelivery) -> Accepted:
    """Spends the token and takes the message; a repetition gets the first answer.

    Raises:
        CommitRefused: the token is spent with other bytes, or there is none; the tenant's quota; a stale decision.
    """
    known = find_duplicate(tx, command.tenant, command.message_id, command.request_mac)
    if known is not None:
        return known
    check_relied(tx, command.relied, command.tenant)
    if tx.state.waiting.refuses(command.tenant, 0):
        raise relay_refused(RelayReason.MAILBOX_QUOTA)
    box = tx.state.mailbox(tx.db, command.mailbox)
    spent = run(
        tx.db,
        "DELETE FROM delivery_token WHERE hash=? AND tenant=? AND mailbox=? AND expires_ms>?",
        (command.token_hash, command.tenant, command.mailbox, tx.now_ms),
    )
    if not spent:
        raise relay_refused(RelayReason.TOKEN_REFUSED)
    committed = message_commitment(tx.book_of(command.tenant).salt(), command.message_id)
    done = insert_message(
        tx,
        tenant=command.tenant,
        message_id=command.message_id,
        request_mac=command.request_mac,
        state=MessageState.ACCEPTED,
        channel=_RELAY,
        shown=command.shown,
        size_bucket=command.size_bucket,
        now_ms=command.now_ms,
        expires_ms=command.expires_ms,
        record=accepted(command.now_ms, committed, command.shown.shape, command.size_bucket),
    )
    sequence = box.head + 1
    run(tx.db, "UPDATE message SET pending=1 WHERE seq=?", (done.seq,))
    run(
        tx.db,
        "INSERT INTO sealed_body (message, sealed, generation) VALUES (?,?,?)",
        (done.seq, command.sealed, command.generation),
    )
    run(
        tx.db,
        "INSERT INTO mailbox_item (key, message, kind) VALUES (?,?,?)",
        (command.mailbox << MAILBOX_SHIFT | sequence, done.seq, command.kind),
    )

    def remember() -> None:
        box.head = sequence
        tx.state.waiting.count(command.tenant, 0, len(command.sealed))

    tx.then(remember)
    deliveries = ((command.mailbox, sequence),)
    return Accepted(done.message_id, done.record_hash, -1, done.slot, done.seq, False, deliveries, done.status)
