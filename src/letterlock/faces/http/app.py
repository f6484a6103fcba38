"""The ASGI application: hot routes by one dictionary look-up, everything else through the route table."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog
from starlette.routing import Match, Router
from starlette.routing import Route as StarletteRoute

from letterlock.faces.http.asgi import (
    JSON,
    NO_SNIFF,
    NO_STORE,
    Gone,
    Receive,
    Scope,
    Send,
    header,
    read_body,
    send_problem,
    send_stream,
)
from letterlock.faces.http.asgi import send_answer as answer_with
from letterlock.faces.http.auth import Sessions, authenticate, authorise
from letterlock.faces.http.problems import Code, Problem, field_names, of_validation
from letterlock.faces.http.routes import Answer, Call, Route, Streaming
from letterlock.storage.errors import StorageError, StorageReason

HotHandler = Callable[[Scope, Receive, Send], Awaitable[None]]
Observe = Callable[[str, int], None]
"""Told operation and status of every answer, for metrics."""

_log: Final = structlog.get_logger("letterlock.http")
_encode: Final = msgspec.json.Encoder().encode


class HttpFace:
    """Serves the route table.

    Args:
        routes: all operations.
        sessions: who holds which credential.
        group_messages: the bare handler of the hot route; it is in the table too, and keeps the table's contract.
        websocket: the device stream.
        observe: metrics.
        mounted: APIs of other shapes, by the beginning of their paths.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        sessions: Sessions,
        *,
        group_messages: HotHandler,
        websocket: HotHandler,
        observe: Observe,
        mounted: Mapping[str, HotHandler] | None = None,
    ) -> None:
        self.routes = tuple(routes)
        self._sessions = sessions
        self._group_messages = group_messages
        self._websocket = websocket
        self._observe = observe
        self._mounted = tuple((mounted or {}).items())
        self._router = Router([StarletteRoute(r.path, self._endpoint(r), methods=[r.method]) for r in routes])
        self._decoders = {r.operation: msgspec.json.Decoder(r.request) for r in routes if r.request is not None}
        self._fields = {r.operation: field_names(r.request) for r in routes if r.request is not None}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or connection."""
        kind = scope["type"]
        if kind == "http":
            path = scope["path"]
            if path.endswith("/messages") and path.startswith("/v1/groups/") and scope["method"] == "POST":
                await self._group_messages(scope, receive, send)
            else:
                await self._cold(scope, receive, send)
        elif kind == "websocket":
            await self._websocket(scope, receive, send)

    async def _cold(self, scope: Scope, receive: Receive, send: Send) -> None:
        for beginning, handler in self._mounted:
            if scope["path"].startswith(beginning):
                await handler(scope, receive, send)
                return
        allowed: set[str] = set()
        for route in self._router.routes:
            match, child = route.matches(scope)
            if match is Match.FULL:
                scope.update(child)
                await child["endpoint"](scope, receive, send)
                return
            if match is Match.PARTIAL:
                allowed |= getattr(route, "methods", None) or set()
        detail = "See GET /openapi.json for what there is."
        if not allowed:
            await send_problem(send, Problem(Code.NOT_FOUND, detail=detail))
            return
        fields = ((b"allow", ", ".join(sorted(allowed)).encode()),)
        await send_problem(send, Problem(Code.METHOD_NOT_ALLOWED, detail=detail, headers=fields))

    def _endpoint(self, route: Route) -> Any:
        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            await self._serve(route, scope, receive, send)

        # A class instance, so that Starlette takes it as an ASGI application and leaves it alone.
        return _Endpoint(run)

    async def _serve(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        await guarded(route.operation, self._observe, send, self._answer(route, scope, receive), receive)

    async def _answer(self, route: Route, scope: Scope, receive: Receive) -> Answer | Streaming:
        principal = authenticate(self._sessions, header(scope, b"authorization"))
        authorise(principal, route.access)
        body: Any = None
        if route.request is not None:
            media = (header(scope, b"content-type") or b"").partition(b";")[0].strip().lower()
            if media != JSON:
                raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, detail="Send 'Content-Type: application/json'.")
            raw = await read_body(receive, route.max_body)
            try:
                body = self._decoders[route.operation].decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise of_validation(error, self._fields[route.operation]) from None
        query = _query(scope["query_string"], route)
        return await route.handler(Call(principal, dict(scope["path_params"]), query, body, dict(scope["headers"])))


class _Endpoint:
    def __init__(self, run: HotHandler) -> None:
        self._run = run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._run(scope, receive, send)


def problem_of(error: Exception, operation: str, observe: Observe) -> Problem:
    """The answer for whatever a handler raised; it says nothing of what was sent. Counts and logs it."""
    if isinstance(error, Problem):
        problem = error
    elif isinstance(error, StorageError):
        code = Code.OVERLOADED if error.reason is StorageReason.OVERLOADED else Code.STORE_FAILED
        _log.warning("store_refused", operation=operation, reason=error.reason.value)
        problem = Problem(code, detail="Nothing was accepted. Try again after a moment.")
    else:
        # The last line: the type is logged, the text could hold content.
        _log.error("handler_failed", operation=operation, error_type=type(error).__name__)
        problem = Problem(Code.INTERNAL, detail="This is our fault. It is recorded without content.")
    observe(operation, problem.status)
    return problem


async def guarded(
    operation: str,
    observe: Observe,
    send: Send,
    work: Awaitable[Answer | Streaming],
    receive: Receive | None = None,
) -> None:
    """Runs a handler; whatever it raises becomes an answer. ``receive`` is for those that may stream."""
    try:
        answer = await work
    except Gone:
        return
    except Exception as error:  # noqa: BLE001 - see problem_of
        await send_problem(send, problem_of(error, operation, observe))
        return
    if isinstance(answer, Streaming):
        assert receive is not None, "only routes of the table stream"
        observe(operation, 200)
        kind = (b"content-type", answer.media_type.encode())
        try:
            await send_stream(receive, send, answer.chunks, [NO_STORE, NO_SNIFF, kind])
        except Exception as error:  # noqa: BLE001 - the answer has begun: all that is left is to say so in the log
            _log.error("answer_broken_off", operation=operation, error_type=type(error).__name__)
        return
    observe(operation, answer.status)
    body = b"" if answer.body is None else answer.body if isinstance(answer.body, bytes) else _encode(answer.body)
    fields = [NO_STORE, NO_SNIFF, *answer.headers]
    if body or answer.status == 200:
        fields.append((b"content-type", answer.media_type.encode()))
    await answer_with(send, answer.status, body, fields)


def _query(raw: bytes, route: Route) -> dict[str, str]:
    from urllib.parse import parse_qsl

    known = {parameter.name for parameter in route.query}
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=32, strict_parsing=bool(raw))
    except (ValueError, UnicodeDecodeError):
        raise Problem(Code.BAD_PARAMETER, detail="The query string is not well formed.") from None
    for name, value in pairs:
        if name not in known or name in found:
            raise Problem(Code.BAD_PARAMETER, detail="A query parameter is unknown or repeated.")
        found[name] = value
    for parameter in route.query:
        if parameter.required and parameter.name not in found:
            raise Problem(Code.BAD_PARAMETER, detail="A query parameter is missing.", members={"field": parameter.name})
    return found
