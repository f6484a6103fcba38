"""``POST /v1/groups/{group}/messages``: the same submissions as the stream's, over HTTP.

A bare ASGI handler, and a lane beside it for ordinary requests (:mod:`letterlock.faces.http.fast_lane`). Both check the
same things in the same order, and both end in the same acceptor.
"""

import asyncio
from binascii import Error as Base64Error
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Final

import msgspec

from letterlock.faces.http.app import Observe, guarded, problem_of
from letterlock.faces.http.asgi import JSON, NO_SNIFF, NO_STORE, Receive, Scope, Send, header, read_body
from letterlock.faces.http.auth import Sessions, authenticate, authorise
from letterlock.faces.http.fast_lane import Reply, rendered
from letterlock.faces.http.problems import Code, Problem, field_names, of_validation
from letterlock.faces.http.routes import Access, Answer, Call, DevicePrincipal, Route
from letterlock.gateway.codes import INDICATORS
from letterlock.gateway.outcomes import Outcome
from letterlock.gateway.sealed import Offered, SealedAcceptor, Sender
from letterlock.model.ids import GroupRef
from letterlock.storage.codes import GRADES, PROTECTIONS, VERIFIERS
from letterlock.storage.commands import Shown
from letterlock.storage.errors import StorageError
from letterlock.storage.relay_commands import RelayReason
from letterlock.wire.stream import MAX_BODY, ResultStatus

MAX_BATCH: Final = 256
MAX_REQUEST: Final = 2 << 20
"""Bytes: 20 large or 256 ordinary messages in base64."""
PREFIX: Final = "/v1/groups/"
SUFFIX: Final = "/messages"
ROLLED_BACK: Final = RelayReason.STATE_ROLLED_BACK.value
MAX_PATHS: Final = 100_000
"""Parsed once a group."""


class GroupMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One submission. ``client_message_id`` is the device's own 16 random bytes: the same again is a retry."""

    client_message_id: bytes
    body: bytes


class GroupMessages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A batch; the messages are accepted or refused each by itself, in this order."""

    messages: Annotated[list[GroupMessage], msgspec.Meta(min_length=1, max_length=MAX_BATCH)]
    state_counter: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    """How many durable changes the device's state has seen; lower than what was heard before is refused (A18)."""


class SealedSecurity(msgspec.Struct, frozen=True):
    """Who can read the message, and why that is believed."""

    protection: str
    grade: str
    verifier: str
    indicator: str


class GroupMessageResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one submission."""

    client_message_id: bytes
    status: str
    message_id: str = ""
    record_hash: str = ""
    fanout: int = 0
    security: SealedSecurity | None = None
    code: str = ""
    rcc16: str = ""
    """RCC.16's word for the refusal."""


class GroupMessageResults(msgspec.Struct, frozen=True):
    """The results in the order of the submissions."""

    results: list[GroupMessageResult]


OPERATION: Final = "sendGroupMessages"
_PREFIX: Final = PREFIX.encode()
_SUFFIX: Final = SUFFIX.encode()
_FIELDS: Final = field_names(GroupMessages)
_FIELDS_OF_RESULTS: Final = rendered([NO_STORE, NO_SNIFF, (b"content-type", JSON)])
_encode: Final = msgspec.json.Encoder().encode
_CODES: Final = {
    ResultStatus.NOT_ALLOWED: "not_a_member",
    ResultStatus.EPOCH_TOO_OLD: "epoch_too_old",
    ResultStatus.WRONG_EPOCH: "epoch_ahead",
    ResultStatus.UNKNOWN_TARGET: "not_found",
    ResultStatus.CONFLICT: "client_message_conflict",
    ResultStatus.TOO_LARGE: "too_large",
    ResultStatus.GROUP_QUARANTINED: "group_quarantined",
    ResultStatus.MAILBOX_QUOTA: "mailbox_quota",
    ResultStatus.WRONG_ERA: "wrong_era",
    ResultStatus.MLS_HEADER_MISSING: "mls_header_missing",
    ResultStatus.WRONG_AUTHENTICATOR: "wrong_authenticator",
    ResultStatus.MESSAGE_ID_DIFFERS: "message_id_differs",
    ResultStatus.ERA_UNKNOWN: "era_unknown",
}
_WORDS: Final = {
    ResultStatus.ACCEPTED: "accepted",
    ResultStatus.DUPLICATE: "duplicate",
    ResultStatus.QUARANTINED: "quarantined",
}


def _ended() -> Problem:
    return Problem(Code.UNAUTHENTICATED, detail="This session has expired or was revoked.")


