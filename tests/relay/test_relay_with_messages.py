"""Handshakes of the delivery service and messages of the hot path in the same transactions."""

from pathlib import Path

import pytest
from tests.relay.world import SHOWN, TENANTS, Person, Phone, World, bundle, enrolled, group_of, opened

from letterlock.custody.sealing import seal_sealed
from letterlock.model.ids import GroupRef, MessageId
from letterlock.model.message import MessageState
from letterlock.relay.bundle import Bundle
from letterlock.storage.commands import Accepted, AcceptSealed, Relied
from letterlock.storage.errors import CommitReason, CommitRefused
from letterlock.storage.relay_commands import (
    CommitGroup,
    GroupCommitted,
    ListedDevice,
    LoseMailbox,
    NewWelcome,
    PublishDeviceList,
    SealedHandshake,
)
from letterlock.storage.sqlite.hot import PAST_EPOCHS

GROUP = b"g"


def message(world: World, sender: Phone, group: int, epoch: int, name: bytes, session: int = -1) -> AcceptSealed:
    key, now = world.keys.current(0), world.clock.now_ms()
    message_id = name.ljust(16, b".")
    return AcceptSealed(
        tenant=1, message_id=message_id, request_mac=name.ljust(16, b"m"), sender=sender.mailbox, group=group,
        mailbox=0, kind=1, epoch=epoch, sealed=seal_sealed(key, TENANTS[1], MessageId(message_id), name),
        generation=key.generation, size_bucket=0, shown=SHOWN, state=MessageState.ACCEPTED,
        relied=Relied(0, session), now_ms=now, expires_ms=now + 1_000_000,
    )  # fmt: skip


def command(world: World, caller: Phone, group: int, offer: Bundle) -> CommitGroup:
    key = world.keys.current(0)

    def sealed(body: bytes, name: bytes) -> SealedHandshake:
        message_id = name.ljust(16, b"h")
        return SealedHandshake(message_id, seal_sealed(key, TENANTS[1], MessageId(message_id), body), 0)

    return CommitGroup(
        tenant=1, caller=caller.mailbox, group=group, base_epoch=offer.base_epoch,
        commit=sealed(offer.commit, b"c%d" % offer.base_epoch), commit_hash=b"h" * 32, private=False,
        welcomes=tuple(
            NewWelcome(sealed(w.body, b"w%d" % offer.base_epoch), tuple(d.value for d in w.recipients))
            for w in offer.welcomes
        ),
        adds=tuple(d.value for d in offer.adds), removes=tuple(d.value for d in offer.removes),
        idempotency_key=offer.idempotency_key, request_hash=offer.digest(), state_counter=1,
        generation=key.generation, shown=SHOWN, relied=Relied(0), expires_ms=world.clock.now_ms() + 1_000_000,
    )  # fmt: skip


async def number(world: World, ref: GroupRef) -> int:
    found = await world.group_directory.find(1, ref.value)
    assert found is not None
    return found.number


async def kinds(world: World, phone: Phone) -> list[tuple[int, int]]:
    page = await world.mailboxes.page(TENANTS[1], phone.mailbox, 0, 100)
    return [(item.row.sequence, item.row.kind) for item in page.items]


