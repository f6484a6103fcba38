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
from letterlock.client.floors import DeviceFloors
from letterlock.client.store import Change, DeviceStore
from letterlock.model.ids import ID_BYTES, AccountId, DeviceId, TenantId
from letterlock.wire.preimage import PublicKey

PLACE: Final = "account"
RETIRED: Final = "retired"
"""Leaf keys that a list named once and names no more: whose they were, so that a commit can remove them."""


@final
class Directory:
    """The verified heads, in the device's store."""

    def __init__(self, store: DeviceStore, tenant: TenantId, environment: str, floors: DeviceFloors) -> None:
        self._store: Final = store
        self._tenant: Final = tenant
        self._environment: Final = environment
        self._floors: Final = floors
        self.revision = 0
        """Goes up whenever a list is taken over."""
        self._heads: dict[AccountId, DeviceList] = {}
        self._leaves: dict[bytes, tuple[AccountId, ListedDevice]] = {}
        self._retired = {
            leaf: (AccountId(owner[:ID_BYTES]), DeviceId(owner[ID_BYTES:]))
            for leaf, owner in store.entries(RETIRED).items()
        }
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
            retired = self._dropped(account, head)
            put = ((PLACE, account.value, last.encode()), *self._floors.after_list(head))
            kept = tuple((RETIRED, leaf, account.value + device.value) for leaf, (_, device) in retired.items())
            self._store.commit(Change(put=put + kept))
            self._retired |= retired
            self._index(account, head)
        return head

    def device_of(self, leaf_key: bytes) -> DeviceId | None:
        """The device that lists this leaf key, or listed it before. Not a reason to believe anything it says."""
        owner = self._leaves.get(leaf_key)
        if owner is not None:
            return owner[1].device
        retired = self._retired.get(leaf_key)
        return retired[1] if retired is not None else None

    def account_of(self, leaf_key: bytes) -> AccountId | None:
        """The account that lists this leaf key, or listed it before."""
        owner = self._leaves.get(leaf_key) or self._retired.get(leaf_key)
        return owner[0] if owner is not None else None

    def _dropped(self, account: AccountId, head: DeviceList) -> dict[bytes, tuple[AccountId, DeviceId]]:
        still = {entry.leaf_key for entry in head.devices}
        return {
            leaf: (account, entry.device)
            for leaf, (owner, entry) in self._leaves.items()
            if owner == account and leaf not in still
        }

    def _index(self, account: AccountId, head: DeviceList) -> None:
        self.revision += 1
        self._leaves = {key: owner for key, owner in self._leaves.items() if owner[0] != account}
        self._heads[account] = head
        for entry in head.devices:
            self._leaves[entry.leaf_key] = (account, entry)
