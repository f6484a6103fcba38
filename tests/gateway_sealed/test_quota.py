"""What may wait in mailboxes of one sender and one tenant: refused in time, in order, and never for good."""

from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.gateway_sealed.stage import Stage, staged
from tests.gateway_sealed.test_stream import acknowledged
from tests.relay.world import bundle, opened

from letterlock.faces.http import stream as stream_module
from letterlock.faces.http.group_messages import GroupMessage, GroupMessages, GroupMessagesHandler
from letterlock.gateway.sealed import Offered
from letterlock.relay.errors import RelayError
from letterlock.relay.quota import MailboxQuota
from letterlock.storage.relay_commands import RelayReason
from letterlock.storage.sqlite.waiting import Waiting, WaitingLimits
from letterlock.storage.waiting_commands import Waited, WaitingSeen
from letterlock.wire import stream as frames
from letterlock.wire.stream import ResultStatus
from letterlock.wire.tlog.entries import Finding, decode_entry
from letterlock.wire.tlog.words import FindingCode

OVER, GOOD = ResultStatus.MAILBOX_QUOTA, ResultStatus.ACCEPTED


def limited(stage: Stage, **limits: int) -> MailboxQuota:
    stage.world.core._state.waiting = Waiting(WaitingLimits(**limits))
    return MailboxQuota(stage.world.committer, stage.world.reads)


async def offers(stage: Stage, number: int, *marks: bytes, size: int = 100) -> list[ResultStatus]:
    offered = [Offered(stage.group.value, mark.ljust(16, b"."), stage.sealed(mark, size=size)) for mark in marks]
    return [one.status for one in await stage.acceptor.accept(stage.sender(number), offered)]


async def takes(stage: Stage, number: int) -> None:
    """A device acknowledges everything."""
    row = await stage.world.reads.mailbox(stage.phones[number].mailbox)
    assert row is not None
    await stage.world.mailboxes.acknowledge(1, stage.phones[number].mailbox, row.head, 1)


