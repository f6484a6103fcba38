"""Commits in order, Welcomes with the winner only."""

import asyncio
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.relay import mls
from tests.relay.world import Person, Phone, World, bundle, enrolled, group_of, opened

from letterlock.model.ids import GroupRef
from letterlock.relay.bundle import Welcome
from letterlock.relay.errors import RelayError, WrongEpochError
from letterlock.relay.groups import first_chain, next_chain
from letterlock.storage.errors import StorageError
from letterlock.storage.relay_commands import GroupCommitted, RelayReason
from letterlock.wire.tlog.entries import Finding, decode_entry
from letterlock.wire.tlog.words import FindingCode

GROUP = b"a group's id"


async def refusal(work: Any) -> RelayReason:
    with pytest.raises(RelayError) as found:
        await work
    return found.value.reason


async def no_half_fanout(world: World) -> None:
    """Every item has its message and body, every body its items, every Welcome its logged commit's sender."""
    assert (
        await world.rows(
            "SELECT m.seq FROM message m WHERE m.pending <> (SELECT count(*) FROM mailbox_item i WHERE i.message=m.seq)"
        )
        == []
    )
    assert (
        await world.rows("SELECT message FROM mailbox_item WHERE message NOT IN (SELECT message FROM sealed_body)")
        == []
    )
    assert (
        await world.rows("SELECT message FROM sealed_body WHERE message NOT IN (SELECT message FROM mailbox_item)")
        == []
    )
    assert (
        await world.rows(
            "SELECT group_no FROM mls_group g JOIN (SELECT group_no, count(*) n FROM group_log GROUP BY 1) l"
            " ON l.group_no=g.no WHERE g.epoch <> g.first_epoch + l.n OR g.log_seq <> l.n"
        )
        == []
    )


