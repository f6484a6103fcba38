"""Operations about readable messages of tenants, and what is known of any message."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from letterlock.custody.vault import VaultError
from letterlock.faces.http.problems import Code, Problem, facts_as_members
from letterlock.faces.http.routes import Access, Answer, Call, Parameter, Route, TenantPrincipal
from letterlock.gateway.offers import Offer, Questioned, SaidClaim, SendError, SendReason, Taken
from letterlock.gateway.open_messages import OpenMessages
from letterlock.gateway.paths import Logged, Paths
from letterlock.gateway.questions import QuestionView
from letterlock.gateway.security import Assessments, SecurityBlock
from letterlock.ledger.errors import LedgerError
from letterlock.ledger.heads import HeadSigner
from letterlock.ledger.ports import LedgerReads
from letterlock.ledger.serve import Prover
from letterlock.model.bodies import OpenBody
from letterlock.model.clock import Clock
from letterlock.model.ids import AccountId, ConsentId, MessageId
from letterlock.model.message import MessageState
from letterlock.policy.facts import OnDowngrade, Traffic
from letterlock.storage.codes import CHANNELS
from letterlock.storage.errors import StorageError
from letterlock.storage.open_commands import MessageRow
from letterlock.storage.sqlite.open_reads import OpenReads
from letterlock.wire.path.document import PathDocument
from letterlock.wire.sms.address import PhoneNumber
from letterlock.wire.sms.errors import AddressError

_T = TypeVar("_T")
MAX_BATCH: Final = 100
"""Messages of one request: a request is answered as a whole, in about a second at the most."""
MAX_BATCH_BODY: Final = 1 << 20
MAX_TEXT: Final = 4096
"""Characters; ten SMS parts have fewer, and the exact limit is measured."""
MAX_KEY: Final = 128
MAX_LIFE_S: Final = 7 * 86_400
PAGE: Final = 50
MAX_PAGE: Final = 200
_STATUS: Final = {
    SendReason.ASKED_RECENTLY: 409,
    SendReason.IDEMPOTENCY_CONFLICT: 409,
    SendReason.CONSENT_SPENT: 409,
    SendReason.CONSENT_EXPIRED: 409,
    SendReason.CONSENT_VOID: 409,
}
_DETAIL: Final = {
    SendReason.CLAIM_CONTRADICTS_BODY: "A readable text cannot be end-to-end encrypted. Nothing was kept.",
    SendReason.BELOW_FLOOR: "It could go only less protected than this conversation, and you asked to refuse that.",
    SendReason.NO_ROUTE: "There is no way for it.",
    SendReason.DEVICE_SIGNATURE_REQUIRED: "Policy asks for an answer that the sender's own device signs: name it.",
    SendReason.SENDER_UNKNOWN: "There is no such account here, or it has no device.",
    SendReason.ASKED_RECENTLY: "This was asked a short while ago: answer that question, or wait.",
    SendReason.IDEMPOTENCY_CONFLICT: "This Idempotency-Key was used for another request.",
    SendReason.CONSENT_UNKNOWN: "There is no such consent.",
    SendReason.CONSENT_SPENT: "This consent was used or withdrawn.",
    SendReason.CONSENT_EXPIRED: "This consent is too old.",
    SendReason.CONSENT_VOID: "The consent was given for something else, and is void now. Ask again.",
    SendReason.TEXT_TOO_LONG: "The text needs more parts than a message may have.",
    SendReason.TEXT_UNENCODABLE: "The text has a character that cannot be sent.",
}


class SendMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A readable message.

    Attributes:
        to: an international number, with ``+``.
        text: what it says.
        traffic: a conversation, or a notice.
        claim: must not be set: a readable text is not end-to-end encrypted.
        on_downgrade: what to do where it could go only less protected than the conversation.
        consent: the answer to an earlier question about this very message.
        expires_in_s: give it up if it did not leave within this many seconds.
        sender: the account in whose name it is sent: its devices are asked, where policy takes their answer.
    """

    to: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
    traffic: Literal["conversation", "notification"] = "conversation"
    claim: Literal["E2EE"] | None = None
    on_downgrade: Literal["ask", "hold", "refuse"] = "ask"
    consent: Annotated[str, msgspec.Meta(pattern="^con_[0-9a-f]{32}$")] | None = None
    expires_in_s: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIFE_S)] | None = None
    sender: Annotated[str, msgspec.Meta(pattern="^acc_[0-9a-f]{32}$")] | None = None

    def __repr__(self) -> str:
        return "<SendMessage>"


