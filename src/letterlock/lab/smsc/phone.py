"""A phone behind the centre. It is an endpoint: its owner reads what it received, so content is revealed here."""

from dataclasses import dataclass
from typing import Final

from letterlock.model.bodies import OpenBody, RevealPurpose
from letterlock.wire.sms.address import PhoneNumber
from letterlock.wire.sms.encode import to_text
from letterlock.wire.sms.errors import TextError
from letterlock.wire.sms.reassembly import Part, Reassembler

MAX_INBOX: Final = 100_000
"""A laboratory run sends less; beyond it the oldest go."""


@dataclass(frozen=True, slots=True, eq=False)
class ReceivedSms:
    """A message on the phone: who is shown as its sender, and the text."""

    sender: str
    body: OpenBody
    parts: int

    def read(self) -> str:
        """The text on the screen."""
        with self.body.reveal(RevealPurpose.ENCODE_FOR_TRANSPORT) as view:
            return str(view, "utf-8")

    def __repr__(self) -> str:
        return f"<ReceivedSms, {self.parts} parts>"


class Phone:
    """Puts parts together and keeps an inbox in memory."""

    def __init__(self, number: PhoneNumber) -> None:
        self.number = number
        self.inbox: list[ReceivedSms] = []
        self._parts = Reassembler()

    def take(self, part: Part, now_ms: int) -> None:
        """One part from the air.

        Raises:
            ReassemblyError: a malformed or inconsistent part.
        """
        octets = self._parts.offer(part, now_ms)
        if octets is None:
            return
        self._parts.finish(part)
        try:
            body = to_text(octets, part.data_coding)
        except TextError:
            body = octets
        self.inbox.append(ReceivedSms(part.source.value, body, part.concat.total if part.concat else 1))
        if len(self.inbox) > MAX_INBOX:
            del self.inbox[0]


def snippet(octets: OpenBody, data_coding: int, length: int) -> str:
    """The piece of a message that real centres repeat in receipts: the leak that the gateway has to strip."""
    try:
        text = to_text(octets, data_coding)
    except TextError:
        return ""
    with text.reveal(RevealPurpose.ENCODE_FOR_TRANSPORT) as view:
        return str(view, "utf-8")[:length]
