"""Accounts and their signed device lists. The relay keeps and orders them; peers are who has to believe them."""

from dataclasses import dataclass
from typing import Final

from letterlock.assurance.device_list import (
    AUDIENCE,
    DeviceList,
    DeviceListError,
    ListReason,
    SignedDeviceList,
    parse_signed,
    verify_first,
    verify_next,
)
from letterlock.model.ids import ID_BYTES, AccountId, TenantId
from letterlock.relay.directory import GroupDirectory, SessionDirectory
from letterlock.relay.errors import RelayError
from letterlock.relay.limits import LISTS_PER_ANSWER
from letterlock.relay.ports import Committer, Entropy, Reads, settle
from letterlock.storage.relay_commands import (
    AccountCreated,
    CreateAccount,
    ListedDevice,
    ListPublished,
    PublishDeviceList,
    RelayReason,
)
from letterlock.storage.relay_rows import AccountRow, ListVersion
from letterlock.wire.preimage import KeyFamily, PublicKey, Purpose, Scope, SignatureError, context_hash, verify

SALT_BYTES: Final = 16

_VERSION_REASONS: Final = frozenset({
    ListReason.VERSION_NOT_NEXT,
    ListReason.PREVIOUS_HASH_WRONG,
    ListReason.FIRST_VERSION_EXPECTED,
    ListReason.FORKED,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lists:
    """An account's key and some versions of its list, oldest first."""

    identity_key: bytes
    current_version: int
    versions: tuple[ListVersion, ...]


class Accounts:
    """Creates accounts and publishes their device lists.

    Args:
        committer: the writer.
        reads: the store's queries.
        sessions: ends the sessions of removed devices at once.
        groups: learns which groups hold a leaf that no list names any more.
        environment: the installation's name, as it stands in signatures.
        entropy: for ids and salts.
    """

    def __init__(
        self,
        committer: Committer,
        reads: Reads,
        sessions: SessionDirectory,
        groups: GroupDirectory,
        environment: str,
        entropy: Entropy,
    ) -> None:
        self._committer = committer
        self._reads = reads
        self._sessions = sessions
        self._groups = groups
        self._environment = environment
        self._entropy = entropy

    async def create(self, tenant: int, identity_key: bytes) -> tuple[AccountId, bool]:
        """An account for this identity key; the one there is, if the tenant has it already.

        Returns:
            the account, and whether it is new.

        Raises:
            RelayError: BAD_KEY.
        """
        try:
            PublicKey.parse(identity_key, KeyFamily.IDENTITY)
        except SignatureError:
            raise RelayError(RelayReason.BAD_KEY) from None
        command = CreateAccount(tenant, self._entropy(ID_BYTES), identity_key)
        outcome = await settle(self._committer, command, AccountCreated, tenant=tenant)
        return AccountId(outcome.account), outcome.created

    async def publish(self, tenant: int, tenant_id: TenantId, account: AccountId, data: bytes) -> ListPublished:
        """Puts the next version of a list in force; the ledger entry is part of the same transaction.

        Raises:
            RelayError: NOT_FOUND, BAD_DEVICE_LIST, WRONG_ACCOUNT, BAD_SIGNATURE, DEVICE_LIST_VERSION, DEVICE_EXISTS,
                DEVICE_RETIRED.
        """
        signed = _parsed(data)
        if signed.content.account != account:
            raise RelayError(RelayReason.WRONG_ACCOUNT)
        row = await self._reads.account(tenant, account.value)
        if row is None:
            raise RelayError(RelayReason.NOT_FOUND)
        content = self._verified(signed, row, account, tenant_id)
        command = PublishDeviceList(
            tenant,
            account.value,
            content.version,
            content.previous,
            content.digest(),
            signed.encode(),
            tuple(
                ListedDevice(entry.device.value, entry.session_key.encode(), entry.leaf_key, entry.kind.value)
                for entry in content.devices
            ),
            self._entropy(SALT_BYTES),
        )
        return await settle(
            self._committer, command, ListPublished, self._follow, tenant=tenant, size=len(command.signed)
        )

    def _follow(self, published: ListPublished) -> None:
        self._sessions.revoked_at(published.session_version)
        for mailbox in published.ended:
            self._sessions.end_device(mailbox)
        self._groups.lower(published.lowered)

    def _verified(
        self, signed: SignedDeviceList, row: AccountRow, account: AccountId, tenant_id: TenantId
    ) -> DeviceList:
        identity_key = PublicKey.parse(row.identity_key, KeyFamily.IDENTITY)
        content = signed.content
        scope = Scope(tenant_id, self._environment, AUDIENCE, context_hash(account.value))
        # The signature comes first, so that an unsigned list learns nothing of versions.
        try:
            if content.identity_key != identity_key:
                raise RelayError(RelayReason.BAD_SIGNATURE)
            verify(identity_key, Purpose.DEVICE_LIST, scope, content.body(), signed.signature)
        except SignatureError:
            raise RelayError(RelayReason.BAD_SIGNATURE) from None
        try:
            if not row.version:
                return verify_first(signed, account, tenant_id, self._environment, identity_key)
            held = parse_signed(row.signed).content
            return verify_next(held, signed, tenant_id, self._environment)
        except DeviceListError as error:
            if error.reason in _VERSION_REASONS:
                raise RelayError(RelayReason.DEVICE_LIST_VERSION, current_version=row.version) from None
            raise RelayError(RelayReason.BAD_SIGNATURE) from None

    async def lists(self, tenant: int, account: AccountId, since: int) -> Lists:
        """Versions after ``since``, at most :data:`LISTS_PER_ANSWER`.

        Raises:
            RelayError: NOT_FOUND.
        """
        versions = await self._reads.list_versions(tenant, account.value, since, LISTS_PER_ANSWER)
        # The head is read after the versions: it may be newer than they are, never older.
        row = await self._reads.account(tenant, account.value)
        if row is None:
            raise RelayError(RelayReason.NOT_FOUND)
        return Lists(row.identity_key, row.version, versions)


def _parsed(data: bytes) -> SignedDeviceList:
    try:
        return parse_signed(data)
    except DeviceListError:
        raise RelayError(RelayReason.BAD_DEVICE_LIST) from None
