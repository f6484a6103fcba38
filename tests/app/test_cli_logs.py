"""Logs: what must not get in does not, and what is in anyway is found (S37, S38, A24)."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.app.stores import ENVIRONMENT, called, ended, parsed, running

from letterlock.app.commands.lint import Kind, hashes_of, lint

NUMBER = "+491711234567"
CANARY = "canary-5f2c1a-body"


def kinds(line: str, known: frozenset[str] = frozenset()) -> set[Kind]:
    return {one.kind for one in lint([line], known)}


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"event": f"sent to {NUMBER}"}, Kind.NUMBER),
        ({"hint": "0171 1234567"}, Kind.NUMBER),
        ({"count": 3, "msisdn": 491711234567}, Kind.NUMBER),
        ({"hint": "x", NUMBER: 1}, Kind.NUMBER),
        ({"reason": hashlib.sha256(NUMBER.encode()).hexdigest()}, Kind.HASH),
        ({"reason": hashlib.sha256(NUMBER.encode()).hexdigest()[:16]}, Kind.HASH),
        ({"phone_hash": hashlib.md5(NUMBER.encode()).hexdigest()}, Kind.HASH),
        ({"recipient": "someone"}, Kind.FIELD),
        ({"body": "hello"}, Kind.BODY),
        ({"authorization": "Bearer x"}, Kind.BODY),
        ({"hint": "word " * 60}, Kind.LONG_VALUE),
        ({"hint": {"nested": NUMBER}}, Kind.NUMBER),
        ({"hint": [NUMBER]}, Kind.FIELD),
    ],
)
def test_what_must_not_be_there_is_found(event: dict[str, object], kind: Kind) -> None:
    assert kind in kinds(json.dumps(event))


@pytest.mark.parametrize(
    "event",
    [
        {"event": "listening", "host": "127.0.0.1", "port": 8480, "timestamp": "2026-01-02T03:04:05.678901Z"},
        {"event": "purged", "rows": 123456789, "duration_ms": 12.5, "level": "info"},
        {"event": "x", "fields_dropped": 3, "version": "0.1.0.dev0", "code": "deadbeef"},
    ],
)
def test_events_are_clean(event: dict[str, object]) -> None:
    assert not kinds(json.dumps(event))


def test_a_hash_of_a_known_number_is_named_for_certain_and_another_hash_is_not() -> None:
    known = hashes_of([NUMBER])
    for spelling in (NUMBER, "491711234567", "00491711234567"):
        for name in ("md5", "sha1", "sha256", "sha512"):
            line = json.dumps({"reason": hashlib.new(name, spelling.encode()).hexdigest()})
            assert kinds(line, known) == {Kind.HASH_OF_NUMBER}
    assert kinds(json.dumps({"reason": hashlib.sha256(b"+49171999").hexdigest()}), known) == {Kind.HASH}


def test_lines_that_are_no_events() -> None:
    assert kinds("plain text") == {Kind.NOT_JSON}
    assert kinds(f"plain text to {NUMBER}") == {Kind.NOT_JSON, Kind.NUMBER}
    assert kinds("[1]") == {Kind.NOT_JSON}
    assert kinds("[" * 60_000) == {Kind.NOT_JSON}
    assert kinds("x" * 70_000) == {Kind.TOO_LONG}
    assert not kinds("  \n")


def test_lint_on_the_command_line_never_repeats_what_it_found(tmp_path: Path) -> None:
    log, numbers = tmp_path / "gateway.log", tmp_path / "numbers"
    hashed = hashlib.sha256(NUMBER.encode()).hexdigest()
    log.write_text(json.dumps({"event": "ok"}) + "\n" + json.dumps({"reason": hashed, CANARY: NUMBER}) + "\n")
    numbers.write_text(NUMBER + "\n")
    report = parsed("logs", "lint", str(log), "--numbers", str(numbers), status=1)
    assert {"line": 2, "field": "reason", "kind": Kind.HASH_OF_NUMBER.value} in report["findings"]  # type: ignore[operator]
    text = called("logs", "lint", str(log)).output
    for secret in (NUMBER, hashed, CANARY):
        assert secret not in text + json.dumps(report)
    log.write_text(json.dumps({"event": "ok"}) + "\n")
    assert parsed("logs", "lint", str(log))["findings"] == []


LOGGING = """
import logging, sys
import structlog
from letterlock.app.logging import configure
canary = sys.argv[2]
configure(sys.argv[1])
log = structlog.get_logger("test")
log.info("control", operation="control-that-must-appear")
log.info("extra", body=canary, recipient=canary, token=canary.encode(), nested={"x": canary})
log.debug("debug", text=canary)
log.info("long", hint=(canary + " ") * 20)
log.info("object", reason=type("Secret", (), {"__repr__": lambda self: canary, "__str__": lambda self: canary})())
try:
    raise ValueError(canary)
except ValueError as error:
    log.error("failed", error_type=type(error).__name__, error=str(error))
    log.exception("failed with traceback")
    log.error("failed with exc_info", exc_info=True)
    logging.getLogger("library").exception("library says %s", canary)
logging.getLogger("library").warning(canary)
logging.getLogger("uvicorn.error").error("header %s", canary, extra={"body": canary})
logging.getLogger("asyncio").debug(canary)
logging.getLogger("httpx").info("GET /?q=%s", canary)
"""


@pytest.mark.attack("A24")
@pytest.mark.parametrize("level", ["debug", "info", "warning"])
def test_nothing_gets_into_the_log_by_fields_exceptions_or_libraries(level: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOGGING, level, CANARY], check=True, capture_output=True, text=True, env=ENVIRONMENT
    )
    written = done.stderr + done.stdout
    assert CANARY not in written
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert ("control-that-must-appear" in written) == (level != "warning")
    assert [line for line in lines if line.get("event") == "library_message"]
    assert not list(lint(done.stderr.splitlines()))
    if level == "debug":
        assert next(line for line in lines if line["event"] == "extra")["fields_dropped"] == 4


@pytest.mark.attack("A24")
def test_a_canary_in_url_header_query_and_body_reaches_no_log_at_debug_level(tmp_path: Path) -> None:
    import httpx

    with running(tmp_path, "[log]\nlevel = 'debug'\n") as gateway:
        key = (gateway.folder / "api-key").read_text().strip()
        with httpx.Client(base_url=gateway.url, timeout=20) as http:
            for headers in ({}, {"Authorization": f"Bearer {key}"}, {"Authorization": f"Bearer {CANARY}"}):
                headers = {**headers, "X-Secret": CANARY, "User-Agent": CANARY, "Idempotency-Key": CANARY}
                for path in ("/v1/messages", "/v1/devices", f"/{CANARY}", f"/v1/ledger/proofs/{CANARY}", "/metrics"):
                    for method in ("GET", "POST", "PUT", CANARY.upper()):
                        http.request(
                            method, path, params={"to": NUMBER, "q": CANARY}, headers=headers,
                            json={"to": NUMBER, "text": CANARY, CANARY: CANARY},
                        )  # fmt: skip
            exposed = http.get("/metrics", headers={"Authorization": f"Bearer {key}"})
            assert exposed.status_code == 200
            assert CANARY not in exposed.text
            assert NUMBER not in exposed.text
    written = gateway.log.read_text()
    assert '"event":"listening"' in written
    for secret in (CANARY, CANARY.upper(), NUMBER, key):
        assert secret not in written
    assert ended("logs", "lint", str(gateway.log)).returncode == 0
