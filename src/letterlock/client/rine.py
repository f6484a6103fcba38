"""The adapter for ``rine-mls`` 0.1.1 (mls-rs 0.55.2, unaudited), cipher suite 1.

What was found by running it, and what this adapter does about it:

* Exposed: the sender's leaf index of a decrypted message, the roster with credential identities, GroupInfo with the
  ratchet tree (leaf signature keys are read from it by our own parser), external commits, an empty commit (used
  as the self-update). Absent, and reported so: authenticated data, epoch authenticator, exporter, pre-shared keys,
  standalone proposals, private handshakes, last-resort packages. Suite 61527 (X-Wing) is private to this engine:
  not offered.
* ``create_group`` makes a path commit at once: a new group stands at epoch 1.
* A failed decryption uses up the generation that the forgery names: the genuine message would be refused after it.
  Hence a group is loaded again from its saved state after every failure.
* A saved group does not know that this device was removed: it would send and read on at its last epoch after a
  restart. Hence the file :data:`_LEFT` in its folder.
* A failed commit leaves no trace, and a tampered one does not block the genuine one; it is reloaded all the same.
* Own commits advance the object at once. The proposal is made on a second object and packed as ``pending_state``;
  the first one stays at the base epoch.
* Nothing is kept before ``save``; a reload before it would use a generation twice. Every call here saves.
* A used key package is deleted by the save after the join; a second join then fails.
* ``create_group`` on an id that exists fails late with a misleading error: refused here first.
* ``self_read.bin`` receives the plaintext of each own message at encrypt time, before any save. It is overwritten
  and deleted at once after each encrypt, and never packed. The seed and all secrets lie in clear in its directory,
  which is therefore in memory-backed storage only.
* Keys of 4500 past epochs are kept by default; here :data:`PAST_EPOCHS`.
* A message of an epoch behind the window, of another group or a replay: one error class, so one reason here.
"""

import hashlib
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, final

from letterlock.client.engine import (
    MAX_KEY_PACKAGES,
    PAST_EPOCHS,
    CommitBundle,
    Decrypted,
    EngineCapabilities,
    EngineCapability,
    EngineEvent,
    EpochAdvanced,
    Joined,
    Member,
    StateChanges,
    group_fingerprint,
)
from letterlock.client.errors import EngineError, EngineReason
from letterlock.client.parts import pack, unpack
from letterlock.client.scratch import Scratch, ScratchPolicy
from letterlock.client.tree import leaves
from letterlock.model.bodies import SealedBody, SealedKind
from letterlock.wire.mls import MAX_GROUP_MESSAGE, FramingError, parse, parse_group_info

if TYPE_CHECKING:
    import rine_mls

_SUITE: Final = 1
_APPLICATION_TAG: Final = b"\x04"
_PRIVATE_MESSAGE: Final = b"\x00\x01\x00\x02"
_OWN_PLAINTEXT: Final = "self_read.bin"
_LEFT: Final = "left"

_PRESENT: Final = frozenset(
    {
        EngineCapability.SENDER_LEAF,
        EngineCapability.ROSTER_IDENTITIES,
        EngineCapability.ROSTER_SIGNATURE_KEYS,
        EngineCapability.SELF_UPDATE,
        EngineCapability.EXTERNAL_COMMIT,
    }
)

T = TypeVar("T")


