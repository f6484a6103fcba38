"""The session machine: the whole table, both sides against each other, timers, and what a peer may not do."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.model.bodies import OpenBody
from letterlock.wire.sms.address import PhoneNumber, SmppAddress
from letterlock.wire.sms.encode import encode
from letterlock.wire.sms.errors import SessionError, SessionReason
from letterlock.wire.sms.pdu import (
    ENQUIRE_LINK,
    ENQUIRE_LINK_RESP,
    GENERIC_NACK,
    UNBIND,
    UNBIND_RESP,
    Bind,
    BindResp,
    Body,
    DeliverSm,
    DeliverSmResp,
    Pdu,
    SubmitSm,
    SubmitSmResp,
)
from letterlock.wire.sms.session import (
    TRANSITIONS,
    Answered,
    Asked,
    End,
    Event,
    Expired,
    Over,
    Role,
    Session,
    State,
    Step,
    Timers,
    Write,
)
from letterlock.wire.sms.smpp import decode
from letterlock.wire.sms.terms import CommandId, CommandStatus

ALICE = SmppAddress.of_number(PhoneNumber.parse("+491701234567"))
TIMERS = Timers(window=2, peer_window=3, response_ms=1_000, bind_ms=500, enquire_ms=2_000)
BINDS = {
    CommandId.BIND_TRANSMITTER: (CommandId.BIND_TRANSMITTER_RESP, State.BOUND_TX),
    CommandId.BIND_RECEIVER: (CommandId.BIND_RECEIVER_RESP, State.BOUND_RX),
    CommandId.BIND_TRANSCEIVER: (CommandId.BIND_TRANSCEIVER_RESP, State.BOUND_TRX),
}


def submit() -> SubmitSm:
    return SubmitSm(ALICE, ALICE, OpenBody(b"hello"))


def deliver() -> DeliverSm:
    return DeliverSm(ALICE, ALICE, OpenBody(b"hello"))


def asked(events: list[Event]) -> Pdu:
    (event,) = events
    assert isinstance(event, Asked)
    return event.pdu


def written(event: Event) -> Pdu:
    assert isinstance(event, Write)
    return decode(event.data)


def pair(command: CommandId = CommandId.BIND_TRANSCEIVER) -> tuple[Session, Session]:
    esme, smsc = Session(Role.ESME, TIMERS, 0), Session(Role.SMSC, TIMERS, 0)
    _, data = esme.request(Bind(command, "letter", "pw"), 0)
    answer = smsc.respond(asked(smsc.receive(data, 0)), BindResp(BINDS[command][0], "centre"))
    (event,) = esme.receive(answer, 0)
    assert isinstance(event, Answered)
    assert esme.state is smsc.state is BINDS[command][1]
    return esme, smsc


EXPECTED = {
    State.OPEN: {Step.ASK_TO_BIND, Step.BIND_REFUSED, Step.BOUND_AS_TX, Step.BOUND_AS_RX, Step.BOUND_AS_TRX},
    State.BOUND_TX: {Step.SUBMIT, Step.ANSWER, Step.CHECK_LINK, Step.ANSWER_CHECK, Step.UNBIND},
    State.BOUND_RX: {Step.DELIVER, Step.ANSWER, Step.CHECK_LINK, Step.ANSWER_CHECK, Step.UNBIND},
    State.BOUND_TRX: {Step.SUBMIT, Step.DELIVER, Step.ANSWER, Step.CHECK_LINK, Step.ANSWER_CHECK, Step.UNBIND},
    State.UNBOUND: {Step.ANSWER, Step.ANSWER_CHECK, Step.UNBIND_DONE},
    State.CLOSED: set(),
}


def test_the_whole_table() -> None:
    for state, step in itertools.product(State, Step):
        legal = step in EXPECTED[state] or (state is not State.CLOSED and step in {Step.NACK, Step.CLOSE})
        assert ((state, step) in TRANSITIONS) == legal, (state, step)


REQUESTS: list[tuple[Role, Body, Step]] = [
    (Role.ESME, Bind(CommandId.BIND_TRANSCEIVER, "a", "b"), Step.ASK_TO_BIND),
    (Role.ESME, submit(), Step.SUBMIT),
    (Role.SMSC, deliver(), Step.DELIVER),
    (Role.ESME, ENQUIRE_LINK, Step.CHECK_LINK),
    (Role.SMSC, ENQUIRE_LINK, Step.CHECK_LINK),
    (Role.ESME, UNBIND, Step.UNBIND),
    (Role.SMSC, UNBIND, Step.UNBIND),
]


def snapshot(session: Session) -> tuple[object, ...]:
    return session.state, session.window_free, session.awaited


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize(("role", "body", "step"), REQUESTS)
def test_every_request_in_every_state(state: State, role: Role, body: Body, step: Step) -> None:
    session = Session(role, TIMERS, 0)
    session.state = state
    before = snapshot(session)
    after = TRANSITIONS.get((state, step))
    if after is None:
        with pytest.raises(SessionError) as caught:
            session.request(body, 0)
        assert caught.value.reason is SessionReason.ILLEGAL_TRANSITION
        assert snapshot(session) == before
        session.state = State.BOUND_TRX
        if step is not Step.ASK_TO_BIND:
            assert session.request(body, 0)[0] == 1  # the refused one took no number
    else:
        session.request(body, 0)
        assert session.state is after


@pytest.mark.parametrize("state", [state for state in State if state is not State.CLOSED])
@pytest.mark.parametrize(("role", "body", "step"), REQUESTS)
def test_every_request_of_the_peer_in_every_state(state: State, role: Role, body: Body, step: Step) -> None:
    session = Session(Role.SMSC if role is Role.ESME else Role.ESME, TIMERS, 0)
    session.state = state
    (event,) = session.receive(encode(Pdu(body, 9)), 0)
    after = TRANSITIONS.get((state, step))
    if after is None:
        answer = written(event)
        assert (answer.sequence, answer.command) == (9, body.command | 0x8000_0000)
        assert answer.status in {CommandStatus.RINVBNDSTS, CommandStatus.RALYBND}
        assert session.state is state
    else:
        assert session.state is after
        assert isinstance(event, Write if body is ENQUIRE_LINK else Asked)


def test_no_side_sends_what_belongs_to_the_other() -> None:
    esme, smsc = pair()
    for session, body in ((esme, deliver()), (smsc, submit()), (smsc, Bind(CommandId.BIND_RECEIVER, "a", "b"))):
        with pytest.raises(SessionError) as caught:
            session.request(body, 0)
        assert caught.value.reason is SessionReason.NOT_OURS_TO_SEND
    with pytest.raises(SessionError) as caught:
        esme.request(ENQUIRE_LINK_RESP, 0)
    assert caught.value.reason is SessionReason.NOT_A_REQUEST
    (event,) = esme.receive(encode(Pdu(submit(), 4)), 0)
    assert written(event).status == CommandStatus.RINVCMDID


@pytest.mark.parametrize("command", list(BINDS))
def test_binds(command: CommandId) -> None:
    esme, smsc = pair(command)
    for session, body, may in (
        (esme, submit(), command is not CommandId.BIND_RECEIVER),
        (smsc, deliver(), command is not CommandId.BIND_TRANSMITTER),
    ):
        if may:
            session.request(body, 0)
        else:
            with pytest.raises(SessionError):
                session.request(body, 0)


def test_a_refused_bind_may_be_tried_again() -> None:
    esme, smsc = Session(Role.ESME, TIMERS, 0), Session(Role.SMSC, TIMERS, 0)
    _, data = esme.request(Bind(CommandId.BIND_TRANSCEIVER, "letter", "bad"), 0)
    request = asked(smsc.receive(data, 0))
    refusal = smsc.respond(request, BindResp(CommandId.BIND_TRANSCEIVER_RESP), CommandStatus.RINVPASWD)
    (event,) = esme.receive(refusal, 0)
    assert isinstance(event, Answered)
    assert event.pdu.status == CommandStatus.RINVPASWD
    assert esme.state is smsc.state is State.OPEN
    esme.request(Bind(CommandId.BIND_TRANSCEIVER, "letter", "pw"), 0)


def test_a_second_bind_waits_for_the_answer_to_the_first() -> None:
    smsc = Session(Role.SMSC, TIMERS, 0)
    bind = Bind(CommandId.BIND_TRANSCEIVER, "letter", "pw")
    first, second = smsc.receive(encode(Pdu(bind, 1)) + encode(Pdu(bind, 2)), 0)
    assert isinstance(first, Asked)
    assert (written(second).sequence, written(second).status) == (2, CommandStatus.RALYBND)
    smsc.respond(first.pdu, BindResp(CommandId.BIND_TRANSCEIVER_RESP))
    assert smsc.state is State.BOUND_TRX


def test_the_window_and_its_answers() -> None:
    esme, smsc = pair()
    sent = [esme.request(submit(), 0) for _ in range(2)]
    with pytest.raises(SessionError) as caught:
        esme.request(submit(), 0)
    assert caught.value.reason is SessionReason.WINDOW_FULL
    esme.request(ENQUIRE_LINK, 0)  # not about messages
    pdus = [asked(smsc.receive(data, 0)) for _, data in sent]
    back = smsc.respond(pdus[1], SubmitSmResp("b")) + smsc.respond(pdus[0], SubmitSmResp("a"))
    events = esme.receive(back, 0)
    assert [event.sequence for event in events if isinstance(event, Answered)] == [sent[1][0], sent[0][0]]
    assert esme.window_free == 2
    with pytest.raises(SessionError) as caught:
        smsc.respond(pdus[0], SubmitSmResp("again"))
    assert caught.value.reason is SessionReason.NOT_A_RESPONSE
    with pytest.raises(SessionError):
        smsc.respond(pdus[0], DeliverSmResp())


def test_a_peer_over_its_window_is_throttled_and_a_number_used_twice_refused() -> None:
    _, smsc = pair()
    for number in range(10, 13):
        asked(smsc.receive(encode(Pdu(submit(), number)), 0))
    (event,) = smsc.receive(encode(Pdu(submit(), 13)), 0)
    assert written(event).status == CommandStatus.RTHROTTLED
    for number in (10, 0):
        (event,) = smsc.receive(encode(Pdu(submit(), number)), 0)
        assert written(event).command is CommandId.GENERIC_NACK


def test_unbind_drains_answers() -> None:
    esme, smsc = pair()
    first = asked(smsc.receive(esme.request(submit(), 0)[1], 0))
    goodbye = asked(smsc.receive(esme.request(UNBIND, 0)[1], 0))
    with pytest.raises(SessionError):
        esme.request(submit(), 0)
    events = esme.receive(smsc.respond(first, SubmitSmResp("a")) + smsc.respond(goodbye, UNBIND_RESP), 0)
    assert [event.request for event in events if isinstance(event, Answered)] == [
        CommandId.SUBMIT_SM,
        CommandId.UNBIND,
    ]
    assert esme.close() == ()
    with pytest.raises(SessionError):
        esme.close()
    with pytest.raises(SessionError):
        esme.receive(b"", 0)
    assert esme.tick(10**9) == []


def test_answers_that_do_not_fit_end_the_session() -> None:
    esme, _ = pair()
    sequence, _ = esme.request(submit(), 0)
    assert esme.receive(encode(Pdu(SubmitSmResp("late"), 999)), 0) == []
    assert esme.receive(encode(Pdu(DeliverSmResp(), sequence)), 0) == [Over(End.WRONG_ANSWER)]
    esme, _ = pair()
    sequence, _ = esme.request(submit(), 0)
    (event,) = esme.receive(encode(Pdu(GENERIC_NACK, sequence, CommandStatus.RINVCMDID)), 0)
    assert isinstance(event, Answered)
    assert esme.window_free == 2


def test_malformed_requests_are_answered_and_malformed_streams_end() -> None:
    esme, smsc = pair()
    (event,) = esme.receive(bytes.fromhex("00000011 00000005 00000000 00000007 00"), 0)
    assert (written(event).command, written(event).sequence) == (CommandId.DELIVER_SM_RESP, 7)
    assert written(event).status == CommandStatus.RINVCMDLEN
    (event,) = smsc.receive(bytes.fromhex("00000010 00000099 00000000 ffffffff"), 0)
    assert (written(event).command, written(event).status) == (CommandId.GENERIC_NACK, CommandStatus.RINVCMDID)
    assert smsc.state is State.BOUND_TRX
    events = smsc.receive(bytes.fromhex("00020000 00000004 00000000 00000007"), 0)
    assert written(events[0]).status == CommandStatus.RINVCMDLEN
    assert events[1] == Over(End.BAD_STREAM)


def test_timers() -> None:
    esme, smsc = pair()
    sequence, _ = esme.request(submit(), 0)
    assert esme.tick(999) == []
    assert esme.tick(1_000) == [Expired(sequence, CommandId.SUBMIT_SM)]
    assert esme.window_free == 2
    (event,) = esme.tick(2_000)
    assert written(event).command is CommandId.ENQUIRE_LINK
    assert esme.tick(2_500) == []
    assert isinstance(event, Write)
    (answer,) = smsc.receive(event.data, 2_500)
    assert isinstance(answer, Write)
    assert esme.receive(answer.data, 2_600) == []
    assert esme.tick(4_599) == []
    assert len(esme.tick(4_600)) == 1
    assert esme.tick(5_600) == [Over(End.PEER_SILENT)]
    unbound = Session(Role.SMSC, TIMERS, 0)
    assert unbound.tick(499) == []
    assert unbound.tick(500) == [Over(End.NOT_BOUND_IN_TIME)]


def test_a_lost_connection_names_what_has_no_answer() -> None:
    esme, _ = pair()
    numbers = [esme.request(submit(), 0)[0] for _ in range(2)]
    assert list(esme.close()) == numbers


@given(st.lists(st.binary(max_size=64), max_size=8), st.sampled_from(list(Role)), st.sampled_from(list(State)[:5]))
def test_nothing_that_a_peer_sends_makes_it_raise(chunks: list[bytes], role: Role, state: State) -> None:
    session = Session(role, TIMERS, 0)
    session.state = state
    for chunk in chunks:
        framed = (len(chunk) + 8).to_bytes(4, "big") + b"\0\0\0" + chunk[:1] + bytes(4) + chunk[1:]
        for event in session.receive(framed, 1):
            assert isinstance(event, Event)
            if isinstance(event, Over):
                return
