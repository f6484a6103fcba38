"""Making, reading, listing and deleting Messages."""

import re
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from letterlock.custody.vault import VaultError
from letterlock.faces.http.problems import facts_as_members
from letterlock.faces.http.twilio.account import Account
from letterlock.faces.http.twilio.errors import ErrorCode, TwilioError, bad_parameter, of_sending
from letterlock.faces.http.twilio.parameters import MAX_TOKEN, new_message
from letterlock.faces.http.twilio.services import Services
from letterlock.faces.http.twilio.views import VERSION, MediaList, MessageList, MessageResource, message_resource
from letterlock.gateway.message_book import BookError, BookReason, MessageBook
from letterlock.gateway.offers import Offer, Questioned, SaidClaim, SendError
from letterlock.gateway.open_messages import OpenMessages
from letterlock.model.bodies import OpenBody
from letterlock.model.clock import Clock
from letterlock.model.ids import MessageId
from letterlock.model.message import MessageState
from letterlock.storage.open_commands import MessageRow
from letterlock.wire.sms.encode import measure
from letterlock.wire.sms.errors import TextError
from letterlock.wire.twilio.sids import Kind, parse_sid, sid

PAGE: Final = 50
MAX_PAGE: Final = 1000
DAY_MS: Final = 86_400_000
FOREVER_MS: Final = 1 << 53
_DAY: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:T(\d{2}):(\d{2}):(\d{2})(?:\.\d{1,6})?Z)?")
_KNOWN_QUERY: Final = frozenset({"To", "From", "DateSent", "DateSent<", "DateSent>", "PageSize", "Page", "PageToken"})


class Messages:
    """Serves them.

    Args:
        sender: the address that every SMS of this gateway goes out under; empty: the centre's own.
    """

    def __init__(self, sending: OpenMessages, book: MessageBook, services: Services, sender: str, clock: Clock) -> None:
        self._sending = sending
        self._book = book
        self._services = services
        self._sender = sender
        self._clock = clock

    async def create(self, account: Account, form: dict[str, list[str]], token: bytes | None) -> MessageResource:
        """Makes a message. ``token`` is the caller's idempotency token.

        Raises:
            TwilioError: nothing was sent.
            StorageError: the store takes nothing now.
        """
        wanted = new_message(form)
        if token is not None and (not 1 <= len(token) <= MAX_TOKEN or any(not 33 <= octet <= 126 for octet in token)):
            raise bad_parameter("I-Twilio-Idempotency-Token", "A token is 1 to 128 printable ASCII characters.")
        if wanted.sender is not None and wanted.sender != self._sender:
            raise TwilioError(
                400, ErrorCode.FROM_NOT_YOURS, "Messages of this gateway go out under another From. See sms.sender."
            )
        service = self._services.find(account.tenant, account.tenant_id, wanted.service)
        if service is None:
            raise TwilioError(400, ErrorCode.SERVICE_UNKNOWN, "There is no such messaging service of this account.")
        try:
            text = wanted.text.encode()
        except UnicodeEncodeError:
            raise bad_parameter("Body", "The text has a character that cannot be sent.") from None
        body = OpenBody(text)
        segments = _segments(body)
        offer = Offer(
            number=wanted.number,
            body=body,
            traffic=service.traffic,
            claim=SaidClaim.NONE,
            on_downgrade=service.on_downgrade,
            consent=wanted.consent,
            expires_in_ms=wanted.expires_in_ms,
            # Its own space: the native API's keys are another caller's.
            key=None if token is None else b"twilio/" + token,
        )
        try:
            outcome = await self._sending.accept(account.tenant, account.tenant_id, offer)
        except SendError as error:
            raise of_sending(error.reason, facts_as_members(error.facts)) from None
        except VaultError:
            raise TwilioError(503, ErrorCode.OVERLOADED, "Nothing was accepted. Try again after a moment.") from None
        if isinstance(outcome, Questioned):
            raise _question(outcome)
        now = self._clock.now_ms()
        row = outcome.row
        return message_resource(
            account.sid,
            outcome.message_id.value,
            outcome.state if row is None else MessageState(row.state),
            now if row is None else row.accepted_ms,
            now if row is None else row.updated_ms,
            sender=self._sender or None,
            service=wanted.service,
            to=wanted.to,
            text=wanted.text,
            segments=segments,
            challenge=None if outcome.question is None else outcome.question.id,
        )

    async def fetch(self, account: Account, message: str) -> MessageResource:
        """One message.

        Raises:
            TwilioError: there is none, or its time here is over.
        """
        return self._shown(account, await self._row(account, message))

    async def update(self, account: Account, message: str, form: dict[str, list[str]]) -> MessageResource:
        """Redacting is what is the case anyway; what waits for a fixed time could be canceled, and there is none.

        Raises:
            TwilioError: there is no such message, or nothing to change.
        """
        row = await self._row(account, message)
        if form.get("Status") == ["canceled"] and set(form) == {"Status"}:
            raise TwilioError(409, ErrorCode.NOT_CANCELABLE, "Only a scheduled message could be canceled.")
        if form != {"Body": [""]}:
            raise bad_parameter("Body", "A message can only be redacted, with an empty Body.")
        return self._shown(account, row)

    async def delete(self, account: Account, message: str) -> None:
        """Forgets a message that has come to its end.

        Raises:
            TwilioError: there is none, or it is still on its way.
            StorageError: the store takes nothing now.
        """
        row = await self._row(account, message)
        try:
            await self._book.forget(account.tenant, MessageId(row.id))
        except BookError as error:
            if error.reason is BookReason.NOT_FINAL:
                raise TwilioError(
                    409, ErrorCode.NOT_FINAL, "It is still on its way; delete it when it is not."
                ) from None
            raise _not_found() from None

    async def media(self, account: Account, message: str) -> MediaList:
        """The media of a message: none, for none can be sent.

        Raises:
            TwilioError: there is no such message.
        """
        await self._row(account, message)
        uri = f"/{VERSION}/Accounts/{account.sid}/Messages/{message}/Media.json"
        return MediaList(first_page_uri=uri + "?PageSize=50&Page=0", uri=uri)

    async def list(self, account: Account, query: dict[str, list[str]]) -> MessageList:
        """A page of messages, newest first.

        Raises:
            TwilioError: a filter that cannot be answered, because no number is kept.
        """
        for name, values in query.items():
            if name not in _KNOWN_QUERY or len(values) > 1:
                raise TwilioError(400, ErrorCode.BAD_PARAMETER, "A query parameter is unknown or repeated.")
        one = {name: values[0] for name, values in query.items()}
        if "To" in one:
            raise bad_parameter("To", "Numbers are not kept, so messages cannot be listed by them.")
        size = _number(one, "PageSize", PAGE, 1, MAX_PAGE)
        page = _number(one, "Page", 0, 0, 1_000_000)
        token = one.get("PageToken")
        before = None if token is None else parse_sid(Kind.MESSAGE, token.removeprefix("PA"))
        if (token is None) != (page == 0) or (token is not None and before is None):
            raise bad_parameter("PageToken", "Go on with next_page_uri, as it is given.")
        since, until = _span(one)
        if one.get("From", self._sender) != self._sender:
            since = until
        rows, after = await self._book.page(
            account.tenant, None if before is None else MessageId(before), size, since, until
        )
        uri = f"/{VERSION}/Accounts/{account.sid}/Messages.json"
        kept = [(name, one[name]) for name in ("From", "DateSent", "DateSent<", "DateSent>") if name in one]
        following = None
        if after is not None:
            onward = [
                *kept,
                ("PageSize", size),
                ("Page", page + 1),
                ("PageToken", f"PA{sid(Kind.MESSAGE, after.value)}"),
            ]
            following = f"{uri}?{urlencode(onward)}"
        return MessageList(
            first_page_uri=f"{uri}?{urlencode([*kept, ('PageSize', size), ('Page', 0)])}",
            next_page_uri=following,
            page=page,
            page_size=size,
            start=page * size,
            end=page * size + max(len(rows) - 1, 0),
            uri=uri,
            messages=[self._shown(account, row) for row in rows],
        )

    async def _row(self, account: Account, message: str) -> MessageRow:
        value = parse_sid(Kind.MESSAGE, message)
        row = None if value is None else await self._book.find(account.tenant, MessageId(value))
        if row is None:
            raise _not_found()
        return row

    def _shown(self, account: Account, row: MessageRow) -> MessageResource:
        return message_resource(
            account.sid, row.id, MessageState(row.state), row.accepted_ms, row.updated_ms, sender=self._sender or None
        )


