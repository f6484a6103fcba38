"""What the store keeps about messages of a tenant with the profile "high-risk", beside a tenant with "standard"."""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.gateway_sealed.stage import Stage, staged, standard
from tests.relay.world import bundle

from letterlock.gateway.intervals import Intervals
from letterlock.gateway.sealed import Offered
from letterlock.model.traces import QUARTER_HOUR_MS, USUAL, SenderKept, Times, Traces
from letterlock.policy.file import profile_source
from letterlock.policy.proof import ProvenPolicy, prove
from letterlock.relay.quota import MailboxQuota
from letterlock.storage.maintenance_commands import Purge
from letterlock.storage.sqlite.overdue import find_overdue
from letterlock.storage.sqlite.waiting import Waiting, WaitingLimits
from letterlock.transports.registry import CAPABILITIES
from letterlock.wire.stream import REFERENCE_TIME, ResultStatus
from letterlock.wire.tlog.records import Accepted, Acked, decode_record

GOOD, OVER = ResultStatus.ACCEPTED, ResultStatus.MAILBOX_QUOTA
NAMES = tuple(f"phone {number}" for number in range(10))
_proven: list[ProvenPolicy] = []


def high_risk() -> ProvenPolicy:
    if not _proven:
        _proven.append(prove(profile_source("high-risk"), CAPABILITIES))
    return _proven[0]


