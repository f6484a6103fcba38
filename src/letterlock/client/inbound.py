"""What a run of the mailbox does to a device: screened, decrypted, verified, and gathered into one durable step."""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, final

import msgspec

from letterlock.assurance import envelope as envelopes
from letterlock.assurance.device_list import Device as ListedDevice
from letterlock.assurance.envelope import EnvelopeError, EnvelopeReason
from letterlock.assurance.handshake.reasons import HandshakeError, HandshakeReason, Outcome
from letterlock.assurance.receipts import NO_ERA, NO_MESSAGE, NO_SENDER, Receipted, ReceiptError, ReceiptType
from letterlock.client import events, payload
from letterlock.client.engine import Decrypted, EpochAdvanced
from letterlock.client.errors import (
    DeviceError,
    DeviceReason,
    EngineError,
    EngineReason,
    GateError,
    GateReason,
    PayloadError,
    RelayError,
    RelayReason,
    TokenError,
    TokenReason,
)
from letterlock.client.floors import Put
from letterlock.client.gate import (
    Order,
    added_leaf_keys,
    follow_commit,
    screen_commit,
    screen_followed,
    screen_joined,
    screen_order,
    screen_roster,
)
from letterlock.client.groups import (
    GROUPS,
    HEARD,
    SEEN,
    SPOKEN,
    STUCK,
    GroupRecord,
    Heard,
    Outgoing,
    StuckCommit,
    chain_next,
)
from letterlock.client.handshake_reports import to_report
from letterlock.client.handshakes import MAX_WITHHELD, WITHHELD, Get, Handshakes, Withheld
from letterlock.client.hidden import Hidden
from letterlock.client.receipts import MAX_REPORTS, digest, reportable
from letterlock.client.relay import MailboxItem
from letterlock.client.sent import REPORTS, ROSTERS, epoch_name
from letterlock.client.state import DeviceState
from letterlock.client.store import Change
from letterlock.client.tokens import HELD, ISSUED, MAX_BUNDLES, Bundle, Issued, open_delivery, read_delivery
from letterlock.client.tokens import decode as decode_tokens
from letterlock.model.bodies import SealedKind
from letterlock.model.errors import OperationError
from letterlock.model.ids import DeviceId, GroupRef, MessageId
from letterlock.wire.mls import FramingError, parse
from letterlock.wire.stream import ItemKind

DOWNGRADE_DETECTED: Final = Outcome.DOWNGRADE_DETECTED.value
"""Why a group stands whose handshake was ended."""
_KINDS: Final = {kind.name.lower(): kind for kind in ItemKind}

_NOT_THE_COMMIT: Final = frozenset({GateReason.LOG_FORKED, GateReason.COMMIT_MISSING, GateReason.WRONG_GROUP})

Hints = Callable[[GroupRef, int], Awaitable[None]]
Seal = Callable[[GroupRecord, envelopes.EnvelopeKind, MessageId, bytes, int, int, Get], Outgoing]


@dataclass(frozen=True, slots=True)
class Item:
    """One mailbox item, from the stream or over HTTP. ``kind`` is None for one that this version does not know."""

    sequence: int
    kind: ItemKind | None
    group: bytes
    accepted_ms: int
    body: bytes = field(repr=False)
    message_id: bytes = b""
    """The relay's own name for it; empty for what came without a session, which the relay is not to be told of."""

    @classmethod
    def of_mailbox(cls, item: MailboxItem) -> "Item":
        """From the HTTP form; an id that is none names no group of ours."""
        try:
            group = GroupRef.parse(item.group).value
        except ValueError:
            group = b""
        try:
            name = MessageId.parse(item.message_id).value
        except ValueError:
            name = b""
        return cls(item.sequence, _KINDS.get(item.kind), group, item.accepted_ms, item.body, name)


