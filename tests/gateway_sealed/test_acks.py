"""Acknowledgements are collected, and kept when a commit fails."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from letterlock.gateway.acks import AckCollector
from letterlock.model.clock import ManualClock
from letterlock.storage.commands import Acked
from letterlock.storage.errors import StorageError, StorageReason


class Disk:
    """A writer whose disk can be full."""

    def __init__(self) -> None:
        self.failure: StorageReason | None = None
        self.seen: list[list[Any]] = []

    def submit(self, commands: Sequence[Any], *, tenant: int = 0, size: int = 0) -> "asyncio.Future[list[Any]]":
        self.seen.append(list(commands))
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        if self.failure is not None:
            future.set_exception(StorageError(self.failure))
        else:
            future.set_result([Acked(command.mailbox, command.applied, 1) for command in commands])
        return future


async def test_the_newest_of_each_device_travels_and_all_together() -> None:
    disk, told = Disk(), []
    acks = AckCollector(disk, ManualClock(), collect_s=0.001)
    for mailbox, applied in ((1, 1), (2, 5), (1, 3), (1, 2)):
        acks.want(1, mailbox, applied, lambda reached, count: told.append((reached, count)))
    await asyncio.sleep(0.02)
    assert [(c.mailbox, c.applied) for c in disk.seen[0]] == [(1, 3), (2, 5)]
    assert told == [(3, 1), (5, 1)]
    assert len(disk.seen) == 1


@pytest.mark.parametrize(("failure", "kept"), [(StorageReason.DISK_FULL, True), (StorageReason.CLOSED, False)])
async def test_what_a_failed_commit_did_not_write_is_tried_again_unless_the_store_is_closed(
    failure: StorageReason, kept: bool
) -> None:
    disk, told = Disk(), []
    disk.failure = failure
    acks = AckCollector(disk, ManualClock(), collect_s=0.001)
    acks.want(1, 7, 9, lambda reached, count: told.append(reached))
    await asyncio.sleep(0.01)
    disk.failure = None
    await asyncio.sleep(0.02)
    assert told == ([9] if kept else [])
