"""Groups: created, committed to in order, looked at. The relay compares epochs and keeps the log; it holds no key."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Final, TypeVar

from letterlock.custody.sealing import StorageKey, seal_sealed, unseal_sealed
from letterlock.model.clock import Clock
from letterlock.model.ids import ID_BYTES, GroupRef, MessageId, TenantId
from letterlock.relay.accounts import SALT_BYTES
from letterlock.relay.bundle import Bundle, check, check_group_info
from letterlock.relay.directory import GroupDirectory, GroupHead
from letterlock.relay.eras import born_downgraded, check_era, next_era
from letterlock.relay.errors import RelayError, WrongEpochError
from letterlock.relay.limits import COMMITS_PER_ANSWER, MAILBOX_TTL_MS
from letterlock.relay.ports import Committer, Delivery, Entropy, HandshakePolicy, Reads, SealingKeys, settle
from letterlock.relay.tracking import Followed, Seen, anchor_again, follow
from letterlock.storage.errors import CommitReason, CommitRefused, StorageError, StorageReason
from letterlock.storage.relay_commands import (
    AdvanceEra,
    AnchorGroup,
    CommitGroup,
    CreateGroup,
    EraAdvanced,
    GroupAnchored,
    GroupCommitted,
    GroupCreated,
    GroupStanding,
    NewWelcome,
    NoteFinding,
    PublicState,
    RelayReason,
    SealedHandshake,
)
from letterlock.storage.relay_rows import CommitRow, GroupRow, MemberRow, Tracking
from letterlock.wire.mls import CipherSuite
from letterlock.wire.mls.group import FollowError, Root
from letterlock.wire.tlog.words import FindingCode, Severity

FIRST_EPOCHS: Final = (0, 1)
"""Where a group may start: some engines commit once at creation."""
MAX_STALE: Final = 3
"""How often a decision is made again when what it relied on has changed; then 503."""
LARGE_STATE: Final = 32 * 1024
"""Bytes of public state, some hundred members, from which on a commit is followed beside the event loop: below it
takes a few milliseconds, above it the other devices would notice."""
T = TypeVar("T")
_LOG: Final = b"letterlock group log v1\0"
_SIZES: Final = (256, 512, 1_024, 2_048, 4_096, 16_384, 65_536)
"""Upper bounds of size buckets, as for messages."""


_SEVERITIES: Final = {
    FindingCode.GROUP_UNREADABLE: Severity.NOTICE,
    FindingCode.GROUP_REANCHORED: Severity.NOTICE,
    FindingCode.GROUP_FORKED: Severity.CRITICAL,
}


_TRIED: Final = {
    RelayReason.EXTERNAL_COMMIT: FindingCode.EXTERNAL_COMMIT,
    RelayReason.BORN_DOWNGRADED: FindingCode.DOWNGRADE_SUSPECTED,
}
"""Refusals that are recorded."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The device that asks."""

    tenant: int
    tenant_id: TenantId
    mailbox: int
    account: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class LoggedCommit:
    """A commit of the log with its bytes."""

    row: CommitRow
    commit: bytes = field(repr=False)


def first_chain(group_id: bytes, epoch: int) -> bytes:
    """The head of an empty log (docs/protocol/devices.md, section 5)."""
    return sha256(_LOG + epoch.to_bytes(8, "big") + len(group_id).to_bytes(8, "big") + group_id).digest()


def next_chain(chain: bytes, epoch: int, commit: bytes) -> bytes:
    """The head after a commit on ``epoch``."""
    return sha256(chain + epoch.to_bytes(8, "big") + sha256(commit).digest()).digest()


def _tracking(public: PublicState | None, leaves: frozenset[int]) -> Tracking | None:
    if public is None:
        return None
    mailboxes = leaves if public.standing is GroupStanding.FOLLOWED else frozenset[int]()
    return Tracking(public.epoch, public.standing, public.until_ms, public.gaps, mailboxes, public.era)


