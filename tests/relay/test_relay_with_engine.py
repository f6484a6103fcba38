"""Real MLS bytes of a real engine pass the relay, and devices that followed it can read each other."""

import asyncio
from pathlib import Path

import pytest
from tests.relay.world import Person, Phone, opened

from letterlock.client.engine import CommitBundle, Decrypted
from letterlock.client.rine import RineEngine
from letterlock.relay.bundle import Bundle, Welcome
from letterlock.relay.errors import RelayError, WrongEpochError
from letterlock.storage.relay_commands import RelayReason

pytest.importorskip("rine_mls")
GROUP = b"real group of two"


class EnginePhone(Phone):
    """A phone whose leaf key is its engine's."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.engine = RineEngine(name.encode().ljust(32, b"."))
        entry = self.entry
        self.entry = type(entry)(entry.device, entry.kind, entry.envelope_key, self.engine.leaf_key, entry.session_key)


def offer(phone: EnginePhone, made: CommitBundle, adds: list[EnginePhone], key: bytes) -> Bundle:
    welcomes = [Welcome([one.id], data) for one, data in zip(adds, made.welcomes, strict=True)]
    ids = [one.id for one in adds]
    return Bundle(GROUP, made.base_epoch, made.commit, welcomes, made.group_info or None, ids, [], key, 1)


async def test_commit_bundles_of_an_engine(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob = EnginePhone("ann"), EnginePhone("bob")
        try:
            for phone in (ann, bob):
                await Person(phone.id.value.hex()).enrol(world, phone)
            packages = bob.engine.key_packages(2)
            await world.packages.put(1, bob.mailbox, [(data, False) for data in packages])
            with pytest.raises(RelayError) as refused:
                await world.packages.put(1, bob.mailbox, [(ann.engine.key_packages(1)[0], False)])
            assert refused.value.reason is RelayReason.LEAF_NOT_LISTED
            claimed = await world.packages.claim(1, ann.mailbox, ann.account.value, bob.account, None)
            start = ann.engine.create(GROUP)
            ref, _, _ = await world.groups.create(ann.caller, GROUP, start)
            made = ann.engine.add(GROUP, [claimed.packages[0].package])

            done = await world.groups.commit(ann.caller, ref, offer(ann, made, [bob], b"1" * 16))
            ann.engine.confirm(GROUP)
            assert done.epoch == start + 1 == ann.engine.epoch(GROUP)
            page = await world.mailboxes.page(bob.caller.tenant_id, bob.mailbox, 0, 10)
            bob.engine.join(page.items[0].body)
            bob.engine.confirm(GROUP)
            won = bob.engine.update(GROUP)
            lost = ann.engine.update(GROUP)
            await world.groups.commit(bob.caller, ref, offer(bob, won, [], b"2" * 16))
            bob.engine.confirm(GROUP)
            with pytest.raises(WrongEpochError) as wrong:
                await world.groups.commit(ann.caller, ref, offer(ann, lost, [], b"3" * 16))
            assert wrong.value.missing == (1,)
            ann.engine.discard(GROUP)
            page = await world.mailboxes.page(ann.caller.tenant_id, ann.mailbox, 0, 10)
            ann.engine.process(page.items[0].body)
            opened_text = bob.engine.process(ann.engine.encrypt(GROUP, b"hello"))
            assert isinstance(opened_text, Decrypted)
            assert opened_text.plaintext == b"hello"
        finally:
            ann.engine.close()
            bob.engine.close()


@pytest.mark.parametrize("count", [12, pytest.param(100, marks=pytest.mark.long)])
async def test_of_all_members_who_commit_at_once_one_wins(tmp_path: Path, count: int) -> None:
    async with opened(tmp_path) as world:
        phones = [EnginePhone(f"member {number}") for number in range(count)]
        try:
            for phone in phones:
                await Person(phone.id.value.hex()).enrol(world, phone)
            first, *others = phones
            start = first.engine.create(GROUP)
            ref, _, _ = await world.groups.create(first.caller, GROUP, start)
            made = first.engine.add(GROUP, [phone.engine.key_packages(1)[0] for phone in others])
            await world.groups.commit(first.caller, ref, offer(first, made, others, b"all".ljust(16)))
            first.engine.confirm(GROUP)
            for phone in others:
                page = await world.mailboxes.page(phone.caller.tenant_id, phone.mailbox, 0, 10)
                phone.engine.join(page.items[0].body)
                phone.engine.confirm(GROUP)
            proposed = [phone.engine.update(GROUP) for phone in phones]
            assert {bundle.base_epoch for bundle in proposed} == {start + 1}
            outcomes = await asyncio.gather(
                *[
                    world.groups.commit(phone.caller, ref, offer(phone, bundle, [], b"%16d" % number))
                    for number, (phone, bundle) in enumerate(zip(phones, proposed, strict=True))
                ],
                return_exceptions=True,
            )
            won = [number for number, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
            lost = [outcome for outcome in outcomes if isinstance(outcome, WrongEpochError)]
            assert (len(won), len(lost)) == (1, count - 1)
            # Everybody else finds the winner's commit in the mailbox, and follows it.
            for number, phone in enumerate(phones):
                if number == won[0]:
                    phone.engine.confirm(GROUP)
                    continue
                phone.engine.discard(GROUP)
                page = await world.mailboxes.page(phone.caller.tenant_id, phone.mailbox, 0, 10)
                assert page.items[-1].body == proposed[won[0]].commit
                phone.engine.process(page.items[-1].body)
            assert len({phone.engine.fingerprint(GROUP) for phone in phones}) == 1
        finally:
            for phone in phones:
                phone.engine.close()
