"""A conversation while it runs: typed lines out, events in, a connection that comes back by itself.

What is typed is durable before it is shown as sealed. What came is durable before it is acknowledged, shown, and only
then deleted; a kill between showing and deleting has it shown once more, and marked so.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

import httpx

from letterlock.assurance.texts import Language, texts_of
from letterlock.client.chat.asking import Asking
from letterlock.client.chat.contact import Contact
from letterlock.client.chat.conversations import PLACE, Conversations
from letterlock.client.chat.home import Home, device_of
from letterlock.client.chat.prompt import Prompt
from letterlock.client.chat.screen import Connection, Conversation, Ended, Ready, Screen, Waiting
from letterlock.client.chat.shown import Showing
from letterlock.client.device import Device
from letterlock.client.errors import (
    ChatError,
    ChatReason,
    DeviceError,
    DeviceReason,
    EngineError,
    RelayError,
    RelayReason,
)
from letterlock.client.events import DeviceEvent, GroupJoined, PayloadReceived, Received
from letterlock.client.store import Change
from letterlock.client.transport import DeviceStream, Sending, StreamEnd
from letterlock.model.clock import Clock
from letterlock.model.ids import GroupRef
from letterlock.wire import stream

PACKAGES: Final = 10
"""Key packages made at once: as many conversations can begin while this device is away."""
LOW: Final = 5
DRAIN_S: Final = 5.0
"""How long an end waits for the gateway to take what was typed."""
STOP_S: Final = 5.0
TIMEOUT_S: Final = 20.0
AT_ONCE: Final = 64
"""Events shown before they are deleted together."""
_SHOWING: Final = b"showing"

_ENDS: Final = {
    StreamEnd.REMOVED: DeviceReason.REMOVED,
    StreamEnd.REPLACED: DeviceReason.CONNECTED_ELSEWHERE,
    StreamEnd.ROLLED_BACK: DeviceReason.STATE_ROLLED_BACK,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    Attributes:
        name: of the person, on this machine alone.
        folder: of their device.
        gateway: its base URL.
        contact: with whom; None to wait to be added.
        api_key: gives the tenant key, when something is left to enrol.
        stay: go on after the end of input.
        read_receipts: tell senders that their lines were shown.
        language: of questions and indicators.
    """

    name: str
    folder: Path
    gateway: str
    contact: Contact | None
    api_key: Callable[[], str] = field(repr=False)
    stay: bool
    read_receipts: bool
    language: Language = Language.ENGLISH


async def converse(plan: Plan, lines: "asyncio.Queue[str | None]", screen: Screen, clock: Clock) -> None:
    """Runs a conversation until its person ends it. To be cancelled for an end at once; state is durable throughout.

    Args:
        plan: see :class:`Plan`.
        lines: what is typed, without line ends; None at the end of input. Each one taken is marked done; the next is
            best brought after that.
        screen: shows one thing; called in order.
        clock: wall time.

    Raises:
        ChatError, StoreError, EngineError, DeviceError, GateError, RelayError: it could not begin, or go on.
    """
    home = Home(plan.folder)
    try:
        # The stream uses no proxy either.
        async with httpx.AsyncClient(base_url=plan.gateway, timeout=TIMEOUT_S, trust_env=False) as http:
            device, state = await device_of(home, http, clock, plan.api_key)
            try:
                contact = Contact.of(device.account, home.identity_key())
                home.leave_contact(contact)
                files = (str(home.store_file), str(home.key_file))
                waiting = len(device.waiting(0, stream.MAX_ITEMS))
                screen(Ready(plan.name, str(contact), str(device.account), str(device.device), state, *files, waiting))
                chat = Chat(home, device, http, plan, screen, clock)
                await chat.begin()
                await chat.run(lines)
            finally:
                waiting = len(device.waiting(0, stream.MAX_ITEMS))
                device.close()
                screen(Ended(waiting))
    finally:
        home.store.close()