@asynccontextmanager
async def private(
    folder: Path, policy: ProvenPolicy, names: tuple[str, ...] = ("ann", "bob", "eve")
) -> AsyncGenerator[Stage]:
    """A stage whose tenant has this policy from its first message on; the clock shows no round time."""
    folder.mkdir(exist_ok=True)
    async with staged(folder, names) as stage:
        stage.world.clock.advance(QUARTER_HOUR_MS // 3 + 1)
        stage.policies.give(1, policy)
        traces = policy.policy.metadata.traces
        if traces != USUAL:
            stage.world.core._traces = {1: traces}
        yield stage


async def sends(stage: Stage, number: int, mark: bytes, reference: bytes | None = None) -> Any:
    one = Offered(stage.group.value, reference or mark.ljust(16, b"."), stage.sealed(mark))
    return (await stage.acceptor.accept(stage.sender(number), [one]))[0]


async def takes(stage: Stage, number: int) -> int:
    row = await stage.world.reads.mailbox(stage.phones[number].mailbox)
    assert row is not None
    await stage.world.mailboxes.acknowledge(1, stage.phones[number].mailbox, row.head, 1)
    return row.head


async def records(stage: Stage) -> list[Any]:
    """Those behind entries, and those that wait for one."""
    rows = await stage.world.rows("SELECT records FROM record_batch ORDER BY entry")
    waiting = await stage.world.rows("SELECT record FROM waiting_record ORDER BY interval, slot")
    return [decode_record(one) for (data,) in (*rows, *waiting) for one in data.split(b"\n")]


def test_times_begin_early_and_end_late() -> None:
    few = Traces(Times.QUARTER_HOUR, SenderKept.NOT_STORED)
    for now in (0, 1, QUARTER_HOUR_MS - 1, QUARTER_HOUR_MS, QUARTER_HOUR_MS + 1, 1_795_000_123_456):
        assert (USUAL.begin(now), USUAL.end(now)) == (now, now)
        assert 0 <= now - few.begin(now) < QUARTER_HOUR_MS
        assert 0 <= few.end(now) - now < QUARTER_HOUR_MS
        assert few.begin(now) % QUARTER_HOUR_MS == few.end(now) % QUARTER_HOUR_MS == 0


async def times(stage: Stage, since: int) -> dict[str, list[int]]:
    """Every stored time of messages after a number, and of their ledger records."""
    found: dict[str, list[int]] = {}
    for table, column, seq in (
        ("message", "accepted_ms", "seq"), ("message", "updated_ms", "seq"), ("message", "expires_ms", "seq"),
        ("message", "purge_ms", "seq"), ("message_key", "expires_ms", "seq"), ("group_log", "created_ms", "message"),
    ):  # fmt: skip
        rows = await stage.world.rows(f"SELECT {column} FROM {table} WHERE {seq}>? AND {column} IS NOT NULL", since)
        found[f"{table}.{column}"] = [value for (value,) in rows]
    return found


async def a_life(stage: Stage) -> tuple[dict[str, list[int]], list[Any]]:
    """A message, a commit, a refused shell, and everything acknowledged: what times all that leaves."""
    ((since,),) = await stage.world.rows("SELECT max(seq) FROM message")
    before = len(await records(stage))
    assert (await sends(stage, 0, b"said")).status is GOOD
    spoilt = Offered(stage.group.value, b"not MLS at all..", b"these are no MLS bytes")
    (apart,) = await stage.acceptor.accept(stage.sender(0), [spoilt])
    assert apart.status is ResultStatus.QUARANTINED
    done = await stage.world.groups.commit(stage.phones[0].caller, stage.group, bundle(b"a group", 1, counter=9))
    assert done.epoch == 2
    for number in range(3):
        await takes(stage, number)
    return await times(stage, since), (await records(stage))[before:]


async def test_times_are_those_of_the_quarter_of_an_hour(tmp_path: Path) -> None:
    async with private(tmp_path / "few", high_risk()) as stage:
        found, written = await a_life(stage)
        assert all(found.values()), "each of these columns was looked at"
        assert {name for name, values in found.items() if any(value % QUARTER_HOUR_MS for value in values)} == set()
        assert {type(one) for one in written} == {Accepted, Acked}
        assert all(one.ts % QUARTER_HOUR_MS == 0 for one in written)
        now, terms = stage.world.clock.now_ms(), high_risk()
        assert set(found["message.accepted_ms"]) == {now - now % QUARTER_HOUR_MS}
        assert min(found["message.purge_ms"]) >= now, "nothing goes early"
        assert min(found["message_key.expires_ms"]) >= now + 7 * 86_400_000
        (row,) = await stage.world.rows("SELECT max(expires_ms) FROM message WHERE state<>?", 0)
        assert now + 30 * 86_400_000 <= row[0] <= now + 30 * 86_400_000 + 2 * QUARTER_HOUR_MS
        assert terms.policy.rules["sealed"].retention_minutes == 30 * 24 * 60
    async with private(tmp_path / "usual", standard()) as stage:
        found, written = await a_life(stage)
        exact = {name for name, values in found.items() if all(value % QUARTER_HOUR_MS for value in values)}
        assert exact == set(found), "the positive control: these are the times of the clock"
        assert all(one.ts % QUARTER_HOUR_MS for one in written)


async def test_what_is_over_goes_and_nothing_is_overdue(tmp_path: Path) -> None:
    async with private(tmp_path, high_risk()) as stage:
        await a_life(stage)
        stage.world.clock.advance(stage.world.core.purge_after_ms + QUARTER_HOUR_MS)
        now = stage.world.clock.now_ms()
        ((waiting,),) = await stage.world.rows("SELECT count(*) FROM message WHERE purge_ms IS NOT NULL")
        assert waiting
        await stage.world.committer.run(Purge(now, 1_000, 0))
        await Intervals(stage.world.committer, stage.world.clock).resume()
        assert await stage.world.rows("SELECT count(*) FROM message WHERE purge_ms IS NOT NULL") == [(0,)]
        assert await stage.world.readers.read(lambda db: [one for one in find_overdue(db, now, 30) if one.rows]) == []


async def test_devices_are_shown_the_stored_time_and_no_other(tmp_path: Path) -> None:
    async with private(tmp_path, high_risk()) as stage:
        bob = stage.connect(1)
        await bob.hello()
        await bob.deliveries(1)
        await sends(stage, 0, b"live")
        now = stage.world.clock.now_ms()
        ((_, live),) = await bob.deliveries(1)
        assert live.accepted_ms == now - now % QUARTER_HOUR_MS
        page = await stage.world.mailboxes.page(stage.phones[1].caller.tenant_id, stage.phones[1].mailbox, 1, 9)
        assert [one.row.accepted_ms for one in page.items] == [live.accepted_ms]
        await bob.hang_up()


async def test_the_keys_of_messages_do_not_tell_when_the_device_wrote_them(tmp_path: Path) -> None:
    start = 1_795_000_000_000 >> 21 << 21

    async def keys(stage: Stage) -> list[bytes]:
        ((before,),) = await stage.world.rows("SELECT max(seq) FROM message")
        for at in range(30):
            told = (start + at * 50_000).to_bytes(REFERENCE_TIME, "big") + bytes([at]) * 10
            assert (await sends(stage, 0, b"%d" % at, told)).status is GOOD
            assert (await sends(stage, 0, b"%d" % at, told)).status is ResultStatus.DUPLICATE
            assert (await sends(stage, 0, b"another", told)).status is ResultStatus.CONFLICT
        return [key for (key,) in await stage.world.rows("SELECT id FROM message_key WHERE seq>? ORDER BY seq", before)]

    async with private(tmp_path / "few", high_risk()) as stage:
        few = await keys(stage)
        assert len({key[:5] for key in few}) == 1
        assert few != sorted(few)
    async with private(tmp_path / "usual", standard()) as stage:
        usual = await keys(stage)
        assert usual == sorted(usual)
        assert len({key[:5] for key in usual}) == 30


class Linker:
    """Somebody with a copy of the database and nothing else, who guesses the sender of every message in it."""

    def __init__(self, tables: dict[str, list[dict[str, Any]]], draw: random.Random) -> None:
        self._tables = tables
        self._draw = draw

    def guess(self, message: dict[str, Any]) -> int:
        """Whatever points at one member; else one of them by lot."""
        if message["sender"] is not None:
            return int(message["sender"])
        members: list[int] = [
            row["mailbox"] for row in self._tables["group_member"] if row["group_no"] == message["group_no"]
        ]
        has = {row["key"] >> 32 for row in self._tables["mailbox_item"] if row["message"] == message["seq"]}
        without = [member for member in members if member not in has]
        if len(without) == 1:
            return int(without[0])
        # A number of some other table that stands beside this message's own numbers in one row.
        own = {message["seq"], message["id"]}
        for table in ("message_key", "sealed_body", "group_log", "record_batch"):
            for row in self._tables[table]:
                if own & {value for value in row.values() if isinstance(value, int | bytes)}:
                    named = [value for value in row.values() if value in members]
                    if len(named) == 1 and table == "group_log":
                        return int(named[0])
        return int(self._draw.choice(members))


async def whole(stage: Stage) -> dict[str, list[dict[str, Any]]]:
    names = ("message", "message_key", "mailbox_item", "sealed_body", "group_member", "group_log", "record_batch")

    def work(db: Any) -> dict[str, list[dict[str, Any]]]:
        found = {}
        for name in names:
            cursor = db.execute(f"SELECT * FROM {name}")
            columns = [] if (first := cursor.fetchone()) is None else [one[0] for one in cursor.description]
            found[name] = [dict(zip(columns, row, strict=True)) for row in ([first, *cursor] if first else [])]
        return found

    return await stage.world.readers.read(work)


async def linked(stage: Stage, count: int, draw: random.Random) -> float:
    """The share of messages whose sender the linker names."""
    truth: dict[bytes, int] = {}
    for at in range(count):
        who = draw.randrange(len(stage.phones))
        done = await sends(stage, who, b"%d" % at)
        assert done.status is GOOD
        truth[done.message_id] = stage.phones[who].mailbox
    # Some have taken everything already: the store holds less for them than for the others.
    for number in (1, 4):
        await takes(stage, number)
    tables = await whole(stage)
    linker = Linker(tables, draw)
    messages = [row for row in tables["message"] if row["id"] in truth]
    assert len(messages) == count
    return sum(linker.guess(row) == truth[row["id"]] for row in messages) / count


async def test_a_stolen_store_does_not_tell_who_sent_what(tmp_path: Path) -> None:
    """S28: with ten members, chance is one in ten; a linker may be at most twice as good."""
    async with private(tmp_path / "usual", standard(), NAMES) as stage:
        usual = await linked(stage, 1_000, random.Random(28))
    async with private(tmp_path / "few", high_risk(), NAMES) as stage:
        few = await linked(stage, 1_000, random.Random(28))
    print(f"named by the linker: {usual:.1%} with standard, {few:.1%} with high-risk, by chance {1 / len(NAMES):.0%}")
    assert usual == 1, "the positive control: the linker does find it where it is"
    assert few <= 2 / len(NAMES)


async def test_the_sender_gets_its_own_message_and_so_is_not_the_one_without(tmp_path: Path) -> None:
    async with private(tmp_path / "few", high_risk()) as stage:
        assert (await sends(stage, 0, b"to all")).fanout == 3
        heads = [await stage.world.reads.mailbox(phone.mailbox) for phone in stage.phones]
        assert [row.head for row in heads if row] == [1, 2, 2], "ann made the group; the others have their Welcomes"
    async with private(tmp_path / "usual", standard()) as stage:
        assert (await sends(stage, 0, b"to all")).fanout == 2


async def test_handshakes_and_refused_shells_name_no_sender_in_their_rows(tmp_path: Path) -> None:
    for policy, named in ((high_risk(), 0), (standard(), 3)):
        async with private(tmp_path / policy.policy.name, policy) as stage:
            ((since,),) = await stage.world.rows("SELECT max(seq) FROM message")
            await a_life(stage)
            rows = await stage.world.rows("SELECT count(*), count(sender) FROM message WHERE seq>?", since)
            assert rows == [(3, named)]


async def test_the_quota_of_a_sender_holds_without_its_name_in_the_store(tmp_path: Path) -> None:
    async with private(tmp_path, high_risk()) as stage:
        stage.world.core._state.waiting = Waiting(WaitingLimits(sender_messages=3))
        quota = MailboxQuota(stage.world.committer, stage.world.reads)
        assert [(await sends(stage, 0, b"%d" % at)).status for at in range(5)] == [GOOD] * 3 + [OVER] * 2
        assert (await sends(stage, 1, b"bob's")).status is GOOD, "others are not held up"
        assert await quota.look()
        assert (await sends(stage, 0, b"3")).status is OVER
        for number in range(3):
            await takes(stage, number)
        assert await quota.look()
        assert (await sends(stage, 0, b"3")).status is GOOD
        waiting = stage.world.core._state.waiting
        assert len(waiting.sent_by) == 1, "who sent what is gone is forgotten"
        # After a start nobody knows any more: it counts for the tenant, and for no sender.
        stage.world.core._state.waiting = Waiting(WaitingLimits(sender_messages=3))
        assert await quota.look_anyway()
        waiting = stage.world.core._state.waiting
        assert (waiting.senders, waiting.tenants[1].messages) == ({}, 1)


@pytest.mark.attack("A17")
async def test_a_retry_finds_its_first_answer_without_a_stored_sender(tmp_path: Path) -> None:
    async with private(tmp_path, high_risk()) as stage:
        first = await sends(stage, 0, b"said", b"r" * 16)
        again = await sends(stage, 0, b"said", b"r" * 16)
        assert (again.status, again.message_id, again.record_hash) == (
            ResultStatus.DUPLICATE, first.message_id, first.record_hash,
        )  # fmt: skip
        assert (await sends(stage, 0, b"other", b"r" * 16)).status is ResultStatus.CONFLICT
        assert (await sends(stage, 1, b"said", b"r" * 16)).status is GOOD, "another device's is another message"
