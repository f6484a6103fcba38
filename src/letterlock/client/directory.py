"""Whose devices are whose: the account-signed device lists that this device has verified, and keeps.

The first list seen of an account pins its identity key (or the caller gives the key, which is stronger). From then
on only the next version of that chain is taken; forks, gaps and steps back are refused and the held list stays.
"""

from typing import Final, final

from letterlock.assurance.device_list import (
    Device as ListedDevice,
)
from letterlock.assurance.device_list import (
    DeviceList,
    DeviceListError,
    SignedDeviceList,
    parse_signed,
    verify_first,
    verify_next,
)
from letterlock.client.errors import GateError, GateReason
from letterlock.client.store import Change, DeviceStore
from letterlock.model.ids import AccountId, TenantId
from letterlock.wire.preimage import PublicKey

PLACE: Final = "account"


@final
class Directory:
    """The verified heads, in the device's store."""

    def __init__(self, store: DeviceStore, tenant: TenantId, environment: str) -> None:
        self._store: Final = store
        self._tenant: Final = tenant
        self._environment: Final = environment
        self._heads: dict[AccountId, DeviceList] = {}
        self._leaves: dict[bytes, tuple[AccountId, ListedDevice]] = {}
        for name, signed in store.entries(PLACE).items():
            self._index(AccountId(name), parse_signed(signed).content)

    def head(self, account: AccountId) -> DeviceList | None:
        """The newest verified list of an account."""
        return self._heads.get(account)

    def version(self, account: AccountId) -> int:
        """Its version; 0 for an account not seen yet."""
        held = self._heads.get(account)
        return held.version if held else 0

    def of_leaf(self, leaf_key: bytes) -> tuple[AccountId, ListedDevice] | None:
        """The account and device that list this leaf key."""
        return self._leaves.get(leaf_key)

    def listed(self, leaf_key: bytes) -> bool:
        """Whether some verified list names this leaf key."""
        return leaf_key in self._leaves

    def learn(
        self, account: AccountId, versions: list[bytes], identity_key: PublicKey | None = None
    ) -> DeviceList | None:
        """Takes signed lists that follow the held one, oldest first; keeps and returns the newest.

        Raises:
            GateError: LIST_REFUSED: what was held stays.
        """
        head = self._heads.get(account)
        last: SignedDeviceList | None = None
        try:
            for data in versions:
                signed = parse_signed(data)
                head = (
                    verify_first(signed, account, self._tenant, self._environment, identity_key)
                    if head is None
                    else verify_next(head, signed, self._tenant, self._environment)
                )
                last = signed
        except DeviceListError as error:
            raise GateError(GateReason.LIST_REFUSED, account=account, why=error.reason) from None
        if head is not None and identity_key is not None and head.identity_key != identity_key:
            raise GateError(GateReason.LIST_REFUSED, account=account)
        if last is not None and head is not None:
            # A key that two accounts list is nobody's: the first who listed it keeps it.
            for entry in head.devices:
                owner = self._leaves.get(entry.leaf_key)
                if owner is not None and owner[0] != account:
                    raise GateError(GateReason.LIST_REFUSED, account=account)
            self._store.commit(Change(put=((PLACE, account.value, last.encode()),)))
            self._index(account, head)
        return head

    def _index(self, account: AccountId, head: DeviceList) -> None:
        self._leaves = {key: owner for key, owner in self._leaves.items() if owner[0] != account}
        self._heads[account] = head
        for entry in head.devices:
            self._leaves[entry.leaf_key] = (account, entry)