@final
class Chat:
    """One run. Also the stream's handler: the device, with what it hears announced."""

    def __init__(
        self, home: Home, device: Device, http: httpx.AsyncClient, plan: Plan, screen: Screen, clock: Clock
    ) -> None:
        self._store: Final = home.store
        self._device: Final = device
        self._people: Final = Conversations(device, home.store, http)
        self._plan: Final = plan
        self._screen: Final = screen
        self._showing: Final = Showing(device, self._people)
        self._asking: Final = Asking(device, texts_of(plan.language), clock)
        self._prompt: Final = Prompt(device, self._people, self._showing, home.identity_key(), clock, self._asking)
        self._showing_now: Final = asyncio.Lock()
        self._news: Final = asyncio.Event()
        self._answers: Final = asyncio.Event()
        self._lost: Final = asyncio.Event()
        self._asked: Final = asyncio.Event()
        self._connection = ""
        self._tried = False

    async def begin(self) -> None:
        """Fetches what came meanwhile and finds the conversation, or starts it.

        Raises:
            as :meth:`Conversations.start`; without a connection only a new conversation fails.
            ChatError: NOT_TAKEN.
        """
        offline: RelayError | None = None
        try:
            if (await self._device.login()).key_packages < LOW:
                await self._device.publish_key_packages(PACKAGES)
            await self._device.sync()
        except RelayError as error:
            if error.reason is RelayReason.UNAUTHENTICATED:
                raise ChatError(ChatReason.NOT_TAKEN) from None
            if error.reason is not RelayReason.UNREACHABLE:
                raise
            offline = error
            self._say("lost")
        contact = self._plan.contact
        if contact is None:
            current, how = self._people.current(), "resumed"
        else:
            current, how = self._people.with_account(contact.account), "resumed"
            if current is not None:
                await self._people.pin(contact)
            elif offline is not None:
                raise offline
            else:
                current, how = await self._people.start(contact), "started"
        if current is None:
            self._screen(Waiting())
        else:
            self._go_to(current, how)
        await self._show()

    async def run(self, lines: "asyncio.Queue[str | None]") -> None:
        """Until the person ends it, or the gateway says that this device is no more.

        Raises:
            DeviceError: REMOVED, CONNECTED_ELSEWHERE, STATE_ROLLED_BACK, MAILBOX_GAP.
        """
        connection = DeviceStream(self._plan.gateway.replace("http", "ws", 1), self, noticed=self._noticed)
        self._device.attach(connection.wake)
        carrying = asyncio.create_task(self._carry(connection))
        typing = asyncio.create_task(self._typed(lines))
        tasks = [carrying, typing, asyncio.create_task(self._watch(connection)), asyncio.create_task(self._present())]
        tasks.append(asyncio.create_task(self._ask()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await self._show()
        finally:
            connection.stop()
            await asyncio.wait([carrying], timeout=STOP_S)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # -- the tasks ------------------------------------------------------------------------------------------------

    async def _carry(self, connection: DeviceStream) -> None:
        end = await connection.run()
        if end in _ENDS:
            raise DeviceError(_ENDS[end])

    async def _typed(self, lines: "asyncio.Queue[str | None]") -> None:
        while (line := await lines.get()) is not None:
            if not await self._prompt.take(line, self._screen):
                # Not done with this one: what is typed after it is somebody else's, the shell's for example.
                await self._drain()
                return
            lines.task_done()
        if self._plan.stay:
            await asyncio.Event().wait()
        await self._drain()

    async def _watch(self, connection: DeviceStream) -> None:
        while True:
            await connection.connected.wait()
            self._lost.clear()
            self._say("connected")
            # What was asked while this device was away was announced to nobody.
            self._asked.set()
            await self._lost.wait()

    async def _ask(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            # Without a connection it is looked at again when there is one.
            with suppress(RelayError):
                await self._asking.look(self._screen)

    def _noticed(self, code: stream.NoticeCode) -> None:
        if code is stream.NoticeCode.QUESTION_WAITING:
            self._asked.set()

    async def _present(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._show()

    async def _drain(self) -> None:
        """Waits a little for the gateway to take what is sealed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self._device.waiting(0, 1):
                    self._answers.clear()
                    await self._answers.wait()

    # -- showing --------------------------------------------------------------------------------------------------

    async def _show(self) -> None:
        async with self._showing_now:
            while entries := self._device.inbox():
                for at in range(0, len(entries), AT_ONCE):
                    await self._show_some(entries[at : at + AT_ONCE])

    async def _show_some(self, entries: list[tuple[int, DeviceEvent]]) -> None:
        before = int.from_bytes(self._store.get(PLACE, _SHOWING) or b"")
        through = entries[-1][0]
        # Said durably before anything is shown: a run that ends in between leaves a trace of it.
        self._store.commit(Change(put=((PLACE, _SHOWING, through.to_bytes(8)),)))
        for position, event in entries:
            if isinstance(event, GroupJoined):
                self._joined(GroupRef(event.group))
            else:
                self._screen(self._showing.of(event, again=position <= before))
        self._store.commit(Change(taken=tuple(position for position, _ in entries), gone=((PLACE, _SHOWING),)))
        for _, event in entries:
            await self._after(event)

    async def _after(self, event: object) -> None:
        """What follows from something once it is shown. None of it is needed for the next thing to come."""
        with suppress(RelayError, DeviceError, EngineError):
            if isinstance(event, Received | PayloadReceived) and self._plan.read_receipts:
                await self._device.mark_read(event)
            elif isinstance(event, GroupJoined):
                await self._device.publish_key_packages(1)  # for the one that this took

    def _joined(self, ref: GroupRef) -> None:
        """Added by somebody. Two who start a conversation with each other at once end up in the same one."""
        if self._device.group(ref).stopped:
            return
        contact, current = self._plan.contact, self._prompt.current
        ours = contact is not None and self._people.with_account(contact.account) == ref
        if current is None or ours:
            self._go_to(ref, "added")
        else:
            self._screen(Conversation(str(ref), "added", self._people.peers(ref), current=False))

    def _go_to(self, ref: GroupRef, how: str) -> None:
        self._people.choose(ref)
        self._prompt.current = ref
        self._screen(Conversation(str(ref), how, self._people.peers(ref), current=True))

    def _say(self, state: str) -> None:
        if state == "lost":
            self._lost.set()
        if state != self._connection:
            self._connection = state
            self._screen(Connection(state))

    # -- as the stream sees it --------------------------------------------------------------------------------------

    async def token(self, renew: bool) -> str:
        """See :class:`letterlock.client.transport.StreamHandler`; asked before each attempt to connect."""
        if self._tried and not renew:
            self._say("lost")
        self._tried = True
        try:
            return await self._device.token(renew)
        except RelayError:
            self._say("lost")
            raise

    def cursor(self) -> int:
        """See :class:`letterlock.client.transport.StreamHandler`."""
        return self._device.cursor()

    def state_counter(self) -> int:
        """See :class:`letterlock.client.transport.StreamHandler`."""
        return self._device.state_counter()

    async def delivered(self, first_seq: int, items: Sequence[stream.Delivery]) -> int:
        """See :class:`letterlock.client.transport.StreamHandler`."""
        cursor = await self._device.delivered(first_seq, items)
        self._news.set()
        return cursor

    def waiting(self, after: int, limit: int) -> list[Sending]:
        """See :class:`letterlock.client.transport.StreamHandler`."""
        return self._device.waiting(after, limit)

    async def answered(self, results: Sequence[tuple[Sending, stream.Result]]) -> None:
        """See :class:`letterlock.client.transport.StreamHandler`."""
        await self._device.answered(results)
        self._answers.set()
        self._news.set()
