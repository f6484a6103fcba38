"""Ten ways in which an MLS library that passes every official vector was found to be broken, as tests of ours.

Vectors do not test validation. Forgeries are made by ``node/attacks.mjs``: the work of a member with real keys, with
one thing wrong; each has its control, the same work with nothing wrong.
"""

import os

import pytest
from tests.engines.adapters import (
    EVERY_ADAPTER,
    FOREIGN,
    GROUP,
    Make,
    MakeNamed,
    Seat,
    committed,
    plaintext,
    refused,
    welcome,
)
from tests.engines.sidecar import Sidecar, raw

from letterlock.client.engine import EpochAdvanced
from letterlock.client.errors import EngineReason

pytestmark = EVERY_ADAPTER
CANARY = b"CANARY-31d9-the-words-of-a-message"
NODE = pytest.mark.needs("node")


@pytest.fixture
def trio(make: Make, named: MakeNamed) -> tuple[Seat, Seat, Seat]:
    """Victim at leaf 0, a malicious member at leaf 1, and at leaf 2 the honest one in whose name it speaks."""
    victim, mallory, carol = make(), named(FOREIGN), make()
    victim.port.create(GROUP)
    welcome(victim, mallory)
    welcome(victim, carol, mallory)
    return victim, mallory, carol


@NODE
@pytest.mark.parametrize("wrong", ["empty_signature", "spoilt_signature", "signature_of_a_stranger", "none"])
def test_1_a_member_cannot_speak_as_another(trio: tuple[Seat, Seat, Seat], wrong: str) -> None:
    victim, mallory, carol = trio
    forged = mallory.engine.forged("forge_message", GROUP, **{"as": 2}, wrong=wrong, plaintext=b"transfer it all")
    assert refused(lambda: victim.port.process(raw(forged["message"]))) is EngineReason.REFUSED
    # The genuine message with the same key still opens.
    assert plaintext(victim, carol.port.encrypt(GROUP, b"good day")) == b"good day"


@NODE
@pytest.mark.parametrize("wrong", ["empty_signature", "spoilt_signature", "none"])
def test_1_a_message_without_a_good_signature_is_refused_even_of_its_sender(
    trio: tuple[Seat, Seat, Seat], wrong: str
) -> None:
    victim, mallory, _ = trio
    forged = mallory.engine.forged("forge_message", GROUP, **{"as": 1}, wrong=wrong, plaintext=b"mine")
    message = raw(forged["message"])
    if wrong == "none":
        assert plaintext(victim, message) == b"mine"
    else:
        assert refused(lambda: victim.port.process(message)) is EngineReason.REFUSED


