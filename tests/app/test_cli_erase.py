"""``letterlock erase``: what it forgets, and when it refuses."""

import asyncio
from pathlib import Path

import pytest
from tests.app.stores import called, ended, parsed, running
from tests.open_messages.world import NUMBER, client_of

from letterlock.app.gateway import API_KEY_FILE, open_gateway
from letterlock.app.settings import Settings, Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store that knows one number."""

    async def make() -> None:
        gateway = await open_gateway(Settings(store=Store(folder=str(tmp_path / "store"))))
        async with client_of(gateway, (tmp_path / "store" / API_KEY_FILE).read_text().strip()) as http:
            body = {"to": NUMBER, "text": "hello", "traffic": "notification"}
            assert (await http.post("/v1/messages", json=body)).status_code == 202
        await gateway.close()

    asyncio.run(make())
    return tmp_path / "store"


def test_a_number_is_forgotten_once_and_the_log_still_verifies(folder: Path) -> None:
    where = ("--tenant", "1", "--data", str(folder))
    assert parsed("erase", NUMBER, *where)["outcome"] == "erased"
    assert parsed("erase", NUMBER, *where)["outcome"] == "already_absent"
    assert "Nothing to forget" in called("erase", NUMBER, *where).output
    assert parsed("fsck", "--data", str(folder))
    assert NUMBER.encode() not in b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


def test_what_is_refused_changes_nothing(folder: Path) -> None:
    for arguments in (("erase", "0170", "--tenant", "1"), ("erase", NUMBER, "--tenant", "9")):
        done = called(*arguments, "--data", str(folder))
        assert done.exit_code != 0
        assert NUMBER not in done.output + done.stderr
    assert parsed("erase", NUMBER, "--tenant", "1", "--data", str(folder))["outcome"] == "erased"


def test_beside_a_running_gateway_it_stops(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        done = ended("erase", NUMBER, "--tenant", "1", "--data", str(gateway.folder))
        assert done.returncode == 40
        assert "end the other gateway" in done.stderr
        assert NUMBER not in done.stdout + done.stderr
