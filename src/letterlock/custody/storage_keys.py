"""The storage keys of all live generations: made, synced, used, and destroyed in place.

The keys lie in a slot file outside the database, each wrapped by the key store and bound to its number and
window. A key is synced before its first use. The transitions are in :mod:`letterlock.custody.generations`;
every step here can be the last before a crash, and the next start goes on from there.
"""

import os
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import unique
from pathlib import Path
from typing import ClassVar, Final, Protocol, Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from letterlock.custody.generations import (
    Action,
    Create,
    Destroy,
    Generation,
    References,
    Rewrap,
    Tier,
    plan,
    serving,
    window,
)
from letterlock.custody.hedged import SECRET_BYTES, Ratchet, hedged_key
from letterlock.custody.keystore import KeyHandle, KeyKind, KeyPurpose, KeyStore
from letterlock.custody.sealing import Entropy, StorageKey
from letterlock.custody.slots import SlotFile, Step
from letterlock.model.errors import Fault, OperationError, Reason

KEY_NAME: Final = "storage/generations"
SEED_NAME: Final = "storage/ratchet-seed"
"""A key that lives for one call: it starts the ratchet, and is destroyed once that is synced."""
MAX_ROUNDS: Final = 8
"""Plans carried out in one maintenance: create, rewrap and destroy need three."""

_PURPOSE: Final = KeyPurpose.STORAGE_GENERATIONS
_HEADER: Final = b"storage-generations/1\x00"
_GENERATION: Final = struct.Struct(">cQBqq")
_RATCHET: Final = struct.Struct(">cQ")
_VERSION: Final = struct.Struct(">I")
_TIER_CODES: Final = {Tier.TEN_MINUTES: 1, Tier.DAY: 2, Tier.MONTH: 3, Tier.HOLD: 4}
_TIERS: Final = {code: tier for tier, code in _TIER_CODES.items()}


@unique
class StorageKeyReason(Reason):
    """Why a storage key is not to be had, or not to be destroyed."""

    DESTROYED = "generation_destroyed"
    UNKNOWN = "generation_unknown"
    STILL_REFERENCED = "generation_still_referenced"
    STILL_SERVING = "generation_still_serving"
    NO_PROGRESS = "rows_did_not_move"
    DAMAGED = "generation_file_damaged"


class StorageKeyError(OperationError[StorageKeyReason]):
    """A generation's key cannot be used, or a transition cannot be made."""

    fault: ClassVar[Fault] = Fault.LOCAL


