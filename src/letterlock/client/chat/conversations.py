"""Which group is the conversation with whom, and whose identity key was compared with a contact line."""

from dataclasses import dataclass
from typing import Final, final

import httpx

from letterlock.client.chat.contact import Contact, fingerprint, safety_number
from letterlock.client.chat.screen import FIRST_SEEN, PINNED, Peer
from letterlock.client.device import Device
from letterlock.client.errors import ChatError, ChatReason, EngineError, RelayError, RelayReason
from letterlock.client.relay import ListsAnswer, RelayCalls
from letterlock.client.store import Change, DeviceStore
from letterlock.model.ids import AccountId, DeviceId, GroupRef
from letterlock.wire.preimage import KeyFamily, PublicKey, SignatureError

PLACE: Final = "chat"
PINS: Final = "chat_pin"
"""By account: the fingerprint that a person gave for it."""
_CURRENT: Final = b"current"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A member: the device that a signed list names, or named, for its leaf key; ``listed`` when one still does."""

    account: AccountId | None
    device: DeviceId | None
    listed: bool


@final
class Conversations:
    """The groups of one device, as conversations with people.

    Args:
        device: whose.
        store: the same device's store; what is kept here lies in it, sealed.
        http: for looking up a contact's identity key.
    """

    def __init__(self, device: Device, store: DeviceStore, http: httpx.AsyncClient) -> None:
        self._device: Final = device
        self._store: Final = store
        self._http: Final = http

    def members(self, ref: GroupRef) -> list[Leaf]:
        """By the group's own roster; empty for a group that this device left."""
        try:
            roster = self._device.engine.roster(self._device.group(ref).group_id)
        except EngineError:
            return []
        directory = self._device.directory
        return [
            Leaf(
                directory.account_of(member.identity),
                directory.device_of(member.identity),
                directory.listed(member.identity),
            )
            for member in roster
        ]

    def others(self, ref: GroupRef) -> list[AccountId]:
        """The accounts in a group besides this one."""
        found = {leaf.account for leaf in self.members(ref) if leaf.account is not None}
        return sorted(found - {self._device.account})

    def live(self) -> list[GroupRef]:
        """Groups that go on, in one order on every device."""
        return sorted(ref for ref in self._device.groups() if not self._device.group(ref).stopped)

    def with_account(self, account: AccountId) -> GroupRef | None:
        """The conversation with one account alone. Of several, both sides choose the same one."""
        return next((ref for ref in self.live() if self.others(ref) == [account]), None)

    def current(self) -> GroupRef | None:
        """Where lines went last; else the only conversation with somebody there is."""
        kept = self._store.get(PLACE, _CURRENT)
        with_people = [ref for ref in self.live() if self.others(ref)]
        if kept is not None and GroupRef(kept) in with_people:
            return GroupRef(kept)
        return with_people[0] if len(with_people) == 1 else None

    def choose(self, ref: GroupRef) -> None:
        """Lines go there from now on."""
        if self._store.get(PLACE, _CURRENT) != ref.value:
            self._store.commit(Change(put=((PLACE, _CURRENT, ref.value),)))

    async def pin(self, contact: Contact) -> PublicKey:
        """The identity key of a contact: the one whose fingerprint the contact line names, or none.

        Nothing is remembered and nothing is sent before the fingerprint was found right.

        Raises:
            ChatError: FINGERPRINT_DIFFERS, OWN_CONTACT, CONTACT_UNKNOWN.
            GateError: LIST_REFUSED: the lists do not hold under that key.
            RelayError: refused or unreachable.
        """
        if contact.account == self._device.account:
            raise ChatError(ChatReason.OWN_CONTACT)
        head = self._device.directory.head(contact.account)
        if head is None:
            calls = RelayCalls(self._http, await self._device.token(renew=False))
            path = f"/v1/accounts/{contact.account}/device-list?since=0"
            try:
                answer = await calls.call("GET", path, ListsAnswer)
            except RelayError as error:
                if error.reason is not RelayReason.NOT_FOUND:
                    raise
                raise ChatError(ChatReason.CONTACT_UNKNOWN) from None
            try:
                key = PublicKey.parse(answer.identity_key, KeyFamily.IDENTITY)
            except SignatureError:
                raise ChatError(ChatReason.FINGERPRINT_DIFFERS) from None
        else:
            key = head.identity_key
        if fingerprint(key) != contact.fingerprint:
            raise ChatError(ChatReason.FINGERPRINT_DIFFERS)
        if head is None:
            await self._device.learn_account(contact.account, key)
        if self._store.get(PINS, contact.account.value) is None:
            self._store.commit(Change(put=((PINS, contact.account.value, contact.fingerprint),)))
        return key

    async def start(self, contact: Contact) -> GroupRef:
        """A new conversation with a contact. What a crash left half done is gone on with.

        Raises:
            as :meth:`pin`, and as ``Device.create_group`` and ``Device.add_account``.
        """
        key = await self.pin(contact)
        alone = next((ref for ref in self.live() if not self.others(ref) and len(self.members(ref)) == 1), None)
        ref = alone or await self._device.create_group()
        await self._device.add_account(ref, contact.account, key)
        return ref

    def peers(self, ref: GroupRef) -> list[Peer]:
        """The others, with contact lines and what is known of their identity keys."""
        return [Peer(str(account), self._contact(account), self.identity(account)) for account in self.others(ref)]

    def identity(self, account: AccountId) -> str:
        """Whether an account's key was compared with a contact line."""
        return FIRST_SEEN if self._store.get(PINS, account.value) is None else PINNED

    def safety_number(self, account: AccountId, own_key: PublicKey) -> tuple[str, ...]:
        """See :func:`letterlock.client.chat.contact.safety_number`; empty for an account without a verified list."""
        head = self._device.directory.head(account)
        return () if head is None else safety_number((self._device.account, own_key), (account, head.identity_key))

    def _contact(self, account: AccountId) -> str:
        head = self._device.directory.head(account)
        return str(account) if head is None else str(Contact.of(account, head.identity_key))
