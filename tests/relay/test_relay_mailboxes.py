"""Mailboxes: pages, acknowledgement, loss and reset."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.relay.world import Person, Phone, World, bundle, enrolled, group_of, opened

from letterlock.custody.sealing import StorageKey
from letterlock.relay import mailboxes as module
from letterlock.relay.errors import RelayError
from letterlock.storage.relay_commands import LoseMailbox, RelayReason
from letterlock.storage.sqlite.order import AS_THEY_COME
from letterlock.storage.sqlite.relay_groups import rewrap_group_log
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog.entries import Purge, decode_entry

GROUP = b"g"


async def sequences(world: World, phone: Phone, after: int = 0, limit: int = 100) -> list[int]:
    page = await world.mailboxes.page(phone.caller.tenant_id, phone.mailbox, after, limit)
    return [item.row.sequence for item in page.items]


async def test_items_stay_until_acknowledged_and_numbering_is_dense_across_restarts(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        for epoch in range(1, 6):
            await world.groups.commit(ann.caller, ref, bundle(GROUP, epoch))
        assert await sequences(world, bob) == [1, 2, 3, 4, 5, 6]
        assert await sequences(world, bob, 2, 2) == [3, 4]
        assert await world.mailboxes.acknowledge(1, bob.mailbox, 4, 1) == 4
        assert await world.mailboxes.acknowledge(1, bob.mailbox, 2, 1) == 4, "less than before changes nothing"
        with pytest.raises(RelayError) as found:
            await world.mailboxes.acknowledge(1, bob.mailbox, 7, 9)
        assert found.value.reason is RelayReason.ACK_AHEAD
        assert await sequences(world, bob) == [5, 6]
        assert await world.count("sealed_body") == 2
    async with opened(tmp_path) as world:
        assert await world.mailboxes.acknowledge(1, bob.mailbox, 6, 2) == 6
    async with opened(tmp_path) as world:
        await world.groups.commit(ann.caller, ref, bundle(GROUP, 6))
        assert await sequences(world, bob) == [7]
        page = await world.mailboxes.page(bob.caller.tenant_id, bob.mailbox, 0, 10)
        assert page.head == 7


async def test_what_is_stored_is_not_the_device_s_bytes(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        offer = bundle(GROUP, 1, mark=b"canary in a signature")
        await world.groups.commit(ann.caller, ref, offer)
        await world.committer.run(LoseMailbox(1, ann.mailbox))
    for path in tmp_path.iterdir():
        assert b"canary in a signature" not in path.read_bytes(), path.name


async def test_a_lost_mailbox_is_emptied_and_silent_until_reset_and_fresh_packages(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob, eve = await enrolled(world, "a1", "b1", "e1")
        ref = await group_of(world, GROUP, ann, bob, eve)
        await bob.put(world, 2)
        await world.groups.commit(ann.caller, ref, bundle(GROUP, 1))
        assert (await world.committer.run(LoseMailbox(1, bob.mailbox))).dropped == 2
        entry = decode_entry((await world.rows("SELECT d FROM ledger_entry ORDER BY i DESC LIMIT 1"))[0][0])
        assert isinstance(entry, Purge)
        assert entry.rows == 2
        assert await sequences(world, bob) == []
        done = await world.groups.commit(ann.caller, ref, bundle(GROUP, 2))
        assert [n for n, _ in done.deliveries] == [eve.mailbox]
        assert (await sequences(world, eve)) == [1, 2, 3], "what others wait for is untouched"
    async with opened(tmp_path) as world:
        login = await bob.log_in(world)
        assert (login.lost, login.head, login.key_packages) == (True, 2, 0)
        await bob.put(world)
        assert (await bob.log_in(world)).lost, "packages before the reset do not count"
        assert await world.mailboxes.reset(1, bob.mailbox, bob.counter) == 2
        login = await bob.log_in(world)
        assert (login.lost, login.acknowledged, login.key_packages) == (True, 2, 0)
        gone = bundle(GROUP, 3, removes=(bob,))
        await world.groups.commit(ann.caller, ref, gone)
        back = bundle(GROUP, 4, adds=(bob,))
        with pytest.raises(RelayError) as found:
            await world.groups.commit(ann.caller, ref, back)
        assert found.value.reason is RelayReason.BAD_MEMBERS
        await bob.put(world)
        assert not (await bob.log_in(world)).lost
        await world.groups.commit(ann.caller, ref, back)
        assert await sequences(world, bob) == [3], "numbering goes on"
        assert await world.mailboxes.reset(1, bob.mailbox, 1) == 2, "nothing is dropped of one in order"
        assert await sequences(world, bob) == [3]


async def test_the_sweep_finds_the_overdue_and_the_overfull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as world:
        ann, bob, eve = await enrolled(world, "a1", "b1", "e1")
        ref = await group_of(world, GROUP, ann, bob, eve)
        assert await world.mailboxes.sweep() == 0
        world.clock.advance(29 * 86_400_000)
        await world.mailboxes.acknowledge(1, eve.mailbox, 1, 1)
        await world.groups.commit(ann.caller, ref, bundle(GROUP, 1))
        assert await world.mailboxes.sweep() == 0
        world.clock.advance(86_400_000)
        assert await world.mailboxes.sweep() == 1
        assert await world.rows("SELECT mailbox FROM device WHERE lost=1") == [(bob.mailbox,)]
        for epoch in (2, 3):
            await world.groups.commit(ann.caller, ref, bundle(GROUP, epoch))
        monkeypatch.setattr(module, "MAILBOX_ITEMS", 3)
        assert await world.mailboxes.sweep() == 0
        monkeypatch.setattr(module, "MAILBOX_ITEMS", 2)
        assert await world.mailboxes.sweep() == 1
        assert await world.rows("SELECT mailbox FROM device WHERE lost=1 ORDER BY 1") == [
            (bob.mailbox,),
            (eve.mailbox,),
        ]
        assert await world.mailboxes.sweep() == 0
        assert await world.count("sealed_body") == 0


async def test_a_mailbox_over_its_bytes_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        await group_of(world, GROUP, ann, bob)
        (size,) = (await world.rows("SELECT length(sealed) FROM sealed_body"))[0]
        monkeypatch.setattr(module, "MAILBOX_BYTES", size)
        assert await world.mailboxes.sweep() == 0
        monkeypatch.setattr(module, "MAILBOX_BYTES", size - 1)
        assert await world.mailboxes.sweep() == 1


async def test_a_hole_ends_the_page(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        for epoch in (1, 2, 3):
            await world.groups.commit(ann.caller, ref, bundle(GROUP, epoch))
        world.core.read_back("DELETE FROM mailbox_item WHERE key=?", (bob.mailbox << 32 | 3,))
        assert await sequences(world, bob) == [1, 2]
        assert await sequences(world, bob, 2) == [4], "the device sees that 3 is missing"


async def test_items_that_came_with_the_removal_are_swept(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        person, phone = Person("ann"), Phone("a1")
        await person.enrol(world, phone)
        (bob,) = await enrolled(world, "b1")
        await group_of(world, GROUP, bob, phone)
        world.core.read_back("UPDATE device SET revoked_ms=1 WHERE mailbox=?", (phone.mailbox,))
        assert await world.mailboxes.sweep() == 1
        assert await world.count("mailbox_item") == 0
        assert await world.count("sealed_body") == 0


async def test_a_page_stops_at_a_body_whose_key_has_just_gone(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        for epoch in (1, 2):
            await world.groups.commit(ann.caller, ref, bundle(GROUP, epoch))
        key = (bob.mailbox << 32 | 2,)
        move = "UPDATE sealed_body SET generation=? WHERE message=(SELECT message FROM mailbox_item WHERE key=?)"
        world.core.read_back(move, (6, *key))
        assert await sequences(world, bob) == [1]
        world.core.read_back(move, (7, *key))
        assert await sequences(world, bob) == [1, 2, 3]


async def test_logged_commits_move_to_another_generation(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        old, new = StorageKey(6, AESGCM(b"o" * 32)), world.keys.current(0)
        tx = Transaction(world.core._db, world.core._state, b"", 0, 0, AS_THEY_COME, {})
        assert rewrap_group_log(tx, new, old, 10) == 1
        assert rewrap_group_log(tx, new, old, 10) == 0
        assert await world.rows("SELECT DISTINCT generation FROM group_log") == [(6,)]
        assert rewrap_group_log(tx, old, new, 10) == 1
        assert len(await world.groups.commits(ann.caller, ref, 0)) == 1