@final
class RineEngine:
    """One device's MLS on ``rine-mls``. Not for several threads at once.

    Args:
        seed: the Ed25519 seed of this device's leaf key, 32 bytes.
        parts: the state as :meth:`take_changes` reported it, for a device that ran before.
        directory: where the private directory is made; memory-backed unless ``policy`` says otherwise.
        policy: see :class:`ScratchPolicy`.

    Raises:
        EngineError: NOT_MEMORY_BACKED, NOT_INSTALLED, STATE_DAMAGED.
    """

    def __init__(
        self,
        seed: bytes,
        parts: dict[str, bytes] | None = None,
        *,
        directory: Path | None = None,
        policy: ScratchPolicy = ScratchPolicy.MEMORY_ONLY,
    ) -> None:
        try:
            import rine_mls
        except ImportError:
            raise EngineError(EngineReason.NOT_INSTALLED) from None
        self._rine: Final = rine_mls
        self._scratch: Final = Scratch(directory, policy)
        self._groups: dict[bytes, rine_mls.MlsGroup] = {}
        self._pending: dict[bytes, dict[str, bytes]] = {}
        self._known: dict[str, bytes] = {}
        self._dirty: set[str] = set()
        try:
            if parts:
                self._scratch.write(parts)
                self._known = {name: _digest(content) for name, content in parts.items()}
            self._client = self._guard(
                lambda: rine_mls.MlsClient(str(self._scratch.root), seed, _SUITE, epoch_retention_limit=PAST_EPOCHS)
            )
        except EngineError:
            self._scratch.close()
            raise
        self.leaf_key: Final = bytes(self._client.public_key())
        self.capabilities: Final = EngineCapabilities("rine-mls", importlib.metadata.version("rine-mls"), _PRESENT)

    # -- key packages ---------------------------------------------------------------------------------------------

    def key_packages(self, count: int) -> list[bytes]:
        """Fresh key packages, at most :data:`MAX_KEY_PACKAGES`."""
        if not 0 < count <= MAX_KEY_PACKAGES:
            raise EngineError(EngineReason.TOO_MANY, count=count)
        packages = self._guard(lambda: self._client.generate_key_packages(count))
        self._dirty.add("key_packages")
        return [bytes(package) for package in packages]

    # -- groups ---------------------------------------------------------------------------------------------------

    def create(self, group_id: bytes) -> int:
        """A group with this device alone; stands at epoch 1."""
        if (self._scratch.root / _folder(group_id)).exists() or group_id in self._pending:
            raise EngineError(EngineReason.GROUP_EXISTS)
        group = self._guard(lambda: self._client.create_group(group_id))
        self._groups[group_id] = group
        self._save(group_id)
        return int(group.epoch())

    def add(self, group_id: bytes, key_packages: list[bytes]) -> CommitBundle:
        """Proposes to add members."""
        if not key_packages:
            raise EngineError(EngineReason.TOO_MANY, count=0)
        return self._propose(group_id, lambda group: group.add_members(key_packages))

    def remove(self, group_id: bytes, leaf_indexes: list[int]) -> CommitBundle:
        """Proposes to remove one member; this engine takes one at a time."""
        if len(leaf_indexes) != 1:
            raise EngineError(EngineReason.TOO_MANY, count=len(leaf_indexes))
        if leaf_indexes[0] not in _identities(self._group(group_id)):
            raise EngineError(EngineReason.REFUSED)
        return self._propose(group_id, lambda group: group.remove_member(leaf_indexes[0]))

    def update(self, group_id: bytes) -> CommitBundle:
        """Proposes an empty commit with a path: fresh keys for this device."""
        return self._propose(group_id, lambda group: group.add_members([]))

    def resume(self, group_id: bytes, pending_state: bytes) -> None:
        """After a restart: the proposal is pending again."""
        if group_id in self._pending:
            raise EngineError(EngineReason.COMMIT_PENDING)
        self._pending[group_id] = unpack(pending_state)

    def confirm(self, group_id: bytes) -> None:
        """The pending commit or join counts."""
        parts = self._take_pending(group_id)
        self._groups.pop(group_id, None)
        self._scratch.drop(_folder(group_id))
        self._scratch.write(parts)
        self._mark(group_id)

    def discard(self, group_id: bytes) -> None:
        """The pending commit or join never was. A key package used by a refused join is dropped all the same."""
        self._take_pending(group_id)

    def join(self, welcome: bytes) -> Joined:
        """Opens a welcome; pending until confirm or discard. The used key package is gone either way."""
        self._expect(welcome, {SealedKind.WELCOME})
        group = self._guard(lambda: self._client.join_from_welcome(welcome), EngineReason.NOT_FOR_US)
        group_id = bytes(group.group_id())
        folder = _folder(group_id)
        if group_id in self._pending:
            raise EngineError(EngineReason.COMMIT_PENDING)
        if (self._scratch.root / folder).exists() and self._active(group_id):
            raise EngineError(EngineReason.GROUP_EXISTS)
        before = self._scratch.read(folder)
        roster = self._guard_roster(group)
        extensions = self._context_extensions(group)
        epoch = int(group.epoch())
        self._guard(group.save)
        self._dirty.add("key_packages")
        after = self._scratch.read(folder)
        after.pop(f"{folder}/{_LEFT}", None)
        self._pending[group_id] = after
        self._scratch.drop(folder)
        self._scratch.write(before)
        self._groups.pop(group_id, None)
        return Joined(group_id, epoch, roster, extensions)

    def process(self, message: bytes) -> EngineEvent:
        """Takes a public commit or an application message of another member."""
        body = self._expect(message, {SealedKind.PRIVATE_APPLICATION, SealedKind.PUBLIC_COMMIT})
        group_id = body.group_id
        group = self._group(group_id)
        if group_id in self._pending:
            raise EngineError(EngineReason.COMMIT_PENDING)
        if body.kind is SealedKind.PUBLIC_COMMIT:
            if body.epoch != group.epoch():
                raise EngineError(EngineReason.WRONG_EPOCH, own=int(group.epoch()), shown=body.epoch)
            if not self._active(group_id):
                raise EngineError(EngineReason.GROUP_LEFT)
            self._attempt(group_id, lambda: group.apply_commit(message))
            self._save(group_id)
            if not group.is_active():
                self._scratch.write({f"{_folder(group_id)}/{_LEFT}": b""})
            return EpochAdvanced(group_id, int(group.epoch()), bool(group.is_active()))
        if not self._active(group_id):
            raise EngineError(EngineReason.GROUP_LEFT)
        opened = self._attempt(group_id, lambda: group.decrypt_application_message(_APPLICATION_TAG + message))
        self._save(group_id)
        leaf = int(opened.sender_index)
        # The roster is of the current epoch; a leaf of an earlier one may have changed hands since.
        known = _identities(group).get(leaf) if body.epoch == group.epoch() else None
        return Decrypted(group_id, body.epoch, leaf, known, bytes(opened.envelope))

    def encrypt(self, group_id: bytes, plaintext: bytes) -> bytes:
        """An application message as MLSMessage."""
        group = self._group(group_id)
        if group_id in self._pending:
            raise EngineError(EngineReason.COMMIT_PENDING)
        if not self._active(group_id):
            raise EngineError(EngineReason.GROUP_LEFT)
        try:
            sealed = self._attempt(group_id, lambda: bytes(group.encrypt_application_message(plaintext)))
        finally:
            self._scratch.drop(f"{_folder(group_id)}/{_OWN_PLAINTEXT}")
        self._save(group_id)
        message = sealed[len(_APPLICATION_TAG) :]
        if not sealed.startswith(_APPLICATION_TAG) or not message.startswith(_PRIVATE_MESSAGE):
            raise EngineError(EngineReason.REFUSED)
        return message

    # -- looking --------------------------------------------------------------------------------------------------

    def roster(self, group_id: bytes) -> tuple[Member, ...]:
        """The members at the current epoch."""
        return self._guard_roster(self._group(group_id))

    def own_leaf(self, group_id: bytes) -> int:
        """This device's own leaf index."""
        return int(self._group(group_id).current_member_index())

    def epoch(self, group_id: bytes) -> int:
        """The current epoch."""
        return int(self._group(group_id).epoch())

    def group_ids(self) -> tuple[bytes, ...]:
        """All groups in the state."""
        root = self._scratch.root / "groups"
        return tuple(sorted(bytes.fromhex(path.name) for path in root.iterdir())) if root.is_dir() else ()

    def fingerprint(self, group_id: bytes) -> bytes:
        """See :func:`letterlock.client.engine.group_fingerprint`."""
        group = self._group(group_id)
        if not self._active(group_id):
            raise EngineError(EngineReason.GROUP_LEFT)
        try:
            tag = parse_group_info(bytes(self._guard(group.group_info))).confirmation_tag
        except FramingError:
            raise EngineError(EngineReason.STATE_DAMAGED) from None
        return group_fingerprint(group_id, int(group.epoch()), tag, _identities(group).values())

    def group_info(self, group_id: bytes) -> bytes:
        """The GroupInfo of the current epoch, with its tree."""
        return bytes(self._guard(self._group(group_id).group_info))

    # -- state ----------------------------------------------------------------------------------------------------

    def forget(self, group_id: bytes) -> None:
        """Drops a group and its keys."""
        self._groups.pop(group_id, None)
        self._pending.pop(group_id, None)
        self._scratch.drop(_folder(group_id))
        self._mark(group_id)

    def take_changes(self) -> StateChanges:
        """What changed since the last call."""
        put: list[tuple[str, bytes]] = []
        gone: list[str] = []
        for folder in sorted(self._dirty):
            now = self._scratch.read(folder)
            for name, content in now.items():
                digest = _digest(content)
                if self._known.get(name) != digest:
                    self._known[name] = digest
                    put.append((name, content))
            lost = [name for name in self._known if name.startswith(folder + "/") and name not in now]
            for name in lost:
                del self._known[name]
            gone += lost
        self._dirty.clear()
        return StateChanges(tuple(put), tuple(gone))

    def close(self) -> None:
        """Overwrites and removes the private directory."""
        self._groups.clear()
        self._pending.clear()
        self._scratch.close()

    # -- inside ---------------------------------------------------------------------------------------------------

    def _propose(self, group_id: bytes, act: "Callable[[rine_mls.MlsGroup], rine_mls.CommitBundle]") -> CommitBundle:
        base = self._group(group_id)
        if group_id in self._pending:
            raise EngineError(EngineReason.COMMIT_PENDING)
        if not self._active(group_id):
            raise EngineError(EngineReason.GROUP_LEFT)
        folder = _folder(group_id)
        before = self._scratch.read(folder)
        group = self._guard(lambda: self._client.load_group(group_id))
        bundle = self._guard(lambda: act(group))
        self._guard(group.save)
        after = self._scratch.read(folder)
        self._scratch.drop(folder)
        self._scratch.write(before)
        self._pending[group_id] = after
        return CommitBundle(
            group_id,
            int(base.epoch()),
            bytes(bundle.commit),
            tuple(bytes(welcome) for welcome in bundle.welcomes),
            bytes(bundle.group_info),
            pack(after),
        )

    def _take_pending(self, group_id: bytes) -> dict[str, bytes]:
        parts = self._pending.pop(group_id, None)
        if parts is None:
            raise EngineError(EngineReason.NOTHING_PENDING)
        return parts

    def _group(self, group_id: bytes) -> "rine_mls.MlsGroup":
        held = self._groups.get(group_id)
        if held is None:
            if not (self._scratch.root / _folder(group_id)).exists():
                raise EngineError(EngineReason.UNKNOWN_GROUP)
            held = self._guard(lambda: self._client.load_group(group_id), EngineReason.STATE_DAMAGED)
            self._groups[group_id] = held
        return held

    def _active(self, group_id: bytes) -> bool:
        left = self._scratch.root / _folder(group_id) / _LEFT
        return bool(self._group(group_id).is_active()) and not left.exists()

    def _save(self, group_id: bytes) -> None:
        self._guard(self._groups[group_id].save)
        self._mark(group_id)

    def _mark(self, group_id: bytes) -> None:
        self._dirty.add(_folder(group_id))

    def _attempt(self, group_id: bytes, act: Callable[[], T]) -> T:
        """Runs a step that changes the object; after a failure the object is the saved state again."""
        try:
            return self._guard(act)
        except EngineError:
            self._groups.pop(group_id, None)
            raise

    def _guard_roster(self, group: "rine_mls.MlsGroup") -> tuple[Member, ...]:
        """The roster from the tree in the engine's own GroupInfo, which must agree with the engine's list."""
        if not group.is_active():
            return tuple(Member(leaf, identity, None) for leaf, identity in _identities(group).items())
        try:
            found = leaves(bytes(self._guard(group.group_info)))
        except FramingError:
            raise EngineError(EngineReason.STATE_DAMAGED) from None
        if {entry.leaf: entry.identity for entry in found} != _identities(group):
            raise EngineError(EngineReason.STATE_DAMAGED)
        return tuple(Member(entry.leaf, entry.identity, entry.signature_key, entry.lifetime) for entry in found)

    def _context_extensions(self, group: "rine_mls.MlsGroup") -> tuple[int, ...]:
        try:
            info = parse_group_info(bytes(self._guard(group.group_info)))
        except FramingError:
            raise EngineError(EngineReason.STATE_DAMAGED) from None
        return tuple(extension.kind for extension in info.context_extensions)

    def _guard(self, act: Callable[[], T], reason: EngineReason = EngineReason.REFUSED) -> T:
        """Turns the engine's errors into ours. Their texts are dropped: they may quote input."""
        try:
            return act()
        except self._rine.RineMlsError as error:
            raise EngineError(_REASONS.get(type(error).__name__, reason)) from None

    @staticmethod
    def _expect(message: bytes, kinds: set[SealedKind]) -> SealedBody:
        try:
            body = parse(message, limit=MAX_GROUP_MESSAGE)
        except FramingError:
            raise EngineError(EngineReason.WRONG_KIND) from None
        if body.kind not in kinds:
            raise EngineError(EngineReason.WRONG_KIND, kind=body.kind)
        return body


_REASONS: Final = {
    "GroupInactiveError": EngineReason.GROUP_LEFT,
    "EpochConflictError": EngineReason.WRONG_EPOCH,
    "SelfMessageNotCachedError": EngineReason.OWN_MESSAGE,
    "MlsStoreError": EngineReason.STATE_DAMAGED,
}


def _identities(group: "rine_mls.MlsGroup") -> dict[int, bytes]:
    return {int(entry.index): bytes(entry.identity) for entry in group.member_identities()}


def _folder(group_id: bytes) -> str:
    return f"groups/{group_id.hex()}"


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
