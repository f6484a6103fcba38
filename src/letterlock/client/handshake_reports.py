"""Handshakes that did not fit: told to the relay, signed, so that the ledger knows; kept until it has been taken."""

from typing import Final, final

import msgspec

from letterlock.assurance.group_report import Reporter, sign_report
from letterlock.assurance.handshake.reasons import HandshakeReason
from letterlock.assurance.handshake.report import REPORTABLE, HandshakeReport
from letterlock.client.errors import RelayError, RelayReason
from letterlock.client.floors import Put
from letterlock.client.relay import HandshakeNotedAnswer
from letterlock.client.session import Session
from letterlock.client.state import DeviceState
from letterlock.model.ids import GroupRef

REPORTS: Final = "handshake_report"
"""By group and reason: what the relay has not heard yet."""
_FINAL: Final = frozenset({RelayReason.REFUSED, RelayReason.FORBIDDEN, RelayReason.NOT_FOUND, RelayReason.CONFLICT})
"""Answers after which a report will never be taken."""


def to_report(ref: bytes, reason: HandshakeReason) -> tuple[Put, ...]:
    """What to store beside a finding; nothing for one that is nobody else's business."""
    if reason not in REPORTABLE:
        return ()
    return ((REPORTS, ref + reason.value.encode(), msgspec.msgpack.encode((ref, reason))),)


@final
class HandshakeReporting:
    """Tells the relay."""

    def __init__(self, state: DeviceState, session: Session) -> None:
        self._state: Final = state
        self._session: Final = session

    async def report(self) -> int:
        """Returns how many findings are in the ledger now that were not before.

        Raises:
            RelayError: the relay was not reached, or takes none now: they are kept.
        """
        noted = 0
        mine = self._state.keys
        for name, data in self._state.store.entries(REPORTS).items():
            ref, reason = msgspec.msgpack.decode(data, type=tuple[bytes, HandshakeReason])
            report = HandshakeReport(GroupRef(ref), reason)
            reporter = Reporter(mine.tenant_id, mine.environment, mine.audience, mine.account_id, mine.device_id)
            signature = sign_report(report, reporter, mine.envelope_key()).encode()
            body = {"reason": reason.value, "signature": signature}
            relay = await self._session.relay()
            try:
                await relay.call("POST", f"/v1/groups/{report.group}/handshake-reports", HandshakeNotedAnswer, body)
                noted += 1
            except RelayError as error:
                if error.reason not in _FINAL:
                    raise
            async with self._state.lock:
                self._state.persist(gone=((REPORTS, name),))
        return noted
