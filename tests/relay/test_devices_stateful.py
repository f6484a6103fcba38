"""Real devices with real engines, the delivery service on a real store, and everything that can go wrong between.

Lost requests, lost answers, requests that come twice or long after, commits at the same time, devices and a relay
that die at any point. Whatever happens: one commit for an epoch, one key state for an epoch, each key package handed
out once, no welcome without its commit, every message once and from its sender, and no honest relay is ever accused.
"""

import asyncio
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.engines.adapters import FOREIGN, Chosen, chosen, sidecar
from tests.relay.whole_face import TENANT_KEY, BadNetwork, Fault, Witness, whole_face
from tests.relay.world import TENANTS, World, opened

from letterlock.client import events
from letterlock.client.device import Device
from letterlock.client.engine import EngineFactory
from letterlock.client.engines import DEFAULT
from letterlock.client.enrolment import new_identity, prepare, register_account
from letterlock.client.errors import DeviceReason, EngineReason, GateReason
from letterlock.client.errors import RelayReason as ClientRelayReason
from letterlock.client.relay import RelayCalls
from letterlock.client.sealing import ClientKey
from letterlock.client.store import DeviceStore
from letterlock.faces.http.app import HttpFace
from letterlock.model.clock import ManualClock
from letterlock.model.errors import OperationError
from letterlock.model.ids import GroupRef
from letterlock.relay.groups import Caller
from letterlock.wire.mls import parse_key_package

__all__ = ["chosen", "sidecar"]

T = TypeVar("T")
DEVICES = 4
PACKAGES = 12
MINUTE_MS = 60_000

EXPECTED: frozenset[object] = frozenset(
    {
        *ClientRelayReason,
        DeviceReason.LOST_RACE,
        DeviceReason.KEY_PACKAGES_EXHAUSTED,
        DeviceReason.GROUP_STOPPED,
        DeviceReason.UNKNOWN_GROUP,
        EngineReason.COMMIT_PENDING,
        GateReason.UNKNOWN_DEVICE,
    }
) - {ClientRelayReason.BAD_ANSWER, ClientRelayReason.SERVER, ClientRelayReason.STATE_ROLLED_BACK}
"""What a caller may be told when the network is bad or the group has moved on."""


REMOVED_MEANWHILE: frozenset[tuple[str, str]] = frozenset(
    {
        ("welcome", "roster_cannot_be_checked"),
        ("commit", "roster_cannot_be_checked"),
        ("welcome", "group_exists"),
        ("commit", "unknown_group"),
        ("application", "unknown_group"),
    }
)
"""What a device finds that missed its own removal, or did not yet forget the group when it was added again."""

UNSENT: frozenset[str] = frozenset({"not_allowed", "group_stopped_at_the_gate", "group_forgotten"})
"""Why words went to nobody."""


class Phone:
    """A device, its file, and its way to the relay."""

    def __init__(
        self, number: int, folder: Path, network: BadNetwork, clock: ManualClock, engine: EngineFactory
    ) -> None:
        self.number = number
        self.path = folder / f"phone{number}.db"
        self.key = os.urandom(32)
        self.network = network
        self.clock = clock
        self.engine = engine
        self.http = httpx.AsyncClient(transport=network, base_url="http://relay.test")
        self.heard: list[tuple[bytes, bytes]] = []
        self.findings: list[events.Finding] = []
        self.device: Device

    async def enrol(self) -> None:
        seed, public = new_identity()
        enrolment = await register_account(RelayCalls(self.http, TENANT_KEY), public)
        store = DeviceStore(self.path, ClientKey(self.key))
        prepare(store, enrolment, identity=seed)
        store.close()
        self.start()
        await self.device.publish_list(tenant_key=TENANT_KEY)
        await self.device.publish_key_packages(PACKAGES)

    def start(self) -> None:
        self.device = Device(DeviceStore(self.path, ClientKey(self.key)), self.http, self.clock, self.engine)

    def crash(self) -> None:
        """Memory is lost; the file stays as it is at this moment."""
        self.device.engine.close()
        store = self.device._state.store
        assert store._db is not None
        store._db.close()
        store._db = None
        self.start()

    async def take(self) -> None:
        """The application takes over what came."""
        found = self.device.inbox()
        for _, event in found:
            if isinstance(event, events.Received):
                self.heard.append((event.account, event.content))
            elif isinstance(event, events.Finding):
                self.findings.append(event)
        await self.device.take([position for position, _ in found])

    def in_group(self, ref: GroupRef) -> bool:
        """Whether this device believes to be a member."""
        return ref in self.device.groups() and not self.device.group(ref).stopped


