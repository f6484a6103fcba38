"""What a thief does with a copy of the disk and of the memory: searches them whole, for keys and for tokens.

A gateway takes a token whose SHA-256 is in its store. The thief has that store, so each guess is decided here, without
asking anybody: exactly by the gateway's rule, and for every place of what was stolen.
"""

import os
import re
import shutil
import signal
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from letterlock.app.keys import KEYSTORE
from letterlock.custody.file_keystore import _FORMAT, _NONCE, _read_header
from letterlock.custody.slots import SlotFile
from letterlock.lab.demo.world import GatewayProcess
from letterlock.lab.sweep import ProcessMemory
from letterlock.storage.sqlite.connection import DATABASE, open_reader

SECRET = 32
SESSION_RUN = re.compile(rb"[A-Za-z0-9_-]{43,}")
API_KEY = re.compile(rb"ll_[0-9a-f]{64}")
LONGEST_RUN = 4_096
"""Of letters that a token may have, all places are tried; a longer run is looked at from both its ends."""


@dataclass(frozen=True)
class Loot:
    """What was stolen, all of it at one moment."""

    disk: Path
    memory: Path
    """A folder with one file for each region."""

    @property
    def store(self) -> Path:
        return self.disk / "store"


def steal(gateway: GatewayProcess, work: Path, to: Path) -> Loot:
    """The gateway's folder with settings, store and log, and its memory, while it stands still; then it goes on."""
    loot = Loot(to / "disk", to / "memory")
    loot.memory.mkdir(parents=True)
    os.kill(gateway.process.pid, signal.SIGSTOP)
    try:
        shutil.copytree(work, loot.disk)
        for number, (_, pieces) in enumerate(ProcessMemory(gateway.process.pid, "memory").streams()):
            with (loot.memory / f"region-{number}").open("wb") as file:
                for piece in pieces:
                    file.write(piece)
    finally:
        os.kill(gateway.process.pid, signal.SIGCONT)
    return loot


def files(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.read_bytes()


def windows(data: bytes, step: int = 1) -> Iterator[bytes]:
    """All pieces of 32 bytes that could be a secret; of what repeats itself, none."""
    for at in range(0, len(data) - SECRET + 1, step):
        piece = data[at : at + SECRET]
        if len(set(piece)) > SECRET // 4:
            yield piece


class TokenThief:
    """Knows from the stolen store which hashes are good, and looks for what has them."""

    def __init__(self, store: Path) -> None:
        with closing(open_reader(store)) as db:
            sessions = [row[0] for row in db.execute("SELECT token_hash FROM device_session")]
            keys = [row[0] for row in db.execute("SELECT secret_hash FROM api_key WHERE revoked_ms IS NULL")]
        self.hashes: frozenset[bytes] = frozenset((*sessions, *keys))
        self.tried = 0

    def _good(self, guesses: Iterable[bytes]) -> set[bytes]:
        found = set()
        for guess in guesses:
            self.tried += 1
            if sha256(guess).digest() in self.hashes:
                found.add(guess)
        return found

    def texts(self, data: bytes) -> set[bytes]:
        """Tokens as they stand in a request, in whatever letters stand around them."""

        def guesses() -> Iterator[bytes]:
            for match in SESSION_RUN.finditer(data):
                run = match[0]
                for part in {run[:LONGEST_RUN], run[-LONGEST_RUN:]}:
                    yield from (part[at : at + 43] for at in range(len(part) - 42))
            yield from API_KEY.findall(data)

        return self._good(set(guesses()))

    def secrets(self, data: bytes, step: int = 1) -> set[bytes]:
        """Bytes that a token was made of, and bytes that are one as they lie there."""

        def guesses() -> Iterator[bytes]:
            for piece in windows(data, step):
                yield urlsafe_b64encode(piece).rstrip(b"=")
                yield b"ll_" + piece.hex().encode()
                yield piece

        return self._good(guesses())

    def replays(self) -> list[bytes]:
        """The hashes themselves, in the forms in which a header takes them."""
        return [
            form
            for one in sorted(self.hashes)
            for form in (urlsafe_b64encode(one).rstrip(b"="), b"ll_" + one.hex().encode(), one.hex().encode())
        ]


class KeyThief:
    """Looks for the root key of a stolen key store: the right one opens the check value in its header."""

    def __init__(self, store: Path) -> None:
        with closing(SlotFile.open(store / KEYSTORE)) as slots:
            description, self._store_id, check = _read_header(slots.header)
        self._nonce, self._check = check[:_NONCE], check[_NONCE:]
        self._aad = _FORMAT + self._store_id + description
        self.tried = 0

    def root_keys(self, data: bytes) -> set[bytes]:
        """Every piece of the data that opens the key store."""
        found = set()
        for piece in windows(data):
            self.tried += 1
            sealing = HKDF(algorithm=SHA256(), length=SECRET, salt=self._store_id, info=b"letterlock/v1/file-keystore")
            try:
                AESGCM(sealing.derive(piece)).decrypt(self._nonce, self._check, self._aad)
            except InvalidTag:
                continue
            found.add(piece)
        return found


def small_files(store: Path) -> Iterator[bytes]:
    """All but the pages of the databases."""
    for path in sorted(store.rglob("*")):
        if path.is_file() and not path.name.startswith(DATABASE) and path.suffix != ".db":
            yield path.read_bytes()
