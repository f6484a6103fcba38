"""The periodic work goes on after a failure; purging, tenants' keys and metrics on a real store."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.http.served import Served, served
from tests.relay.world import opened

from letterlock.gateway.maintenance import MAX_ROUNDS, PURGE_LIMIT, Maintenance, Purger
from letterlock.gateway.tenants import Tenants
from letterlock.model.clock import ManualClock
from letterlock.model.errors import LetterlockError
from letterlock.model.ids import ApiKeyId
from letterlock.storage.errors import CommitReason, CommitRefused, StorageError, StorageReason
from letterlock.storage.maintenance_commands import Purge, Purged
from letterlock.storage.sqlite.tenant_ops import all_tenants, live_api_keys
from letterlock.watch.metrics import Metrics
from letterlock.wire.stream import ResultStatus


@asynccontextmanager
async def periodic(*failures: Exception) -> AsyncGenerator[list[int]]:
    """Maintenance with one piece of work, which fails at first."""
    unused: Any = None
    maintenance = Maintenance(unused, unused, unused, unused, ManualClock(), purge_every_s=3600, sign_every_s=3600)
    ran: list[int] = []
    left = list(failures)

    async def work() -> None:
        ran.append(len(ran))
        if left:
            raise left.pop()

    maintenance.add("work", 0.001, work)
    maintenance.start()
    try:
        yield ran
    finally:
        await maintenance.stop()


@pytest.mark.parametrize(
    "failure", [StorageError(StorageReason.OVERLOADED), OSError(28, "No space left on device"), ZeroDivisionError()]
)
async def test_a_failure_does_not_end_the_periodic_work(failure: Exception) -> None:
    async with periodic(failure) as ran:
        for _ in range(2000):
            if len(ran) >= 3:
                break
            await asyncio.sleep(0.005)
        assert len(ran) >= 3
    stopped = len(ran)
    await asyncio.sleep(0.01)
    assert len(ran) == stopped


class Writer:
    """A writer whose purges find so many rows."""

    def __init__(self, *found: int) -> None:
        self.found = list(found)
        self.shards: list[int] = []
        self.truncated = 0

    async def run(self, command: Any, *, tenant: int = 0, size: int = 0) -> Any:
        assert isinstance(command, Purge)
        assert not self.truncated
        self.shards.append(command.shard)
        return Purged(self.found.pop(0), 0, 0, 0, 0)

    async def truncate(self) -> None:
        self.truncated += 1


async def test_a_purge_goes_on_until_nothing_is_due_and_then_empties_the_log() -> None:
    writer = Writer(PURGE_LIMIT, PURGE_LIMIT, 5)
    purger = Purger(writer, ManualClock())
    assert await purger.run() == 2 * PURGE_LIMIT + 5
    assert (writer.shards, writer.truncated) == ([0, 0, 0], 1)
    writer = Writer(*[PURGE_LIMIT] * (MAX_ROUNDS + 5))
    assert await Purger(writer, ManualClock()).run() == MAX_ROUNDS * PURGE_LIMIT


async def test_tenants_and_their_keys(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as world:
        tenants = Tenants(world.committer, clock, world.readers.read_now(all_tenants), [])
        again, new = await tenants.add("one", "standard"), await tenants.add("three", "consumer")
        assert (again.no, new.no) == (1, 3)
        key_id, secret = await tenants.add_key(new.no, ("read",), clock.now_ms() + 1000)
        hashed = sha256(secret.encode()).digest()
        found = tenants.key(hashed)
        assert found is not None
        assert (found[0].scopes, found[1].name) == ("read", "three")
        assert tenants.key(sha256(b"another").digest()) is None
        clock.advance(1000)
        assert tenants.key(hashed) is None
        other_id, other = await tenants.add_key(new.no)
        with pytest.raises(CommitRefused) as caught:
            await tenants.revoke_key(1, other_id)
        assert caught.value.reason is CommitReason.NOT_FOUND
        assert tenants.key(sha256(other.encode()).digest()) is not None
        await tenants.revoke_key(new.no, other_id)
        assert tenants.key(sha256(other.encode()).digest()) is None
        with pytest.raises(LetterlockError):
            await tenants.revoke_key(new.no, ApiKeyId(bytes(16)))
        stored = world.readers.read_now(live_api_keys)
        assert [row.id for row in stored] == [key_id.value]
        files = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
        assert secret.encode() not in files
        assert other.encode() not in files


async def test_a_key_that_the_store_refused_is_good_for_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as world:
        tenants = Tenants(world.committer, clock, world.readers.read_now(all_tenants), [])
        with pytest.raises(CommitRefused):
            await tenants.add_key(77)
        assert not tenants._keys


def test_metrics_count_outcomes_and_name_nobody() -> None:
    metrics = Metrics()
    accepted, conflict = ResultStatus.ACCEPTED, ResultStatus.CONFLICT
    metrics.submitted([accepted] * 3)
    metrics.submitted([accepted, conflict])
    metrics.connected(1)
    metrics.delivered(5)
    metrics.acknowledged(4)
    metrics.answered("getHealth", 200)
    metrics.answered("getHealth", 200)
    metrics.watch_queue(lambda: 7)
    lines = dict(line.rsplit(" ", 1) for line in metrics.exposition().decode().splitlines() if line[0] != "#")
    assert lines['letterlock_submissions_total{outcome="accepted"}'] == "4.0"
    assert lines['letterlock_submissions_total{outcome="conflict"}'] == "1.0"
    assert lines["letterlock_connected_devices"] == "1.0"
    assert lines['letterlock_http_answers_total{operation="getHealth",status="200"}'] == "2.0"
    assert lines["letterlock_writer_queue"] == "7.0"


async def test_the_gateway_purges_signs_and_proves(tmp_path: Path) -> None:
    async with served(tmp_path) as here:
        await signed(here)
        await here.gateway.purger.run()
        note = await here.client.get("/v1/ledger/checkpoint")
        assert note.status_code == 200
        size = int(note.text.splitlines()[1])
        assert size > 0
        good = await here.client.get(f"/v1/ledger/proofs/{size - 1}", headers=here.as_("read"))
        assert good.status_code == 200
        assert good.text.startswith("c2sp.org/tlog-proof")
        beyond = await here.client.get("/v1/ledger/proofs/999999", headers=here.as_("read"))
        assert (beyond.status_code, beyond.json()["code"]) == (409, "entry_not_signed_yet")
        health = (await here.client.get("/v1/health")).json()
        assert health["status"] == "ok"
        assert health["ledger"]["witnessing"] == "unwitnessed"
        assert (await here.client.get("/metrics", headers=here.as_("read"))).text.startswith("# HELP")


async def signed(here: Served) -> None:
    await here.gateway.maintenance.sign()
    await here.gateway.maintenance.turn_keys()
