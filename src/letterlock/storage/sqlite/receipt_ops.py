"""Receipts in the writer: a durable row when one is handed in, its verdict later, in place of it."""

from array import array
from collections import Counter
from typing import Final

import apsw

from letterlock.assurance.receipts import ReceiptReason
from letterlock.model.protection import Verifier
from letterlock.storage.receipt_commands import (
    WAITING,
    WAITING_OF_ONE,
    WAITING_OF_TENANT,
    HandReceipts,
    JudgeReceipts,
    ReceiptsHanded,
    ReceiptsJudged,
    ReceiptVerdict,
)
from letterlock.storage.relay_commands import RelayReason, relay_refused
from letterlock.storage.sqlite.relay_mail import caller_alive
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog import records
from letterlock.wire.tlog.commitments import CommitmentKind, commit, message_commitment
from letterlock.wire.tlog.entries import Finding
from letterlock.wire.tlog.words import FindingCode, ReceiptWord, Severity

WORDS: Final = {1: ReceiptWord.DELIVERED, 2: ReceiptWord.DISPLAYED}
_R = ReceiptReason
FINDINGS: Final[dict[str, tuple[FindingCode, Severity]]] = {
    _R.BAD_SIGNATURE: (FindingCode.RECEIPT_FORGED, Severity.WARNING),
    _R.OTHER_CIPHERTEXT: (FindingCode.RECEIPT_OF_OTHER_MESSAGE, Severity.WARNING),
    _R.OTHER_MESSAGE: (FindingCode.RECEIPT_OF_OTHER_MESSAGE, Severity.WARNING),
    _R.OTHER_SENDER: (FindingCode.RECEIPT_OF_OTHER_MESSAGE, Severity.WARNING),
    _R.OTHER_GROUP: (FindingCode.RECEIPT_OF_OTHER_GROUP, Severity.WARNING),
    _R.OTHER_EPOCH: (FindingCode.RECEIPT_OF_OTHER_GROUP, Severity.WARNING),
    _R.OTHER_ROSTER: (FindingCode.RECEIPT_OF_OTHER_GROUP, Severity.CRITICAL),
    _R.OTHER_DEVICE: (FindingCode.RECEIPT_OF_OTHER_DEVICE, Severity.WARNING),
    _R.NOT_A_RECIPIENT: (FindingCode.RECEIPT_OF_OTHER_DEVICE, Severity.WARNING),
    _R.OTHER_LIST: (FindingCode.RECEIPT_KEY_REPLACED, Severity.WARNING),
    _R.KEY_REPLACED: (FindingCode.RECEIPT_KEY_REPLACED, Severity.WARNING),
    # An application that was not sure whether its receipt arrived hands it in twice.
    _R.REPLAYED: (FindingCode.REPLAY, Severity.NOTICE),
}
"""What the ledger says of a refusal. Not here: what nobody could have checked, and what is no receipt at all."""
CODES: Final = tuple(dict.fromkeys(code for code, _ in FINDINGS.values()))


def hand_receipts(tx: Transaction, command: HandReceipts) -> ReceiptsHanded:
    """Keeps receipts until the worker has looked at them; the same again, while it waits, is harmless.

    Raises:
        CommitRefused: no such message of a group; the tenant keeps no senders; too many wait.
    """
    db, tenant, by = tx.db, command.tenant, command.handed_by
    if by:
        caller_alive(tx, tenant, by)
    if not tx.names_sender(tenant):
        raise relay_refused(RelayReason.RECEIPTS_NOT_OFFERED)
    row = first(
        db,
        "SELECT m.seq FROM message_key k JOIN message m ON m.seq=k.seq WHERE k.id=? AND k.tenant=?"
        " AND m.group_no IS NOT NULL AND m.sender IS NOT NULL",
        (command.message_key, tenant),
    )
    if row is None:
        raise relay_refused(RelayReason.NOT_FOUND)
    new = 0
    for receipt in command.receipts:
        new += run(
            db,
            "INSERT OR IGNORE INTO receipt_waiting (tenant, message, handed_by, receipt) VALUES (?,?,?,?)",
            (tenant, row[0], by, receipt),
        )
    if new:
        _require_room(tx, tenant, by)
    return ReceiptsHanded(new)


