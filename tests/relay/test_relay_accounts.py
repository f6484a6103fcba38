"""Accounts and device lists at the relay."""

from pathlib import Path

import pytest
from tests.relay.world import TENANTS, Person, Phone, World, enrolled, group_of, opened

from letterlock.assurance.device_list import DeviceList, parse_signed, successor, verify_chain
from letterlock.model.ids import AccountId
from letterlock.relay.errors import RelayError
from letterlock.storage.relay_commands import RelayReason
from letterlock.wire.preimage import KeyFamily, SoftwareKey, Suite
from letterlock.wire.tlog.commitments import CommitmentKind, opens
from letterlock.wire.tlog.entries import DeviceList as ListEntry
from letterlock.wire.tlog.entries import decode_entry
from letterlock.wire.tlog.hashes import leaf_hash


def refused(found: pytest.ExceptionInfo[RelayError]) -> RelayReason:
    return found.value.reason


async def publish(world: World, person: Person, data: bytes, account: AccountId | None = None) -> int:
    done = await world.accounts.publish(person.tenant, TENANTS[person.tenant], account or person.account, data)
    return done.version


async def test_an_account_is_created_once(tmp_path: Path) -> None:
    key = SoftwareKey(KeyFamily.IDENTITY, Suite.ED25519, b"i" * 32).public.encode()
    async with opened(tmp_path) as world:
        account, created = await world.accounts.create(1, key)
        assert created
        assert await world.accounts.create(1, key) == (account, False)
        other, created = await world.accounts.create(2, key)
        assert created
        assert other != account
        with pytest.raises(RelayError) as found:
            await world.accounts.create(1, b"\x01" + bytes(32))
        assert refused(found) is RelayReason.BAD_KEY
    async with opened(tmp_path) as world:
        assert await world.accounts.create(1, key) == (account, False)


