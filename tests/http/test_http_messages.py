"""Sealed messages over HTTP: the same answers as over the stream, and the table's contract on the bare handler."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.gateway_sealed.stage import Stage, staged

from letterlock.faces.http.app import HttpFace
from letterlock.faces.http.group_messages import MAX_BATCH, MAX_REQUEST, GroupMessagesHandler
from letterlock.faces.http.problems import Code
from letterlock.storage.errors import StorageError, StorageReason
from letterlock.wire.stream import MAX_BODY

CANARY = b"LETTERCANARY91c"


async def no_stream(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("no stream here")


class Http:
    """The face over one stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.answers: list[tuple[str, int]] = []
        handler = GroupMessagesHandler(
            stage.credentials,
            lambda: stage.world.directory.version,
            stage.acceptor,
            stage.world.directory.hear,
            self.observe, stage.metrics.submitted,
        )  # fmt: skip
        self.face = HttpFace(
            (handler.route(),), stage.credentials, group_messages=handler, websocket=no_stream, observe=self.observe
        )
        self.path = f"/v1/groups/{stage.group}/messages"

    def observe(self, operation: str, status: int) -> None:
        self.answers.append((operation, status))

    async def post(
        self, body: Any, *, who: int = 0, path: str | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        if isinstance(body, dict):
            body = {"state_counter": self.stage.phones[who].counter} | body
        content = body if isinstance(body, bytes) or hasattr(body, "__aiter__") else json.dumps(body).encode()
        fields = {"authorization": f"Bearer {self.stage.tokens[who]}", "content-type": "application/json"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.face), base_url="http://x.test") as client:
            return await client.post(path or self.path, content=content, headers=fields | (headers or {}))


@pytest.fixture
async def http(tmp_path: Path) -> AsyncGenerator[Http]:
    async with staged(tmp_path) as stage:
        yield Http(stage)


def one(ref: bytes, body: bytes) -> dict[str, str]:
    return {"client_message_id": b64encode(ref.ljust(16)).decode(), "body": b64encode(body).decode()}


async def test_a_batch_is_answered_one_by_one_in_order(http: Http) -> None:
    sealed = http.stage.sealed(b"a")
    messages = [
        one(b"1", sealed), one(b"1", sealed), one(b"1", http.stage.sealed(b"b")), one(b"2", CANARY * 3),
        one(b"3", http.stage.sealed(epoch=9)),
    ]  # fmt: skip
    answer = await http.post({"messages": messages})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["status"] for result in results] == ["accepted", "duplicate", "refused", "quarantined", "refused"]
    assert [result.get("code") for result in results] == [None, None, "client_message_conflict", None, "epoch_ahead"]
    assert [result["client_message_id"] for result in results] == [m["client_message_id"] for m in messages]
    assert results[0]["message_id"] == results[1]["message_id"]
    assert results[0]["fanout"] == 2
    assert results[0]["security"] == {
        "protection": "E2EE", "grade": "FRAMED", "verifier": "gateway", "indicator": "indicator.e2ee_framed",
    }  # fmt: skip
    assert (results[3]["security"]["protection"], results[3]["security"]["grade"]) == ("UNKNOWN", "NONE")
    assert CANARY.decode() not in answer.text
    assert http.answers == [("sendGroupMessages", 200)]


async def test_what_is_sent_over_http_reaches_streams(http: Http) -> None:
    bob = http.stage.connect(1)
    head = (await bob.hello()).head
    await bob.deliveries(head)
    sealed = http.stage.sealed(b"over http")
    await http.post({"messages": [one(b"1", sealed)]})
    ((_, item),) = await bob.deliveries(1)
    assert item.body == sealed
    await bob.hang_up()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, Code.MALFORMED_JSON),
        (CANARY, 400, Code.MALFORMED_JSON),
        (b'{"messages": [{"client_message_id": "AAAA", "body": "!' + CANARY + b'"}]}', 422, Code.WRONG_TYPE),
        ({"messages": []}, 422, Code.WRONG_TYPE),
        ({"messages": [one(b"1", b"")] * (MAX_BATCH + 1)}, 422, Code.WRONG_TYPE),
        ({"messages": [{"client_message_id": "AAAA", "body": "AAAA"}]}, 422, Code.WRONG_TYPE),
        ({"messages": [one(b"1", b"x")], "LETTERCANARY91c": 1}, 422, Code.UNKNOWN_FIELD),
        ({"messages": [one(b"1", b"x")], "x` - at `$.LETTERCANARY91c": 1}, 422, Code.UNKNOWN_FIELD),
        ({"messages": [one(b"1", b"x") | {"LETTERCANARY91c": 1}]}, 422, Code.UNKNOWN_FIELD),
        ({"messages": [{"body": "AAAA"}]}, 422, Code.MISSING_FIELD),
        ({}, 422, Code.MISSING_FIELD),
        ({"messages": [one(b"1", bytes(MAX_BODY + 1))]}, 413, Code.TOO_LARGE),
        ({"messages": [one(b"1", b"x")], "state_counter": -1}, 422, Code.WRONG_TYPE),
        (b" " * (MAX_REQUEST + 1), 413, Code.TOO_LARGE),
    ],
)
async def test_what_is_wrong_is_refused_whole(http: Http, body: Any, status: int, code: str) -> None:
    before = await http.stage.world.count("message")
    answer = await http.post(body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert CANARY.decode() not in answer.text
    assert await http.stage.world.count("message") == before
    assert http.answers == [("sendGroupMessages", status)]


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"path": "/v1/groups/grp_00000000000000000000000000000000/messages"}, 200),
        ({"path": "/v1/groups/LETTERCANARY91c/messages"}, 404),
        ({"path": "/v1/groups/messages"}, 404),
        ({"headers": {"content-type": "text/plain"}}, 415),
        ({"headers": {"authorization": "Bearer LETTERCANARY91c"}}, 401),
    ],
)
async def test_elsewhere_or_otherwise(http: Http, how: dict[str, Any], status: int) -> None:
    answer = await http.post({"messages": [one(b"1", http.stage.sealed())]}, **how)
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["results"][0]["code"] == "not_found"
    assert CANARY.decode() not in answer.text


