"""The tenant's client: what goes out, what comes back, what is refused."""

import json

import httpx
import pytest

from letterlock.client import api
from letterlock.client.errors import RelayError, RelayReason

CANARY = "CANARY-api-22b1"


def answering(status: int, body: bytes, seen: list[httpx.Request]) -> httpx.MockTransport:
    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, content=body)

    return httpx.MockTransport(handle)


def run(call: api.Call[api.Message], status: int, body: bytes) -> tuple[api.Message, httpx.Request]:
    seen: list[httpx.Request] = []
    with httpx.Client(transport=answering(status, body, seen), base_url="http://gateway.test") as http:
        return api.TenantApi(http, "secret-key")(call), seen[0]


def test_send_puts_key_and_body_where_they_belong() -> None:
    call = api.send(api.MessageRequest("+4915100000000", CANARY), "once-1")
    answer = b'{"id":"msg_1","status":"queued","security":{"protection":"CLEAR","grade":"ASSERTED"},"novelty":1}'
    message, request = run(call, 202, answer)
    assert (message.id, message.security.protection, message.security.grade) == ("msg_1", "CLEAR", "ASSERTED")
    assert (request.method, request.url.path) == ("POST", "/v1/messages")
    assert request.headers["authorization"] == "Bearer secret-key"
    assert request.headers["idempotency-key"] == "once-1"
    assert json.loads(request.content) == {"to": "+4915100000000", "text": CANARY}
    assert CANARY not in repr(call) + repr(call.body)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (409, b'{"code":"consent_required","challenge":"chl_1"}', RelayReason.CONSENT_REQUIRED),
        (409, b'{"code":"idempotency_conflict"}', RelayReason.CONFLICT),
        (401, b"", RelayReason.UNAUTHENTICATED),
        (403, b"{}", RelayReason.FORBIDDEN),
        (404, b"{}", RelayReason.NOT_FOUND),
        (422, b"{}", RelayReason.REFUSED),
        (429, b"not json", RelayReason.TOO_MANY_REQUESTS),
        (503, b"{}", RelayReason.OVERLOADED),
        (500, b"{}", RelayReason.SERVER),
        (200, b"[]", RelayReason.BAD_ANSWER),
        (200, b'{"id": 5}', RelayReason.BAD_ANSWER),
        (200, b"\xff", RelayReason.BAD_ANSWER),
    ],
)
def test_refusals_are_typed_and_hold_no_text(status: int, body: bytes, reason: RelayReason) -> None:
    with pytest.raises(RelayError) as caught:
        run(api.fetch("msg_1"), status, body)
    assert caught.value.reason is reason
    assert "chl_1" not in str(caught.value)


async def test_the_same_calls_for_asyncio() -> None:
    seen: list[httpx.Request] = []
    body = b'{"messages":[{"id":"msg_1"},{"id":"msg_2"}],"next":"n"}'
    async with httpx.AsyncClient(transport=answering(200, body, seen), base_url="http://gateway.test") as http:
        page = await api.AsyncTenantApi(http, "k")(api.listing("a/b?c", 10))
    assert [message.id for message in page.messages] == ["msg_1", "msg_2"]
    assert seen[0].url.params == httpx.QueryParams({"limit": "10", "after": "a/b?c"})

    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no")

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail), base_url="http://gateway.test") as http:
        with pytest.raises(RelayError) as caught:
            await api.AsyncTenantApi(http, "k")(api.proof("msg_1"))
    assert caught.value.reason is RelayReason.UNREACHABLE


def test_ids_cannot_leave_their_place_in_the_path() -> None:
    assert api.fetch("../accounts?x").path == "/v1/messages/..%2Faccounts%3Fx"
    assert api.answer("a/b", "once", "k").path == "/v1/challenges/a%2Fb/answer"
    assert api.challenge("a#b").path == "/v1/challenges/a%23b"
