"""``letterlock verify-path``: from a file and from a running gateway, with its documented exit codes."""

import json
from pathlib import Path

import msgspec
import pytest
from tests.app.stores import called, ended, parsed
from tests.path.servers import MESSAGE, OTHER, TO_SMS, Server, changed, document

from letterlock.lab.demo.centre import start_centre
from letterlock.lab.demo.world import start_gateway
from letterlock.wire.path import Handed, Onward
from letterlock.wire.tlog.words import MarkerHop

ONE, TWO = Server("one.example/ledger"), Server("two.example/ledger")
PATH = document(TWO.through(TO_SMS, ONE.through(Handed(Onward.HOP, TWO.name, MarkerHop.ACCEPT))), ONE, TWO)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "path.json"
    path.write_bytes(PATH.encode())
    return path


def test_a_sound_path_is_proven_offline_for_people_and_for_scripts(file: Path, tmp_path: Path) -> None:
    kept = tmp_path / "two.vkey"
    kept.write_text(f"{TWO.log_key}\n")
    keys = ("--key", str(ONE.log_key), "--key", str(kept))
    told = parsed("verify-path", str(file), *keys)
    assert told["proven"] is True
    assert told["message"] == str(MESSAGE)
    assert [(one["server"], one["hop"]) for one in told["hops"]] == [  # type: ignore[attr-defined]
        (ONE.name, "accept"), (ONE.name, "dispatch"), (TWO.name, "accept"), (TWO.name, "dispatch"),
    ]  # fmt: skip
    assert (told["ends"], told["transport"], told["row"]) == ("transport", "sms", 1)
    assert told["never_sign"] == [{"name": "SMSC / carrier", "kinds": ["PROCESS", "READ", "ROUTE", "STORE"]}]
    assert told["readers"] == [ONE.name, TWO.name, "SMSC / carrier"]
    said = called("verify-path", str(file), *keys).output
    assert "Proven: 4 signed hops" in said
    assert "never signs" in said


@pytest.mark.parametrize(
    ("markers", "status", "reason"),
    [
        (PATH.markers[1:], 20, "marker_out_of_place"),
        ([PATH.markers[0], *PATH.markers[2:]], 20, "marker_out_of_place"),
        ([PATH.markers[1], PATH.markers[0], *PATH.markers[2:]], 20, "marker_out_of_place"),
        ([msgspec.structs.replace(PATH.markers[0], kinds=[]), *PATH.markers[1:]], 20, "marker_signature"),
        (PATH.markers[:3], 10, "next_marker_missing"),
        ([], 20, "no_marker"),
    ],
)
def test_removed_moved_and_forged_markers_by_exit_code(file: Path, markers: object, status: int, reason: str) -> None:
    file.write_bytes(changed(PATH, markers=markers).encode())
    done = ended("verify-path", str(file), "--key", str(ONE.log_key), "--key", str(TWO.log_key), "--json")
    assert (done.returncode, done.stdout) == (status, "")
    told = json.loads(done.stderr)
    assert told["error"].startswith(reason)


def test_a_key_too_few_cannot_verify_and_wrong_usage_says_so(file: Path, tmp_path: Path) -> None:
    done = ended("verify-path", str(file), "--key", str(ONE.log_key))
    assert done.returncode == 10
    assert "--key" in done.stderr
    empty = ("--data", str(tmp_path))
    assert ended("verify-path", str(file), *empty).returncode == 2
    assert ended("verify-path", "no-such-file", "--key", str(ONE.log_key)).returncode == 2
    file.write_bytes(b"{}")
    assert ended("verify-path", str(file), "--key", str(ONE.log_key)).returncode == 20


async def test_by_id_from_a_gateway_process(tmp_path: Path) -> None:
    import asyncio

    import httpx

    centre = await start_centre()
    gateway = await start_gateway(tmp_path, centre.port)
    try:
        headers = {"Authorization": f"Bearer {gateway.api_key}"}
        async with httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=20) as http:
            body = {"to": "+4915155572693", "text": "a notice", "traffic": "notification"}
            message = (await http.post("/v1/messages", json=body)).json()["id"]
            for _ in range(400):
                state = (await http.get(f"/v1/messages/{message}")).json()["state"]
                signed = (await http.get(f"/v1/messages/{message}/path")).status_code == 200
                if state == "delivered" and signed:
                    break
                await asyncio.sleep(0.05)
        out = tmp_path / "path.json"
        api_key = ("--api-key-file", str(gateway.secrets / "api-key"))
        fetched = await asyncio.to_thread(
            parsed, "verify-path", message, "--gateway", gateway.url, *api_key,
            "--data", str(gateway.folder), "--out", str(out),
        )  # fmt: skip
        assert fetched["message"] == message
        assert fetched["readers"] == ["letterlock.local/ledger", "SMSC / carrier"]
        refused = await asyncio.to_thread(
            ended, "verify-path", str(OTHER), "--gateway", gateway.url, *api_key, "--data", str(gateway.folder)
        )
        assert refused.returncode == 1
        assert "not found" in refused.stderr
        far = await asyncio.to_thread(
            ended, "verify-path", message, "--gateway", "http://example.net", "--data", str(gateway.folder)
        )
        assert far.returncode == 40
    finally:
        await gateway.stop()
        await centre.stop()
    # With the gateway gone, the file and the log's key are enough.
    key = (gateway.folder / "ledger.vkey").read_text().strip()
    assert parsed("verify-path", str(out), "--key", key)["message"] == message
