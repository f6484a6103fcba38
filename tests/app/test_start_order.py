"""What happens before the first entry is written at a start, and which policy a tenant gets."""

import asyncio
import shutil
from pathlib import Path

import httpx
import pytest

from letterlock.app.gateway import open_gateway
from letterlock.app.settings import Settings, from_tree
from letterlock.custody.slots import SlotFileError, SlotFileReason
from letterlock.ledger.errors import SigningError, SigningReason
from letterlock.storage.sqlite.connection import DATABASE, open_reader
from letterlock.storage.sqlite.ledger_rows import LedgerRows


def settings(folder: Path) -> Settings:
    return from_tree({"store": {"folder": str(folder)}, "log": {"level": "error"}})


def entries(folder: Path) -> int:
    reader = open_reader(folder)
    size, _ = LedgerRows(reader).head()
    reader.close()
    return size


async def test_a_store_behind_its_signed_head_is_refused_before_it_grows(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    gateway = await open_gateway(settings(folder))
    await gateway.close()
    shutil.copy(folder / DATABASE, tmp_path / "older")
    gateway = await open_gateway(settings(folder))
    await gateway.maintenance.sign()
    await gateway.close()
    shutil.copy(tmp_path / "older", folder / DATABASE)
    before = entries(folder)
    with pytest.raises(SigningError) as refused:
        await open_gateway(settings(folder))
    assert refused.value.reason is SigningReason.STORE_BEHIND_SIGNED_HEAD
    assert entries(folder) == before


async def test_a_tenant_with_a_profile_of_its_own_gets_that_policy(tmp_path: Path) -> None:
    gateway = await open_gateway(settings(tmp_path))
    of = gateway.policies.of
    before = gateway.policies.version
    clinic = await gateway.tenants.add("clinic", "consumer")
    assert of(clinic.no).policy.name == "consumer", "at once, not from the next start on"
    assert gateway.policies.version == before + 1
    second = await gateway.tenants.add("ward", "consumer")
    usual = await gateway.tenants.add("shop", "standard")
    again = await gateway.tenants.add("clinic", "standard")
    assert (again.no, of(again.no).policy.name) == (clinic.no, "consumer"), "the tenant there was, as it was"
    assert (of(second.no).policy.name, of(usual.no).policy.name) == ("consumer", "standard")
    assert gateway.policies.version == before + 1, "a policy in force is not put in force again"
    await gateway.close()
    gateway = await open_gateway(settings(tmp_path))
    of = gateway.policies.of
    assert (of(clinic.no).policy.name, of(usual.no).policy.name) == ("consumer", "standard")
    await gateway.close()


async def test_messages_go_on_while_a_tenant_with_another_profile_is_added(tmp_path: Path) -> None:
    gateway = await open_gateway(settings(tmp_path))
    first = gateway.tenants.all()[0]
    _, secret = await gateway.tenants.add_key(first.no)
    transport = httpx.ASGITransport(gateway.face)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        headers = {"authorization": f"Bearer {secret}"}

        async def send() -> int:
            body = {"to": "+4915112345678", "text": "hello", "traffic": "notification", "on_downgrade": "hold"}
            return (await client.post("/v1/messages", json=body, headers=headers)).status_code

        answers = await asyncio.gather(*[send() for _ in range(20)], gateway.tenants.add("clinic", "consumer"))
        assert set(answers[:-1]) == {202}, "decisions under the older version are made again"
    await gateway.close()


async def test_a_root_key_of_another_place_is_made_once_and_then_demanded(tmp_path: Path) -> None:
    folder, keys = tmp_path / "store", tmp_path / "keys"
    keys.mkdir(mode=0o700)
    apart = from_tree({"store": {"folder": str(folder)}, "keystore": {"root_file": str(keys / "root.key")}})
    await (await open_gateway(apart)).close()
    await (await open_gateway(apart)).close()
    assert sorted(file.name for file in keys.iterdir()) == ["api-key", "root.key"]
    assert not {"api-key", "root.key"} & {file.name for file in folder.iterdir()}
    (keys / "root.key").rename(tmp_path / "elsewhere")
    for lost in (apart, settings(folder)):
        with pytest.raises(SlotFileError) as refused:
            await open_gateway(lost)
        assert refused.value.reason is SlotFileReason.MISSING
    # No new one was made: it would open nothing, and hide that the right one is missing.
    assert not list(tmp_path.rglob("root.key"))
    (tmp_path / "elsewhere").rename(keys / "root.key")
    await (await open_gateway(apart)).close()
