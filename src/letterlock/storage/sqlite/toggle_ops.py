"""The E2EE-first toggle as rows, and what it does to floors where they are read."""

from typing import Final

import apsw

from letterlock.model.toggle import Choice
from letterlock.policy.facts import Traffic
from letterlock.storage.codes import PROTECTIONS
from letterlock.storage.errors import CommitReason
from letterlock.storage.sqlite.rows import first, run
from letterlock.storage.sqlite.state import refused
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.storage.tenant_commands import CHOICES, WHOLE_TENANT, SetE2eeFirst, Toggled
from letterlock.wire.tlog import entries
from letterlock.wire.tlog.commitments import CommitmentKind, commit
from letterlock.wire.tlog.words import ToggleWord

_CONVERSATION: Final = tuple(Traffic).index(Traffic.CONVERSATION)
_E2EE: Final = next(place for place, one in enumerate(PROTECTIONS) if one.value == "E2EE")
_ON: Final = CHOICES.index(Choice.E2EE_FIRST)


def floor_under(traffic: str, tenant: str, subject: str, recorded: str) -> str:
    """SQL for a peer's floor: E2EE where the toggle is on for this conversation or the tenant, else what is recorded.

    Args:
        traffic: SQL for the kind of traffic; the toggle is about conversations.
        tenant: SQL for the tenant's number.
        subject: SQL for the peer.
        recorded: SQL for the recorded floor.
    """
    return (
        f"CASE WHEN {traffic}={_CONVERSATION} AND EXISTS(SELECT 1 FROM toggle e WHERE e.tenant={tenant}"  # noqa: S608
        f" AND e.subject IN (x'', {subject}) AND e.mode={_ON}) THEN {_E2EE} ELSE {recorded} END"
    )


def toggled(db: apsw.Connection, tenant: int, subject: bytes) -> Toggled:
    """What is chosen for a conversation, or for the whole tenant; version 0 where nothing ever was."""
    row = first(db, "SELECT mode, version FROM toggle WHERE tenant=? AND subject=?", (tenant, subject))
    return Toggled(CHOICES.index(Choice.AS_POLICY), 0, 0) if row is None else Toggled(row[0], row[1], 0)


def set_e2ee_first(tx: Transaction, command: SetE2eeFirst) -> Toggled:
    """Flips the toggle; every decision that was made before and is not committed yet is made again.

    Raises:
        CommitRefused: CONFLICT: another version than the caller has seen.
    """
    before = toggled(tx.db, command.tenant, command.subject)
    if command.seen is not None and command.seen != before.version:
        raise refused(CommitReason.CONFLICT)
    if before.mode == command.mode:
        return Toggled(before.mode, before.version, tx.state.policy_version)
    version = before.version + 1
    run(
        tx.db,
        "INSERT INTO toggle (tenant, subject, mode, version, updated_ms) VALUES (?,?,?,?,?)"
        " ON CONFLICT DO UPDATE SET mode=excluded.mode, version=excluded.version, updated_ms=excluded.updated_ms",
        (command.tenant, command.subject, command.mode, version, command.now_ms),
    )
    tenant = first(tx.db, "SELECT id FROM tenant WHERE no=?", (command.tenant,))
    assert tenant is not None
    whole = command.subject == WHOLE_TENANT
    tx.append(
        entries.E2eeFirst(
            ts=command.now_ms,
            tenant=commit(CommitmentKind.TENANT, tx.salt(), tenant[0]),
            peer=None if whole else commit(CommitmentKind.SUBJECT, tx.salt(), command.subject),
            word=ToggleWord(CHOICES[command.mode].value),
            version=version,
        )
    )
    decisions = tx.state.policy_version + 1
    run(tx.db, "UPDATE counter SET value=? WHERE name='policy_version'", (decisions,))

    def effect() -> None:
        tx.state.policy_version = decisions

    tx.then(effect)
    return Toggled(command.mode, version, decisions)
