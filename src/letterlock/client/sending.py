"""Messages on their way out: envelope, MLS, outbox, and what the relay answers."""

import os
from collections.abc import Sequence
from typing import Final, final

import msgspec

from letterlock.assurance import envelope as envelopes
from letterlock.assurance.receipts import NO_ERA, Receipted, ReceiptType
from letterlock.assurance.remedies import forbids_resend
from letterlock.client import events, tokens
from letterlock.client.errors import DeviceError, DeviceReason, EngineError, EngineReason, RelayError, RelayReason
from letterlock.client.floors import Put
from letterlock.client.groups import GROUPS, SPOKEN, GroupRecord, Outgoing
from letterlock.client.handshakes import WAITING, Get, Handshakes, Words
from letterlock.client.hidden import Hidden
from letterlock.client.receipts import digest
from letterlock.client.relay import HandedAnswer, SendAnswer
from letterlock.client.sent import DIGESTS, SENT, Decided, MessageReceipts, SentRecord
from letterlock.client.session import Session
from letterlock.client.state import DeviceState
from letterlock.client.transport import Sending
from letterlock.model.errors import Reason
from letterlock.model.ids import DeviceId, GroupRef, MessageId
from letterlock.model.protection import EvidenceGrade, Protection, Verifier
from letterlock.wire import stream
from letterlock.wire.imdn.receipts import ClientFailure

HTTP_RESULTS: Final = {
    "accepted": stream.ResultStatus.ACCEPTED,
    "duplicate": stream.ResultStatus.DUPLICATE,
    "quarantined": stream.ResultStatus.QUARANTINED,
    "not_found": stream.ResultStatus.UNKNOWN_TARGET,
    "epoch_too_old": stream.ResultStatus.EPOCH_TOO_OLD,
    "epoch_ahead": stream.ResultStatus.WRONG_EPOCH,
    "not_a_member": stream.ResultStatus.NOT_ALLOWED,
    "client_message_conflict": stream.ResultStatus.CONFLICT,
    "too_large": stream.ResultStatus.TOO_LARGE,
    "group_quarantined": stream.ResultStatus.GROUP_QUARANTINED,
    "mailbox_quota": stream.ResultStatus.MAILBOX_QUOTA,
    "wrong_era": stream.ResultStatus.WRONG_ERA,
    "mls_header_missing": stream.ResultStatus.MLS_HEADER_MISSING,
    "wrong_authenticator": stream.ResultStatus.WRONG_AUTHENTICATOR,
    "message_id_differs": stream.ResultStatus.MESSAGE_ID_DIFFERS,
    "era_unknown": stream.ResultStatus.ERA_UNKNOWN,
    "wrong_group": stream.ResultStatus.UNKNOWN_TARGET,
    "bad_body": stream.ResultStatus.QUARANTINED,
}
"""What HTTP answers of one message, its code where it is refused, in the stream's words."""
_LATER: Final = frozenset({stream.ResultStatus.OVERLOADED, stream.ResultStatus.MAILBOX_QUOTA})
"""Stays in the outbox, and goes first when it is tried again."""
_NONE_WAITS: Final = 2**63
_ARRIVED: Final = frozenset({stream.ResultStatus.ACCEPTED, stream.ResultStatus.DUPLICATE})