async def test_the_bare_handler_takes_no_query_either(http: Http) -> None:
    answer = await http.post({"messages": [one(b"1", http.stage.sealed())]}, path=http.path + "?LETTERCANARY91c=1")
    assert (answer.status_code, answer.json()["code"]) == (422, Code.BAD_PARAMETER)


async def test_a_session_that_ends_while_the_body_comes_in_sends_nothing(http: Http) -> None:
    content = json.dumps({"messages": [one(b"1", http.stage.sealed())], "state_counter": 1}).encode()

    async def slowly() -> AsyncGenerator[bytes]:
        yield content[:10]
        http.stage.world.directory.end_device(http.stage.phones[0].mailbox)
        await asyncio.sleep(0)
        yield content[10:]

    before = await http.stage.world.count("message")
    answer = await http.post(slowly())
    assert answer.status_code == 401
    assert await http.stage.world.count("message") == before


async def test_a_full_writer_is_503(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise StorageError(StorageReason.OVERLOADED)

    body = {"messages": [one(b"1", http.stage.sealed())]}
    with monkeypatch.context() as patch:
        patch.setattr(http.stage.world.committer, "submit_then", full)
        answer = await http.post(body)
    assert (answer.status_code, answer.json()["code"]) == (503, Code.OVERLOADED)
    assert answer.headers["retry-after"] == "1"
    again = await http.post(body)
    assert again.json()["results"][0]["status"] == "accepted"


async def test_a_caller_who_hangs_up_gets_nothing_and_breaks_nothing(http: Http) -> None:
    sent: list[Any] = []
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": http.path, "query_string": b"",
        "headers": [
            (b"authorization", f"Bearer {http.stage.tokens[0]}".encode()), (b"content-type", b"application/json"),
        ],
    }  # fmt: skip
    await http.face(scope, receive, send)
    assert sent == []


@pytest.mark.attack("A18")
async def test_a_copy_of_a_device_that_holds_a_live_token_may_not_send(http: Http) -> None:
    fresh = [one(b"1", http.stage.sealed(b"a"))]
    assert (await http.post({"messages": fresh, "state_counter": 12})).json()["results"][0]["status"] == "accepted"
    before = await http.stage.world.count("message")
    for stated in (11, 1, 0):
        body = {"messages": [one(b"2", http.stage.sealed(b"b"))], "state_counter": stated}
        refused = await http.post(body)
        assert (refused.status_code, refused.json()["code"]) == (409, "state_rolled_back")
        assert refused.json()["acknowledged_counter"] == 12
    assert await http.stage.world.count("message") == before
    bare = await http.post(json.dumps({"messages": fresh}).encode())
    assert bare.status_code == 409, "a device that has stated a counter goes on stating it"
    mailbox = http.stage.phones[0].mailbox
    assert await http.stage.world.rows("SELECT state_counter FROM device WHERE mailbox=?", mailbox) == [(12,)]
    assert (await http.post({"messages": fresh, "state_counter": 12})).json()["results"][0]["status"] == "duplicate"
    assert (await http.post({"messages": [one(b"3", http.stage.sealed(b"c"))], "state_counter": 13})).status_code == 200
    other = await http.post({"messages": [one(b"4", http.stage.sealed(b"d"))]}, who=1)
    assert other.status_code == 200, "counters are each device's own"


def counted(http: Http) -> dict[str, float]:
    found = {}
    for metric in http.stage.metrics.registry.collect():
        for sample in metric.samples:
            if sample.name == "letterlock_submissions_total" and sample.value:
                found[sample.labels["outcome"]] = sample.value
    return found


async def test_submissions_are_counted_as_those_of_the_stream_are(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = http.stage.sealed(b"a")
    await http.post({"messages": [one(b"1", sealed), one(b"1", sealed), one(b"2", CANARY)]})
    assert counted(http) == {"accepted": 1, "duplicate": 1, "quarantined": 1}
    await http.post({"messages": [one(b"3", http.stage.sealed(b"b"))], "state_counter": 0})
    assert counted(http) == {"accepted": 1, "duplicate": 1, "quarantined": 1}, "refused before it was a submission"

    async def full(*_: Any) -> Any:
        raise StorageError(StorageReason.OVERLOADED)

    monkeypatch.setattr(http.stage.acceptor, "accept", full)
    assert (await http.post({"messages": [one(b"4", sealed), one(b"5", sealed)]})).status_code == 503
    assert counted(http) == {"accepted": 1, "duplicate": 1, "quarantined": 1, "overloaded": 2}
