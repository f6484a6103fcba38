"""That a peer cannot do something is believed only from a signature, or on record; whatever else says so holds.

Suppression, a handshake that never starts and first contact leave no transcript, so an attacker who keeps everything
from arriving looks like a peer who has nothing. What decides is therefore who says that it is absent.
"""

from dataclasses import dataclass
from enum import Enum, unique
from typing import ClassVar, Final

from letterlock.assurance.causes import OFFERS, Cause
from letterlock.assurance.devices import DeviceList
from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.model.ids import SubjectId, TenantId
from letterlock.wire.preimage import (
    HASH_BYTES,
    PublicKey,
    Purpose,
    Scope,
    Signature,
    SignatureError,
    Signer,
    sign,
    verify,
)

FORMAT: Final = 1
AUDIENCE: Final = "no-devices"
STATEMENT_AGE_MS: Final = 24 * 60 * 60 * 1000
"""A statement is about a moment; its subject must have had a chance to see the next one."""
_BODY: Final = 1 + 16 + 8 + HASH_BYTES + 8


@unique
class StatementReason(Reason):
    """Why a statement that there are no devices is not believed."""

    MALFORMED = "statement_malformed"
    SIGNATURE_REFUSED = "statement_signature_refused"
    ANOTHER_SUBJECT = "statement_about_another_subject"
    NOT_IN_THE_LEDGER = "statement_not_in_the_ledger"
    TOO_OLD = "statement_too_old"
    CONTESTED = "statement_contested"


class StatementError(OperationError[StatementReason]):
    """The statement is no ground for anything: hold."""

    fault: ClassVar[Fault] = Fault.PEER


@dataclass(frozen=True, slots=True)
class NoDevices:
    """The statement "no devices at size N": what the gateway states about its own view, and signs, and logs.

    Attributes:
        subject: whom it is about.
        size: the ledger's size up to which no device list of the subject is committed.
        root: the ledger's root at that size.
        made_ms: ms UTC.
    """

    subject: SubjectId
    size: int
    root: bytes
    made_ms: int

    def __post_init__(self) -> None:
        if len(self.root) != HASH_BYTES or not 0 <= self.size < 1 << 63 or not 0 <= self.made_ms < 1 << 63:
            raise StatementError(StatementReason.MALFORMED)

    def body(self) -> bytes:
        """``u8 format = 1 | 16 subject | u64 size | 32 root | u64 time``."""
        return bytes((FORMAT,)) + self.subject.value + self.size.to_bytes(8) + self.root + self.made_ms.to_bytes(8)

    @classmethod
    def parse(cls, data: bytes) -> "NoDevices":
        """Reads a body to its last byte.

        Raises:
            StatementError: MALFORMED.
        """
        if len(data) != _BODY or data[0] != FORMAT:
            raise StatementError(StatementReason.MALFORMED)
        return cls(SubjectId(data[1:17]), int.from_bytes(data[17:25]), data[25:57], int.from_bytes(data[57:]))


def sign_statement(statement: NoDevices, tenant: TenantId, environment: str, signer: Signer) -> Signature:
    """Signs with the gateway's statement key.

    Raises:
        PreimageError: the key is of another family.
    """
    return sign(signer, Purpose.STATEMENT, Scope(tenant, environment, AUDIENCE), statement.body())


@unique
class Contest(Enum):
    """What the subject, or the ledger after the statement, says about it."""

    NONE = "none"
    CONTESTED = "contested"
    """A device list of the subject is in the ledger, or the subject objected."""


@unique
class Logged(Enum):
    """Whether an inclusion proof for the statement was checked against a signed head."""

    PROVEN = "proven"
    UNPROVEN = "unproven"


def check_statement(
    statement: NoDevices,
    subject: SubjectId,
    tenant: TenantId,
    environment: str,
    key: PublicKey,
    signature: Signature,
    logged: Logged,
    contest: Contest,
    now_ms: int,
) -> None:
    """Returns only when the statement is a ground to ask a person about one message.

    Raises:
        StatementError: the first thing that does not fit.
    """
    try:
        verify(key, Purpose.STATEMENT, Scope(tenant, environment, AUDIENCE), statement.body(), signature)
    except SignatureError:
        raise StatementError(StatementReason.SIGNATURE_REFUSED) from None
    if statement.subject != subject:
        raise StatementError(StatementReason.ANOTHER_SUBJECT)
    if logged is not Logged.PROVEN:
        raise StatementError(StatementReason.NOT_IN_THE_LEDGER)
    # One from the future counts as old: a clock that was set back opens nothing.
    if not 0 <= now_ms - statement.made_ms <= STATEMENT_AGE_MS:
        raise StatementError(StatementReason.TOO_OLD)
    if contest is Contest.CONTESTED:
        raise StatementError(StatementReason.CONTESTED)


@unique
class Absence(Enum):
    """Who says that a peer cannot be reached securely."""

    RELAY = "relay"
    """The relay's directory, or a provider: it shows nothing."""
    NETWORK = "network"
    """A capability exchange without the tag; a failure report."""
    CACHE = "cache"
    """An answer from before, of whatever age."""
    NEVER_STARTED = "never_started"
    """No handshake came, or no answer."""
    SIGNED_LIST = "signed_list"
    """The peer's account signed its list of devices."""
    LOGGED_STATEMENT = "logged_statement"
    """The gateway's statement, checked by :func:`check_statement`."""


def cause(absence: Absence, listed: DeviceList | None, capability: str, known_before: bool) -> Cause:
    """Why the secure path is not used, as far as it is believed: ``causes.OFFERS`` says what may follow.

    Args:
        absence: who says so.
        listed: for SIGNED_LIST the verified head of the peer's account.
        capability: the name that each device would have to list.
        known_before: whether this peer was ever seen with the capability.
    """
    if absence is Absence.SIGNED_LIST and listed is not None:
        if not listed.devices:
            return Cause.PEER_HAS_NO_DEVICE
        if not all(capability in device.capabilities for device in listed.devices):
            return Cause.PEER_DEVICE_CANNOT
        return Cause.HANDSHAKE_FAILED  # the list says that it is there
    if known_before:
        return Cause.CAPABILITY_VANISHED
    if absence is Absence.LOGGED_STATEMENT:
        return Cause.NO_DEVICE_KNOWN
    return Cause.TIMED_OUT if absence in {Absence.NEVER_STARTED, Absence.CACHE} else Cause.HANDSHAKE_FAILED


def may_ask(absence: Absence, listed: DeviceList | None, capability: str, known_before: bool) -> bool:
    """Whether a person may be asked about a lesser path because of this; otherwise it holds."""
    return OFFERS[cause(absence, listed, capability, known_before)].may_ask
