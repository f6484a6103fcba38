"""The mailbox: fetched or delivered, taken as one durable step, and only then acknowledged."""

from collections.abc import Sequence
from typing import Final, final

from letterlock.client.enrolment import Accounts
from letterlock.client.errors import RelayError, RelayReason
from letterlock.client.inbound import Inbound, Item
from letterlock.client.pending import PendingCommits
from letterlock.client.relay import AckAnswer, CommitsAnswer, GroupView, MailboxAnswer
from letterlock.client.sending import Outgoings
from letterlock.client.session import Session
from letterlock.client.state import DeviceState
from letterlock.model.ids import AccountId, GroupRef
from letterlock.wire import stream

MAILBOX_PAGE: Final = 100


@final
class Receiving:
    """Takes the mailbox of one device."""

    def __init__(
        self, state: DeviceState, session: Session, accounts: Accounts, outgoings: Outgoings, pending: PendingCommits
    ) -> None:
        self._state: Final = state
        self._session: Final = session
        self._accounts: Final = accounts
        self._outgoings: Final = outgoings
        self._pending: Final = pending

    async def sync(self) -> int:
        """Fetches the mailbox over HTTP until it is empty; returns how many items were taken."""
        relay = await self._session.relay()
        store = self._state.store
        path = f"/v1/devices/{self._state.keys.device_id}/mailbox"
        taken = 0
        while True:
            query = f"?after={store.cursor}&limit={MAILBOX_PAGE}"
            page = (await relay.call("GET", path + query, MailboxAnswer)).items
            if not page:
                return taken
            items = [Item.of_mailbox(entry) for entry in page]
            await self.take_items(items)
            taken += len(items)
            through = {"through": store.cursor, "state_counter": self._state.stated_counter()}
            await relay.call("POST", f"{path}/ack", AckAnswer, through)

    async def delivered(self, first_seq: int, items: Sequence[stream.Delivery]) -> list[Item]:
        """What a run on the stream holds, with the bodies that did not fit a frame fetched."""
        run: list[Item] = []
        for offset, delivery in enumerate(items):
            body = delivery.body or await self._large_body(first_seq + offset)
            run.append(
                Item(
                    first_seq + offset,
                    delivery.kind,
                    delivery.group_ref,
                    delivery.accepted_ms,
                    body,
                    delivery.message_id,
                )
            )
        return run

    async def take_items(self, items: Sequence[Item]) -> None:
        """Takes a run; the state is durable when it returns.

        Raises:
            RelayError: the fate of an own commit could not be learnt; nothing was taken.
        """
        queued = None
        while queued is None:
            await self._pending.settle()
            async with self._state.lock:
                # Another call may have left a commit behind while this one waited for the lock.
                if not self._pending.some:
                    queued = await self._take(items)
        if queued:
            self._state.wake()
        await self._outgoings.release()

    async def _take(self, items: Sequence[Item]) -> bool:
        """Under the lock; whether it left something to send."""
        state, outgoings = self._state, self._outgoings
        inbound = Inbound(state, self._hints, outgoings.sealed, outgoings.hidden, outgoings.handshakes)
        try:
            change = await inbound.take(items)
        except BaseException:
            state.roll_back()
            raise
        state.persist(put=change.put, gone=change.gone, outbox=change.outbox, inbox=change.inbox, cursor=change.cursor)
        state.groups = inbound.groups
        return bool(change.outbox)

    async def _hints(self, ref: GroupRef, from_epoch: int) -> None:
        """Fetches and verifies the lists of accounts that the relay names; what it says is only where to look.

        It names who is a member now, and who came and went since an epoch: members of that epoch may be gone.
        """
        relay = await self._session.relay()
        hints = list((await relay.call("GET", f"/v1/groups/{ref}", GroupView)).members)
        epoch = from_epoch
        while True:
            path = f"/v1/groups/{ref}/commits?from_epoch={epoch}"
            page = (await relay.call("GET", path, CommitsAnswer)).commits
            hints += [hint for entry in page for hint in (*entry.adds, *entry.removes)]
            if not page or page[-1].base_epoch < epoch:
                break
            epoch = page[-1].base_epoch + 1
        for account in dict.fromkeys(hint.account_id for hint in hints):
            try:
                await self._accounts.learn(AccountId.parse(account))
            except ValueError:
                raise RelayError(RelayReason.BAD_ANSWER) from None

    async def _large_body(self, sequence: int) -> bytes:
        """A body that does not fit a frame."""
        relay = await self._session.relay()
        path = f"/v1/devices/{self._state.keys.device_id}/mailbox?after={sequence - 1}&limit=1"
        items = (await relay.call("GET", path, MailboxAnswer)).items
        if len(items) != 1 or items[0].sequence != sequence:
            raise RelayError(RelayReason.BAD_ANSWER)
        return items[0].body
