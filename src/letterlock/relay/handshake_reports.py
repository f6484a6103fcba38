"""Handshakes that did not fit: a device's signed word becomes a finding in the ledger, and nothing else.

It changes no group, floor or right: a member could lie. What it is for is that people see it, and where it gathers.
"""

from collections import OrderedDict
from typing import Final

import structlog

from letterlock.assurance.device_list import DeviceListError, parse_signed
from letterlock.assurance.group_report import Reporter, verify_report
from letterlock.assurance.handshake.reasons import HandshakeReason
from letterlock.assurance.handshake.report import HandshakeReport
from letterlock.model.clock import Clock
from letterlock.model.ids import AccountId, DeviceId
from letterlock.relay.accounts import SALT_BYTES
from letterlock.relay.errors import RelayError
from letterlock.relay.groups import Caller
from letterlock.relay.ports import Committer, Entropy, Reads, settle
from letterlock.storage.relay_commands import NoteFinding, RelayReason
from letterlock.wire.preimage import Signature, SignatureError
from letterlock.wire.tlog.words import FindingCode, Severity

_log: Final = structlog.get_logger("letterlock.relay")
REPORTS_PER_HOUR: Final = 16
"""Of one account: an honest device makes one for each conversation that somebody interferes with."""
WINDOW_MS: Final = 3_600_000
MAX_ACCOUNTS: Final = 100_000
"""Accounts whose reports are counted, in memory; beyond it the longest idle one is forgotten. A restart forgets all."""

_R = HandshakeReason
CODES: Final[dict[HandshakeReason, FindingCode]] = {
    _R.NOT_READ: FindingCode.HANDSHAKE_TAMPERED,
    _R.UNKNOWN_SIGNER: FindingCode.GHOST_DEVICE,
    _R.SIGNATURE_REFUSED: FindingCode.HANDSHAKE_TAMPERED,
    _R.REFLECTED: FindingCode.IDENTITY_MISBOUND,
    _R.ANOTHER_PEER: FindingCode.IDENTITY_MISBOUND,
    _R.DEVICES_DIFFER: FindingCode.CAPABILITY_SUPPRESSED,
    _R.LIST_FORKED: FindingCode.DEVICE_LIST_FORK,
    _R.SEEN_DIFFERS: FindingCode.CAPABILITY_SUPPRESSED,
    _R.WEAKER_CHOICE: FindingCode.DOWNGRADE_SUSPECTED,
    _R.BELOW_FLOOR: FindingCode.DOWNGRADE_SUSPECTED,
    _R.MARKERS_DIFFER: FindingCode.HANDSHAKE_TAMPERED,
    _R.REPLAYED: FindingCode.REPLAY,
    _R.ANOTHER_OFFER: FindingCode.REPLAY,
    _R.ANSWER_CHANGED: FindingCode.HANDSHAKE_TAMPERED,
    _R.OUT_OF_ORDER: FindingCode.HANDSHAKE_TAMPERED,
    _R.CAPABILITY_VANISHED: FindingCode.CAPABILITY_SUPPRESSED,
}
"""The ledger's word for each reason that may be reported."""


class HandshakeReports:
    """Takes them.

    Args:
        committer: the writer.
        reads: the store's queries.
        clock: for the limit.
        environment: the installation's name, as it stands in signatures.
        audience: this relay's name, as it stands in signatures.
        entropy: for salts.
    """

    def __init__(
        self, committer: Committer, reads: Reads, clock: Clock, environment: str, audience: str, entropy: Entropy
    ) -> None:
        self._committer = committer
        self._reads = reads
        self._clock = clock
        self._environment = environment
        self._audience = audience
        self._entropy = entropy
        self._counted: OrderedDict[tuple[int, bytes], list[int]] = OrderedDict()

    async def take(self, caller: Caller, device: DeviceId, report: HandshakeReport, signature: bytes) -> FindingCode:
        """Takes a device's own report; the finding is durable when it returns: under which word.

        Raises:
            RelayError: NOT_FOUND, NOT_A_MEMBER, BAD_REPORT, REPORT_QUOTA, SESSION_ENDED.
        """
        group, member = await self._reads.member_group(caller.tenant, report.group.value, caller.mailbox)
        if group is None:
            raise RelayError(RelayReason.NOT_FOUND)
        if not member:
            raise RelayError(RelayReason.NOT_A_MEMBER)
        account = await self._reads.account(caller.tenant, caller.account)
        try:
            entry = None if account is None else parse_signed(account.signed).content.find(device)
        except DeviceListError:
            entry = None
        if entry is None:
            raise RelayError(RelayReason.SESSION_ENDED)
        reporter = Reporter(caller.tenant_id, self._environment, self._audience, AccountId(caller.account), device)
        code = CODES.get(report.reason)
        try:
            verify_report(report, reporter, entry.envelope_key, Signature.parse(signature))
        except SignatureError:
            code = None
        if code is None:
            raise RelayError(RelayReason.BAD_REPORT)
        self._count((caller.tenant, caller.account))
        severity = Severity.NOTICE if report.reason is _R.CAPABILITY_VANISHED else Severity.WARNING
        command = NoteFinding(code, severity, caller.account, self._entropy(SALT_BYTES))
        await settle(self._committer, command, type(None), tenant=caller.tenant)
        _log.warning("handshake_reported", reason=report.reason.value)
        return code

    def _count(self, name: tuple[int, bytes]) -> None:
        now = self._clock.monotonic_ms()
        recent = [at for at in self._counted.pop(name, []) if now - at < WINDOW_MS]
        self._counted[name] = recent
        while len(self._counted) > MAX_ACCOUNTS:
            self._counted.popitem(last=False)
        if len(recent) >= REPORTS_PER_HOUR:
            raise RelayError(RelayReason.REPORT_QUOTA)
        recent.append(now)
