"""Key packages: put once, claimed once."""

import asyncio
from pathlib import Path

import pytest
from tests.relay import mls
from tests.relay.world import Person, Phone, World, enrolled, opened

from letterlock.model.clock import ManualClock
from letterlock.model.ids import AccountId, DeviceId
from letterlock.relay.claim_quota import ClaimLimit, ClaimQuota, Verdict
from letterlock.relay.errors import RelayError
from letterlock.relay.limits import CLAIMS_BY_CLAIMER, CLAIMS_OF_TARGET, FIRST_CONTACTS
from letterlock.storage.relay_commands import LOW_WATER, Claimed, RelayReason
from letterlock.wire.tlog.entries import Finding, decode_entry
from letterlock.wire.tlog.words import FindingCode


async def claim(world: World, claimer: Phone, target: Phone, devices: list[DeviceId] | None = None) -> Claimed:
    return await world.packages.claim(claimer.tenant, claimer.mailbox, claimer.account.value, target.account, devices)


async def put(world: World, phone: Phone, *packages: tuple[bytes, bool]) -> tuple[int, int, int, bool]:
    kept = await world.packages.put(phone.tenant, phone.mailbox, packages)
    return kept.accepted, kept.duplicates, kept.available, kept.has_last_resort


async def test_a_package_is_handed_out_once_even_when_it_is_put_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        one, two = ann.package(), ann.package()
        assert await put(world, ann, (one, False), (two, False)) == (2, 0, 2, False)
        assert await put(world, ann, (one, False), (two, False)) == (0, 2, 2, False)
        assert [p.package for p in (await claim(world, bob, ann)).packages] == [one], "oldest first"
        assert await put(world, ann, (one, False)) == (0, 1, 1, False)
    async with opened(tmp_path) as world:
        assert await put(world, ann, (one, False)) == (0, 1, 1, False)
        assert [p.package for p in (await claim(world, bob, ann)).packages] == [two]
        found = await claim(world, bob, ann)
        assert (found.packages, found.exhausted) == ((), (ann.id.value,))
        await world.packages.clear(1, ann.mailbox)
        assert await put(world, ann, (two, False)) == (0, 1, 0, False)


async def test_a_last_resort_stays_and_a_newer_one_replaces_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        last, other, plain = ann.package(), ann.package(), ann.package()
        assert await put(world, ann, (last, True), (plain, False)) == (2, 0, 1, True)
        given = [(await claim(world, bob, ann)).packages[0] for _ in range(3)]
        assert [(p.package, p.last_resort) for p in given] == [(plain, False), (last, True), (last, True)]
        assert await put(world, ann, (other, True)) == (1, 0, 0, True)
        assert (await claim(world, bob, ann)).packages[0].package == other
        assert await world.count("key_package") == 1


