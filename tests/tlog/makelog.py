"""A log in memory, for tests: a store that implements the ports with lists, a signer with a fixed key."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from letterlock.ledger.appender import Appender
from letterlock.ledger.export import export_log
from letterlock.ledger.heads import HeadSigner
from letterlock.ledger.serve import StoreReader
from letterlock.wire.tlog.checkpoint import SignedHead
from letterlock.wire.tlog.commitments import Digest
from letterlock.wire.tlog.entries import GatewayStarted, encode_entry
from letterlock.wire.tlog.growth import FullTile, TreeState
from letterlock.wire.tlog.note import KeyType, VerifierKey
from letterlock.wire.tlog.tiles import Address, Resource, bundles_at, tiles_at

ORIGIN = "ledger.test/letterlock"


@dataclass
class KeySigner:
    """An Ed25519 key from a seed."""

    name: str = ORIGIN
    seed: bytes = b"\x11" * 32
    key_type: KeyType = KeyType.ED25519
    signed: int = 0

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    @property
    def verifier_key(self) -> VerifierKey:
        return VerifierKey(self.name, self.key_type, self._key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        self.signed += 1
        return self._key.sign(message)


@dataclass
class MemoryStore:
    """Rows as lists; a transaction is a list of what to do, applied at commit."""

    rows: list[bytes] = field(default_factory=list)
    tiles: dict[tuple[int, int], bytes] = field(default_factory=dict)
    the_head: tuple[int, bytes] = (0, b"")
    checkpoints: dict[int, bytes] = field(default_factory=dict)

    def head(self) -> tuple[int, bytes]:
        return self.the_head

    def entries(self, first: int, last: int) -> Sequence[bytes]:
        return self.rows[first:last]

    def full_tile(self, level: int, index: int) -> bytes | None:
        return self.tiles.get((level, index))

    def last_checkpoint(self) -> bytes | None:
        return self.checkpoints[max(self.checkpoints)] if self.checkpoints else None

    def save_checkpoint(self, size: int, note: bytes) -> None:
        assert self.checkpoints.setdefault(size, note) == note

    def put_entries(self, tx: "MemoryStore", first: int, entries: Sequence[bytes]) -> None:
        assert first == len(tx.rows)
        tx.rows.extend(entries)

    def put_tiles(self, tx: "MemoryStore", tiles: Sequence[FullTile]) -> None:
        for tile in tiles:
            assert (tile.level, tile.index) not in tx.tiles
            tx.tiles[tile.level, tile.index] = tile.data

    def put_head(self, tx: "MemoryStore", size: int, peaks: bytes) -> None:
        tx.the_head = (size, peaks)


@dataclass
class MemoryKeeper:
    """The second place."""

    note: bytes | None = None

    def load(self) -> bytes | None:
        return self.note

    def save(self, note: bytes) -> None:
        self.note = note


@dataclass
class MemoryLog:
    """All files of a log, by path, as a LogReader that tests can damage."""

    files: dict[str, bytes]

    def checkpoint(self) -> bytes | None:
        return self.files.get("checkpoint")

    def tile(self, level: int, index: int, width: int) -> bytes | None:
        return self.files.get(Address(Resource.TILE, level, index, width).path)

    def bundle(self, index: int, width: int) -> bytes | None:
        return self.files.get(Address(Resource.ENTRIES, 0, index, width).path)


def entry(number: int) -> bytes:
    """A schema-conforming entry that differs from every other."""
    return encode_entry(
        GatewayStarted(ts=1_700_000_000_000 + number, build=Digest(bytes(32)), schema=1, resumed=number)
    )


def grown(entries: Sequence[bytes], store: MemoryStore | None = None) -> MemoryStore:
    """A store to which these entries were appended in one transaction."""
    store = store or MemoryStore()
    appender = Appender(TreeState())
    for one in entries:
        appender.append(one)
    appender.adopt(appender.write(store, store))
    return store


def signed(store: MemoryStore, signer: KeySigner | None = None) -> SignedHead:
    """The store's head, signed."""
    heads = HeadSigner(store, signer or KeySigner(), MemoryKeeper())
    heads.start()
    return heads.sign()


def log_of(entries: Sequence[bytes], signer: KeySigner | None = None) -> MemoryLog:
    """A complete log in memory."""
    store = grown(entries)
    head = signed(store, signer)
    reader = StoreReader(store, len(entries), head.note)
    files = {"checkpoint": head.note}
    for address in bundles_at(len(entries)):
        files[address.path] = reader.bundle(address.index, address.width) or b""
    for address in tiles_at(len(entries)):
        files[address.path] = reader.tile(address.level, address.index, address.width) or b""
    return MemoryLog(files)


def exported(entries: Sequence[bytes], folder: Path) -> SignedHead:
    """A complete log as a directory."""
    store = grown(entries)
    head = signed(store)
    export_log(StoreReader(store, len(entries), head.note), KeySigner().verifier_key, folder)
    return head
