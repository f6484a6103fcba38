"""What a device signs when it cannot take a commit that the relay ordered: ``invalid_commit``.

The report names the relay's group, the epoch that the commit is for, where the device met it in its mailbox, and the
commit's hash; nothing of why, and nothing of what it holds. docs/protocol/devices.md, section 5, "A stuck group".
"""

from dataclasses import dataclass
from typing import Final, Protocol

from letterlock.model.ids import AccountId, DeviceId, GroupRef, TenantId
from letterlock.wire.preimage import PublicKey, Purpose, Scope, Signature, Signer, context_hash, sign, verify

FORMAT: Final = 1
INVALID_COMMIT: Final = 1
"""The only kind of report in version 1."""


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A commit that a device refuses.

    Attributes:
        group: the relay's name for the group.
        base_epoch: the epoch that the commit is for.
        sequence: where the device met it in its own mailbox; 0 from the device that made the commit.
        commit_hash: SHA-256 of the MLSMessage.
    """

    group: GroupRef
    base_epoch: int
    sequence: int
    commit_hash: bytes

    def body(self) -> bytes:
        """What is signed."""
        return b"".join(
            (
                bytes((FORMAT, INVALID_COMMIT)),
                self.group.value,
                self.base_epoch.to_bytes(8),
                self.sequence.to_bytes(8),
                self.commit_hash,
            )
        )


class Report(Protocol):
    """What a device signs about a group; ``letterlock.assurance.handshake.report`` has the other kind."""

    def body(self) -> bytes:
        """What is signed; its first two bytes are format and kind."""
        ...


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who reports, and to which relay: part of what is signed.

    Attributes:
        audience: the relay's name, as in logins.
    """

    tenant: TenantId
    environment: str
    audience: str
    account: AccountId
    device: DeviceId

    def scope(self) -> Scope:
        """Where the report holds."""
        return Scope(self.tenant, self.environment, self.audience, context_hash(self.account.value, self.device.value))


def sign_report(report: Report, reporter: Reporter, signer: Signer) -> Signature:
    """Signs with the device's envelope-and-receipt key.

    Raises:
        PreimageError: the key is of another family.
    """
    return sign(signer, Purpose.GROUP_REPORT, reporter.scope(), report.body())


def verify_report(report: Report, reporter: Reporter, key: PublicKey, signature: Signature) -> None:
    """Returns only when this device signed this report for this relay.

    Raises:
        SignatureError: it did not.
    """
    verify(key, Purpose.GROUP_REPORT, reporter.scope(), report.body(), signature)
