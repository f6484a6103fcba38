"""The centre as a process of its own, and its control port; the capability rows and the table."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.smpp.support import ALICE, Notebook, client_of, config, send, until

from letterlock.lab.smsc.__main__ import PASSWORD_VARIABLE
from letterlock.model.capability import Channel
from letterlock.model.protection import EvidenceGrade, MarkerKind, Protection
from letterlock.transports.registry import CAPABILITIES, capability
from letterlock.transports.smpp import LinkState
from letterlock.transports.table import comparison_table


class Remote:
    """The control port of a centre in another process."""

    def __init__(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.port = port
        self._reader = reader
        self._writer = writer

    async def do(self, line: object) -> dict[str, Any]:
        self._writer.write((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
        answer: dict[str, Any] = json.loads(await self._reader.readline())
        return answer


@pytest.fixture
async def remote() -> AsyncIterator[Remote]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "letterlock.lab.smsc",
        "--system-id",
        "letter",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, PASSWORD_VARIABLE: "s3cret"},
    )
    assert process.stdout is not None
    ports = json.loads(await process.stdout.readline())
    reader, writer = await asyncio.open_connection("127.0.0.1", ports["control_port"])
    yield Remote(ports["port"], reader, writer)
    process.terminate()
    out, err = await process.communicate()
    writer.close()
    assert (process.returncode, out, err) == (0, b"", b"")


async def test_a_centre_in_another_process(remote: Remote) -> None:
    notebook = Notebook()
    async with client_of(config(remote.port), notebook) as client:
        assert await client.wait_bound(10)
        await send(client, "я" * 100)
        inbox = {"do": "inbox", "phone": ALICE.e164()}
        assert await remote.do(inbox) == {
            "ok": True,
            "messages": [{"sender": "Letterlock", "text": "я" * 100, "parts": 2}],
        }
        assert await remote.do({"do": "mo", "from": ALICE.e164(), "to": "22122", "text": "and back"}) == {
            "ok": True,
            "parts": 1,
        }
        await until(lambda: notebook.texts() == ["and back"])
        assert (await remote.do({"do": "fault", "kind": "throttle", "count": 2}))["ok"]
        changed = {"do": "behave", "receipt_form": "text", "response_ids": "hex", "receipt_state": 5}
        assert (await remote.do(changed))["ok"]
        await send(client, "after a pause")
        await until(lambda: len(notebook.receipts) == 3)
        assert notebook.receipts[-1].receipt.state.name == "UNDELIVERABLE"
        assert await remote.do({"do": "stats"}) == {"ok": True, "submits": 5, "links": 1}
        assert (await remote.do({"do": "away"}))["ok"]
        await until(lambda: client.state is not LinkState.BOUND)
        assert (await remote.do({"do": "back"}))["ok"]
        assert await client.wait_bound(10)
        assert (await remote.do({"do": "drop"}))["ok"]
        await until(lambda: client.state is not LinkState.BOUND)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"no json",
        b"[]",
        {"do": "nothing"},
        {"do": "inbox"},
        {"do": "inbox", "phone": "0170"},
        {"do": "fault", "kind": "other"},
        {"do": "behave", "unknown": 1},
        {"do": "mo", "from": "+491701234567", "to": "", "text": "x"},
    ],
)
async def test_the_control_port_refuses_what_it_does_not_know(remote: Remote, line: object) -> None:
    assert (await remote.do(line))["ok"] is False
    assert (await remote.do({"do": "stats"}))["ok"] is True


def test_every_channel_has_one_honest_row() -> None:
    assert [row.channel for row in CAPABILITIES] == list(Channel)
    relay, sms = capability(Channel.RELAY), capability(Channel.SMS)
    assert (relay.ceiling, relay.readers) == (Protection.E2EE, ())
    assert (sms.ceiling, sms.evidence) == (Protection.CLEAR, EvidenceGrade.NONE)
    assert {reader.name: reader.signs for reader in sms.readers} == {"this gateway": True, "SMSC / carrier": False}
    for row in CAPABILITIES:
        assert row.source
        assert row.version >= 1
        assert bool(row.readers) == (row.ceiling is not Protection.E2EE)
        assert all(MarkerKind.READ in reader.markers for reader in row.readers)


def test_the_table_says_what_the_rows_say() -> None:
    table = comparison_table(CAPABILITIES)
    assert all(len(row) == len(table.columns) for row in table.rows)
    relay, sms = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert relay["who can read"] == "nobody on the path"
    assert "SMSC / carrier" in sms["who can read"]
    assert "never signs" in sms["who can read"]
    assert (relay["protection at best"], sms["protection at best"]) == ("E2EE", "CLEAR")
