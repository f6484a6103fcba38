"""Messages on their way out: envelope, MLS, outbox, and what the relay answers."""

import os
from collections.abc import Sequence
from typing import Final, final

import msgspec

from letterlock.client import envelope as envelopes
from letterlock.client import events
from letterlock.client.errors import DeviceError, DeviceReason, EngineError, RelayError, RelayReason
from letterlock.client.groups import SPOKEN, GroupRecord, Outgoing
from letterlock.client.relay import SendAnswer
from letterlock.client.session import Session
from letterlock.client.state import DeviceState
from letterlock.client.transport import Sending
from letterlock.model.errors import Reason
from letterlock.model.ids import DeviceId, GroupRef, MessageId
from letterlock.wire import stream

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
    "wrong_group": stream.ResultStatus.UNKNOWN_TARGET,
    "bad_body": stream.ResultStatus.QUARANTINED,
}
"""What HTTP answers of one message, its code where it is refused, in the stream's words."""
_ARRIVED: Final = frozenset({stream.ResultStatus.ACCEPTED, stream.ResultStatus.DUPLICATE})


@final
class Outgoings:
    """Seals, stores and sends. Nothing leaves before the state that encrypted it is durable."""

    def __init__(self, state: DeviceState, session: Session) -> None:
        self._state: Final = state
        self._session: Final = session

    def sealed(
        self, record: GroupRecord, kind: envelopes.EnvelopeKind, message: MessageId, content: bytes, number: int
    ) -> Outgoing:
        """Envelope and MLS; the caller persists it, and the number, before it leaves."""
        mine = self._state.keys
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
            content,
        )
        signed = envelopes.seal(plain, mine.tenant_id, mine.environment, mine.envelope_key())
        body = self._state.engine.encrypt(record.group_id, signed)
        return Outgoing(record.ref, os.urandom(16), body, int(kind), message.value, content, number)

    async def send(self, ref: GroupRef, content: bytes) -> MessageId:
        """See :meth:`letterlock.client.device.Device.send`."""
        async with self._state.lock:
            message = MessageId(os.urandom(16))
            record = self._state.live(ref)
            self._state.require_floor(record)
            self._queue(record, envelopes.EnvelopeKind.CONTENT, message, content)
        self._state.wake()
        return message

    async def mark_read(self, received: events.Received) -> None:
        """Sends a read receipt."""
        body = envelopes.ReceiptBody(
            MessageId(received.message), DeviceId(received.device), envelopes.digest(received.content)
        )
        async with self._state.lock:
            record = self._state.live(GroupRef(received.group))
            self._queue(record, envelopes.EnvelopeKind.READ, MessageId(os.urandom(16)), body.encode())
        self._state.wake()

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
            for sending, result in results:
                data = entries.get(sending.position)
                if data is None or result.status is stream.ResultStatus.OVERLOADED:
                    continue
                sent.append(sending.position)
                if result.status in _ARRIVED:
                    continue
                outgoing = msgspec.msgpack.decode(data, type=Outgoing)
                if result.status is stream.ResultStatus.EPOCH_TOO_OLD:
                    resealed = self._resealed(outgoing)
                    if isinstance(resealed, Outgoing):
                        again.append(msgspec.msgpack.encode(resealed))
                        continue
                    code = str(resealed)
                else:
                    code = result.status.name.lower()
                findings.append(events.encode(events.Finding(outgoing.ref, "send", code, stopped=False)))
            self._state.persist(outbox=tuple(again), sent=tuple(sent), inbox=tuple(findings))
        if again:
            self._state.wake()

    def _queue(self, record: GroupRecord, kind: envelopes.EnvelopeKind, message: MessageId, content: bytes) -> None:
        """Sealed under the next number, and durable."""
        number = int.from_bytes(self._state.store.get(SPOKEN, record.ref) or b"") + 1
        outgoing = self.sealed(record, kind, message, content, number)
        spoken = (SPOKEN, record.ref, number.to_bytes(8))
        self._state.persist(put=(spoken,), outbox=(msgspec.msgpack.encode(outgoing),))

    def _resealed(self, outgoing: Outgoing) -> Outgoing | Reason:
        """The same words under the current epoch, or why not: the group is over, or fell below a floor."""
        try:
            record = self._state.live(GroupRef(outgoing.ref))
            kind = envelopes.EnvelopeKind(outgoing.kind)
            if kind is envelopes.EnvelopeKind.CONTENT:
                self._state.require_floor(record)
            return self.sealed(record, kind, MessageId(outgoing.message), outgoing.content, outgoing.number)
        except (DeviceError, EngineError) as error:
            return error.reason

    def _outgoing(self, after: int, limit: int) -> list[tuple[Sending, Outgoing]]:
        found: list[tuple[Sending, Outgoing]] = []
        for position, data in self._state.store.outbox():
            if position > after and len(found) < limit:
                entry = msgspec.msgpack.decode(data, type=Outgoing)
                target = stream.Submission(stream.TargetKind.GROUP, entry.ref, entry.message_ref, entry.body)
                found.append((Sending(position, target), entry))
        return found