@final
class Inbound:
    """Takes one run. The engine changes as it goes; the caller persists the returned change, or starts over."""

    def __init__(self, state: DeviceState, hints: Hints, seal: Seal, hidden: Hidden, handshakes: Handshakes) -> None:
        self._state: Final = state
        self._engine: Final = state.engine
        self._directory: Final = state.directory
        self._now_ms: Final = state.clock.now_ms()
        self._hints: Final = hints
        self._seal: Final = seal
        self._hidden: Final = hidden
        self._handshakes: Final = handshakes
        self.groups: Final = dict(state.groups)
        self._gone: list[tuple[str, bytes]] = []
        self._events: list[events.DeviceEvent] = []
        self._put: dict[tuple[str, bytes], bytes] = {}
        self._outbox: list[bytes] = []
        self._oldest: dict[bytes, int] = {}
        """By group, the first number of this run."""

    async def take(self, items: Sequence[Item]) -> Change:
        """Everything that the run means.

        Raises:
            DeviceError: MAILBOX_GAP: items are missing; nothing was taken.
            RelayError: a list that is needed could not be fetched.
        """
        cursor = self._state.store.cursor
        for item in items:
            if item.sequence <= cursor:
                continue
            if item.sequence != cursor + 1:
                raise DeviceError(DeviceReason.MAILBOX_GAP, expected=cursor + 1, shown=item.sequence)
            await self._one(item)
            cursor = item.sequence
        put = tuple((place, name, content) for (place, name), content in self._put.items())
        inbox = tuple(events.encode(event) for event in self._events)
        gone = tuple(name for name in self._gone if name not in self._put)
        return Change(put=put, gone=gone, outbox=tuple(self._outbox), inbox=inbox, cursor=cursor)

    async def _one(self, item: Item) -> None:
        if item.kind is ItemKind.DELIVERY:
            try:
                item = self._opened(item)
            except TokenError as error:
                self._events.append(events.Finding(item.group, "delivery", str(error.reason), stopped=False))
                return
        record = self.groups.get(item.group)
        if record is not None and record.stopped:
            self._shut(item)
            return
        try:
            if item.kind is ItemKind.WELCOME:
                await self._welcome(item)
            elif record is None:
                raise DeviceError(DeviceReason.UNKNOWN_GROUP)
            elif item.kind is ItemKind.COMMIT:
                await self._commit(item, record)
            elif item.kind is ItemKind.APPLICATION:
                await self._application(item, record)
            else:
                raise GateError(GateReason.PROPOSAL_KIND)
        except (
            GateError, EngineError, EnvelopeError, DeviceError, ReceiptError, PayloadError, TokenError, HandshakeError
        ) as error:  # fmt: skip
            if error.reason is EngineReason.OWN_MESSAGE and item.kind is ItemKind.APPLICATION:
                # A relay that does not keep who sent a message brings it to every member, its author among them.
                return
            self._refused(item, record, error)
            if record is not None and item.kind is ItemKind.APPLICATION:
                # Telling is a courtesy: a device that cannot speak in this group now still takes its mailbox.
                with suppress(EngineError, DeviceError):
                    self._report(item, record, error)

    def _opened(self, item: Item) -> Item:
        """The message in a sealed delivery, as if it had come through its group; nothing but messages comes so."""
        delivery = read_delivery(item.body)
        found = self._state.issued_token(delivery.name)
        if found is None:
            raise TokenError(TokenReason.UNKNOWN)
        seed, token = found
        message = open_delivery(delivery, token)
        issued = self._get(ISSUED, seed)
        if issued is not None:
            before = msgspec.msgpack.decode(issued, type=Issued)
            self._put[ISSUED, seed] = msgspec.msgpack.encode(msgspec.structs.replace(before, used=before.used + 1))
        try:
            framed = parse(message)
        except FramingError:
            raise TokenError(TokenReason.NOT_MLS) from None
        if framed.kind is not SealedKind.PRIVATE_APPLICATION:
            raise TokenError(TokenReason.NOT_MLS)
        ref = next((one.ref for one in self.groups.values() if one.group_id == framed.group_id), b"")
        return Item(item.sequence, ItemKind.APPLICATION, ref, item.accepted_ms, message)

    def _shut(self, item: Item) -> None:
        """Nothing more is taken for a group that stands. A welcome back is said: who wants in again forgets it first.

        An engine does not tell who signed a welcome, so that a group of somebody else's would come in the same way.
        """
        if item.kind is ItemKind.WELCOME:
            exists = str(EngineReason.GROUP_EXISTS)
            self._events.append(events.Finding(item.group, "welcome", exists, stopped=False))

    def _refused(
        self,
        item: Item,
        record: GroupRecord | None,
        error: OperationError[Any],
    ) -> None:
        """A commit that cannot be taken, or did not come, stops the group: the device cannot follow.

        It would else go on speaking to members whom the others removed. It joins nothing on its own.
        """
        stale = isinstance(error, GateError) and error.reason is GateReason.WRONG_EPOCH
        behind = isinstance(error, GateError) and error.reason is GateReason.COMMIT_MISSING
        stops = record is not None and (behind or (item.kind is ItemKind.COMMIT and not stale))
        operation = item.kind.name.lower() if item.kind is not None else "unknown"
        self._events.append(events.Finding(item.group, operation, str(error.reason), stopped=stops))
        if stops and record is not None:
            self._keep(msgspec.structs.replace(record, stopped=str(error.reason)))
            self._stuck(item, record, error)

    def _stuck(self, item: Item, record: GroupRecord, error: OperationError[Any]) -> None:
        """Keeps what the relay is to hear of: a commit of this group that was refused for what it is.

        A fork, or a commit that is missing, is no fault of this commit, and nothing that a relay would count.
        """
        if item.kind is not ItemKind.COMMIT or error.reason in _NOT_THE_COMMIT:
            return
        try:
            framed = parse(item.body)
        except FramingError:
            return
        if framed.group_id == record.group_id and framed.epoch is not None:
            kept = StuckCommit(framed.epoch, item.sequence, sha256(item.body).digest())
            self._put[STUCK, record.ref] = msgspec.msgpack.encode(kept)

    async def _welcome(self, item: Item) -> None:
        if item.group in self.groups:
            raise EngineError(EngineReason.GROUP_EXISTS)
        joined = self._engine.join(item.body)
        try:
            # One id, one group: else a second group could take the first one's place under its id.
            if any(one.group_id == joined.group_id for one in self.groups.values()):
                raise EngineError(EngineReason.GROUP_EXISTS)
            screen_joined(joined)
            if not all(self._directory.listed(member.identity) for member in joined.roster):
                await self._ask(GroupRef(item.group), joined.epoch)
            screen_roster(joined.roster, self._directory.listed, self._now_ms)
        except OperationError:
            self._engine.discard(joined.group_id)
            raise
        self._engine.confirm(joined.group_id)
        self._keep(GroupRecord(item.group, joined.group_id, b"", joined=joined.epoch))
        self._events.append(events.GroupJoined(item.group, joined.epoch))

    async def _ask(self, ref: GroupRef, from_epoch: int) -> None:
        """Fetches the lists of a group's members. What the relay refuses to say must not hold up the mailbox."""
        try:
            await self._hints(ref, from_epoch)
        except RelayError as error:
            if error.reason not in {RelayReason.FORBIDDEN, RelayReason.NOT_FOUND}:
                raise
            raise GateError(GateReason.ROSTER_UNKNOWN) from None

    async def _commit(self, item: Item, record: GroupRecord) -> None:
        epoch = self._engine.epoch(record.group_id)
        screen_order(item.body, record, epoch)
        if not all(map(self._directory.listed, added_leaf_keys(item.body))):
            await self._ask(GroupRef(item.group), epoch)
        roster = self._engine.roster(record.group_id)
        screen_commit(item.body, record.group_id, epoch, roster, self._directory.listed, self._now_ms)
        followed = follow_commit(self._engine.group_info(record.group_id), item.body, self._now_ms)
        put, gone = self._state.leaving(record)
        event = self._engine.process(item.body)
        assert isinstance(event, EpochAdvanced), "the gate lets only commits through"
        if event.active:
            screen_followed(followed, self._engine.group_info(record.group_id))
        self._put |= {(place, name): data for place, name, data in put}
        self._gone += gone
        chain = chain_next(record.chain, epoch, item.body) if record.chain else b""
        stopped = "" if event.active else str(EngineReason.GROUP_LEFT)
        self._keep(record.after(epoch, item.body, chain, stopped))
        self._events.append(events.GroupChanged(item.group, event.epoch, event.active))

    async def _application(self, item: Item, record: GroupRecord) -> None:
        if screen_order(item.body, record, self._engine.epoch(record.group_id)) is Order.BEFORE_JOINING:
            return
        event = self._engine.process(item.body)
        if not isinstance(event, Decrypted) or event.group_id != record.group_id:
            raise EngineError(EngineReason.WRONG_KIND)
        signed = envelopes.parse(event.plaintext)
        entry = await self._sender(item, signed.content)
        tenant, environment = self._state.keys.tenant_id, self._state.keys.environment
        content = envelopes.check(
            signed, entry, event.group_id, event.epoch, event.sender_identity, tenant, environment
        )
        seen = content.device.value + content.message.value
        if self._get(SEEN, seen) is not None:
            raise EnvelopeError(EnvelopeReason.REPLAYED)
        self._put[SEEN, seen] = item.accepted_ms.to_bytes(8)
        self._heard(item, record, content)
        if content.kind.speaks:
            self._content(item, record, content)
        elif content.kind is envelopes.EnvelopeKind.TOKENS:
            self._tokens(content)
        elif content.kind is envelopes.EnvelopeKind.HANDSHAKE:
            self._handshake(item, record, content)
        else:
            self._receipt(item, content, entry)

    async def _sender(self, item: Item, content: envelopes.Envelope) -> ListedDevice:
        """The sender's entry on the list that it names, or on a later one."""
        if content.list_version > self._directory.version(content.account):
            await self._ask(GroupRef(item.group), content.epoch)
        head = self._directory.head(content.account)
        entry = head.find(content.device) if head else None
        if head is None or entry is None or content.list_version > head.version:
            raise EnvelopeError(EnvelopeReason.SENDER_NOT_LISTED)
        if content.list_version == head.version and content.list_hash != head.digest():
            raise EnvelopeError(EnvelopeReason.SENDER_NOT_LISTED)
        return entry

    def _content(self, item: Item, record: GroupRecord, content: envelopes.Envelope) -> None:
        shown = self._handshakes.bound(record, content, self._get)
        self._note(self._state.floors.after_message(content.account))
        ciphertext, roster = digest(item.body), self._roster(record, content.epoch)
        head = (item.group, content.message.value, content.account.value, content.device.value, content.epoch)
        if content.kind is envelopes.EnvelopeKind.PAYLOAD:
            said = payload.parse(content.body)
            event: events.Received | events.PayloadReceived = events.PayloadReceived(
                *head, item.accepted_ms, said, ciphertext, roster, item.message_id
            )
        else:
            event = events.Received(*head, item.accepted_ms, content.body, ciphertext, roster, item.message_id)
        if shown:
            self._show(record, event)
        else:
            self._withhold(record, content.agreement, event)

    def _show(self, record: GroupRecord, event: events.Received | events.PayloadReceived) -> None:
        self._events.append(event)
        if event.roster:
            about = Receipted(
                MessageId(event.message),
                DeviceId(event.device),
                record.group_id,
                NO_ERA,
                event.epoch,
                event.ciphertext,
                event.roster,
            )
            self._send(record, self._state.book.made(ReceiptType.DELIVERED, about))

    def _withhold(self, record: GroupRecord, agreement: bytes, event: events.Received | events.PayloadReceived) -> None:
        """Keeps what is bound to an agreement of which this device has not heard yet; nobody is shown it before."""
        kept = self._withheld(record.ref)
        if len(kept) >= MAX_WITHHELD:
            raise HandshakeError(HandshakeReason.OUT_OF_ORDER)
        kept.append(Withheld(agreement, events.encode(event)))
        self._put[WITHHELD, record.ref] = msgspec.msgpack.encode(kept)

    def _withheld(self, ref: bytes) -> list[Withheld]:
        data = self._get(WITHHELD, ref)
        return [] if data is None else msgspec.msgpack.decode(data, type=list[Withheld])

    def _handshake(self, item: Item, record: GroupRecord, content: envelopes.Envelope) -> None:
        taken = self._handshakes.take(record, content, self._get)
        self._note(taken.put)
        for element in taken.send:
            self._send(record, element, envelopes.EnvelopeKind.HANDSHAKE)
        for reason in taken.findings:
            self._note(to_report(record.ref, reason))
            self._events.append(events.Finding(item.group, "handshake", str(reason), stopped=reason is taken.ended))
        if taken.agreed:
            self._let_go(record)
        if taken.ended is not None:
            self._put[WITHHELD, record.ref] = msgspec.msgpack.encode([])
            self._keep(msgspec.structs.replace(record, stopped=DOWNGRADE_DETECTED))

    def _let_go(self, record: GroupRecord) -> None:
        """Shows what was withheld until its agreement was known."""
        kept = self._withheld(record.ref)
        known = [one for one in kept if self._handshakes.holds(record.ref, one.agreement, self._get)]
        if known:
            still = [one for one in kept if one not in known]
            self._put[WITHHELD, record.ref] = msgspec.msgpack.encode(still)
        for one in known:
            event = events.decode(one.event)
            assert isinstance(event, events.Received | events.PayloadReceived)
            self._show(record, event)

    def _tokens(self, content: envelopes.Envelope) -> None:
        """Keeps what a member's device handed out to this one."""
        mine = self._state.keys.device
        got = [Bundle(one.seed, one.count, one.until_ms) for one in decode_tokens(content.body) if one.device == mine]
        if got:
            device = content.device.value
            held = self._get(HELD, device)
            before = [] if held is None else msgspec.msgpack.decode(held, type=list[Bundle])
            kept = [one for one in before if one.next < one.count and one.until_ms > self._now_ms]
            self._put[HELD, device] = msgspec.msgpack.encode((kept + got)[-MAX_BUNDLES:])

    def _heard(self, item: Item, record: GroupRecord, content: envelopes.Envelope) -> None:
        """Says what of the sender's messages did not come, once the sender knows that the relay took it."""
        name = record.ref + record.joined.to_bytes(8) + content.device.value
        held = self._get(HEARD, name)
        # What the sender had numbered before this may have been taken before this device came: none of it is awaited.
        before = msgspec.msgpack.decode(held, type=Heard) if held else Heard(content.newest, [])
        after, missing = before.then(content.number, content.settled)
        if missing:
            reason = str(DeviceReason.MESSAGES_MISSING)
            self._events.append(events.Finding(item.group, "application", reason, stopped=False))
        self._put[HEARD, name] = msgspec.msgpack.encode(after)

    def _number(self, place: str, name: bytes) -> int:
        return int.from_bytes(self._get(place, name) or b"")

    def _receipt(self, item: Item, content: envelopes.Envelope, entry: ListedDevice) -> None:
        taken = self._state.book.taken(item.group, content, entry, self._get)
        if taken is not None:
            self._note(taken[0])
            self._events.append(taken[1])

    def _report(self, item: Item, record: GroupRecord, error: OperationError[Any]) -> None:
        """Tells the group that a message could not be opened: where that is its sender's business, not too often."""
        failure = reportable(error)
        try:
            framed = parse(item.body)
        except FramingError:
            return
        roster = self._roster(record, framed.epoch or 0)
        if failure is None or framed.group_id != record.group_id or not roster:
            return
        name = epoch_name(record.ref, self._engine.epoch(record.group_id))
        told = int.from_bytes(self._get(REPORTS, name) or b"")
        if told >= MAX_REPORTS:
            return
        self._put[REPORTS, name] = (told + 1).to_bytes(8)
        about = Receipted(NO_MESSAGE, NO_SENDER, record.group_id, NO_ERA, framed.epoch or 0, digest(item.body), roster)
        self._send(record, self._state.book.made(ReceiptType.FAILED, about, failure))

    def _send(
        self,
        record: GroupRecord,
        content: bytes,
        kind: envelopes.EnvelopeKind = envelopes.EnvelopeKind.RECEIPT,
    ) -> None:
        hidden = self._hidden.on(record.ref)
        if hidden:
            try:
                self._hidden.require(record, self._get)
            except DeviceError as error:
                # No receipt rather than one that says who received.
                finding = events.Finding(record.ref, kind.name.lower(), str(error.reason), stopped=False)
                if finding not in self._events:
                    self._events.append(finding)
                return
        number = self._number(SPOKEN, record.ref) + 1
        oldest = self._oldest.setdefault(record.ref, number)
        outgoing = self._seal(record, kind, MessageId(os.urandom(16)), content, number, oldest, self._get)
        self._put[SPOKEN, record.ref] = number.to_bytes(8)
        copies = [outgoing]
        if hidden:
            copies, left = self._hidden.copies(record, outgoing, self._get)
            self._note(left)
        self._outbox += map(msgspec.msgpack.encode, copies)

    def _roster(self, record: GroupRecord, epoch: int) -> bytes:
        """The roster's hash at an epoch whose messages still open; empty for another."""
        if epoch == self._engine.epoch(record.group_id):
            return self._state.roster(record).digest
        return self._get(ROSTERS, epoch_name(record.ref, epoch)) or b""

    def _get(self, place: str, name: bytes) -> bytes | None:
        """An entry, as it will be when this run is durable."""
        held = self._put.get((place, name))
        return self._state.store.get(place, name) if held is None else held

    def _note(self, put: tuple[Put, ...]) -> None:
        self._put |= {(place, name): data for place, name, data in put}

    def _keep(self, record: GroupRecord) -> None:
        self.groups[record.ref] = record
        self._put[GROUPS, record.ref] = msgspec.msgpack.encode(record)
