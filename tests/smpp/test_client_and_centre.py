"""The client and the laboratory's centre over a real socket."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvloop
from tests.smpp.support import ACCOUNTS, ALICE, QUICK, Notebook, client_of, config, new_ref, screen, send, until

from letterlock.lab.smsc import Fault, FaultKind, LabSmsc, ReceiptForm, ReceiptOrder
from letterlock.model.bodies import OpenBody
from letterlock.transports.smpp import (
    Endpoint,
    LinkFault,
    LinkState,
    Outcome,
    PlainText,
    SmppClient,
    SmppConfig,
    SubmitError,
    SubmitReason,
)
from letterlock.wire.sms.address import PhoneNumber
from letterlock.wire.sms.receipts import IdBase, IdForms, IdSource
from letterlock.wire.sms.segmentation import LongStyle
from letterlock.wire.sms.session import Timers
from letterlock.wire.sms.terms import CommandStatus, MessageState

PILE = "\U0001f4a9"


@pytest.fixture
async def smsc() -> AsyncIterator[LabSmsc]:
    async with LabSmsc(ACCOUNTS) as centre:
        yield centre


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


@pytest.fixture
async def client(smsc: LabSmsc, notebook: Notebook) -> AsyncIterator[SmppClient]:
    async with client_of(config(smsc.port), notebook) as link:
        assert await link.wait_bound(10)
        yield link


async def refused(client: SmppClient, text: str, reason: SubmitReason) -> SubmitError:
    with pytest.raises(SubmitError) as caught:
        await send(client, text)
    assert caught.value.reason is reason
    return caught.value


TEXTS = {
    "short": "Hello, {world} [€]",
    "empty": "",
    "gsm_exactly_one": "a" * 160,
    "gsm_two": "a" * 161,
    "escape_on_the_cut": "a" * 152 + "€" + "b" * 100,
    "greek_capitals": "ΔΦΓΛΩΠΨΣΘΞ" * 20,
    "unicode": "Привет, мир. " * 20,
    "emoji_on_the_cut": "я" * 66 + PILE + "я" * 100,
    "emoji_only": PILE * 150,
    "longest_gsm": "x" * 1_530,
    "longest_unicode": "я" * 670,
}


@pytest.mark.parametrize("style", list(LongStyle))
async def test_every_text_arrives_whole_in_every_style(smsc: LabSmsc, notebook: Notebook, style: LongStyle) -> None:
    async with client_of(config(smsc.port, long_style=style, max_parts=12), notebook) as client:
        assert await client.wait_bound(10)
        ids: list[str] = []
        for text in TEXTS.values():
            ids += (await send(client, text)).remote_ids
        assert screen(smsc) == list(TEXTS.values())
        await until(lambda: len(notebook.receipts) == len(ids))
        assert sorted(notice.remote_id for notice in notebook.receipts) == sorted(ids)


async def test_too_long_is_refused_and_nothing_is_sent(smsc: LabSmsc, client: SmppClient) -> None:
    error = await refused(client, "x" * 1_531, SubmitReason.TOO_LONG)
    assert error.reason.outcome is Outcome.NOT_SENT
    assert smsc.submits == 0


async def test_what_is_no_text_is_refused(smsc: LabSmsc, client: SmppClient) -> None:
    with pytest.raises(SubmitError) as caught:
        await client.submit(ALICE, "Letterlock", OpenBody(b"\xff\xfe"), message_ref=new_ref())
    assert caught.value.reason is SubmitReason.UNENCODABLE
    assert smsc.submits == 0


@pytest.mark.parametrize("sender", ["a\0b", "twelve chars", "12", "123456789", "+49 (0)170 1234567", "Ünicode", "a\nb"])
async def test_senders_that_are_none_are_refused(smsc: LabSmsc, client: SmppClient, sender: str) -> None:
    with pytest.raises(SubmitError) as caught:
        await send(client, "hello", sender=sender)
    assert caught.value.reason is SubmitReason.INVALID_SENDER
    assert smsc.submits == 0


@pytest.mark.parametrize(
    ("sender", "shown"), [("+4930123456", "4930123456"), ("22122", "22122"), ("My Bank", "My Bank")]
)
async def test_senders_that_are_some(smsc: LabSmsc, client: SmppClient, sender: str, shown: str) -> None:
    await send(client, "hello", sender=sender)
    assert [message.sender for message in smsc.phone(ALICE).inbox] == [shown]


@pytest.mark.parametrize("form", list(ReceiptForm))
@pytest.mark.parametrize("order", list(ReceiptOrder))
@pytest.mark.parametrize(
    "forms",
    [
        IdForms(),
        IdForms(IdBase.HEX, IdBase.HEX, IdBase.DECIMAL),
        IdForms(IdBase.DECIMAL, IdBase.DECIMAL, IdBase.HEX),
    ],
)
async def test_receipts_match_in_every_form(
    smsc: LabSmsc, notebook: Notebook, form: ReceiptForm, order: ReceiptOrder, forms: IdForms
) -> None:
    smsc.behaviour.receipt_form, smsc.behaviour.receipt_order, smsc.behaviour.id_forms = form, order, forms
    smsc.behaviour.response_delay_ms = 20 if order is ReceiptOrder.BEFORE_RESPONSE else 0
    async with client_of(config(smsc.port, id_forms=forms), notebook) as client:
        assert await client.wait_bound(10)
        result = await send(client, "id:1 stat:UNDELIV")
        if order is ReceiptOrder.BEFORE_RESPONSE:
            assert notebook.receipts, "the receipt overtakes the answer"
        await until(lambda: len(notebook.receipts) == 1)
        (notice,) = notebook.receipts
        assert (notice.remote_id,) == result.remote_ids
        assert notice.receipt.state is MessageState.DELIVERED
        assert notice.receipt.id_source is (IdSource.TEXT if form is ReceiptForm.TEXT else IdSource.TLV)
        assert "UNDELIV" not in repr(notice)


async def test_lost_and_doubled_receipts(smsc: LabSmsc, client: SmppClient, notebook: Notebook) -> None:
    smsc.behaviour.receipt_copies = 0
    await send(client, "lost")
    smsc.behaviour.receipt_copies = 2
    doubled = await send(client, "doubled")
    await until(lambda: len(notebook.receipts) == 2)
    assert {notice.remote_id for notice in notebook.receipts} == set(doubled.remote_ids)


async def test_a_receipt_is_sent_again_until_it_is_safe(smsc: LabSmsc, client: SmppClient, notebook: Notebook) -> None:
    smsc.behaviour.retry_ms = 5
    notebook.fail_receipts = 3
    result = await send(client, "hello")
    await until(lambda: bool(notebook.receipts))
    assert [notice.remote_id for notice in notebook.receipts] == list(result.remote_ids)
    assert notebook.fail_receipts == 0


async def test_nothing_is_acknowledged_before_the_callback_ends(smsc: LabSmsc) -> None:
    began, may_end = asyncio.Event(), asyncio.Event()
    notebook = Notebook()
    inner = notebook.on_inbound

    async def slow(inbound: object) -> None:
        began.set()
        await may_end.wait()
        await inner(inbound)  # type: ignore[arg-type]

    notebook.on_inbound = slow  # type: ignore[method-assign]
    account = smsc.account("letter")
    assert account is not None
    async with client_of(config(smsc.port), notebook) as client:
        assert await client.wait_bound(10)
        smsc.send_from(ALICE, "22122", OpenBody(b"one"))
        await began.wait()
        smsc.drop_links()  # before the acknowledgement: the centre has to keep it
        await until(lambda: smsc.links == 0)
        may_end.set()
        assert len(account.outbox) == 1
        await until(lambda: len(notebook.inbound) == 2)
        assert notebook.texts() == ["one", "one"]
        await until(lambda: not account.outbox)


@pytest.mark.parametrize("text", ["hi", "€" * 200, PILE * 100])
async def test_messages_from_phones(smsc: LabSmsc, client: SmppClient, notebook: Notebook, text: str) -> None:
    smsc.behaviour.retry_ms = 5
    notebook.fail_inbound = 1
    parts = smsc.send_from(ALICE, "22122", OpenBody(text.encode()))
    await until(lambda: bool(notebook.texts()))
    assert notebook.texts() == [text]
    assert notebook.inbound[-1].part.source.number() == ALICE
    assert len(notebook.inbound) == parts


async def test_parts_survive_a_restart_of_the_client(smsc: LabSmsc) -> None:
    account = smsc.account("letter")
    assert account is not None
    text = "long " * 60
    assert smsc.send_from(ALICE, "22122", OpenBody(text.encode())) == 2
    last = account.outbox.pop()
    first_run, second_run = Notebook(), Notebook()
    async with client_of(config(smsc.port), first_run) as client:
        assert await client.wait_bound(10)
        await until(lambda: len(first_run.inbound) == 1)
        await until(lambda: not account.outbox)
    assert first_run.inbound[0].whole is None
    account.outbox.append(last)
    client = client_of(config(smsc.port), second_run)
    client.restore_parts(inbound.part for inbound in first_run.inbound)
    async with client:
        await until(lambda: bool(second_run.texts()))
    assert second_run.texts() == [text]


@pytest.mark.parametrize("kind", [FaultKind.THROTTLE, FaultKind.QUEUE_FULL])
async def test_throttling_is_waited_out(smsc: LabSmsc, client: SmppClient, kind: FaultKind) -> None:
    smsc.fail(Fault(kind, 4))
    await asyncio.gather(*(send(client, f"message {number}") for number in range(20)))
    assert sorted(screen(smsc)) == sorted(f"message {number}" for number in range(20))
    assert smsc.submits == 24


@pytest.mark.parametrize(
    ("kind", "reason"), [(FaultKind.THROTTLE, SubmitReason.THROTTLED), (FaultKind.QUEUE_FULL, SubmitReason.QUEUE_FULL)]
)
async def test_patience_ends(smsc: LabSmsc, notebook: Notebook, kind: FaultKind, reason: SubmitReason) -> None:
    async with client_of(config(smsc.port, patience_ms=60), notebook) as client:
        assert await client.wait_bound(10)
        smsc.fail(Fault(kind, 1_000))
        error = await refused(client, "hello", reason)
        assert error.reason.outcome is Outcome.REFUSED
        assert error.reason.is_worth_retrying
    assert screen(smsc) == []


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (CommandStatus.RINVDSTADR, SubmitReason.REJECTED_PERMANENT),
        (0x04FF, SubmitReason.REJECTED_PERMANENT),
        (CommandStatus.RSYSERR, SubmitReason.REJECTED_TEMPORARY),
    ],
)
async def test_rejections(smsc: LabSmsc, client: SmppClient, status: int, reason: SubmitReason) -> None:
    smsc.fail(Fault(FaultKind.REJECT, status=status))
    error = await refused(client, "hello", reason)
    assert error.facts["status"] == status
    await send(client, "and on")
    assert screen(smsc) == ["and on"]


async def test_a_long_message_goes_on_where_it_stopped(smsc: LabSmsc, client: SmppClient) -> None:
    text, ref = "part " * 100, new_ref()
    taken: tuple[str, ...] = ()
    for already in (0, 1, 1):  # the second attempt gets nowhere
        smsc.fail(Fault(FaultKind.REJECT, status=CommandStatus.RSYSERR, after=1 - min(len(taken), 1)))
        with pytest.raises(SubmitError) as caught:
            await client.submit(ALICE, "Letterlock", OpenBody(text.encode()), message_ref=ref, resume_from=len(taken))
        assert len(taken) == already
        taken += caught.value.accepted
    result = await client.submit(ALICE, "Letterlock", OpenBody(text.encode()), message_ref=ref, resume_from=len(taken))
    assert (len(taken), len(result.remote_ids), result.parts) == (1, 3, 4)
    assert screen(smsc) == [text]
    with pytest.raises(SubmitError) as caught:
        await client.submit(ALICE, "Letterlock", OpenBody(text.encode()), message_ref=ref, resume_from=4)
    assert caught.value.reason is SubmitReason.INVALID_PART


async def test_a_stalled_submit_has_an_unknown_outcome(smsc: LabSmsc, notebook: Notebook) -> None:
    timers = Timers(window=1, response_ms=50, enquire_ms=10_000)
    async with client_of(config(smsc.port, timers=timers), notebook) as client:
        assert await client.wait_bound(10)
        smsc.fail(Fault(FaultKind.STALL))
        error = await refused(client, "hello", SubmitReason.TIMEOUT)
        assert error.reason.outcome is Outcome.UNKNOWN
        await send(client, "the window is free again")
        assert client.state is LinkState.BOUND


@pytest.mark.parametrize(("kind", "arrived"), [(FaultKind.DISCONNECT, []), (FaultKind.DISCONNECT_AFTER, ["hello"])])
async def test_a_broken_link_comes_back(
    smsc: LabSmsc, client: SmppClient, notebook: Notebook, kind: FaultKind, arrived: list[str]
) -> None:
    smsc.fail(Fault(kind))
    error = await refused(client, "hello", SubmitReason.LINK_LOST)
    assert error.reason.outcome is Outcome.UNKNOWN
    assert screen(smsc) == arrived
    await refused(client, "while it is down", SubmitReason.LINK_DOWN)
    assert await client.wait_bound(10)
    await send(client, "and on")
    assert screen(smsc) == [*arrived, "and on"]
    await until(lambda: len(notebook.receipts) == len(arrived) + 1)


async def test_the_centre_goes_away_and_comes_back(smsc: LabSmsc, client: SmppClient) -> None:
    await send(client, "before")
    await smsc.go_away()
    await until(lambda: client.state is not LinkState.BOUND)
    error = await refused(client, "during", SubmitReason.LINK_DOWN)
    assert error.reason.outcome is Outcome.NOT_SENT
    await until(lambda: client.fault is LinkFault.UNREACHABLE)
    await smsc.come_back()
    assert await client.wait_bound(10)
    await send(client, "after")
    assert screen(smsc) == ["before", "after"]


async def test_the_second_address_is_used(smsc: LabSmsc, notebook: Notebook) -> None:
    async with LabSmsc(ACCOUNTS) as other:
        port = other.port
    async with client_of(config(port, smsc.port), notebook) as client:
        assert await client.wait_bound(10)
        await send(client, "hello")
    assert screen(smsc) == ["hello"]


async def test_a_silent_centre_is_noticed(smsc: LabSmsc, notebook: Notebook) -> None:
    timers = Timers(response_ms=60, enquire_ms=60, bind_ms=60)
    async with client_of(config(smsc.port, timers=timers), notebook) as client:
        assert await client.wait_bound(10)
        smsc.behaviour.silent = True
        await until(lambda: client.fault is LinkFault.PEER_SILENT)
        await until(lambda: client.fault is LinkFault.BIND_TIMEOUT)
        smsc.behaviour.silent = False
        assert await client.wait_bound(10)


async def test_a_quiet_link_is_kept(smsc: LabSmsc, notebook: Notebook) -> None:
    timers = Timers(response_ms=500, enquire_ms=30)
    states: list[LinkState] = []
    client = SmppClient(
        config(smsc.port, timers=timers),
        notebook.on_receipt,
        notebook.on_inbound,
        smsc.clock,
        on_link=lambda state, _: states.append(state),
    )
    async with client:
        assert await client.wait_bound(10)
        await asyncio.sleep(0.3)
        assert states == [LinkState.CONNECTING, LinkState.BOUND]
    assert states[-1] is LinkState.CLOSED


@pytest.mark.parametrize(("name", "password"), [("letter", "wrong"), ("nobody", "s3cret")])
async def test_bad_credentials_are_refused(smsc: LabSmsc, notebook: Notebook, name: str, password: str) -> None:
    async with client_of(config(smsc.port, system_id=name, password=password), notebook) as client:
        assert not await client.wait_bound(0.3)
        assert client.fault is LinkFault.BIND_REFUSED
        await refused(client, "hello", SubmitReason.LINK_DOWN)
    assert smsc.submits == 0


async def test_close_is_final_and_orderly(smsc: LabSmsc, client: SmppClient) -> None:
    await send(client, "hello")
    await client.close()
    await client.close()
    assert client.state is LinkState.CLOSED
    await until(lambda: smsc.links == 0)
    await refused(client, "late", SubmitReason.CLOSED)
    client.start()
    assert client.state is LinkState.CLOSED


async def test_the_window_is_kept_and_waiting_is_bounded(smsc: LabSmsc, notebook: Notebook) -> None:
    timers = Timers(window=3, response_ms=5_000)
    smsc.behaviour.response_delay_ms = 20
    async with client_of(config(smsc.port, timers=timers, max_waiting=5), notebook) as client:
        assert await client.wait_bound(10)
        results = await asyncio.gather(*(send(client, f"{n}") for n in range(20)), return_exceptions=True)
        failed = [result for result in results if isinstance(result, SubmitError)]
        assert {error.reason for error in failed} == {SubmitReason.OVERLOADED}
        assert len(results) - len(failed) == len(screen(smsc)) == smsc.submits == 8


async def test_a_client_over_the_centres_window_is_throttled(notebook: Notebook) -> None:
    async with LabSmsc(ACCOUNTS, timers=Timers(peer_window=2)) as smsc:
        smsc.behaviour.response_delay_ms = 10
        async with client_of(config(smsc.port), notebook) as client:
            assert await client.wait_bound(10)
            await asyncio.gather(*(send(client, f"{n}") for n in range(10)))
            assert len(screen(smsc)) == 10


async def test_a_cancelled_submit_frees_its_place(smsc: LabSmsc, notebook: Notebook) -> None:
    smsc.behaviour.response_delay_ms = 50
    async with client_of(config(smsc.port, timers=Timers(window=1)), notebook) as client:
        assert await client.wait_bound(10)
        tasks = [asyncio.create_task(send(client, f"{n}")) for n in range(4)]
        await until(lambda: smsc.submits == 1)
        tasks[0].cancel()
        tasks[2].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, asyncio.CancelledError) for result in results] == [True, False, True, False]
        assert screen(smsc) == ["0", "1", "3"]


def test_plain_text_beyond_loopback_is_refused() -> None:
    far = (Endpoint("smsc.example", 2775),)
    with pytest.raises(ValueError, match="needs tls"):
        SmppConfig(endpoints=far, system_id="a", password="b")
    assert SmppConfig(endpoints=far, system_id="a", password="b", plain_text=PlainText.ANYWHERE).endpoints == far


@pytest.mark.parametrize(
    "change", [{"endpoints": ()}, {"max_parts": 0}, {"max_parts": 256}, {"reconnect_min_ms": 0}, {"max_waiting": 0}]
)
def test_contradictory_settings_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        config(2775, **change)


def test_it_runs_on_the_servers_event_loop() -> None:
    async def run() -> list[str]:
        async with LabSmsc(ACCOUNTS) as smsc, client_of(config(smsc.port), Notebook()) as client:
            assert await client.wait_bound(10)
            await send(client, "on uvloop")
            return screen(smsc)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run()) == ["on uvloop"]


def test_two_spellings_are_one_phone() -> None:
    smsc = LabSmsc(ACCOUNTS)
    assert smsc.phone(PhoneNumber.parse("0049 170 1234567")) is smsc.phone(ALICE)
    assert QUICK.window == 10
