"""A store with real traffic is whole: while messages wait, after a kill, after delivery, and after the purge."""

import asyncio
from pathlib import Path

from tests.app.stores import called, parsed

from letterlock.lab.demo.world import enrol, received, start_gateway, until


def whole(folder: Path, settings: Path) -> bool:
    done = called("fsck", "--data", str(folder), "--config", str(settings))
    assert done.exit_code == 0, done.output
    return True


async def test_fsck_finds_nothing_wrong_at_any_moment(tmp_path: Path) -> None:
    gateway = await start_gateway(tmp_path)
    settings = tmp_path / "letterlock.toml"
    alice = await enrol(tmp_path, gateway, "alice", "lab")
    bob = await enrol(tmp_path, gateway, "bob", "lab")
    try:
        alice.connect()
        group = await alice.device.create_group()
        await alice.device.add_account(group, bob.device.account)
        for number in range(20):
            await alice.device.send(group, f"message {number}".encode())
        assert await until(lambda: not alice.device.waiting(0, 10))
        assert whole(gateway.folder, settings), "messages wait in a mailbox"
        await gateway.kill()
        assert whole(gateway.folder, settings), "after a kill; the keys are looked at too"
        gateway = await start_gateway(tmp_path)
        bob.http.base_url = gateway.url
        while await bob.device.sync():
            pass
        assert len(received(bob)) == 20
        assert whole(gateway.folder, settings), "everything is delivered"
        await asyncio.sleep(2)
        overdue = parsed("retention", "verify", "--data", str(gateway.folder), "--config", str(settings))
        assert overdue["overdue"] == 0
    finally:
        await alice.close()
        await bob.close()
        await gateway.stop()
    assert whole(gateway.folder, settings)
