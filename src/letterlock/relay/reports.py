"""Reports of commits that members cannot take: verified here, off the hot path; counted by the writer."""

from collections.abc import Callable
from hashlib import sha256
from typing import Final

import structlog

from letterlock.assurance.device_list import DeviceListError, parse_signed
from letterlock.assurance.group_report import GroupReport, Reporter, verify_report
from letterlock.custody.sealing import unseal_sealed
from letterlock.model.ids import AccountId, DeviceId, MessageId
from letterlock.relay.accounts import SALT_BYTES
from letterlock.relay.errors import RelayError
from letterlock.relay.groups import Caller
from letterlock.relay.ports import Committer, Entropy, Reads, SealingKeys, settle
from letterlock.storage.relay_commands import CommitReported, RelayReason, ReportCommit
from letterlock.wire.preimage import PublicKey, Signature, SignatureError

_log: Final = structlog.get_logger("letterlock.relay")


class Reports:
    """Takes reports.

    Args:
        committer: the writer.
        reads: the store's queries.
        keys: opens the commit of the log, to compare its hash.
        environment: the installation's name, as it stands in signatures.
        audience: this relay's name, as it stands in signatures.
        entropy: for salts.
        count: told of every report that was taken: whether it quarantined its group.
    """

    def __init__(
        self,
        committer: Committer,
        reads: Reads,
        keys: SealingKeys,
        environment: str,
        audience: str,
        entropy: Entropy,
        count: Callable[[bool], None],
    ) -> None:
        self._committer = committer
        self._reads = reads
        self._keys = keys
        self._environment = environment
        self._audience = audience
        self._entropy = entropy
        self._count = count

    async def take(self, caller: Caller, device: DeviceId, report: GroupReport, signature: bytes) -> CommitReported:
        """Takes a device's own report.

        Raises:
            RelayError: NOT_FOUND, NOT_A_MEMBER, BAD_REPORT, REPORT_STALE, REPORT_QUOTA, SESSION_ENDED.
            SealingError: the commit of the log does not open.
        """
        group, member = await self._reads.member_group(caller.tenant, report.group.value, caller.mailbox)
        if group is None:
            raise RelayError(RelayReason.NOT_FOUND)
        if not member:
            raise RelayError(RelayReason.NOT_A_MEMBER)
        key = await self._key(caller, device)
        reporter = Reporter(caller.tenant_id, self._environment, self._audience, AccountId(caller.account), device)
        try:
            verify_report(report, reporter, key, Signature.parse(signature))
        except SignatureError:
            raise RelayError(RelayReason.BAD_REPORT) from None
        found = await self._reads.commits(group.number, report.base_epoch, 1)
        if not found or found[0].base_epoch != report.base_epoch:
            raise RelayError(RelayReason.REPORT_STALE)
        row = found[0]
        message = MessageId(row.message_id)
        ordered = unseal_sealed(self._keys.get(row.generation), caller.tenant_id, message, row.sealed)
        if sha256(ordered).digest() != report.commit_hash:
            raise RelayError(RelayReason.BAD_REPORT)
        command = ReportCommit(
            caller.tenant, caller.mailbox, caller.account, group.number, report.base_epoch, row.message_id,
            report.commit_hash, report.sequence, (self._entropy(SALT_BYTES), self._entropy(SALT_BYTES)),
        )  # fmt: skip
        done = await settle(self._committer, command, CommitReported, tenant=caller.tenant)
        if not done.repeated:
            self._count(done.quarantined)
            _log.warning("commit_reported", accounts=done.accounts, quarantined=done.quarantined)
        return done

    async def _key(self, caller: Caller, device: DeviceId) -> PublicKey:
        """The device's envelope-and-receipt key, as its account's list has it now."""
        account = await self._reads.account(caller.tenant, caller.account)
        try:
            entry = None if account is None else parse_signed(account.signed).content.find(device)
        except DeviceListError:
            entry = None
        if entry is None:
            raise RelayError(RelayReason.SESSION_ENDED)
        return entry.envelope_key
