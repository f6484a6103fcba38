"""Commits of this device whose fate is not known yet: kept before they leave, offered again until the relay has said.

A commit that was accepted counts here only once that is known, and what others committed since builds on it. So whoever
takes something of the mailbox learns first what became of these.
"""

from typing import Final, final

import msgspec

from letterlock.client import events
from letterlock.client.errors import DeviceError, DeviceReason, GateReason, RelayError, RelayReason
from letterlock.client.groups import GROUPS, PENDING, GroupRecord, PendingCommit, chain_next
from letterlock.client.relay import CommitAnswer
from letterlock.client.session import Session
from letterlock.client.state import DeviceState
from letterlock.model.ids import GroupRef

_FINAL: Final = frozenset(
    {
        RelayReason.WRONG_EPOCH,
        RelayReason.GROUP_QUARANTINED,
        RelayReason.REFUSED,
        RelayReason.FORBIDDEN,
        RelayReason.NOT_FOUND,
        RelayReason.CONFLICT,
    }
)
"""Answers after which a pending commit will never be accepted."""


@final
class PendingCommits:
    """Offers them to the relay."""

    def __init__(self, state: DeviceState, session: Session) -> None:
        self._state: Final = state
        self._session: Final = session

    @property
    def some(self) -> bool:
        """Whether a commit is under way."""
        return bool(self._state.store.entries(PENDING))

    async def settle(self) -> None:
        """Learns the fate of commits that were under way when the device last stopped."""
        for ref in [GroupRef(name) for name in self._state.store.entries(PENDING)]:
            async with self._state.lock:
                try:
                    await self.submit(ref)
                except DeviceError as error:
                    if error.reason is not DeviceReason.LOST_RACE:
                        raise
                except RelayError as error:
                    # Refused for good is a fate too: a device that was removed finds the reason in its mailbox.
                    if error.reason not in _FINAL:
                        raise

    async def submit(self, ref: GroupRef) -> int:
        """Sends the stored pending commit; confirms or discards it. Unreachable leaves it pending."""
        state = self._state
        data = state.store.get(PENDING, ref.value)
        if data is None:
            raise DeviceError(DeviceReason.LOST_RACE)
        pending = msgspec.msgpack.decode(data, type=PendingCommit)
        record = state.group(ref)
        relay = await self._session.relay()
        gone = ((PENDING, ref.value),)
        body = _bundle(pending, record, state.stated_counter())
        try:
            answer = await relay.call("POST", f"/v1/groups/{ref}/commits", CommitAnswer, body)
        except RelayError as error:
            if error.reason not in _FINAL:
                raise
            state.engine.discard(record.group_id)
            if error.reason is RelayReason.GROUP_QUARANTINED:
                why = str(DeviceReason.GROUP_QUARANTINED)
                over = msgspec.structs.replace(record, stopped=record.stopped or why)
                told = events.encode(events.Finding(ref.value, "commit", why, stopped=True))
                state.persist(put=((GROUPS, ref.value, msgspec.msgpack.encode(over)),), gone=gone, inbox=(told,))
                state.groups[ref.value] = over
                raise
            state.persist(gone=gone)
            if error.reason is RelayReason.WRONG_EPOCH:
                raise DeviceError(DeviceReason.LOST_RACE) from None
            raise
        chain = chain_next(record.chain, pending.base_epoch, pending.commit)
        if not record.chain:
            # Welcomed devices hold no head yet: the first one they are told is what later ones must follow.
            chain = answer.chain
        stopped = "" if answer.chain == chain else str(GateReason.LOG_FORKED)
        inbox = (events.encode(events.Finding(ref.value, "commit", stopped, stopped=True)),) if stopped else ()
        rosters, old = state.leaving(record)
        state.engine.confirm(record.group_id)
        after = record.after(pending.base_epoch, pending.commit, chain, stopped)
        put = ((GROUPS, ref.value, msgspec.msgpack.encode(after)), *rosters)
        state.persist(put=put, gone=gone + old, inbox=inbox)
        state.groups[ref.value] = after
        return answer.epoch


def _bundle(pending: PendingCommit, record: GroupRecord, state_counter: int) -> dict[str, object]:
    # One welcome for each added device, in order; engines that make one for all repeat it.
    welcomes = [
        {"recipients": [device], "welcome": welcome}
        for device, welcome in zip(pending.adds, pending.welcomes, strict=True)
    ]
    return {
        "group_id": record.group_id,
        "base_epoch": pending.base_epoch,
        "commit": pending.commit,
        "welcomes": welcomes,
        "group_info": pending.group_info,
        "adds": pending.adds,
        "removes": pending.removes,
        "idempotency_key": pending.idempotency_key,
        "state_counter": state_counter,
    }
