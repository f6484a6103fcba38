"""The device stream, played by hand: its frames, its refusals, and what one device can do to another."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.gateway_sealed.stage import Connection, Stage, staged
from tests.gateway_sealed.waiting import Request
from tests.relay.world import Person

from letterlock.faces.http import stream as module
from letterlock.relay.errors import RelayError
from letterlock.storage.errors import StorageError, StorageReason
from letterlock.storage.tenant_commands import PolicyLoaded
from letterlock.wire import stream as frames
from letterlock.wire.stream import ItemKind, ResultStatus, Submission, TargetKind

GARBAGE = b"not MLS, and a canary: LETTERCANARY"


async def acknowledged(stage: Stage, number: int, sequence: int) -> None:
    """Waits until a device's acknowledgement is committed: nobody is told of it."""
    for _ in range(2000):
        found = await stage.world.rows("SELECT acked FROM device WHERE mailbox=?", stage.phones[number].mailbox)
        if found[0][0] >= sequence:
            return
        await asyncio.sleep(0.005)
    raise AssertionError


async def test_a_message_goes_from_one_device_to_the_others_and_is_deleted_when_acknowledged(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        ann, bob = stage.connect(0), stage.connect(1)
        before = await ann.hello()
        assert before.credit == frames.INITIAL_CREDIT
        head = (await bob.hello()).head
        first = await bob.deliveries(head)
        assert [item.kind for _, item in first] == [ItemKind.WELCOME]
        ann.say(frames.encode_submit(7, [stage.submission(b"one"), stage.submission(b"two")]))
        results = await ann.results(2)
        assert [one.status for one in results] == [ResultStatus.ACCEPTED] * 2
        got = await bob.deliveries(2)
        assert [item.body for _, item in got] == [stage.sealed(b"one"), stage.sealed(b"two")]
        assert [item.message_id for _, item in got] == [one.message_id for one in results]
        assert [number for number, _ in got] == [head + 1, head + 2]
        newest = got[-1][0]
        bob.say(frames.encode_ack(newest))
        await acknowledged(stage, 1, newest)
        mailbox = stage.phones[1].mailbox
        assert await stage.world.rows("SELECT 1 FROM mailbox_item WHERE key>>32=?", mailbox) == []
        await ann.hang_up()
        await bob.hang_up()
        assert len(stage.hub) == 0


async def test_every_kind_of_answer(tmp_path: Path) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:
        ann = stage.connect(0)
        await ann.hello()
        good = stage.submission(b"good")
        cases = [
            (good, ResultStatus.ACCEPTED),
            (good, ResultStatus.DUPLICATE),
            (Submission(TargetKind.GROUP, good.target, good.message_ref, stage.sealed(b"x")), ResultStatus.CONFLICT),
            (Submission(TargetKind.GROUP, b"\x09" * 16, b"r" * 16, stage.sealed()), ResultStatus.UNKNOWN_TARGET),
            (Submission(TargetKind.DEVICE, b"\x09" * 16, b"s" * 16, stage.sealed()), ResultStatus.UNKNOWN_TARGET),
            (stage.submission(b"ahead", epoch=2), ResultStatus.WRONG_EPOCH),
            (Submission(TargetKind.GROUP, stage.group.value, b"q" * 16, GARBAGE), ResultStatus.QUARANTINED),
        ]  # fmt: skip
        ann.say(frames.encode_submit(0, [submission for submission, _ in cases]))
        results = await ann.results(len(cases))
        assert [result.status for result in results] == [status for _, status in cases]
        assert results[0].message_id == results[1].message_id
        assert results[0].record_hash == results[1].record_hash
        assert results[2].message_id == frames.NO_ID
        files = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
        assert b"LETTERCANARY" not in files
        await ann.hang_up()


async def test_one_reference_for_a_message_and_for_garbage_in_one_frame_hurts_nobody(tmp_path: Path) -> None:
    """Both become one message id: the second is a conflict, and the commit of everybody else stands."""
    async with staged(tmp_path) as stage:
        ann, bob = stage.connect(0), stage.connect(1)
        await ann.hello()
        await bob.hello()
        ref = b"r" * 16
        target = (TargetKind.GROUP, stage.group.value, ref)
        ann.say(frames.encode_submit(0, [Submission(*target, GARBAGE), Submission(*target, stage.sealed())]))
        bob.say(frames.encode_submit(0, [stage.submission(b"of bob")]))
        statuses = [result.status for result in await ann.results(2)]
        assert statuses == [ResultStatus.QUARANTINED, ResultStatus.CONFLICT]
        assert [result.status for result in await bob.results(1)] == [ResultStatus.ACCEPTED]
        await ann.hang_up()
        await bob.hang_up()


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"path": "/v1/other"}, module.CLOSE_PROTOCOL),
        ({"protocol": "letterlock.v9"}, module.CLOSE_PROTOCOL),
    ],
)
async def test_another_path_or_protocol_is_not_accepted(tmp_path: Path, how: dict[str, str], code: int) -> None:
    async with staged(tmp_path, ["ann"]) as stage:
        connection = stage.connect(0, **how)
        assert await connection.close_code() == code
        assert not connection.accepted