def test_1_a_spoilt_message_is_refused_and_uses_up_no_key(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    message = alice.port.encrypt(GROUP, CANARY)
    for at in range(len(message) - 60, len(message), 7):
        spoilt = message[:at] + bytes([message[at] ^ 0x20]) + message[at + 1 :]
        assert refused(lambda spoilt=spoilt: bob.port.process(spoilt)) is EngineReason.REFUSED  # type: ignore[misc]
    assert plaintext(bob, message) == CANARY


@NODE
@pytest.mark.parametrize(
    "wrong", ["empty_signature", "spoilt_signature", "signature_of_a_stranger", "confirmation_tag", "tree", "none"]
)
def test_2_and_10_a_welcome_with_one_thing_wrong_is_refused(make: Make, named: MakeNamed, wrong: str) -> None:
    host, victim = named(FOREIGN), make()
    host.port.create(GROUP)
    (package,) = victim.port.key_packages(1)
    forged = raw(host.engine.forged("forge_welcome", GROUP, package=package, wrong=wrong)["welcome"])
    if wrong == "none":
        assert victim.port.join(forged).group_id == GROUP
    else:
        refused(lambda: victim.port.join(forged))
        assert victim.port.group_ids() == ()


def test_2_a_welcome_is_only_for_whom_it_is(pair: tuple[Seat, Seat], make: Make) -> None:
    alice, _ = pair
    carol, mallory = make(), make()
    bundle = alice.port.add(GROUP, carol.port.key_packages(1))
    assert refused(lambda: mallory.port.join(bundle.welcomes[0])) is EngineReason.NOT_FOR_US
    whole = bundle.welcomes[0]
    spoilt = whole[:-30] + bytes([whole[-30] ^ 1]) + whole[-29:]
    refused(lambda: carol.port.join(spoilt))
    assert carol.port.group_ids() == ()
    assert carol.port.join(whole).group_id == GROUP


def test_3_commits_with_a_path_are_valid_for_others(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    for _ in range(3):
        for one, other in ((alice, bob), (bob, alice)):
            committed(one, one.port.update(GROUP), other)
    assert alice.port.fingerprint(GROUP) == bob.port.fingerprint(GROUP)
    assert plaintext(alice, bob.port.encrypt(GROUP, b"healed")) == b"healed"


def test_4_replay_is_refused_now_after_restart_and_an_epoch_later(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    message = alice.port.encrypt(GROUP, b"once")
    assert plaintext(bob, message) == b"once"
    assert refused(lambda: bob.port.process(message)) is EngineReason.REFUSED
    bob.persist()
    bob.restart()
    assert refused(lambda: bob.port.process(message)) is EngineReason.REFUSED
    committed(alice, alice.port.update(GROUP), bob)
    assert refused(lambda: bob.port.process(message)) is EngineReason.REFUSED
    bob.persist()
    bob.restart()
    assert refused(lambda: bob.port.process(message)) is EngineReason.REFUSED


@pytest.mark.parametrize("between", [0, 20])
def test_4_a_stolen_state_does_not_open_what_was_read_before(pair: tuple[Seat, Seat], between: int) -> None:
    alice, bob = pair
    message = alice.port.encrypt(GROUP, CANARY)
    assert plaintext(bob, message) == CANARY
    for number in range(between):
        plaintext(bob, alice.port.encrypt(GROUP, b"%d" % number))
    unread = alice.port.encrypt(GROUP, b"not read yet")
    bob.persist()
    thief = bob.thief()
    try:
        assert refused(lambda: thief.process(message)) is EngineReason.REFUSED
        # The control: it is a state that opens things.
        thief.process(unread)
    finally:
        thief.close()


def test_5_a_restart_between_persist_and_send_never_uses_a_key_twice(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    sent = []
    for number in range(5):
        sent.append(alice.port.encrypt(GROUP, b"%d" % number))
        alice.persist()
        alice.restart()  # killed after persisting, before the ciphertext left
    assert [plaintext(bob, message) for message in sent] == [b"%d" % number for number in range(5)]


def test_5_what_an_encryption_changed_is_reported_before_anything_can_leave(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    alice.persist()
    first = alice.port.encrypt(GROUP, b"first")
    assert alice.port.take_changes().put
    # The control: with that change lost, the same key serves twice, and the receiver says so.
    alice.restart()
    second = alice.port.encrypt(GROUP, b"second")
    assert plaintext(bob, first) == b"first"
    assert refused(lambda: bob.port.process(second)) is EngineReason.REFUSED


def test_6_a_spoilt_commit_does_not_block_the_genuine_one(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    bundle = alice.port.update(GROUP)
    alice.port.confirm(GROUP)
    for back in (5, 40, 100, 200):
        spoilt = bundle.commit[:-back] + bytes([bundle.commit[-back] ^ 1]) + bundle.commit[1 - back :]
        refused(lambda spoilt=spoilt: bob.port.process(spoilt))  # type: ignore[misc]
        assert bob.port.epoch(GROUP) == bundle.base_epoch
        assert bob.port.encrypt(GROUP, b"not blocked")
    assert bob.port.process(bundle.commit) == EpochAdvanced(GROUP, bundle.base_epoch + 1, active=True)


def test_7_a_failed_step_changes_nothing_that_is_stored(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    bundle = alice.port.update(GROUP)
    alice.port.discard(GROUP)
    message = alice.port.encrypt(GROUP, b"x")
    bob.persist()
    for bad in (bundle.commit[:-1] + bytes([bundle.commit[-1] ^ 1]), message[:-1] + bytes([message[-1] ^ 1])):
        refused(lambda bad=bad: bob.port.process(bad))  # type: ignore[misc]
        assert not bob.port.take_changes()


@NODE
@pytest.mark.parametrize(
    "wrong",
    ["confirmation_tag", "empty_signature", "signature_of_a_stranger", "another_leaf", "unknown_psk", "none"],
)
def test_6_7_and_8_a_members_bad_commit_changes_nothing(
    trio: tuple[Seat, Seat, Seat], sidecar: Sidecar, wrong: str
) -> None:
    victim, mallory, carol = trio
    package = raw(sidecar.call("package_of", seed=os.urandom(32), days=0)["package"])
    forged = mallory.engine.forged("forge_commit", GROUP, package=package, wrong=wrong, **{"as": 2})
    commit = raw(forged["commit"])
    victim.persist()
    before = victim.port.fingerprint(GROUP), victim.port.roster(GROUP)
    if wrong == "none":
        assert isinstance(victim.port.process(commit), EpochAdvanced)
        return
    # An empty signature does not get as far as the engine: our own parser knows how long one is.
    expected = EngineReason.WRONG_KIND if wrong == "empty_signature" else EngineReason.REFUSED
    assert refused(lambda: victim.port.process(commit)) is expected
    assert (victim.port.fingerprint(GROUP), victim.port.roster(GROUP)) == before
    assert not victim.port.take_changes()
    committed(carol, carol.port.update(GROUP), victim)
    assert plaintext(victim, carol.port.encrypt(GROUP, b"not blocked")) == b"not blocked"


@NODE
@pytest.mark.parametrize("days", [-200, 200, 0])
def test_9_a_key_package_out_of_its_time_is_refused(make: Make, sidecar: Sidecar, days: int) -> None:
    alice = make()
    alice.port.create(GROUP)
    package = raw(sidecar.call("package_of", seed=os.urandom(32), days=days)["package"])
    if days:
        assert refused(lambda: alice.port.add(GROUP, [package])) is EngineReason.REFUSED
        assert refused(lambda: alice.port.discard(GROUP)) is EngineReason.NOTHING_PENDING
    else:
        assert alice.port.add(GROUP, [package]).welcomes


def test_10_junk_of_every_kind_is_a_typed_error(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    package = alice.port.key_packages(1)[0]
    message = alice.port.encrypt(GROUP, b"x")
    for junk in (b"", b"\x00", bytes(50), package, message[:-1], message + b"\0", os.urandom(300)):
        assert refused(lambda junk=junk: bob.port.process(junk)) is EngineReason.WRONG_KIND  # type: ignore[misc]
        assert refused(lambda junk=junk: bob.port.join(junk)) is EngineReason.WRONG_KIND  # type: ignore[misc]
    for junk in (b"", message, package[:-1]):
        refused(lambda junk=junk: alice.port.add(GROUP, [junk]))  # type: ignore[misc]
    assert plaintext(bob, message) == b"x"
    assert refused(lambda: alice.port.process(alice.port.encrypt(b"nowhere", b""))) is EngineReason.UNKNOWN_GROUP