async def test_a_claim_covers_the_listed_devices_but_the_claimers_own(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        person, phone, tablet, spare = Person("ann"), Phone("a1"), Phone("a2"), Phone("a3")
        await person.enrol(world, phone, tablet, spare)
        (bob,) = await enrolled(world, "b1")
        for one in (phone, tablet):
            await one.put(world, 5)
        found = await claim(world, bob, phone)
        assert {p.device for p in found.packages} == {phone.id.value, tablet.id.value}
        assert found.exhausted == (spare.id.value,)
        assert (found.version, found.identity_key) == (1, person.identity.public.encode())
        assert person.head is not None
        assert found.signed == person.signed(person.head)
        assert (
            found.leaf_hash
            == (await world.rows("SELECT leaf_hash FROM device_list_version WHERE account=?", person.account.value))[0][
                0
            ]
        )
        own = await claim(world, phone, phone)
        assert {p.device for p in own.packages} == {tablet.id.value}
        some = await claim(world, bob, phone, [tablet.id, tablet.id])
        assert [p.device for p in some.packages] == [tablet.id.value]
        for who, devices in ((phone, [bob.id]), (Phone("nobody"), None)):
            with pytest.raises(RelayError) as refusal:
                await claim(world, bob, who, devices)
            assert refusal.value.reason is RelayReason.NOT_FOUND


async def test_another_tenant_finds_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        (ann,) = await enrolled(world, "a1")
        (eve,) = await enrolled(world, "e1", tenant=2)
        await ann.put(world)
        with pytest.raises(RelayError) as refusal:
            await claim(world, eve, ann)
        assert refusal.value.reason is RelayReason.NOT_FOUND
        assert await world.count("key_package") == 1


@pytest.mark.attack("A23")
async def test_two_claimers_race_for_the_last_package(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob, eve = await enrolled(world, "a1", "b1", "e1")
        await ann.put(world, 3)
        found = await asyncio.gather(*[claim(world, who, ann) for who in (bob, eve) * 5])
        given = [p.package for answer in found for p in answer.packages]
        assert len(given) == 3
        assert len(set(given)) == 3
        assert sum(bool(answer.exhausted) for answer in found) == 7


async def test_what_makes_packages_refused_as_a_whole(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        good = ann.package()
        over = mls.key_package_message(ann.leaf, 50, not_after=clock.now_ms() // 1000)
        bad = {
            "not MLS": b"hello",
            "another kind": mls.welcome(),
            "trailing": good + b"\0",
            "broken signature": good[:-1] + bytes([good[-1] ^ 1]),
            "over": over,
            "too large": good + bytes(20_000),
        }
        for data in bad.values():
            with pytest.raises(RelayError) as refusal:
                await put(world, ann, (good, False), (data, False))
            assert refusal.value.reason is RelayReason.BAD_KEY_PACKAGE
        with pytest.raises(RelayError) as refusal:
            await put(world, ann, (good, False), (bob.package(), False))
        assert refusal.value.reason is RelayReason.LEAF_NOT_LISTED
        assert await world.count("key_package") == 0
        await ann.put(world, 100)
        await ann.put(world, 99)
        with pytest.raises(RelayError) as refusal:
            await ann.put(world, 2)
        assert refusal.value.reason is RelayReason.TOO_MANY_KEY_PACKAGES
        await ann.put(world, 1)
        assert await put(world, ann, (ann.package(), True)) == (1, 0, 200, True)


@pytest.mark.attack("A23")
async def test_thirty_claims_an_hour_for_each_pair(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as world:
        ann, bob, eve = await enrolled(world, "a1", "b1", "e1")
        await ann.put(world, 40)
        for _ in range(30):
            await claim(world, eve, ann)
        before = world.core.tree_size
        for _ in range(5):
            with pytest.raises(RelayError) as refusal:
                await claim(world, eve, ann)
            assert refusal.value.reason is RelayReason.CLAIM_QUOTA
            assert refusal.value.facts == {"retry_after_s": 3600, "limit": ClaimLimit.PAIR}
        assert world.core.tree_size == before + 1, "one finding a window"
        entry = decode_entry((await world.rows("SELECT d FROM ledger_entry ORDER BY i DESC LIMIT 1"))[0][0])
        assert isinstance(entry, Finding)
        assert await world.count("key_package") == 10, "nothing was drained beyond the quota"
        assert (await claim(world, bob, ann)).packages, "others are not held up"
        assert (await claim(world, eve, bob)).exhausted, "nor is another target"
        clock.advance(3_600_000)
        assert (await claim(world, eve, ann)).packages


def test_the_quota_forgets_idle_pairs_first() -> None:
    quota = ClaimQuota(ManualClock(), limit=2)
    for _ in range(30):
        assert quota.take(1, b"a", b"t") == Verdict(0)
    assert quota.take(1, b"a", b"t") == Verdict(3600, True, ClaimLimit.PAIR)
    assert quota.take(1, b"a", b"t") == Verdict(3600, False, ClaimLimit.PAIR)
    assert quota.take(1, b"b", b"t") == Verdict(0)
    assert quota.take(1, b"a", b"t").wait_s == 3600
    assert quota.take(1, b"c", b"t") == Verdict(0)
    assert quota.take(1, b"b", b"u") == Verdict(0), "a pair was forgotten, and not the one that is asked for most"


def name(number: int) -> bytes:
    return number.to_bytes(16)


@pytest.mark.attack("A23")
def test_looking_for_strangers_ends_with_the_days_share() -> None:
    clock = ManualClock()
    quota = ClaimQuota(clock)
    for number in range(FIRST_CONTACTS):
        assert quota.take(1, b"eve", name(number)) == Verdict(0)
    met = quota.take(1, b"eve", name(9_999))
    assert (met.note, met.limit) == (True, ClaimLimit.FIRST_CONTACT)
    assert 170 <= met.wait_s <= 173, "a five-hundredth of a day"
    assert quota.take(1, b"eve", name(9_999)).note is False
    assert quota.take(1, b"eve", name(7)) == Verdict(0), "whom she has met she may meet again"
    assert quota.take(1, b"eve", b"eve") == Verdict(0), "and her own devices are no strangers"
    assert quota.take(2, b"eve", name(9_999)) == Verdict(0), "another tenant's account is another"
    assert quota.take(1, b"bob", name(9_999)) == Verdict(0)
    clock.advance(1_000 * met.wait_s)
    assert quota.take(1, b"eve", name(9_999)) == Verdict(0)
    assert quota.take(1, b"eve", name(9_998)).limit is ClaimLimit.FIRST_CONTACT
    clock.advance(86_400_000)
    assert quota.take(1, b"eve", name(9_998)) == Verdict(0)


@pytest.mark.attack("A23")
def test_many_claimers_do_not_drain_one_target() -> None:
    clock = ManualClock()
    quota = ClaimQuota(clock)
    for number in range(CLAIMS_OF_TARGET):
        assert quota.take(1, name(number), b"ann") == Verdict(0)
    met = quota.take(1, name(9_999), b"ann")
    assert (met.note, met.limit) == (True, ClaimLimit.TARGET)
    assert quota.take(1, name(8_888), b"ann") == met._replace(note=False), "one finding an hour, whoever asks"
    assert quota.take(1, name(9_999), b"bob") == Verdict(0)
    assert quota.take(1, b"ann", b"ann") == Verdict(0), "ann herself is not held up"
    clock.advance(3_600_000)
    assert quota.take(1, name(9_999), b"ann") == Verdict(0)


@pytest.mark.attack("A23")
def test_one_claimer_has_so_many_in_all() -> None:
    clock = ManualClock()
    quota = ClaimQuota(clock)
    for number in range(CLAIMS_BY_CLAIMER):
        assert quota.take(1, b"eve", name(number % 400)) == Verdict(0)
    met = quota.take(1, b"eve", name(1))
    assert met == Verdict(4, True, ClaimLimit.CLAIMER)
    assert quota.take(1, b"eve", b"eve").limit is ClaimLimit.CLAIMER
    assert quota.take(1, b"bob", name(1)) == Verdict(0)
    clock.advance(4_000)
    assert quota.take(1, b"eve", name(1)) == Verdict(0)


async def test_a_low_pool_is_told_and_a_last_resort_is_an_alarm(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        await ann.put(world, LOW_WATER + 2)
        await ann.put(world, 1, last_resort=True)
        await claim(world, bob, ann)
        assert world.notified.lows == []
        await claim(world, bob, ann)
        assert world.notified.lows == [ann.mailbox]
        for _ in range(LOW_WATER):
            assert not (await claim(world, bob, ann)).packages[0].last_resort
        assert world.served == []
        before = world.core.tree_size
        assert (await claim(world, bob, ann)).packages[0].last_resort
        assert (world.served, world.core.tree_size) == ([1], before + 1)
        entry = decode_entry((await world.rows("SELECT d FROM ledger_entry ORDER BY i DESC LIMIT 1"))[0][0])
        assert isinstance(entry, Finding)
        assert (entry.code, entry.count) == (FindingCode.LAST_RESORT_SERVED, 1)


async def test_purge_removes_what_is_over(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        soon = mls.key_package_message(ann.leaf, 70, not_after=clock.now_ms() // 1000 + 60)
        await put(world, ann, (soon, False), (ann.package(), False))
        await ann.log_in(world)
        clock.advance(60_000)
        assert [p.package for p in (await claim(world, bob, ann)).packages] != [soon], "an expired one is not given"
        clock.advance(600_000)
        purged = await world.mailboxes.purge()
        assert (purged.sessions, purged.packages, purged.published) == (1, 1, 1)
        assert await world.count("key_package") == 0
        assert await world.count("published_package") == 1
        with pytest.raises(RelayError) as refusal:
            await put(world, ann, (soon, False))
        assert refusal.value.reason is RelayReason.BAD_KEY_PACKAGE, "so its hash need not be known any more"
        with pytest.raises(RelayError):
            await world.packages.claim(1, 99, b"", AccountId(bytes(16)), None)
