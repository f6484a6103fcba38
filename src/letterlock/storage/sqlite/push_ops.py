"""Push subscriptions in the writer."""

from letterlock.custody.push import COLUMN_PUSH
from letterlock.custody.sealing import StorageKey, reseal
from letterlock.model.ids import DeviceId, TenantId
from letterlock.storage.push_commands import DropSubscription, PurgeSubscriptions, PutSubscription
from letterlock.storage.relay_commands import RelayReason, relay_refused
from letterlock.storage.sqlite.relay_mail import PURGE_BATCH, caller_alive
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog.entries import Purge
from letterlock.wire.tlog.words import PurgeKind


def put_subscription(tx: Transaction, command: PutSubscription) -> None:
    """Keeps a device's one subscription.

    Raises:
        CommitRefused: the address is another device's.
    """
    db = tx.db
    caller_alive(tx, command.tenant, command.caller)
    row = first(db, "SELECT mailbox FROM push_subscription WHERE endpoint_mac=?", (command.endpoint_mac,))
    if row is not None and row[0] != command.caller:
        raise relay_refused(RelayReason.PUSH_ENDPOINT_TAKEN)
    run(
        db,
        "INSERT OR REPLACE INTO push_subscription (mailbox, tenant, endpoint_mac, sealed, generation, expires_ms)"
        " VALUES (?,?,?,?,?,?)",
        (
            command.caller, command.tenant, command.endpoint_mac, command.sealed, command.generation,
            command.expires_ms,
        ),
    )  # fmt: skip


def drop_subscription(tx: Transaction, command: DropSubscription) -> None:
    """Forgets it."""
    run(
        tx.db,
        "DELETE FROM push_subscription WHERE mailbox=?1 AND endpoint_mac=coalesce(?2, endpoint_mac)",
        (command.mailbox, command.endpoint_mac),
    )


def purge_subscriptions(tx: Transaction, command: PurgeSubscriptions) -> int:
    """Removes what was not confirmed in time, a bounded number."""
    gone = run(
        tx.db,
        "DELETE FROM push_subscription WHERE mailbox IN"
        " (SELECT mailbox FROM push_subscription WHERE expires_ms<=? LIMIT ?)",
        (command.now_ms, PURGE_BATCH),
    )
    if gone:
        tx.append(Purge(ts=tx.now_ms, kind=PurgeKind.OTHER, rows=gone, before=command.now_ms))
    return gone


def rewrap_subscriptions(tx: Transaction, old: StorageKey, new: StorageKey, limit: int) -> int:
    """Moves subscriptions from one generation's key to another's, at most ``limit``."""
    found = rows(
        tx.db,
        "SELECT s.mailbox, t.id, d.id, s.sealed FROM push_subscription s JOIN device d ON d.mailbox=s.mailbox"
        " JOIN tenant t ON t.no=s.tenant WHERE s.generation=? LIMIT ?",
        (old.generation, limit),
    )
    for mailbox, tenant, device, sealed in found:
        again = reseal(old, new, TenantId(tenant), DeviceId(device), COLUMN_PUSH, sealed)
        run(
            tx.db,
            "UPDATE push_subscription SET sealed=?, generation=? WHERE mailbox=?",
            (again, new.generation, mailbox),
        )
    return len(found)
