"""The Go project's own note and tlog packages read what we export: every file, an older size, a proof."""

import random
import shutil
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest
from tests.tlog.makelog import KeySigner, entry, grown, signed

from letterlock.ledger.export import LogDirectory, export_log
from letterlock.ledger.serve import Prover, StoreReader
from letterlock.wire.tlog.tiles import encode_bundle
from letterlock.wire.tlog.verdict import Schema
from letterlock.wire.tlog.verify import verify_entry_proof, verify_log

pytestmark = [pytest.mark.foreign, pytest.mark.needs("go")]
GLUE = Path(__file__).parent / "tlog_go"
KEY = KeySigner().verifier_key


@pytest.fixture(scope="session")
def tlogcheck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verifier, built once a session from the glue and the pinned module."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("NEEDS GO: apt install golang-go (or https://go.dev/dl), to have the ledger read by foreign code")
    folder = tmp_path_factory.mktemp("tlog_go")
    source = folder / "src"
    shutil.copytree(GLUE, source)
    # A cold cache has to fetch and compile the standard library's packages first.
    loaded = subprocess.run([go, "mod", "download"], cwd=source, capture_output=True, timeout=240)
    if loaded.returncode:
        pytest.skip("NEEDS GO MODULES: golang.org/x/mod could not be fetched for the foreign ledger verifier")
    built = subprocess.run(
        [go, "build", "-mod=readonly", "-o", str(folder / "tlogcheck"), "."],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert built.returncode == 0, built.stderr
    return folder / "tlogcheck"


def run(tool: Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [str(tool), "-key", str(KEY), "-dir", str(folder), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def check_all(tool: Path, folder: Path, size: int) -> None:
    """Exports a log of this size, and has both verifiers read it."""
    store = grown([entry(number) for number in range(size)])
    head = signed(store)
    export_log(StoreReader(store, size, head.note), KEY, folder)
    prover = Prover(store, head)
    more = []
    if size:
        older = max(1, size * 2 // 3)
        root = signed(grown(store.rows[:older])).checkpoint.root
        (folder / "consistency.txt").write_bytes(b"\n".join(map(b64encode, prover.consistency(older))))
        more = ["-older", str(older), "-olderroot", b64encode(root).decode()]
        more += ["-proofhashes", str(folder / "consistency.txt"), "-proof", str(folder / "proof")]
        for index in {0, size // 2, size - 1}:
            proof = prover.proof_file(index, extra=b"opening").encode()
            assert verify_entry_proof(proof, store.rows[index], KEY).index == index
            (folder / "proof").write_bytes(proof)
            done = run(tool, folder, *more)
            assert (done.returncode, done.stdout) == (0, f"ok {size}\n"), done.stderr
    done = run(tool, folder)
    assert (done.returncode, done.stdout) == (0, f"ok {size}\n"), done.stderr
    verdict = verify_log(LogDirectory(folder), KEY)
    assert (verdict.finding, verdict.checked) == (None, size)


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257])
def test_foreign_code_verifies_what_we_export(tlogcheck: Path, tmp_path: Path, size: int) -> None:
    check_all(tlogcheck, tmp_path / "log", size)


def test_foreign_code_verifies_seventy_thousand(tlogcheck: Path, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    check_all(tlogcheck, folder, 70_000)
    partial = sum(path.is_file() for path in (folder / "tile" / "0").rglob("*.p/*"))
    files = [sum(path.is_file() for path in (folder / "tile" / name).rglob("*")) for name in ("0", "1", "2", "entries")]
    assert files == [273 + 1, 1 + 1, 1, 273 + 1]
    assert partial == 1


def test_foreign_code_refuses_what_we_refuse(tlogcheck: Path, tmp_path: Path) -> None:
    """Every damage that changes bytes the format vouches for is refused by both."""
    size = 300
    sound = tmp_path / "sound"
    store = grown([entry(number) for number in range(size)])
    export_log(StoreReader(store, size, signed(store).note), KEY, sound)
    assert run(tlogcheck, sound).returncode == 0
    files = sorted(path.relative_to(sound) for path in sound.rglob("*") if path.is_file())
    dice = random.Random(3)
    for number, name in enumerate([*files, *dice.choices(files, k=25)]):
        damaged = tmp_path / f"damaged{number}"
        shutil.copytree(sound, damaged)
        data = bytearray((damaged / name).read_bytes())
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        (damaged / name).write_bytes(data)
        assert run(tlogcheck, damaged).returncode == 1, name
        assert verify_log(LogDirectory(damaged), KEY, schema=Schema.ANY).finding is not None, name
        shutil.rmtree(damaged)


def test_foreign_code_refuses_reorder_dropped_and_wrong_proof(tlogcheck: Path, tmp_path: Path) -> None:
    size = 20
    store = grown([entry(number) for number in range(size)])
    head = signed(store)
    folder = tmp_path / "log"
    export_log(StoreReader(store, size, head.note), KEY, folder)
    bundle = folder / "tile" / "entries" / "000.p" / "20"
    sound = bundle.read_bytes()
    for rows in (store.rows[::-1], store.rows[:-1], [*store.rows[:-1], entry(99)], [*store.rows, entry(99)]):
        bundle.write_bytes(encode_bundle(rows))
        assert run(tlogcheck, folder).returncode == 1
        assert verify_log(LogDirectory(folder), KEY).finding is not None
    bundle.write_bytes(sound)
    (folder / "proof").write_bytes(Prover(store, head).proof_file(7).encode())
    assert run(tlogcheck, folder, "-proof", str(folder / "proof")).returncode == 0
    other = Prover(store, head).proof_file(7).encode().replace(b"index 7\n", b"index 6\n")
    (folder / "proof").write_bytes(other)
    assert run(tlogcheck, folder, "-proof", str(folder / "proof")).returncode == 1
