"""The floor: the protection below which a conversation may not go. Pure functions on a frozen value.

A floor belongs to a peer of a tenant, not to a conversation, a group, an era, an alias or a face: all of these lead to
the same subject, so none of them is a way around it. It rises durably only on ATTESTED evidence or a signed device
list; weaker evidence changes how a message is handled and nothing else. It falls only by consent or a written policy.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, unique
from typing import ClassVar, Final, NamedTuple

from letterlock.assurance.assess import Assessment
from letterlock.assurance.causes import ConsentScope
from letterlock.assurance.device_list import DeviceList
from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.model.ids import SubjectId, TenantId
from letterlock.model.protection import ConsentKind, EvidenceGrade, Protection, is_fall, permits

MLS_CAPABILITY: Final = "mls10"
"""A device that lists this can take part in MLS 1.0 (RFC 9420)."""


class FloorKey(NamedTuple):
    """What a floor is found by; there is nothing else to find it by."""

    tenant: TenantId
    peer: SubjectId


@unique
class FloorBasis(Enum):
    """Why a floor is what it is."""

    UNSET = "unset"
    """None was ever recorded; the policy's own applies."""
    ATTESTED_MESSAGE = "attested_message"
    SIGNED_DEVICE_LIST = "signed_device_list"
    CONSENT = "consent"
    POLICY = "policy"


@unique
class FloorReason(Reason):
    """Why a floor is not changed."""

    NOT_LOWER = "not_lower"
    CONSENT_FOR_ONE_MESSAGE = "consent_for_one_message"
    """It lets one message through, and the floor stays."""
    NOT_A_FLOOR = "not_a_floor"


class FloorError(OperationError[FloorReason]):
    """The floor stays what it is."""

    fault: ClassVar[Fault] = Fault.POLICY


@dataclass(frozen=True, slots=True)
class Floor:
    """One floor. ``version`` goes up by one with every change; a decision names the version it relied on."""

    key: FloorKey
    protection: Protection
    basis: FloorBasis
    version: int


def floor_key(tenant: TenantId, peer: SubjectId) -> FloorKey:
    """The key for a peer. The vault gives one subject for all spellings and aliases of an identifier."""
    return FloorKey(tenant, peer)


def unset(key: FloorKey) -> Floor:
    """The floor of a peer about whom nothing was recorded: UNKNOWN, version 0."""
    return Floor(key, Protection.UNKNOWN, FloorBasis.UNSET, 0)


def observed(floor: Floor, assessment: Assessment) -> Floor:
    """The floor after a message was seen: higher where it was ATTESTED, else the very same value."""
    if assessment.grade is not EvidenceGrade.ATTESTED or assessment.finding is not None:
        return floor
    return _raised(floor, assessment.show_as, FloorBasis.ATTESTED_MESSAGE)


def verified_message(floor: Floor) -> Floor:
    """The floor on a device that decrypted a message of this peer itself, and verified its signature: E2EE.

    The caller answers for the check; :func:`observed` is for whoever only assessed.
    """
    return _raised(floor, Protection.E2EE, FloorBasis.ATTESTED_MESSAGE)


def listed(floor: Floor, verified: DeviceList) -> Floor:
    """The floor after a device list was verified: E2EE when every device on it can do MLS, else the same value.

    Args:
        floor: of the peer whose account's list it is.
        verified: returned by ``verify_first`` or ``verify_next``; the caller answers for its being this peer's.
    """
    if not verified.devices or not all(MLS_CAPABILITY in device.capabilities for device in verified.devices):
        return floor
    return _raised(floor, Protection.E2EE, FloorBasis.SIGNED_DEVICE_LIST)


def handling(floor: Floor, assessment: Assessment) -> Protection:
    """How to treat an answer to this message: its claim counts for the moment, and is not recorded."""
    if floor.protection is Protection.UNKNOWN or permits(floor.protection, assessment.handle_as):
        return assessment.handle_as
    return floor.protection


def lowered_by_consent(floor: Floor, to: Protection, kind: ConsentKind, scope: ConsentScope) -> Floor:
    """The floor after a person agreed to a lower one for the conversation.

    Raises:
        FloorError: the consent is for one message, or the floor asked for is not lower.
    """
    if scope is ConsentScope.THIS_MESSAGE:
        raise FloorError(FloorReason.CONSENT_FOR_ONE_MESSAGE)
    return _lowered(floor, to, FloorBasis.POLICY if kind is ConsentKind.POLICY else FloorBasis.CONSENT)


def lowered_by_policy(floor: Floor, to: Protection) -> Floor:
    """The floor after a rule that names this step was applied.

    Raises:
        FloorError: the floor asked for is not lower.
    """
    return _lowered(floor, to, FloorBasis.POLICY)


def all_permit(floors: Iterable[Floor], path: Protection, default: Protection) -> bool:
    """Whether every peer's floor permits a path: a group is as strict as its strictest member.

    Args:
        floors: of all the peers.
        path: the path's protection.
        default: the policy's floor for peers without one.
    """
    return all(permits(default if floor.basis is FloorBasis.UNSET else floor.protection, path) for floor in floors)


def _raised(floor: Floor, to: Protection, basis: FloorBasis) -> Floor:
    if to is Protection.UNKNOWN or to is floor.protection:
        return floor
    # Sideways (ENCLAVE, ESCROWED) is a fall, so it is no rise either.
    if floor.protection is not Protection.UNKNOWN and not permits(floor.protection, to):
        return floor
    return replace(floor, protection=to, basis=basis, version=floor.version + 1)


def _lowered(floor: Floor, to: Protection, basis: FloorBasis) -> Floor:
    if to is Protection.UNKNOWN:
        raise FloorError(FloorReason.NOT_A_FLOOR)
    if not is_fall(floor.protection, to):
        raise FloorError(FloorReason.NOT_LOWER, floor=floor.protection, asked=to)
    return replace(floor, protection=to, basis=basis, version=floor.version + 1)
