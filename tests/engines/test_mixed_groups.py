"""Groups whose members run different implementations: whatever one writes, the other reads."""

import itertools
import time

import pytest
from tests.engines.adapters import FOREIGN, GROUP, MakeNamed, Seat, committed, plaintext, refused, welcome

from letterlock.assurance.device_list import Device as ListedDevice
from letterlock.assurance.device_list import DeviceKind
from letterlock.client.engine import CommitBundle, EpochAdvanced
from letterlock.client.engines import DEFAULT
from letterlock.client.errors import EngineReason, GateError, GateReason
from letterlock.client.gate import screen_commit, screen_key_package, screen_roster
from letterlock.model.ids import DeviceId
from letterlock.wire.preimage import KeyFamily, SoftwareKey, Suite

NOW = time.time_ns() // 1_000_000
pytestmark = [pytest.mark.foreign, pytest.mark.needs("node")]

BOTH_WAYS = pytest.mark.parametrize(("host", "guest"), [(DEFAULT, FOREIGN), (FOREIGN, DEFAULT)])


def screened(seat: Seat, bundle: CommitBundle) -> None:
    """As a device takes a commit: the gate first, then the engine."""
    roster = seat.port.roster(GROUP)
    screen_commit(bundle.commit, GROUP, seat.port.epoch(GROUP), roster, lambda key: True, NOW)
    assert seat.port.process(bundle.commit) == EpochAdvanced(GROUP, bundle.base_epoch + 1, active=True)


def talk(*seats: Seat) -> None:
    """Everybody hears everybody."""
    for who in seats:
        words = b"from leaf %d" % who.port.own_leaf(GROUP)
        message = who.port.encrypt(GROUP, words)
        assert {plaintext(other, message) for other in seats if other is not who} == {words}
    assert len({seat.port.fingerprint(GROUP) for seat in seats}) == 1
    assert len({seat.port.roster(GROUP) for seat in seats}) == 1


@BOTH_WAYS
def test_one_creates_and_the_other_joins(named: MakeNamed, host: str, guest: str) -> None:
    ann, bob = named(host), named(guest)
    ann.port.create(GROUP)
    (package,) = bob.port.key_packages(1)
    signer = SoftwareKey(KeyFamily.ENVELOPE, Suite.ED25519, bytes(32))
    session = SoftwareKey(KeyFamily.SESSION, Suite.ED25519, bytes(32))
    entry = ListedDevice(DeviceId(bytes(16)), DeviceKind.WEB, signer.public, bob.port.leaf_key, session.public)
    screen_key_package(package, entry, NOW)
    bundle = ann.port.add(GROUP, [package])
    ann.port.confirm(GROUP)
    joined = bob.port.join(bundle.welcomes[0])
    # Both engines tell how long a leaf may stand; the guest's own is the one of its key package.
    assert joined.roster[1].lifetime is not None
    screen_roster(joined.roster, {ann.port.leaf_key, bob.port.leaf_key}.__contains__, NOW)
    bob.port.confirm(GROUP)
    talk(ann, bob)


@BOTH_WAYS
def test_commits_of_each_kind_by_each_side(named: MakeNamed, host: str, guest: str) -> None:
    ann, bob, carol, dave = named(host), named(guest), named(host), named(guest)
    ann.port.create(GROUP)
    welcome(ann, bob)
    for who, new, others in ((bob, carol, (ann,)), (ann, dave, (bob, carol))):
        bundle = who.port.add(GROUP, new.port.key_packages(1))
        who.port.confirm(GROUP)
        for other in others:
            screened(other, bundle)
        new.port.join(bundle.welcomes[0])
        new.port.confirm(GROUP)
    everybody = (ann, bob, carol, dave)
    talk(*everybody)
    for who in everybody:
        bundle = who.port.update(GROUP)
        who.port.confirm(GROUP)
        for other in everybody:
            if other is not who:
                screened(other, bundle)
    for seat in everybody:
        seat.persist()
        seat.restart()
    talk(*everybody)
    # Each side removes one of the other side, and one of its own.
    for who, gone, others in ((bob, carol, (ann, dave)), (ann, dave, (bob,))):
        bundle = who.port.remove(GROUP, [gone.port.own_leaf(GROUP)])
        who.port.confirm(GROUP)
        for other in others:
            screened(other, bundle)
        assert gone.port.process(bundle.commit) == EpochAdvanced(GROUP, bundle.base_epoch, active=False)
        assert refused(lambda gone=gone: gone.port.encrypt(GROUP, b"?")) is EngineReason.GROUP_LEFT  # type: ignore[misc]
    talk(ann, bob)


@BOTH_WAYS
def test_a_race_between_two_implementations(named: MakeNamed, host: str, guest: str) -> None:
    ann, bob = named(host), named(guest)
    ann.port.create(GROUP)
    welcome(ann, bob)
    for winner, loser in itertools.islice(itertools.cycle(((ann, bob), (bob, ann))), 4):
        won, lost = winner.port.update(GROUP), loser.port.update(GROUP)
        assert won.base_epoch == lost.base_epoch
        loser.port.discard(GROUP)
        committed(winner, won, loser)
        assert refused(lambda w=winner, c=lost.commit: w.port.process(c)) is EngineReason.WRONG_EPOCH  # type: ignore[misc]
        talk(ann, bob)


@BOTH_WAYS
def test_late_replayed_and_reordered_messages(named: MakeNamed, host: str, guest: str) -> None:
    ann, bob = named(host), named(guest)
    ann.port.create(GROUP)
    welcome(ann, bob)
    messages = [ann.port.encrypt(GROUP, b"%d" % number) for number in range(30)]
    late = messages.pop()
    for number, message in reversed(list(enumerate(messages))):
        assert plaintext(bob, message) == b"%d" % number
        assert refused(lambda message=message: bob.port.process(message)) is EngineReason.REFUSED  # type: ignore[misc]
    committed(bob, bob.port.update(GROUP), ann)
    assert plaintext(bob, late) == b"29"
    assert refused(lambda: bob.port.process(late)) is EngineReason.REFUSED


@pytest.mark.attack("A2")
@BOTH_WAYS
def test_an_external_join_works_between_engines_and_is_stopped_by_the_gate(
    named: MakeNamed, host: str, guest: str
) -> None:
    ann, bob, ghost = named(host), named(host), named(guest)
    ann.port.create(GROUP)
    bundle = welcome(ann, bob)
    info = bundle.group_info
    if guest == FOREIGN:
        external = ghost.engine.join_by_external_commit(GROUP, info)
    else:
        made = ghost.engine._client.join_by_external_commit(info)
        external = bytes(made.last_commit().commit)
    roster = bob.port.roster(GROUP)
    with pytest.raises(GateError) as caught:
        screen_commit(external, GROUP, bob.port.epoch(GROUP), roster, lambda key: True, NOW)
    assert caught.value.reason is GateReason.EXTERNAL_COMMIT
    # The control: it is a good external commit, which the engine by itself would take. The gate is what refuses.
    assert isinstance(bob.port.process(external), EpochAdvanced)
    assert ghost.port.leaf_key in {member.identity for member in bob.port.roster(GROUP)}