@pytest.mark.parametrize("token", [None, "", "nobody's", "x" * 5000])
async def test_without_a_session_there_is_no_stream(tmp_path: Path, token: str | None) -> None:
    async with staged(tmp_path, ["ann"]) as stage:
        assert await Connection(stage, token).close_code() == module.CLOSE_UNAUTHENTICATED
        ann = stage.connect(0)
        await ann.hello()
        await ann.hang_up()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x01", b"\x02\x00", b"\x01\x77", frames.encode_ack(0), frames.encode_hello(0, 1) + b"x",
        frames.encode_hello(99, 1, 1), frames.encode_welcome(0, 1), b"\x01\x00" + bytes(10),
    ],
)  # fmt: skip
async def test_a_first_frame_that_is_no_hello_closes(tmp_path: Path, data: bytes) -> None:
    async with staged(tmp_path, ["ann"]) as stage:
        ann = stage.connect(0)
        ann.say(data)
        assert await ann.close_code() == module.CLOSE_PROTOCOL
        assert len(stage.hub) == 0


@pytest.mark.parametrize(
    "data",
    [
        b"\x01\x01\x00\x00\x00\x00\x00\x00", frames.encode_hello(0, 5), frames.encode_ack(10_000), b"\x01\x01",
        frames.encode_results(0, [(0, bytes(16), bytes(32))]),
    ],
)  # fmt: skip
async def test_a_later_frame_that_is_wrong_closes(tmp_path: Path, data: bytes) -> None:
    async with staged(tmp_path, ["ann"]) as stage:
        ann = stage.connect(0)
        await ann.hello()
        ann.say(data)
        assert await ann.close_code() == module.CLOSE_PROTOCOL
        assert len(stage.hub) == 0


async def test_text_is_refused(tmp_path: Path) -> None:
    async with staged(tmp_path, ["ann"]) as stage:
        ann = stage.connect(0)
        ann.say_text("LETTERCANARY")
        assert await ann.close_code() == module.CLOSE_PROTOCOL


@pytest.mark.attack("A18")
async def test_a_device_that_went_back_is_told_so(tmp_path: Path) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:
        bob = stage.connect(1)
        welcome = await bob.hello()
        got = await bob.deliveries(welcome.head)
        await bob.hang_up()
        again = stage.connect(1)
        await again.hello(got[-1][0])
        await acknowledged(stage, 1, got[-1][0])
        await again.hang_up()
        restored = stage.connect(1)
        restored.say(frames.encode_hello(0, 10, restored.counter))
        assert await restored.close_code() == module.CLOSE_ROLLED_BACK


@pytest.mark.attack("A18")
@pytest.mark.parametrize("by", ["hello", "submit", "ack", "quarantined"])
async def test_a_stream_that_opens_with_an_old_counter_is_closed(tmp_path: Path, by: str) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:
        bob = stage.connect(1)
        bob.counter = 9 if by == "hello" else 3
        head = (await bob.hello()).head
        if by == "ack":
            bob.say(frames.encode_ack(head, 9))
            await acknowledged(stage, 1, head)
        elif by != "hello":
            item = stage.submission(b"x")
            if by == "quarantined":
                item = Submission(item.target_kind, item.target, item.message_ref, GARBAGE)
            bob.say(frames.encode_submit(0, [item], 9))
            await bob.results(1)
        await bob.hang_up()
        copy = stage.connect(1)
        copy.say(frames.encode_hello(head, 10, 8))
        assert await copy.close_code() == module.CLOSE_ROLLED_BACK
        same = stage.connect(1)
        same.counter = 9
        await same.hello(head if by == "ack" else 0)
        await same.hang_up()
        if by != "hello":
            stored = await stage.world.rows("SELECT state_counter FROM device WHERE mailbox=?", stage.phones[1].mailbox)
            assert stored == [(9,)], "kept in the commit of what it came with"
        stage.phones[1].counter = 8
        with pytest.raises(RelayError) as refused:
            await stage.phones[1].log_in(stage.world)
        assert refused.value.facts == {"acknowledged_counter": 9}, "an old copy gets no new session either"


