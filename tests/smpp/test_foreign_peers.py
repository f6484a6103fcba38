"""Counterparts that were not written here: a centre and a client from smpp34, a client from aiosmpplib."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiosmpplib
import pytest
import smpp34
from aiosmpplib.hook import AbstractHook
from aiosmpplib.state import NPI, TON
from tests.smpp.support import ACCOUNTS, ALICE, PASSWORD, Notebook, client_of, config, screen, send, show, until

from letterlock.lab.smsc import LabSmsc
from letterlock.model.bodies import OpenBody
from letterlock.transports.smpp import LinkState, SubmitError, SubmitReason
from letterlock.wire.sms.encode import join, take_header, to_text
from letterlock.wire.sms.segmentation import LongStyle
from letterlock.wire.sms.terms import CommandStatus

pytestmark = pytest.mark.foreign
PILE = "\U0001f4a9"


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ForeignCentre:
    """smpp34's server: takes what is submitted, and pushes what it is told to."""

    def __init__(self, server: Any, port: int) -> None:
        self.port = port
        self.server = server
        self.taken: list[Any] = []
        self.esme: Any = None
        self.reject_with: list[int] = []

    async def serve(self) -> None:
        while True:
            event = await self.server.next()
            if isinstance(event, smpp34.Esme):
                self.esme = event
            elif isinstance(event, smpp34.SubmitSmEvent):
                if self.reject_with:
                    event.reject(self.reject_with.pop())
                else:
                    self.taken.append(event)
                    event.accept(f"{len(self.taken):X}")


@asynccontextmanager
async def foreign_centre() -> AsyncIterator[ForeignCentre]:
    port = free_port()
    server = smpp34.Server("127.0.0.1", port, system_id="foreign")
    await server.start()
    centre = ForeignCentre(server, port)
    task = asyncio.create_task(centre.serve())
    try:
        yield centre
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.stop()


@pytest.mark.parametrize("style", [LongStyle.UDH_8BIT, LongStyle.SAR])
@pytest.mark.parametrize("text", ["hello {€}", "long " * 60, "я" * 66 + PILE + "я" * 10])
async def test_our_client_and_a_foreign_centre(style: LongStyle, text: str) -> None:
    notebook = Notebook()
    async with foreign_centre() as centre, client_of(config(centre.port, long_style=style), notebook) as client:
        assert await client.wait_bound(10)
        result = await send(client, text)
        assert len(result.remote_ids) == len(centre.taken) == result.parts
        bodies = [OpenBody(event.short_message) for event in centre.taken]
        if centre.taken[0].esm_class & 0x40:
            bodies = [take_header(body)[1] for body in bodies]
        assert show(to_text(join(bodies), centre.taken[0].data_coding)) == text
        event = centre.taken[0]
        assert (event.source_addr, event.source_addr_ton) == ("Letterlock", 5)
        assert (event.destination_addr, event.dest_addr_ton, event.dest_addr_npi) == (ALICE.digits(), 1, 1)


async def test_receipts_and_messages_from_a_foreign_centre() -> None:
    notebook = Notebook()
    async with foreign_centre() as centre, client_of(config(centre.port), notebook) as client:
        assert await client.wait_bound(10)
        result = await send(client, "hello")
        await until(lambda: centre.esme is not None)
        notebook.fail_receipts = 1
        receipt = {
            "source_addr": ALICE.digits(),
            "esm_class": 4,
            "tlvs": [
                smpp34.Tlv(0x001E, result.remote_ids[0].encode() + b"\0"),
                smpp34.Tlv(0x0427, b"\2"),
            ],
        }
        text = b"id:9 sub:001 dlvrd:001 stat:DELIVRD err:000 text:hello"
        first = await centre.esme.deliver_sm("22122", text, **receipt)
        second = await centre.esme.deliver_sm("22122", text, **receipt)
        assert (first.command_status, second.command_status) == (0x64, 0)
        assert [notice.remote_id for notice in notebook.receipts] == list(result.remote_ids)
        answer = await centre.esme.deliver_sm("22122", b"hi there", source_addr=ALICE.digits(), source_addr_ton=1)
        assert answer.is_success
        assert notebook.texts() == ["hi there"]


