"""Long poll and Server-Sent Events: the same mailbox in the same order as by stream and page, and every refusal."""

import asyncio
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway_sealed.stage import Connection, Stage, staged
from tests.gateway_sealed.test_stream import acknowledged
from tests.gateway_sealed.waiting import Request, Seen, seen
from tests.relay.world import TENANTS, Person, bundle

from letterlock.faces.http import mailbox_waits as module
from letterlock.faces.http import stream as stream_module
from letterlock.gateway.sealed import Offered
from letterlock.model.ids import DeviceId
from letterlock.storage.relay_rows import SessionRow
from letterlock.wire.stream import ItemKind

BOB = 1


async def said(stage: Stage, *marks: bytes, size: int = 100, epoch: int = 1) -> None:
    """Ann sends."""
    offered = [
        Offered(stage.group.value, mark.ljust(16, b"."), stage.sealed(mark, size=size, epoch=epoch)) for mark in marks
    ]
    outcomes = await stage.acceptor.accept(stage.sender(0), offered)
    assert all(one.shown is not None for one in outcomes)


async def head(stage: Stage) -> int:
    row = await stage.world.reads.mailbox(stage.phones[BOB].mailbox)
    assert row is not None
    return row.head


async def settled(stage: Stage, count: int) -> None:
    """Until so many devices wait."""
    for _ in range(4_000):
        if len(stage.hub) == count:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(len(stage.hub))


