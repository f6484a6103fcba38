"""The tenant's client by itself: what no honest gateway answers, and the codes (routes: tests/e2e)."""

from typing import cast

import httpx
import msgspec
import pytest

from letterlock.client import api, api_answers
from letterlock.client.api_answers import ApiCode, ApiError, MessageRequest
from letterlock.faces.http import challenges, messages, system, toggles
from letterlock.faces.http.problems import Code
from letterlock.faces.http.routes import Route
from letterlock.gateway.questions import QuestionView
from letterlock.gateway.security import SecurityBlock
from letterlock.gateway.toggles import Toggles

CANARY = "CANARY-api-22b1"


def error(status: int, body: bytes, headers: dict[str, str] | None = None) -> ApiError:
    answer = httpx.MockTransport(lambda request: httpx.Response(status, content=body, headers=headers))
    with httpx.Client(transport=answer, base_url="http://gateway.test") as http, pytest.raises(ApiError) as caught:
        api.TenantApi(http, "k")(api.fetch("msg_1"))
    assert CANARY not in str(caught.value) + repr(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (422, b'{"code":"of_a_later_version"}', ApiCode.OTHER),
        (409, b'{"code":"unreachable"}', ApiCode.OTHER),  # ours, and never the gateway's
        (502, b"<html>" + CANARY.encode(), ApiCode.OTHER),
        (500, b"\xff", ApiCode.OTHER),
        (409, b'{"code":"consent_required","challenge":"' + CANARY.encode() + b'"}', ApiCode.CONSENT_REQUIRED),
        (409, b'{"code":"consent_required","challenge":{"id":"' + CANARY.encode() + b'"}}', ApiCode.OTHER),
        (200, b"[]", ApiCode.NOT_UNDERSTOOD),
        (200, b'{"id": 5}', ApiCode.NOT_UNDERSTOOD),
        (200, b"{}", ApiCode.NOT_UNDERSTOOD),
        (200, b"\xff", ApiCode.NOT_UNDERSTOOD),
        (200, b" " * (api_answers.MAX_ANSWER + 1), ApiCode.NOT_UNDERSTOOD),
    ],
)
def test_what_no_gateway_of_this_version_answers_is_typed_too(status: int, body: bytes, code: ApiCode) -> None:
    found = error(status, body)
    assert (found.code, found.facts["status"]) == (code, status)


def test_an_overload_says_when_to_come_back() -> None:
    assert error(503, b'{"code":"overloaded"}', {"Retry-After": "7"}).retry_after_s == 7
    for wrong in ("soon", "-1", "9" * 9, ""):
        assert error(503, b'{"code":"overloaded"}', {"Retry-After": wrong}).retry_after_s == 0


def routes() -> list[Route]:
    # The tables are made without their use cases: only what they declare is read.
    made = (
        messages.MessageRoutes.__new__(messages.MessageRoutes).routes(),
        challenges.ChallengeRoutes.__new__(challenges.ChallengeRoutes).routes(),
        system.SystemRoutes.__new__(system.SystemRoutes).routes(),
        toggles.toggle_routes(cast("Toggles", None)),
    )
    return [route for routes in made for route in routes]


def test_every_code_of_these_operations_is_known() -> None:
    declared = {str(code) for route in routes() for codes in route.problems.values() for code in codes}
    declared |= {code.value for code in Code}
    ours = {ApiCode.UNREACHABLE, ApiCode.NOT_UNDERSTOOD, ApiCode.OTHER}
    assert {code.value for code in set(ApiCode) - ours} == declared


def test_answers_have_the_gateways_fields() -> None:
    def names(kind: type[msgspec.Struct]) -> set[str]:
        return {field.name for field in msgspec.structs.fields(kind)}

    for mine, theirs in (
        (api_answers.Security, SecurityBlock),
        (api_answers.Challenge, QuestionView),
        (api_answers.MessageTaken, messages.MessageTaken),
        (api_answers.MessageView, messages.MessageView),
        (api_answers.MessagePage, messages.MessagePage),
        (api_answers.BatchResult, messages.BatchResult),
        (api_answers.Transport, system.TransportRow),
        (api_answers.AnswerRequest, challenges.AnswerQuestion),
    ):
        assert names(mine) == names(theirs)
    assert names(MessageRequest) == names(messages.SendMessage) - {"claim"}


def test_ids_cannot_leave_their_place_in_the_path() -> None:
    assert api.fetch("../accounts?x").path == "/v1/messages/..%2Faccounts%3Fx"
    assert api.answer("a/b", api_answers.Answered.AGREED, "p").path == "/v1/challenges/a%2Fb/answer"
    assert api.challenge("a#b").path == "/v1/challenges/a%23b"
    assert CANARY not in repr(api.send(MessageRequest("+4915100000000", CANARY), "k").body)