def _require_room(tx: Transaction, tenant: int, by: int) -> None:
    limits = (
        ("SELECT count(*) FROM receipt_waiting WHERE tenant=? AND handed_by=?", (tenant, by), WAITING_OF_ONE),
        ("SELECT count(*) FROM receipt_waiting WHERE tenant=?", (tenant,), WAITING_OF_TENANT),
        ("SELECT count(*) FROM receipt_waiting", (), WAITING),
    )
    for query, values, most in limits:
        if not by and most == WAITING_OF_ONE:
            continue
        if rows(tx.db, query, values)[0][0] > most:
            raise relay_refused(RelayReason.RECEIPT_QUEUE_FULL)


def judge_receipts(tx: Transaction, command: JudgeReceipts) -> ReceiptsJudged:
    """Puts verdicts in the place of the rows that waited, with their records and findings.

    A row that is gone was judged before, or went with its message: nothing is said twice. Of an account whose list
    has changed since the worker looked, nothing is said yet.
    """
    outcomes: list[str] = []
    noticed: Counter[FindingCode] = Counter()
    worst: dict[FindingCode, Severity] = {}
    again = 0
    for verdict in command.verdicts:
        row = first(
            tx.db,
            "SELECT w.message, w.tenant, m.id FROM receipt_waiting w JOIN message m ON m.seq=w.message WHERE w.no=?",
            (verdict.no,),
        )
        if row is None:
            continue
        if not _holds_still(tx, row[1], verdict):
            again += 1
            continue
        run(tx.db, "DELETE FROM receipt_waiting WHERE no=?", (verdict.no,))
        reason = verdict.reason or _attest(tx, row[0], row[1], row[2], verdict)
        if reason:
            _refuse(tx, row[0], reason)
            if reason in FINDINGS:
                code, severity = FINDINGS[reason]
                noticed[code] += 1
                if worst.get(code) is not Severity.CRITICAL:
                    worst[code] = severity
        outcomes.append(reason)
    for code, count in noticed.items():
        told = [one.account for one in command.verdicts if one.account and FINDINGS.get(one.reason, ("",))[0] is code]
        salt = command.salts[CODES.index(code)]
        # One account is named; of several, the number is what matters, and one entry for all of them.
        subject = commit(CommitmentKind.ACCOUNT, salt, told[0]) if len(set(told)) == 1 else None
        tx.append(Finding(ts=tx.now_ms, code=code, severity=worst[code], count=count, subject=subject))
    return ReceiptsJudged(tuple(outcomes), again)


def _holds_still(tx: Transaction, tenant: int, verdict: ReceiptVerdict) -> bool:
    if not verdict.list_version:
        return True
    row = first(tx.db, "SELECT list_version FROM account WHERE tenant=? AND id=?", (tenant, verdict.account))
    return row is not None and row[0] == verdict.list_version


def _attest(tx: Transaction, message: int, tenant: int, message_id: bytes, verdict: ReceiptVerdict) -> str:
    new = run(
        tx.db,
        "INSERT OR IGNORE INTO message_receipt (message, mailbox, kind, recipients) VALUES (?,?,?,?)",
        (message, verdict.mailbox, verdict.kind, verdict.recipients),
    )
    if not new:
        return str(ReceiptReason.REPLAYED)
    found = rows(tx.db, "SELECT count(DISTINCT mailbox) FROM message_receipt WHERE message=?", (message,))
    book = tx.book_of(tenant)
    committed = message_commitment(book.salt(), message_id)
    tx.record(
        records.attested(
            tx.began(tenant), committed, WORDS[verdict.kind], Verifier.GATEWAY, found[0][0], verdict.recipients
        ),
        book=book,
    )
    return ""


def _refuse(tx: Transaction, message: int, reason: str) -> None:
    run(
        tx.db,
        "INSERT INTO receipt_refused (message, reason, count) VALUES (?,?,1)"
        " ON CONFLICT (message, reason) DO UPDATE SET count=count+1",
        (message, reason),
    )


def purge_receipts(tx: Transaction, messages: "array[int]") -> None:
    """Removes what was handed in and found about messages whose rows go."""
    for table in ("receipt_waiting", "message_receipt", "receipt_refused"):
        run(tx.db, f"DELETE FROM {table} WHERE message IN carray(?)", (apsw.carray(messages),))  # noqa: S608 - our own