class Rows(Protocol):
    """What the store of the rows does for a transition. It runs in the thread that commits."""

    def references(self) -> Mapping[int, References]:
        """How many committed rows refer to each generation, counted now."""
        ...

    def rewrap(self, source: StorageKey, target: StorageKey, held: bool) -> int:
        """Moves some or all rows (those under a hold, or those that are not), durably; how many were moved."""
        ...

    def intend_destruction(self, generation: int) -> None:
        """Records, durably, that a generation's key is about to be destroyed. Idempotent."""
        ...

    def destroyed(self, generation: int) -> None:
        """Records, durably, that it is destroyed. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class _Live:
    generation: Generation
    key: StorageKey
    slot: int
    wrapped_by: int


class StorageKeys:
    """All live generations; see the module. May be used by several threads."""

    def __init__(self, slots: SlotFile, keystore: KeyStore, entropy: Entropy) -> None:
        if slots.header != _HEADER:
            raise StorageKeyError(StorageKeyReason.DAMAGED)
        self._slots = slots
        self._keystore = keystore
        self._entropy = entropy
        self._lock = threading.RLock()
        self._live: dict[int, _Live] = {}
        self._ratchet: Ratchet | None = None
        self._ratchet_slot = -1
        self._ratchet_by = 0
        self._now: _Live | None = None
        self._load()

    @classmethod
    def create(cls, path: Path, keystore: KeyStore, entropy: Entropy = os.urandom) -> Self:
        """Makes an empty file and opens it.

        Raises:
            SlotFileError: EXISTS, IO.
        """
        SlotFile.create(path, _HEADER).close()
        return cls.open(path, keystore, entropy)

    @classmethod
    def open(cls, path: Path, keystore: KeyStore, entropy: Entropy = os.urandom, step: Step | None = None) -> Self:
        """Opens the file, unwraps every live key, and finishes what a crash left.

        Raises:
            SlotFileError: the file is missing, open to others, in use, not ours.
            KeyStoreError: the key store does not open a slot.
            StorageKeyError: DAMAGED.
        """
        slots = SlotFile.open(path) if step is None else SlotFile.open(path, step)
        try:
            return cls(slots, keystore, entropy)
        except BaseException:
            slots.close()
            raise

    def _load(self) -> None:
        for slot, payload in self._slots:
            kind = payload[:1]
            if kind == b"g" and len(payload) > _GENERATION.size + _VERSION.size:
                self._load_generation(slot, payload)
            elif kind == b"r" and len(payload) > _RATCHET.size + _VERSION.size:
                self._load_ratchet(slot, payload)
            else:
                raise StorageKeyError(StorageKeyReason.DAMAGED, slot=slot)
        newest = max(self._live, default=0)
        if (self._ratchet is None and self._live) or (self._ratchet is not None and self._ratchet.step <= newest):
            # Without its ratchet, a number could be given twice.
            raise StorageKeyError(StorageKeyReason.DAMAGED)
        if self._ratchet is not None:
            self._destroy_seed()

    def _load_generation(self, slot: int, payload: bytes) -> None:
        head, (_, number, code, begins, ends) = payload[: _GENERATION.size], _GENERATION.unpack_from(payload)
        if code not in _TIERS:
            raise StorageKeyError(StorageKeyReason.DAMAGED, slot=slot)
        version, secret = self._unwrap(head, payload[_GENERATION.size :])
        live = _Live(Generation(number, _TIERS[code], begins, ends), StorageKey(number, AESGCM(secret)), slot, version)
        before = self._live.get(number)
        if before is not None:  # a crash came between the two steps of wrapping a slot anew
            older, live = (before, live) if before.wrapped_by <= version else (live, before)
            self._slots.erase(older.slot)
        self._live[number] = live

    def _load_ratchet(self, slot: int, payload: bytes) -> None:
        head, (_, step) = payload[: _RATCHET.size], _RATCHET.unpack_from(payload)
        version, secret = self._unwrap(head, payload[_RATCHET.size :])
        if self._ratchet is not None:  # a crash came before the older one was overwritten
            if (self._ratchet.step, self._ratchet_by) >= (step, version):
                self._slots.erase(slot)
                return
            self._slots.erase(self._ratchet_slot)
        self._ratchet, self._ratchet_slot, self._ratchet_by = Ratchet(step, secret), slot, version

    def _unwrap(self, head: bytes, rest: bytes) -> tuple[int, bytes]:
        (version,) = _VERSION.unpack_from(rest)
        handle = KeyHandle(KEY_NAME, version)
        secret = self._keystore.unwrap(handle, _PURPOSE, _HEADER + head, rest[_VERSION.size :])
        if len(secret) != SECRET_BYTES:
            raise StorageKeyError(StorageKeyReason.DAMAGED)
        return version, secret

    def _put(self, head: bytes, secret: bytes) -> tuple[int, int]:
        handle = self._keystore.ensure(KEY_NAME, KeyKind.WRAP, _PURPOSE, _HEADER)
        wrapped = self._keystore.wrap(handle, _PURPOSE, _HEADER + head, secret)
        return self._slots.put(head + _VERSION.pack(handle.version) + wrapped), handle.version

    def current(self, now_ms: int) -> StorageKey:
        """The key for rows that come now. Made and synced on the spot if maintenance did not do so before.

        Raises:
            SlotFileError, KeyStoreError: a key had to be made and could not be.
        """
        now = self._now
        if now is not None and now.generation.serves(now_ms):
            return now.key
        with self._lock:
            found = serving(self.generations(), Tier.TEN_MINUTES, now_ms)
            if found is None:
                found = self._create(window(Tier.TEN_MINUTES, now_ms))
            self._now = self._live[found.number]
            return self._now.key

    def get(self, generation: int) -> StorageKey:
        """The key of one generation, to open what was sealed under it.

        Raises:
            StorageKeyError: DESTROYED; UNKNOWN for a number that was never given.
        """
        live = self._live.get(generation)
        if live is not None:
            return live.key
        given = self._ratchet is not None and 1 <= generation < self._ratchet.step
        raise StorageKeyError(StorageKeyReason.DESTROYED if given else StorageKeyReason.UNKNOWN, generation=generation)

    def accepts(self, generation: int, now_ms: int) -> bool:
        """Whether a commit may bring rows of this generation now; if not, the row is sealed again."""
        live = self._live.get(generation)
        return live is not None and live.generation.accepts(now_ms)

    def generations(self) -> tuple[Generation, ...]:
        """All live generations, oldest number first."""
        with self._lock:
            return tuple(self._live[number].generation for number in sorted(self._live))

    def lost(self, references: Mapping[int, References]) -> tuple[int, ...]:
        """Generations that rows refer to and that are not here: must be none."""
        with self._lock:
            return tuple(n for n, count in references.items() if count.free + count.held and n not in self._live)

    def plan(self, now_ms: int, references: Mapping[int, References]) -> tuple[Action, ...]:
        """What is to be done now; see :func:`letterlock.custody.generations.plan`."""
        return plan(self.generations(), now_ms, references)

    def apply(self, action: Action, now_ms: int, rows: Rows) -> None:
        """Carries out one action of a plan.

        Raises:
            StorageKeyError: STILL_SERVING, STILL_REFERENCED for a destruction that must not be; NO_PROGRESS
                for rows that did not move; UNKNOWN or DESTROYED for a generation that is not live.
        """
        with self._lock:
            if isinstance(action, Create):
                self._create(action)
            elif isinstance(action, Rewrap):
                moved = rows.rewrap(self.get(action.source), self.get(action.target), action.held)
                # Those that were counted may have gone meanwhile: delivered, purged, or moved by another turn.
                if not moved and _left(rows.references(), action):
                    raise StorageKeyError(StorageKeyReason.NO_PROGRESS, generation=action.source)
            else:
                self._destroy(action, now_ms, rows)

    def maintain(self, now_ms: int, rows: Rows) -> tuple[Action, ...]:
        """Plans and carries out until nothing is left to do, within bounds; what was done.

        Raises:
            As :meth:`apply`.
        """
        done: list[Action] = []
        for _ in range(MAX_ROUNDS):
            actions = self.plan(now_ms, rows.references())
            for action in actions:
                self.apply(action, now_ms, rows)
            done.extend(actions)
            if not actions:
                break
        self._wrap_anew()
        return tuple(done)

    def _create(self, wanted: Create) -> Generation:
        ratchet = self._ratchet or self._first_ratchet()
        generation = Generation(ratchet.step, wanted.tier, wanted.begins_ms, wanted.ends_ms)
        head = _GENERATION.pack(b"g", generation.number, _TIER_CODES[wanted.tier], wanted.begins_ms, wanted.ends_ms)
        secret, onward = ratchet.turn(self._entropy(SECRET_BYTES), head)
        # First the ratchet moves on for good, so that no crash makes it give the same key or number again.
        self._move_ratchet(onward)
        slot, version = self._put(head, secret)
        self._live[generation.number] = _Live(generation, StorageKey(generation.number, AESGCM(secret)), slot, version)
        return generation

    def _first_ratchet(self) -> Ratchet:
        # The key store's randomness, a device's own where it is one, is hedged with ours.
        entropy = self._entropy(SECRET_BYTES)
        seed = self._keystore.ensure(SEED_NAME, KeyKind.MAC, _PURPOSE, _HEADER)
        secret = self._keystore.mac(seed, _PURPOSE, _HEADER, entropy)
        return Ratchet(1, hedged_key(secret, entropy, _HEADER, b"first ratchet"))

    def _destroy_seed(self) -> None:
        for seed in self._keystore.versions(SEED_NAME, _PURPOSE, _HEADER):
            self._keystore.destroy(seed, _PURPOSE, _HEADER)

    def _move_ratchet(self, onward: Ratchet) -> None:
        old = self._ratchet_slot
        slot, version = self._put(_RATCHET.pack(b"r", onward.step), onward.secret)
        self._ratchet, self._ratchet_slot, self._ratchet_by = onward, slot, version
        if old >= 0:
            self._slots.erase(old)
        else:
            self._destroy_seed()

    def _destroy(self, action: Destroy, now_ms: int, rows: Rows) -> None:
        live = self._live.get(action.generation)
        if live is None:
            self.get(action.generation)
            return
        if not live.generation.is_over(now_ms):
            raise StorageKeyError(StorageKeyReason.STILL_SERVING, generation=action.generation)
        count = rows.references().get(action.generation, References())
        if count.free or count.held:
            raise StorageKeyError(
                StorageKeyReason.STILL_REFERENCED, generation=action.generation, rows=count.free + count.held
            )
        rows.intend_destruction(action.generation)
        if self._now is live:
            self._now = None
        del self._live[action.generation]
        self._slots.erase(live.slot)
        rows.destroyed(action.generation)

    def resume_destruction(self, generation: int, now_ms: int, rows: Rows) -> None:
        """Goes on with a destruction that was intended before a crash: the key goes, if it is there, and the record.

        Raises:
            As :meth:`apply`.
        """
        with self._lock:
            if generation in self._live:
                self._destroy(Destroy(generation), now_ms, rows)
            else:
                rows.destroyed(generation)

    def _wrap_anew(self) -> None:
        """After a rotation of the wrapping key: every slot under the newest version, so that older ones may go."""
        with self._lock:
            newest = self._keystore.ensure(KEY_NAME, KeyKind.WRAP, _PURPOSE, _HEADER).version
            for number, live in tuple(self._live.items()):
                if live.wrapped_by != newest:
                    payload = self._slots.read(live.slot)
                    head = payload[: _GENERATION.size]
                    _, secret = self._unwrap(head, payload[_GENERATION.size :])
                    slot, version = self._put(head, secret)
                    self._live[number] = _Live(live.generation, live.key, slot, version)
                    self._slots.erase(live.slot)
            if self._ratchet is not None and self._ratchet_by != newest:
                self._move_ratchet(self._ratchet)

    def close(self) -> None:
        """Forgets the keys and releases the file. Harmless when repeated."""
        with self._lock:
            self._live.clear()
            self._now = None
            self._slots.close()


def _left(references: Mapping[int, References], action: Rewrap) -> int:
    """How many rows an action would still have to move."""
    count = references.get(action.source, References())
    return count.held if action.held else count.free
