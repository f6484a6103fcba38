"""Effects outside the database, stopped after every step, as a killed process stops: begun again, each is told once."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.open_messages.world import NUMBER, client_of, world

from letterlock.app.gateway import API_KEY_FILE, Gateway, open_gateway
from letterlock.app.settings import Settings, Store
from letterlock.custody.storage_keys import StorageKeyError, StorageKeyReason
from letterlock.custody.vault import ErasureOutcome, Vault, VaultError, VaultReason
from letterlock.gateway.erasures import Erasures
from letterlock.gateway.maintenance import GenerationRows
from letterlock.model.ids import TenantId
from letterlock.storage.maintenance_commands import Destroyed, EndErasure, IntendDestruction, IntendErasure
from letterlock.storage.sqlite.connection import open_reader
from letterlock.storage.sqlite.ledger_rows import LedgerRows
from letterlock.wire.tlog.entries import Erasure, GatewayStarted, LedgerEntry, StorageKey, decode_entry
from letterlock.wire.tlog.words import Step, StorageKeyStep

HOUR = 3_600_000


class Killed(BaseException):
    """The process ends here: nothing that follows happens, and nobody handles it."""


def entries(folder: Path) -> list[LedgerEntry]:
    db = open_reader(folder)
    rows = LedgerRows(db)
    found = [decode_entry(data) for data in rows.entries(0, rows.head()[0])]
    db.close()
    return found


def intents(folder: Path) -> int:
    db = open_reader(folder)
    found: Any = db.execute("SELECT count(*) FROM intent").fetchall()
    db.close()
    return int(found[0][0])


def settings(folder: Path) -> Settings:
    return Settings(store=Store(folder=str(folder)))


class Stop:
    """Ends the process at the n-th step, before or after it."""

    def __init__(self, at: int) -> None:
        self.left = at

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed

    def around(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            self.step()
            found = work(*arguments, **named)
            self.step()
            return found

        return run

    def around_async(self, work: Callable[..., Any]) -> Callable[..., Any]:
        async def run(*arguments: Any, **named: Any) -> Any:
            self.step()
            found = await work(*arguments, **named)
            self.step()
            return found

        return run


async def held_notice(folder: Path) -> None:
    gateway = await open_gateway(settings(folder))
    async with client_of(gateway, (folder / API_KEY_FILE).read_text().strip()) as http:
        body = {"to": NUMBER, "text": "hello", "traffic": "notification"}
        assert (await http.post("/v1/messages", json=body)).json()["state"] == "held"
    await gateway.close()


def parts(gateway: Gateway) -> tuple[Any, Vault, TenantId]:
    """The writer, the vault and the tenant of an open gateway."""
    keys = gateway.keys
    return gateway.committer, keys.vault, TenantId(gateway.tenants.all()[0].id)


STEPS = 10
"""Before and after each of: the vault's intent, the intent's commit, the deletion, the outcome's commit, the end."""


@pytest.mark.parametrize("at", range(STEPS + 1))
async def test_an_erasure_that_was_stopped_at_any_step_is_finished_at_the_next_start(tmp_path: Path, at: int) -> None:
    await held_notice(tmp_path)
    gateway = await open_gateway(settings(tmp_path))
    writer, vault, tenant = parts(gateway)
    stop = Stop(at)

    class Writer:
        run = staticmethod(stop.around_async(writer.run))

    for name in ("intend_erasure", "erase", "close_erasure"):
        setattr(vault, name, stop.around(getattr(vault, name)))
    begun = at > 0
    try:
        await Erasures(Writer(), vault).erase(tenant, NUMBER.encode())
        assert at == STEPS
    except Killed:
        assert at < STEPS
    await gateway.close()
    gateway = await open_gateway(settings(tmp_path))
    _, vault, tenant = parts(gateway)
    told = [entry for entry in entries(tmp_path) if isinstance(entry, Erasure)]
    if begun:
        assert vault.find(tenant, NUMBER.encode()) is None
        assert [(one.step, one.rows) for one in told] == [(Step.INTENT, 1), (Step.OUTCOME, 1)]
    else:
        assert vault.find(tenant, NUMBER.encode()) is not None
        assert told == [], "stopped before anything was durable: nothing was begun"
    assert vault.open_erasures() == ()
    assert intents(tmp_path) == 0
    started = [entry for entry in entries(tmp_path) if isinstance(entry, GatewayStarted)]
    assert started[-1].resumed == int(0 < at < STEPS - 1)
    await gateway.close()


