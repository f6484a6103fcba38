"""Official MLS messages, damaged: over HTTP and on the stream no 500, no echo, and nothing of them in a log."""

import json
import logging
import random
import re
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from tests.gateway_sealed.stage import Stage, staged
from tests.relay.whole_face import whole_face

from letterlock.wire import stream as frames
from letterlock.wire.stream import ResultStatus, Submission, TargetKind

_TOKEN = re.compile(r"[A-Za-z0-9+/=_-]{20,}")
STRIDE = 60
"""Of each list of cases: every so many; the rest has the same shapes."""


def official(vectors: Path) -> Iterator[bytes]:
    """Whole messages, as their makers encoded them."""
    for entry in json.loads((vectors / "mls" / "messages.json").read_text())[::STRIDE]:
        yield from (bytes.fromhex(value) for value in entry.values() if isinstance(value, str) and len(value) > 40)
    for entry in json.loads((vectors / "mls" / "message-protection.json").read_text()):
        yield from (bytes.fromhex(value) for name, value in entry.items() if name.endswith(("_pub", "_priv")))
    for entry in json.loads((vectors / "mls" / "welcome.json").read_text()):
        yield from (bytes.fromhex(entry[name]) for name in ("welcome", "key_package"))


def damaged(message: bytes, draw: random.Random) -> Iterator[bytes]:
    """The message, and what a broken or hostile peer makes of it."""
    yield message
    yield message[: draw.randrange(len(message))]
    yield message + draw.randbytes(1 + draw.randrange(9))
    at = draw.randrange(len(message))
    yield message[:at] + bytes((message[at] ^ 1 << draw.randrange(8),)) + message[at + 1 :]
    # A length that says too much, somewhere in the first fields.
    at = draw.randrange(2, min(40, len(message)))
    yield message[:at] + b"\xbf\xff\xff\xff" + message[at + 4 :]
    yield message[:2] + bytes((0, draw.randrange(8))) + message[4:]
    at = draw.randrange(len(message))
    yield message[:at] + message[at // 2 : at] + message[at:]


def echoed(text: str, sent: bytes) -> list[str]:
    """Pieces of the answer that are pieces of what was sent, in bytes, hex or base64."""
    forms = (b64encode(sent).decode(), sent.hex())
    found = []
    for token in _TOKEN.findall(text):
        inside = any(token.strip("=") in form for form in forms)
        try:
            raw = b64decode(token, validate=True)
        except ValueError:
            raw = b""
        if inside or (len(raw) >= 12 and raw in sent):
            found.append(token)
    return found


def requests(stage: Stage, body: bytes, number: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every place where a device brings MLS bytes."""
    text, group = b64encode(body).decode(), f"/v1/groups/{stage.group}"
    one = {"client_message_id": b64encode(number.to_bytes(16)).decode(), "body": text}
    yield "POST", f"{group}/messages", {"messages": [one], "state_counter": stage.phones[0].counter}
    commit = {
        "group_id": b64encode(b"a group").decode(), "base_epoch": 1, "commit": text, "welcomes": [], "adds": [],
        "removes": [], "idempotency_key": b64encode(number.to_bytes(16)).decode(), "state_counter": 1,
    }  # fmt: skip
    yield "POST", f"{group}/commits", commit
    yield "POST", f"{group}/commits", {**commit, "group_info": text, "welcomes": [{"recipients": [], "welcome": text}]}
    yield "POST", f"{group}/anchor", {"group_info": text}
    packages = [{"key_package": text, "last_resort": False}]
    yield "PUT", f"/v1/devices/{stage.phones[0].id}/key-packages", {"packages": packages}
    yield "POST", f"/v1/accounts/{stage.phones[0].account}/devices", {"device_list": text}
    yield "POST", "/v1/groups", {"group_id": b64encode(body[:255]).decode(), "epoch": 7}


def test_the_check_for_echoes_finds_them() -> None:
    sent = random.Random(1).randbytes(300)
    for form in (b64encode(sent[30:90]).decode(), sent[5:40].hex(), b64encode(sent).decode()[8:60]):
        assert echoed(f'{{"detail":"{form}"}}', sent)
    assert not echoed('{"type":"https://letterlock.example/problems/bad_commit","message_id":"msg_00ff"}', sent)


async def test_damaged_messages_over_http(tmp_path: Path, vectors: Path, caplog: pytest.LogCaptureFixture) -> None:
    draw, statuses, number = random.Random(4), Counter[int](), 0
    caplog.set_level(logging.DEBUG)
    async with staged(tmp_path) as stage:
        transport = httpx.ASGITransport(whole_face(stage.world), raise_app_exceptions=False)
        headers = {"authorization": f"Bearer {stage.tokens[0]}"}
        with structlog.testing.capture_logs() as logged:
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test", headers=headers) as http:
                for message in official(vectors):
                    for body in damaged(message, draw):
                        number += 1
                        for method, path, content in requests(stage, body, number):
                            answer = await http.request(method, path, json=content)
                            statuses[answer.status_code] += 1
                            assert answer.status_code < 500, (path, answer.text)
                            assert not echoed(answer.text + str(answer.headers), body), path
                            if answer.status_code >= 400:
                                assert answer.headers["content-type"] == "application/problem+json"
                        assert not echoed(repr(logged) + caplog.text, body)
                        logged.clear()
                        caplog.clear()
        group = await stage.world.rows("SELECT epoch FROM mls_group WHERE ref=?", stage.group.value)
        assert group == [(1,)], "nothing of it moved the group"
    assert number > 400
    assert set(statuses) >= {200, 422}
    assert sum(statuses.values()) == 7 * number


async def test_damaged_messages_on_the_stream(tmp_path: Path, vectors: Path, caplog: pytest.LogCaptureFixture) -> None:
    draw, answers, closed = random.Random(5), Counter[ResultStatus](), Counter[int | None]()
    caplog.set_level(logging.DEBUG)
    bodies = [body for message in official(vectors) for body in damaged(message, draw)]
    bodies = [body for body in bodies if 0 < len(body) <= 60_000]
    async with staged(tmp_path) as stage:
        with structlog.testing.capture_logs() as logged:
            ann = stage.connect(0)
            await ann.hello()
            for number, body in enumerate(bodies):
                one = Submission(TargetKind.GROUP, stage.group.value, number.to_bytes(16), body)
                ann.say(frames.encode_submit(stage.phones[0].counter, [one]))
                (result,) = await ann.results(1)
                answers[result.status] += 1
            await ann.hang_up()
            # The same bytes as frames, and frames that were damaged themselves.
            for number, body in enumerate(bodies[::9]):
                one = Submission(TargetKind.GROUP, stage.group.value, number.to_bytes(16), body)
                whole = frames.encode_submit(stage.phones[0].counter, [one])
                at = draw.randrange(len(whole))
                for data in (body, whole[:at], whole[:2] + draw.randbytes(6) + whole[8:]):
                    eve = stage.connect(1)
                    await eve.hello()
                    eve.say(data)
                    eve.say(b"\xff")
                    closed[await eve.close_code()] += 1
        told = repr(logged) + caplog.text
        assert not [body for body in bodies if echoed(told, body)]
        # Nothing was delivered to anybody: what is no message of this group never enters a mailbox.
        assert await stage.world.rows("SELECT count(*) FROM mailbox_item i JOIN message m ON m.seq=i.message"
                                      " WHERE m.sender IS NOT NULL AND i.kind=1") == [(0,)]  # fmt: skip
    assert len(bodies) > 400
    assert ResultStatus.ACCEPTED not in answers
    assert answers[ResultStatus.QUARANTINED] > 100
    assert set(closed) <= {4400, 4401, 1009}, closed
    assert closed[4400] > 100