async def test_messages_and_commits_of_one_transaction_keep_their_order(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob, eve = await enrolled(world, "a1", "b1", "e1")
        ref = await group_of(world, GROUP, ann, bob)
        group = await number(world, ref)
        outcomes = await world.committer.submit([
            message(world, ann, group, 1, b"one"),
            message(world, ann, group, 2, b"ahead"),
            command(world, ann, group, bundle(GROUP, 1, adds=(eve,))),
            message(world, ann, group, 2, b"two"),
            command(world, bob, group, bundle(GROUP, 1)),
            command(world, bob, group, bundle(GROUP, 2, removes=(eve,))),
            message(world, eve, group, 2, b"out"),
            message(world, ann, group, 3, b"three"),
        ])  # fmt: skip
        assert [type(outcome) for outcome in outcomes] == [
            Accepted, CommitRefused, GroupCommitted, Accepted, CommitRefused, GroupCommitted, CommitRefused, Accepted,
        ]  # fmt: skip
        reasons = [o.reason for o in outcomes if isinstance(o, CommitRefused)]
        assert reasons == [CommitReason.WRONG_EPOCH, CommitReason.NOT_ALLOWED, CommitReason.NOT_ALLOWED]
        wanted = {
            ann: [(1, 3)],
            bob: [(1, 4), (2, 1), (3, 3), (4, 1), (5, 1)],
            eve: [(1, 4), (2, 1), (3, 3)],
        }
        for phone, held in wanted.items():
            assert await kinds(world, phone) == held
    async with opened(tmp_path) as world:
        for phone, held in wanted.items():
            assert await kinds(world, phone) == held
        assert await world.rows("SELECT seq FROM message WHERE entry<0") == []
        (first,) = await world.committer.submit([message(world, ann, group, 3, b"later")])
        assert first.deliveries == ((bob.mailbox, 6),)


async def test_the_window_of_past_epochs_moves_with_commits(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        group = await number(world, ref)
        for epoch in range(1, PAST_EPOCHS + 2):
            await world.groups.commit(ann.caller, ref, bundle(GROUP, epoch))
        old, last = await world.committer.submit([
            message(world, bob, group, 1, b"too old"), message(world, bob, group, 2, b"just in"),
        ])  # fmt: skip
        assert isinstance(old, CommitRefused)
        assert old.reason is CommitReason.EPOCH_TOO_OLD
        assert isinstance(last, Accepted)


async def test_a_send_of_a_device_that_is_removed_in_the_same_transaction(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        person, kept, gone = Person("ann"), Phone("a1"), Phone("a2")
        await person.enrol(world, kept, gone)
        (bob,) = await enrolled(world, "b1")
        ref = await group_of(world, GROUP, bob, kept, gone)
        group = await number(world, ref)
        content = person.next_list([kept])
        publish = PublishDeviceList(
            1, person.account.value, 2, content.previous, content.digest(), person.signed(content),
            (ListedDevice(kept.id.value, kept.session_key.public.encode(), kept.leaf.public, "native"),), b"s" * 16,
        )  # fmt: skip
        session = world.directory.version
        before, _, stale, other = await world.committer.submit([
            message(world, bob, group, 1, b"before", session),
            publish,
            message(world, gone, group, 1, b"by the removed", session),
            message(world, gone, group, 1, b"without session"),
        ])  # fmt: skip
        assert {n for n, _ in before.deliveries} == {kept.mailbox, gone.mailbox}
        assert isinstance(stale, CommitRefused)
        assert stale.reason is CommitReason.STALE_DECISION
        assert isinstance(other, CommitRefused)
        assert other.reason is CommitReason.NOT_ALLOWED
        # Commands act in their order: what was on its way to the removed device went with it, and no sweep is needed.
        assert await world.rows("SELECT DISTINCT key>>32 FROM mailbox_item") == [(kept.mailbox,)]
        assert await world.mailboxes.sweep() == 0
        (after,) = await world.committer.submit([message(world, bob, group, 1, b"after", session + 1)])
        assert after.deliveries == ((kept.mailbox, 3),)


async def test_what_is_lost_counts_as_given_up_not_as_delivered(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, GROUP, ann, bob)
        group = await number(world, ref)
        await world.committer.submit([message(world, ann, group, 1, b"never read")])
        await world.committer.run(LoseMailbox(1, bob.mailbox))
        states = await world.rows(
            "SELECT state, pending, purge_ms IS NULL FROM message WHERE id=?", b"never read".ljust(16, b".")
        )
        assert states == [(int(MessageState.EXPIRED), 0, 0)]
        with pytest.raises(CommitRefused) as refused:
            await world.committer.run(message(world, bob, group, 1, b"from the lost"))
        assert refused.value.reason is CommitReason.NOT_ALLOWED
