"""What the SMS channel reports: receipts become events of messages, idempotent and in any order.

Nothing is acknowledged to the message centre before it is durable here. The centre's own ids are kept as keyed tokens.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from letterlock.gateway.writer import Writer
from letterlock.model.capability import Channel
from letterlock.model.clock import Clock
from letterlock.model.message import MessageEvent
from letterlock.storage.codes import CHANNELS
from letterlock.storage.maintenance_commands import RecordEvent
from letterlock.storage.open_commands import ApplyReceipt
from letterlock.transports.smpp import Inbound, ReceiptNotice
from letterlock.wire.sms.terms import MessageState as SmscState
from letterlock.wire.tlog.entries import Finding
from letterlock.wire.tlog.words import FindingCode, Severity

SMS_ROUTE: Final = CHANNELS.index(Channel.SMS)
EARLY_KEPT_MS: Final = 3_600_000
"""How long a receipt waits for the message that it is about: an answer to a submit comes within seconds."""
TOKEN_BYTES: Final = 16

_EVENTS: Final = {
    SmscState.DELIVERED: MessageEvent.DELIVERED,
    SmscState.EXPIRED: MessageEvent.EXPIRED,
    SmscState.DELETED: MessageEvent.FAILED,
    SmscState.UNDELIVERABLE: MessageEvent.FAILED,
    SmscState.REJECTED: MessageEvent.FAILED,
}
"""Others say that it is on its way, or nothing."""


def remote_token(key: bytes, route: int, remote_id: str) -> bytes:
    """What stands for a channel's own id in our rows."""
    return blake2b(
        route.to_bytes(2) + remote_id.encode(), key=key, digest_size=TOKEN_BYTES, person=b"remote-id"
    ).digest()  # fmt: skip


class Receipts:
    """The callbacks of the SMPP client."""

    def __init__(self, writer: Writer, clock: Clock, key: bytes, observe: Callable[[str], None]) -> None:
        self._writer = writer
        self._clock = clock
        self._key = key
        self._observe = observe

    async def on_receipt(self, notice: ReceiptNotice) -> None:
        """Applies a receipt; durable when it returns.

        Raises:
            StorageError: it is not; the centre is to send it again.
        """
        event = _EVENTS.get(notice.receipt.state)
        if event is None:
            return
        token = remote_token(self._key, SMS_ROUTE, notice.remote_id)
        await self._writer.run(ApplyReceipt(SMS_ROUTE, token, event, self._clock.now_ms(), EARLY_KEPT_MS))
        self._observe(event.name.lower())

    async def on_inbound(self, inbound: Inbound) -> None:
        """Records that a message came, and drops its content: there is no inbox for readable messages yet.

        Raises:
            StorageError: not recorded; the centre is to send it again.
        """
        if inbound.whole is None:
            return
        inbound.whole.destroy()
        finding = Finding(ts=self._clock.now_ms(), code=FindingCode.INBOUND_DROPPED, severity=Severity.NOTICE, count=1)
        await self._writer.run(RecordEvent(finding))
        self._observe("inbound_dropped")
