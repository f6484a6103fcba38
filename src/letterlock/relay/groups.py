"""Groups: created, committed to in order, looked at. The relay compares epochs and keeps the log; it holds no key."""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from letterlock.custody.sealing import StorageKey, seal_sealed, unseal_sealed
from letterlock.model.clock import Clock
from letterlock.model.ids import ID_BYTES, GroupRef, MessageId, TenantId
from letterlock.relay.accounts import SALT_BYTES
from letterlock.relay.bundle import Bundle, check
from letterlock.relay.directory import GroupDirectory, GroupHead
from letterlock.relay.errors import RelayError, WrongEpochError
from letterlock.relay.limits import COMMITS_PER_ANSWER, MAILBOX_TTL_MS
from letterlock.relay.ports import Committer, Delivery, Entropy, HandshakePolicy, Reads, SealingKeys, settle
from letterlock.storage.errors import CommitReason, CommitRefused, StorageError, StorageReason
from letterlock.storage.relay_commands import (
    CommitGroup,
    CreateGroup,
    GroupCommitted,
    GroupCreated,
    NewWelcome,
    NoteFinding,
    RelayReason,
    SealedHandshake,
)
from letterlock.storage.relay_rows import CommitRow, GroupRow, MemberRow
from letterlock.wire.mls import CipherSuite
from letterlock.wire.tlog.words import FindingCode, Severity

FIRST_EPOCHS: Final = (0, 1)
"""Where a group may start: some engines commit once at creation."""
MAX_STALE: Final = 3
"""How often a decision is made again when what it relied on has changed; then 503."""
_LOG: Final = b"letterlock group log v1\0"
_SIZES: Final = (256, 512, 1_024, 2_048, 4_096, 16_384, 65_536)
"""Upper bounds of size buckets, as for messages."""


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

    async def create(self, caller: Caller, group_id: bytes, epoch: int) -> tuple[GroupRef, bytes, bool]:
        """A group with the caller alone.

        Returns:
            its name, its chain, and whether it is new.

        Raises:
            RelayError: BAD_EPOCH, GROUP_EXISTS, SESSION_ENDED.
        """
        if epoch not in FIRST_EPOCHS:
            raise RelayError(RelayReason.BAD_EPOCH)
        chain = first_chain(group_id, epoch)
        command = CreateGroup(caller.tenant, caller.mailbox, self._entropy(ID_BYTES), group_id, epoch, chain)
        made = await settle(self._committer, command, GroupCreated, tenant=caller.tenant)
        return GroupRef(made.ref), chain, made.created

    async def commit(self, caller: Caller, ref: GroupRef, bundle: Bundle) -> GroupCommitted:
        """Applies a commit bundle, all of it or nothing.

        Raises:
            WrongEpochError: another commit was first.
            RelayError: NOT_FOUND, NOT_A_MEMBER, IDEMPOTENCY_CONFLICT, BAD_COMMIT, EXTERNAL_COMMIT, BAD_WELCOME,
                BAD_GROUP_INFO, SUITE_NOT_ALLOWED, BAD_MEMBERS, SESSION_ENDED.
            StorageError: the store failed, or decisions kept changing.
        """
        group, member, earlier = await self._reads.before_commit(
            caller.tenant, ref.value, caller.mailbox, bundle.idempotency_key
        )
        if group is None:
            raise RelayError(RelayReason.NOT_FOUND)
        if not member:
            raise RelayError(RelayReason.NOT_A_MEMBER)
        digest = bundle.digest()
        if earlier is not None:
            if earlier.request_hash != digest:
                raise RelayError(RelayReason.IDEMPOTENCY_CONFLICT)
            return GroupCommitted(earlier.epoch, earlier.chain, earlier.record_hash, (), repeated=True)
        try:
            private = check(bundle, group.group_id, self._suites)
        except RelayError as error:
            if error.reason is RelayReason.EXTERNAL_COMMIT:
                await self._note_external(caller)
            raise
        head = self._directory.learn(group)
        for _ in range(MAX_STALE):
            try:
                return await self._apply(caller, head, bundle, private, digest)
            except CommitRefused as refusal:
                if refusal.reason is not CommitReason.STALE_DECISION:
                    raise
            except RelayError as error:
                if error.reason is not RelayReason.WRONG_EPOCH:
                    raise
                current = int(str(error.facts["current_epoch"]))
                missing = await self._reads.missing_commits(caller.mailbox, group.number, bundle.base_epoch)
                raise WrongEpochError(current, missing) from None
        raise StorageError(StorageReason.OVERLOADED)

    async def _apply(
        self, caller: Caller, head: GroupHead, bundle: Bundle, private: bool, digest: bytes
    ) -> GroupCommitted:
        now = self._clock.now_ms()
        key = self._keys.current(now)
        shown, relied = self._policy.shown(caller.tenant)
        command = CommitGroup(
            tenant=caller.tenant,
            caller=caller.mailbox,
            group=head.number,
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
        )

        def follow(outcome: GroupCommitted) -> None:
            self._directory.advance(head, outcome.epoch)
            self._delivery.notify(outcome.deliveries)

        size = len(bundle.commit) + sum(len(one.body) for one in bundle.welcomes)
        return await settle(self._committer, command, GroupCommitted, follow, tenant=caller.tenant, size=size)

    def _sealed(self, caller: Caller, key: StorageKey, body: bytes) -> SealedHandshake:
        message = MessageId(self._entropy(ID_BYTES))
        bucket = next((n for n, bound in enumerate(_SIZES) if len(body) <= bound), len(_SIZES))
        return SealedHandshake(message.value, seal_sealed(key, caller.tenant_id, message, body), bucket)

    async def _note_external(self, caller: Caller) -> None:
        finding = NoteFinding(FindingCode.EXTERNAL_COMMIT, Severity.WARNING, caller.account, self._entropy(SALT_BYTES))
        await settle(self._committer, finding, type(None), tenant=caller.tenant)

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
