"""Logins at the relay."""

import asyncio
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.relay.world import ENVIRONMENT, TENANTS, Person, Phone, World, enrolled, opened

from letterlock.model.clock import ManualClock
from letterlock.model.ids import AccountId, DeviceId
from letterlock.relay.accounts import Accounts
from letterlock.relay.errors import RelayError
from letterlock.relay.nonces import NonceBook
from letterlock.storage.relay_commands import RelayReason
from letterlock.storage.sqlite.committer import GroupCommitter
from letterlock.wire.preimage import Purpose
from letterlock.wire.tlog.entries import Finding, decode_entry
from letterlock.wire.tlog.words import FindingCode


async def refused(world: World, phone: Phone, nonce: bytes, signature: bytes, counter: int | None = None) -> None:
    with pytest.raises(RelayError) as found:
        await world.sessions.log_in(phone.id, nonce, phone.counter if counter is None else counter, signature)
    assert found.value.reason is RelayReason.SESSION_REFUSED
    assert found.value.facts == {}


async def test_a_login_gives_a_token_that_lives_ten_minutes(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as world:
        (phone,) = await enrolled(world, "a1")
        await phone.put(world, 3)
        login = await phone.log_in(world)
        assert (login.acknowledged, login.head, login.lost, login.key_packages) == (0, 0, False, 3)
        assert len(login.token) == 43
        assert login.token not in repr(login)
        token = sha256(login.token.encode()).digest()
        found = world.directory.find(token)
        assert found is not None
        assert (found.mailbox, found.device, found.account) == (phone.mailbox, phone.id.value, phone.account.value)
        clock.advance(599_999)
        assert world.directory.find(token) is not None
        clock.advance(1)
        assert world.directory.find(token) is None
        for row in await world.rows("SELECT token_hash FROM device_session"):
            assert row[0] == token


async def test_sessions_survive_a_restart_and_end_on_log_out(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as world:
        (phone,) = await enrolled(world, "a1")
        token = sha256((await phone.log_in(world)).token.encode()).digest()
    async with opened(tmp_path, clock) as world:
        assert world.directory.find(token) is not None
        await world.sessions.log_out(1, phone.mailbox, token)
        assert world.directory.find(token) is None
    async with opened(tmp_path, clock) as world:
        assert world.directory.find(token) is None


async def test_a_fifth_session_ends_the_oldest(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as world:
        (phone,) = await enrolled(world, "a1")
        tokens = []
        for _ in range(6):
            clock.advance(1_000)
            tokens.append(sha256((await phone.log_in(world)).token.encode()).digest())
        assert [world.directory.find(token) is not None for token in tokens] == [False] * 2 + [True] * 4
        assert await world.count("device_session") == 4


@pytest.mark.attack("A17", "A21")
async def test_replayed_and_misdirected_logins_are_refused(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as world:
        person, phone, twin = Person("ann"), Phone("a1"), Phone("a2")
        await person.enrol(world, phone, twin)
        elsewhere = Phone("a1", tenant=2)
        await Person("ann", 2).enrol(world, elsewhere)
        assert phone.id == elsewhere.id, "ids are unique within a tenant only"
        phone.counter = 1
        nonce, _ = world.sessions.nonce(phone.id)
        good = phone.login(nonce)
        await world.sessions.log_in(phone.id, nonce, 1, good)
        await refused(world, phone, nonce, good)
        phone.counter = 2
        await refused(world, phone, nonce, phone.login(nonce))
        wrong = {
            "key": {"key": twin.session_key},
            "environment": {"environment": "prod"},
            "audience": {"audience": "other.example"},
            "account": {"account": AccountId(b"x" * 16)},
            "counter": {"counter": 99},
            "purpose": {"purpose": Purpose.HANDSHAKE_OFFER},
        }
        for fields in wrong.values():
            nonce, _ = world.sessions.nonce(phone.id)
            await refused(world, phone, nonce, phone.login(nonce, **fields))  # type: ignore[arg-type]
            await refused(world, phone, nonce, phone.login(nonce))
        nonce, _ = world.sessions.nonce(phone.id)
        await refused(world, phone, nonce, b"")
        nonce, _ = world.sessions.nonce(phone.id)
        unknown_tenant = phone.login(nonce, tenant=type(TENANTS[1])(b"\x03" * 16))
        await refused(world, phone, nonce, unknown_tenant)
        nonce, _ = world.sessions.nonce(twin.id)
        await refused(world, phone, nonce, phone.login(nonce))
        nonce, _ = world.sessions.nonce(phone.id)
        clock.advance(60_000)
        await refused(world, phone, nonce, phone.login(nonce))
        nonce, _ = world.sessions.nonce(phone.id)
        await world.sessions.log_in(phone.id, nonce, 2, phone.login(nonce))
        # Each tenant's device of that id gets its own session, never the other's.
        elsewhere.account = Person("ann", 2).account
        found = await world.rows("SELECT account FROM device WHERE mailbox=?", elsewhere.mailbox)
        elsewhere.account = AccountId(found[0][0])
        token = sha256((await elsewhere.log_in(world)).token.encode()).digest()
        session = world.directory.find(token)
        assert session is not None
        assert (session.tenant, session.mailbox) == (2, elsewhere.mailbox)


async def test_a_device_that_does_not_exist_is_refused_like_any_other(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ghost = Phone("ghost")
        nonce, ends = world.sessions.nonce(ghost.id)
        assert len(nonce) == 32
        assert ends == world.clock.now_ms() + 60_000
        await refused(world, ghost, nonce, ghost.login(nonce))


@pytest.mark.attack("A18")
async def test_a_restored_copy_of_a_device_gets_no_session(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        (phone,) = await enrolled(world, "a1")
        for _ in range(3):
            await phone.log_in(world)
        await world.mailboxes.acknowledge(1, phone.mailbox, 0, 40)
    async with opened(tmp_path) as world:
        phone.counter = 39
        before = len(world.directory)
        with pytest.raises(RelayError) as found:
            await phone.log_in(world)
        assert phone.counter == 40, "equal is not above"
        assert found.value.reason is RelayReason.STATE_ROLLED_BACK
        assert found.value.facts == {"acknowledged_counter": 40}
        assert len(world.directory) == before
        entry = decode_entry((await world.rows("SELECT d FROM ledger_entry ORDER BY i DESC LIMIT 1"))[0][0])
        assert isinstance(entry, Finding)
        assert entry.code is FindingCode.STATE_ROLLED_BACK
        assert (await phone.log_in(world)).token, "the next number is above"


@pytest.mark.attack("A18")
async def test_two_clones_that_log_in_at_once_get_one_session(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        (phone,) = await enrolled(world, "a1")
        answers = await asyncio.gather(*[one_login(world, phone, 1) for _ in range(8)], return_exceptions=True)
        lost = [answer for answer in answers if isinstance(answer, RelayError)]
        assert len(lost) == 7
        assert {error.reason for error in lost} == {RelayReason.STATE_ROLLED_BACK}


async def one_login(world: World, phone: Phone, counter: int) -> str:
    nonce, _ = world.sessions.nonce(phone.id)
    return (await world.sessions.log_in(phone.id, nonce, counter, phone.login(nonce, counter=counter))).token


class Signalling:
    """The writer's queue, telling when something was queued."""

    def __init__(self, committer: GroupCommitter) -> None:
        self._committer = committer
        self.queued = asyncio.Event()

    def submit(self, commands: Sequence[Any], *, tenant: int = 0, size: int = 0) -> "asyncio.Future[list[Any]]":
        future = self._committer.submit(commands, tenant=tenant, size=size)
        self.queued.set()
        return future


async def test_a_caller_that_hangs_up_still_changes_memory(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        person, phone = Person("ann"), Phone("a1")
        await person.enrol(world, phone)
        await phone.log_in(world)
        committer, ended = Signalling(world.committer), asyncio.Event()
        world.directory.on_device_ended(lambda mailbox: ended.set())
        accounts = Accounts(committer, world.reads, world.directory, world.group_directory, ENVIRONMENT, os.urandom)
        data = person.signed(person.next_list([]))
        task = asyncio.ensure_future(accounts.publish(1, TENANTS[1], person.account, data))
        await committer.queued.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The writer has taken it; its outcome reaches the directory all the same.
        await asyncio.wait_for(ended.wait(), 10)
        assert len(world.directory) == 0


def test_nonces_are_bounded_by_device_and_in_all() -> None:
    clock = ManualClock()
    book = NonceBook(clock, os.urandom, limit=20)
    device = DeviceId(b"d" * 16)
    mine = [book.give(device)[0] for _ in range(9)]
    assert len(book) == 8
    assert not book.take(device, mine[0])
    assert book.take(device, mine[8])
    assert not book.take(device, mine[8])
    for number in range(100):
        book.give(DeviceId(number.to_bytes(16, "big")))
    assert len(book) == 20
    assert not book.take(device, mine[7])
    clock.advance(60_000)
    book.give(device)
    assert len(book) == 1
