"""What every engine adapter has to do before a device may run on it."""

import os

import pytest
from tests.engines.adapters import EVERY_ADAPTER, GROUP, Make, Seat, committed, plaintext, refused, welcome

from letterlock.assurance.envelope import SIZES
from letterlock.client.engine import (
    MAX_KEY_PACKAGES,
    PAST_EPOCHS,
    Decrypted,
    EngineCapability,
    EpochAdvanced,
    MlsEngine,
)
from letterlock.client.errors import EngineError, EngineReason
from letterlock.wire.mls import check_key_package, parse, parse_key_package, parse_public_commit
from letterlock.wire.mls.framing import MAX_MESSAGE

pytestmark = EVERY_ADAPTER
CANARY = b"CANARY-7f3a-the-words-of-a-message"


def test_an_adapter_is_an_engine_and_says_what_it_is(adapter: str, make: Make) -> None:
    engine: MlsEngine = make().port
    assert engine.capabilities.name == adapter
    assert engine.capabilities.version
    assert len(engine.leaf_key) == 32
    assert not engine.capabilities.present & engine.capabilities.absent
    # Without these our gate could not do its work.
    assert engine.capabilities.present >= {
        EngineCapability.ROSTER_IDENTITIES,
        EngineCapability.ROSTER_SIGNATURE_KEYS,
        EngineCapability.SELF_UPDATE,
    }


def test_key_packages_are_signed_and_carry_the_leaf_key(make: Make) -> None:
    engine = make().port
    infos = [parse_key_package(package) for package in engine.key_packages(3)]
    for info in infos:
        check_key_package(info)
        assert info.signature_key == info.identity == engine.leaf_key
        assert not info.last_resort
    assert len({info.ref for info in infos}) == 3
    for count in (0, MAX_KEY_PACKAGES + 1):
        assert refused(lambda count=count: engine.key_packages(count)) is EngineReason.TOO_MANY  # type: ignore[misc]


