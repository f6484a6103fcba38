"""A device's events as what is shown."""

from typing import Final, final

from letterlock.client import events, payload
from letterlock.client.chat import screen as s
from letterlock.client.chat.conversations import Conversations
from letterlock.client.chat.wording import finding
from letterlock.client.device import Device
from letterlock.client.errors import DeviceError
from letterlock.model.ids import AccountId, DeviceId, GroupRef, MessageId
from letterlock.model.protection import EvidenceGrade, Protection, Verifier
from letterlock.wire.imdn.receipts import ClientFailure

VERIFIED: Final = s.Mark.on_this_device(Protection.E2EE, EvidenceGrade.ATTESTED, Verifier.DEVICE)
"""Of what this device opened and whose signature it checked: the only thing that reaches the screen as a message."""


@final
class Showing:
    """Turns events into what is shown, and remembers who has proven something in this run."""

    def __init__(self, device: Device, people: Conversations) -> None:
        self._device: Final = device
        self._people: Final = people
        self.attested: Final[set[DeviceId]] = set()
        """Devices of which this run checked a signature about a message."""

    def of(self, event: events.DeviceEvent, *, again: bool) -> s.Shown:
        """One event; ``again``: see :class:`letterlock.client.chat.screen.Line`."""
        match event:
            case events.Received():
                return self._line(event, "text", event.content.decode("utf-8", "replace"), again=again)
            case events.PayloadReceived():
                return self._line(event, *_said(event.payload), again=again)
            case events.ReceiptSeen():
                return self._receipt(event)
            case events.DeliveryFailed():
                reason = ClientFailure(event.failure).name.lower()
                return s.Failed(*_names(event), reason, event.remedy)
            case events.GroupChanged():
                ref = GroupRef(event.group)
                accounts = [str(account) for account in (self._device.account, *self._people.others(ref))]
                return s.Changed(str(ref), event.epoch, event.active, accounts if event.active else [])
            case events.GroupJoined():
                ref = GroupRef(event.group)
                return s.Conversation(str(ref), "added", self._people.peers(ref), current=False)
            case events.Finding():
                text = finding(event.operation, event.reason, stopped=event.stopped)
                group = str(GroupRef(event.group)) if event.group else ""
                return s.Found(group, event.operation, event.reason, text, event.stopped)

    def _line(self, event: events.Received | events.PayloadReceived, kind: str, text: str, *, again: bool) -> s.Line:
        self.attested.add(DeviceId(event.device))
        message, group, account, device = _names(event)
        return s.Line(message, group, account, device, event.accepted_ms, kind, text, VERIFIED, again)

    def _receipt(self, event: events.ReceiptSeen) -> s.Receipt:
        self.attested.add(DeviceId(event.device))
        count = event.attested
        if event.kind == "read":
            try:
                count = len(self._device.receipts(MessageId(event.message)).displayed)
            except DeviceError:  # forgotten since
                count = 1
        return s.Receipt(*_names(event), event.kind, count, event.recipients, VERIFIED)


def _names(
    event: events.Received | events.PayloadReceived | events.ReceiptSeen | events.DeliveryFailed,
) -> tuple[str, str, str, str]:
    return (
        str(MessageId(event.message)),
        str(GroupRef(event.group)),
        str(AccountId(event.account)),
        str(DeviceId(event.device)),
    )


def _said(shown: payload.ReceivedPayload) -> tuple[str, str]:
    match shown:
        case payload.Text(text=text):
            return "text", text
        case payload.Media(name=name, media_type=media_type, size=size):
            return "media", f"(a file that this client cannot fetch: {name}, {media_type}, {size} bytes)"
        case payload.ActionReply(label=label):
            return "action_reply", f"(chose: {label})"
        case payload.Unknown(number=number):
            return "unknown", f"(something that this version does not know: type {number})"