@pytest.mark.attack("A18")
async def test_a_counter_that_a_frame_states_only_ever_raises(tmp_path: Path) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:
        ann = stage.connect(0)
        ann.counter = 5
        await ann.hello()
        # Frames of one stream may have been overtaken by a call on another connection: they are taken all the same.
        stage.world.directory.hear(stage.phones[0].mailbox, 7)
        ann.say(frames.encode_submit(0, [stage.submission(b"x")], 6))
        assert [one.status for one in await ann.results(1)] == [ResultStatus.ACCEPTED]
        assert stage.world.directory.hear(stage.phones[0].mailbox, 0) == 7


async def test_a_second_connection_replaces_the_first(tmp_path: Path) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:
        first = stage.connect(1)
        head = (await first.hello()).head
        await first.deliveries(head)
        second = stage.connect(1)
        await second.hello(head)
        assert await first.close_code() == module.CLOSE_REPLACED
        ann = stage.connect(0)
        await ann.hello()
        ann.say(frames.encode_submit(0, [stage.submission(b"x")]))
        assert [item.body for _, item in await second.deliveries(1)] == [stage.sealed(b"x")]
        assert len(stage.hub) == 2
        await ann.hang_up()
        await second.hang_up()


async def test_more_than_the_credit_closes(tmp_path: Path) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:
        ann = stage.connect(0)
        await ann.hello()
        ann.reads.clear()
        for number in range(frames.INITIAL_CREDIT // 128 + 3):
            batch = [stage.submission(b"%d %d" % (number, place)) for place in range(128)]
            ann.say(frames.encode_submit(number, batch))
            await asyncio.sleep(0.01)
        # It reads no answer, so no credit comes back; the connection ends, and what was accepted is bounded.
        assert await ann.close_code() == module.CLOSE_PROTOCOL
        assert await stage.world.count("message") <= frames.INITIAL_CREDIT + 128 + 10


async def test_credit_comes_back_with_the_answers(tmp_path: Path) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:
        ann = stage.connect(0)
        await ann.hello()
        for number in range(frames.INITIAL_CREDIT // 256 + 2):
            ann.say(frames.encode_submit(0, [stage.submission(b"%d %d" % (number, n)) for n in range(256)]))
            results = await ann.results(256)
            assert {one.status for one in results} == {ResultStatus.ACCEPTED}
        await ann.hang_up()


async def test_a_reader_who_stands_still_stalls_nobody(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        ann, bob, eve = (stage.connect(number) for number in range(3))
        await ann.hello()
        await bob.hello()
        await bob.deliveries(1)
        bob.reads.clear()
        heads = (await eve.hello()).head
        await eve.deliveries(heads)
        for number in range(20):
            ann.say(frames.encode_submit(number, [stage.submission(b"%d" % number)]))
        assert len(await ann.results(20)) == 20
        assert [item.body for _, item in await eve.deliveries(20)] == [stage.sealed(b"%d" % n) for n in range(20)]
        bob.reads.set()
        assert [item.body for _, item in await bob.deliveries(20)] == [stage.sealed(b"%d" % n) for n in range(20)]
        for connection in (ann, bob, eve):
            await connection.hang_up()


async def test_the_window_bounds_what_is_unacknowledged(tmp_path: Path) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:
        ann, bob = stage.connect(0), stage.connect(1)
        await ann.hello()
        await bob.hello(0, window=3)
        for number in range(10):
            ann.say(frames.encode_submit(number, [stage.submission(b"%d" % number)]))
        await ann.results(10)
        got = await bob.deliveries(3)
        await asyncio.sleep(0.05)
        assert bob.out.empty()
        while got[-1][0] < 11:
            bob.say(frames.encode_ack(got[-1][0]))
            got += await bob.deliveries(1)
            assert got[-1][0] - got[0][0] < 11
        assert [number for number, _ in got] == list(range(1, len(got) + 1))
        await ann.hang_up()
        await bob.hang_up()


async def test_pacing_under_load_delays_and_loses_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:
        stage.busy = True
        ann, bob = stage.connect(0), stage.connect(1)
        await ann.hello()
        head = (await bob.hello(0, 1000)).head
        for number in range(100):
            ann.say(frames.encode_submit(number, [stage.submission(b"%d" % number)]))
            if number % 10 == 0:
                await ann.results(1 if number == 0 else 10)
        got = await bob.deliveries(head + 100)
        assert [number for number, _ in got] == list(range(1, head + 101))
        await ann.hang_up()
        await bob.hang_up()


async def test_what_is_committed_while_a_device_joins_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:
        state = stage.pages.state
        late = iter([True, False])

        async def slow(mailbox: int) -> tuple[int, int]:
            found = await state(mailbox)
            if next(late, False):
                # After the look and before joining: nobody is there to be told.
                await stage.acceptor.accept(stage.sender(0), [offered(stage, b"in between")])
            return found

        monkeypatch.setattr(stage.pages, "state", slow)
        bob = stage.connect(1)
        head = (await bob.hello(1)).head
        assert head == 1
        ((number, item),) = await bob.deliveries(1)
        assert number == 2
        assert item.body == stage.sealed(b"in between")
        await bob.hang_up()


def offered(stage: Stage, mark: bytes) -> Any:
    from letterlock.gateway.sealed import Offered

    submission = stage.submission(mark)
    return Offered(submission.target, submission.message_ref, submission.body)


async def test_what_comes_while_an_empty_page_is_read_is_not_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:
        page = stage.pages.page
        calls = []

        async def emptied(tenant: Any, number: int, after: int, limit: int) -> list[tuple[int, bytes, bytes]]:
            calls.append(after)
            if len(calls) > 1:
                return await page(tenant, number, after, limit)
            # The mailbox was emptied; while that was being found out, a message came.
            await stage.acceptor.accept(stage.sender(0), [offered(stage, b"new")])
            return []

        monkeypatch.setattr(stage.pages, "page", emptied)
        bob = stage.connect(1)
        head = (await bob.hello()).head
        assert head
        got = await bob.deliveries(1)
        assert got == [(head + 1, got[0][1])]
        assert got[0][1].body == stage.sealed(b"new")
        await bob.hang_up()


async def test_a_page_that_fails_ends_the_connection_instead_of_silencing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:

        async def failing(*_: Any) -> list[tuple[int, bytes, bytes]]:
            raise StorageError(StorageReason.OVERLOADED)

        monkeypatch.setattr(stage.pages, "page", failing)
        bob = stage.connect(1)
        await bob.hello()
        assert await bob.close_code() == module.CLOSE_OVERLOADED
        assert len(stage.hub) == 0


@pytest.mark.parametrize("error", [ZeroDivisionError("LETTERCANARY"), ConnectionResetError()])
async def test_a_bug_or_a_lost_peer_ends_the_connection_without_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:

        async def failing(*_: Any) -> list[tuple[int, bytes, bytes]]:
            raise error

        monkeypatch.setattr(stage.pages, "page", failing)
        bob = stage.connect(1)
        await bob.hello()
        lost = isinstance(error, OSError)
        assert await bob.close_code() == (None if lost else module.CLOSE_INTERNAL)
        assert len(stage.hub) == 0
        assert "LETTERCANARY" not in "".join(capsys.readouterr())


async def test_submissions_that_meet_a_bug_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:
        accept = stage.acceptor.accept
        failures: list[Exception] = [StorageError(StorageReason.OVERLOADED), ZeroDivisionError()]

        async def failing(*arguments: Any) -> Any:
            if failures:
                raise failures.pop()
            return await accept(*arguments)

        monkeypatch.setattr(stage.acceptor, "accept", failing)
        ann = stage.connect(0)
        await ann.hello()
        for expected in (ResultStatus.OVERLOADED, ResultStatus.OVERLOADED, ResultStatus.ACCEPTED):
            ann.say(frames.encode_submit(1, [stage.submission(b"same")]))
            assert [one.status for one in await ann.results(1)] == [expected]
        await ann.hang_up()


async def test_a_session_that_ends_closes_the_stream_at_once(tmp_path: Path) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:
        bob = stage.connect(1)
        head = (await bob.hello()).head
        await bob.deliveries(head)
        stage.world.directory.end_device(stage.phones[1].mailbox)
        assert await bob.close_code() == module.CLOSE_UNAUTHENTICATED


@pytest.mark.parametrize("frame", ["submit", "ack"])
async def test_an_expired_session_sends_and_acknowledges_nothing(tmp_path: Path, frame: str) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:
        bob = stage.connect(1)
        head = (await bob.hello()).head
        await bob.deliveries(head)
        before = await stage.world.count("message")
        stage.world.clock.advance(10**10)
        bob.say(frames.encode_submit(0, [stage.submission(b"x")]) if frame == "submit" else frames.encode_ack(head))
        assert await bob.close_code() == module.CLOSE_UNAUTHENTICATED
        await asyncio.sleep(0.02)
        assert await stage.world.count("message") == before
        acked = await stage.world.rows("SELECT acked FROM device WHERE mailbox=?", stage.phones[1].mailbox)
        assert acked == [(0,)]


async def test_a_revoked_device_is_not_fed_on_through_its_backlog(tmp_path: Path) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:
        for number in range(6):
            await stage.acceptor.accept(stage.sender(0), [offered(stage, b"%d %d" % (number, n)) for n in range(128)])
        bob = stage.connect(1)
        await bob.hello(0, window=4096)
        bob.reads.clear()
        await bob.deliveries(1)
        stage.world.directory.end_device(stage.phones[1].mailbox)
        bob.reads.set()
        assert await bob.close_code() == module.CLOSE_UNAUTHENTICATED
        left = sum(len(frame.items) for frame in drained(bob) if isinstance(frame, frames.Deliver))
        assert left < 600


def drained(connection: Connection) -> list[frames.ServerFrame]:
    found = []
    while not connection.out.empty():
        found.append(connection.out.get_nowait())
    return found


async def test_a_revocation_of_somebody_else_renews_the_decision(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        sender = stage.sender(0)
        world = stage.world
        # Another account's device loses its session: the version that everybody relied on moves on.
        person = Person("dan")
        from tests.relay.world import Phone

        dan, spare = Phone("dan"), Phone("spare")
        await person.enrol(world, dan, spare)
        await dan.log_in(world)
        await person.publish(world, [spare])
        assert world.directory.version > sender.session_version
        renewed = []

        def renew() -> Any:
            renewed.append(1)
            return stage.sender(0)

        (outcome,) = await stage.acceptor.accept(sender, [offered(stage, b"x")], renew)
        assert outcome.status is ResultStatus.ACCEPTED
        assert renewed == [1]
        (refused,) = await stage.acceptor.accept(sender, [offered(stage, b"y")], lambda: None)
        assert refused.status is ResultStatus.NOT_ALLOWED
        with pytest.raises(StorageError):
            await stage.acceptor.accept(sender, [offered(stage, b"z")])
        assert await world.rows("SELECT count(*) FROM message WHERE sender=? AND size_bucket=0", sender.mailbox)


async def test_a_policy_that_changes_is_decided_by_anew(tmp_path: Path) -> None:
    async with staged(tmp_path, ["ann", "bob"]) as stage:
        await stage.world.committer.run(PolicyLoaded(b"p" * 32, 1, 0))
        with pytest.raises(StorageError) as caught:
            await stage.acceptor.accept(stage.sender(0), [offered(stage, b"x")])
        assert caught.value.reason is StorageReason.OVERLOADED
        stage.policies.version = 1
        (outcome,) = await stage.acceptor.accept(stage.sender(0), [offered(stage, b"x")])
        assert outcome.status is ResultStatus.ACCEPTED


async def test_a_page_whose_key_has_just_gone_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from letterlock.custody.storage_keys import StorageKeyError, StorageKeyReason

    async with staged(tmp_path, ["ann", "bob"]) as stage:
        get = stage.world.keys.get
        gone = [True]

        def moved(generation: int) -> Any:
            if gone and gone.pop():
                raise StorageKeyError(StorageKeyReason.DESTROYED)
            return get(generation)

        monkeypatch.setattr(stage.world.keys, "get", moved)
        phone = stage.phones[1]
        items = await stage.pages.page(phone.caller.tenant_id, phone.mailbox, 0, 10)
        assert items

        def never(generation: int) -> Any:
            raise StorageKeyError(StorageKeyReason.DESTROYED)

        monkeypatch.setattr(stage.world.keys, "get", never)
        with pytest.raises(StorageError):
            await stage.pages.page(phone.caller.tenant_id, phone.mailbox, 0, 10)
        assert await stage.pages.page(phone.caller.tenant_id, phone.mailbox, 10_000, 10) == []


async def test_a_device_is_told_that_its_key_packages_run_low(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        bob = stage.connect(1)
        await bob.hello(1)
        stage.hub.low(stage.phones[1].mailbox)
        stage.hub.low(stage.phones[2].mailbox)
        assert await bob.next() == frames.Notice(frames.NoticeCode.KEY_PACKAGES_LOW)
        await bob.hang_up()
        eve = Request(stage, 2, "events", "after=1")
        assert (await eve.next())[0] == "head"
        stage.hub.low(stage.phones[2].mailbox)
        assert await eve.next() == ("key_packages_low", {}, None)
        await eve.hang_up()