async def test_every_version_has_its_ledger_entry(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        person, phones = Person("ann"), [Phone("a1"), Phone("a2")]
        await person.enrol(world, phones[0])
        await person.publish(world, phones)
        before = world.core.tree_size
        assert await publish(world, person, person.signed(person.head)) == 2  # type: ignore[arg-type]
        assert world.core.tree_size == before, "a repetition is no event"
        found = await world.rows(
            "SELECT v.version, v.list_hash, v.leaf_hash, v.salt, e.d FROM device_list_version v"
            " JOIN ledger_entry e ON e.i=v.entry ORDER BY v.version"
        )
        assert [row[0] for row in found] == [1, 2]
        for version, digest, leaf, salt, data in found:
            entry = decode_entry(data)
            assert isinstance(entry, ListEntry)
            assert (entry.version, entry.list.value) == (version, digest)
            assert leaf == leaf_hash(data)
            assert opens(entry.account, CommitmentKind.ACCOUNT, salt, person.account.value)
        lists = await world.accounts.lists(1, person.account, 0)
        assert lists.current_version == 2
        chain = [parse_signed(row.signed) for row in lists.versions]
        assert verify_chain(chain, person.account, TENANTS[1], "test", person.identity.public) == person.head
        assert [row.version for row in (await world.accounts.lists(1, person.account, 1)).versions] == [2]
        with pytest.raises(RelayError) as refusal:
            await world.accounts.lists(2, person.account, 0)
        assert refused(refusal) is RelayReason.NOT_FOUND


def flipped(data: bytes) -> bytes:
    """The same with its last bit changed: always another one."""
    return data[:-1] + bytes((data[-1] ^ 1,))


async def test_what_makes_a_list_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        person, phone = Person("ann"), Phone("a1")
        await person.enrol(world, phone)
        other = Person("bob")
        await other.enrol(world, Phone("b1"))
        head = person.head
        assert head is not None
        good = person.next_list([phone, Phone("a2")])

        def changed(**fields: object) -> DeviceList:
            names = ("account", "version", "previous", "issued_ms", "identity_key", "devices")
            return DeviceList(**({name: getattr(good, name) for name in names} | fields))

        cases: list[tuple[bytes, AccountId, RelayReason]] = [
            (b"", person.account, RelayReason.BAD_DEVICE_LIST),
            (person.signed(good) + b"x", person.account, RelayReason.BAD_DEVICE_LIST),
            (person.signed(good), other.account, RelayReason.WRONG_ACCOUNT),
            (person.signed(good, "prod"), person.account, RelayReason.BAD_SIGNATURE),
            (other.signed(changed(identity_key=other.identity.public)), person.account, RelayReason.BAD_SIGNATURE),
            (flipped(person.signed(good)), person.account, RelayReason.BAD_SIGNATURE),
            (person.signed(changed(version=3)), person.account, RelayReason.DEVICE_LIST_VERSION),
            (person.signed(changed(previous=b"p" * 32)), person.account, RelayReason.DEVICE_LIST_VERSION),
            (
                person.signed(DeviceList(person.account, 1, bytes(32), 9, person.identity.public, ())),
                person.account,
                RelayReason.DEVICE_LIST_VERSION,
            ),
            (person.signed(person.next_list([phone, Phone("b1")])), person.account, RelayReason.DEVICE_EXISTS),
        ]
        for data, account, reason in cases:
            with pytest.raises(RelayError) as found:
                await publish(world, person, data, account)
            assert refused(found) is reason
        with pytest.raises(RelayError) as found:
            await publish(world, person, person.signed(changed(version=3)))
        assert found.value.facts == {"current_version": 1}
        with pytest.raises(RelayError) as found:
            await world.accounts.publish(2, TENANTS[2], person.account, person.signed(good))
        assert refused(found) is RelayReason.NOT_FOUND
        assert await world.count("device") == 2, "nothing of a refused list was kept"
        assert await publish(world, person, person.signed(good)) == 2


async def test_a_removed_device_is_gone_at_that_moment_and_for_good(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        person, kept, gone = Person("ann"), Phone("a1"), Phone("a2")
        await person.enrol(world, kept, gone)
        (bob,) = await enrolled(world, "b1")
        await gone.put(world, 3)
        login = await gone.log_in(world)
        await kept.log_in(world)
        await group_of(world, b"group", bob, kept, gone)
        assert await world.count("mailbox_item") == 2
        version = world.directory.version
        await person.publish(world, [kept])
        assert world.ended == [gone.mailbox]
        assert len(world.directory) == 1
        assert world.directory.version == version + 1
        assert await world.rows("SELECT count(*) FROM device_session") == [(1,)]
        assert await world.count("key_package") == 0
        assert await world.rows("SELECT key>>32 FROM mailbox_item") == [(kept.mailbox,)]
        assert await world.rows("SELECT mailbox FROM group_silent") == [(gone.mailbox,)]
        assert (await world.rows("SELECT count(*) FROM group_member WHERE mailbox=?", gone.mailbox))[0] == (0,)
        with pytest.raises(RelayError) as found:
            await gone.log_in(world)
        assert refused(found) is RelayReason.SESSION_REFUSED
        for use in (gone.put(world), world.mailboxes.reset(1, gone.mailbox, 5)):
            with pytest.raises(RelayError) as found:
                await use
            assert refused(found) is RelayReason.SESSION_ENDED
        with pytest.raises(RelayError) as found:
            await person.publish(world, [kept, gone])
        assert refused(found) is RelayReason.DEVICE_RETIRED
        del login
    async with opened(tmp_path) as world:
        assert len(world.directory) == 1
        assert world.directory.version == version + 1
        with pytest.raises(RelayError):
            await gone.log_in(world)


async def test_a_new_session_key_ends_sessions_and_a_new_leaf_withdraws_packages(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        person, phone, spare = Person("ann"), Phone("a1"), Phone("spare")
        await person.enrol(world, phone)
        await phone.put(world)
        await phone.log_in(world)
        head = person.head
        assert head is not None
        entry = phone.entry
        phone.entry = type(entry)(entry.device, entry.kind, entry.envelope_key, spare.leaf.public, entry.session_key)
        await person.publish(world, [phone])
        assert await world.count("key_package") == 0
        assert len(world.directory) == 1
        entry = phone.entry
        phone.entry = type(entry)(
            entry.device, entry.kind, entry.envelope_key, entry.leaf_key, spare.session_key.public
        )
        await person.publish(world, [phone])
        assert len(world.directory) == 0
        with pytest.raises(RelayError):
            await phone.log_in(world)
        phone.session_key = spare.session_key
        assert (await phone.log_in(world)).token


async def test_two_publishers_of_the_next_version_get_one(tmp_path: Path) -> None:
    import asyncio

    async with opened(tmp_path) as world:
        person, phone = Person("ann"), Phone("a1")
        await person.enrol(world, phone)
        head = person.head
        assert head is not None
        offers = [person.signed(successor(head, n, [phone.entry])) for n in range(20)]
        answers = await asyncio.gather(*[publish(world, person, data) for data in offers], return_exceptions=True)
        assert answers.count(2) == 1
        lost = [answer for answer in answers if isinstance(answer, RelayError)]
        assert {error.reason for error in lost} == {RelayReason.DEVICE_LIST_VERSION}
        assert len(lost) == 19
        assert await world.count("device_list_version") == 2
