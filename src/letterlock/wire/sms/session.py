"""An SMPP session without I/O, for both sides: states, window, timers (SMPP 3.4, sections 2.2, 2.3, 2.7, 2.9).

The caller gives octets and the time, and gets events; an illegal step raises and changes nothing.
"""

from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Final

from letterlock.wire.sms.encode import encode
from letterlock.wire.sms.errors import PduError, PduReason, SessionError, SessionReason
from letterlock.wire.sms.pdu import (
    ENQUIRE_LINK,
    ENQUIRE_LINK_RESP,
    GENERIC_NACK,
    Body,
    Pdu,
    error_response,
)
from letterlock.wire.sms.smpp import Framer, decode
from letterlock.wire.sms.terms import MAX_SEQUENCE, RESPONSE_BIT, CommandId, CommandStatus


@unique
class State(Enum):
    """Where a session is (section 2.2). Both sides go through the same states."""

    OPEN = "open"
    BOUND_TX = "bound_tx"
    BOUND_RX = "bound_rx"
    BOUND_TRX = "bound_trx"
    UNBOUND = "unbound"
    """An unbind was sent or received: no new requests, answers still come."""
    CLOSED = "closed"


@unique
class Role(Enum):
    """Which side we are."""

    ESME = "esme"
    SMSC = "smsc"


@unique
class Step(Enum):
    """What can happen in a session."""

    ASK_TO_BIND = "ask_to_bind"
    BIND_REFUSED = "bind_refused"
    BOUND_AS_TX = "bound_as_tx"
    BOUND_AS_RX = "bound_as_rx"
    BOUND_AS_TRX = "bound_as_trx"
    SUBMIT = "submit"
    """A request about messages from the ESME: submit_sm, query_sm."""
    DELIVER = "deliver"
    ANSWER = "answer"
    """A response to a request about messages."""
    CHECK_LINK = "check_link"
    ANSWER_CHECK = "answer_check"
    UNBIND = "unbind"
    UNBIND_DONE = "unbind_done"
    NACK = "nack"
    CLOSE = "close"


_S, _T = State, Step
_ALIVE: Final = (_S.OPEN, _S.BOUND_TX, _S.BOUND_RX, _S.BOUND_TRX, _S.UNBOUND)
_BOUND: Final = (_S.BOUND_TX, _S.BOUND_RX, _S.BOUND_TRX)

TRANSITIONS: Final[dict[tuple[State, Step], State]] = {
    (_S.OPEN, _T.ASK_TO_BIND): _S.OPEN,
    (_S.OPEN, _T.BIND_REFUSED): _S.OPEN,
    (_S.OPEN, _T.BOUND_AS_TX): _S.BOUND_TX,
    (_S.OPEN, _T.BOUND_AS_RX): _S.BOUND_RX,
    (_S.OPEN, _T.BOUND_AS_TRX): _S.BOUND_TRX,
    (_S.BOUND_TX, _T.SUBMIT): _S.BOUND_TX,
    (_S.BOUND_TRX, _T.SUBMIT): _S.BOUND_TRX,
    (_S.BOUND_RX, _T.DELIVER): _S.BOUND_RX,
    (_S.BOUND_TRX, _T.DELIVER): _S.BOUND_TRX,
    (_S.UNBOUND, _T.UNBIND_DONE): _S.UNBOUND,
    **{(state, _T.ANSWER): state for state in (*_BOUND, _S.UNBOUND)},
    **{(state, _T.CHECK_LINK): state for state in _BOUND},
    **{(state, _T.ANSWER_CHECK): state for state in (*_BOUND, _S.UNBOUND)},
    **{(state, _T.UNBIND): _S.UNBOUND for state in _BOUND},
    **{(state, _T.NACK): state for state in _ALIVE},
    **{(state, _T.CLOSE): _S.CLOSED for state in _ALIVE},
}
"""The whole machine. A pair that is not here is illegal."""