async def test_who_is_forgotten_gets_nothing_and_is_new_when_they_come_back(tmp_path: Path) -> None:
    await held_notice(tmp_path)
    gateway = await open_gateway(settings(tmp_path))
    writer, vault, tenant = parts(gateway)
    before = vault.find(tenant, NUMBER.encode())
    assert before is not None
    assert await Erasures(writer, vault).erase(tenant, NUMBER.encode()) is ErasureOutcome.ERASED
    assert await Erasures(writer, vault).erase(tenant, NUMBER.encode()) is ErasureOutcome.ALREADY_ABSENT
    assert vault.subject(tenant, NUMBER.encode()).id != before.id
    await gateway.close()
    async with world(tmp_path) as w:
        assert w.screen() == [], "what was held is not released by a route"
        assert w.rows("SELECT count(*) FROM outbox") == [(0,)]
        assert w.rows("SELECT count(*) FROM shreddable_body") == [(0,)]
        assert w.rows("SELECT state, reason FROM message") == [(10, "erased")]
        assert len([one for one in w.entries() if isinstance(one, Erasure)]) == 2


async def test_a_hold_keeps_a_person_from_being_forgotten(tmp_path: Path) -> None:
    await held_notice(tmp_path)
    gateway = await open_gateway(settings(tmp_path))
    writer, vault, tenant = parts(gateway)
    vault.hold(tenant, NUMBER.encode(), b"h" * 16)
    with pytest.raises(VaultError) as refused:
        await Erasures(writer, vault).erase(tenant, NUMBER.encode())
    assert refused.value.reason is VaultReason.HELD
    assert not [one for one in entries(tmp_path) if isinstance(one, Erasure)]
    vault.release(tenant, NUMBER.encode(), b"h" * 16)
    intended = vault.intend_erasure(tenant, NUMBER.encode())
    vault.hold(tenant, NUMBER.encode(), b"h" * 16)
    assert await Erasures(writer, vault).resume() == 1
    assert vault.find(tenant, NUMBER.encode()) is not None
    told = [(one.step, one.rows) for one in entries(tmp_path) if isinstance(one, Erasure)]
    assert told == [(Step.INTENT, 1), (Step.OUTCOME, 0)], "said as it is: nothing was forgotten"
    assert intended not in vault.open_erasures()
    await gateway.close()


def destructions(folder: Path) -> list[tuple[int, StorageKeyStep]]:
    return [(one.generation, one.step) for one in entries(folder) if isinstance(one, StorageKey)]


@pytest.mark.parametrize("at", range(7))
async def test_a_key_s_destruction_that_was_stopped_at_any_step_is_finished_at_the_next_start(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await open_gateway(settings(tmp_path))
    storage = gateway.keys.storage
    now = gateway.clock.now_ms()
    old = storage.current(now).generation
    stop = Stop(at)

    class Rows(GenerationRows):
        intend_destruction = stop.around(GenerationRows.intend_destruction)
        destroyed = stop.around(GenerationRows.destroyed)

    overwrite, slot = storage._slots.erase, storage._live[old].slot
    stopping = stop.around(overwrite)
    monkeypatch.setattr(storage._slots, "erase", lambda at: (stopping if at == slot else overwrite)(at))
    rows = Rows(gateway.committer, asyncio.get_running_loop())
    try:
        await asyncio.to_thread(storage.maintain, now + HOUR, rows)
        assert at == 6
    except Killed:
        assert at < 6
    await gateway.close()
    gateway = await open_gateway(settings(tmp_path))
    if at == 0:
        assert destructions(tmp_path) == [], "nothing was begun"
    else:
        # A clock that has not come to the end of the window yet keeps a live key, and its intent stays open.
        if intents(tmp_path):
            with pytest.raises(StorageKeyError) as early:
                gateway.keys.storage.resume_destruction(old, now, rows)
            assert early.value.reason is StorageKeyReason.STILL_SERVING
            again = GenerationRows(gateway.committer, asyncio.get_running_loop())
            await asyncio.to_thread(gateway.keys.storage.resume_destruction, old, now + HOUR, again)
        steps = [step for generation, step in destructions(tmp_path) if generation == old]
        assert steps == [StorageKeyStep.DESTROY_INTENT, StorageKeyStep.DESTROYED]
        with pytest.raises(StorageKeyError) as gone:
            gateway.keys.storage.get(old)
        assert gone.value.reason is StorageKeyReason.DESTROYED
    assert intents(tmp_path) == 0
    await gateway.close()


async def test_the_writer_tells_each_step_once(tmp_path: Path) -> None:
    gateway = await open_gateway(settings(tmp_path))
    run = gateway.committer.run
    for command in (Destroyed(7), IntendDestruction(7), IntendDestruction(7), Destroyed(7), Destroyed(7)):
        await run(command)
    erasure = (EndErasure(b"e" * 16, 1, bytes(16)), IntendErasure(b"e" * 16, b"s" * 16, bytes(16)))
    for other in (erasure[0], erasure[1], erasure[1], erasure[0], erasure[0]):
        await run(other)
    assert destructions(tmp_path) == [(7, StorageKeyStep.DESTROY_INTENT), (7, StorageKeyStep.DESTROYED)]
    assert [one.step for one in entries(tmp_path) if isinstance(one, Erasure)] == [Step.INTENT, Step.OUTCOME]
    assert intents(tmp_path) == 0
    await gateway.close()
