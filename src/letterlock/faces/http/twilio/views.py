"""Messages as that API shows them. What is not kept here is shown as what it is: text as empty, numbers masked."""

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from msgspec import Struct, field

from letterlock.model.ids import MessageId
from letterlock.model.message import MessageState
from letterlock.wire.twilio.sids import Kind, sid

VERSION: Final = "2010-04-01"
MASKED: Final = "+XXXXXXXXXXX"
"""A recipient after the request that named it: no number is kept."""
_S: Final = MessageState
_STATUS: Final = {
    _S.ACCEPTED: "accepted",
    _S.HELD: "accepted",
    _S.QUARANTINED: "failed",
    _S.QUEUED: "queued",
    _S.SENT: "sent",
    _S.DELIVERED: "delivered",
    _S.READ: "read",
    _S.FAILED: "undelivered",
    _S.EXPIRED: "failed",
    _S.NOT_SENT: "canceled",
}
_ERROR: Final = {
    _S.FAILED: (30008, "The carrier reported a failure."),
    _S.EXPIRED: (30036, "Its validity period ended before it was delivered."),
}
_LEFT: Final = frozenset({_S.SENT, _S.DELIVERED, _S.READ, _S.FAILED})


class MessageResource(Struct, frozen=True, kw_only=True):
    """A Message. ``subresource_uris`` also leads to the security block and to a question, where there is one."""

    account_sid: str
    api_version: str = VERSION
    body: str
    date_created: str
    date_sent: str | None
    date_updated: str
    direction: str = "outbound-api"
    error_code: int | None
    error_message: str | None
    sender: str | None = field(name="from")
    messaging_service_sid: str | None
    num_media: str = "0"
    num_segments: str
    price: None = None
    price_unit: str = "USD"
    sid: str
    status: str
    subresource_uris: dict[str, str]
    to: str
    uri: str

    def __repr__(self) -> str:
        return f"<MessageResource {self.sid} {self.status}>"


class MessageList(Struct, frozen=True, kw_only=True):
    """A page of Messages."""

    first_page_uri: str
    next_page_uri: str | None
    previous_page_uri: None = None
    page: int
    page_size: int
    start: int
    end: int
    uri: str
    messages: list[MessageResource]


class MediaList(Struct, frozen=True, kw_only=True):
    """The media of a Message: none yet."""

    first_page_uri: str
    next_page_uri: None = None
    previous_page_uri: None = None
    page: int = 0
    page_size: int = 50
    start: int = 0
    end: int = 0
    uri: str
    media_list: list[None] = []


class AccountResource(Struct, frozen=True, kw_only=True):
    """An Account."""

    sid: str
    friendly_name: str
    status: str = "active"
    type: str = "Full"
    owner_account_sid: str
    uri: str
    subresource_uris: dict[str, str]


def message_resource(
    account: str,
    message_id: bytes,
    state: MessageState,
    accepted_ms: int,
    updated_ms: int,
    *,
    sender: str | None,
    service: str | None = None,
    to: str = MASKED,
    text: str = "",
    segments: int = 0,
    challenge: str | None = None,
) -> MessageResource:
    """A message; ``to`` and ``text`` are there only in the answer to the request that brought them."""
    own = sid(Kind.MESSAGE, message_id)
    uri = f"/{VERSION}/Accounts/{account}/Messages/{own}"
    links = {"media": f"{uri}/Media.json", "security": f"/v1/messages/{MessageId(message_id)}/security"}
    if challenge is not None:
        links["challenge"] = f"/v1/challenges/{challenge}"
    code, words = _ERROR.get(state, (None, None))
    return MessageResource(
        account_sid=account,
        body=text,
        date_created=rfc2822(accepted_ms),
        date_sent=rfc2822(updated_ms) if state in _LEFT else None,
        date_updated=rfc2822(updated_ms),
        error_code=code,
        error_message=words,
        sender=sender,
        messaging_service_sid=service,
        num_segments=str(segments),
        sid=own,
        status=_STATUS[state],
        subresource_uris=links,
        to=to,
        uri=f"{uri}.json",
    )


def rfc2822(ms: int) -> str:
    """A time as that API writes it (RFC 2822, section 3.3)."""
    return format_datetime(datetime.fromtimestamp(ms // 1000, UTC))
