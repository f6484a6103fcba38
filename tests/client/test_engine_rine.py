"""What is particular to the adapter for ``rine-mls``: what is absent, and what lies where. The rest: tests/engines."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.adapters import GROUP, Make, Seat, plaintext, refused, welcome

from letterlock.client.engine import EngineCapability, StateChanges
from letterlock.client.engines import ENGINES
from letterlock.client.errors import EngineReason
from letterlock.client.rine import RineEngine
from letterlock.client.scratch import ScratchPolicy, file_system_of

CANARY = b"CANARY-7f3a-the-words-of-a-message"


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Seat] = []

    def one() -> Seat:
        made.append(Seat(ENGINES["rine-mls"]))
        return made[-1]

    yield one
    for seat in made:
        seat.port.close()


@pytest.fixture
def pair(make: Make) -> tuple[Seat, Seat]:
    alice, bob = make(), make()
    alice.port.create(GROUP)
    welcome(alice, bob)
    return alice, bob


def test_what_is_absent_is_reported_absent(make: Make) -> None:
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


# -- at rest ----------------------------------------------------------------------------------------------------------


def files_under(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_plaintext_of_own_messages_is_never_kept(pair: tuple[Seat, Seat]) -> None:
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


def test_the_state_lies_in_memory_and_is_private(make: Make) -> None:
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


def test_closing_leaves_nothing_in_memory_storage(make: Make) -> None:
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


def test_what_a_killed_process_left_is_swept_and_a_live_one_is_not(make: Make) -> None:
    live = make()
    live.engine.create(GROUP)
    killed = subprocess.run([sys.executable, "-c", LEAVE], capture_output=True, check=False)
    left = Path(killed.stdout.decode().strip())
    assert left.is_dir()
    assert list(left.rglob("state.bin"))
    make()
    assert not left.exists()
    assert live.engine.encrypt(GROUP, b"unharmed")


def test_damaged_state_is_refused(pair: tuple[Seat, Seat]) -> None:
    alice, _ = pair
    for parts in ({"../evil": b"x"}, {"/etc/evil": b"x"}, {"": b"x"}):
        assert refused(lambda parts=parts: RineEngine(alice.seed, parts)) is EngineReason.STATE_DAMAGED  # type: ignore[misc]
    broken = {name: content[: len(content) // 2] for name, content in alice.stored.items()}
    engine = RineEngine(alice.seed, broken)
    assert refused(lambda: engine.epoch(GROUP)) in {EngineReason.STATE_DAMAGED, EngineReason.REFUSED}
    engine.close()
    assert refused(lambda: RineEngine(b"short")) is EngineReason.REFUSED
