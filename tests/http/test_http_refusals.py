"""Every route refuses what is wrong, says so by its code, and never repeats what was sent."""

import json
from base64 import b64encode
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import structlog
from tests.http.served import CANARY, Served, served
from tests.relay.world import Person

from letterlock.faces.http.problems import Code, field_names, of_validation
from letterlock.faces.http.routes import Access, Route
from letterlock.ledger.heads import HeadSigner
from letterlock.storage.errors import StorageError, StorageReason

IDS = {"message_id": "msg", "account_id": "acc", "device_id": "dev", "challenge_id": "chl", "group": "grp"}
SCOPES = ("messages", "devices", "read", "admin", "device")
RIGHT = {
    Access.TENANT_MESSAGES: {"messages"},
    Access.TENANT_MESSAGES_OR_READ: {"messages", "read"},
    Access.TENANT_DEVICES: {"devices"},
    Access.TENANT_READ: {"read"},
    Access.TENANT_ADMIN: {"admin"},
    Access.DEVICE: {"device"},
    Access.DEVICE_OR_DEVICES_KEY: {"device", "devices"},
    Access.DEVICE_OR_MESSAGES_KEY: {"device", "messages"},
}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncGenerator[Served]:
    async with served(tmp_path) as made:
        yield made


def filled(route: Route, with_: str | None = None) -> str:
    """The route's path with ids of the right form that nobody has, or with something else in their place."""
    parts = []
    for part in route.path.split("/"):
        if part.startswith("{"):
            name = part.strip("{}")
            parts.append(with_ or (f"{IDS[name]}_{'0' * 32}" if name in IDS else "7"))
        else:
            parts.append(part)
    return "/".join(parts)


def somebody(route: Route) -> str | None:
    return None if route.access is Access.PUBLIC else min(RIGHT[route.access])


