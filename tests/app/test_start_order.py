"""What happens before the first entry is written at a start, and which policy a tenant gets."""

import shutil
from pathlib import Path

import pytest

from letterlock.app.gateway import open_gateway
from letterlock.app.settings import Settings, from_tree
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
    clinic = await gateway.tenants.add("clinic", "consumer")
    usual = await gateway.tenants.add("shop", "standard")
    await gateway.close()
    gateway = await open_gateway(settings(tmp_path))
    of = gateway.policies.of
    assert (of(clinic.no).policy.name, of(usual.no).policy.name) == ("consumer", "standard")
    await gateway.close()