def _not_found() -> TwilioError:
    return TwilioError(404, ErrorCode.NOT_FOUND, "No such message, or its time here is over.")


def _question(outcome: Questioned) -> TwilioError:
    view = outcome.question
    told = {
        "id": view.id, "message": view.message_id, "reason": view.reason, "channel": view.channel,
        "before": view.before, "after": view.after, "readers": view.readers, "expires_ms": view.expires_ms,
        "answer_at": f"/v1/challenges/{view.id}/answer",
    }  # fmt: skip
    return TwilioError(
        409,
        ErrorCode.CONSENT_REQUIRED,
        "It can go only less protected than this conversation. Answer the challenge, and send it again.",
        {"challenge": told},
        problem="consent_required",
    )


def _segments(body: OpenBody) -> int:
    try:
        return measure(body).parts
    except TextError:
        # The use case refuses it in a moment, and says why.
        return 0


def _number(one: dict[str, str], name: str, default: int, least: int, most: int) -> int:
    value = one.get(name, str(default))
    if not (value.isascii() and value.isdigit()) or not least <= int(value[:8]) <= most or len(value) > 8:
        raise bad_parameter(name, "This is a whole number, and not so large.")
    return int(value)


def _span(one: dict[str, str]) -> tuple[int, int]:
    """The times that ``DateSent`` and its two inequalities leave, in ms: days, or moments."""
    since, until = 0, FOREVER_MS
    if "DateSent" in one:
        begin, width = _moment(one["DateSent"], "DateSent")
        since, until = begin, begin + width
    if "DateSent>" in one:
        since = max(since, _moment(one["DateSent>"], "DateSent>")[0])
    if "DateSent<" in one:
        begin, width = _moment(one["DateSent<"], "DateSent<")
        until = min(until, begin + width)
    return since, until


def _moment(text: str, name: str) -> tuple[int, int]:
    match = _DAY.fullmatch(text)
    if match is not None:
        numbers = [int(part or 0) for part in match.groups()]
        try:
            begin = int(datetime(*numbers, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type, misc]
        except ValueError:
            pass
        else:
            return begin, DAY_MS if match[4] is None else 1000
    raise bad_parameter(name, "A day or a moment, in UTC: 2026-05-11 or 2026-05-11T08:00:00Z.")