@final
class Outgoings:
    """Seals, stores and sends. Nothing leaves before the state that encrypted it is durable."""

    def __init__(self, state: DeviceState, session: Session, hidden: Hidden) -> None:
        self._state: Final = state
        self._session: Final = session
        self.hidden: Final = hidden
        self.handshakes: Final = Handshakes(state)

    def sealed(
        self,
        record: GroupRecord,
        kind: envelopes.EnvelopeKind,
        message: MessageId,
        content: bytes,
        number: int,
        oldest: int = 0,
        get: Get | None = None,
    ) -> Outgoing:
        """Envelope and MLS; the caller persists it, and the number, before it leaves.

        ``oldest`` is the lowest number that the caller is about to persist with it, where there are others; ``get`` is
        the store as it will be then.
        """
        mine, there = self._state.keys, get or self._state.store.get
        head = self._state.directory.head(mine.account_id)
        if head is None:
            raise DeviceError(DeviceReason.NOT_ENROLLED)
        plain = envelopes.Envelope(
            kind,
            mine.account_id,
            mine.device_id,
            head.version,
            head.digest(),
            record.group_id,
            self._state.engine.epoch(record.group_id),
            message,
            number,
            min(self._unanswered(record.ref), number, oldest or number) - 1,
            max(int.from_bytes(there(SPOKEN, record.ref) or b""), number),
            content,
            b"" if kind is envelopes.EnvelopeKind.HANDSHAKE else self.handshakes.agreement(record.ref, there),
        )
        signed = envelopes.seal(plain, mine.tenant_id, mine.environment, mine.envelope_key())
        body = self._state.engine.encrypt(record.group_id, signed)
        return Outgoing(record.ref, self._reference(), body, int(kind), message.value, content, number)

    def _reference(self) -> bytes:
        """Random, after the time, by which the relay keeps what is accepted together in one place.

        A device that the relay does not know to be there says no time: when something was written offline is nobody's
        business.
        """
        now = self._state.clock.now_ms()
        told = stream.REFERENCE_TIME if self._session.live_at(now) else 0
        return now.to_bytes(stream.REFERENCE_TIME, "big")[:told] + os.urandom(16 - told)

    async def send(
        self, ref: GroupRef, kind: envelopes.EnvelopeKind, content: bytes, resends: MessageId | None
    ) -> MessageId:
        """See :meth:`letterlock.client.device.Device.send`."""
        async with self._state.lock:
            message = MessageId(os.urandom(16))
            record = self._state.live(ref)
            self._state.require_floor(record)
            if self.hidden.on(record.ref):
                self.hidden.require_way()
            if resends is not None:
                self._require_resend(resends)
            if self.handshakes.waits(record, self._state.store.get):
                self._wait(record, kind, message, content, resends)
                return message
            self._queue(record, kind, message, content, resends)
        self._state.wake()
        return message

    def _wait(
        self,
        record: GroupRecord,
        kind: envelopes.EnvelopeKind,
        message: MessageId,
        content: bytes,
        resends: MessageId | None,
    ) -> None:
        """Held, and sealed at rest with the device's store: nothing of it is encrypted for anybody before."""
        held = self._state.store.entries(WAITING).values()
        place = max((msgspec.msgpack.decode(data, type=Words).place for data in held), default=0) + 1
        words = Words(place, record.ref, int(kind), content, b"" if resends is None else resends.value)
        self._state.persist(put=((WAITING, message.value, msgspec.msgpack.encode(words)),))

    async def release(self) -> None:
        """Sends what waited for an agreement, in its order, where there is one now."""
        if not self.handshakes.on:
            return
        released = False
        async with self._state.lock:
            held = self._state.store.entries(WAITING).items()
            waiting = [(msgspec.msgpack.decode(data, type=Words), name) for name, data in held]
            for words, name in sorted(waiting, key=lambda one: one[0].place):
                record = self._state.groups.get(words.ref)
                if record is None or record.stopped:
                    told = events.Finding(words.ref, "send", str(DeviceReason.GROUP_STOPPED), stopped=False)
                    self._state.persist(gone=((WAITING, name),), inbox=(events.encode(told),))
                    continue
                if self.handshakes.waits(record, self._state.store.get):
                    continue
                resends = MessageId(words.resends) if words.resends else None
                kind = envelopes.EnvelopeKind(words.kind)
                try:
                    self._state.require_floor(record)
                    self._queue(record, kind, MessageId(name), words.content, resends, gone=((WAITING, name),))
                except (DeviceError, EngineError):
                    # Below a floor, or a commit is under way: it waits on, and what follows it must not overtake it.
                    break
                released = True
        if released:
            self._state.wake()

    async def begin_handshakes(self, ref: GroupRef) -> int:
        """See :meth:`letterlock.client.device.Device.begin_handshakes`."""
        async with self._state.lock:
            record = self._state.live(ref)
            put, elements = self.handshakes.begin(record, self._state.store.get)
            for element in elements:
                self._queue(record, envelopes.EnvelopeKind.HANDSHAKE, MessageId(os.urandom(16)), element, put=put)
                put = ()
        if elements:
            self._state.wake()
        return len(elements)

    def _require_resend(self, message: MessageId) -> None:
        data = self._state.store.get(SENT, message.value)
        if data is None:
            raise DeviceError(DeviceReason.UNKNOWN_MESSAGE, message=message)
        heard = msgspec.msgpack.decode(data, type=SentRecord).heard.values()
        if any(forbids_resend(ClientFailure(failure)) for one in heard for failure in one.failures):
            raise DeviceError(DeviceReason.NO_RESEND, message=message)

    def _kept(self, record: GroupRecord, outgoing: Outgoing, resends: bytes) -> tuple[Put, ...]:
        """What receipts for this message will be compared with."""
        mine, roster = self._state.keys, self._state.roster(record)
        devices = [self._state.directory.device_of(leaf) for _, leaf in roster.leaves]
        ciphertext = digest(outgoing.body)
        kept = SentRecord(
            record.ref,
            outgoing.message,
            mine.device,
            record.group_id,
            roster.epoch,
            ciphertext,
            roster.digest,
            sorted(device.value for device in devices if device is not None and device != mine.device_id),
            Decided(Protection.E2EE, EvidenceGrade.FRAMED, Verifier.DEVICE),
            self._state.clock.now_ms(),
            resends,
        )
        return (SENT, outgoing.message, msgspec.msgpack.encode(kept)), (DIGESTS, ciphertext, outgoing.message)

    def receipts(self, message: MessageId) -> MessageReceipts:
        """See :meth:`letterlock.client.device.Device.receipts`."""
        data = self._state.store.get(SENT, message.value)
        if data is None:
            raise DeviceError(DeviceReason.UNKNOWN_MESSAGE, message=message)
        return MessageReceipts.of(msgspec.msgpack.decode(data, type=SentRecord))

    async def forget(self, before_ms: int) -> int:
        """See :meth:`letterlock.client.device.Device.forget_sent`."""
        async with self._state.lock:
            kept = (msgspec.msgpack.decode(data, type=SentRecord) for data in self._state.store.entries(SENT).values())
            old = [record for record in kept if record.sent_ms < before_ms]
            gone = [(SENT, record.message) for record in old] + [(DIGESTS, record.ciphertext) for record in old]
            self._state.persist(gone=tuple(gone))
        return len(old)

    async def hand_out(self, ref: GroupRef) -> int:
        """See :meth:`letterlock.client.device.Device.hand_out_tokens`."""
        async with self._state.lock:
            wanting = self.hidden.wanting(self._state.live(ref))
        if not wanting:
            return 0
        entries = await self.hidden.make(wanting)
        async with self._state.lock:
            kind, body = envelopes.EnvelopeKind.TOKENS, tokens.encode(entries)
            handed, gone = self.hidden.handed(entries)
            self._queue(self._state.live(ref), kind, MessageId(os.urandom(16)), body, put=handed, gone=gone)
            self._state.forget_tokens()
        self._state.wake()
        return len(entries)

    async def replenish(self) -> None:
        """Hands out more where members' devices hold few, in groups in which this device sends by tokens."""
        for ref in list(self._state.groups):
            if not self.hidden.on(ref) or self._state.groups[ref].stopped:
                continue
            try:
                self.hidden.require(self._state.groups[ref], self._state.store.get)
                await self.hand_out(GroupRef(ref))
            except DeviceError:
                # Without a token of theirs it would go over the session: the application has to ask for that.
                continue

    async def mark_read(self, received: events.Received | events.PayloadReceived) -> None:
        """Sends a read receipt."""
        async with self._state.lock:
            record = self._state.live(GroupRef(received.group))
            receipt = self._state.book.made(ReceiptType.DISPLAYED, _about(record, received))
            self._queue(record, envelopes.EnvelopeKind.RECEIPT, MessageId(os.urandom(16)), receipt)
        self._state.wake()

    async def hand_receipt(self, received: events.Received | events.PayloadReceived, kind: ReceiptType) -> bool:
        """See :meth:`letterlock.client.device.Device.hand_receipt`."""
        async with self._state.lock:
            record = self._state.live(GroupRef(received.group))
            if not received.relay_id or self.hidden.on(record.ref):
                raise DeviceError(DeviceReason.UNKNOWN_MESSAGE)
            receipt = self._state.book.made(kind, _about(record, received))
        relay = await self._session.relay()
        path = f"/v1/messages/{MessageId(received.relay_id)}/receipts"
        return bool((await relay.call("POST", path, HandedAnswer, {"receipts": [receipt]})).waiting)

    async def flush(self) -> int:
        """Sends the outbox over HTTP; returns how many were accepted."""
        relay = await self._session.relay()
        accepted = 0
        for sending, outgoing in self._outgoing(0, stream.MAX_ITEMS):
            path = f"/v1/groups/{GroupRef(outgoing.ref)}/messages"
            message = {"client_message_id": outgoing.message_ref, "body": outgoing.body}
            body = {"messages": [message], "state_counter": self._state.stated_counter()}
            try:
                answer = await relay.call("POST", path, SendAnswer, body)
            except RelayError as error:
                if error.reason is not RelayReason.STATE_ROLLED_BACK:
                    raise
                # An old copy, or overtaken by a call of its own: the login tells which.
                await self._session.login()
                body["state_counter"] = self._state.stated_counter()
                answer = await relay.call("POST", path, SendAnswer, body)
            if len(answer.results) != 1 or answer.results[0].client_message_id != outgoing.message_ref:
                raise RelayError(RelayReason.BAD_ANSWER)
            result = answer.results[0]
            status = HTTP_RESULTS.get(result.code if result.status == "refused" else result.status)
            accepted += result.status in {"accepted", "duplicate"}
            if status is stream.ResultStatus.MAILBOX_QUOTA:
                # What follows would arrive before it.
                return accepted
            if status is not None:
                await self.answered([(sending, stream.Result(status, stream.NO_ID, stream.NO_HASH))])
        return accepted

    def waiting(self, after: int, limit: int) -> list[Sending]:
        """Outbox entries after a position."""
        return [sending for sending, _ in self._outgoing(after, limit)]

    async def answered(self, results: Sequence[tuple[Sending, stream.Result]]) -> None:
        """Takes the relay's answers into the state."""
        async with self._state.lock:
            entries = dict(self._state.store.outbox())
            sent: list[int] = []
            again: list[bytes] = []
            findings: list[bytes] = []
            put: list[Put] = []
            closed: dict[bytes, GroupRecord] = {}
            for sending, result in results:
                data = entries.get(sending.position)
                if data is None or result.status in _LATER:
                    continue
                sent.append(sending.position)
                if result.status in _ARRIVED:
                    continue
                outgoing = msgspec.msgpack.decode(data, type=Outgoing)
                if result.status is stream.ResultStatus.EPOCH_TOO_OLD:
                    resealed = self._resealed(outgoing)
                    if resealed is EngineReason.COMMIT_PENDING:
                        # Nothing is sealed in this group until its fate is known; the words wait.
                        again.append(data)
                        continue
                    if isinstance(resealed, Outgoing):
                        again.append(msgspec.msgpack.encode(resealed))
                        put += self._kept_again(outgoing, resealed)
                        continue
                    code = str(resealed)
                else:
                    code = result.status.name.lower()
                over = result.status is stream.ResultStatus.GROUP_QUARANTINED
                if over:
                    closed |= {outgoing.ref: self._closed(outgoing.ref, code)}
                findings.append(events.encode(events.Finding(outgoing.ref, "send", code, stopped=over)))
            put += [(GROUPS, ref, msgspec.msgpack.encode(record)) for ref, record in closed.items()]
            self._state.persist(put=tuple(put), outbox=tuple(again), sent=tuple(sent), inbox=tuple(findings))
            self._state.groups |= closed
        if again:
            self._state.wake()

    def _closed(self, ref: bytes, why: str) -> GroupRecord:
        """The relay takes nothing more for this group: nothing is sent or taken here either."""
        record = self._state.group(GroupRef(ref))
        return msgspec.structs.replace(record, stopped=record.stopped or why)

    def _queue(
        self,
        record: GroupRecord,
        kind: envelopes.EnvelopeKind,
        message: MessageId,
        content: bytes,
        resends: MessageId | None = None,
        put: tuple[Put, ...] = (),
        gone: tuple[tuple[str, bytes], ...] = (),
    ) -> None:
        """Sealed under the next number, and durable, with what receipts for a content will be compared with."""
        get = self._state.store.get
        hidden = self.hidden.on(record.ref)
        if hidden:
            self.hidden.require(record, get)
        number = int.from_bytes(get(SPOKEN, record.ref) or b"") + 1
        outgoing = self.sealed(record, kind, message, content, number)
        put += ((SPOKEN, record.ref, number.to_bytes(8)),)
        copies: tuple[Outgoing, ...] = (outgoing,)
        if hidden:
            made, left = self.hidden.copies(record, outgoing, get)
            copies, put = tuple(made), put + left
        if kind.speaks:
            put += self._kept(record, outgoing, b"" if resends is None else resends.value)
        self._state.persist(put=put, gone=gone, outbox=tuple(map(msgspec.msgpack.encode, copies)))

    def _resealed(self, outgoing: Outgoing) -> Outgoing | Reason:
        """The same words under the current epoch, or why not: the group is over, or fell below a floor."""
        try:
            record = self._state.live(GroupRef(outgoing.ref))
            kind = envelopes.EnvelopeKind(outgoing.kind)
            if kind.speaks:
                self._state.require_floor(record)
            return self.sealed(record, kind, MessageId(outgoing.message), outgoing.content, outgoing.number)
        except (DeviceError, EngineError) as error:
            return error.reason

    def _kept_again(self, before: Outgoing, after: Outgoing) -> tuple[Put, ...]:
        """The relay never took the first ciphertext: receipts can only be about the second."""
        data = self._state.store.get(SENT, before.message)
        if data is None:
            return ()
        resends = msgspec.msgpack.decode(data, type=SentRecord).resends
        return self._kept(self._state.group(GroupRef(after.ref)), after, resends)

    def _unanswered(self, ref: bytes) -> int:
        """The lowest number in a group that the relay has not answered."""
        entries = (msgspec.msgpack.decode(data, type=Outgoing) for _, data in self._state.store.outbox())
        return min((entry.number for entry in entries if entry.ref == ref), default=_NONE_WAITS)

    def _outgoing(self, after: int, limit: int) -> list[tuple[Sending, Outgoing]]:
        found: list[tuple[Sending, Outgoing]] = []
        for position, data in self._state.store.outbox():
            if position > after and len(found) < limit:
                entry = msgspec.msgpack.decode(data, type=Outgoing)
                if entry.token:
                    # Never over the session, which would say who sends it.
                    continue
                target = stream.Submission(stream.TargetKind.GROUP, entry.ref, entry.message_ref, entry.body)
                found.append((Sending(position, target), entry))
        return found


def _about(record: GroupRecord, received: events.Received | events.PayloadReceived) -> Receipted:
    """A received message as a receipt names it."""
    return Receipted(
        MessageId(received.message),
        DeviceId(received.device),
        record.group_id,
        NO_ERA,
        received.epoch,
        received.ciphertext,
        received.roster,
    )
