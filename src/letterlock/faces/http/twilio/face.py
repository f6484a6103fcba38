"""Requests below ``/2010-04-01``: who calls, which operation, and its answer in that API's own shape."""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from letterlock.faces.http.asgi import NO_SNIFF, NO_STORE, Gone, Receive, Scope, Send, header, read_body, send_answer
from letterlock.faces.http.problems import Problem
from letterlock.faces.http.twilio.account import Account, Tenants, Tokens, account_of
from letterlock.faces.http.twilio.errors import ErrorCode, TwilioError
from letterlock.faces.http.twilio.messages import Messages
from letterlock.faces.http.twilio.views import VERSION, AccountResource
from letterlock.storage.errors import StorageError
from letterlock.wire.twilio.form import FormError, parse_form

PREFIX: Final = f"/{VERSION}/"
MAX_FORM: Final = 64 << 10
FORM: Final = b"application/x-www-form-urlencoded"
_ACCOUNT: Final = re.compile(r"/2010-04-01/Accounts/([^/]{1,64})(/.*|\.json)")
_LIST: Final = "/Messages.json"
_ONE: Final = re.compile(r"/Messages/([^/]{1,64})\.json")
_MEDIA: Final = re.compile(r"/Messages/([^/]{1,64})/Media(?:/[^/]{1,64})?\.json")
_encode: Final = msgspec.json.Encoder().encode
_log: Final = structlog.get_logger("letterlock.twilio")


class TwilioFace:
    """Serves that API's Messages.

    Args:
        name_of: the tenant's name, by its number.
        observe: told operation and status of every answer, for metrics.
    """

    def __init__(
        self,
        messages: Messages,
        tokens: Tokens,
        tenants: Tenants,
        name_of: Callable[[int], str],
        observe: Callable[[str, int], None],
    ) -> None:
        self._messages = messages
        self._tokens = tokens
        self._tenants = tenants
        self._name_of = name_of
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        operation = "twilio"
        try:
            operation, status, resource = await self._answer(scope, receive)
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - whatever it was becomes an answer
            refusal = _refusal(error, operation)
            self._observe(operation, refusal.status)
            fields = [NO_STORE, NO_SNIFF, (b"content-type", b"application/json"), *refusal.headers]
            if refusal.status == 503:
                fields.append((b"retry-after", b"1"))
            await send_answer(send, refusal.status, refusal.body(), fields)
            return
        self._observe(operation, status)
        body = b"" if resource is None else _encode(resource)
        fields = [NO_STORE, NO_SNIFF]
        if body:
            fields.append((b"content-type", b"application/json; charset=utf-8"))
        await send_answer(send, status, body, fields)

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[str, int, Any]:
        match = _ACCOUNT.fullmatch(scope["path"])
        if match is None:
            raise _nothing_here()
        account = account_of(header(scope, b"authorization"), match[1], self._tokens, self._tenants)
        method, rest = scope["method"], match[2]
        if rest == ".json":
            _only(method, "GET")
            return "twilioAccount", 200, self._account(account)
        if rest == _LIST:
            _only(method, "GET", "POST")
            if method == "POST":
                token = header(scope, b"i-twilio-idempotency-token")
                form = await _form(scope, receive)
                return "twilioCreate", 201, await self._messages.create(account, form, token)
            return "twilioList", 200, await self._messages.list(account, _query(scope))
        if (one := _ONE.fullmatch(rest)) is not None:
            _only(method, "GET", "POST", "DELETE")
            if method == "DELETE":
                await self._messages.delete(account, one[1])
                return "twilioDelete", 204, None
            if method == "POST":
                form = await _form(scope, receive)
                return "twilioUpdate", 200, await self._messages.update(account, one[1], form)
            return "twilioFetch", 200, await self._messages.fetch(account, one[1])
        if (one := _MEDIA.fullmatch(rest)) is not None:
            _only(method, "GET")
            media = await self._messages.media(account, one[1])
            if not rest.endswith("/Media.json"):
                raise TwilioError(404, ErrorCode.NOT_FOUND, "This message has no such media.")
            return "twilioMedia", 200, media
        raise _nothing_here()

    def _account(self, account: Account) -> AccountResource:
        uri = f"/{VERSION}/Accounts/{account.sid}"
        return AccountResource(
            sid=account.sid,
            friendly_name=self._name_of(account.tenant),
            owner_account_sid=account.sid,
            uri=f"{uri}.json",
            subresource_uris={"messages": f"{uri}/Messages.json"},
        )


def _only(method: str, *allowed: str) -> None:
    if method not in allowed:
        fields = ((b"allow", ", ".join(allowed).encode()),)
        raise TwilioError(405, ErrorCode.METHOD_NOT_ALLOWED, "This resource is not for this method.", headers=fields)


async def _form(scope: Scope, receive: Receive) -> dict[str, list[str]]:
    media = (header(scope, b"content-type") or b"").partition(b";")[0].strip().lower()
    if media != FORM:
        raise TwilioError(415, ErrorCode.BAD_PARAMETER, "Send 'Content-Type: application/x-www-form-urlencoded'.")
    if scope["query_string"]:
        raise TwilioError(400, ErrorCode.BAD_PARAMETER, "This call takes no query parameters.")
    return parse_form(await read_body(receive, MAX_FORM))


def _query(scope: Scope) -> dict[str, list[str]]:
    return parse_form(scope["query_string"])


def _nothing_here() -> TwilioError:
    return TwilioError(404, ErrorCode.NOT_FOUND, "This gateway serves Accounts, Messages and their Media.")


def _refusal(error: Exception, operation: str) -> TwilioError:
    """The answer for whatever was raised; it says nothing of what was sent."""
    if isinstance(error, TwilioError):
        return error
    if isinstance(error, FormError):
        return TwilioError(400, ErrorCode.BAD_PARAMETER, "The form is not well formed.", {"reason": error.reason.value})
    if isinstance(error, Problem):
        # The one that reading a body raises.
        return TwilioError(413, ErrorCode.TOO_LARGE, "The form is larger than this call takes.")
    if isinstance(error, StorageError):
        _log.warning("store_refused", operation=operation, reason=error.reason.value)
        return TwilioError(503, ErrorCode.OVERLOADED, "Nothing was accepted. Try again after a moment.")
    _log.error("handler_failed", operation=operation, error_type=type(error).__name__)
    return TwilioError(500, ErrorCode.INTERNAL, "This is our fault. It is recorded without content.")