_BINDS: Final = {
    CommandId.BIND_TRANSMITTER_RESP: _T.BOUND_AS_TX,
    CommandId.BIND_RECEIVER_RESP: _T.BOUND_AS_RX,
    CommandId.BIND_TRANSCEIVER_RESP: _T.BOUND_AS_TRX,
}
_STEPS: Final = {
    CommandId.BIND_TRANSMITTER: _T.ASK_TO_BIND,
    CommandId.BIND_RECEIVER: _T.ASK_TO_BIND,
    CommandId.BIND_TRANSCEIVER: _T.ASK_TO_BIND,
    CommandId.SUBMIT_SM: _T.SUBMIT,
    CommandId.QUERY_SM: _T.SUBMIT,
    CommandId.DELIVER_SM: _T.DELIVER,
    CommandId.SUBMIT_SM_RESP: _T.ANSWER,
    CommandId.QUERY_SM_RESP: _T.ANSWER,
    CommandId.DELIVER_SM_RESP: _T.ANSWER,
    CommandId.ENQUIRE_LINK: _T.CHECK_LINK,
    CommandId.ENQUIRE_LINK_RESP: _T.ANSWER_CHECK,
    CommandId.UNBIND: _T.UNBIND,
    CommandId.UNBIND_RESP: _T.UNBIND_DONE,
    CommandId.GENERIC_NACK: _T.NACK,
}
_ESME_ONLY: Final = frozenset(
    {
        CommandId.BIND_TRANSMITTER,
        CommandId.BIND_RECEIVER,
        CommandId.BIND_TRANSCEIVER,
        CommandId.SUBMIT_SM,
        CommandId.QUERY_SM,
    }
)
_SMSC_ONLY: Final = frozenset({CommandId.DELIVER_SM})
_WINDOWED: Final = frozenset({CommandId.SUBMIT_SM, CommandId.QUERY_SM, CommandId.DELIVER_SM})


def step_of(command: CommandId, status: int) -> Step:
    """What a PDU does to the session."""
    bound = _BINDS.get(command)
    if bound is not None:
        return _T.BIND_REFUSED if status else bound
    return _STEPS[command]


@dataclass(frozen=True, slots=True)
class Timers:
    """Window and time limits of a session, in milliseconds (section 2.9)."""

    window: int = 10
    """Requests of ours that may wait for their answer."""
    peer_window: int = 1_000
    """Requests of the peer that may wait for ours; more are answered THROTTLED."""
    response_ms: int = 30_000
    bind_ms: int = 10_000
    enquire_ms: int = 30_000
    """How long the peer may be silent before it is asked."""


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """Send these octets."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """The peer's request; answer it with :meth:`Session.respond`."""

    pdu: Pdu


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """The answer to our request of that number."""

    sequence: int
    request: CommandId
    pdu: Pdu


@dataclass(frozen=True, slots=True)
class Expired:
    """No answer came in time to our request; whether it was done is not known."""

    sequence: int
    request: CommandId


@unique
class End(Enum):
    """Why a connection has to be closed."""

    BAD_STREAM = "bad_stream"
    PEER_SILENT = "peer_silent"
    NOT_BOUND_IN_TIME = "not_bound_in_time"
    WRONG_ANSWER = "wrong_answer"
    UNBOUND = "unbound"


@dataclass(frozen=True, slots=True)
class Over:
    """Close the connection, after what was to be written."""

    end: End


Event = Write | Asked | Answered | Expired | Over


