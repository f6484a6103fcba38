"""What may wait in mailboxes of one sender and one tenant: the store is counted beside the writer, when it matters."""

from typing import Final

from letterlock.relay.ports import Committer, Reads
from letterlock.storage.waiting_commands import LookAtWaiting, SettleWaiting, Waited, WaitingSeen

LOOK_EVERY_S: Final = 1
"""How soon somebody who was refused may send again, once recipients have taken what waits; and how soon a sender is
seen to be fast and not greedy: at 12,000 messages a second half of the limit is two seconds."""
COUNT_AT_ONCE: Final = 20_000
"""Bodies a query looks at: some tens of milliseconds of a reader."""


class MailboxQuota:
    """Keeps the writer's counters true.

    Args:
        committer: the writer.
        reads: the store's queries.
    """

    def __init__(self, committer: Committer, reads: Reads) -> None:
        self._committer = committer
        self._reads = reads

    async def look(self) -> bool:
        """Counts what waits if somebody is near a limit or over it; whether it was counted. To be run often."""
        return await self._look(always=False)

    async def look_anyway(self) -> bool:
        """Counts in any case, so that counters of devices that have gone do not stay. To be run now and then."""
        return await self._look(always=True)

    async def _look(self, *, always: bool) -> bool:
        before = (await self._committer.submit((LookAtWaiting(always),)))[0]
        if before is None:
            return False
        assert isinstance(before, WaitingSeen)
        sums: dict[tuple[int, int], tuple[int, int]] = {}
        sent_by: dict[int, int] = {}
        at = 0
        while True:
            found, at = await self._reads.waiting(at, before.until, COUNT_AT_ONCE)
            for one in found:
                sender = one.sender
                if sender < 0:
                    sender = before.sent_by.get(-one.sender, 0)
                    if sender:
                        sent_by[-one.sender] = sender
                messages, size = sums.get((one.tenant, sender), (0, 0))
                sums[one.tenant, sender] = (messages + one.messages, size + one.bytes)
            if not at:
                break
        waited = tuple(Waited(tenant, sender, *sums[tenant, sender]) for tenant, sender in sums)
        await self._committer.submit((SettleWaiting(before, waited, sent_by),))
        return True
