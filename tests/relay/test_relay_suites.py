"""Which MLS suites the relay takes: exactly those that the settings list, wherever one shows."""

from pathlib import Path
from typing import Any

import pytest
from tests.relay import mls
from tests.relay.world import Person, Phone, bundle, enrolled, group_of, opened

from letterlock.relay.bundle import Welcome
from letterlock.relay.errors import RelayError
from letterlock.storage.relay_commands import RelayReason

GROUP = b"a group's id"
REGISTERED = range(1, 8)
PRIVATE = 61527
"""A private code point that an engine in use gives to a hybrid suite."""


async def refused_for(work: Any) -> tuple[RelayReason, dict[str, Any]]:
    with pytest.raises(RelayError) as found:
        await work
    return found.value.reason, found.value.facts


@pytest.mark.parametrize("suite", REGISTERED)
async def test_a_key_package_of_a_suite_is_taken_exactly_when_it_is_listed(tmp_path: Path, suite: int) -> None:
    others = [one for one in REGISTERED if one != suite]
    phone, person = Phone("a1", suite=suite), Person("ann")
    package = phone.package()
    async with opened(tmp_path, suites=others) as world:
        await person.enrol(world, phone)
        refusal = await refused_for(world.packages.put(1, phone.mailbox, [(package, False)]))
        assert refusal == (RelayReason.SUITE_NOT_ALLOWED, {"suite": suite})
        assert await world.count("key_package") == 0
    async with opened(tmp_path, suites=[suite]) as world:
        # The signatures are checked under the suite's own algorithm: the same package with a broken one is refused.
        broken = package[:-1] + bytes([package[-1] ^ 1])
        refusal = await refused_for(world.packages.put(1, phone.mailbox, [(broken, False)]))
        assert refusal[0] is RelayReason.BAD_KEY_PACKAGE
        assert (await world.packages.put(1, phone.mailbox, [(package, False)])).accepted == 1


@pytest.mark.parametrize("suite", [0, 8, PRIVATE, 65535])
async def test_a_key_package_of_an_unregistered_suite_is_refused_as_such(tmp_path: Path, suite: int) -> None:
    async with opened(tmp_path, suites=REGISTERED) as world:
        (ann,) = await enrolled(world, "a1")
        data = mls.key_package_message(ann.leaf, 1, suite=suite)
        refusal = await refused_for(world.packages.put(1, ann.mailbox, [(ann.package(), False), (data, False)]))
        # Zero is reserved by the RFC and is no suite at all to the parser.
        wanted = (RelayReason.SUITE_NOT_ALLOWED, {"suite": suite}) if suite else (RelayReason.BAD_KEY_PACKAGE, {})
        assert refusal == wanted
        await ann.put(world)


@pytest.mark.parametrize("suite", [*REGISTERED, PRIVATE])
async def test_a_bundle_is_refused_wherever_it_shows_an_unlisted_suite(tmp_path: Path, suite: int) -> None:
    others = [one for one in REGISTERED if one != suite]
    listed = [suite] if suite in REGISTERED else None
    async with opened(tmp_path, suites=others) as world:
        ann, bob, eve = await enrolled(world, "a1", "b1", "e1")
        package = mls.key_package(eve.leaf, 1, suite=suite)
        first = others[0]
        shows: list[dict[str, Any]] = [
            {"adds": (eve,), "commit": mls.commit(GROUP, 1, adds=(package,))},
            {"adds": (eve,), "welcomes": [Welcome([eve.id], mls.welcome(suite=suite))]},
            {"group_info": mls.group_info(GROUP, 2, suite=suite)},
            {"commit": mls.commit(GROUP, 1, reinit=suite)},
            {
                "adds": (eve,),
                "commit": mls.private(GROUP, 1, 3),
                "welcomes": [Welcome([eve.id], mls.welcome(suite=suite))],
            },
        ]
        ref, _, _ = await world.groups.create(ann.caller, GROUP, 1)
        good = mls.commit(GROUP, 1, adds=(mls.key_package(bob.leaf, 2, suite=first),))
        for fields in shows:
            if "commit" not in fields and "adds" in fields:
                fields["commit"] = mls.commit(GROUP, 1, adds=(mls.key_package(eve.leaf, 2, suite=first),))
            refusal = await refused_for(world.groups.commit(ann.caller, ref, bundle(GROUP, 1, **fields)))
            assert refusal == (RelayReason.SUITE_NOT_ALLOWED, {"suite": suite}), fields
        assert await world.count("group_log") == 0
        offer = bundle(
            GROUP, 1, adds=(bob,), commit=good, welcomes=[Welcome([bob.id], mls.welcome(suite=first))],
            group_info=mls.group_info(GROUP, 2, suite=first),
        )  # fmt: skip
        assert (await world.groups.commit(ann.caller, ref, offer)).epoch == 2
    if listed is None:
        return
    async with opened(tmp_path, suites=listed) as world:
        epoch = 2
        for fields in shows:
            if "group_info" in fields:
                fields["group_info"] = mls.group_info(GROUP, epoch + 1, suite=suite)
            if "adds" in fields:
                fields["welcomes"] = [Welcome([eve.id], mls.welcome(suite=suite))]
                fields["commit"] = mls.commit(GROUP, epoch, adds=(package,))
            elif "commit" in fields:
                fields["commit"] = mls.commit(GROUP, epoch, reinit=suite)
            epoch = (await world.groups.commit(ann.caller, ref, bundle(GROUP, epoch, **fields))).epoch
            if "adds" in fields:
                epoch = (await world.groups.commit(ann.caller, ref, bundle(GROUP, epoch, removes=(eve,)))).epoch


async def test_suite_one_alone_is_the_default(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        await ann.put(world)
        await group_of(world, GROUP, ann, bob)