class Session:
    """One session, either side. Not thread-safe; does nothing by itself."""

    __slots__ = (
        "_asked",
        "_awaited",
        "_framer",
        "_heard_ms",
        "_next",
        "_opened_ms",
        "_windowed",
        "role",
        "state",
        "timers",
    )

    def __init__(self, role: Role, timers: Timers, now_ms: int) -> None:
        self.role = role
        self.timers = timers
        self.state = State.OPEN
        self._framer = Framer()
        self._next = 0
        self._awaited: dict[int, tuple[CommandId, int]] = {}
        self._asked: dict[int, CommandId] = {}
        self._windowed = 0
        self._opened_ms = now_ms
        self._heard_ms = now_ms

    @property
    def window_free(self) -> int:
        """How many more requests about messages may be sent now."""
        return self.timers.window - self._windowed

    @property
    def awaited(self) -> int:
        """Requests of ours that have no answer yet."""
        return len(self._awaited)

    def _after(self, step: Step) -> State:
        state = TRANSITIONS.get((self.state, step))
        if state is None:
            raise SessionError(SessionReason.ILLEGAL_TRANSITION, state=self.state, step=step)
        return state

    def request(self, body: Body, now_ms: int) -> tuple[int, bytes]:
        """A request of ours: its sequence number and its octets, to be sent now.

        Raises:
            SessionError: ILLEGAL_TRANSITION, WINDOW_FULL, NOT_A_REQUEST, NOT_OURS_TO_SEND.
            PduError: the body cannot be encoded.
        """
        command = body.command
        if command & RESPONSE_BIT:
            raise SessionError(SessionReason.NOT_A_REQUEST)
        if command in (_SMSC_ONLY if self.role is Role.ESME else _ESME_ONLY):
            raise SessionError(SessionReason.NOT_OURS_TO_SEND)
        after = self._after(step_of(command, 0))
        windowed = command in _WINDOWED
        if windowed and self._windowed >= self.timers.window:
            raise SessionError(SessionReason.WINDOW_FULL, window=self.timers.window)
        sequence = self._sequence()
        data = encode(Pdu(body, sequence))
        binding = command in _ESME_ONLY and not windowed
        self._awaited[sequence] = (command, now_ms + (self.timers.bind_ms if binding else self.timers.response_ms))
        self._windowed += windowed
        self._next = sequence
        self.state = after
        return sequence, data

    def _sequence(self) -> int:
        number = self._next % MAX_SEQUENCE + 1
        while number in self._awaited:
            number = number % MAX_SEQUENCE + 1
        return number

    def respond(self, request: Pdu, body: Body, status: int = 0) -> bytes:
        """The octets of our answer to a request of the peer.

        Raises:
            SessionError: NOT_A_RESPONSE, when it is not the answer to an open request; ILLEGAL_TRANSITION.
            PduError: the body cannot be encoded.
        """
        command = body.command
        if command is not CommandId.GENERIC_NACK and command != request.command | RESPONSE_BIT:
            raise SessionError(SessionReason.NOT_A_RESPONSE)
        if self._asked.get(request.sequence) is not request.command:
            raise SessionError(SessionReason.NOT_A_RESPONSE)
        after = self._after(step_of(command, status))
        data = encode(Pdu(body, request.sequence, status))
        del self._asked[request.sequence]
        self.state = after
        return data

    def close(self) -> tuple[int, ...]:
        """The connection is gone: the numbers of the requests that will never be answered.

        Raises:
            SessionError: ILLEGAL_TRANSITION, when it was closed before.
        """
        self.state = self._after(Step.CLOSE)
        lost = tuple(self._awaited)
        self._awaited.clear()
        self._asked.clear()
        self._windowed = 0
        return lost

    def receive(self, data: bytes, now_ms: int) -> list[Event]:
        """Octets from the peer. Nothing of what they hold can make this raise.

        Raises:
            SessionError: ILLEGAL_TRANSITION, when the session is closed.
        """
        if self.state is State.CLOSED:
            raise SessionError(SessionReason.ILLEGAL_TRANSITION, state=self.state)
        self._heard_ms = now_ms
        events: list[Event] = []
        try:
            for frame in self._framer.feed(data):
                self._frame(frame, events)
                if events and isinstance(events[-1], Over):
                    break
        except PduError as error:
            events += (Write(encode(Pdu(GENERIC_NACK, 0, error.answer))), Over(End.BAD_STREAM))
        return events

    def _frame(self, frame: bytes, events: list[Event]) -> None:
        try:
            pdu = decode(frame)
        except PduError as error:
            self._undecodable(error, frame, events)
            return
        command = pdu.body.command
        if command & RESPONSE_BIT:
            self._answer(pdu, events)
            return
        if command in (_ESME_ONLY if self.role is Role.ESME else _SMSC_ONLY):
            events.append(self._refusal(pdu, CommandStatus.RINVCMDID))
            return
        if not 1 <= pdu.sequence <= MAX_SEQUENCE or pdu.sequence in self._asked:
            events.append(Write(encode(Pdu(GENERIC_NACK, min(pdu.sequence, MAX_SEQUENCE), CommandStatus.RSYSERR))))
            return
        after = TRANSITIONS.get((self.state, step_of(command, 0)))
        binding = command in _ESME_ONLY - _WINDOWED
        if binding and self._asked:  # the bind before it has no answer yet
            after = None
        if after is None:
            bound = binding and (self.state is not State.OPEN or bool(self._asked))
            events.append(self._refusal(pdu, CommandStatus.RALYBND if bound else CommandStatus.RINVBNDSTS))
            return
        if command in _WINDOWED and len(self._asked) >= self.timers.peer_window:
            events.append(self._refusal(pdu, CommandStatus.RTHROTTLED))
            return
        if command is CommandId.ENQUIRE_LINK:
            events.append(Write(encode(Pdu(ENQUIRE_LINK_RESP, pdu.sequence))))
            return
        self.state = after
        self._asked[pdu.sequence] = command
        events.append(Asked(pdu))

    def _answer(self, pdu: Pdu, events: list[Event]) -> None:
        awaited = self._awaited.get(pdu.sequence)
        command = pdu.body.command
        if awaited is None:  # late, or a nack of something that we never sent
            return
        request = awaited[0]
        if command is not CommandId.GENERIC_NACK and command != request | RESPONSE_BIT:
            events.append(Over(End.WRONG_ANSWER))
            return
        after = TRANSITIONS.get((self.state, step_of(command, pdu.status)))
        if after is None:
            events.append(Over(End.WRONG_ANSWER))
            return
        self._forget(pdu.sequence)
        self.state = after
        if request is not CommandId.ENQUIRE_LINK:
            events.append(Answered(pdu.sequence, request, pdu))

    def _undecodable(self, error: PduError, frame: bytes, events: list[Event]) -> None:
        sequence = int.from_bytes(frame[12:16], "big")
        command = error.facts.get("command")
        if error.reason is PduReason.UNKNOWN_COMMAND or not isinstance(command, CommandId):
            reply: Body = GENERIC_NACK
        elif command & RESPONSE_BIT:
            events.append(Over(End.WRONG_ANSWER))
            return
        else:
            reply = error_response(command)
        events.append(Write(encode(Pdu(reply, min(sequence, MAX_SEQUENCE), error.answer))))

    @staticmethod
    def _refusal(pdu: Pdu, status: CommandStatus) -> Write:
        return Write(encode(Pdu(error_response(pdu.command), pdu.sequence, status)))

    def _forget(self, sequence: int) -> CommandId:
        command, _ = self._awaited.pop(sequence)
        self._windowed -= command in _WINDOWED
        return command

    def tick(self, now_ms: int) -> list[Event]:
        """What time brings: expired requests, an enquiry, the end of a silent link. Call it a few times a second."""
        if self.state is State.CLOSED:
            return []
        events: list[Event] = []
        late = [(number, command) for number, (command, due) in self._awaited.items() if due <= now_ms]
        for number, command in late:
            self._forget(number)
            if command is CommandId.ENQUIRE_LINK:
                return [*events, Over(End.PEER_SILENT)]
            events.append(Expired(number, command))
        if self.state is State.OPEN:
            if self.role is Role.SMSC and now_ms - self._opened_ms >= self.timers.bind_ms:
                events.append(Over(End.NOT_BOUND_IN_TIME))
        elif (
            self.state is not State.UNBOUND
            and now_ms - self._heard_ms >= self.timers.enquire_ms
            and not any(command is CommandId.ENQUIRE_LINK for command, _ in self._awaited.values())
        ):
            events.append(Write(self.request(ENQUIRE_LINK, now_ms)[1]))
        return events
