"""Conformance of an MLS engine adapter: what works, and every known way in which an engine has failed before."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from letterlock.client.engine import (
    CommitBundle,
    Decrypted,
    EngineCapability,
    EpochAdvanced,
    MlsEngine,
    StateChanges,
)
from letterlock.client.errors import EngineError, EngineReason
from letterlock.client.rine import MAX_BATCH, PAST_EPOCHS, RineEngine
from letterlock.client.scratch import ScratchPolicy, file_system_of
from letterlock.wire.mls import check_key_package, parse, parse_key_package, parse_public_commit

GROUP = b"a group id of ours"
CANARY = b"CANARY-7f3a-the-words-of-a-message"


class Device:
    """An engine with its stored parts, which can be killed and started again."""

    def __init__(self) -> None:
        self.seed = os.urandom(32)
        self.stored: dict[str, bytes] = {}
        self.engine = RineEngine(self.seed)

    def persist(self) -> None:
        changes = self.engine.take_changes()
        self.stored.update(dict(changes.put))
        for name in changes.gone:
            del self.stored[name]

    def restart(self) -> None:
        self.engine.close()
        self.engine = RineEngine(self.seed, dict(self.stored))


@pytest.fixture
def make() -> Iterator[Callable[[], Device]]:
    made: list[Device] = []

    def one() -> Device:
        made.append(Device())
        return made[-1]

    yield one
    for device in made:
        device.engine.close()


@pytest.fixture
def pair(make: Callable[[], Device]) -> tuple[Device, Device]:
    alice, bob = make(), make()
    alice.engine.create(GROUP)
    welcome(alice, bob)
    return alice, bob


def welcome(host: Device, guest: Device, *others: Device) -> CommitBundle:
    bundle = host.engine.add(GROUP, guest.engine.key_packages(1))
    host.engine.confirm(GROUP)
    for other in others:
        other.engine.process(bundle.commit)
    guest.engine.join(bundle.welcomes[0])
    guest.engine.confirm(GROUP)
    for device in (host, guest, *others):
        device.persist()
    return bundle


def plaintext(device: Device, message: bytes) -> bytes:
    event = device.engine.process(message)
    assert isinstance(event, Decrypted)
    return event.plaintext


def refused(act: Callable[[], object]) -> EngineReason:
    with pytest.raises(EngineError) as caught:
        act()
    assert isinstance(caught.value.reason, EngineReason)
    return caught.value.reason


def test_an_adapter_is_an_engine(make: Callable[[], Device]) -> None:
    engine: MlsEngine = make().engine
    assert len(engine.leaf_key) == 32


def test_what_is_absent_is_reported_absent(make: Callable[[], Device]) -> None:
    capabilities = make().engine.capabilities
    assert (capabilities.name, capabilities.version) == ("rine-mls", "0.1.1")
    assert {EngineCapability.SENDER_LEAF, EngineCapability.SELF_UPDATE} <= capabilities.present
    assert capabilities.absent >= {
        EngineCapability.AUTHENTICATED_DATA,
        EngineCapability.EPOCH_AUTHENTICATOR,
        EngineCapability.EXPORTER,
        EngineCapability.POST_QUANTUM,
        EngineCapability.LAST_RESORT_PACKAGES,
    }
    import rine_mls

    surface = {name for kind in (rine_mls.MlsGroup, rine_mls.MlsClient) for name in dir(kind)}
    assert not any(word in name for name in surface for word in ("export", "authenticat", "psk", "aad"))


def test_key_packages_are_signed_and_carry_the_leaf_key(make: Callable[[], Device]) -> None:
    engine = make().engine
    infos = [parse_key_package(package) for package in engine.key_packages(3)]
    for info in infos:
        check_key_package(info)
        assert info.signature_key == info.identity == engine.leaf_key
        assert not info.last_resort
    assert len({info.ref for info in infos}) == 3
    for count in (0, MAX_BATCH + 1):
        assert refused(lambda count=count: engine.key_packages(count)) is EngineReason.TOO_MANY  # type: ignore[misc]


def test_messages_both_ways(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    for number in range(5):
        event = bob.engine.process(alice.engine.encrypt(GROUP, b"%d" % number))
        assert isinstance(event, Decrypted)
        assert (event.plaintext, event.sender_leaf) == (b"%d" % number, 0)
        assert event.sender_identity == alice.engine.leaf_key
        assert plaintext(alice, bob.engine.encrypt(GROUP, b"back")) == b"back"


def test_rosters_epochs_and_fingerprints_agree(pair: tuple[Device, Device], make: Callable[[], Device]) -> None:
    alice, bob = pair
    before = alice.engine.fingerprint(GROUP)
    assert before == bob.engine.fingerprint(GROUP)
    carol = make()
    bundle = welcome(alice, carol, bob)
    assert parse_public_commit(bundle.commit).epoch == bundle.base_epoch == 2
    assert {device.engine.epoch(GROUP) for device in (alice, bob, carol)} == {3}
    rosters = [device.engine.roster(GROUP) for device in (alice, bob, carol)]
    assert rosters[0] == rosters[1] == rosters[2]
    assert [member.signature_key for member in rosters[0]] == [device.engine.leaf_key for device in (alice, bob, carol)]
    assert len({device.engine.fingerprint(GROUP) for device in (alice, bob, carol)} - {before}) == 1


def test_removal_ends_reading_and_sending(pair: tuple[Device, Device], make: Callable[[], Device]) -> None:
    alice, bob = pair
    carol = make()
    welcome(alice, carol, bob)
    bundle = alice.engine.remove(GROUP, [carol.engine.own_leaf(GROUP)])
    alice.engine.confirm(GROUP)
    assert bob.engine.process(bundle.commit) == EpochAdvanced(GROUP, 4, active=True)
    event = carol.engine.process(bundle.commit)
    assert isinstance(event, EpochAdvanced)
    assert not event.active
    after = alice.engine.encrypt(GROUP, b"without carol")
    assert plaintext(bob, after) == b"without carol"
    refused(lambda: carol.engine.process(after))
    assert refused(lambda: carol.engine.encrypt(GROUP, b"still here?")) is EngineReason.GROUP_LEFT


def test_a_self_update_changes_the_keys(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    commit = parse_public_commit(alice.engine.update(GROUP).commit)
    alice.engine.discard(GROUP)
    assert commit.path is not None
    assert not commit.proposals
    bundle = alice.engine.update(GROUP)
    alice.engine.confirm(GROUP)
    bob.engine.process(bundle.commit)
    assert plaintext(bob, alice.engine.encrypt(GROUP, b"fresh")) == b"fresh"


# -- the ten defects that a library with perfect vectors was found to have (each as it applies here) ------------------


def test_defect_1_a_message_with_a_spoilt_signature_or_ciphertext_is_refused(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    message = alice.engine.encrypt(GROUP, CANARY)
    for at in range(len(message) - 60, len(message), 7):
        spoilt = message[:at] + bytes([message[at] ^ 0x20]) + message[at + 1 :]
        assert refused(lambda spoilt=spoilt: bob.engine.process(spoilt)) is EngineReason.REFUSED  # type: ignore[misc]
    # The genuine one still opens: a forgery does not use up its key.
    assert plaintext(bob, message) == CANARY


def test_defect_2_a_welcome_is_only_for_whom_it_is(pair: tuple[Device, Device], make: Callable[[], Device]) -> None:
    alice, _ = pair
    carol, mallory = make(), make()
    bundle = alice.engine.add(GROUP, carol.engine.key_packages(1))
    assert refused(lambda: mallory.engine.join(bundle.welcomes[0])) is EngineReason.NOT_FOR_US
    whole = bundle.welcomes[0]
    spoilt = whole[:-30] + bytes([whole[-30] ^ 1]) + whole[-29:]
    refused(lambda: carol.engine.join(spoilt))
    assert carol.engine.group_ids() == ()
    assert carol.engine.join(whole).group_id == GROUP


def test_defect_3_commits_with_a_path_are_valid_for_others(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    for _ in range(3):
        for one, other in ((alice, bob), (bob, alice)):
            bundle = one.engine.update(GROUP)
            one.engine.confirm(GROUP)
            other.engine.process(bundle.commit)
    assert alice.engine.fingerprint(GROUP) == bob.engine.fingerprint(GROUP)


def test_defect_4_replay_is_refused_now_after_restart_and_an_epoch_later(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    message = alice.engine.encrypt(GROUP, b"once")
    assert plaintext(bob, message) == b"once"
    assert refused(lambda: bob.engine.process(message)) is EngineReason.REFUSED
    bob.persist()
    bob.restart()
    assert refused(lambda: bob.engine.process(message)) is EngineReason.REFUSED
    bundle = alice.engine.update(GROUP)
    alice.engine.confirm(GROUP)
    bob.engine.process(bundle.commit)
    assert refused(lambda: bob.engine.process(message)) is EngineReason.REFUSED
    bob.persist()
    bob.restart()
    assert refused(lambda: bob.engine.process(message)) is EngineReason.REFUSED


def test_defect_4_a_stolen_state_does_not_open_what_was_read_before(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    message = alice.engine.encrypt(GROUP, CANARY)
    assert plaintext(bob, message) == CANARY
    bob.persist()
    thief = RineEngine(bob.seed, dict(bob.stored))
    try:
        assert refused(lambda: thief.process(message)) is EngineReason.REFUSED
    finally:
        thief.close()


def test_defect_5_a_restart_between_persist_and_send_never_uses_a_key_twice(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    first = alice.engine.encrypt(GROUP, b"first")
    alice.persist()
    alice.restart()  # killed after persisting, before the ciphertext left
    second = alice.engine.encrypt(GROUP, b"second")
    assert plaintext(bob, first) == b"first"
    assert plaintext(bob, second) == b"second"


def test_defect_6_a_spoilt_commit_does_not_block_the_genuine_one(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    bundle = alice.engine.update(GROUP)
    alice.engine.confirm(GROUP)
    for back in (5, 40, 100, 200):
        spoilt = bundle.commit[:-back] + bytes([bundle.commit[-back] ^ 1]) + bundle.commit[1 - back :]
        refused(lambda spoilt=spoilt: bob.engine.process(spoilt))  # type: ignore[misc]
        assert bob.engine.epoch(GROUP) == 2
    assert bob.engine.process(bundle.commit) == EpochAdvanced(GROUP, 3, active=True)


def test_defect_7_a_failed_step_changes_nothing_that_is_stored(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    bundle = alice.engine.update(GROUP)
    alice.engine.discard(GROUP)
    message = alice.engine.encrypt(GROUP, b"x")
    bob.persist()
    for bad in (bundle.commit[:-1] + bytes([bundle.commit[-1] ^ 1]), message[:-1] + bytes([message[-1] ^ 1])):
        refused(lambda bad=bad: bob.engine.process(bad))  # type: ignore[misc]
        assert not bob.engine.take_changes()


def test_defect_10_junk_of_every_kind_is_a_typed_error(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    package = alice.engine.key_packages(1)[0]
    message = alice.engine.encrypt(GROUP, b"x")
    for junk in (b"", b"\x00", bytes(50), package, message[:-1], message + b"\0", os.urandom(300)):
        assert refused(lambda junk=junk: bob.engine.process(junk)) is EngineReason.WRONG_KIND  # type: ignore[misc]
        assert refused(lambda junk=junk: bob.engine.join(junk)) is EngineReason.WRONG_KIND  # type: ignore[misc]
    for junk in (b"", message, package[:-1]):
        refused(lambda junk=junk: alice.engine.add(GROUP, [junk]))  # type: ignore[misc]
    assert plaintext(bob, message) == b"x"
    assert refused(lambda: alice.engine.process(alice.engine.encrypt(b"nowhere", b""))) is EngineReason.UNKNOWN_GROUP


def test_own_messages_are_not_opened(pair: tuple[Device, Device]) -> None:
    alice, _ = pair
    message = alice.engine.encrypt(GROUP, b"mine")
    assert refused(lambda: alice.engine.process(message)) is EngineReason.OWN_MESSAGE


def test_late_messages_open_within_the_window_only(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    kept = [alice.engine.encrypt(GROUP, b"late %d" % number) for number in range(2)]
    for passed in range(1, PAST_EPOCHS + 2):
        bundle = alice.engine.update(GROUP)
        alice.engine.confirm(GROUP)
        bob.engine.process(bundle.commit)
        if passed == PAST_EPOCHS - 1:
            event = bob.engine.process(kept[0])
            assert isinstance(event, Decrypted)
            assert (event.plaintext, event.epoch, event.sender_identity) == (b"late 0", 2, None)
    assert refused(lambda: bob.engine.process(kept[1])) is EngineReason.REFUSED


def test_any_order_within_an_epoch(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    messages = [alice.engine.encrypt(GROUP, b"%d" % number) for number in range(20)]
    assert [plaintext(bob, message) for message in reversed(messages)] == [b"%d" % n for n in reversed(range(20))]


# -- proposals, races, crashes ----------------------------------------------------------------------------------------


def test_a_proposal_leaves_the_group_where_it_is(pair: tuple[Device, Device], make: Callable[[], Device]) -> None:
    alice, bob = pair
    bundle = alice.engine.add(GROUP, make().engine.key_packages(1))
    assert alice.engine.epoch(GROUP) == bundle.base_epoch == 2
    assert refused(lambda: alice.engine.encrypt(GROUP, b"now?")) is EngineReason.COMMIT_PENDING
    assert refused(lambda: alice.engine.update(GROUP)) is EngineReason.COMMIT_PENDING
    message = bob.engine.encrypt(GROUP, b"meanwhile")
    assert refused(lambda: alice.engine.process(message)) is EngineReason.COMMIT_PENDING
    alice.engine.discard(GROUP)
    assert refused(lambda: alice.engine.discard(GROUP)) is EngineReason.NOTHING_PENDING
    assert plaintext(alice, message) == b"meanwhile"


def test_the_loser_of_a_race_applies_the_winner(pair: tuple[Device, Device], make: Callable[[], Device]) -> None:
    alice, bob = pair
    carol = make()
    won = alice.engine.add(GROUP, carol.engine.key_packages(1))
    lost = bob.engine.update(GROUP)
    assert won.base_epoch == lost.base_epoch
    alice.engine.confirm(GROUP)
    bob.engine.discard(GROUP)
    bob.engine.process(won.commit)
    assert refused(lambda: alice.engine.process(lost.commit)) is EngineReason.WRONG_EPOCH
    again = bob.engine.update(GROUP)
    bob.engine.confirm(GROUP)
    alice.engine.process(again.commit)
    assert alice.engine.fingerprint(GROUP) == bob.engine.fingerprint(GROUP)


@pytest.mark.parametrize("won", [True, False])
def test_a_crash_while_a_commit_is_under_way(pair: tuple[Device, Device], won: bool) -> None:
    alice, bob = pair
    bundle = alice.engine.update(GROUP)
    alice.persist()
    alice.restart()
    assert alice.engine.epoch(GROUP) == 2
    alice.engine.resume(GROUP, bundle.pending_state)
    if won:
        alice.engine.confirm(GROUP)
        bob.engine.process(bundle.commit)
    else:
        alice.engine.discard(GROUP)
        other = bob.engine.update(GROUP)
        bob.engine.confirm(GROUP)
        alice.engine.process(other.commit)
    alice.persist()
    alice.restart()
    assert alice.engine.fingerprint(GROUP) == bob.engine.fingerprint(GROUP)
    assert plaintext(bob, alice.engine.encrypt(GROUP, b"hello")) == b"hello"


def test_a_join_counts_only_when_confirmed(pair: tuple[Device, Device], make: Callable[[], Device]) -> None:
    alice, _ = pair
    carol = make()
    bundle = alice.engine.add(GROUP, carol.engine.key_packages(1))
    joined = carol.engine.join(bundle.welcomes[0])
    assert [member.leaf for member in joined.roster] == [0, 1, 2]
    carol.engine.discard(GROUP)
    assert carol.engine.group_ids() == ()
    assert refused(lambda: carol.engine.epoch(GROUP)) is EngineReason.UNKNOWN_GROUP
    # The key package is used up, whatever became of the join.
    assert refused(lambda: carol.engine.join(bundle.welcomes[0])) is EngineReason.NOT_FOR_US


def test_key_packages_survive_a_restart_and_work_once(pair: tuple[Device, Device], make: Callable[[], Device]) -> None:
    alice, _ = pair
    carol = make()
    package = carol.engine.key_packages(1)
    carol.persist()
    carol.restart()
    bundle = alice.engine.add(GROUP, package)
    carol.engine.join(bundle.welcomes[0])
    carol.engine.confirm(GROUP)
    carol.persist()
    assert not any(name.startswith("key_packages/") for name in carol.stored)
    carol.restart()
    assert carol.engine.epoch(GROUP) == 3
    assert refused(lambda: carol.engine.join(bundle.welcomes[0])) is EngineReason.NOT_FOR_US


def test_group_ids_are_made_once(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    for device in (alice, bob):
        assert refused(lambda device=device: device.engine.create(GROUP)) is EngineReason.GROUP_EXISTS  # type: ignore[misc]
    assert refused(lambda: alice.engine.remove(GROUP, [9])) is EngineReason.REFUSED
    assert refused(lambda: alice.engine.add(GROUP, bob.engine.key_packages(1))) is EngineReason.REFUSED
    assert plaintext(bob, alice.engine.encrypt(GROUP, b"unharmed")) == b"unharmed"


def test_a_forgotten_group_leaves_nothing(pair: tuple[Device, Device]) -> None:
    alice, _ = pair
    alice.engine.forget(GROUP)
    alice.persist()
    assert alice.stored == {}
    assert alice.engine.group_ids() == ()


# -- at rest ----------------------------------------------------------------------------------------------------------


def files_under(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_plaintext_of_own_messages_is_never_kept(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    seen: list[StateChanges] = []
    root = alice.engine._scratch.root
    for _ in range(3):
        message = alice.engine.encrypt(GROUP, CANARY)
        assert all(CANARY not in content for content in files_under(root).values())
        assert not list(root.rglob("self_read.bin"))
        assert plaintext(bob, message) == CANARY
        assert all(CANARY not in content for content in files_under(bob.engine._scratch.root).values())
        seen += [alice.engine.take_changes(), bob.engine.take_changes()]
    for changes in seen:
        assert changes.put
        assert all(CANARY not in content and "self_read" not in name for name, content in changes.put)
    # Positive control: without the adapter the same engine does leave the plaintext behind.
    raw = alice.engine._client.load_group(GROUP)
    raw.encrypt_application_message(CANARY)
    assert any(CANARY in content for content in files_under(root).values())


def test_the_state_lies_in_memory_and_is_private(make: Callable[[], Device]) -> None:
    root = make().engine._scratch.root
    assert file_system_of(root) in {"tmpfs", "ramfs"}
    assert root.stat().st_mode & 0o777 == 0o700


def test_a_disk_is_refused_unless_named_unsafe(tmp_path: Path) -> None:
    if file_system_of(tmp_path) in {"tmpfs", "ramfs"}:
        pytest.skip("the test folder is itself memory-backed")
    seed = os.urandom(32)
    assert refused(lambda: RineEngine(seed, directory=tmp_path)) is EngineReason.NOT_MEMORY_BACKED
    assert refused(lambda: RineEngine(seed, directory=tmp_path / "missing")) is EngineReason.NOT_MEMORY_BACKED
    assert list(tmp_path.iterdir()) == []
    engine = RineEngine(seed, directory=tmp_path, policy=ScratchPolicy.UNSAFE_ALLOW_DISK)
    engine.create(GROUP)
    assert list(tmp_path.iterdir())
    engine.close()
    assert list(tmp_path.iterdir()) == []


def test_closing_leaves_nothing_in_memory_storage(make: Callable[[], Device]) -> None:
    device = make()
    device.engine.create(GROUP)
    root = device.engine._scratch.root
    device.engine.close()
    device.engine.close()
    assert not root.exists()


LEAVE = """
import os, signal
from letterlock.client.rine import RineEngine
engine = RineEngine(bytes(range(32)))
engine.create(b"left behind")
print(engine._scratch.root, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_swept_and_a_live_one_is_not(make: Callable[[], Device]) -> None:
    live = make()
    live.engine.create(GROUP)
    killed = subprocess.run([sys.executable, "-c", LEAVE], capture_output=True, check=False)
    left = Path(killed.stdout.decode().strip())
    assert left.is_dir()
    assert list(left.rglob("state.bin"))
    make()
    assert not left.exists()
    assert live.engine.encrypt(GROUP, b"unharmed")


def test_damaged_state_is_refused(pair: tuple[Device, Device]) -> None:
    alice, _ = pair
    for parts in ({"../evil": b"x"}, {"/etc/evil": b"x"}, {"": b"x"}):
        assert refused(lambda parts=parts: RineEngine(alice.seed, parts)) is EngineReason.STATE_DAMAGED  # type: ignore[misc]
    broken = {name: content[: len(content) // 2] for name, content in alice.stored.items()}
    engine = RineEngine(alice.seed, broken)
    assert refused(lambda: engine.epoch(GROUP)) in {EngineReason.STATE_DAMAGED, EngineReason.REFUSED}
    engine.close()
    assert refused(lambda: RineEngine(b"short")) is EngineReason.REFUSED


def test_only_changed_parts_are_reported(pair: tuple[Device, Device]) -> None:
    alice, _ = pair
    alice.engine.create(b"another")
    alice.persist()
    assert not alice.engine.take_changes()
    alice.engine.encrypt(GROUP, b"x")
    assert [name for name, _ in alice.engine.take_changes().put] == [f"groups/{GROUP.hex()}/state.bin"]


def test_errors_and_reprs_hold_no_content(pair: tuple[Device, Device]) -> None:
    alice, bob = pair
    message = alice.engine.encrypt(GROUP, CANARY)
    event = bob.engine.process(message)
    bundle = alice.engine.update(GROUP)
    shown = repr(event) + repr(bundle) + repr(alice.engine.take_changes()) + repr(alice.engine.roster(GROUP))
    for secret in (CANARY, bundle.pending_state, alice.engine.leaf_key):
        assert repr(secret)[2:20] not in shown
        assert secret.hex()[:16] not in shown
    with pytest.raises(EngineError) as caught:
        bob.engine.process(message)
    assert str(caught.value) == "refused by the engine"
    assert caught.value.__cause__ is None


def test_headers_are_those_of_the_group(pair: tuple[Device, Device]) -> None:
    alice, _ = pair
    body = parse(alice.engine.encrypt(GROUP, b"x"))
    assert (body.group_id, body.epoch, body.authenticated_data) == (GROUP, 2, b"")