async def test_a_sender_is_refused_until_recipients_have_taken_what_waits(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        quota = limited(stage, sender_messages=3)
        assert await offers(stage, 0, b"1", b"2", b"3", b"4", b"5") == [GOOD] * 3 + [OVER] * 2
        assert await offers(stage, 0, b"1", b"6") == [ResultStatus.DUPLICATE, OVER], "first answers stay"
        assert await offers(stage, 1, b"bob's") == [GOOD], "others are not held up"
        assert await quota.look()
        assert await offers(stage, 0, b"4") == [OVER], "counting alone makes no room"
        await takes(stage, 1)
        assert await quota.look()
        assert await offers(stage, 0, b"4") == [OVER], "eve still has to take them"
        await takes(stage, 2)
        assert await quota.look()
        assert await offers(stage, 0, b"4", b"5", b"6", b"7") == [GOOD] * 3 + [OVER]
        entries = [decode_entry(data) for (data,) in await stage.world.rows("SELECT d FROM ledger_entry")]
        found = [one for one in entries if isinstance(one, Finding) and one.code is FindingCode.MAILBOX_QUOTA_REACHED]
        assert [one.count for one in found] == [1], "one finding as long as it lasts"


async def test_a_small_message_does_not_overtake_a_large_one(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        limited(stage, sender_bytes=10_000)
        assert await offers(stage, 0, b"large", b"larger", size=9_000) == [GOOD, GOOD]
        assert await offers(stage, 0, b"large too", size=9_000) == [OVER]
        assert await offers(stage, 0, b"small", size=50) == [OVER]


async def test_a_tenant_has_a_limit_of_its_own(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        quota = limited(stage, tenant_messages=4)
        assert await offers(stage, 0, b"1", b"2", b"3") == [GOOD] * 3
        assert await offers(stage, 1, b"4", b"5") == [GOOD, OVER]
        assert await offers(stage, 2, b"6") == [OVER]
        for number in range(3):
            await takes(stage, number)
        await quota.look()
        assert await offers(stage, 2, b"6") == [GOOD]


async def test_commits_count_and_are_refused_too(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        quota = limited(stage, sender_messages=2)
        ann = stage.phones[0].caller
        await stage.world.groups.commit(ann, stage.group, bundle(b"a group", 1))
        assert await offers(stage, 0, b"1", b"2") == [GOOD, OVER]
        with pytest.raises(RelayError) as refused:
            await stage.world.groups.commit(ann, stage.group, bundle(b"a group", 2))
        assert refused.value.reason is RelayReason.MAILBOX_QUOTA
        await stage.world.groups.commit(stage.phones[1].caller, stage.group, bundle(b"a group", 2))
        for number in range(3):
            await takes(stage, number)
        await quota.look()
        await stage.world.groups.commit(ann, stage.group, bundle(b"a group", 3))


async def test_a_stream_that_met_the_quota_ends_and_begins_again_without_a_gap(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        quota = limited(stage, sender_messages=2)
        ann, bob, eve = stage.connect(0), stage.connect(1), stage.connect(2)
        for one in (ann, bob, eve):
            await one.hello(0 if one is ann else 1)
        names = [b"1", b"2", b"3", b"4", b"5"]
        for ref, name in enumerate(names):
            ann.say(frames.encode_submit(ref, [stage.submission(name)]))
        assert await ann.close_code() == stream_module.CLOSE_TOO_FAST
        told = [one.status for _ in range(ann.out.qsize()) for one in _results(ann.out.get_nowait())]
        assert told[:3] == [GOOD, GOOD, OVER]
        assert set(told[3:]) <= {OVER}
        for one in (bob, eve):
            one.say(frames.encode_ack((await one.deliveries(2))[-1][0]))
        await acknowledged(stage, 1, 3)
        await acknowledged(stage, 2, 3)
        while stage.world.core._state.waiting.over:
            await quota.look()
        again = stage.connect(0)
        await again.hello()
        again.say(frames.encode_submit(0, [stage.submission(name) for name in names[:4]]))
        assert [one.status for one in await again.results(4)] == [ResultStatus.DUPLICATE] * 2 + [GOOD] * 2
        got = [item.body for _, item in await bob.deliveries(2)]
        assert got == [stage.sealed(b"3"), stage.sealed(b"4")]
        for one in (again, bob, eve):
            await one.hang_up()


def _results(frame: frames.ServerFrame) -> tuple[frames.Result, ...]:
    return tuple(frame.items) if isinstance(frame, frames.Results) else ()


async def test_http_says_the_same_with_a_code(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        limited(stage, sender_messages=1)
        counted: list[int] = []
        handler = GroupMessagesHandler(
            stage.credentials,
            lambda: stage.world.directory.version,
            stage.acceptor,
            stage.world.directory.hear,
            lambda operation, status: None,
            counted.extend,
        )
        device = stage.credentials.device(next(iter(stage.world.directory._of[stage.phones[0].mailbox])))
        assert device is not None
        messages = [GroupMessage(bytes([n]) * 16, stage.sealed(bytes([n]))) for n in range(2)]
        answer = await handler._take(
            device, f"/v1/groups/{stage.group}/messages", GroupMessages(messages, stage.phones[0].counter)
        )
        told = [(one.status, one.code) for one in answer.body.results]  # type: ignore[union-attr]
        assert told == [("accepted", ""), ("refused", "mailbox_quota")]
        assert counted == [GOOD, OVER]


async def test_a_start_counts_what_the_store_holds_a_page_at_a_time(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        assert await offers(stage, 0, *[b"%d" % n for n in range(7)]) == [GOOD] * 7
        assert await offers(stage, 1, b"b") == [GOOD]
        mailboxes = [phone.mailbox for phone in stage.phones]
    async with opened(tmp_path) as world:
        world.core._state.waiting = Waiting(WaitingLimits(sender_messages=9))
        pages, at, sums = 0, 0, dict.fromkeys(mailboxes, 0)
        while True:
            found, at = await world.reads.waiting(at, 2**60, 3)
            pages += 1
            for one in found:
                sums[one.sender] += one.messages
            if not at:
                break
        # Ann's Welcome to each of the two others is one body.
        assert (pages, sums) == (4, dict(zip(mailboxes, (8, 1, 0), strict=True)))
        assert await MailboxQuota(world.committer, world.reads).look()
        waiting = world.core._state.waiting
        assert {sender: one.messages for sender, one in waiting.senders.items()} == {mailboxes[0]: 8, mailboxes[1]: 1}
        assert waiting.tenants[1].messages == 9
        assert not await MailboxQuota(world.committer, world.reads).look(), "nobody is near a limit"
        assert await MailboxQuota(world.committer, world.reads).look_anyway()


async def test_counters_outlive_a_failed_transaction(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        limited(stage, sender_messages=2)
        assert await offers(stage, 0, b"1", b"2") == [GOOD, GOOD]
        stage.world.core._recover()
        assert await offers(stage, 0, b"3") == [OVER]


class Counters(RuleBasedStateMachine):
    """Messages come and go while the store is counted beside them; the truth is a list."""

    SENDERS = st.integers(1, 3)

    def __init__(self) -> None:
        super().__init__()
        self.waiting = Waiting(WaitingLimits(4, 400, 9, 900))
        self.there: list[tuple[int, int, int]] = []
        self.number = 0
        self.before: WaitingSeen | None = None
        self.found: tuple[Waited, ...] = ()
        self.refused: dict[int, bool] = {}
        """Senders that were refused; whether the count that was begun since then has been taken."""

    @rule(sender=SENDERS, size=st.integers(1, 150))
    def offer(self, sender: int, size: int) -> None:
        if self.waiting.refuses(1, sender):
            self.refused.setdefault(sender, False)
            return
        assert sender not in self.refused, "nothing overtakes what was refused before the store was counted"
        self.number += 1
        self.there.append((self.number, sender, size))
        # The rows of the third do not name it: who it was is known in memory alone.
        self.waiting.count(1, sender, size, self.number if sender == 3 else 0)

    @rule(take=st.integers(0, 20))
    def acknowledge(self, take: int) -> None:
        del self.there[: take % (len(self.there) + 1)]

    @precondition(lambda self: self.before is None)
    @rule()
    def look(self) -> None:
        self.before = self.waiting.seen(self.number)
        self.refused = dict.fromkeys(self.refused, True)

    @precondition(lambda self: self.before is not None)
    @rule()
    def settle(self) -> None:
        assert self.before is not None
        sums: dict[int, tuple[int, int]] = {}
        for number, sender, size in self.there:
            if number <= self.before.until:
                messages, held = sums.get(sender, (0, 0))
                sums[sender] = (messages + 1, held + size)
        still = {number: 3 for number, sender, _ in self.there if sender == 3 and number <= self.before.until}
        self.waiting.settle(self.before, tuple(Waited(1, sender, *both) for sender, both in sums.items()), still)
        waiting = {number for number, sender, _ in self.there if sender == 3}
        assert waiting <= set(self.waiting.sent_by), "nobody is forgotten of whom something waits"
        self.before = None
        self.refused = {sender: False for sender, seen in self.refused.items() if not seen}

    @invariant()
    def never_too_low(self) -> None:
        for sender in (1, 2, 3):
            mine = [size for _, who, size in self.there if who == sender]
            counted = self.waiting.senders.get(sender)
            assert (counted.messages if counted else 0) >= len(mine)
            assert (counted.bytes if counted else 0) >= sum(mine)
            assert len(mine) <= 4
            assert sum(mine) < 400 + 150
        assert len(self.there) <= 9


Counters.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestCounters = Counters.TestCase
