"""``POST /v1/messages/{message_id}/receipts``: devices' signed receipts, for this server to check too."""

from typing import Annotated, Final

import msgspec

from letterlock.faces.http.device_calls import guard, path_id, problems
from letterlock.faces.http.problems import Code, Problem
from letterlock.faces.http.routes import Access, Answer, Call, DevicePrincipal, Route
from letterlock.model.ids import MessageId
from letterlock.relay.receipts import ReceiptDesk
from letterlock.storage.relay_commands import RelayReason

MAX_RECEIPTS: Final = 64
"""Of one request: a round of the worker."""
MAX_RECEIPT: Final = 640
"""Bytes; the longest receipt, with a group id of 255 bytes, has 541."""


class HandedReceipts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Receipts about the message that the path names, as they travel between devices."""

    receipts: Annotated[list[bytes], msgspec.Meta(min_length=1, max_length=MAX_RECEIPTS)]

    def __repr__(self) -> str:
        return f"<HandedReceipts, {len(self.receipts)}>"


class ReceiptsKept(msgspec.Struct, frozen=True):
    """They are kept, and checked beside the messages; the message's security block says what came of them.

    Attributes:
        waiting: how many of them were not waiting before.
    """

    waiting: int


def receipt_routes(desk: ReceiptDesk) -> tuple[Route, ...]:
    """The entry of the route table."""

    async def hand_in(call: Call) -> Answer:
        """POST /v1/messages/{message_id}/receipts."""
        principal, found = call.principal, tuple(call.body.receipts)
        assert principal is not None
        if any(len(one) > MAX_RECEIPT for one in found):
            raise Problem(Code.TOO_LARGE, detail="No receipt is that long.")
        by = principal.mailbox if isinstance(principal, DevicePrincipal) else 0
        message = path_id(MessageId, call.path["message_id"])
        return Answer(202, ReceiptsKept(await desk.hand_in(principal.tenant, by, message.value, found)))

    return (
        Route(
            "POST", "/v1/messages/{message_id}/receipts", "handReceipts",
            "Hand in devices' signed receipts of a message, to be checked by this server too.",
            Access.DEVICE_OR_MESSAGES_KEY, guard(hand_in), HandedReceipts, {202: ReceiptsKept},
            problems(
                RelayReason.NOT_FOUND, RelayReason.SESSION_ENDED, RelayReason.RECEIPTS_NOT_OFFERED,
                RelayReason.RECEIPT_QUEUE_FULL,
            ),
        ),
    )  # fmt: skip