async def test_a_foreign_centre_that_throttles_and_refuses() -> None:
    notebook = Notebook()
    async with foreign_centre() as centre, client_of(config(centre.port), notebook) as client:
        assert await client.wait_bound(10)
        centre.reject_with = [CommandStatus.RTHROTTLED, CommandStatus.RMSGQFUL]
        await send(client, "in the end")
        assert len(centre.taken) == 1
        centre.reject_with = [CommandStatus.RINVDSTADR]
        with pytest.raises(SubmitError) as caught:
            await send(client, "never")
        assert caught.value.reason is SubmitReason.REJECTED_PERMANENT
        assert client.state is LinkState.BOUND


async def test_a_foreign_client_and_our_centre() -> None:
    async with LabSmsc(ACCOUNTS) as smsc:
        client = smpp34.Client("127.0.0.1", smsc.port, "letter", PASSWORD)
        session = await client.connect()
        done = await session.submit_sm(
            ALICE.digits(), b"hello", source_addr="My Bank", source_addr_ton=5, dest_addr_ton=1, registered_delivery=1
        )
        assert done.is_success
        assert screen(smsc) == ["hello"]
        receipt = await asyncio.wait_for(session.next(), 10)
        assert isinstance(receipt, smpp34.DeliverSmEvent)
        assert receipt.esm_class == 4
        assert f"id:{done.message_id} ".encode() in receipt.short_message
        smsc.send_from(ALICE, "22122", OpenBody(b"and back"))
        message = await asyncio.wait_for(session.next(), 10)
        assert isinstance(message, smpp34.DeliverSmEvent)
        assert (message.short_message, message.source_addr) == (b"and back", ALICE.digits())
        nowhere = await session.submit_sm("12", b"hello", dest_addr_ton=1)
        assert nowhere.command_status == CommandStatus.RINVDSTADR
        await session.unbind()
        await client.stop()
        await until(lambda: smsc.links == 0)


async def test_a_foreign_client_with_a_wrong_password() -> None:
    async with LabSmsc(ACCOUNTS) as smsc:
        client = smpp34.Client("127.0.0.1", smsc.port, "letter", "wrong", connect_timeout_ms=500)
        with pytest.raises(smpp34.SmppError):
            await client.connect()
        await client.stop()
        await until(lambda: smsc.links == 0)


class Hook(AbstractHook):  # type: ignore[misc]
    """Writes down what the foreign client receives."""

    def __init__(self) -> None:
        self.received_messages: list[Any] = []

    async def sending(self, smpp_message: Any, pdu: bytes, client_id: str) -> None:
        """Not of interest."""

    async def received(self, smpp_message: Any, pdu: bytes, client_id: str) -> None:
        self.received_messages.append(smpp_message)

    async def send_error(self, smpp_message: Any, error: Exception, client_id: str) -> None:
        self.received_messages.append(error)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves its socket to the collector
async def test_another_foreign_client_and_our_centre() -> None:
    text, reply = "long {€} " * 40, "я" * 66 + PILE + "я" * 66
    async with LabSmsc(ACCOUNTS) as smsc:
        hook = Hook()
        esme = aiosmpplib.ESME(
            "127.0.0.1",
            smsc.port,
            "letter",
            PASSWORD,
            hook=hook,
            log_level=logging.CRITICAL,
            log_handler=logging.NullHandler(),
        )
        task = asyncio.create_task(esme.start())
        await esme.broker.enqueue(
            aiosmpplib.SubmitSm(
                short_message=text,
                source=aiosmpplib.PhoneNumber("22122", TON.NETWORK_SPECIFIC, NPI.UNKNOWN),
                destination=aiosmpplib.PhoneNumber(ALICE.digits(), TON.INTERNATIONAL, NPI.ISDN),
                log_id="1",
                esm_class=0x40,  # cut with a user data header
                auto_message_payload=False,
            )
        )
        await until(lambda: bool(screen(smsc)))
        assert screen(smsc) == [text]
        smsc.send_from(ALICE, "22122", OpenBody(reply.encode()))

        def delivered(kind: type) -> list[Any]:
            return [message for message in hook.received_messages if isinstance(message, kind)]

        await until(lambda: any(m.short_message == reply for m in delivered(aiosmpplib.DeliverSm)))
        assert any(m.is_receipt() for m in delivered(aiosmpplib.DeliverSm))
        await esme.stop()
        await asyncio.wait_for(task, 15)
        del esme, task
        gc.collect()