async def test_events_come_as_they_are_committed_and_go_on_after_a_break(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await said(stage, b"one")
        bob = Request(stage, BOB, "events")
        first = await bob.next()
        assert (first[0], first[1]) == ("head", {"head": 2})
        welcome, one = await bob.items(2)
        assert (welcome[1], one[0], one[3]) == ("welcome", 2, stage.sealed(b"one"))
        assert bob.headers[b"content-type"] == b"text/event-stream"
        assert bob.headers[b"cache-control"] == b"no-store"
        await said(stage, b"two", b"three")
        assert [(item[0], item[3]) for item in await bob.items(2)] == [
            (3, stage.sealed(b"two")),
            (4, stage.sealed(b"three")),
        ]
        await bob.hang_up()
        assert len(stage.hub) == 0
        await said(stage, b"four")
        again = Request(stage, BOB, "events", fields=((b"last-event-id", b"3"),))
        assert [item[0] for item in await again.items(2)] == [4, 5]
        await again.hang_up()
        await stage.world.mailboxes.acknowledge(1, stage.phones[BOB].mailbox, 4, 1)
        rest = Request(stage, BOB, "events", "after=4")
        assert [item[0] for item in await rest.items(1)] == [5]
        await rest.hang_up()


async def test_a_long_poll_answers_when_there_is_something_or_the_time_is_over(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        status, page = await Request(stage, BOB, "wait", "after=0&seconds=30").answer()
        assert (status, [item["kind"] for item in page["items"]], page["head"]) == (200, ["welcome"], 1)
        poll = Request(stage, BOB, "wait", "after=1&seconds=30")
        await settled(stage, 1)
        await said(stage, b"one", b"two")
        status, page = await poll.answer()
        assert (status, page["items"][0]["sequence"], page["head"]) == (200, 2, 3)
        status, page = await Request(stage, BOB, "wait", "after=3&seconds=0").answer()
        assert (status, page) == (200, {"items": [], "head": 3})
        status, page = await Request(stage, BOB, "wait", "after=1&limit=1").answer()
        assert [item["sequence"] for item in page["items"]] == [2]
        assert len(stage.hub) == 0


@pytest.mark.parametrize("way", ["wait", "events"])
async def test_what_is_refused_before_anything_is_shown(tmp_path: Path, way: str) -> None:
    async with staged(tmp_path) as stage:
        await said(stage, b"one", b"two")
        await stage.world.mailboxes.acknowledge(1, stage.phones[BOB].mailbox, 2, 1)
        other = str(stage.phones[0].id)
        cases: list[tuple[dict[str, Any], int, str]] = [
            ({"token": ""}, 401, "unauthenticated"),
            ({"token": "nobody's"}, 401, "unauthenticated"),
            ({"device": other}, 403, "not_your_device"),
            ({"device": "dev_x"}, 404, "not_found"),
            ({"query": "after=1"}, 409, "state_rolled_back"),
            ({"query": "after=4"}, 409, "ack_ahead"),
            ({"query": "after=-1"}, 422, "bad_parameter"),
            ({"query": "after=2&after=2"}, 422, "bad_parameter"),
            ({"query": "before=2"}, 422, "bad_parameter"),
        ]
        if way == "wait":
            cases += [({"query": "after=2&seconds=61"}, 422, "bad_parameter")]
        else:
            cases += [
                ({"fields": ((b"last-event-id", b"1"),)}, 409, "state_rolled_back"),
                ({"fields": ((b"last-event-id", b"x"),)}, 422, "bad_parameter"),
                ({"fields": ((b"last-event-id", b"99999999999"),)}, 422, "bad_parameter"),
            ]
        for how, status, code in cases:
            found = await Request(stage, BOB, way, **how).answer()
            assert (found[0], found[1]["code"]) == (status, code), how
        assert len(stage.hub) == 0
        good = Request(stage, BOB, way, "after=2")
        if way == "wait":
            assert [item["sequence"] for item in (await good.answer())[1]["items"]] == [3]
        else:
            assert [item[0] for item in await good.items(1)] == [3]
            await good.hang_up()


async def test_a_newer_way_replaces_an_older_one(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await said(stage, b"one")
        poll = Request(stage, BOB, "wait", "after=2&seconds=60")
        await settled(stage, 1)
        events = Request(stage, BOB, "events", "after=2")
        assert (await poll.answer())[1]["code"] == "replaced"
        await events.next()
        newer = Request(stage, BOB, "events", "after=2")
        await newer.next()
        assert await events.end() == "replaced"
        stream = stage.connect(BOB)
        await stream.hello(2)
        assert await newer.end() == "replaced"
        last = Request(stage, BOB, "wait", "after=2&seconds=60")
        assert await stream.close_code() == stream_module.CLOSE_REPLACED
        await said(stage, b"two")
        assert [item["sequence"] for item in (await last.answer())[1]["items"]] == [3]
        assert len(stage.hub) == 0


@pytest.mark.parametrize("how", ["revoked", "logged_out", "expired"])
@pytest.mark.parametrize("way", ["wait", "events"])
async def test_a_session_that_ends_takes_its_waits_with_it(tmp_path: Path, how: str, way: str) -> None:
    async with staged(tmp_path) as stage:
        phone = stage.phones[BOB]
        waiting = Request(stage, BOB, way, "after=1&seconds=60" if way == "wait" else "after=1")
        await settled(stage, 1)
        if how == "revoked":
            person = Person("bob")
            person.account, _ = await stage.world.accounts.create(1, person.identity.public.encode())
            person.head = person.next_list([phone])
            await person.publish(stage.world, [])
        elif how == "logged_out":
            row = next(iter(stage.world.directory._of[phone.mailbox]))
            await stage.world.sessions.log_out(1, phone.mailbox, row)
        else:
            stage.world.clock.advance(10**9)
            stage.hub.wake(phone.mailbox)
        if way == "wait":
            assert (await waiting.answer())[1]["code"] == "unauthenticated"
        else:
            assert await waiting.end() == "unauthenticated"
        assert len(stage.hub) == 0


async def test_a_gateway_that_stops_sends_them_away(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        poll = Request(stage, BOB, "wait", "after=1&seconds=60")
        events = Request(stage, 2, "events", "after=1")
        await settled(stage, 2)
        stage.hub.close()
        status, problem = await poll.answer()
        assert (status, problem["code"]) == (503, "restarting")
        assert await events.end() == "restarting"


async def test_who_does_not_read_holds_one_page(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await said(stage, *[b"m%d" % number for number in range(250)])
        pages = 0
        page = stage.world.mailboxes.page

        async def counted(*arguments: Any) -> Any:
            nonlocal pages
            pages += 1
            return await page(*arguments)

        stage.world.mailboxes.page = counted  # type: ignore[method-assign, assignment]
        bob = Request(stage, BOB, "events")
        bob.reads.clear()
        await settled(stage, 1)
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert pages == 0, "the first event was not read, so nothing else is fetched"
        bob.reads.set()
        assert [item[0] for item in await bob.items(251)] == list(range(1, 252))
        assert pages == 3
        await bob.hang_up()


async def test_thousands_that_are_idle_leave_the_store_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.2)
    async with staged(tmp_path) as stage:
        world, count = stage.world, 2_000
        first = 1_000
        for number in range(first, first + count):
            device = DeviceId(number.to_bytes(16))
            world.core._db.execute(
                "INSERT INTO device (mailbox, tenant, id, account, session_key, leaf_key, kind, created_ms)"
                " VALUES (?, 1, ?, x'00', x'00', x'00', 'native', 0)",
                (number, device.value),
            ).fetchall()
            token = sha256(f"token {number}".encode()).digest()
            world.directory.add(SessionRow(1, TENANTS[1].value, number, device.value, bytes(16), 2**50, token, 0))
        waiting = [
            Request(stage, 0, "events", token=f"token {number}", device=str(DeviceId(number.to_bytes(16))))
            for number in range(first, first + count)
        ]
        bob = Request(stage, BOB, "events", "after=1")
        await settled(stage, count + 1)
        reads = 0
        read = world.readers.read

        async def counted(work: Any) -> Any:
            nonlocal reads
            reads += 1
            return await read(work)

        world.readers.read = counted  # type: ignore[method-assign]
        world.reads._readers = world.readers
        for request in waiting:
            await request.next()
        beaten = waiting[-1]
        for _ in range(400):
            if b": waiting" in beaten.body:
                break
            await asyncio.sleep(0.05)
        assert b": waiting" in beaten.body
        assert reads == 0, "a silent mailbox is not looked at"
        await said(stage, b"hello")
        assert [item[3] for item in await bob.items(1)] == [stage.sealed(b"hello")]
        assert reads <= 4, "and only those that have something are"
        await bob.hang_up()
        for request in waiting:
            request._in.put_nowait({"type": "http.disconnect"})
        await asyncio.gather(*(request.task for request in waiting))
        assert len(stage.hub) == 0


WAYS = ("stream", "page", "wait", "events")
STEP = st.one_of(
    st.tuples(st.just("say"), st.integers(1, 5), st.sampled_from([60, 5_000, 60_000])),
    st.tuples(st.just("commit"), st.just(0), st.just(0)),
    st.tuples(st.just("ack"), st.integers(0, 3), st.just(0)),
)


async def _run(stage: Stage, connection: Connection, count: int) -> list[Seen]:
    return [
        (number, ItemKind(item.kind).name.lower(), "msg_" + item.message_id.hex(), item.body)
        for number, item in await connection.deliveries(count)
    ]


async def collected(stage: Stage, way: str, after: int, until: int, live: Any) -> list[Seen]:
    """Everything after a cursor by one way, which waits before the last things happen."""
    count = until - after
    if way == "stream":
        connection = stage.connect(BOB)
        await connection.hello(after, 4_000)
        await live()
        found = await _run(stage, connection, count)
        await connection.hang_up()
        return found
    if way == "events":
        request = Request(stage, BOB, "events", f"after={after}")
        await request.next()
        await live()
        found = await request.items(count)
        await request.hang_up()
        return found
    found = []
    if way == "page":
        await live()
    while len(found) < count:
        at = found[-1][0] if found else after
        if way == "page":
            page = await stage.world.mailboxes.page(TENANTS[1], stage.phones[BOB].mailbox, at, 3)
            found += [
                (one.row.sequence, ItemKind(one.row.kind).name.lower(), "msg_" + one.row.message_id.hex(), one.body)
                for one in page.items
            ]
            continue
        request = Request(stage, BOB, "wait", f"after={at}&limit=3&seconds=30")
        if at == await head(stage):
            await settled(stage, 1)
        await live()
        _, answer = await request.answer()
        found += [seen(item) for item in answer["items"]]
    return found


@given(
    steps=st.lists(STEP, min_size=1, max_size=6),
    order=st.permutations(WAYS),
    late=st.integers(0, 3),
    back=st.integers(0, 4),
)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_four_ways_show_one_mailbox_in_one_order(
    steps: list[tuple[str, int, int]], order: list[str], late: int, back: int
) -> None:
    """Whatever happened to a mailbox, and whatever happens while a device waits: each way gives the same items."""

    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with staged(Path(folder)) as stage:
                epoch, made = 1, 0
                for kind, number, size in steps:
                    if kind == "say":
                        await said(stage, *[b"%d" % (made + n) for n in range(number)], size=size, epoch=epoch)
                        made += number
                    elif kind == "commit":
                        await stage.world.groups.commit(stage.phones[0].caller, stage.group, bundle(b"a group", epoch))
                        epoch += 1
                    else:
                        state = await stage.world.reads.mailbox(stage.phones[BOB].mailbox)
                        assert state is not None
                        through = min(state.head, state.acked + number)
                        await stage.world.mailboxes.acknowledge(1, stage.phones[BOB].mailbox, through, 1)
                state = await stage.world.reads.mailbox(stage.phones[BOB].mailbox)
                assert state is not None
                after = max(state.acked, state.head - back)
                until = state.head + late
                pending = [b"late %d" % n for n in range(late)]

                async def live() -> None:
                    if pending:
                        marks = list(pending)
                        pending.clear()
                        await said(stage, *marks, epoch=epoch)

                shown = [await collected(stage, way, after, until, live) for way in order]
                assert [item[0] for item in shown[0]] == list(range(after + 1, until + 1))
                assert shown[1:] == shown[:1] * 3
                # At least once: nothing was acknowledged by looking, so it is all there a second time.
                assert await collected(stage, order[0], after, until, live) == shown[0]
                await stage.world.mailboxes.acknowledge(1, stage.phones[BOB].mailbox, until, 1)
                await acknowledged(stage, BOB, until)
                assert (
                    await stage.world.rows("SELECT 1 FROM mailbox_item WHERE key>>32=?", stage.phones[BOB].mailbox)
                    == []
                )

    asyncio.run(run())