async def test_creation_is_idempotent_until_something_was_committed(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        ref, chain, created = await world.groups.create(ann.caller, GROUP, 1)
        assert created
        prefix = b"letterlock group log v1\0" + (1).to_bytes(8) + len(GROUP).to_bytes(8)
        assert chain == sha256(prefix + GROUP).digest() == first_chain(GROUP, 1)
        assert await world.groups.create(ann.caller, GROUP, 1) == (ref, chain, False)
        assert await refusal(world.groups.create(ann.caller, GROUP, 0)) is RelayReason.GROUP_EXISTS
        assert await refusal(world.groups.create(bob.caller, GROUP, 1)) is RelayReason.GROUP_EXISTS
        assert await refusal(world.groups.create(ann.caller, b"other", 2)) is RelayReason.BAD_EPOCH
        await world.groups.commit(ann.caller, ref, bundle(GROUP, 1))
        assert await refusal(world.groups.create(ann.caller, GROUP, 1)) is RelayReason.GROUP_EXISTS
        (eve,) = await enrolled(world, "e1", tenant=2)
        assert (await world.groups.create(eve.caller, GROUP, 1))[2], "another tenant's group of that id is another"


async def test_a_commit_reaches_members_and_its_welcome_the_added(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob, eve = await enrolled(world, "a1", "b1", "e1")
        ref = await group_of(world, GROUP, ann, bob)
        await world.mailboxes.acknowledge(1, bob.mailbox, 1, 1)
        change = bundle(GROUP, 1, adds=(eve,), counter=33, group_info=mls.group_info(GROUP, 2))
        done = await world.groups.commit(ann.caller, ref, change)
        assert done.epoch == 2
        assert done.chain == next_chain(
            next_chain(first_chain(GROUP, 0), 0, (await first_commit(world, ann, ref))), 1, change.commit
        )
        assert world.notified.deliveries[-2:] == [(bob.mailbox, 2), (eve.mailbox, 1)]
        pages = [await world.mailboxes.page(p.caller.tenant_id, p.mailbox, 0, 10) for p in (ann, bob, eve)]
        assert [item.body for item in pages[0].items] == []
        assert [(i.row.sequence, i.row.kind, i.body) for i in pages[1].items] == [(2, 3, change.commit)]
        assert [(i.row.sequence, i.row.kind, i.body) for i in pages[2].items] == [(1, 4, change.welcomes[0].body)]
        assert pages[2].items[0].row.group == ref.value
        record = await world.rows("SELECT record_hash FROM message_key WHERE record_hash=?", done.record_hash)
        assert len(record) == 1
        entries = await world.rows(
            "SELECT m.entry FROM message m LEFT JOIN record_batch r ON r.entry=m.entry WHERE r.seed IS NULL"
        )
        assert entries == []
        row, members = await world.groups.look(eve.caller, ref)
        assert (row.epoch, row.chain) == (2, done.chain)
        assert {m.device for m in members} == {p.id.value for p in (ann, bob, eve)}
        log = await world.groups.commits(bob.caller, ref, 1)
        assert [(c.row.base_epoch, c.commit, [m.device for m in c.row.adds]) for c in log] == [
            (1, change.commit, [eve.id.value])
        ]
        assert (await world.rows("SELECT state_counter FROM device WHERE mailbox=?", ann.mailbox)) == [(33,)]
        head = world.group_directory.known(1, ref.value)
        assert head is not None
        assert head.epoch == 2
        await no_half_fanout(world)


async def first_commit(world: World, phone: Phone, ref: GroupRef) -> bytes:
    return (await world.groups.commits(phone.caller, ref, 0))[0].commit


async def test_of_a_hundred_commits_on_one_epoch_exactly_one_wins(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        phones = await enrolled(world, *[f"p{n}" for n in range(10)])
        guests = await enrolled(world, *[f"g{n}" for n in range(100)])
        ref = await group_of(world, GROUP, *phones)
        offers = [(phones[n % 10], bundle(GROUP, 1, adds=(guests[n],), mark=b"%d" % n)) for n in range(100)]
        answers = await asyncio.gather(
            *[world.groups.commit(phone.caller, ref, offer) for phone, offer in offers], return_exceptions=True
        )
        won = [n for n, answer in enumerate(answers) if isinstance(answer, GroupCommitted)]
        lost = [answer for answer in answers if isinstance(answer, WrongEpochError)]
        assert len(won) == 1
        assert len(lost) == 99
        winner = offers[won[0]][0]
        for n, answer in enumerate(answers):
            if isinstance(answer, WrongEpochError):
                assert answer.facts == {"current_epoch": 2}
                caller = offers[n][0]
                # The winner's own device knows what it committed; all others find the commit in their mailbox.
                first = (1,) if caller is phones[0] else (2,)
                assert answer.missing == (() if caller is winner else first)
        welcomed = await world.rows("SELECT key>>32 FROM mailbox_item WHERE kind=4 AND key>>32 >= ?", guests[0].mailbox)
        assert welcomed == [(guests[won[0]].mailbox,)], "no Welcome of a losing commit exists"
        assert await world.count("group_log") == 2
        assert await world.count("message") == 4
        await no_half_fanout(world)


async def test_ten_committers_that_retry_make_ten_epochs(tmp_path: Path) -> None:
    async def insist(world: World, phone: Phone, ref: GroupRef, guest: Phone) -> int:
        epoch = 1
        while True:
            try:
                offer = bundle(GROUP, epoch, adds=(guest,), mark=guest.id.value)
                return (await world.groups.commit(phone.caller, ref, offer)).epoch
            except WrongEpochError as error:
                epoch = int(str(error.facts["current_epoch"]))

    async with opened(tmp_path) as world:
        phones = await enrolled(world, *[f"p{n}" for n in range(10)])
        guests = await enrolled(world, *[f"g{n}" for n in range(10)])
        ref = await group_of(world, GROUP, *phones)
        epochs = await asyncio.gather(*[insist(world, p, ref, g) for p, g in zip(phones, guests, strict=True)])
        assert sorted(epochs) == list(range(2, 12))
        _, members = await world.groups.look(phones[0].caller, ref)
        assert len(members) == 20
        await no_half_fanout(world)


async def test_a_repetition_gets_the_first_answer_and_another_request_a_conflict(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        offer = bundle(GROUP, 1, key=b"k" * 16)
        both = await asyncio.gather(*[world.groups.commit(ann.caller, ref, offer) for _ in range(2)])
        assert {(done.epoch, done.chain, done.record_hash) for done in both} == {
            (2, both[0].chain, both[0].record_hash)
        }
        assert [done.repeated for done in both].count(True) == 1
        await world.groups.commit(bob.caller, ref, bundle(GROUP, 2))
    async with opened(tmp_path) as world:
        again = await world.groups.commit(ann.caller, ref, offer)
        assert (again.epoch, again.record_hash, again.repeated) == (2, both[0].record_hash, True)
        other = bundle(GROUP, 3, key=b"k" * 16, mark=b"other")
        assert await refusal(world.groups.commit(ann.caller, ref, other)) is RelayReason.IDEMPOTENCY_CONFLICT
        assert (await world.groups.commit(bob.caller, ref, other)).epoch == 4, "keys are each device's own"


async def test_who_was_removed_meanwhile_still_learns_what_became_of_its_commit(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        offer = bundle(GROUP, 1, key=b"k" * 16)
        done = await world.groups.commit(bob.caller, ref, offer)
        await world.groups.commit(ann.caller, ref, bundle(GROUP, 2, removes=(bob,)))
        again = await world.groups.commit(bob.caller, ref, offer)
        assert (again.epoch, again.chain, again.record_hash, again.repeated) == (2, done.chain, done.record_hash, True)
        for other in (bundle(GROUP, 2), bundle(GROUP, 3)):
            assert await refusal(world.groups.commit(bob.caller, ref, other)) is RelayReason.NOT_A_MEMBER


@pytest.mark.attack("A2")
async def test_an_external_commit_is_refused_and_recorded(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        offer = bundle(GROUP, 1, commit=mls.commit(GROUP, 1, sender=4))
        assert await refusal(world.groups.commit(bob.caller, ref, offer)) is RelayReason.EXTERNAL_COMMIT
        entry = decode_entry((await world.rows("SELECT d FROM ledger_entry ORDER BY i DESC LIMIT 1"))[0][0])
        assert isinstance(entry, Finding)
        assert entry.code is FindingCode.EXTERNAL_COMMIT
        assert (await world.groups.commit(bob.caller, ref, bundle(GROUP, 1))).epoch == 2


async def test_what_makes_a_bundle_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob, eve, dan = await enrolled(world, "a1", "b1", "e1", "d1")
        (far,) = await enrolled(world, "f1", tenant=2)
        ref = await group_of(world, GROUP, ann, bob)
        ghost = Phone("ghost")
        kp = mls.key_package(eve.leaf, 1)
        add = {"adds": (eve,)}
        cases: list[tuple[RelayReason, dict[str, Any]]] = [
            (RelayReason.BAD_COMMIT, {"commit": b"no"}),
            (RelayReason.BAD_COMMIT, {"commit": mls.commit(GROUP, 2)}),
            (RelayReason.BAD_COMMIT, {"commit": mls.commit(b"another", 1)}),
            (RelayReason.BAD_COMMIT, {"commit": mls.private(GROUP, 1, 1)}),
            (RelayReason.BAD_COMMIT, {"commit": mls.private(GROUP, 1, 2)}),
            (RelayReason.BAD_COMMIT, {"commit": mls.welcome()}),
            (RelayReason.BAD_COMMIT, {"commit": mls.commit(GROUP, 1, reference=True)}),
            (RelayReason.BAD_COMMIT, {"commit": mls.commit(GROUP, 1) + bytes(1 << 20)}),
            (RelayReason.BAD_WELCOME, add | {"welcomes": [Welcome([eve.id], b"no")]}),
            (RelayReason.BAD_WELCOME, add | {"welcomes": [Welcome([eve.id], mls.commit(GROUP, 1))]}),
            (RelayReason.BAD_GROUP_INFO, {"group_info": b""}),
            (RelayReason.BAD_GROUP_INFO, {"group_info": mls.group_info(GROUP, 1)}),
            (RelayReason.BAD_MEMBERS, add | {"welcomes": []}),
            (RelayReason.BAD_MEMBERS, add | {"welcomes": [Welcome([eve.id, eve.id], mls.welcome())]}),
            (RelayReason.BAD_MEMBERS, add | {"welcomes": [Welcome([dan.id], mls.welcome())]}),
            (RelayReason.BAD_MEMBERS, add | {"welcomes": [Welcome([eve.id], mls.welcome())] * 2}),
            (RelayReason.BAD_MEMBERS, {"welcomes": [Welcome([], mls.welcome())]}),
            (RelayReason.BAD_MEMBERS, {"adds": (bob,)}),
            (RelayReason.BAD_MEMBERS, {"adds": (far,)}),
            (RelayReason.BAD_MEMBERS, {"adds": (ghost,)}),
            (RelayReason.BAD_MEMBERS, {"removes": (eve,)}),
            (RelayReason.BAD_MEMBERS, {"removes": (ann,)}),
            (RelayReason.BAD_MEMBERS, {"adds": (eve,), "removes": (eve,)}),
            (RelayReason.BAD_MEMBERS, add | {"commit": mls.commit(GROUP, 1)}),
            (RelayReason.BAD_MEMBERS, {"commit": mls.commit(GROUP, 1, adds=(kp,))}),
            (RelayReason.BAD_MEMBERS, {"commit": mls.commit(GROUP, 1, removes=(1,))}),
        ]
        before = await world.count("message"), await world.count("group_log")
        elsewhere = replace(bundle(GROUP, 1), group_id=b"another")
        assert await refusal(world.groups.commit(ann.caller, ref, elsewhere)) is RelayReason.BAD_COMMIT
        for reason, fields in cases:
            assert await refusal(world.groups.commit(ann.caller, ref, bundle(GROUP, 1, **fields))) is reason, fields
        assert (await world.count("message"), await world.count("group_log")) == before
        offer = bundle(GROUP, 1)
        for caller in (eve.caller, far.caller):
            wanted = RelayReason.NOT_FOUND if caller.tenant == 2 else RelayReason.NOT_A_MEMBER
            assert await refusal(world.groups.commit(caller, ref, offer)) is wanted
            assert await refusal(world.groups.look(caller, ref)) is wanted
            assert await refusal(world.groups.commits(caller, ref, 0)) is wanted
        assert (await world.groups.commit(ann.caller, ref, bundle(GROUP, 1, adds=(eve,)))).epoch == 2


async def test_a_private_commit_drops_the_group_to_framed(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        assert not (await world.groups.look(ann.caller, ref))[0].private_handshakes
        await world.groups.commit(ann.caller, ref, bundle(GROUP, 1, commit=mls.private(GROUP, 1, 3)))
        await world.groups.commit(ann.caller, ref, bundle(GROUP, 2))
        assert (await world.groups.look(ann.caller, ref))[0].private_handshakes


async def test_a_removed_member_learns_it_and_is_out(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob, eve = await enrolled(world, "a1", "b1", "e1")
        ref = await group_of(world, GROUP, ann, bob, eve)
        done = await world.groups.commit(ann.caller, ref, bundle(GROUP, 1, removes=(bob,)))
        assert done.deliveries == ((bob.mailbox, 2), (eve.mailbox, 2))
        assert await refusal(world.groups.look(bob.caller, ref)) is RelayReason.NOT_A_MEMBER
        done = await world.groups.commit(ann.caller, ref, bundle(GROUP, 2))
        assert done.deliveries == ((eve.mailbox, 3),)
        log = await world.groups.commits(eve.caller, ref, 1)
        assert [m.device for m in log[0].row.removes] == [bob.id.value]
        await no_half_fanout(world)


async def test_a_retired_device_can_still_be_removed_but_not_added(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        person, kept, gone = Person("ann"), Phone("a1"), Phone("a2")
        await person.enrol(world, kept, gone)
        (bob,) = await enrolled(world, "b1")
        ref = await group_of(world, GROUP, bob, kept, gone)
        await person.publish(world, [kept])
        done = await world.groups.commit(bob.caller, ref, bundle(GROUP, 1))
        assert [n for n, _ in done.deliveries] == [kept.mailbox], "no fan-out to a retired device"
        assert len((await world.groups.look(bob.caller, ref))[1]) == 3, "its leaf is still there"
        assert await refusal(world.groups.commit(gone.caller, ref, bundle(GROUP, 2))) is RelayReason.NOT_A_MEMBER
        await world.groups.commit(bob.caller, ref, bundle(GROUP, 2, removes=(gone,)))
        assert len((await world.groups.look(bob.caller, ref))[1]) == 2
        assert (
            await refusal(world.groups.commit(bob.caller, ref, bundle(GROUP, 3, adds=(gone,))))
            is RelayReason.BAD_MEMBERS
        )


async def test_a_stale_decision_is_made_again_and_given_up_after_three(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        world.policy.version = 5
        with pytest.raises(StorageError):
            await world.groups.commit(ann.caller, ref, bundle(GROUP, 1))
        assert await world.count("group_log") == 1
        world.policy.version = 0
        assert (await world.groups.commit(ann.caller, ref, bundle(GROUP, 1))).epoch == 2


async def test_old_commits_are_purged_and_the_chain_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        world.clock.advance(31 * 86_400_000)
        done = await world.groups.commit(ann.caller, ref, bundle(GROUP, 1))
        assert (await world.mailboxes.purge()).commits == 1
        assert [c.row.base_epoch for c in await world.groups.commits(ann.caller, ref, 0)] == [1]
        assert (await world.groups.look(ann.caller, ref))[0].chain == done.chain
        assert (await world.groups.commit(ann.caller, ref, bundle(GROUP, 2))).epoch == 3
