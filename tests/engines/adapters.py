"""The one table of engine adapters that the conformance suite runs over, and the fixtures that go with it.

An adapter that ships stands in :data:`letterlock.client.engines.ENGINES` and is taken from there, so that none can be
chosen which did not run the suite. ``ts-mls`` is added here: it is a counterpart for the tests.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from tests.engines import tsmls
from tests.engines.sidecar import Sidecar

from letterlock.client.engine import CommitBundle, Decrypted, EngineFactory, MlsEngine
from letterlock.client.engines import ENGINES
from letterlock.client.errors import EngineError, EngineReason

FOREIGN: Final = "ts-mls"
TABLE: Final = (*sorted(ENGINES), FOREIGN)
GROUP: Final = b"a group id of ours"

EVERY_ADAPTER: Final = pytest.mark.parametrize(
    "adapter", [name if name in ENGINES else pytest.param(name, marks=pytest.mark.needs("node")) for name in TABLE]
)

Chosen = Callable[[str], EngineFactory]
Make = Callable[[], "Seat"]
MakeNamed = Callable[[str], "Seat"]


class Seat:
    """An engine with its stored parts, which can be killed and started again."""

    def __init__(self, factory: EngineFactory) -> None:
        self.seed = os.urandom(32)
        self.stored: dict[str, bytes] = {}
        self._factory = factory
        self.engine: Any = factory(self.seed, {})

    @property
    def port(self) -> MlsEngine:
        """The engine, as the device sees it."""
        engine: MlsEngine = self.engine
        return engine

    def persist(self) -> None:
        """Stores what changed."""
        changes = self.port.take_changes()
        self.stored.update(dict(changes.put))
        for name in changes.gone:
            del self.stored[name]

    def restart(self) -> None:
        """Memory is lost; what was stored is where it goes on."""
        self.port.close()
        self.engine = self._factory(self.seed, dict(self.stored))

    def thief(self) -> MlsEngine:
        """Somebody with a copy of what is stored."""
        return self._factory(self.seed, dict(self.stored))


@pytest.fixture(scope="session")
def sidecar() -> Iterator[Sidecar]:
    """The Node process; skips loudly without Node."""
    made = Sidecar()
    yield made
    made.close()


@pytest.fixture
def chosen(request: pytest.FixtureRequest) -> Chosen:
    """An engine factory by its name in the table."""

    def choose(name: str) -> EngineFactory:
        if name == FOREIGN:
            return tsmls.factory(request.getfixturevalue("sidecar"))
        return ENGINES[name]

    return choose


@pytest.fixture
def named(chosen: Chosen) -> Iterator[MakeNamed]:
    """Makes seats on the named engine."""
    made: list[Seat] = []

    def one(name: str) -> Seat:
        made.append(Seat(chosen(name)))
        return made[-1]

    yield one
    for seat in made:
        seat.port.close()


@pytest.fixture
def make(adapter: str, named: MakeNamed) -> Make:
    """Makes seats on the adapter under test."""
    return lambda: named(adapter)


@pytest.fixture
def pair(make: Make) -> tuple[Seat, Seat]:
    """Two members of :data:`GROUP`, at leaves 0 and 1."""
    alice, bob = make(), make()
    alice.port.create(GROUP)
    welcome(alice, bob)
    return alice, bob


def welcome(host: Seat, guest: Seat, *others: Seat, group: bytes = GROUP) -> CommitBundle:
    """The host adds the guest; everybody follows."""
    bundle = host.port.add(group, guest.port.key_packages(1))
    host.port.confirm(group)
    for other in others:
        other.port.process(bundle.commit)
    guest.port.join(bundle.welcomes[0])
    guest.port.confirm(group)
    for seat in (host, guest, *others):
        seat.persist()
    return bundle


def committed(who: Seat, bundle: CommitBundle, *others: Seat) -> None:
    """The relay took it: it counts, and the others apply it."""
    who.port.confirm(bundle.group_id)
    for other in others:
        other.port.process(bundle.commit)


def plaintext(seat: Seat, message: bytes) -> bytes:
    """What a message says to this member."""
    event = seat.port.process(message)
    assert isinstance(event, Decrypted)
    return event.plaintext


def refused(act: Callable[[], object]) -> EngineReason:
    """The reason with which it is refused."""
    with pytest.raises(EngineError) as caught:
        act()
    assert isinstance(caught.value.reason, EngineReason)
    return caught.value.reason
