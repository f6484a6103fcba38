"""Looking at a commit bundle without any key: what must hold before the writer sees it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from letterlock.model.bodies import SealedKind
from letterlock.model.ids import DeviceId
from letterlock.relay.errors import RelayError
from letterlock.relay.limits import MAX_COMMIT, MAX_GROUP_INFO, MAX_WELCOME
from letterlock.storage.relay_commands import RelayReason
from letterlock.wire.mls import FramingError, parse, parse_group_info, parse_public_commit, parse_welcome
from letterlock.wire.mls.codec import Writer
from letterlock.wire.mls.proposals import Add, ProposalReference, ReInit, Remove


@dataclass(frozen=True, slots=True)
class Welcome:
    """A Welcome and the devices it is for."""

    recipients: Sequence[DeviceId]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a device sends to change a group; see docs/protocol/devices.md, section 5."""

    group_id: bytes = field(repr=False)
    base_epoch: int
    commit: bytes = field(repr=False)
    welcomes: Sequence[Welcome]
    group_info: bytes | None = field(repr=False)
    adds: Sequence[DeviceId]
    removes: Sequence[DeviceId]
    idempotency_key: bytes = field(repr=False)
    state_counter: int

    def digest(self) -> bytes:
        """Of everything but the idempotency key and the counter: what makes it the same request.

        The counter is left out: a device that repeats after a restart has counted on.
        """
        out = Writer().opaque(self.group_id).u64(self.base_epoch).opaque(self.commit).u32(len(self.welcomes))
        for welcome in self.welcomes:
            out.u32(len(welcome.recipients))
            for device in welcome.recipients:
                out.raw(device.value)
            out.opaque(welcome.body)
        out.u8(self.group_info is not None).opaque(self.group_info or b"")
        for devices in (self.adds, self.removes):
            out.u32(len(devices))
            for device in devices:
                out.raw(device.value)
        return sha256(out.done()).digest()


def check(bundle: Bundle, group_id: bytes, suites: Collection[int]) -> bool:
    """Looks at a bundle for this group; returns whether its commit is private.

    A suite is refused wherever a bundle shows one: in an added key package, a re-initialisation, a Welcome, the
    GroupInfo. A private commit without Welcome and GroupInfo shows none.

    Args:
        bundle: what the device sent.
        group_id: of the group it was sent to.
        suites: the code points that the settings list.

    Raises:
        RelayError: BAD_COMMIT, EXTERNAL_COMMIT, BAD_WELCOME, BAD_GROUP_INFO, SUITE_NOT_ALLOWED, BAD_MEMBERS.
    """
    if bundle.group_id != group_id:
        raise RelayError(RelayReason.BAD_COMMIT)
    counts = _commit(bundle, suites)
    for welcome in bundle.welcomes:
        try:
            suite = parse_welcome(welcome.body, limit=MAX_WELCOME).suite
        except FramingError:
            raise RelayError(RelayReason.BAD_WELCOME) from None
        _allowed(suite, suites)
    if bundle.group_info is not None:
        check_group_info(bundle.group_info, bundle.group_id, bundle.base_epoch + 1, suites)
    named = [device for welcome in bundle.welcomes for device in welcome.recipients]
    both = [*bundle.adds, *bundle.removes]
    if len(set(both)) != len(both) or len(set(named)) != len(named) or set(named) != set(bundle.adds):
        raise RelayError(RelayReason.BAD_MEMBERS)
    if any(not welcome.recipients for welcome in bundle.welcomes):
        raise RelayError(RelayReason.BAD_MEMBERS)
    if counts is not None and counts != (len(bundle.adds), len(bundle.removes)):
        raise RelayError(RelayReason.BAD_MEMBERS)
    return counts is None


def _allowed(suite: int, suites: Collection[int]) -> None:
    if suite not in suites:
        raise RelayError(RelayReason.SUITE_NOT_ALLOWED, suite=suite)


def _commit(bundle: Bundle, suites: Collection[int]) -> tuple[int, int] | None:
    """How many members a public commit adds and removes; None for a private one."""
    if len(bundle.commit) > MAX_COMMIT:
        raise RelayError(RelayReason.BAD_COMMIT)
    try:
        body = parse(bundle.commit, limit=MAX_COMMIT)
        if body.kind not in {SealedKind.PUBLIC_COMMIT, SealedKind.PRIVATE_COMMIT}:
            raise RelayError(RelayReason.BAD_COMMIT)
        info = parse_public_commit(bundle.commit) if body.kind is SealedKind.PUBLIC_COMMIT else None
    except FramingError:
        raise RelayError(RelayReason.BAD_COMMIT) from None
    if info is not None and info.external:
        raise RelayError(RelayReason.EXTERNAL_COMMIT)
    if body.group_id != bundle.group_id or body.epoch != bundle.base_epoch:
        raise RelayError(RelayReason.BAD_COMMIT)
    if info is None:
        return None
    # Nobody can have sent a proposal on its own: the relay takes none. A reference would hide who is added.
    if any(isinstance(proposal, ProposalReference) for proposal in info.proposals):
        raise RelayError(RelayReason.BAD_COMMIT)
    for proposal in info.proposals:
        if isinstance(proposal, Add):
            _allowed(proposal.key_package.suite, suites)
        elif isinstance(proposal, ReInit):
            _allowed(proposal.suite, suites)
    kinds = [type(proposal) for proposal in info.proposals]
    return kinds.count(Add), kinds.count(Remove)


def check_group_info(data: bytes, group_id: bytes, epoch: int, suites: Collection[int]) -> None:
    """A GroupInfo is of this group, epoch and a listed suite. What it says is not looked at.

    Raises:
        RelayError: BAD_GROUP_INFO, SUITE_NOT_ALLOWED.
    """
    try:
        info = parse_group_info(data, limit=MAX_GROUP_INFO)
    except FramingError:
        raise RelayError(RelayReason.BAD_GROUP_INFO) from None
    if info.group_id != group_id or info.epoch != epoch:
        raise RelayError(RelayReason.BAD_GROUP_INFO)
    _allowed(info.suite, suites)
