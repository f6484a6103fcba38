"""Receipts that are handed to this server: kept, then checked by a worker beside the messages, never with them."""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import structlog

from letterlock.assurance import receipts
from letterlock.assurance.receipts import ReceiptError, SignedReceipt
from letterlock.model.errors import LetterlockError
from letterlock.relay.accounts import SALT_BYTES
from letterlock.relay.ports import Committer, Entropy, settle
from letterlock.relay.receipt_check import judge
from letterlock.storage.receipt_commands import (
    HandReceipts,
    JudgeReceipts,
    ReceiptsHanded,
    ReceiptsJudged,
    ReceiptVerdict,
    Signatory,
    WaitingReceipt,
)
from letterlock.wire.tlog.words import FindingCode

ROUND: Final = 64
"""Receipts that one round checks: about 10 ms of one thread, and one commit."""
FINDING_SALTS: Final = len(FindingCode)
AGAIN_S: Final = 1.0
"""How long the worker waits after the store has failed it."""
CHECKED: Final = "checked"
"""What is counted of a receipt that holds; of another one, its reason."""

_log: Final = structlog.get_logger("letterlock.relay")


class Reads(Protocol):
    """The store's queries."""

    async def waiting(self, limit: int) -> tuple[WaitingReceipt, ...]:
        """The oldest that wait."""
        ...

    async def signatory(
        self, tenant: int, device: bytes, list_version: int, group: int, epoch: int
    ) -> Signatory | None:
        """The device that a receipt names."""
        ...


class ReceiptDesk:
    """Takes receipts and checks them.

    Args:
        committer: the writer.
        reads: the store's queries.
        key_of: the store's key of a message id.
        mac_key: of the digests of requests.
        environment: the installation's name, as it stands in signatures.
        entropy: for salts.
        count: told of each outcome: :data:`CHECKED` or a reason, and how many.
    """

    def __init__(
        self,
        committer: Committer,
        reads: Reads,
        key_of: Callable[[bytes], bytes],
        mac_key: bytes,
        environment: str,
        entropy: Entropy,
        count: Callable[[str, int], None],
    ) -> None:
        self._committer = committer
        self._reads = reads
        self._key_of = key_of
        self._mac_key = mac_key
        self._environment = environment
        self._entropy = entropy
        self._count = count
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def hand_in(self, tenant: int, handed_by: int, message: bytes, found: tuple[bytes, ...]) -> int:
        """Keeps receipts about one message until they are checked; returns how many are new.

        Args:
            tenant: whose message it is.
            handed_by: the mailbox of the device that hands them in, which must be the one that signed; 0 for the
                tenant's software, which may have any.
            message: the message's id, as this server gave it.
            found: as they travel.

        Raises:
            RelayError: NOT_FOUND, RECEIPTS_NOT_OFFERED, RECEIPT_QUEUE_FULL, SESSION_ENDED.
            StorageError: the store takes nothing now.
        """
        command = HandReceipts(tenant, handed_by, self._key_of(message), found)
        size = sum(map(len, found))
        done = await settle(self._committer, command, ReceiptsHanded, tenant=tenant, size=size)
        if done.new:
            self._wake.set()
        return done.new

    def start(self) -> None:
        """Starts the worker; what waited when the gateway ended is checked first."""
        self._wake.set()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends the worker; what waits stays, durable, for the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                # Each round waits for readers and for a commit: messages go by meanwhile.
                while await self.round():
                    pass
            except Exception as error:  # noqa: BLE001 - a worker that ends would leave everything waiting
                _log.warning("receipts_not_checked", error_type=type(error).__name__)
                await asyncio.sleep(AGAIN_S)
                self._wake.set()

    async def round(self) -> int:
        """Checks the oldest that wait; returns how many were looked at.

        Raises:
            StorageError: the store failed; nothing is lost, they wait.
        """
        waiting = await self._reads.waiting(ROUND)
        if not waiting:
            return 0
        verdicts: list[ReceiptVerdict] = []
        facts: list[tuple[WaitingReceipt, SignedReceipt, Signatory | None]] = []
        for row in waiting:
            try:
                signed = receipts.parse(row.receipt)
            except ReceiptError as error:
                verdicts.append(ReceiptVerdict(row.no, error.reason.value))
                continue
            receipt = signed.content
            who = await self._reads.signatory(
                row.tenant, receipt.device.value, receipt.list_version, row.group, receipt.about.epoch
            )
            facts.append((row, signed, who))
        work = partial(_judged, facts, self._mac_key, self._environment)
        verdicts += await asyncio.get_running_loop().run_in_executor(None, work)
        command = JudgeReceipts(
            tuple(sorted(verdicts, key=lambda one: one.no)),
            tuple(self._entropy(SALT_BYTES) for _ in range(FINDING_SALTS)),
        )
        done = await settle(self._committer, command, ReceiptsJudged, tenant=0)
        for outcome, number in Counter(done.outcomes).items():
            self._count(outcome or CHECKED, number)
        refused = sum(bool(outcome) for outcome in done.outcomes)
        if refused:
            _log.warning("receipts_refused", count=refused)
        return len(waiting)


def _judged(
    facts: list[tuple[WaitingReceipt, SignedReceipt, Signatory | None]], key: bytes, environment: str
) -> list[ReceiptVerdict]:
    """On a thread of its own: signatures are what takes time."""
    found: list[ReceiptVerdict] = []
    for row, signed, who in facts:
        try:
            found.append(judge(row, signed, who, key, environment))
        except LetterlockError:
            # A receipt that breaks the check itself must not stop those behind it.
            found.append(ReceiptVerdict(row.no, receipts.ReceiptReason.MALFORMED.value))
    return found
