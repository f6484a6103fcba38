"""The gate: what a device refuses before its MLS engine sees it. Pure; each refusal is a typed finding.

An engine follows RFC 9420, and RFC 9420 lets anybody with a GroupInfo join by an external commit and leaves to the
application whose keys are whose. Here only members commit, proposals stand in the commit itself, and every leaf
that enters is named by an account-signed device list.
"""

from collections.abc import Callable
from enum import Enum, unique
from typing import Final

from letterlock.assurance.device_list import Device as ListedDevice
from letterlock.client import lifetimes
from letterlock.client.engine import Joined, Member
from letterlock.client.errors import GateError, GateReason
from letterlock.client.groups import GroupRecord
from letterlock.model.bodies import SealedKind
from letterlock.wire.mls import (
    MAX_GROUP_MESSAGE,
    CipherSuite,
    FramingError,
    KeyPackageInfo,
    PublicCommitInfo,
    SenderKind,
    SignatureError,
    check_key_package,
    parse,
    parse_key_package,
    parse_public_commit,
)
from letterlock.wire.mls.group import FollowError, FollowReason, ListedKeys, PublicGroup, own_state
from letterlock.wire.mls.proposals import Add, Proposal, ProposalReference, Remove
from letterlock.wire.mls.structures import CredentialType, LeafNode

SUITE: Final = CipherSuite(1)
"""MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519: what every implementation has."""
END_MLS: Final = 0xF002
"""The group context extension by which a group says that it is no longer encrypted (RCC.16, section 9.1.1)."""

_OWN_KEYS: Final = ListedKeys(lambda _: True)
"""A leaf is its own key; which keys are listed, :func:`screen_commit` has asked."""

Listed = Callable[[bytes], bool]
"""Whether an account-signed device list that this device verified names this leaf key."""


@unique
class Order(Enum):
    """Whether something was meant for this device at all."""

    IN_TURN = "in_turn"
    BEFORE_JOINING = "before_joining"
    """Sealed before this device came in, and delivered after: nobody expects it to be opened here."""


def screen_key_package(package: bytes, entry: ListedDevice, now_ms: int) -> KeyPackageInfo:
    """A key package that the relay handed out for one device (A1).

    Raises:
        GateError: NOT_PARSED, SUITE, LEAF_NOT_LISTED, CREDENTIAL_MISMATCH, or its lifetime's.
    """
    try:
        info = parse_key_package(package)
        check_key_package(info)
    except (FramingError, SignatureError):
        raise GateError(GateReason.NOT_PARSED) from None
    if info.suite is not SUITE:
        raise GateError(GateReason.SUITE, suite=int(info.suite))
    if info.signature_key != entry.leaf_key:
        raise GateError(GateReason.LEAF_NOT_LISTED, device=entry.device)
    _check_credential(info.package.leaf)
    lifetimes.check(info.package.leaf.lifetime, now_ms)
    return info


def screen_commit(
    commit: bytes, group_id: bytes, epoch: int, roster: tuple[Member, ...], listed: Listed, now_ms: int
) -> PublicCommitInfo:
    """A commit from the mailbox (A2).

    Args:
        commit: MLSMessage.
        group_id: of the group in whose name the relay delivered it.
        epoch: at which this device stands.
        roster: the members now.
        listed: see :data:`Listed`.
        now_ms: milliseconds UTC, for the lifetimes of added leaves.

    Raises:
        GateError: the reason; the engine must not be called.
    """
    try:
        info = parse_public_commit(commit)
    except FramingError:
        raise GateError(GateReason.NOT_PARSED) from None
    if info.group_id != group_id:
        raise GateError(GateReason.WRONG_GROUP)
    if info.epoch != epoch:
        raise GateError(GateReason.WRONG_EPOCH, own=epoch, shown=info.epoch)
    if info.external:
        raise GateError(GateReason.EXTERNAL_COMMIT)
    sender = next((member for member in roster if member.leaf == info.sender.index), None)
    if info.sender.kind is not SenderKind.MEMBER or sender is None:
        raise GateError(GateReason.SENDER_UNKNOWN)
    for proposal in info.proposals:
        _screen_proposal(proposal, roster, listed, now_ms)
    if info.path is not None:
        # A path replaces the sender's leaf: it may bring new encryption keys, never another signature key or name.
        leaf = info.path.leaf
        _check_credential(leaf)
        if leaf.credential.identity != sender.identity or leaf.signature_key != (
            sender.signature_key or sender.identity
        ):
            raise GateError(GateReason.LEAF_CHANGED, leaf=sender.leaf)
    return info


