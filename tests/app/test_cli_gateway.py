"""The command line beside a running gateway, and around its start and end."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest
from tests.app.stores import Running, called, ended, letterlock, parsed, running

from letterlock.storage.columns import FILES


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("gateway")) as started:
        until_signed(started.folder)
        # Something that waits, for the checks to look at: a notice, while there is no way to send one.
        secret = (started.folder / "api-key").read_text().strip()
        notice = {"to": "+491701234567", "text": "Your table is ready", "traffic": "notification"}
        answer = httpx.post(f"{started.url}/v1/messages", json=notice, headers={"Authorization": f"Bearer {secret}"})
        assert answer.status_code == 202
        yield started


def until_signed(folder: Path) -> None:
    deadline = time.monotonic() + 30
    while not (folder / "ledger-head.note").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_everything_that_reads_works_beside_it(gateway: Running, tmp_path: Path) -> None:
    data = ("--data", str(gateway.folder))
    assert parsed("ledger", "verify", *data)["finding"] is None
    fsck: Any = parsed("fsck", *data, "--config", str(gateway.settings))
    assert fsck["whole"] is True
    assert [one["check"] for one in fsck["checks"] if one["found"] is None] == ["storage_keys_exist"]
    assert "not checked: the gateway runs" in called("fsck", *data).output
    assert parsed("retention", "verify", "--config", str(gateway.settings))["overdue"] == 0
    tenants: Any = parsed("tenant", "list", *data)
    assert [row["name"] for row in tenants] == ["default"]
    keys: Any = parsed("api-key", "list", *data)
    assert keys[0]["scopes"] == "messages,devices,read,admin"
    assert (gateway.folder / "api-key").read_text().strip() not in json.dumps(keys)
    key = parsed("ledger", "key", *data)["key"]
    proof = tmp_path / "proof"
    parsed("ledger", "prove", "0", *data, "--out", str(proof))
    assert parsed("ledger", "check-proof", str(proof), "--key", str(key))["proven"] is True


def test_the_proof_over_http_is_the_one_of_the_command_line(gateway: Running, tmp_path: Path) -> None:
    secret = (gateway.folder / "api-key").read_text().strip()
    answer = httpx.get(f"{gateway.url}/v1/ledger/proofs/0", headers={"Authorization": f"Bearer {secret}"})
    file, entry = tmp_path / "proof", tmp_path / "entry"
    file.write_bytes(answer.content)
    shown = parsed("ledger", "prove", "0", "--data", str(gateway.folder))
    entry.write_text(str(shown["entry"]))
    key = str(parsed("ledger", "key", "--data", str(gateway.folder))["key"])
    assert parsed("ledger", "check-proof", str(file), "--key", key, "--entry", str(entry))["proven"] is True


@pytest.mark.parametrize(
    "arguments",
    [("serve",), ("tenant", "add", "other"), ("api-key", "add", "--tenant", "1")],
    ids=" ".join,
)
def test_a_second_process_that_would_write_gets_a_clear_error(gateway: Running, arguments: tuple[str, ...]) -> None:
    done = letterlock(*arguments, "--config", str(gateway.settings))
    assert done.returncode == 40
    assert "used by another process" in done.stderr
    assert "end the other gateway" in done.stderr
    assert "Traceback" not in done.stderr
    assert httpx.get(f"{gateway.url}/v1/health").status_code == 200


def test_a_gateway_leaves_no_core_dump(gateway: Running) -> None:
    (process,) = [
        status for status in Path("/proc").glob("[0-9]*") if str(gateway.settings).encode() in _read(status / "cmdline")
    ]
    limits = (process / "limits").read_text()
    (line,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert line.split()[4:6] == ["0", "0"]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_no_file_of_the_folder_is_undeclared(gateway: Running) -> None:
    names = {one.name for one in FILES}
    for path in gateway.folder.iterdir():
        assert path.name.removesuffix("-wal").removesuffix("-shm") in names, path.name
        assert path.name == "ledger.vkey" or path.name == "ledger-head.note" or not path.stat().st_mode & 0o077, path


def test_an_address_in_use_is_a_clear_error(gateway: Running, tmp_path: Path) -> None:
    settings = tmp_path / "letterlock.toml"
    port = gateway.url.rpartition(":")[2]
    settings.write_text(f"[server]\nport = {port}\n[store]\nfolder = '{tmp_path / 'store'}'\n")
    done = letterlock("serve", "--config", str(settings))
    assert done.returncode == 40
    assert "address is in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_tenants_and_keys_live_from_the_command_to_the_api_and_die_there(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        until_signed(gateway.folder)
    config = ("--config", str(gateway.settings))
    tenant = parsed("tenant", "add", "clinic", "--profile", "consumer", *config)
    assert parsed("tenant", "add", "clinic", *config)["tenant"] == tenant["tenant"] == 2
    file = tmp_path / "clinic.key"
    made = parsed("api-key", "add", "--tenant", "2", "--days", "30", "--out", str(file), *config)
    assert file.stat().st_mode & 0o777 == 0o600
    assert called("api-key", "add", "--tenant", "2", "--out", str(file), *config).exit_code == 2
    assert called("api-key", "add", "--tenant", "9", *config).exit_code == 2
    secret = file.read_text().strip()
    shown = parsed("api-key", "add", "--tenant", "2", *config)
    bearer = [{"Authorization": f"Bearer {key}"} for key in (secret, shown["secret"])]
    with running(tmp_path) as gateway:
        assert [httpx.get(f"{gateway.url}/metrics", headers=one).status_code for one in bearer] == [200, 200]
    assert parsed("api-key", "revoke", str(made["id"]), "--tenant", "2", *config)["revoked"] is True
    again = ended("api-key", "revoke", str(made["id"]), "--tenant", "2", *config)
    assert again.returncode == 1
    assert "not found" in again.stderr
    with running(tmp_path) as gateway:
        assert [httpx.get(f"{gateway.url}/metrics", headers=one).status_code for one in bearer] == [401, 200]
        time.sleep(0.5)
        kinds: Any = parsed("ledger", "verify", *config)["kinds"]
    assert kinds["tenant"] == 2 + 1 + 2 + 1
    assert secret not in (gateway.folder / "letterlock.db").read_bytes().decode("latin-1")


def test_a_store_that_went_back_and_one_of_a_newer_version_are_not_served(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        until_signed(gateway.folder)
    whole: Any = parsed("fsck", "--config", str(gateway.settings))
    assert {one["found"] for one in whole["checks"]} == {0}, "the keys are looked at now"
    old = (gateway.folder / "letterlock.db").read_bytes()
    with running(tmp_path) as gateway:
        time.sleep(0.5)
    (gateway.folder / "letterlock.db").write_bytes(old)
    done = letterlock("serve", "--config", str(gateway.settings))
    assert done.returncode == 30
    assert "signed head" in done.stderr
    assert "What to do" in done.stderr
    db = apsw.Connection(str(gateway.folder / "letterlock.db"))
    db.execute("PRAGMA user_version = 999").fetchall()
    db.close()
    done = letterlock("serve", "--config", str(gateway.settings))
    assert done.returncode == 40
    assert "newer version" in done.stderr
    assert "Traceback" not in done.stderr
