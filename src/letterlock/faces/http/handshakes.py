"""``POST /v1/groups/{group}/handshake-reports``: a device says, signed, that a session handshake did not fit."""

from typing import Annotated

import msgspec

from letterlock.assurance.handshake.reasons import HandshakeReason
from letterlock.assurance.handshake.report import HandshakeReport
from letterlock.faces.http.device_calls import caller_of, guard, path_id, problems
from letterlock.faces.http.routes import Access, Answer, Call, Route
from letterlock.model.ids import GroupRef
from letterlock.relay.handshake_reports import HandshakeReports
from letterlock.storage.relay_commands import RelayReason


class NewHandshakeReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a handshake was ended, or what was remarkable, signed by the device's envelope-and-receipt key."""

    reason: HandshakeReason
    signature: Annotated[bytes, msgspec.Meta(max_length=256)]


class HandshakeNoted(msgspec.Struct, frozen=True):
    """It is a finding in the ledger now, under this word."""

    finding: str


def handshake_routes(reports: HandshakeReports) -> tuple[Route, ...]:
    """The entry of the route table."""

    async def report(call: Call) -> Answer:
        """POST /v1/groups/{group}/handshake-reports."""
        body: NewHandshakeReport = call.body
        told = HandshakeReport(path_id(GroupRef, call.path["group"]), body.reason)
        code = await reports.take(caller_of(call), call.device.device_id, told, body.signature)
        return Answer(200, HandshakeNoted(code.value))

    return (
        Route(
            "POST", "/v1/groups/{group}/handshake-reports", "reportHandshake",
            "Report a session handshake that did not fit; it becomes a finding.",
            Access.DEVICE, guard(report), NewHandshakeReport, {200: HandshakeNoted},
            problems(
                RelayReason.NOT_FOUND, RelayReason.NOT_A_MEMBER, RelayReason.SESSION_ENDED, RelayReason.BAD_REPORT,
                RelayReason.REPORT_QUOTA,
            ),
        ),
    )  # fmt: skip