class Devices(RuleBasedStateMachine):
    """One group of up to four devices."""

    engines: tuple[EngineFactory, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp())
        self.copies = 0
        self.folder = self.root / "store0"
        self.folder.mkdir()
        self.clock = ManualClock(time.time_ns() // 1_000_000)
        self.witness = Witness()
        self.words = itertools.count()
        self.said: dict[bytes, bytes] = {}
        self.prints: dict[int, bytes] = {}
        self.phones: list[Phone] = []
        self.context: Any = None
        self.world: World
        self.face: HttpFace
        self.ref: GroupRef

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def attempt(self, work: Coroutine[Any, Any, object]) -> None:
        """It works, or says why not in the words of :data:`EXPECTED`."""
        self.expected(self.run(_outcome(work)))

    def expected(self, outcome: object) -> None:
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, OperationError)
            assert outcome.reason in EXPECTED, outcome.reason

    def open(self) -> None:
        self.context = opened(self.folder, self.clock)
        self.world = self.run(self.context.__aenter__())
        self.face = whole_face(self.world)

    @initialize()
    def begin(self) -> None:
        self.open()
        for number in range(DEVICES):
            network = BadNetwork(lambda: self.face, self.witness)
            engine = self.engines[number % len(self.engines)]
            self.phones.append(Phone(number, self.root, network, self.clock, engine))
            self.run(self.phones[-1].enrol())
        first, second, *_ = self.phones
        self.ref = self.run(first.device.create_group())
        self.run(first.device.add_account(self.ref, second.device.account))
        self.run(second.device.sync())

    # -- what devices do ------------------------------------------------------------------------------------------

    @rule(who=st.integers(0, DEVICES - 1))
    def speak(self, who: int) -> None:
        phone = self.phones[who]
        if phone.in_group(self.ref):
            words = b"words %d" % next(self.words)
            self.said[words] = phone.device.account.value
            self.attempt(phone.device.send(self.ref, words))

    @rule(who=st.integers(0, DEVICES - 1))
    def flush(self, who: int) -> None:
        self.attempt(self.phones[who].device.flush())

    @rule(who=st.integers(0, DEVICES - 1))
    def sync(self, who: int) -> None:
        self.attempt(self.phones[who].device.sync())
        self.run(self.phones[who].take())

    @rule(who=st.integers(0, DEVICES - 1), whom=st.integers(0, DEVICES - 1))
    def add(self, who: int, whom: int) -> None:
        if who != whom and self.phones[who].in_group(self.ref):
            self.clock.advance(3 * MINUTE_MS)  # the relay counts claims by the hour
            self.attempt(self.phones[who].device.add_account(self.ref, self.phones[whom].device.account))

    @rule(who=st.integers(0, DEVICES - 1), whom=st.integers(0, DEVICES - 1))
    def remove(self, who: int, whom: int) -> None:
        # Device 0 stays, so that there is always a group.
        if who != whom and whom and self.phones[who].in_group(self.ref):
            self.attempt(self.phones[who].device.remove_device(self.ref, self.phones[whom].device.device))

    @rule(who=st.integers(0, DEVICES - 1))
    def forget(self, who: int) -> None:
        phone = self.phones[who]
        if self.ref in phone.device.groups() and not phone.in_group(self.ref):
            self.attempt(phone.device.forget_group(self.ref))

    @rule(racers=st.sets(st.integers(0, DEVICES - 1), min_size=1))
    def refresh(self, racers: set[int]) -> None:
        """One commit, or several at the same time."""

        async def all_of_them() -> list[object]:
            able = [phone for phone in self.phones if phone.number in racers and phone.in_group(self.ref)]
            return await asyncio.gather(*[_outcome(phone.device.refresh_keys(self.ref)) for phone in able])

        for outcome in self.run(all_of_them()):
            self.expected(outcome)

    # -- what goes wrong ------------------------------------------------------------------------------------------

    @rule(who=st.integers(0, DEVICES - 1), faults=st.lists(st.sampled_from(Fault) | st.none(), min_size=1, max_size=3))
    def spoil(self, who: int, faults: list[Fault | None]) -> None:
        self.phones[who].network.faults.extend(fault for fault in faults if fault is not None)

    @rule(back=st.integers(1, 12))
    def something_comes_again_late(self, back: int) -> None:
        if back <= len(self.witness.requests):
            self.run(self.phones[0].network.deliver(self.witness.requests[-back]))

    @rule(who=st.integers(0, DEVICES - 1))
    def a_device_dies(self, who: int) -> None:
        self.phones[who].crash()

    @rule()
    def the_relay_dies(self) -> None:
        """What is on the disk at this moment, without anything that closing would write, is where it goes on."""
        self.copies += 1
        copy = self.root / f"store{self.copies}"
        copy.mkdir()
        for path in self.folder.iterdir():
            if not path.name.endswith("-shm"):
                shutil.copy(path, copy / path.name)
        self.run(self.context.__aexit__(None, None, None))
        self.folder = copy
        self.open()

    # -- what always holds ----------------------------------------------------------------------------------------

    @invariant()
    def one_commit_for_an_epoch(self) -> None:
        rows = self.run(self.world.rows("SELECT group_no, base_epoch FROM group_log ORDER BY group_no, seq"))
        for _, log in itertools.groupby(rows, lambda row: row[0]):
            epochs = [epoch for _, epoch in log]
            assert epochs == list(range(epochs[0], epochs[0] + len(epochs)))

    @invariant()
    def one_key_state_for_an_epoch(self) -> None:
        for phone in self.phones:
            if hasattr(phone, "device") and hasattr(self, "ref") and phone.in_group(self.ref):
                group_id = phone.device.group(self.ref).group_id
                found = phone.device.engine.fingerprint(group_id)
                assert self.prints.setdefault(phone.device.engine.epoch(group_id), found) == found

    @invariant()
    def each_key_package_once(self) -> None:
        refs = [parse_key_package(package).ref for package in self.witness.packages]
        assert len(set(refs)) == len(refs)

    @invariant()
    def every_welcome_has_its_commit(self) -> None:
        logged = set()
        mailbox = self.run(self.world.rows("SELECT mailbox FROM device WHERE id=?", self.phones[0].device.device.value))
        caller = Caller(1, TENANTS[1], mailbox[0][0], self.phones[0].device.account.value)
        epoch = 0
        while page := self.run(self.world.groups.commits(caller, self.ref, epoch)):
            logged |= {one.commit for one in page}
            epoch = page[-1].row.base_epoch + 1
        assert {self.witness.offered[welcome] for welcome in self.witness.welcomed} <= logged

    @invariant()
    def nobody_is_accused_and_nothing_comes_twice_or_from_another(self) -> None:
        said = [(finding.operation, finding.reason) for phone in self.phones for finding in phone.findings]
        refused = [one for one in said if one[0] == "send"]
        # A device whose words the relay refused, because it was removed meanwhile, or that forgot the group while they
        # waited, is told so; and the others notice that there were some. Who was removed while it was away can no
        # longer ask who is who, and says that. Nothing else is ever found about an honest relay.
        assert {reason for _, reason in refused} <= UNSENT, refused
        missing = {("application", "messages_missing")} if refused else set()
        assert {one for one in said if one[0] != "send"} <= missing | REMOVED_MEANWHILE, said
        for phone in self.phones:
            assert len(set(phone.heard)) == len(phone.heard)
            assert all(self.said[words] == account for account, words in phone.heard)

    def teardown(self) -> None:
        try:
            if self.phones and hasattr(self, "ref"):
                self.all_is_well_in_the_end()
        finally:
            for phone in self.phones:
                if hasattr(phone, "device"):
                    phone.device.close()
                self.run(phone.http.aclose())
            if self.context is not None:
                self.run(self.context.__aexit__(None, None, None))
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            shutil.rmtree(self.root)

    def all_is_well_in_the_end(self) -> None:
        """Once the network is good: members agree, and hear each other."""
        for phone in self.phones:
            phone.network.faults.clear()
        for _ in range(3):
            for phone in self.phones:
                self.run(phone.device.sync())
                self.run(phone.device.flush())
                self.run(phone.take())
        found = self.run(self.world.group_directory.find(1, self.ref.value))
        assert found is not None
        leaves = {member.device for member in self.run(self.world.reads.members(found.number))}
        members = [phone for phone in self.phones if phone.device.device.value in leaves]
        # Who was added again before it forgot the group stands outside, says so, and follows nothing.
        outside = [phone for phone in members if not phone.in_group(self.ref)]
        assert all({(one.operation, one.reason) for one in phone.findings} & REMOVED_MEANWHILE for phone in outside)
        assert not [phone for phone in self.phones if phone.in_group(self.ref) and phone not in members]
        members = [phone for phone in members if phone not in outside]
        assert self.phones[0] in members
        for phone in members:
            words = b"last words of %d" % phone.number
            self.said[words] = phone.device.account.value
            self.run(phone.device.send(self.ref, words))
            self.run(phone.device.flush())
        for phone in members:
            self.run(phone.device.sync())
            self.run(phone.take())
            others = {b"last words of %d" % other.number for other in members if other is not phone}
            assert others <= {words for _, words in phone.heard}
        self.one_key_state_for_an_epoch()
        self.nobody_is_accused_and_nothing_comes_twice_or_from_another()
        assert len({phone.device.engine.fingerprint(phone.device.group(self.ref).group_id) for phone in members}) == 1


async def _outcome(work: Coroutine[Any, Any, object]) -> object:
    """What it returned, or raised."""
    return (await asyncio.gather(work, return_exceptions=True))[0]


_CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def play(engines: tuple[EngineFactory, ...], examples: int, steps: int) -> None:
    machine = type("Devices", (Devices,), {"engines": engines})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=_CHECKS,
            # A step costs milliseconds of disk: a failing run is shown as it is, rather than made smaller for minutes.
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
        ),
    )


MIXES = pytest.mark.parametrize(
    "names", [(DEFAULT,), pytest.param((DEFAULT, FOREIGN), marks=pytest.mark.needs("node"))], ids="-and-".join
)


@MIXES
def test_devices_agree_whatever_happens(chosen: Chosen, names: tuple[str, ...]) -> None:
    play(tuple(chosen(name) for name in names), examples=6, steps=20)


@pytest.mark.long
@MIXES
def test_devices_agree_whatever_happens_for_long(chosen: Chosen, names: tuple[str, ...]) -> None:
    play(tuple(chosen(name) for name in names), examples=150, steps=50)
