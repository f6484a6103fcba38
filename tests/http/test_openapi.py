"""The description is the route table, and the gateway keeps to it whatever schemathesis sends."""

import asyncio
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from tests.http.served import Served, served

from letterlock.faces.http.routes import Access
from letterlock.ledger.heads import HeadSigner


async def test_the_description_is_the_table(tmp_path: Path) -> None:
    async with served(tmp_path) as here:
        told = (await here.client.get("/openapi.json")).json()
        described = {
            (method.upper(), path): operation
            for path, methods in told["paths"].items()
            for method, operation in methods.items()
        }
        routes = {(route.method, route.path): route for route in here.gateway.face.routes}
        assert described.keys() == routes.keys()
        operations = [operation["operationId"] for operation in described.values()]
        assert len(set(operations)) == len(operations)
        for at, route in routes.items():
            operation = described[at]
            assert ("security" in operation) == (route.access is not Access.PUBLIC)
            assert ("requestBody" in operation) == (route.request is not None)
            in_path = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
            assert in_path == set(re.findall(r"\{(\w+)\}", route.path))
            assert {int(status) for status in operation["responses"]} >= {*route.answers, *route.problems, 401, 503}
        names = set(re.findall(r'"#/components/schemas/(\w+)"', (await here.client.get("/openapi.json")).text))
        assert names <= told["components"]["schemas"].keys()


class Elsewhere:
    """The gateway on a loop and thread of its own, as an ASGI application for other loops."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.here: Served
        self.statuses: dict[int, int] = {}

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with served(self._folder) as self.here:
            self._ready.set()
            await self._stop.wait()

    @contextmanager
    def running(self) -> Generator["Elsewhere"]:
        self._thread.start()
        assert self._ready.wait(30)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        future = asyncio.run_coroutine_threadsafe(self._serve(dict(scope), body), self._loop)
        for message in await asyncio.wrap_future(future):
            self.statuses[message.get("status", 0)] = self.statuses.get(message.get("status", 0), 0) + 1
            await send(message)

    async def _serve(self, scope: Any, body: bytes) -> list[Any]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.here.gateway.face(scope, receive, send)
        return sent


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


def probe(operation: Any, headers: dict[str, str], examples: int) -> None:
    """Sends what schemathesis makes of one operation, and holds the answers against the description."""

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy())
    def run(case: Any) -> None:
        case.validate_response(case.call(headers=headers), checks=CHECKS)

    run()


def findings(gateway: Elsewhere, examples: int, only: str = "") -> list[str]:
    """What schemathesis finds."""
    access = {route.operation: route.access for route in gateway.here.gateway.face.routes}
    tried, found = set(), []
    for result in schemathesis.openapi.from_asgi("/openapi.json", gateway).get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        name = operation.definition.raw["operationId"]
        if only not in {"", name}:
            continue
        tried.add(name)
        try:
            probe(operation, gateway.here.as_("device" if access[name] is Access.DEVICE else "all"), examples)
        except (Exception, FailureGroup) as finding:
            found.append(f"{name}: {finding}")
    # The place that the description came from is left out by schemathesis itself.
    assert tried == ({only} if only else access.keys() - {"getOpenapi"})
    return found


@pytest.mark.parametrize("examples", [5, pytest.param(60, marks=pytest.mark.long)])
@pytest.mark.filterwarnings("ignore")
def test_schemathesis_finds_nothing(tmp_path: Path, examples: int) -> None:
    with Elsewhere(tmp_path).running() as gateway:
        assert findings(gateway, examples) == []
        assert any(200 <= status < 300 for status in gateway.statuses)
        assert any(400 <= status < 500 for status in gateway.statuses)


@pytest.mark.filterwarnings("ignore")
def test_schemathesis_finds_what_is_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Elsewhere(tmp_path).running() as gateway:

        def broken(_: HeadSigner) -> None:
            raise RuntimeError

        monkeypatch.setattr(HeadSigner, "status", broken)
        (finding,) = findings(gateway, 2, "getHealth")
        assert "getHealth" in finding
