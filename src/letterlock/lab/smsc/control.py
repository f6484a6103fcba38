"""The control port: JSON lines on loopback, one answer for each. It shows what phones received: for tests and demos.

Requests: ``{"do": "inbox", "phone": "+49..."}``, ``{"do": "mo", "from": "+49...", "to": "...", "text": "..."}``,
``{"do": "fault", "kind": "throttle", "count": 3}``, ``{"do": "behave", "receipt_delay_ms": 50, ...}``,
``{"do": "drop"}``, ``{"do": "away"}``, ``{"do": "back"}``, ``{"do": "stats"}``.
"""

import asyncio
from typing import Any, Final, Literal

import msgspec

from letterlock.lab.smsc.behaviour import Fault, FaultKind, ReceiptForm, ReceiptOrder
from letterlock.lab.smsc.centre import LabSmsc
from letterlock.model.bodies import OpenBody
from letterlock.model.errors import LetterlockError
from letterlock.wire.sms.address import PhoneNumber
from letterlock.wire.sms.receipts import IdBase, IdForms
from letterlock.wire.sms.terms import CommandStatus, MessageState

MAX_LINE: Final = 65_536


class _Request(msgspec.Struct, forbid_unknown_fields=True, tag_field="do"):
    pass


class Inbox(_Request, tag="inbox"):
    """What a phone received."""

    phone: str


class Mo(_Request, tag="mo", rename={"source": "from"}):
    """A phone writes."""

    source: str
    to: str
    text: str


class SetFault(_Request, tag="fault"):
    """The next submits go wrong."""

    kind: FaultKind
    count: int = 1
    status: int = int(CommandStatus.RSUBMITFAIL)
    after: int = 0


class Behave(_Request, tag="behave"):
    """Changes behaviour; what is not named stays."""

    receipt_form: ReceiptForm | None = None
    receipt_delay_ms: int | None = None
    receipt_order: ReceiptOrder | None = None
    receipt_copies: int | None = None
    receipt_state: Literal[1, 2, 3, 4, 5, 6, 7, 8] | None = None
    receipt_snippet: int | None = None
    response_delay_ms: int | None = None
    retry_ms: int | None = None
    silent: bool | None = None
    response_ids: IdBase | None = None
    receipt_tlv_ids: IdBase | None = None
    receipt_text_ids: IdBase | None = None


class Drop(_Request, tag="drop"):
    """Breaks every connection."""


class Away(_Request, tag="away"):
    """Stops to listen and breaks every connection."""


class Back(_Request, tag="back"):
    """Listens again."""


class Stats(_Request, tag="stats"):
    """Counts."""


_DECODER: Final = msgspec.json.Decoder(Inbox | Mo | SetFault | Behave | Drop | Away | Back | Stats)


class Control:
    """Serves the control port of one centre."""

    def __init__(self, smsc: LabSmsc, port: int = 0) -> None:
        self.port = port
        self._smsc = smsc
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listens on loopback."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=MAX_LINE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stops, and closes what is connected."""
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._writers):
                writer.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                writer.write(msgspec.json.encode(await self._answer(line)) + b"\n")
                await writer.drain()
        except (ValueError, ConnectionError):  # a line over the limit, or the other side is gone
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            return {"ok": True, **await self._do(line)}
        except msgspec.MsgspecError:
            return {"ok": False, "error": "bad_request"}
        except LetterlockError as error:
            return {"ok": False, "error": str(error)}

    async def _do(self, line: bytes) -> dict[str, Any]:
        smsc = self._smsc
        match _DECODER.decode(line):
            case Inbox(phone=phone):
                inbox = smsc.phone(PhoneNumber.parse(phone)).inbox
                return {"messages": [{"sender": m.sender, "text": m.read(), "parts": m.parts} for m in inbox]}
            case Mo(source=source, to=to, text=text):
                return {"parts": smsc.send_from(PhoneNumber.parse(source), to, OpenBody(text.encode()))}
            case SetFault(kind=kind, count=count, status=status, after=after):
                smsc.fail(Fault(kind, count, status, after))
            case Behave() as change:
                _behave(smsc, change)
            case Drop():
                smsc.drop_links()
            case Away():
                await smsc.go_away()
            case Back():
                await smsc.come_back()
            case Stats():
                return {"submits": smsc.submits, "links": smsc.links}
        return {}


def _behave(smsc: LabSmsc, change: Behave) -> None:
    behaviour = smsc.behaviour
    for name in change.__struct_fields__:
        value = getattr(change, name)
        if value is None or name.endswith("_ids"):
            continue
        setattr(behaviour, name, MessageState(value) if name == "receipt_state" else value)
    forms = behaviour.id_forms
    behaviour.id_forms = IdForms(
        change.response_ids or forms.response,
        change.receipt_tlv_ids or forms.receipt_tlv,
        change.receipt_text_ids or forms.receipt_text,
    )
