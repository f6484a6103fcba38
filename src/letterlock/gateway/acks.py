"""Acknowledgements of all devices, collected for a moment and committed together.

An acknowledgement only deletes what has arrived, so nobody waits for it; a commit costs the same for one as for a
hundred. What is collected here and lost by a crash is delivered again, and devices apply it once.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from letterlock.model.clock import Clock
from letterlock.storage.commands import Ack, Acked
from letterlock.storage.errors import StorageError, StorageReason

COLLECT_S: Final = 0.05
"""How long acknowledgements are collected: nobody notices, and a busy relay commits twenty times a second at most."""

Done = Callable[[int, int], None]
"""Told the committed sequence, and how many items that deleted."""


class Committer(Protocol):
    """The writer's queue."""

    def submit(self, commands: Sequence[Any], *, tenant: int = 0, size: int = 0) -> "asyncio.Future[list[Any]]":
        """Queues commands; a future of their outcomes."""
        ...


@dataclass(slots=True)
class _Wanted:
    tenant: int
    applied: int
    done: Done
    state_counter: int


class AckCollector:
    """Collects and commits acknowledgements. Runs on the event loop alone."""

    def __init__(self, committer: Committer, clock: Clock, collect_s: float = COLLECT_S) -> None:
        self._committer = committer
        self._clock = clock
        self._collect_s = collect_s
        self._wanted: dict[int, _Wanted] = {}
        self._timer: asyncio.TimerHandle | None = None

    def want(self, tenant: int, mailbox: int, applied: int, done: Done, state_counter: int = 0) -> None:
        """A device has applied its mailbox up to and including a sequence; ``done`` is called after the commit."""
        found = self._wanted.get(mailbox)
        if found is None:
            self._wanted[mailbox] = _Wanted(tenant, applied, done, state_counter)
        elif applied > found.applied:
            found.applied, found.done, found.state_counter = applied, done, max(found.state_counter, state_counter)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._collect_s, self.flush)

    def flush(self) -> None:
        """Commits what is collected, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._wanted:
            return
        wanted, self._wanted = self._wanted, {}
        now = self._clock.now_ms()
        commands = [Ack(one.tenant, mailbox, one.applied, now, one.state_counter) for mailbox, one in wanted.items()]
        try:
            future = self._committer.submit(commands)
        except StorageError as error:
            if error.reason is StorageReason.CLOSED:
                return
            # The writer takes nothing now: they are tried again together with what comes next.
            for mailbox, one in wanted.items():
                self.want(one.tenant, mailbox, one.applied, one.done, one.state_counter)
            return
        future.add_done_callback(lambda done: self._settle(wanted, done))

    def _settle(self, wanted: dict[int, _Wanted], done: "asyncio.Future[list[Any]]") -> None:
        if done.cancelled():
            return
        failure = done.exception()
        if failure is not None:
            if isinstance(failure, StorageError) and failure.reason is not StorageReason.CLOSED:
                # Nothing was written: a full disk, say. An idle device says it only once, so it is kept for it.
                for mailbox, one in wanted.items():
                    self.want(one.tenant, mailbox, one.applied, one.done, one.state_counter)
            return
        for one, outcome in zip(wanted.values(), done.result(), strict=True):
            if isinstance(outcome, Acked):
                one.done(one.applied, outcome.count)