def _size(bundle: Bundle, public: PublicState | None) -> int:
    size = len(bundle.commit) + sum(len(one.body) for one in bundle.welcomes)
    return size + (0 if public is None else len(public.state))


async def _beside(work: Callable[[], T], size: int) -> T:
    """Does what takes long beside the event loop; ``size`` is that of the state in hand."""
    if size < LARGE_STATE:
        return work()
    return await asyncio.get_running_loop().run_in_executor(None, work)


class Groups:
    """Creates groups and takes commits.

    Args:
        committer: the writer.
        reads: the store's queries.
        directory: group look-up; kept right on commits.
        keys: seals what is stored.
        delivery: wakes the streams of recipients.
        policy: what is said of handshakes on every surface.
        clock: wall time.
        entropy: for ids and salts.
        suites: what a commit bundle may show.
        roots: of RCS clients' certificates; without any, groups of theirs are not followed.
    """

    def __init__(
        self,
        committer: Committer,
        reads: Reads,
        directory: GroupDirectory,
        keys: SealingKeys,
        delivery: Delivery,
        policy: HandshakePolicy,
        clock: Clock,
        entropy: Entropy,
        suites: frozenset[CipherSuite],
        roots: tuple[Root, ...] = (),
    ) -> None:
        self._committer = committer
        self._reads = reads
        self._directory = directory
        self._keys = keys
        self._delivery = delivery
        self._policy = policy
        self._clock = clock
        self._entropy = entropy
        self._suites = suites
        self._roots = roots

    async def create(
        self, caller: Caller, group_id: bytes, epoch: int, replaces: GroupRef | None = None
    ) -> tuple[GroupRef, bytes, bool]:
        """A group with the caller alone; ``replaces`` names the quarantined group that it follows, for the record.

        Returns:
            its name, its chain, and whether it is new.

        Raises:
            RelayError: BAD_EPOCH, GROUP_EXISTS, SESSION_ENDED; NOT_FOUND, NOT_A_MEMBER, NOT_QUARANTINED of the old.
        """
        if epoch not in FIRST_EPOCHS:
            raise RelayError(RelayReason.BAD_EPOCH)
        chain = first_chain(group_id, epoch)
        old = 0 if replaces is None else (await self._for_member(caller, replaces)).number
        command = CreateGroup(
            caller.tenant, caller.mailbox, self._entropy(ID_BYTES), group_id, epoch, chain, old,
            self._entropy(SALT_BYTES),
        )  # fmt: skip
        made = await settle(self._committer, command, GroupCreated, tenant=caller.tenant)
        return GroupRef(made.ref), chain, made.created

    async def commit(self, caller: Caller, ref: GroupRef, bundle: Bundle) -> GroupCommitted:
        """Applies a commit bundle, all of it or nothing.

        Raises:
            WrongEpochError: another commit was first.
            RelayError: NOT_FOUND, NOT_A_MEMBER, IDEMPOTENCY_CONFLICT,
                GROUP_QUARANTINED, WRONG_ERA, BAD_COMMIT, EXTERNAL_COMMIT, BAD_WELCOME,
                BAD_GROUP_INFO, SUITE_NOT_ALLOWED, BORN_DOWNGRADED, BAD_MEMBERS, SESSION_ENDED.
            StorageError: the store failed, or decisions kept changing.
        """
        group, member, earlier = await self._reads.before_commit(
            caller.tenant, ref.value, caller.mailbox, bundle.idempotency_key
        )
        if group is None:
            raise RelayError(RelayReason.NOT_FOUND)
        digest = bundle.digest()
        if earlier is not None:
            # Its own request, answered once already: also for who was removed since, for it has to know what became.
            if earlier.request_hash != digest:
                raise RelayError(RelayReason.IDEMPOTENCY_CONFLICT)
            return GroupCommitted(earlier.epoch, earlier.chain, earlier.record_hash, (), repeated=True)
        if not member:
            raise RelayError(RelayReason.NOT_A_MEMBER)
        if group.superseded is not None:
            raise RelayError(RelayReason.WRONG_ERA, current_era=group.superseded.era)
        private = await self._checked(caller, group, bundle)
        check_era(bundle.group_info, group.era)
        if bundle.base_epoch == group.first_epoch and born_downgraded(bundle.group_info):
            raise await self._noted(caller, RelayReason.BORN_DOWNGRADED)
        head = self._directory.learn(group)
        for _ in range(MAX_STALE):
            try:
                followed, leaves = await self._follow(caller, head, bundle, private)
                return await self._apply(caller, head, bundle, private, digest, followed, leaves)
            except CommitRefused as refusal:
                if refusal.reason is not CommitReason.STALE_DECISION:
                    raise
            except RelayError as error:
                if error.reason is not RelayReason.WRONG_EPOCH:
                    raise
                current = int(str(error.facts["current_epoch"]))
                missing = await self._reads.missing_commits(caller.mailbox, group.number, bundle.base_epoch)
                raise WrongEpochError(current, missing, group.era) from None
        raise StorageError(StorageReason.OVERLOADED)

    async def advance_era(self, caller: Caller, ref: GroupRef, bundle: Bundle) -> EraAdvanced:
        """Makes a group of RCS clients again in the place of the one before, with the same members (RCC.16).

        Args:
            caller: a member.
            ref: of the group whose era is over then.
            bundle: the first commit of the new one, which adds and welcomes every other member that gets fan-out.

        Raises:
            RelayError: NOT_FOUND, NOT_A_MEMBER, IDEMPOTENCY_CONFLICT, GROUP_QUARANTINED, ERA_UNKNOWN, WRONG_ERA,
                ERA_QUOTA, BORN_DOWNGRADED, BAD_EPOCH, BAD_COMMIT, EXTERNAL_COMMIT, BAD_WELCOME, BAD_GROUP_INFO,
                SUITE_NOT_ALLOWED, BAD_MEMBERS, MAILBOX_QUOTA, SESSION_ENDED.
            StorageError: the store failed, or decisions kept changing.
        """
        group, member = await self._reads.member_group(caller.tenant, ref.value, caller.mailbox)
        if group is None:
            raise RelayError(RelayReason.NOT_FOUND)
        held, rows, earlier = await self._reads.before_era(group.number, caller.mailbox, bundle.idempotency_key)
        digest = bundle.digest()
        if earlier is not None:
            if earlier.commit.request_hash != digest:
                raise RelayError(RelayReason.IDEMPOTENCY_CONFLICT)
            first = earlier.commit
            done = GroupCommitted(first.epoch, first.chain, first.record_hash, (), repeated=True)
            return EraAdvanced(earlier.ref, earlier.era, done)
        if not member:
            raise RelayError(RelayReason.NOT_A_MEMBER)
        if group.quarantined is not None:
            raise RelayError(RelayReason.GROUP_QUARANTINED)
        if group.superseded is not None:
            raise RelayError(RelayReason.WRONG_ERA, current_era=group.superseded.era)
        if bundle.base_epoch not in FIRST_EPOCHS:
            raise RelayError(RelayReason.BAD_EPOCH)
        private = await self._checked(caller, group, bundle)
        leaves = {row.mailbox: row.leaf_key for row in rows}
        seen = Seen(bundle.base_epoch, bundle.commit, private, bundle.group_info, leaves, caller.mailbox)
        work = partial(next_era, held, seen, self._clock.now_ms() // 1_000, self._roots)
        try:
            public = await _beside(work, len(bundle.group_info or b""))
        except RelayError as error:
            if error.reason is RelayReason.BORN_DOWNGRADED:
                raise await self._noted(caller, error.reason) from None
            raise
        assert public.era is not None, "what follows an era has one"
        return await self._supersede(caller, group, bundle, digest, public, public.era)

    async def _supersede(
        self, caller: Caller, old: GroupRow, bundle: Bundle, digest: bytes, public: PublicState, era: int
    ) -> EraAdvanced:
        ref, chain = self._entropy(ID_BYTES), first_chain(old.group_id, bundle.base_epoch)

        def then(outcome: EraAdvanced) -> None:
            self._directory.lower((old.number,))
            self._delivery.notify(outcome.commit.deliveries)

        for _ in range(MAX_STALE):
            request = self._request(caller, 0, bundle, False, digest, Followed(public, None))
            command = AdvanceEra(old.number, era, ref, old.group_id, chain, request, self._entropy(SALT_BYTES))
            try:
                size = _size(bundle, public)
                return await settle(self._committer, command, EraAdvanced, then, tenant=caller.tenant, size=size)
            except CommitRefused as refusal:
                if refusal.reason is not CommitReason.STALE_DECISION:
                    raise
        raise StorageError(StorageReason.OVERLOADED)

    async def _checked(self, caller: Caller, group: GroupRow, bundle: Bundle) -> bool:
        """Whether a bundle's commit is private; an external one is recorded."""
        try:
            return check(bundle, group.group_id, self._suites)
        except RelayError as error:
            if error.reason is RelayReason.EXTERNAL_COMMIT:
                await self._noted(caller, error.reason)
            raise

    async def _follow(
        self, caller: Caller, head: GroupHead, bundle: Bundle, private: bool
    ) -> tuple[Followed, frozenset[int]]:
        """The public state after the commit, and the mailboxes whose leaves are in it."""
        adds, removes = ([one.value for one in devices] for devices in (bundle.adds, bundle.removes))
        held, rows = await self._reads.before_following(caller.tenant, head.number, adds, removes)
        if held is not None and held.standing is not GroupStanding.LOST and held.epoch != bundle.base_epoch:
            # The writer refuses the commit by its epoch; or the state was not kept with it, and is lost there.
            return Followed(None, None), frozenset()
        leaves = {row.mailbox: row.leaf_key for row in rows}
        seen = Seen(bundle.base_epoch, bundle.commit, private, bundle.group_info, leaves, caller.mailbox)
        work = partial(follow, held, seen, self._clock.now_ms() // 1_000, self._roots)
        size = 0 if held is None else len(held.state)
        return await _beside(work, max(size, len(bundle.group_info or b""))), frozenset(leaves)

    async def _apply(
        self,
        caller: Caller,
        head: GroupHead,
        bundle: Bundle,
        private: bool,
        digest: bytes,
        followed: Followed,
        leaves: frozenset[int],
    ) -> GroupCommitted:
        command = self._request(caller, head.number, bundle, private, digest, followed)
        tracking = _tracking(followed.public, leaves)

        def then(outcome: GroupCommitted) -> None:
            self._directory.advance(head, outcome.epoch, tracking)
            self._delivery.notify(outcome.deliveries)

        size = _size(bundle, followed.public)
        return await settle(self._committer, command, GroupCommitted, then, tenant=caller.tenant, size=size)

    def _request(
        self, caller: Caller, group: int, bundle: Bundle, private: bool, digest: bytes, followed: Followed
    ) -> CommitGroup:
        """What the writer is asked for."""
        now = self._clock.now_ms()
        key = self._keys.current(now)
        shown, relied = self._policy.shown(caller.tenant)
        return CommitGroup(
            tenant=caller.tenant,
            caller=caller.mailbox,
            group=group,
            base_epoch=bundle.base_epoch,
            commit=self._sealed(caller, key, bundle.commit),
            commit_hash=sha256(bundle.commit).digest(),
            private=private,
            welcomes=tuple(
                NewWelcome(self._sealed(caller, key, one.body), tuple(device.value for device in one.recipients))
                for one in bundle.welcomes
            ),
            adds=tuple(device.value for device in bundle.adds),
            removes=tuple(device.value for device in bundle.removes),
            idempotency_key=bundle.idempotency_key,
            request_hash=digest,
            state_counter=bundle.state_counter,
            generation=key.generation,
            shown=shown,
            relied=relied,
            expires_ms=now + MAILBOX_TTL_MS,
            public=followed.public,
            finding=self._finding(caller, followed.finding),
        )

    async def anchor(self, caller: Caller, ref: GroupRef, group_info: bytes) -> GroupRow:
        """Follows a group from a GroupInfo of its head: for the first time, or after a gap that stays on record.

        Returns:
            the group as it stands then.

        Raises:
            RelayError: NOT_FOUND, NOT_A_MEMBER, WRONG_ERA, BAD_GROUP_INFO, SUITE_NOT_ALLOWED, SESSION_ENDED.
        """
        group = await self._for_member(caller, ref)
        if group.superseded is not None:
            raise RelayError(RelayReason.WRONG_ERA, current_era=group.superseded.era)
        check_group_info(group_info, group.group_id, group.epoch, self._suites)
        held, rows = await self._reads.before_following(caller.tenant, group.number, (), ())
        leaves = {row.mailbox: row.leaf_key for row in rows}
        try:
            public, found = anchor_again(held, group_info, leaves, self._clock.now_ms() // 1_000, self._roots)
        except FollowError:
            raise RelayError(RelayReason.BAD_GROUP_INFO) from None
        finding = self._finding(caller, found)
        command = AnchorGroup(caller.tenant, caller.mailbox, group.number, group.epoch, public, finding)
        head = self._directory.learn(group)
        tracking = _tracking(public, frozenset(leaves))

        def then(_: GroupAnchored) -> None:
            self._directory.track(head, tracking)

        await settle(self._committer, command, GroupAnchored, then, tenant=caller.tenant, size=len(public.state))
        return await self._for_member(caller, ref)

    def _finding(self, caller: Caller, code: FindingCode | None) -> NoteFinding | None:
        if code is None:
            return None
        severity = _SEVERITIES.get(code, Severity.WARNING)
        return NoteFinding(code, severity, caller.account, self._entropy(SALT_BYTES))

    def _sealed(self, caller: Caller, key: StorageKey, body: bytes) -> SealedHandshake:
        message = MessageId(self._entropy(ID_BYTES))
        bucket = next((n for n, bound in enumerate(_SIZES) if len(body) <= bound), len(_SIZES))
        return SealedHandshake(message.value, seal_sealed(key, caller.tenant_id, message, body), bucket)

    async def _noted(self, caller: Caller, reason: RelayReason) -> RelayError:
        """The refusal of what somebody tried, once it is in the ledger."""
        finding = NoteFinding(_TRIED[reason], Severity.WARNING, caller.account, self._entropy(SALT_BYTES))
        await settle(self._committer, finding, type(None), tenant=caller.tenant)
        return RelayError(reason)

    async def look(self, caller: Caller, ref: GroupRef) -> tuple[GroupRow, tuple[MemberRow, ...]]:
        """A group's head and whose leaves are in it, for a member.

        Raises:
            RelayError: NOT_FOUND, NOT_A_MEMBER.
        """
        group = await self._for_member(caller, ref)
        return group, await self._reads.members(group.number)

    async def commits(self, caller: Caller, ref: GroupRef, from_epoch: int) -> tuple[LoggedCommit, ...]:
        """The log from an epoch on, for a member; at most :data:`COMMITS_PER_ANSWER`.

        Raises:
            RelayError: NOT_FOUND, NOT_A_MEMBER.
            SealingError: a commit does not open.
        """
        group = await self._for_member(caller, ref)
        return tuple(
            LoggedCommit(
                row,
                unseal_sealed(self._keys.get(row.generation), caller.tenant_id, MessageId(row.message_id), row.sealed),
            )
            for row in await self._reads.commits(group.number, from_epoch, COMMITS_PER_ANSWER)
        )

    async def _for_member(self, caller: Caller, ref: GroupRef) -> GroupRow:
        group, member = await self._reads.member_group(caller.tenant, ref.value, caller.mailbox)
        if group is None:
            raise RelayError(RelayReason.NOT_FOUND)
        if not member:
            raise RelayError(RelayReason.NOT_A_MEMBER)
        return group