class SendMessages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Several messages, each taken or refused by itself."""

    messages: Annotated[list[SendMessage], msgspec.Meta(min_length=1, max_length=MAX_BATCH)]

    def __repr__(self) -> str:
        return "<SendMessages>"


class MessageTaken(msgspec.Struct, frozen=True):
    """A message was accepted.

    Attributes:
        id: under this id it is found again.
        state: ``queued``, or ``held``: nothing leaves until somebody agrees.
        record_hash: hash of its record in the ledger, in hex.
        duplicate: it was accepted before; this is the first answer again.
        security: None where it was accepted before and its time here is over.
        challenge: the question that a held message waits for.
    """

    id: str
    state: str
    record_hash: str
    duplicate: bool
    security: SecurityBlock | None
    challenge: QuestionView | None


class BatchResult(msgspec.Struct, frozen=True):
    """What became of one message of a batch: the status and body that it would have had alone."""

    status: int
    message: MessageTaken | None
    problem: dict[str, Any] | None


class BatchAnswer(msgspec.Struct, frozen=True):
    """What became of each, in the order of the request."""

    results: list[BatchResult]


class MessageView(msgspec.Struct, frozen=True):
    """What happened to a message; never what it says, nor whom it went to.

    Attributes:
        reason: a remark: why it failed or was not sent, or that it may arrive twice.
    """

    id: str
    state: str
    channel: str
    reason: str | None
    accepted_ms: int
    updated_ms: int
    expires_ms: int
    record_hash: str
    security: SecurityBlock


class MessagePage(msgspec.Struct, frozen=True):
    """Messages, newest first. ``next`` goes on where this ends, as ``before``."""

    messages: list[MessageView]
    next: str | None


class MessageRoutes:
    """Serves them."""

    def __init__(
        self,
        messages: OpenMessages,
        reads: OpenReads,
        assessments: Assessments,
        heads: HeadSigner,
        ledger: LedgerReads,
        paths: Paths,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._paths = paths
        self._messages = messages
        self._reads = reads
        self._assessments = assessments
        self._heads = heads
        self._ledger = ledger

    def routes(self) -> tuple[Route, ...]:
        """The entries of the route table."""
        refused = tuple(reason.value for reason in SendReason if reason not in _STATUS)
        conflicts = ("consent_required", *(reason.value for reason in _STATUS))
        send = {409: conflicts, 422: (*refused, "bad_number")}
        page = (
            Parameter("before", "Messages older than this one.", {"type": "string"}),
            Parameter("limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}),
        )
        some_key = Access.TENANT_MESSAGES_OR_READ
        return (
            Route("POST", "/v1/messages", "sendMessage", "Send a readable message.", Access.TENANT_MESSAGES,
                  self.send, SendMessage, {202: MessageTaken}, send),
            Route("POST", "/v1/messages/batch", "sendMessages", "Send several readable messages.",
                  Access.TENANT_MESSAGES, self.send_batch, SendMessages, {200: BatchAnswer},
                  max_body=MAX_BATCH_BODY),
            Route("GET", "/v1/messages", "listMessages", "What happened to messages, newest first.", some_key,
                  self.list, None, {200: MessagePage}, query=page),
            Route("GET", "/v1/messages/{message_id}", "getMessage", "What happened to a message.", some_key,
                  self.get, None, {200: MessageView}),
            Route("GET", "/v1/messages/{message_id}/security", "getSecurity", "Who could read a message, and why.",
                  Access.DEVICE_OR_MESSAGES_KEY, self.security, None, {200: SecurityBlock}),
            Route("GET", "/v1/messages/{message_id}/receipt", "getReceipt",
                  "Proof that a message's record is in the ledger (C2SP tlog-proof).", some_key,
                  self.receipt, None, {200: None}, {409: ("entry_not_signed_yet", "interval_open")},
                  media_type="text/plain"),
            Route("GET", "/v1/messages/{message_id}/path", "getPath",
                  "What each hop of this server states, signed, and who reads beyond: `letterlock verify-path`.",
                  Access.DEVICE_OR_MESSAGES_KEY, self.path, None, {200: PathDocument},
                  {409: ("entry_not_signed_yet", "interval_open")}),
        )  # fmt: skip

    async def send(self, call: Call) -> Answer:
        """POST /v1/messages."""
        return Answer(202, await self._send(call.tenant, call.body, _key(call)))

    async def send_batch(self, call: Call) -> Answer:
        """POST /v1/messages/batch."""
        key = _key(call)
        keys = [None if key is None else b"%b/%d" % (key, place) for place in range(len(call.body.messages))]
        each = zip(call.body.messages, keys, strict=True)
        results = await asyncio.gather(*(self._one(call.tenant, body, own) for body, own in each))
        return Answer(200, BatchAnswer(list(results)))

    async def _one(self, tenant: TenantPrincipal, body: SendMessage, key: bytes | None) -> BatchResult:
        try:
            return BatchResult(202, await self._send(tenant, body, key), None)
        except Problem as problem:
            return BatchResult(problem.status, None, msgspec.json.decode(problem.body()))
        except StorageError:
            busy = Problem(Code.OVERLOADED, detail="Not accepted. Try again after a moment.")
            return BatchResult(busy.status, None, msgspec.json.decode(busy.body()))

    async def _send(self, tenant: TenantPrincipal, body: SendMessage, key: bytes | None) -> MessageTaken:
        try:
            outcome = await self._messages.accept(tenant.tenant, tenant.tenant_id, _offer(body, key))
        except SendError as error:
            raise Problem(
                error.reason.value,
                _STATUS.get(error.reason, 422),
                _DETAIL.get(error.reason, ""),
                members=facts_as_members(error.facts),
            ) from None
        except VaultError:
            raise Problem(Code.STORE_FAILED, detail="Nothing was accepted. Try again after a moment.") from None
        if isinstance(outcome, Questioned):
            raise Problem(
                "consent_required",
                409,
                "It can go only less protected than this conversation. Answer the challenge, and send it again.",
                members={"challenge": msgspec.to_builtins(outcome.question)},
            )
        return self._taken(outcome)

    def _taken(self, taken: Taken) -> MessageTaken:
        block = None if taken.row is None else self._assessments.block(taken.row)
        return MessageTaken(
            str(taken.message_id),
            taken.state.name.lower(),
            taken.record_hash.hex(),
            taken.duplicate,
            block,
            taken.question,
        )

    async def _row(self, call: Call) -> MessageRow:
        principal = call.principal
        assert principal is not None
        message_id = _message_id(call.path["message_id"], lambda: Problem(Code.NOT_FOUND))
        row = await self._reads.message(principal.tenant, message_id.value)
        if row is None:
            raise Problem(Code.NOT_FOUND, detail="No such message, or its time here is over.")
        return row

    def _view(self, row: MessageRow) -> MessageView:
        return MessageView(
            id=str(MessageId(row.id)),
            state=MessageState(row.state).name.lower(),
            channel=CHANNELS[row.channel].value,
            reason=row.reason,
            accepted_ms=row.accepted_ms,
            updated_ms=row.updated_ms,
            expires_ms=row.expires_ms,
            record_hash=row.record_hash.hex(),
            security=self._assessments.block(row),
        )

    async def get(self, call: Call) -> Answer:
        """GET /v1/messages/{message_id}."""
        return Answer(200, self._view(await self._row(call)))

    async def list(self, call: Call) -> Answer:
        """GET /v1/messages."""
        limit = call.query.get("limit", str(PAGE))
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:4]) <= MAX_PAGE:
            raise Problem(Code.BAD_PARAMETER, members={"field": "limit"})
        before = call.query.get("before")
        place = None
        if before is not None:
            place = _message_id(before, lambda: Problem(Code.BAD_PARAMETER, members={"field": "before"})).value
        rows = await self._reads.messages(call.tenant.tenant, place, int(limit[:4]))
        more = str(MessageId(rows[-1].id)) if len(rows) == int(limit[:4]) else None
        return Answer(200, MessagePage([self._view(row) for row in rows], more))

    async def security(self, call: Call) -> Answer:
        """GET /v1/messages/{message_id}/security."""
        return Answer(200, self._assessments.block(await self._row(call)))

    async def receipt(self, call: Call) -> Answer:
        """GET /v1/messages/{message_id}/receipt."""
        row = await self._row(call)
        logged, prover = await self._logged(row)
        receipt = await self._proven(prover.receipt, logged.entry, logged.records, row.slot, logged.seed)
        return Answer(200, receipt.encode(), "text/plain; charset=utf-8")

    async def path(self, call: Call) -> Answer:
        """GET /v1/messages/{message_id}/path."""
        row = await self._row(call)
        logged, prover = await self._logged(row)
        principal = call.principal
        assert principal is not None
        return Answer(200, await self._proven(self._paths.document, principal.tenant_id, row, logged, prover))

    async def _logged(self, row: MessageRow) -> tuple[Logged, Prover]:
        """A message's record in the ledger.

        Raises:
            Problem: it is not there yet, or not any more.
        """
        last = self._heads.last
        closes_ms = await self._reads.interval_end(row.entry)
        if closes_ms is not None:
            raise _interval_open(closes_ms, self._clock.now_ms())
        if last is None or row.entry < 0:
            raise _later()
        found = await self._reads.records(row.entry)
        if found is None:
            raise Problem(Code.NOT_FOUND, detail="The records of that commit are past their time.")
        return Logged(row.entry, *found), Prover(self._ledger, last)

    async def _proven(self, prove: Callable[..., _T], *arguments: Any) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(None, prove, *arguments)
        except LedgerError:
            raise _later() from None


def _later() -> Problem:
    return Problem("entry_not_signed_yet", 409, "Try again after the next signed head.")


def _interval_open(closes_ms: int, now_ms: int) -> Problem:
    return Problem(
        "interval_open",
        409,
        "The record waits for the ledger entry of its interval. Try again after closes_ms.",
        members={"closes_ms": closes_ms},
        headers=((b"retry-after", str(max(1, -(-(closes_ms - now_ms) // 1000) + 1)).encode()),),
    )


def _message_id(text: str, wrong: Callable[[], Problem]) -> MessageId:
    try:
        return MessageId.parse(text)
    except ValueError:
        raise wrong() from None


def _key(call: Call) -> bytes | None:
    key = call.headers.get(b"idempotency-key")
    if key is not None and (not 1 <= len(key) <= MAX_KEY or any(not 0x21 <= octet <= 0x7E for octet in key)):
        raise Problem(
            Code.BAD_PARAMETER,
            detail="Idempotency-Key is 1 to 128 printable ASCII characters.",
            members={"field": "Idempotency-Key"},
        )
    return key


def _offer(body: SendMessage, key: bytes | None) -> Offer:
    try:
        number = PhoneNumber.parse(body.to)
    except AddressError as error:
        raise Problem(
            "bad_number",
            422,
            "Give an international number with '+'.",
            members={"field": "to", "reason": error.reason.value},
        ) from None
    try:
        text = body.text.encode()
    except UnicodeEncodeError:
        raise Problem(SendReason.TEXT_UNENCODABLE, 422, _DETAIL[SendReason.TEXT_UNENCODABLE]) from None
    return Offer(
        number=number,
        body=OpenBody(text),
        traffic=Traffic(body.traffic),
        claim=SaidClaim.NONE if body.claim is None else SaidClaim.E2EE,
        on_downgrade=OnDowngrade(body.on_downgrade),
        consent=None if body.consent is None else ConsentId.parse(body.consent),
        expires_in_ms=None if body.expires_in_s is None else body.expires_in_s * 1000,
        key=key,
        sender=None if body.sender is None else AccountId.parse(body.sender),
    )