def test_equal_lengths_stay_equal_on_the_wire_and_the_largest_fits(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    seen = set()
    for size in SIZES:
        found = set()
        for who, other in ((alice, bob), (bob, alice)) * (300 if size == SIZES[0] else 2):
            message = who.port.encrypt(GROUP, os.urandom(size))
            found.add(len(message))
            if size == SIZES[-1]:
                assert len(plaintext(other, message)) == size
        assert len(found) == 1, "neither sender nor generation shows in the length"
        seen |= found
    assert len(seen) == len(SIZES)
    assert max(seen) <= MAX_MESSAGE


def test_messages_both_ways(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    for number in range(5):
        event = bob.port.process(alice.port.encrypt(GROUP, b"%d" % number))
        assert isinstance(event, Decrypted)
        assert (event.plaintext, event.sender_leaf) == (b"%d" % number, 0)
        assert event.sender_identity == alice.port.leaf_key
        assert plaintext(alice, bob.port.encrypt(GROUP, b"back")) == b"back"


def test_rosters_epochs_and_fingerprints_agree(pair: tuple[Seat, Seat], make: Make) -> None:
    alice, bob = pair
    before, epoch = alice.port.fingerprint(GROUP), alice.port.epoch(GROUP)
    assert before == bob.port.fingerprint(GROUP)
    carol = make()
    bundle = welcome(alice, carol, bob)
    assert parse_public_commit(bundle.commit).epoch == bundle.base_epoch == epoch
    assert {seat.port.epoch(GROUP) for seat in (alice, bob, carol)} == {epoch + 1}
    rosters = [seat.port.roster(GROUP) for seat in (alice, bob, carol)]
    assert rosters[0] == rosters[1] == rosters[2]
    assert [member.signature_key for member in rosters[0]] == [seat.port.leaf_key for seat in (alice, bob, carol)]
    assert [seat.port.own_leaf(GROUP) for seat in (alice, bob, carol)] == [0, 1, 2]
    assert len({seat.port.fingerprint(GROUP) for seat in (alice, bob, carol)} - {before}) == 1


def test_two_are_added_in_one_commit(make: Make) -> None:
    alice, bob, carol = make(), make(), make()
    alice.port.create(GROUP)
    bundle = alice.port.add(GROUP, bob.port.key_packages(1) + carol.port.key_packages(1))
    alice.port.confirm(GROUP)
    for seat, opened in zip((bob, carol), bundle.welcomes, strict=True):
        assert seat.port.join(opened).group_id == GROUP
        seat.port.confirm(GROUP)
    message = carol.port.encrypt(GROUP, b"to both")
    assert [plaintext(seat, message) for seat in (alice, bob)] == [b"to both"] * 2


def test_removal_ends_reading_and_sending(pair: tuple[Seat, Seat], make: Make) -> None:
    alice, bob = pair
    carol = make()
    welcome(alice, carol, bob)
    bundle = alice.port.remove(GROUP, [carol.port.own_leaf(GROUP)])
    alice.port.confirm(GROUP)
    assert bob.port.process(bundle.commit) == EpochAdvanced(GROUP, bundle.base_epoch + 1, active=True)
    # Who is removed stays at the last epoch that it was part of.
    assert carol.port.process(bundle.commit) == EpochAdvanced(GROUP, bundle.base_epoch, active=False)
    after = alice.port.encrypt(GROUP, b"without carol")
    assert plaintext(bob, after) == b"without carol"
    refused(lambda: carol.port.process(after))
    assert refused(lambda: carol.port.encrypt(GROUP, b"still here?")) is EngineReason.GROUP_LEFT
    carol.persist()
    carol.restart()
    refused(lambda: carol.port.process(after))
    assert refused(lambda: carol.port.encrypt(GROUP, b"and now?")) is EngineReason.GROUP_LEFT


def test_a_removed_member_can_be_added_again(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    committed(alice, alice.port.remove(GROUP, [1]), bob)
    bob.persist()
    bob.restart()
    welcome(alice, bob)
    bob.restart()
    assert plaintext(alice, bob.port.encrypt(GROUP, b"back again")) == b"back again"
    assert plaintext(bob, alice.port.encrypt(GROUP, b"welcome back")) == b"welcome back"
    assert alice.port.fingerprint(GROUP) == bob.port.fingerprint(GROUP)


def test_a_self_update_changes_the_keys(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    commit = parse_public_commit(alice.port.update(GROUP).commit)
    alice.port.discard(GROUP)
    assert commit.path is not None
    assert not commit.proposals
    committed(alice, alice.port.update(GROUP), bob)
    assert plaintext(bob, alice.port.encrypt(GROUP, b"fresh")) == b"fresh"


def test_own_messages_are_not_opened(pair: tuple[Seat, Seat]) -> None:
    alice, _ = pair
    message = alice.port.encrypt(GROUP, b"mine")
    assert refused(lambda: alice.port.process(message)) is EngineReason.OWN_MESSAGE


def test_late_messages_open_within_the_window_only(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    epoch = alice.port.epoch(GROUP)
    kept = [alice.port.encrypt(GROUP, b"late %d" % number) for number in range(2)]
    for passed in range(1, PAST_EPOCHS + 2):
        committed(alice, alice.port.update(GROUP), bob)
        if passed == PAST_EPOCHS - 1:
            event = bob.port.process(kept[0])
            assert isinstance(event, Decrypted)
            assert (event.plaintext, event.epoch, event.sender_identity) == (b"late 0", epoch, None)
    assert refused(lambda: bob.port.process(kept[1])) is EngineReason.REFUSED


def test_any_order_within_an_epoch(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    messages = [alice.port.encrypt(GROUP, b"%d" % number) for number in range(20)]
    assert [plaintext(bob, message) for message in reversed(messages)] == [b"%d" % n for n in reversed(range(20))]


# -- proposals, races, crashes ----------------------------------------------------------------------------------------


def test_a_proposal_leaves_the_group_where_it_is(pair: tuple[Seat, Seat], make: Make) -> None:
    alice, bob = pair
    epoch = alice.port.epoch(GROUP)
    bundle = alice.port.add(GROUP, make().port.key_packages(1))
    assert alice.port.epoch(GROUP) == bundle.base_epoch == epoch
    assert refused(lambda: alice.port.encrypt(GROUP, b"now?")) is EngineReason.COMMIT_PENDING
    assert refused(lambda: alice.port.update(GROUP)) is EngineReason.COMMIT_PENDING
    message = bob.port.encrypt(GROUP, b"meanwhile")
    assert refused(lambda: alice.port.process(message)) is EngineReason.COMMIT_PENDING
    alice.port.discard(GROUP)
    assert refused(lambda: alice.port.discard(GROUP)) is EngineReason.NOTHING_PENDING
    assert refused(lambda: alice.port.confirm(GROUP)) is EngineReason.NOTHING_PENDING
    assert plaintext(alice, message) == b"meanwhile"


def test_the_loser_of_a_race_applies_the_winner(pair: tuple[Seat, Seat], make: Make) -> None:
    alice, bob = pair
    carol = make()
    won = alice.port.add(GROUP, carol.port.key_packages(1))
    lost = bob.port.update(GROUP)
    assert won.base_epoch == lost.base_epoch
    alice.port.confirm(GROUP)
    bob.port.discard(GROUP)
    bob.port.process(won.commit)
    assert refused(lambda: alice.port.process(lost.commit)) is EngineReason.WRONG_EPOCH
    committed(bob, bob.port.update(GROUP), alice)
    assert alice.port.fingerprint(GROUP) == bob.port.fingerprint(GROUP)
    assert plaintext(alice, bob.port.encrypt(GROUP, b"one history")) == b"one history"


def test_members_of_two_histories_have_two_fingerprints(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    mine, theirs = alice.port.update(GROUP), bob.port.update(GROUP)
    assert alice.port.fingerprint(GROUP) == bob.port.fingerprint(GROUP)
    # Each is told that its own commit won: one epoch, one roster, and no common key.
    alice.port.confirm(GROUP)
    bob.port.confirm(GROUP)
    assert mine.base_epoch == theirs.base_epoch
    members = [[member.identity for member in seat.port.roster(GROUP)] for seat in pair]
    assert members[0] == members[1]
    assert alice.port.fingerprint(GROUP) != bob.port.fingerprint(GROUP)
    assert refused(lambda: bob.port.process(alice.port.encrypt(GROUP, b"?"))) is EngineReason.REFUSED


@pytest.mark.parametrize("won", [True, False])
def test_a_crash_while_a_commit_is_under_way(pair: tuple[Seat, Seat], won: bool) -> None:
    alice, bob = pair
    epoch = alice.port.epoch(GROUP)
    bundle = alice.port.update(GROUP)
    alice.persist()
    alice.restart()
    assert alice.port.epoch(GROUP) == epoch
    alice.port.resume(GROUP, bundle.pending_state)
    assert refused(lambda: alice.port.resume(GROUP, bundle.pending_state)) is EngineReason.COMMIT_PENDING
    if won:
        committed(alice, bundle, bob)
    else:
        alice.port.discard(GROUP)
        committed(bob, bob.port.update(GROUP), alice)
    alice.persist()
    alice.restart()
    assert alice.port.fingerprint(GROUP) == bob.port.fingerprint(GROUP)
    assert plaintext(bob, alice.port.encrypt(GROUP, b"hello")) == b"hello"
    assert plaintext(alice, bob.port.encrypt(GROUP, b"hello back")) == b"hello back"


def test_a_join_counts_only_when_confirmed(pair: tuple[Seat, Seat], make: Make) -> None:
    alice, _ = pair
    carol = make()
    bundle = alice.port.add(GROUP, carol.port.key_packages(1))
    joined = carol.port.join(bundle.welcomes[0])
    assert [member.leaf for member in joined.roster] == [0, 1, 2]
    carol.port.discard(GROUP)
    assert carol.port.group_ids() == ()
    assert refused(lambda: carol.port.epoch(GROUP)) is EngineReason.UNKNOWN_GROUP
    # The key package is used up, whatever became of the join.
    assert refused(lambda: carol.port.join(bundle.welcomes[0])) is EngineReason.NOT_FOR_US


def test_a_welcome_does_not_take_the_place_of_a_group(pair: tuple[Seat, Seat], make: Make) -> None:
    alice, bob = pair
    before = bob.port.fingerprint(GROUP)
    mallory = make()
    mallory.port.create(GROUP)
    bundle = mallory.port.add(GROUP, bob.port.key_packages(1))
    assert refused(lambda: bob.port.join(bundle.welcomes[0])) is EngineReason.GROUP_EXISTS
    assert refused(lambda: bob.port.confirm(GROUP)) is EngineReason.NOTHING_PENDING
    bob.persist()
    bob.restart()
    assert bob.port.fingerprint(GROUP) == before
    assert plaintext(bob, alice.port.encrypt(GROUP, b"still us")) == b"still us"


def test_key_packages_survive_a_restart_and_work_once(pair: tuple[Seat, Seat], make: Make) -> None:
    alice, _ = pair
    carol = make()
    package = carol.port.key_packages(1)
    carol.persist()
    carol.restart()
    bundle = alice.port.add(GROUP, package)
    carol.port.join(bundle.welcomes[0])
    carol.port.confirm(GROUP)
    carol.persist()
    assert not any(name.startswith("key_packages/") for name in carol.stored)
    carol.restart()
    assert carol.port.epoch(GROUP) == bundle.base_epoch + 1
    assert refused(lambda: carol.port.join(bundle.welcomes[0])) is EngineReason.NOT_FOR_US


def test_group_ids_are_made_once(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    for seat in (alice, bob):
        assert refused(lambda seat=seat: seat.port.create(GROUP)) is EngineReason.GROUP_EXISTS  # type: ignore[misc]
    assert refused(lambda: alice.port.remove(GROUP, [9])) is EngineReason.REFUSED
    assert refused(lambda: alice.port.remove(GROUP, [])) is EngineReason.TOO_MANY
    assert refused(lambda: alice.port.add(GROUP, [])) is EngineReason.TOO_MANY
    assert refused(lambda: alice.port.add(GROUP, bob.port.key_packages(1))) is EngineReason.REFUSED
    assert plaintext(bob, alice.port.encrypt(GROUP, b"unharmed")) == b"unharmed"


def test_a_forgotten_group_leaves_nothing(pair: tuple[Seat, Seat]) -> None:
    alice, _ = pair
    alice.persist()
    assert alice.stored
    alice.port.forget(GROUP)
    alice.persist()
    assert alice.stored == {}
    assert alice.port.group_ids() == ()


def test_only_changed_parts_are_reported(pair: tuple[Seat, Seat]) -> None:
    alice, _ = pair
    alice.port.create(b"another")
    alice.persist()
    assert not alice.port.take_changes()
    alice.port.encrypt(GROUP, b"x")
    names = [name for name, _ in alice.port.take_changes().put]
    assert len(names) == 1
    assert GROUP.hex() in names[0]


def test_errors_and_reprs_hold_no_content(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    message = alice.port.encrypt(GROUP, CANARY)
    event = bob.port.process(message)
    bundle = alice.port.update(GROUP)
    shown = repr(event) + repr(bundle) + repr(alice.port.take_changes()) + repr(alice.port.roster(GROUP))
    for secret in (CANARY, bundle.pending_state, alice.port.leaf_key):
        assert repr(secret)[2:20] not in shown
        assert secret.hex()[:16] not in shown
    with pytest.raises(EngineError) as caught:
        bob.port.process(message)
    assert str(caught.value) == "refused by the engine"
    assert caught.value.__cause__ is None


def test_no_words_are_in_the_state(pair: tuple[Seat, Seat]) -> None:
    alice, bob = pair
    assert plaintext(bob, alice.port.encrypt(GROUP, CANARY)) == CANARY
    for seat in pair:
        seat.persist()
        assert seat.stored
        assert all(CANARY not in content for content in seat.stored.values())


def test_headers_are_those_of_the_group(pair: tuple[Seat, Seat]) -> None:
    alice, _ = pair
    body = parse(alice.port.encrypt(GROUP, b"x"))
    assert (body.group_id, body.epoch, body.authenticated_data) == (GROUP, alice.port.epoch(GROUP), b"")


def test_damaged_state_is_refused(pair: tuple[Seat, Seat]) -> None:
    alice, _ = pair
    alice.port.take_changes()
    whole = dict(alice.stored)
    assert whole
    alice.stored = {name: content[: len(content) // 2] for name, content in whole.items()}
    alice.restart()
    assert refused(lambda: alice.port.epoch(GROUP)) in {EngineReason.STATE_DAMAGED, EngineReason.REFUSED}
    alice.stored = whole
    alice.restart()
    assert alice.port.epoch(GROUP)