def is_problem(answer: httpx.Response, status: int, *codes: str) -> dict[str, Any]:
    assert answer.status_code == status, (answer.request.url, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    told: dict[str, Any] = answer.json()
    assert told["status"] == status
    assert told["type"].endswith(told["code"])
    if codes:
        assert told["code"] in codes
    assert CANARY not in answer.text
    assert CANARY not in str(answer.headers)
    return told


async def test_without_or_with_a_wrong_credential_nobody_gets_in(here: Served) -> None:
    for route in here.gateway.face.routes:
        path = filled(route)
        for who in (None, "nobody"):
            answer = await here.client.request(route.method, path, headers=here.as_(who))
            if route.access is not Access.PUBLIC or who is not None:
                told = is_problem(answer, 401, Code.UNAUTHENTICATED)
                assert told
                assert answer.headers["www-authenticate"] == "Bearer"
        for value in (f"Basic {CANARY}", f"Bearer {CANARY * 30}", "Bearer ", CANARY):
            answer = await here.client.request(route.method, path, headers={"authorization": value})
            is_problem(answer, 401, Code.UNAUTHENTICATED)


async def test_each_route_takes_its_own_scopes_and_no_others(here: Served) -> None:
    for route in here.gateway.face.routes:
        if route.access is Access.PUBLIC:
            continue
        for who in SCOPES:
            answer = await here.client.request(route.method, filled(route), headers=here.as_(who))
            if who in RIGHT[route.access]:
                assert answer.status_code not in {401, 403} or answer.json()["code"] != Code.SCOPE_MISSING, route
                assert answer.status_code < 500
            else:
                is_problem(answer, 403, Code.SCOPE_MISSING)


MALFORMED: list[tuple[bytes, tuple[str, ...]]] = [
    (b"", ("malformed_json",)),
    (b"{", ("malformed_json",)),
    (CANARY.encode(), ("malformed_json",)),
    (b'{"a": "' + CANARY.encode(), ("malformed_json", "unknown_field")),
    (b"\xff\xfe\x00" + CANARY.encode(), ("malformed_json",)),
    (b'{"x": "\xff' + CANARY.encode() + b'"}', ("malformed_json", "unknown_field", "missing_field")),
    (b"[]", ("wrong_type",)),
    (b"null", ("wrong_type",)),
    (b'"' + CANARY.encode() + b'"', ("wrong_type",)),
    (b"1e999", ("wrong_type", "malformed_json")),
    (json.dumps({CANARY: CANARY}).encode(), ("unknown_field", "missing_field")),
    (json.dumps({f"x` - at `$.{CANARY}": 1}).encode(), ("unknown_field", "missing_field")),
    (b"[" * 20_000, ("malformed_json", "wrong_type")),
    (b'{"a":' * 9_000, ("malformed_json", "unknown_field", "missing_field")),
]


async def test_bodies_that_are_no_request(here: Served) -> None:
    for route in here.gateway.face.routes:
        if route.request is None:
            continue
        headers = {**here.as_(somebody(route)), "content-type": "application/json"}
        empty_is_fine = _decodes(route.request, b"{}")
        for body, codes in MALFORMED:
            answer = await here.client.request(route.method, filled(route), headers=headers, content=body)
            assert answer.status_code in {400, 422}, (route.operation, body[:40], answer.text)
            told = is_problem(answer, answer.status_code, *codes)
            assert told["code"] != "missing_field" or not empty_is_fine


def _decodes(request: type[msgspec.Struct], body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=request)
    except msgspec.ValidationError:
        return False
    return True


WRONG: tuple[object, ...] = (
    CANARY, CANARY * 1000, -1, 2**64, 10**30, 1.5, True, None, [], {}, [CANARY], {CANARY: CANARY}, "\x00", "é" * 50,
)  # fmt: skip


async def test_fields_of_a_wrong_type_form_or_size(here: Served) -> None:
    """Every top-level field of every request, with values that are mostly wrong: an answer, never a failure."""
    for route in here.gateway.face.routes:
        if route.request is None:
            continue
        headers = {**here.as_(somebody(route)), "content-type": "application/json"}
        names = [field.encode_name for field in msgspec.structs.fields(route.request)]
        for name in names:
            for value in WRONG:
                body = json.dumps({**dict.fromkeys(names, "QUFB"), name: value}).encode()
                answer = await here.client.request(route.method, filled(route), headers=headers, content=body)
                assert answer.status_code < 500, (route.operation, name, value)
                if answer.status_code >= 400:
                    is_problem(answer, answer.status_code)


async def test_a_body_that_is_too_large_is_refused_while_it_comes_in(here: Served) -> None:
    for route in here.gateway.face.routes:
        if route.request is None:
            continue
        sent = 0

        async def endless(limit: int = route.max_body) -> AsyncGenerator[bytes]:
            nonlocal sent
            while sent <= 4 * limit:
                sent += 65_536
                yield CANARY.encode() * 4096

        headers = {**here.as_(somebody(route)), "content-type": "application/json"}
        answer = await here.client.request(route.method, filled(route), headers=headers, content=endless())
        told = is_problem(answer, 413, Code.TOO_LARGE)
        assert told["limit"] == route.max_body


async def test_another_media_type(here: Served) -> None:
    for route in here.gateway.face.routes:
        if route.request is None:
            continue
        for media in ("text/plain", f"application/{CANARY}", "", "application/json2"):
            headers = {**here.as_(somebody(route)), "content-type": media}
            answer = await here.client.request(route.method, filled(route), headers=headers, content=b"{}")
            is_problem(answer, 415, Code.UNSUPPORTED_MEDIA_TYPE)


async def test_the_query_string(here: Served) -> None:
    for route in here.gateway.face.routes:
        if route.method != "GET":
            queries = [f"{CANARY}=1"]
        else:
            queries = [f"{CANARY}=1", "=" + CANARY, "&&&", "a" * 5000, "%ff%fe=" + CANARY]
        for query in queries:
            headers = {**here.as_(somebody(route)), "content-type": "application/json"}
            answer = await here.client.request(route.method, f"{filled(route)}?{query}", headers=headers, content=b"{}")
            # A body is looked at first; either way the request is refused.
            assert answer.status_code in {422, 404}, (route.operation, query, answer.text)
            is_problem(answer, answer.status_code)
        for parameter in route.query:
            for value in (CANARY, "-1", "9" * 40, "", "%00", "1&" + parameter.name + "=1"):
                answer = await here.client.request(
                    route.method, f"{filled(route)}?{parameter.name}={value}", headers=here.as_(somebody(route))
                )
                assert answer.status_code < 500, (route.operation, parameter.name, value)
                assert CANARY not in answer.text


async def test_ids_of_a_wrong_form_and_ids_that_nobody_has(here: Served) -> None:
    for route in here.gateway.face.routes:
        if "{" not in route.path:
            continue
        for value in (CANARY, "msg_" + CANARY, "..", "%2e%2e", "%00", "x" * 3000, "é", "-1", "9" * 30):
            headers = {**here.as_(somebody(route)), "content-type": "application/json"}
            answer = await here.client.request(route.method, filled(route, value), headers=headers, content=b"{}")
            assert 400 <= answer.status_code < 500, (route.operation, value, answer.text)
            is_problem(answer, answer.status_code)


@pytest.mark.parametrize("path", ["/", "/v1", f"/{CANARY}", "/v1/health/", "//v1/health", "/v1/groups/x/y/messages"])
async def test_there_is_nothing_there(here: Served, path: str) -> None:
    for who in (None, "all"):
        for method in ("GET", "POST"):
            answer = await here.client.request(method, path, headers=here.as_(who))
            if path.startswith("/v1/groups") and method == "POST":
                assert answer.status_code in {401, 403}
            else:
                is_problem(answer, 404, Code.NOT_FOUND)
    assert (await here.client.get("/v1/health")).status_code == 200


def _same_form(path: str, route: Route) -> bool:
    parts, form = path.split("/"), route.path.split("/")
    return len(parts) == len(form) and all(f.startswith("{") or p == f for p, f in zip(parts, form, strict=True))


async def test_another_method_is_told_which_ones_there_are(here: Served) -> None:
    by_path: dict[str, set[str]] = {}
    for route in here.gateway.face.routes:
        by_path.setdefault(filled(route), set()).add(route.method)
    for path, methods in by_path.items():
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"} - methods:
            answer = await here.client.request(method, path, headers=here.as_("all"))
            if answer.status_code == 404 and answer.json()["code"] == Code.NOT_FOUND:
                # A fixed path that also has the form of one with an id in it.
                assert any(_same_form(path, r) and r.method == method for r in here.gateway.face.routes)
                continue
            is_problem(answer, 405, Code.METHOD_NOT_ALLOWED)
            assert methods <= set(answer.headers["allow"].split(", "))


@pytest.mark.parametrize(
    ("reason", "code"),
    [(StorageReason.OVERLOADED, Code.OVERLOADED), (StorageReason.DISK_FULL, Code.STORE_FAILED)],
)
async def test_a_writer_that_takes_no_more_is_503_with_a_time_to_come_back(
    here: Served, monkeypatch: pytest.MonkeyPatch, reason: StorageReason, code: str
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise StorageError(reason)

    def body(name: str) -> dict[str, str]:
        return {"identity_key": b64encode(Person(name).identity.public.encode()).decode()}

    headers = here.as_("devices")
    with monkeypatch.context() as patch:
        patch.setattr(here.gateway.committer, "submit", full)
        refused = await here.client.post("/v1/accounts", headers=headers, json=body("one"))
    is_problem(refused, 503, code)
    assert refused.headers["retry-after"] == "1"
    accepted = await here.client.post("/v1/accounts", headers=headers, json=body("one"))
    assert accepted.is_success


@pytest.mark.attack("A24")
async def test_a_bug_tells_nothing_of_the_request(here: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(HeadSigner, "status", broken)
    with structlog.testing.capture_logs() as logs:
        answer = await here.client.get("/v1/health")
    told = is_problem(answer, 500, Code.INTERNAL)
    assert told["detail"]
    assert CANARY not in str(logs)
    assert any(line.get("error_type") == "RuntimeError" for line in logs)


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    value: int


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    items: list[Inner]
    named: dict[str, int] = {}


@pytest.mark.parametrize(
    ("body", "code", "at"),
    [
        ('{"items": [{"value": "x"}]}', "wrong_type", "$.items[0].value"),
        ('{"items": [{"value": 1}, {"LETTERCANARY": 1}]}', "unknown_field", "$.items[1]"),
        ('{"items": [{}]}', "missing_field", "$.items[0]"),
        ('{"LETTERCANARY": 1}', "unknown_field", "$"),
        ('{"x` - at `$.LETTERCANARY": 1}', "unknown_field", "$"),
        ('{"items": [], "named": {"LETTERCANARY": "x"}}', "wrong_type", "$.named[...]"),
        ('{"items": [], "named": {"LETTERCANARY": 1}, "x` - at `$.LETTER.CANARY[0]": 2}', "unknown_field", "$"),
        ("[]", "wrong_type", "$"),
    ],
)
def test_where_a_body_is_wrong_is_told_in_our_own_names_alone(body: str, code: str, at: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(body, type=Outer)
    problem = of_validation(caught.value, field_names(Outer))
    assert (problem.code, problem.members["at"]) == (code, at)
    assert b"CANARY" not in problem.body()
    assert field_names(Outer) == {"items", "named", "value"}