class GroupMessagesHandler:
    """Takes batches of sealed messages over HTTP."""

    def __init__(
        self,
        sessions: Sessions,
        session_version: Callable[[], int],
        acceptor: SealedAcceptor,
        hear: Callable[[int, int], int],
        observe: Observe,
        submitted: Callable[[Sequence[int]], None],
    ) -> None:
        self._sessions = sessions
        self._session_version = session_version
        self._acceptor = acceptor
        self._hear = hear
        self._observe = observe
        self._submitted = submitted
        self._decode = msgspec.json.Decoder(GroupMessages).decode
        self._paths: dict[str, bytes] = {}
        self._urls: dict[bytes, bytes] = {}
        """Groups by the plain spelling of their path, for the fast lane."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._security: dict[tuple[int, int, int, int], SealedSecurity] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        await guarded(OPERATION, self._observe, send, self._answer(scope, receive))

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        principal = self._device(header(scope, b"authorization"))
        if scope["query_string"]:
            raise Problem(Code.BAD_PARAMETER, detail="This call takes no query parameters.")
        self._check_media(header(scope, b"content-type"))
        wanted = self._decoded(await read_body(receive, MAX_REQUEST))
        return await self._take(principal, scope["path"], wanted)

    def wants(self, method: bytes, url: bytes) -> bool:
        """Whether the fast lane may take this; a query or an escape sends it the other way."""
        return method == b"POST" and (
            url in self._urls
            or (
                url.endswith(_SUFFIX)
                and url.startswith(_PREFIX)
                and b"?" not in url
                and b"%" not in url
                and url.isascii()
            )
        )

    def take(self, url: bytes, fields: list[tuple[bytes, bytes]], body: bytes, reply: Reply) -> None:
        """One request of the fast lane."""
        authorization: bytes | None = None
        media: bytes | None = None
        for name, value in fields:
            if name == b"authorization":
                authorization = value if authorization is None else authorization
            elif name == b"content-type":
                media = value if media is None else media
        try:
            device = self._device(authorization)
            self._check_media(media)
            wanted = self._decoded(body)
            group = self._urls.get(url)
            if group is None:
                group = self._group(url.decode("ascii"))
                if len(self._urls) >= MAX_PATHS:
                    self._urls.clear()
                self._urls[url] = group
            offered = self._offered(group, wanted)
            stated = wanted.state_counter
            if self._acceptor.knows(device.tenant, offered[0].group):
                self._offer(device, stated, offered, reply)
            else:
                self._later(self._load_and_offer(device, stated, offered, reply))
        except Exception as error:  # noqa: BLE001 - whatever it was becomes an answer
            self._refuse(error, reply)

    def _offer(self, device: DevicePrincipal, stated: int, offered: list[Offered], reply: Reply) -> None:
        def then(outcomes: list[Outcome] | StorageError) -> None:
            if isinstance(outcomes, StorageError):
                self._count_refused(offered)
                self._refuse(outcomes, reply)
                return
            try:
                body = _encode(self._results(device, offered, outcomes))
            except Problem as problem:
                self._refuse(problem, reply)
                return
            self._observe(OPERATION, 200)
            reply(200, body, _FIELDS_OF_RESULTS)

        def renew() -> Sender | None:
            return self._renewed(device, stated)

        self._listen(device, stated)
        try:
            self._acceptor.offer(self._sender(device, stated), offered, then, renew)
        except StorageError:
            self._count_refused(offered)
            raise

    async def _load_and_offer(self, device: DevicePrincipal, stated: int, offered: list[Offered], reply: Reply) -> None:
        """The first message to a group since the start: it is read once, and offered even if it does not exist."""
        try:
            await self._acceptor.load_group(device.tenant, offered[0].group)
            self._live(device, stated)
            self._offer(device, stated, offered, reply)
        except Exception as error:  # noqa: BLE001 - whatever it was becomes an answer
            self._refuse(error, reply)

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _refuse(self, error: Exception, reply: Reply) -> None:
        problem = problem_of(error, OPERATION, self._observe)
        reply(problem.status, problem.body(), rendered(problem.header_fields()))

    def _device(self, authorization: bytes | None) -> DevicePrincipal:
        principal = authenticate(self._sessions, authorization)
        if type(principal) is not DevicePrincipal:
            authorise(principal, Access.DEVICE)
        assert isinstance(principal, DevicePrincipal)
        return principal

    def _check_media(self, media: bytes | None) -> None:
        if media != JSON and (media or b"").partition(b";")[0].strip().lower() != JSON:
            raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, detail="Send 'Content-Type: application/json'.")

    def _decoded(self, raw: bytes) -> GroupMessages:
        try:
            return self._decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, Base64Error) as error:
            raise of_validation(error, _FIELDS) from None

    async def call(self, call: Call) -> Answer:
        """As the route table calls it."""
        return await self._take(call.device, PREFIX + call.path["group"] + SUFFIX, call.body)

    def _group(self, path: str) -> bytes:
        known = self._paths.get(path)
        if known is None:
            try:
                known = GroupRef.parse(path[len(PREFIX) : -len(SUFFIX)]).value
            except ValueError:
                raise Problem(Code.NOT_FOUND) from None
            if len(self._paths) >= MAX_PATHS:
                self._paths.clear()
            self._paths[path] = known
        return known

    def _offered(self, ref: bytes, wanted: GroupMessages) -> list[Offered]:
        offered = []
        for message in wanted.messages:
            if len(message.client_message_id) != 16:
                raise Problem(Code.WRONG_TYPE, detail="client_message_id is 16 bytes in base64.")
            if len(message.body) > MAX_BODY:
                raise Problem(Code.TOO_LARGE, detail="A message is larger than a mailbox takes.")
            offered.append(Offered(ref, message.client_message_id, message.body))
        return offered

    async def _take(self, device: DevicePrincipal, path: str, wanted: GroupMessages) -> Answer:
        offered = self._offered(self._group(path), wanted)
        stated = wanted.state_counter
        sender = self._live(device, stated)
        self._listen(device, stated)
        try:
            outcomes = await self._acceptor.accept(sender, offered, lambda: self._renewed(device, stated))
        except StorageError:
            self._count_refused(offered)
            raise
        return Answer(200, self._results(device, offered, outcomes))

    def _listen(self, device: DevicePrincipal, stated: int) -> None:
        """Compares the device's state counter with what was heard of it before.

        Raises:
            Problem: before anything is queued, because what an old copy of a device sends could repeat keys of the
                newer one.
        """
        heard = self._hear(device.mailbox, stated)
        if stated < heard:
            raise Problem(ROLLED_BACK, 409, members={"acknowledged_counter": heard})

    def _count_refused(self, offered: list[Offered]) -> None:
        self._submitted([ResultStatus.OVERLOADED] * len(offered))

    def _sender(self, device: DevicePrincipal, stated: int) -> Sender:
        """A session that has just been checked."""
        return Sender(device.tenant, device.tenant_id, device.mailbox, self._session_version(), stated)

    def _renewed(self, device: DevicePrincipal, stated: int) -> Sender | None:
        """The session, checked now: None where it has ended."""
        return None if self._sessions.device(device.token_hash) is None else self._sender(device, stated)

    def _live(self, device: DevicePrincipal, stated: int) -> Sender:
        """The session, checked now: while something was waited for it may have ended.

        Raises:
            Problem: it has ended.
        """
        sender = self._renewed(device, stated)
        if sender is None:
            raise _ended()
        return sender

    def _results(self, device: DevicePrincipal, offered: list[Offered], outcomes: list[Outcome]) -> GroupMessageResults:
        if outcomes[0].status is ResultStatus.NOT_ALLOWED and self._sessions.device(device.token_hash) is None:
            raise _ended()
        self._submitted([one.status for one in outcomes])
        return GroupMessageResults([self._result(o, r) for o, r in zip(offered, outcomes, strict=True)])

    def _result(self, one: Offered, outcome: Outcome) -> GroupMessageResult:
        word = _WORDS.get(outcome.status)
        if word is None or outcome.shown is None:
            rcc16 = "" if outcome.failure is None else outcome.failure.token
            return GroupMessageResult(
                one.message_ref, "refused", code=_CODES.get(outcome.status, "bad_body"), rcc16=rcc16
            )
        return GroupMessageResult(
            one.message_ref,
            word,
            "msg_" + outcome.message_id.hex(),
            outcome.record_hash.hex(),
            outcome.fanout,
            self._shown(outcome.shown),
        )

    def _shown(self, shown: Shown) -> SealedSecurity:
        words = (shown.protection, shown.grade, shown.verifier, shown.indicator)
        found = self._security.get(words)
        if found is None:
            found = self._security[words] = SealedSecurity(
                PROTECTIONS[shown.protection].value,
                GRADES[shown.grade].value,
                VERIFIERS[shown.verifier].value,
                INDICATORS[shown.indicator].value,
            )
        return found

    def route(self) -> Route:
        """The entry of the route table."""
        return Route(
            "POST",
            "/v1/groups/{group}/messages",
            OPERATION,
            "Send end-to-end encrypted messages to a group's other devices.",
            Access.DEVICE,
            self.call,
            GroupMessages,
            {200: GroupMessageResults},
            problems={409: (ROLLED_BACK,)},
            max_body=MAX_REQUEST,
        )
