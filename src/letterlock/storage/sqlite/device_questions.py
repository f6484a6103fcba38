"""What the devices that may answer a question are shown of it, sealed: put, moved to another key, and dropped."""

from letterlock.custody.sealing import COLUMN_ADDRESS, StorageKey, reseal
from letterlock.model.ids import ChallengeId, TenantId
from letterlock.storage.open_commands import AnswerChallenge, Ask
from letterlock.storage.relay_commands import RelayReason, relay_refused
from letterlock.storage.sqlite.relay_mail import caller_alive
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.transaction import Transaction


def put_for_devices(tx: Transaction, command: Ask) -> None:
    """Keeps what devices of the sender's account need, where the question goes to them."""
    if not command.account:
        return
    run(
        tx.db,
        "INSERT INTO challenge_device (challenge, tenant, account, sealed, generation) VALUES (?,?,?,?,?)",
        (command.id, command.tenant, command.account, command.sealed, command.generation),
    )


def drop_for_devices(tx: Transaction, challenge: bytes) -> None:
    """The question is over: nothing of it is shown any more."""
    run(tx.db, "DELETE FROM challenge_device WHERE challenge=?", (challenge,))


def signer_stands(tx: Transaction, command: AnswerChallenge, account: bytes | None) -> bool:
    """Whether the list that a signature was checked against is still the account's newest.

    Raises:
        CommitRefused: the device was removed meanwhile, or is no device of the account that is asked.
    """
    caller_alive(tx, command.tenant, command.caller)
    row = first(
        tx.db,
        "SELECT a.id, a.list_version FROM device d JOIN account a ON a.tenant=d.tenant AND a.id=d.account"
        " WHERE d.mailbox=?",
        (command.caller,),
    )
    if row is None or row[0] != account:
        raise relay_refused(RelayReason.SESSION_ENDED)
    return bool(row[1] == command.list_version)


def rewrap_questions(tx: Transaction, old: StorageKey, new: StorageKey, limit: int) -> int:
    """Moves rows from one generation's key to another's, at most ``limit``."""
    found = rows(
        tx.db,
        "SELECT c.challenge, t.id, c.sealed FROM challenge_device c JOIN tenant t ON t.no=c.tenant"
        " WHERE c.generation=? LIMIT ?",
        (old.generation, limit),
    )
    for challenge, tenant, sealed in found:
        again = reseal(old, new, TenantId(tenant), ChallengeId(challenge), COLUMN_ADDRESS, sealed)
        run(
            tx.db,
            "UPDATE challenge_device SET sealed=?, generation=? WHERE challenge=?",
            (again, new.generation, challenge),
        )
    return len(found)
