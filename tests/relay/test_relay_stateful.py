"""Any order of commits, repetitions, acknowledgements and crashes keeps one history of every group."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.relay.world import Phone, World, bundle, enrolled, opened

from letterlock.model.ids import GroupRef
from letterlock.relay.bundle import Bundle
from letterlock.relay.errors import RelayError, WrongEpochError
from letterlock.relay.groups import first_chain, next_chain
from letterlock.storage.relay_commands import RelayReason
from letterlock.wire.stream import ItemKind

T = TypeVar("T")
GROUP = b"a model's group"
PHONES = 5


@dataclass
class Box:
    """What a device's mailbox must hold: kind and body, from sequence 1 on."""

    items: list[tuple[int, bytes]] = field(default_factory=list)
    acked: int = 0


class Relay(RuleBasedStateMachine):
    """A model of one group beside the real store."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp())
        self.copies = 0
        self.folder = self.root / "0"
        self.folder.mkdir()
        self.world: World
        self.context: Any = None
        self.phones: list[Phone] = []
        self.members: set[int] = {0}
        self.epoch = 0
        self.chain = first_chain(GROUP, 0)
        self.boxes = [Box() for _ in range(PHONES)]
        self.done: list[tuple[int, GroupRef, Bundle, int, bytes]] = []
        self.ref: GroupRef

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        self.open()
        self.phones = self.run(enrolled(self.world, *[f"p{n}" for n in range(PHONES)]))
        self.ref, _, _ = self.run(self.world.groups.create(self.phones[0].caller, GROUP, 0))

    def open(self) -> None:
        self.context = opened(self.folder)
        self.world = self.run(self.context.__aenter__())

    @rule(
        who=st.integers(0, PHONES - 1),
        lag=st.integers(0, 2),
        add=st.none() | st.integers(0, PHONES - 1),
        remove=st.none() | st.integers(0, PHONES - 1),
    )
    def commit(self, who: int, lag: int, add: int | None, remove: int | None) -> None:
        epoch = max(0, self.epoch - lag)
        adds = () if add is None else (self.phones[add],)
        removes = () if remove is None else (self.phones[remove],)
        if add is not None and add == remove:
            return
        offer = bundle(GROUP, epoch, adds=adds, removes=removes, mark=b"%d.%d" % (epoch, who))
        work = self.world.groups.commit(self.phones[who].caller, self.ref, offer)
        fits = (add is None or add not in self.members) and (
            remove is None or (remove in self.members and remove != who)
        )
        if who not in self.members:
            with pytest.raises(RelayError) as refused:
                self.run(work)
            assert refused.value.reason is RelayReason.NOT_A_MEMBER
        elif epoch != self.epoch:
            with pytest.raises(WrongEpochError) as wrong:
                self.run(work)
            assert wrong.value.facts == {"current_epoch": self.epoch}
        elif not fits:
            with pytest.raises(RelayError) as refused:
                self.run(work)
            assert refused.value.reason is RelayReason.BAD_MEMBERS
        else:
            self.accepted(who, offer, self.run(work).chain, add, remove)

    def accepted(self, who: int, offer: Bundle, chain: bytes, add: int | None, remove: int | None) -> None:
        self.chain = next_chain(self.chain, self.epoch, offer.commit)
        self.epoch += 1
        assert chain == self.chain
        for number in self.members - {who}:
            self.boxes[number].items.append((int(ItemKind.COMMIT), offer.commit))
        if add is not None:
            self.boxes[add].items.append((int(ItemKind.WELCOME), offer.welcomes[0].body))
            self.members.add(add)
        if remove is not None:
            self.members.discard(remove)
        self.done.append((who, self.ref, offer, self.epoch, self.chain))

    @rule(which=st.integers(0, 10))
    def repeat(self, which: int) -> None:
        if which >= len(self.done):
            return
        who, ref, offer, epoch, chain = self.done[which]
        if who not in self.members:
            return
        again = self.run(self.world.groups.commit(self.phones[who].caller, ref, offer))
        assert (again.epoch, again.chain, again.repeated) == (epoch, chain, True)

    @rule(who=st.integers(0, PHONES - 1), part=st.integers(1, 3))
    def acknowledge(self, who: int, part: int) -> None:
        box = self.boxes[who]
        through = min(len(box.items), box.acked + part)
        phone = self.phones[who]
        assert self.run(self.world.mailboxes.acknowledge(1, phone.mailbox, through, 0)) == through
        box.acked = max(box.acked, through)

    @rule()
    def crash(self) -> None:
        """What is on the disk at this moment, without anything that closing would write, is where it goes on."""
        self.copies += 1
        copy = self.root / str(self.copies)
        copy.mkdir()
        for path in self.folder.iterdir():
            if not path.name.endswith("-shm"):
                shutil.copy(path, copy / path.name)
        self.run(self.context.__aexit__(None, None, None))
        self.folder = copy
        self.open()

    @invariant()
    def one_history(self) -> None:
        if not self.phones:
            return
        some = self.phones[min(self.members)]
        row, members = self.run(self.world.groups.look(some.caller, self.ref))
        assert (row.epoch, row.chain) == (self.epoch, self.chain)
        assert {m.device for m in members} == {self.phones[n].id.value for n in self.members}
        log = self.run(self.world.groups.commits(some.caller, self.ref, 0))
        assert [one.row.base_epoch for one in log] == list(range(self.epoch))

    @invariant()
    def mailboxes_hold_exactly_what_is_due(self) -> None:
        for phone, box in zip(self.phones, self.boxes, strict=False):
            page = self.run(self.world.mailboxes.page(phone.caller.tenant_id, phone.mailbox, 0, 100))
            assert page.head == len(box.items)
            held = [(item.row.sequence, item.row.kind, item.body) for item in page.items]
            assert held == [(n, *one) for n, one in enumerate(box.items, 1) if n > box.acked]

    def teardown(self) -> None:
        if self.context is not None:
            self.run(self.context.__aexit__(None, None, None))
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.root)


_CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def test_one_history_in_any_order() -> None:
    run_state_machine_as_test(
        Relay,
        settings=settings(max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=_CHECKS),
    )


@pytest.mark.long
def test_one_history_in_many_orders() -> None:
    run_state_machine_as_test(
        Relay,
        settings=settings(max_examples=400, stateful_step_count=50, deadline=None, suppress_health_check=_CHECKS),
    )
