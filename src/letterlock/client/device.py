"""One device of an account: enrols, logs in, keeps groups, sends, receives.

Every step that changes keys is durable before anything leaves; every mailbox run is one durable step before it is
acknowledged. One coroutine at a time changes the state; the relay is never believed about who is who.
The work is done by the parts: :mod:`~letterlock.client.enrolment`, :mod:`~letterlock.client.session`,
:mod:`~letterlock.client.commits`, :mod:`~letterlock.client.sending`, :mod:`~letterlock.client.receiving`.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, final

import httpx

from letterlock.assurance.causes import Cause, ConsentScope
from letterlock.assurance.device_list import Device as ListedDevice
from letterlock.assurance.device_list import DeviceList
from letterlock.assurance.envelope import EnvelopeKind
from letterlock.assurance.handshake.exchange import Handshake
from letterlock.assurance.receipts import ReceiptType
from letterlock.client import events
from letterlock.client.commits import Commits
from letterlock.client.directory import Directory
from letterlock.client.engine import MAX_KEY_PACKAGES, EngineFactory, MlsEngine
from letterlock.client.engines import DEFAULT, ENGINES
from letterlock.client.enrolment import Accounts
from letterlock.client.errors import RelayError
from letterlock.client.floors import ClearCopy, DeviceFloors, Peer
from letterlock.client.groups import GroupRecord
from letterlock.client.handshake_reports import HandshakeReporting
from letterlock.client.hidden import Hidden
from letterlock.client.payload import Media, Payload, encode
from letterlock.client.pending import PendingCommits
from letterlock.client.questions import Questions
from letterlock.client.receiving import Receiving
from letterlock.client.recovery import LossStatement, Recovery
from letterlock.client.relay import SessionAnswer
from letterlock.client.sending import Outgoings
from letterlock.client.sent import MessageReceipts
from letterlock.client.session import Session
from letterlock.client.state import DeviceState
from letterlock.client.store import Change, DeviceStore
from letterlock.client.stuck import Reported, StuckGroups
from letterlock.client.transfers import Transfers
from letterlock.client.transport import Sending
from letterlock.client.wakes import Wakes
from letterlock.model.clock import Clock
from letterlock.model.ids import AccountId, ConsentId, DeviceId, GroupRef, MessageId
from letterlock.model.protection import Protection
from letterlock.wire import stream
from letterlock.wire.handshake import Flag, Tag
from letterlock.wire.preimage import PublicKey
from letterlock.wire.push_targets import PushTarget


@final
class Device:
    """A device on its store. Made by :func:`letterlock.client.enrolment.prepare` first.

    Args:
        store: its durable state.
        http: an ``httpx.AsyncClient`` with the gateway's base URL.
        clock: wall time, for the session's end.
        engine: makes the MLS engine; see :mod:`letterlock.client.engines`.
        apart: another client with the gateway's base URL, for :meth:`hide`: it must share no connection and no cookie
            with ``http``, and may take another way through the network.

    Raises:
        DeviceError: NOT_ENROLLED: the store holds no keys.
    """

    def __init__(
        self,
        store: DeviceStore,
        http: httpx.AsyncClient,
        clock: Clock,
        engine: EngineFactory = ENGINES[DEFAULT],
        apart: httpx.AsyncClient | None = None,
    ) -> None:
        self._state: Final = DeviceState(store, clock, engine)
        self._session: Final = Session(self._state, http)
        self._accounts: Final = Accounts(self._state, self._session)
        self._hidden: Final = Hidden(self._state, self._session, apart)
        self._outgoings: Final = Outgoings(self._state, self._session, self._hidden)
        self._pending: Final = PendingCommits(self._state, self._session)
        self._receiving: Final = Receiving(self._state, self._session, self._accounts, self._outgoings, self._pending)
        self._commits: Final = Commits(self._state, self._session, self._accounts, self._receiving, self._pending)
        self._wakes: Final = Wakes(self._state, self._session)
        self._transfers: Final = Transfers(self._state, self._session)
        self._recovery: Final = Recovery(self._state, self._session, self._accounts, self._commits)
        self._reporting: Final = HandshakeReporting(self._state, self._session)
        self._stuck: Final = StuckGroups(self._state, self._session)
        self._questions: Final = Questions(self._state, self._session)

    # -- who I am -------------------------------------------------------------------------------------------------

    @property
    def device(self) -> DeviceId:
        """This device's id."""
        return self._state.keys.device_id

    @property
    def account(self) -> AccountId:
        """This device's account."""
        return self._state.keys.account_id

    @property
    def directory(self) -> Directory:
        """The device lists that this device verified."""
        return self._state.directory

    @property
    def floors(self) -> DeviceFloors:
        """This device's own floors: what it will not send below."""
        return self._state.floors

    @property
    def entry(self) -> ListedDevice:
        """This device's own line for the account's device list."""
        return self._accounts.entry

    @property
    def engine(self) -> MlsEngine:
        """The MLS engine, for looking; changing it from outside breaks the order of things."""
        return self._state.engine

    async def publish_list(self, others: Sequence[ListedDevice] = (), tenant_key: str = "") -> DeviceList:
        """Signs and publishes the account's next device list: this device and ``others``.

        Args:
            others: the account's other devices.
            tenant_key: for the first list, when no device can log in yet.

        Raises:
            DeviceError: NO_IDENTITY_KEY.
            RelayError: refused or unreachable.
        """
        return await self._accounts.publish_list(others, tenant_key)

    async def learn_account(self, account: AccountId, identity_key: PublicKey | None = None) -> DeviceList:
        """Fetches and verifies an account's device lists up to the current one.

        Raises:
            GateError: LIST_REFUSED.
            RelayError: refused or unreachable.
        """
        return await self._accounts.learn(account, identity_key)

    # -- session --------------------------------------------------------------------------------------------------

    async def login(self) -> SessionAnswer:
        """Logs in: a fresh nonce, signed by the session key together with the state counter.

        Raises:
            DeviceError: STATE_ROLLED_BACK: this is an old copy of the device; enrol a new one.
            RelayError: refused or unreachable.
        """
        return await self._session.login()

    async def token(self, renew: bool) -> str:
        """A valid session token, for the stream."""
        return await self._session.token(renew)

    async def publish_key_packages(self, count: int = MAX_KEY_PACKAGES) -> int:
        """Makes and publishes key packages; returns how many the relay holds now."""
        return await self._accounts.publish_key_packages(count)

    # -- being woken ----------------------------------------------------------------------------------------------

    async def wake_key(self) -> bytes:
        """The gateway's key to subscribe with at a push service (``applicationServerKey``, RFC 8292).

        Raises:
            DeviceError: PUSH_NOT_OFFERED.
            RelayError: refused or unreachable.
        """
        return await self._wakes.key()

    async def wake_at(self, target: PushTarget) -> int:
        """Asks to be woken there while not connected, and nowhere else any more; repeat it at each login.

        Args:
            target: a subscription of Web Push, or the token that Apple's or Google's push service gave the app.

        Returns:
            until when (ms UTC).

        Raises:
            RelayError: REFUSED: not a push service that the gateway's settings list, or not its keys; CONFLICT: the
                address is another device's, or there is no push; unreachable.
        """
        return await self._wakes.register(target)

    async def wake_no_more(self) -> None:
        """Ends it; harmless when there is nothing to end.

        Raises:
            RelayError: unreachable.
        """
        await self._wakes.remove()

    # -- groups ---------------------------------------------------------------------------------------------------

    def group(self, ref: GroupRef) -> GroupRecord:
        """What is kept of a group.

        Raises:
            DeviceError: UNKNOWN_GROUP.
        """
        return self._state.group(ref)

    def groups(self) -> list[GroupRef]:
        """All groups of this device."""
        return [GroupRef(ref) for ref in self._state.groups]

    async def create_group(self) -> GroupRef:
        """Makes a group with this device alone."""
        return await self._commits.create_group()

    async def add_account(self, ref: GroupRef, account: AccountId, identity_key: PublicKey | None = None) -> int:
        """Adds every device of an account; returns the epoch. A lost race is proposed again on the winner's epoch.

        Raises:
            GateError: the relay showed a device or leaf that the account did not sign (A1); nothing was sent.
            DeviceError: KEY_PACKAGES_EXHAUSTED, LOST_RACE, GROUP_STOPPED.
        """
        epoch = await self._commits.add_account(ref, account, identity_key)
        await self._outgoings.begin_handshakes(ref)
        return epoch

    async def begin_handshakes(self, ref: GroupRef) -> int:
        """Offers the session handshake to accounts of a group with which it is not agreed; returns to how many.

        :meth:`add_account` does it by itself; call this where one is held, or stays without an answer: the accounts'
        newest lists are learnt first. Nothing is offered to accounts with a device that does not list the handshake,
        nor by a device that does not.

        Raises:
            DeviceError: UNKNOWN_GROUP, GROUP_STOPPED.
            GateError: LIST_REFUSED.
            RelayError: refused or unreachable.
        """
        for account in self._outgoings.handshakes.partners(self._state.live(ref)):
            await self._accounts.learn(account)
        return await self._outgoings.begin_handshakes(ref)

    def handshake(self, ref: GroupRef, account: AccountId) -> Handshake:
        """Where the session handshake with an account stands, in a group.

        Raises:
            DeviceError: UNKNOWN_GROUP.
        """
        return self._outgoings.handshakes.standing(self._state.group(ref), account)

    async def advertise(
        self, tags: Sequence[Tag] = (), flags: tuple[Flag, Flag, Flag] = (Flag.UNKNOWN, Flag.UNKNOWN, Flag.UNKNOWN)
    ) -> None:
        """What the platform says of itself now; goes into the next offers and answers.

        Args:
            tags: RCC.16 capability tags.
            flags: one for each :class:`~letterlock.wire.handshake.PlatformFlag`, in its order.
        """
        async with self._state.lock:
            told = self._outgoings.handshakes.advertised(tags, flags, self._state.store.get)
            self._state.persist(put=(told,))

    async def remove_device(self, ref: GroupRef, device: DeviceId) -> int:
        """Removes one member device, one that its account no longer lists too; returns the epoch."""
        return await self._commits.remove_device(ref, device)

    async def forget_group(self, ref: GroupRef) -> None:
        """Drops a group that stands still here, with its keys. Only then is a welcome into it taken again.

        What still waits to be sent in it is not sent: a finding ``group_forgotten`` for each message.

        Raises:
            DeviceError: UNKNOWN_GROUP; GROUP_GOES_ON: have this device removed first.
        """
        await self._commits.forget(ref)

    async def refresh_keys(self, ref: GroupRef) -> int:
        """A commit that only gives this device fresh keys; returns the epoch."""
        return await self._commits.refresh_keys(ref)

    async def claim(self, account: AccountId, identity_key: PublicKey | None = None) -> dict[DeviceId, bytes]:
        """One key package for each device of an account, all checked against its signed list (A1).

        Raises:
            GateError: one thing was wrong; none is used.
            DeviceError: KEY_PACKAGES_EXHAUSTED.
        """
        return await self._accounts.claim(account, identity_key)

    # -- after a loss -----------------------------------------------------------------------------------------------

    async def remove_lost(self, device: DeviceId) -> LossStatement:
        """Strikes a lost device of this account off the signed list, removes it from all groups, states what it means.

        Repeat it while the statement is not complete: what is done already is not done again.

        Raises:
            DeviceError: NO_IDENTITY_KEY, NOT_THIS_DEVICE.
            RelayError: the list could not be published; nothing was removed.
        """
        return await self._recovery.remove_lost(device)

    async def begin_anew(self, instead_of: DeviceId, tenant_key: str) -> DeviceList:
        """On a fresh store with the account's identity key: this device takes the place of one whose state is gone.

        Afterwards publish key packages; members bring it back by :meth:`repair_group`. Nothing of the old state is
        needed or used, floors included: without one, only end-to-end encryption is permitted.

        Raises:
            DeviceError: NO_IDENTITY_KEY.
            GateError: UNKNOWN_DEVICE, LIST_REFUSED.
            RelayError: refused or unreachable.
        """
        return await self._recovery.begin_anew(instead_of, tenant_key)

    async def repair_group(self, ref: GroupRef) -> int:
        """Brings a group in step with its accounts' signed lists: adds listed devices, removes struck ones.

        Returns:
            the epoch.

        Raises:
            GateError: a list or package was refused; DeviceError: GROUP_STOPPED, KEY_PACKAGES_EXHAUSTED, LOST_RACE.
        """
        return await self._recovery.repair(ref)

    async def replace_group(self, ref: GroupRef) -> GroupRef:
        """Starts over: a new group of the same accounts; the old one is closed for everybody, as far as it still goes.

        Raises:
            GateError: a list or package was refused; DeviceError: KEY_PACKAGES_EXHAUSTED, LOST_RACE.
        """
        return await self._recovery.replace(ref)

    async def report_stuck(self) -> tuple[Reported, ...]:
        """Tells the relay, signed, of commits that it ordered and that the gate or the engine refused here.

        Called by :meth:`sync` and with each run of the stream too; a report that was not taken down is kept.

        Raises:
            RelayError: the relay was not reached, or takes none now.
        """
        return await self._stuck.report()

    async def give_up_group(self, ref: GroupRef) -> Reported:
        """The author of a group's last commit agrees that others cannot take it; this device sends nothing more there.

        Needed where only two accounts are members: the relay then quarantines the group when both have said so.

        Raises:
            DeviceError: UNKNOWN_GROUP; NOT_THE_AUTHOR: the last commit was not made here.
            RelayError: refused or unreachable.
        """
        return await self._stuck.give_up(ref)

    # -- messages -------------------------------------------------------------------------------------------------

    async def send(self, ref: GroupRef, content: bytes, resends: MessageId | None = None) -> MessageId:
        """Encrypts, stores, and hands over to the stream (or the next :meth:`flush`). Durable when it returns.

        Args:
            ref: the group.
            content: what to send.
            resends: the message that this one repeats after a recipient reported a failure: a new id, linked to it.

        Raises:
            DeviceError: UNKNOWN_GROUP, GROUP_STOPPED, BELOW_FLOOR; for a resend UNKNOWN_MESSAGE, NO_RESEND; in a group
                of :meth:`hide` NO_WAY_APART, NO_DELIVERY_TOKENS.
            EnvelopeError: TOO_LARGE.
            EngineError: a commit is under way, or this device was removed.
        """
        return await self._outgoings.send(ref, EnvelopeKind.CONTENT, content, resends)

    async def say(self, ref: GroupRef, payload: Payload, resends: MessageId | None = None) -> MessageId:
        """The same for a text, a medium's reference, or a reply to a suggested action.

        Raises:
            PayloadError: the payload is out of its bounds; otherwise as :meth:`send`.
        """
        return await self._outgoings.send(ref, EnvelopeKind.PAYLOAD, encode(payload), resends)

    async def upload(self, ref: GroupRef, content: bytes, media_type: str, name: str) -> Media:
        """Encrypts a medium and uploads it for the group's members of now; give the answer to :meth:`say`.

        Raises:
            MediaError: EMPTY, TOO_LARGE.
            PayloadError: type or name out of their bounds; nothing was uploaded.
            DeviceError: UNKNOWN_GROUP, GROUP_STOPPED, BELOW_FLOOR.
            RelayError: refused, or unreachable for good.
        """
        return await self._transfers.upload(ref, content, media_type, name)

    async def download(self, media: Media) -> bytes:
        """Fetches a medium, and gives it only if it is what its sender sealed. See :meth:`release`.

        Raises:
            MediaError: it is not.
            RelayError: NOT_FOUND: gone, or not for this device; unreachable for good.
        """
        return await self._transfers.download(media)

    async def release(self, media: Media) -> None:
        """The application has the medium durably, or does not want it: with the last such word the relay deletes it.

        Raises:
            MediaError: BAD_LOCATOR.
            RelayError: unreachable.
        """
        await self._transfers.release(media)

    async def mark_read(self, received: events.Received | events.PayloadReceived) -> None:
        """Sends a read receipt."""
        await self._outgoings.mark_read(received)

    async def hand_receipt(
        self, received: events.Received | events.PayloadReceived, *, displayed: bool = False
    ) -> bool:
        """Hands this device's signed receipt to the relay's server as well, which checks it beside the messages.

        Nothing does this by itself: it tells the server, which otherwise cannot tell receipts from messages, who
        received (or saw) what. The sender's device gets its receipt in any case.

        Args:
            received: the message.
            displayed: a person saw it; else that it was delivered.

        Returns:
            whether it waits there now and did not before.

        Raises:
            DeviceError: UNKNOWN_MESSAGE: it came without a session, or this device sends without one in its group.
            RelayError: the message's time there is over; the tenant keeps no senders; too much waits; unreachable.
        """
        kind = ReceiptType.DISPLAYED if displayed else ReceiptType.DELIVERED
        return await self._outgoings.hand_receipt(received, kind)

    def receipts(self, message: MessageId) -> MessageReceipts:
        """What recipients signed about a message of this device: ATTESTED by k of n, checked here.

        Raises:
            DeviceError: UNKNOWN_MESSAGE: not sent from here, or forgotten.
        """
        return self._outgoings.receipts(message)

    async def forget_sent(self, before_ms: int) -> int:
        """Forgets messages that were sent before a time (ms UTC), and their receipts; returns how many."""
        return await self._outgoings.forget(before_ms)

    def inbox(self) -> list[tuple[int, events.DeviceEvent]]:
        """What was received and not taken over yet, by position."""
        return [(position, events.decode(data)) for position, data in self._state.store.inbox()]

    async def take(self, positions: Sequence[int]) -> None:
        """The application has these events; they are deleted here."""
        async with self._state.lock:
            self._state.store.commit(Change(taken=tuple(positions)))

    async def sync(self) -> int:
        """Fetches the mailbox over HTTP until it is empty; returns how many items were taken."""
        await self._pending.settle()
        taken = await self._receiving.sync()
        await self._tell()
        return taken

    async def flush(self) -> int:
        """Sends the outbox over HTTP; returns how many were accepted. What goes by tokens: :meth:`flush_hidden`."""
        return await self._outgoings.flush()

    # -- without a session ------------------------------------------------------------------------------------------

    async def hand_out_tokens(self, ref: GroupRef) -> int:
        """Gives members' devices tokens, by which they can send to this device without a session.

        Where this device sends in the group by tokens itself, they travel so; else over the session.

        Returns:
            to how many devices; those that hold enough get none.

        Raises:
            DeviceError: UNKNOWN_GROUP, GROUP_STOPPED; NO_DELIVERY_TOKENS: a member's device can be told only openly.
            RelayError: CONFLICT: the gateway's policy has no tokens; refused or unreachable.
        """
        return await self._outgoings.hand_out(ref)

    async def revoke_tokens(self, device: DeviceId) -> int:
        """Whatever a device still holds of this one's tokens is worth nothing any more; returns how many were live.

        The relay never knew whose they were. Leave or stop the group too, or it gets new ones.

        Raises:
            RelayError: refused or unreachable.
        """
        return await self._hidden.revoke(device)

    def can_hide(self, ref: GroupRef) -> bool:
        """Whether every member's device has handed out a token to this one that is left: what :meth:`hide` needs.

        Raises:
            DeviceError: UNKNOWN_GROUP, GROUP_STOPPED.
        """
        return self._hidden.ready(self._state.live(ref))

    async def hide(self, ref: GroupRef) -> None:
        """From now on this device sends in this group by members' tokens alone, and the relay is not told who sends.

        Call :meth:`hand_out_tokens` first, so that the others can do the same. What cannot go so is not sent, and
        nothing falls back to the session. The network address and the moment are seen as ever.

        Raises:
            DeviceError: UNKNOWN_GROUP, GROUP_STOPPED; NO_WAY_APART: the device was made without ``apart``.
        """
        await self._hidden.begin(ref)

    async def hide_no_more(self, ref: GroupRef) -> None:
        """From now on this device sends in this group over its session again.

        Raises:
            DeviceError: UNKNOWN_GROUP.
        """
        await self._hidden.end(ref)

    async def flush_hidden(self) -> int:
        """Sends what waits by tokens, over the connection apart; returns how many copies were accepted.

        The stream never carries them: call it when something was sent or received.

        Raises:
            DeviceError: NO_WAY_APART.
            RelayError: unreachable, or takes none now: the rest goes with the next call.
        """
        return await self._hidden.flush()

    # -- a lesser path, by a person's own word ------------------------------------------------------------------------

    def consent(
        self, peer: Peer, account: AccountId | None, to: Protection, cause: Cause, scope: ConsentScope
    ) -> ConsentId:
        """A person at this device agrees to a lesser path; see :meth:`DeviceFloors.consent`.

        Args:
            peer: to whom.
            account: the peer's account, whose verified device list may prove the cause.
            to: the protection agreed to.
            cause: why.
            scope: how far.
        """
        known = self._state.directory.head(account) if account is not None else None
        return self._state.floors.consent(peer, to, cause, scope, self._state.clock.now_ms(), known)

    def clear_copy(self, peer: Peer, path: Protection) -> ClearCopy:
        """Leave to hand one message over on a readable path; see :meth:`DeviceFloors.clear_copy`.

        Raises:
            DeviceError: BELOW_FLOOR.
        """
        return self._state.floors.clear_copy(peer, path, self._state.clock.now_ms())

    @property
    def questions(self) -> Questions:
        """Questions that the gateway puts to this device's person, about messages that its tenant sends for them."""
        return self._questions

    # -- the stream's side ----------------------------------------------------------------------------------------

    def attach(self, wake: Callable[[], None]) -> None:
        """Names what is called when the outbox grows: ``DeviceStream.wake``."""
        self._state.wake = wake

    def cursor(self) -> int:
        """The last mailbox sequence in the stored state."""
        return self._state.store.cursor

    def state_counter(self) -> int:
        """The counter of the stored state, as it is to be stated now."""
        return self._state.stated_counter()

    async def delivered(self, first_seq: int, items: Sequence[stream.Delivery]) -> int:
        """Takes a run of the mailbox; the state is durable when it returns."""
        run = await self._receiving.delivered(first_seq, items)
        await self._receiving.take_items(run)
        await self._tell()
        return self._state.store.cursor

    async def _tell(self) -> None:
        # A report that cannot be made now holds up nothing: it is kept, and made with the next run.
        with suppress(RelayError):
            await self._stuck.report()
        with suppress(RelayError):
            await self._reporting.report()
        with suppress(RelayError):
            await self._outgoings.replenish()

    def waiting(self, after: int, limit: int) -> list[Sending]:
        """Outbox entries after a position."""
        return self._outgoings.waiting(after, limit)

    async def answered(self, results: Sequence[tuple[Sending, stream.Result]]) -> None:
        """Takes the relay's answers into the state."""
        await self._outgoings.answered(results)

    async def settle(self) -> None:
        """Learns the fate of commits that were under way when the device last stopped."""
        await self._pending.settle()

    def close(self) -> None:
        """Removes the engine's traces from memory storage and closes the store."""
        self._state.close()
