"""What the SMPP tests share: a client with a notebook, free of the gateway."""

import asyncio
import os
import time
from collections.abc import Callable

from letterlock.lab.smsc import LabSmsc
from letterlock.lab.smsc.clock import SteadyClock
from letterlock.model.bodies import OpenBody, RevealPurpose
from letterlock.model.ids import MessageId
from letterlock.transports.smpp import Endpoint, Inbound, ReceiptNotice, SmppClient, SmppConfig, SubmitResult
from letterlock.wire.sms.address import PhoneNumber
from letterlock.wire.sms.session import Timers

ALICE = PhoneNumber.parse("+491701234567")
PASSWORD = "s3cret"
ACCOUNTS = {"letter": PASSWORD}
QUICK = Timers(window=10, response_ms=2_000, bind_ms=2_000, enquire_ms=2_000)


class Notebook:
    """Writes down what the client hands over."""

    def __init__(self) -> None:
        self.receipts: list[ReceiptNotice] = []
        self.inbound: list[Inbound] = []
        self.fail_receipts = 0
        self.fail_inbound = 0

    async def on_receipt(self, notice: ReceiptNotice) -> None:
        if self.fail_receipts:
            self.fail_receipts -= 1
            raise OSError("disk full")
        self.receipts.append(notice)

    async def on_inbound(self, inbound: Inbound) -> None:
        if self.fail_inbound and inbound.whole is not None:
            self.fail_inbound -= 1
            raise OSError("disk full")
        self.inbound.append(inbound)

    def texts(self) -> list[str]:
        return [show(inbound.whole) for inbound in self.inbound if inbound.whole is not None]


def show(body: OpenBody) -> str:
    with body.reveal(RevealPurpose.COMMIT_DIGEST) as view:
        return str(view, "utf-8")


def config(*ports: int, **changes: object) -> SmppConfig:
    settings: dict[str, object] = {
        "endpoints": tuple(Endpoint("127.0.0.1", port) for port in ports),
        "system_id": "letter",
        "password": PASSWORD,
        "timers": QUICK,
        "reconnect_min_ms": 20,
        "reconnect_max_ms": 200,
        "throttle_min_ms": 10,
        "throttle_max_ms": 50,
        "patience_ms": 2_000,
    }
    return SmppConfig(**(settings | changes))  # type: ignore[arg-type]


def client_of(settings: SmppConfig, notebook: Notebook) -> SmppClient:
    return SmppClient(settings, notebook.on_receipt, notebook.on_inbound, SteadyClock())


def new_ref() -> MessageId:
    return MessageId(os.urandom(16))


async def send(client: SmppClient, text: str, *, to: PhoneNumber = ALICE, sender: str = "Letterlock") -> SubmitResult:
    return await client.submit(to, sender, OpenBody(text.encode()), message_ref=new_ref())


def screen(smsc: LabSmsc, number: PhoneNumber = ALICE) -> list[str]:
    return [message.read() for message in smsc.phone(number).inbox]


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Waits for a condition; the limit only ends a run that hangs."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "the condition never came true"
        await asyncio.sleep(0.005)
