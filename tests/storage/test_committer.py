"""The group committer: order, bounds, fairness, draining, and what a broken command costs the others."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.storage.making import CLOCK, make, message

from letterlock.storage.commands import Ack
from letterlock.storage.errors import CommitReason, CommitRefused, StorageError, StorageReason
from letterlock.storage.maintenance_commands import Purge
from letterlock.storage.sqlite import core as core_module
from letterlock.storage.sqlite.committer import (
    MAX_QUEUED,
    MAX_QUEUED_BYTES,
    TENANT_SHARE,
    GroupCommitter,
)
from letterlock.storage.sqlite.connection import DATABASE, open_reader
from letterlock.storage.sqlite.core import StoreCore
from letterlock.storage.sqlite.registry import handlers
from letterlock.storage.sqlite.transaction import Transaction


@dataclass(frozen=True)
class Clash:
    """Violates a constraint of the schema."""


def clash(tx: Transaction, command: Clash) -> None:
    tx.db.execute("INSERT INTO tenant (no, id, name, profile, created_ms) VALUES (1, x'', '', '', 0)").fetchall()


class Gated(StoreCore):
    """Writes only while its gate is open: what is staged on the loop waits in the thread."""

    gate: threading.Event
    sizes: list[int]

    def stage(self, commands: Sequence[Any]) -> list[Any]:
        self.sizes.append(len(commands))
        return super().stage(commands)

    def apply(self, commands: Sequence[Any]) -> list[Any]:
        self.gate.wait()
        self.sizes.append(len(commands))
        return super().apply(commands)

    def commit(self) -> None:
        self.gate.wait()
        super().commit()


@asynccontextmanager
async def writing(folder: Path, *, shut: bool = False) -> AsyncGenerator[tuple[GroupCommitter, Gated]]:
    make(folder).close()
    core = Gated(folder, {**handlers(), Clash: clash}, CLOCK)
    core.gate = threading.Event()
    core.sizes = []
    if not shut:
        core.gate.set()
    committer = GroupCommitter(core, asyncio.get_running_loop())
    try:
        yield committer, core
    finally:
        core.gate.set()
        await committer.close()


async def test_outcomes_are_in_order_and_callers_share_commits(tmp_path: Path) -> None:
    async with writing(tmp_path, shut=True) as (committer, core):
        settled: list[int] = []
        futures = [committer.submit([message(), Ack(1, 9, 0, 0), message()]) for _ in range(20)]
        for number, future in enumerate(futures):
            future.add_done_callback(lambda _, number=number: settled.append(number))  # type: ignore[misc]
        core.gate.set()
        outcomes = await asyncio.gather(*futures)
        assert settled == list(range(20))
        for number, (first, refusal, second) in enumerate(outcomes):
            assert first.deliveries == ((2, 2 * number + 1), (3, 2 * number + 1))
            assert isinstance(refusal, CommitRefused)
            assert refusal.reason is CommitReason.NOT_FOUND
            assert second.deliveries == ((2, 2 * number + 2), (3, 2 * number + 2))
        assert len(core.sizes) <= 2
        with pytest.raises(CommitRefused):
            await committer.run(message(epoch=9))


async def test_a_caller_who_gives_up_changes_nothing_for_the_others(tmp_path: Path) -> None:
    async with writing(tmp_path, shut=True) as (committer, core):
        futures = [committer.submit([message()], tenant=1, size=10) for _ in range(3)]
        futures[1].cancel()
        core.gate.set()
        first, last = (await futures[0])[0], (await futures[2])[0]
        # It was queued, so it was written: giving up is not taking back.
        assert (first.deliveries[0], last.deliveries[0]) == ((2, 1), (2, 3))
        assert committer.depth == 0
        assert not committer._per_tenant
        assert not committer._bytes_per_tenant
        assert committer._queued_bytes == 0


async def test_too_much_is_refused_at_once_in_commands_and_in_bytes(tmp_path: Path) -> None:
    async with writing(tmp_path, shut=True) as (committer, core):
        first = committer.submit([message()])
        for commands, size in (([message()] * MAX_QUEUED, 0), ([message()], MAX_QUEUED_BYTES + 1)):
            with pytest.raises(StorageError) as caught:
                committer.submit(commands, size=size)
            assert caught.value.reason is StorageReason.OVERLOADED
        fits = committer.submit([message()] * 10, size=MAX_QUEUED_BYTES)
        with pytest.raises(StorageError):
            committer.submit([message()], size=1)
        core.gate.set()
        assert len(await first) == 1
        assert len(await fits) == 10
        assert len(await committer.submit([message()], size=1)) == 1


async def test_one_tenant_does_not_take_the_whole_queue(tmp_path: Path) -> None:
    share = int(MAX_QUEUED * TENANT_SHARE)
    async with writing(tmp_path, shut=True) as (committer, core):
        ack = Ack(1, 2, 0, 0)
        futures = [committer.submit([ack] * 512, tenant=1) for _ in range(share // 512)]
        with pytest.raises(StorageError) as caught:
            committer.submit([ack] * 512, tenant=1)
        assert caught.value.reason is StorageReason.OVERLOADED
        futures.append(committer.submit([ack] * 512, tenant=2))
        core.gate.set()
        await asyncio.gather(*futures)


async def test_one_tenant_does_not_take_all_bytes_of_the_queue(tmp_path: Path) -> None:
    half = int(MAX_QUEUED_BYTES * TENANT_SHARE)
    async with writing(tmp_path, shut=True) as (committer, core):
        futures = [committer.submit([message()], tenant=1, size=half)]
        with pytest.raises(StorageError) as caught:
            committer.submit([message()], tenant=1, size=1)
        assert caught.value.reason is StorageReason.OVERLOADED
        futures.append(committer.submit([message()], tenant=2, size=half))
        core.gate.set()
        await asyncio.gather(*futures)


async def test_closing_writes_what_is_queued_and_then_refuses(tmp_path: Path) -> None:
    async with writing(tmp_path, shut=True) as (committer, core):
        futures = [committer.submit([message()]) for _ in range(50)]
        closing = asyncio.create_task(committer.close())
        await asyncio.sleep(0)
        with pytest.raises(StorageError) as caught:
            committer.submit([message()])
        assert caught.value.reason is StorageReason.CLOSED
        core.gate.set()
        await closing
        assert all(future.done() for future in futures)
        reader = open_reader(tmp_path)
        assert reader.execute("SELECT count(*) FROM message").get == 50
        reader.close()
        committer.close = closed  # type: ignore[method-assign]


async def closed() -> None:
    """It is."""


@pytest.mark.parametrize("poison", [object(), Clash()], ids=["unknown", "constraint"])
async def test_a_poisoned_command_fails_alone_and_the_writer_goes_on(tmp_path: Path, poison: object) -> None:
    async with writing(tmp_path, shut=True) as (committer, core):
        commands = [message(), message(), poison, message(), message()]
        futures = [committer.submit([command], tenant=1, size=5) for command in commands]
        core.gate.set()
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        assert isinstance(outcomes[2], StorageError)
        assert outcomes[2].reason is StorageReason.FAILED
        good = [outcome[0].deliveries[0] for outcome in outcomes if not isinstance(outcome, BaseException)]
        assert good == [(2, 1), (2, 2), (2, 3), (2, 4)]
        assert committer.depth == 0
        assert (await committer.run(message())).deliveries[0] == (2, 5)


async def test_no_commands_are_answered_with_no_outcomes(tmp_path: Path) -> None:
    async with writing(tmp_path) as (committer, _):
        assert await committer.submit([]) == []
        assert (await committer.run(message())).deliveries


async def test_a_full_disk_fails_everybody_in_the_commit_and_nobody_after_it(tmp_path: Path) -> None:
    async with writing(tmp_path, shut=True) as (committer, core):
        futures = [committer.submit([message(sealed=os.urandom(60_000))]) for _ in range(20)]
        pages = core.read_back("PRAGMA page_count")[0][0]
        core.read_back(f"PRAGMA max_page_count={pages}")
        core.gate.set()
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        reasons = {getattr(outcome, "reason", None) for outcome in outcomes}
        assert StorageReason.DISK_FULL in reasons
        core.gate.clear()
        core.read_back("PRAGMA max_page_count=1000000")
        core.gate.set()
        kept = sum(not isinstance(outcome, BaseException) for outcome in outcomes)
        assert (await committer.run(message())).deliveries[0] == (2, kept + 1)


async def test_listeners_are_told_the_size_after_every_commit(tmp_path: Path) -> None:
    async with writing(tmp_path) as (committer, core):
        sizes: list[int] = []
        committer.on_commit(sizes.append)
        for _ in range(3):
            await committer.run(message())
        assert sizes == [1, 2, 3]
        assert core.tree_size == 3


async def test_nothing_of_a_deleted_body_is_left_after_truncation(tmp_path: Path) -> None:
    canary = os.urandom(16).hex().encode()
    files = [tmp_path / DATABASE, tmp_path / f"{DATABASE}-wal"]

    def found() -> int:
        return sum(file.read_bytes().count(canary) for file in files)

    async with writing(tmp_path) as (committer, _):
        for _ in range(20):
            await committer.run(message(sealed=canary * 40))
        assert found() >= 20 * 40
        await committer.submit([Ack(1, 2, 20, 0), Ack(1, 3, 20, 0)])
        assert found() > 0
        await committer.truncate()
        assert found() == 0
        await committer.run(Purge(CLOCK.now_ms(), 10, 0))


async def test_a_truncation_that_a_reader_holds_up_is_made_up_for(tmp_path: Path) -> None:
    canary = os.urandom(16).hex().encode()
    log = tmp_path / f"{DATABASE}-wal"
    async with writing(tmp_path) as (committer, core):
        core.busy_ms = 1
        await committer.run(message(sealed=canary * 40))
        reader = apsw.Connection(str(tmp_path / DATABASE), flags=apsw.SQLITE_OPEN_READONLY)
        reader.execute("BEGIN").fetchall()
        assert reader.execute("SELECT count(*) FROM message").get == 1
        await committer.submit([Ack(1, 2, 1, 0), Ack(1, 3, 1, 0)])
        await committer.truncate()
        assert canary in log.read_bytes()
        reader.execute("ROLLBACK").fetchall()
        reader.close()
        await committer.run(message())
        await committer.run(message())
        assert canary not in log.read_bytes() + (tmp_path / DATABASE).read_bytes()


async def test_a_long_log_starts_over_and_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_module, "LONG_LOG", 64)
    log = tmp_path / f"{DATABASE}-wal"
    page = 4096 + 24
    async with writing(tmp_path) as (committer, core):
        core._restart_at = 64
        for _ in range(60):
            await committer.run(message(sealed=os.urandom(20_000)))
        written = 60 * 20_000 // 4096
        assert log.stat().st_size < 2 * 64 * page < written * page
        # With a reader in the way it grows, and starts over once the reader has gone.
        reader = apsw.Connection(str(tmp_path / DATABASE), flags=apsw.SQLITE_OPEN_READONLY)
        reader.execute("BEGIN").fetchall()
        assert reader.execute("SELECT count(*) FROM message").get == 60
        for _ in range(40):
            await committer.run(message(sealed=os.urandom(20_000)))
        grown = log.stat().st_size
        assert grown > 2 * 64 * page
        reader.execute("ROLLBACK").fetchall()
        reader.close()
        for _ in range(60):
            await committer.run(message(sealed=os.urandom(20_000)))
        assert log.stat().st_size < grown + 2 * 64 * page
        assert core.read_back("SELECT count(*) FROM sealed_body") == [(160,)]


async def test_what_cannot_be_staged_at_once_is_applied_with_patience(tmp_path: Path) -> None:
    """Another connection holds the lock for a moment: the loop does not wait for it, the thread does."""
    async with writing(tmp_path) as (committer, core):
        other = apsw.Connection(str(tmp_path / DATABASE))
        other.execute("BEGIN IMMEDIATE").fetchall()
        future = committer.submit([message()])
        await asyncio.sleep(0.05)
        assert not future.done()
        other.execute("ROLLBACK").fetchall()
        other.close()
        assert (await future)[0].deliveries == ((2, 1), (3, 1))
        core.busy_ms = 1
        other = apsw.Connection(str(tmp_path / DATABASE))
        other.execute("BEGIN IMMEDIATE").fetchall()
        with pytest.raises(StorageError) as caught:
            await committer.run(message())
        assert caught.value.reason is StorageReason.LOCKED
        other.execute("ROLLBACK").fetchall()
        other.close()
        assert (await committer.run(message())).deliveries == ((2, 2), (3, 2))


async def test_a_commit_that_fails_after_staging_leaves_nothing(tmp_path: Path) -> None:
    async with writing(tmp_path, shut=True) as (committer, core):
        future = committer.submit([message()])
        await asyncio.sleep(0.01)
        assert core.sizes == [1]

        def torn() -> None:
            raise apsw.IOError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(core, "_commit", torn)
            core.gate.set()
            with pytest.raises(StorageError) as caught:
                await future
        assert caught.value.reason is StorageReason.IO_FAILED
        assert (await committer.run(message())).deliveries == ((2, 1), (3, 1))
        assert core.read_back("SELECT count(*) FROM message") == [(1,)]


async def test_a_writer_that_ends_leaves_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with writing(tmp_path, shut=True) as (committer, core):

        def broken(_: StoreCore) -> int:
            raise ZeroDivisionError

        monkeypatch.setattr(StoreCore, "log_is_long", property(broken))
        futures = [committer.submit([message()]) for _ in range(3)]
        core.gate.set()
        outcomes = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 10)
        assert all(isinstance(outcome, list | StorageError) for outcome in outcomes)
        committer._thread.join(10)
        with pytest.raises(StorageError) as caught:
            committer.submit([message()])
        assert caught.value.reason is StorageReason.CLOSED
