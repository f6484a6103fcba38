"""Stores and gateways for the tests of the command line."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import apsw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner, Result

from letterlock.app.cli import app, main
from letterlock.model.clock import ManualClock
from letterlock.storage.maintenance_commands import RecordEvent, SaveCheckpoint
from letterlock.storage.sqlite.connection import DATABASE, open_reader
from letterlock.storage.sqlite.core import StoreCore
from letterlock.storage.sqlite.ledger_rows import LedgerRows
from letterlock.storage.sqlite.registry import handlers
from letterlock.wire.tlog.checkpoint import Checkpoint
from letterlock.wire.tlog.commitments import Digest
from letterlock.wire.tlog.entries import Config
from letterlock.wire.tlog.hashes import fold_peaks, unpack_peaks
from letterlock.wire.tlog.note import KeyType, SignatureLine, VerifierKey, with_signatures

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"}
COMMAND = [sys.executable, "-m", "letterlock.app.cli"]
ORIGIN = "test.example/log"


def letterlock(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """The command line as a process: errors of ours pass through ``main`` there."""
    return subprocess.run(
        [*COMMAND, *arguments], check=False, capture_output=True, text=True, env=ENVIRONMENT, cwd=cwd, timeout=60
    )


def called(*arguments: str) -> Result:
    """The command line in this process, which is faster; our own errors come out as exceptions."""
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


@dataclass
class Ended:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def ended(*arguments: str) -> Ended:
    """The command line with its ``main``, in this process."""
    out, errors, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["letterlock", *arguments]
    try:
        with redirect_stdout(out), redirect_stderr(errors):
            status = main()
    except SystemExit as done:
        status = int(done.code or 0)
    finally:
        sys.argv = before
    return Ended(int(status), out.getvalue(), errors.getvalue())


def parsed(*arguments: str, status: int = 0) -> "dict[str, object]":
    """What a command says with ``--json``."""
    done = called(*arguments, "--json")
    assert done.exit_code == status, done.output
    value: dict[str, object] = json.loads(done.stdout)
    return value


@dataclass
class SignedStore:
    """A store whose log is signed by a key of the test."""

    folder: Path
    signer: Ed25519PrivateKey

    @property
    def key(self) -> VerifierKey:
        return VerifierKey(ORIGIN, KeyType.ED25519, self.signer.public_key().public_bytes_raw())

    def grow(self, count: int) -> bytes:
        """Appends entries, signs the head, keeps it in both places; gives the note."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        core = StoreCore(self.folder, handlers(), ManualClock())
        core.apply([RecordEvent(Config(ts=n, config=Digest(hashlib.sha256(b"%d" % n).digest()))) for n in range(count)])
        db = open_reader(self.folder)
        size, peaks = LedgerRows(db).head()
        db.close()
        text = Checkpoint(ORIGIN, size, fold_peaks(unpack_peaks(peaks))).text()
        note = with_signatures(text, [SignatureLine.by(self.key, self.signer.sign(text))])
        core.apply([SaveCheckpoint(size, note)])
        core.close()
        (self.folder / "ledger.vkey").write_text(f"{self.key}\n")
        (self.folder / "ledger-head.note").write_bytes(note)
        return note

    def tamper(self, *statements: str) -> None:
        """What somebody with the disk can do: the triggers do not hold them."""
        db = apsw.Connection(str(self.folder / DATABASE))
        for table in ("entry", "tile", "checkpoint"):
            for trigger in ("fixed", "kept"):
                db.execute(f"DROP TRIGGER IF EXISTS ledger_{table}_{trigger}")
        for statement in statements:
            db.execute(statement).fetchall()
        db.close()


def signed_store(folder: Path, count: int = 300) -> SignedStore:
    """A store with a signed log."""
    store = SignedStore(folder, Ed25519PrivateKey.generate())
    store.grow(count)
    return store


@dataclass
class Running:
    """A gateway process."""

    url: str
    folder: Path
    settings: Path
    log: Path


@contextmanager
def running(work: Path, more: str = "") -> Generator[Running]:
    """A gateway of its own on a free loopback port, ended in order."""
    folder, settings, log = work / "store", work / "letterlock.toml", work / "gateway.log"
    settings.write_text(
        f"[server]\nport = 0\n[store]\nfolder = {json.dumps(str(folder))}\npurge_every_s = 1\n"
        f"[ledger]\nsign_every_ms = 100\n{more}"
    )
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--config", str(settings), "--announce"],
            stdout=subprocess.PIPE, stderr=errors, text=True, env=ENVIRONMENT,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, log.read_text()
        yield Running(json.loads(line)["url"], folder, settings, log)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
        process.stdout.close()