def follow_commit(group_info: bytes, commit: bytes, now_ms: int) -> PublicGroup:
    """What a screened commit makes of the group's public state: computed here, before the engine is called.

    Args:
        group_info: of the engine, before the commit.
        commit: MLSMessage.
        now_ms: milliseconds UTC.

    Raises:
        GateError: COMMIT_INVALID; the engine must not be called.
    """
    refused: FollowReason | None = None
    try:
        return own_state(group_info).follow(commit, _OWN_KEYS, now_ms // 1000, late_s=lifetimes.LATE_S)
    except FollowError as error:
        refused = error.reason
    raise GateError(GateReason.COMMIT_INVALID, follow=refused)


def screen_followed(followed: PublicGroup, group_info: bytes) -> None:
    """The engine reached the very state that was computed: its fingerprint covers a history that was followed here.

    Args:
        followed: of :func:`follow_commit`.
        group_info: of the engine, after the commit.

    Raises:
        GateError: ENGINE_DIFFERS.
    """
    try:
        followed.agrees(group_info)
    except FollowError:
        raise GateError(GateReason.ENGINE_DIFFERS) from None


def screen_joined(joined: Joined) -> None:
    """A group that a welcome leads to, before its members are looked at.

    Raises:
        GateError: BORN_DOWNGRADED.
    """
    if END_MLS in joined.context_extensions:
        raise GateError(GateReason.BORN_DOWNGRADED)


def screen_roster(roster: tuple[Member, ...], listed: Listed, now_ms: int) -> None:
    """All members of a group that a welcome leads to.

    Raises:
        GateError: LEAF_NOT_LISTED, CREDENTIAL_MISMATCH, or a lifetime's.
    """
    for member in roster:
        if member.signature_key is not None and member.signature_key != member.identity:
            raise GateError(GateReason.CREDENTIAL_MISMATCH, leaf=member.leaf)
        if not listed(member.identity):
            raise GateError(GateReason.LEAF_NOT_LISTED, leaf=member.leaf)
        lifetimes.check(member.lifetime, now_ms, lifetimes.LATE_S)


def screen_order(message: bytes, record: GroupRecord, epoch: int) -> Order:
    """Where a commit or message of a group stands in what this device knows of the group's history.

    What is no MLS message of this group is left to the checks that follow.

    Raises:
        GateError: COMMIT_MISSING, LOG_FORKED: the relay does not show everybody the same.
    """
    try:
        body = parse(message, limit=MAX_GROUP_MESSAGE)
    except FramingError:
        return Order.IN_TURN
    if body.group_id != record.group_id:
        return Order.IN_TURN
    if body.epoch > epoch:
        raise GateError(GateReason.COMMIT_MISSING, own=epoch, shown=body.epoch)
    if body.kind is SealedKind.PUBLIC_COMMIT and record.contradicts(body.epoch, message):
        raise GateError(GateReason.LOG_FORKED, epoch=body.epoch)
    return Order.BEFORE_JOINING if body.epoch < record.joined else Order.IN_TURN


def added_leaf_keys(commit: bytes) -> tuple[bytes, ...]:
    """The leaf keys that a commit would bring in, so that their lists can be fetched before it is screened.

    Raises:
        GateError: NOT_PARSED.
    """
    try:
        info = parse_public_commit(commit)
    except FramingError:
        raise GateError(GateReason.NOT_PARSED) from None
    return tuple(proposal.key_package.leaf.signature_key for proposal in info.proposals if isinstance(proposal, Add))


def _screen_proposal(
    proposal: Proposal | ProposalReference, roster: tuple[Member, ...], listed: Listed, now_ms: int
) -> None:
    if isinstance(proposal, ProposalReference):
        raise GateError(GateReason.PROPOSAL_BY_REFERENCE)
    if isinstance(proposal, Add):
        leaf = proposal.key_package.leaf
        if proposal.key_package.suite != SUITE:
            raise GateError(GateReason.SUITE, suite=proposal.key_package.suite)
        if not listed(leaf.signature_key):
            raise GateError(GateReason.LEAF_NOT_LISTED)
        _check_credential(leaf)
        lifetimes.check(leaf.lifetime, now_ms, lifetimes.LATE_S)
        return
    if isinstance(proposal, Remove):
        if all(member.leaf != proposal.removed for member in roster):
            raise GateError(GateReason.SENDER_UNKNOWN, leaf=proposal.removed)
        return
    raise GateError(GateReason.PROPOSAL_KIND)


def _check_credential(leaf: LeafNode) -> None:
    """Engines report members by credential, so it must be the key itself: else a name could be borrowed."""
    if leaf.credential.kind is not CredentialType.BASIC or leaf.credential.identity != leaf.signature_key:
        raise GateError(GateReason.CREDENTIAL_MISMATCH)
