"""The hot route over real connections: the fast lane and the way of all routes answer alike, nothing gets mixed up."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from tests.gateway_sealed.stage import Stage, staged
from tests.http.test_http_messages import CANARY, Http, one

from letterlock.faces.http import fast_lane
from letterlock.faces.http.app import HttpFace
from letterlock.faces.http.fast_lane import MAX_FAST_BODY, Fields, Reply, fast_protocol
from letterlock.faces.http.group_messages import MAX_REQUEST, GroupMessagesHandler
from letterlock.storage.errors import StorageError, StorageReason


class Watched:
    """The lane, and what it was offered."""

    def __init__(self, handler: GroupMessagesHandler) -> None:
        self._handler = handler
        self.taken = 0
        self.open = True

    def wants(self, method: bytes, url: bytes) -> bool:
        return self.open and self._handler.wants(method, url)

    def take(self, url: bytes, fields: Fields, body: bytes, reply: Reply) -> None:
        self.taken += 1
        self._handler.take(url, fields, body, reply)


class Site:
    """A listening server over one stage."""

    def __init__(self, stage: Stage, http: Http, lane: Watched, port: int) -> None:
        self.stage = stage
        self.http = http
        self.lane = lane
        self.port = port

    def request(self, body: bytes, *fields: str, path: str | None = None, who: int | None = 0) -> bytes:
        lines = [f"POST {path or self.http.path} HTTP/1.1", "Host: x", *fields]
        if who is not None:
            lines.append(f"Authorization: Bearer {self.stage.tokens[who]}")
        if not any(field.lower().startswith("content-type") for field in fields):
            lines.append("Content-Type: application/json")
        if not any(field.lower().startswith(("transfer-encoding", "content-length")) for field in fields):
            lines.append(f"Content-Length: {len(body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body

    async def say(self, data: bytes, answers: int = 1) -> list[tuple[int, dict[str, str], bytes]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            return [await answer(reader) for _ in range(answers)]
        finally:
            await gone(writer)


async def gone(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode().split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    return int(head[0].split()[1]), fields, await reader.readexactly(int(fields["content-length"]))


@asynccontextmanager
async def listening(folder: Path) -> AsyncGenerator[Site]:
    async with staged(folder) as stage:
        http = Http(stage)
        handler = GroupMessagesHandler(
            stage.credentials, lambda: stage.world.directory.version, stage.acceptor, stage.world.directory.hear,
            http.observe, stage.metrics.submitted,
        )  # fmt: skip
        lane = Watched(handler)
        face = HttpFace(
            (handler.route(),), stage.credentials, group_messages=handler, websocket=_nothing, observe=http.observe
        )
        config = uvicorn.Config(
            face, port=0, http=fast_protocol(lane), ws="none", lifespan="off", log_config=None, server_header=False,
            date_header=False, proxy_headers=False,
        )  # fmt: skip
        server = uvicorn.Server(config)
        config.load()
        task = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn tells it by a flag
            await asyncio.sleep(0.01)
        try:
            yield Site(stage, http, lane, server.servers[0].sockets[0].getsockname()[1])
        finally:
            server.should_exit = True
            await task


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("no stream here")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncGenerator[Site]:
    async with listening(tmp_path) as found:
        yield found


def batch(*messages: dict[str, str]) -> bytes:
    return json.dumps({"messages": messages, "state_counter": 5}).encode()


async def test_an_ordinary_request_takes_the_lane_and_arrives(site: Site) -> None:
    bob = site.stage.connect(1)
    await bob.deliveries((await bob.hello()).head)
    sealed = site.stage.sealed(b"fast")
    ((status, fields, body),) = await site.say(site.request(batch(one(b"1", sealed))))
    assert (status, site.lane.taken) == (200, 1)
    assert json.loads(body)["results"][0]["status"] == "accepted"
    assert fields["cache-control"] == "no-store"
    ((_, item),) = await bob.deliveries(1)
    assert item.body == sealed
    await bob.hang_up()


def wrongs(site: Site) -> list[bytes]:
    good = one(b"1", site.stage.sealed())
    return [
        site.request(batch(good)),
        site.request(batch(good, one(b"2", CANARY * 3), one(b"3", site.stage.sealed(epoch=9)))),
        site.request(b""),
        site.request(CANARY),
        site.request(b"\xff\xfe"),
        site.request(batch()),
        site.request(batch({"client_message_id": "AAAA", "body": "AAAA"})),
        site.request(batch(good | {"LETTERCANARY91c": "1"})),
        site.request(batch(good), "Content-Type: text/plain"),
        site.request(batch(good), "Content-Type: Application/JSON; charset=utf-8"),
        site.request(batch(good), who=None),
        site.request(batch(good), "Authorization: Bearer LETTERCANARY91c", who=None),
        site.request(batch(good), path="/v1/groups/LETTERCANARY91c/messages"),
        site.request(batch(good), path="/v1/groups/messages"),
        site.request(batch(good), path="/v1/groups/grp_00000000000000000000000000000000/messages"),
    ]


async def test_both_ways_answer_alike(site: Site) -> None:
    site.lane.open = False
    slow = [(await site.say(request))[0] for request in wrongs(site)]
    assert site.lane.taken == 0
    site.lane.open = True
    fast = [(await site.say(request))[0] for request in wrongs(site)]
    assert site.lane.taken == len(fast)
    for (status, fields, body), (fast_status, fast_fields, fast_body) in zip(slow, fast, strict=True):
        told, fast_told = json.loads(body), json.loads(fast_body)
        if status == 200:
            # What was new the first time is a duplicate now; all else is the same.
            for result in told["results"] + fast_told["results"]:
                result["status"] = result["status"].replace("accepted", "duplicate")
                result["status"] = result["status"].replace("quarantined", "duplicate")
                result.pop("fanout", 0)
        assert (status, told) == (fast_status, fast_told)
        assert fields.keys() == fast_fields.keys()
        assert CANARY not in fast_body
    assert {status for status, _, _ in fast} == {200, 400, 401, 404, 415, 422}


@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        (("Transfer-Encoding: chunked",), b"%x\r\n%b\r\n0\r\n\r\n", 200),
        (("Expect: 100-continue",), b"%b", 100),
    ],
    ids=["chunked", "expects"],
)
async def test_what_is_not_ordinary_takes_the_way_of_all_routes(
    site: Site, fields: tuple[str, ...], body: bytes, status: int
) -> None:
    content = batch(one(b"1", site.stage.sealed()))
    filled = body % ((len(content), content) if body.startswith(b"%x") else content)
    request = site.request(filled, *fields)
    if status == 100:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(request)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        found = await answer(reader)
        await gone(writer)
    else:
        (found,) = await site.say(request)
    assert (found[0], site.lane.taken) == (200, 0)
    assert json.loads(found[2])["results"][0]["status"] == "accepted"


async def test_an_upgrade_is_uvicorns_own_business(site: Site) -> None:
    request = site.request(batch(one(b"1", site.stage.sealed())), "Upgrade: h2c", "Connection: upgrade")
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(request)
    assert b"400 Bad Request" in await asyncio.wait_for(reader.readline(), 10)
    assert site.lane.taken == 0
    await gone(writer)


async def test_a_large_body_takes_the_other_way_and_too_large_is_refused(site: Site) -> None:
    large = batch(*(one(b"%d" % n, site.stage.sealed(b"%d" % n, size=4_000)) for n in range(20)))
    assert len(large) > MAX_FAST_BODY
    ((status, _, body),) = await site.say(site.request(large))
    assert (status, site.lane.taken, len(json.loads(body)["results"])) == (200, 0, 20)
    ((status, _, _),) = await site.say(site.request(b" " * (MAX_REQUEST + 1)))
    assert (status, site.lane.taken) == (413, 0)


async def test_queries_and_other_methods_take_the_other_way(site: Site) -> None:
    content = batch(one(b"1", site.stage.sealed()))
    ((status, _, body),) = await site.say(site.request(content, path=site.http.path + "?x=LETTERCANARY91c"))
    assert (status, json.loads(body)["code"], site.lane.taken) == (422, "bad_parameter", 0)
    ((status, _, _),) = await site.say(site.request(content).replace(b"POST", b"PUT", 1))
    assert (status, site.lane.taken) == (405, 0)


async def test_requests_on_one_connection_are_answered_in_their_order(site: Site) -> None:
    """Sent all at once: the first takes the lane, those behind it wait for their turn."""
    requests = [site.request(batch(one(b"%d" % n, site.stage.sealed(b"%d" % n)))) for n in range(8)]
    answers = await site.say(b"".join(requests), len(requests))
    ids = [json.loads(body)["results"][0]["client_message_id"] for _, _, body in answers]
    assert ids == [one(b"%d" % n, b"")["client_message_id"] for n in range(8)]
    assert 1 <= site.lane.taken < 8


async def test_a_connection_is_used_again_and_closed_when_asked(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    for n in range(3):
        writer.write(site.request(batch(one(b"%d" % n, site.stage.sealed(b"%d" % n)))))
        assert (await answer(reader))[0] == 200
    writer.write(site.request(batch(one(b"9", site.stage.sealed(b"9"))), "Connection: close"))
    status, fields, _ = await answer(reader)
    assert (status, fields["connection"], site.lane.taken) == (200, "close", 4)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    await gone(writer)


async def test_a_body_in_pieces_is_put_together(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    request = site.request(batch(one(b"1", site.stage.sealed())))
    for at in range(0, len(request), 50):
        writer.write(request[at : at + 50])
        await asyncio.sleep(0.001)
    status, _, body = await answer(reader)
    assert (status, json.loads(body)["results"][0]["status"], site.lane.taken) == (200, "accepted", 1)
    await gone(writer)


@pytest.mark.attack("A18")
async def test_an_old_copy_of_a_device_is_refused_here_too(site: Site) -> None:
    def stated(counter: int, mark: bytes) -> bytes:
        message = one(mark, site.stage.sealed(mark))
        return site.request(json.dumps({"messages": [message], "state_counter": counter}).encode())

    ((status, _, _),) = await site.say(stated(7, b"1"))
    assert status == 200
    ((status, _, body),) = await site.say(stated(6, b"2"))
    assert (status, json.loads(body)["code"]) == (409, "state_rolled_back")
    assert site.lane.taken == 2


@pytest.mark.parametrize("fast", [True, False])
async def test_a_session_that_ends_while_its_message_waits_sends_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    """The decision has become stale, and made again it finds no session."""
    site.lane.open = fast
    request = site.request(batch(one(b"1", site.stage.sealed())))
    before = await site.stage.world.count("message")
    looked = [site.stage.credentials.device] * (1 if fast else 2)

    def fewer(token_hash: bytes) -> Any:
        return looked.pop()(token_hash) if looked else None

    monkeypatch.setattr(site.stage.policies, "version", 99)
    monkeypatch.setattr(site.stage.credentials, "device", fewer)
    ((status, _, body),) = await site.say(request)
    assert (status, json.loads(body)["code"]) == (401, "unauthenticated")
    assert await site.stage.world.count("message") == before
    assert (site.lane.taken, looked) == (int(fast), [])


async def test_who_hangs_up_before_the_answer_still_sent_the_message(site: Site) -> None:
    request = site.request(batch(one(b"1", site.stage.sealed())))
    _, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(request)
    await writer.drain()
    await gone(writer)
    while not site.http.answers:  # noqa: ASYNC110 - nobody is told by an event
        await asyncio.sleep(0.01)
    ((status, _, body),) = await site.say(request)
    assert (status, json.loads(body)["results"][0]["status"]) == (200, "duplicate")


async def test_bytes_that_are_not_http_end_the_connection(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(site.request(batch(one(b"1", site.stage.sealed()))) + b"LETTERCANARY91c \x00 HTTP/9\r\n\r\n")
    everything = await asyncio.wait_for(reader.read(), 10)
    assert b"400 Bad Request" in everything
    assert CANARY not in everything
    await gone(writer)


async def test_an_overloaded_store_is_503_with_a_time_to_come_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise StorageError(StorageReason.OVERLOADED)

    monkeypatch.setattr(site.stage.world.committer, "submit_then", full)
    ((status, fields, body),) = await site.say(site.request(batch(one(b"1", site.stage.sealed()))))
    assert (status, json.loads(body)["code"], fields["retry-after"]) == (503, "overloaded", "1")
    assert site.http.answers == [("sendGroupMessages", 503)]


async def test_a_fault_of_ours_is_500_without_a_word_of_the_request(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError(CANARY.decode())

    monkeypatch.setattr(site.stage.world.committer, "submit_then", broken)
    ((status, _, body),) = await site.say(site.request(batch(one(b"1", site.stage.sealed()))))
    assert (status, json.loads(body)["code"]) == (500, "internal_error")
    assert CANARY not in body


def test_every_status_has_its_line() -> None:
    assert fast_lane._STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n"
    assert fast_lane._STATUS_LINE[503] == b"HTTP/1.1 503 Service Unavailable\r\n"
