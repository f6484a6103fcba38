"""A commit that this device cannot take: told to the relay, so that the group does not go on without half its members.

The device has stopped the group by itself already. When devices of two accounts report the same commit, the relay
quarantines the group for everybody. A new group is then made by a person's call (``Device.replace_group``).
"""

from dataclasses import dataclass
from typing import Final, final

import msgspec

from letterlock.assurance.group_report import GroupReport, Reporter, sign_report
from letterlock.client.errors import DeviceError, DeviceReason, RelayError, RelayReason
from letterlock.client.groups import GROUPS, STUCK, StuckCommit
from letterlock.client.relay import ReportAnswer
from letterlock.client.session import Session
from letterlock.client.state import DeviceState
from letterlock.model.ids import GroupRef

_FINAL: Final = frozenset({RelayReason.REFUSED, RelayReason.FORBIDDEN, RelayReason.NOT_FOUND, RelayReason.CONFLICT})
"""Answers after which a report will never be taken: the relay did not order what it showed, or does not say so."""


@dataclass(frozen=True, slots=True)
class Reported:
    """What the relay made of a report.

    Attributes:
        group: which.
        accounts: how many accounts count for this commit; 0 where the report was refused.
        quarantined: whether the group takes nothing any more.
        refused: why the relay did not take it, or None.
    """

    group: GroupRef
    accounts: int
    quarantined: bool
    refused: RelayReason | None = None


@final
class StuckGroups:
    """Reports commits."""

    def __init__(self, state: DeviceState, session: Session) -> None:
        self._state: Final = state
        self._session: Final = session

    async def report(self) -> tuple[Reported, ...]:
        """See :meth:`letterlock.client.device.Device.report_stuck`."""
        waiting = self._state.store.entries(STUCK)
        done: list[Reported] = []
        for name, data in waiting.items():
            ref = GroupRef(name)
            try:
                answer = await self._send(ref, msgspec.msgpack.decode(data, type=StuckCommit))
                done.append(Reported(ref, answer.accounts, answer.quarantined))
            except RelayError as error:
                if error.reason not in _FINAL:
                    raise
                done.append(Reported(ref, 0, quarantined=False, refused=error.reason))
            async with self._state.lock:
                self._state.persist(gone=((STUCK, name),))
        return tuple(done)

    async def give_up(self, ref: GroupRef) -> Reported:
        """See :meth:`letterlock.client.device.Device.give_up_group`."""
        async with self._state.lock:
            record = self._state.group(ref)
            if not record.applied:
                raise DeviceError(DeviceReason.NOT_THE_AUTHOR)
            base_epoch, commit_hash = record.applied[-1]
        try:
            answer = await self._send(ref, StuckCommit(base_epoch, 0, commit_hash))
        except RelayError as error:
            if error.reason is RelayReason.REFUSED:
                raise DeviceError(DeviceReason.NOT_THE_AUTHOR) from None
            raise
        async with self._state.lock:
            over = msgspec.structs.replace(self._state.group(ref), stopped=str(DeviceReason.GIVEN_UP))
            self._state.persist(put=((GROUPS, ref.value, msgspec.msgpack.encode(over)),))
            self._state.groups[ref.value] = over
        return Reported(ref, answer.accounts, answer.quarantined)

    async def _send(self, ref: GroupRef, stuck: StuckCommit) -> ReportAnswer:
        mine = self._state.keys
        report = GroupReport(ref, stuck.base_epoch, stuck.sequence, stuck.commit_hash)
        reporter = Reporter(mine.tenant_id, mine.environment, mine.audience, mine.account_id, mine.device_id)
        body = {
            "kind": "invalid_commit",
            "base_epoch": stuck.base_epoch,
            "sequence": stuck.sequence,
            "commit_hash": stuck.commit_hash,
            "signature": sign_report(report, reporter, mine.envelope_key()).encode(),
        }
        relay = await self._session.relay()
        return await relay.call("POST", f"/v1/groups/{ref}/reports", ReportAnswer, body)
