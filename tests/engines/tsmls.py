"""The adapter for ``ts-mls`` 1.6.4: another implementation, behind the same port. For the tests alone.

Every call gives the sidecar the state as bytes and takes the state after it as bytes, so that whatever works here
works from what was stored. A refused call changes nothing, since its new state is thrown away.

Found by running it: no sender in a decrypted message (read from its sender data here); every credential accepted
and lifetimes unchecked unless configured; ``external_pub`` written and read without its length (repaired in
``codec.mjs``); the ratchet secret of a skipped generation is kept, so that who steals such a state can compute the
keys of later generations of that sender in that epoch, used ones too.
"""

import json
from collections.abc import Callable
from typing import Any, Final, final

from tests.engines.sidecar import Sidecar, raw

from letterlock.client.engine import (
    MAX_KEY_PACKAGES,
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
from letterlock.model.bodies import SealedBody, SealedKind
from letterlock.wire.mls import MAX_GROUP_MESSAGE, FramingError, parse

_STATE: Final = "state"
_PACKAGES: Final = "key_packages/"
_GROUPS: Final = "groups/"

_PRESENT: Final = frozenset(
    {
        EngineCapability.SENDER_LEAF,
        EngineCapability.ROSTER_IDENTITIES,
        EngineCapability.ROSTER_SIGNATURE_KEYS,
        EngineCapability.SELF_UPDATE,
        EngineCapability.EXTERNAL_COMMIT,
    }
)


@final
class TsMlsEngine:
    """One device's MLS on ``ts-mls``."""

    def __init__(self, sidecar: Sidecar, seed: bytes, parts: dict[str, bytes] | None = None) -> None:
        self._sidecar: Final = sidecar
        self._seed: Final = seed
        self._parts: dict[str, bytes] = dict(parts or {})
        self._reported: dict[str, bytes] = dict(self._parts)
        self._pending: dict[bytes, bytes] = {}
        self.leaf_key: Final = raw(sidecar.call("public_key", seed=seed)["key"])
        self.capabilities: Final = EngineCapabilities("ts-mls", "1.6.4", _PRESENT)

    def key_packages(self, count: int) -> list[bytes]:
        """Fresh key packages."""
        if not 0 < count <= MAX_KEY_PACKAGES:
            raise EngineError(EngineReason.TOO_MANY, count=count)
        made = []
        for _ in range(count):
            package = self._sidecar.call("key_package", seed=self._seed)
            self._parts[_PACKAGES + package.pop("ref")] = json.dumps(package).encode()
            made.append(raw(package["package"]))
        return made

    def create(self, group_id: bytes) -> int:
        """A group with this device alone; stands at epoch 0."""
        if _group(group_id) in self._parts or group_id in self._pending:
            raise EngineError(EngineReason.GROUP_EXISTS)
        made = self._sidecar.call("create", seed=self._seed, group_id=group_id)
        self._parts[_group(group_id)] = raw(made["state"])
        return self.epoch(group_id)

    def add(self, group_id: bytes, key_packages: list[bytes]) -> CommitBundle:
        """Proposes to add members."""
        if not key_packages:
            raise EngineError(EngineReason.TOO_MANY, count=0)
        return self._propose(group_id, key_packages, [])

    def remove(self, group_id: bytes, leaf_indexes: list[int]) -> CommitBundle:
        """Proposes to remove one member."""
        if len(leaf_indexes) != 1:
            raise EngineError(EngineReason.TOO_MANY, count=len(leaf_indexes))
        if leaf_indexes[0] not in {member.leaf for member in self.roster(group_id)}:
            raise EngineError(EngineReason.REFUSED)
        return self._propose(group_id, [], leaf_indexes)

    def update(self, group_id: bytes) -> CommitBundle:
        """Proposes an empty commit with a path."""
        return self._propose(group_id, [], [])

    def resume(self, group_id: bytes, pending_state: bytes) -> None:
        """After a restart: the proposal is pending again."""
        if group_id in self._pending:
            raise EngineError(EngineReason.COMMIT_PENDING)
        self._pending[group_id] = unpack(pending_state)[_STATE]

    def confirm(self, group_id: bytes) -> None:
        """The pending commit or join counts."""
        self._parts[_group(group_id)] = self._take_pending(group_id)

    def discard(self, group_id: bytes) -> None:
        """The pending commit or join never was."""
        self._take_pending(group_id)

    def join(self, welcome: bytes) -> Joined:
        """Opens a welcome; the used key package is gone either way."""
        _expect(welcome, {SealedKind.WELCOME})
        held = {
            name.removeprefix(_PACKAGES): json.loads(content)
            for name, content in self._parts.items()
            if name.startswith(_PACKAGES)
        }
        joined = self._sidecar.call("join", seed=self._seed, welcome=welcome, packages=held)
        group_id = raw(joined["group_id"])
        if group_id in self._pending:
            raise EngineError(EngineReason.COMMIT_PENDING)
        if _group(group_id) in self._parts and self._look(group_id)["active"]:
            raise EngineError(EngineReason.GROUP_EXISTS)
        del self._parts[_PACKAGES + joined["ref"]]
        self._pending[group_id] = raw(joined["state"])
        return Joined(group_id, joined["epoch"], _roster(joined), tuple(joined["extensions"]))

    def process(self, message: bytes) -> EngineEvent:
        """Takes a public commit or an application message of another member."""
        body = _expect(message, {SealedKind.PRIVATE_APPLICATION, SealedKind.PUBLIC_COMMIT})
        state, look = self._state(body.group_id), self._look(body.group_id)
        if body.group_id in self._pending:
            raise EngineError(EngineReason.COMMIT_PENDING)
        if body.kind is SealedKind.PUBLIC_COMMIT and body.epoch != look["epoch"]:
            raise EngineError(EngineReason.WRONG_EPOCH, own=look["epoch"], shown=body.epoch)
        if not look["active"]:
            raise EngineError(EngineReason.GROUP_LEFT)
        done = self._sidecar.call("process", state=state, data=message)
        self._parts[_group(body.group_id)] = raw(done["state"])
        if "plaintext" not in done:
            return EpochAdvanced(body.group_id, done["epoch"], done["active"])
        leaf: int = done["leaf"]
        known = {member.leaf: member.identity for member in _roster(look)} if body.epoch == look["epoch"] else {}
        return Decrypted(body.group_id, body.epoch, leaf, known.get(leaf), raw(done["plaintext"]))

    def encrypt(self, group_id: bytes, plaintext: bytes) -> bytes:
        """An application message."""
        state = self._state(group_id)
        if group_id in self._pending:
            raise EngineError(EngineReason.COMMIT_PENDING)
        if not self._look(group_id)["active"]:
            raise EngineError(EngineReason.GROUP_LEFT)
        made = self._sidecar.call("encrypt", state=state, plaintext=plaintext)
        self._parts[_group(group_id)] = raw(made["state"])
        return raw(made["message"])

    def roster(self, group_id: bytes) -> tuple[Member, ...]:
        """The members now."""
        return _roster(self._look(group_id))

    def own_leaf(self, group_id: bytes) -> int:
        """This device's leaf."""
        return int(self._look(group_id)["own_leaf"])

    def epoch(self, group_id: bytes) -> int:
        """The current epoch."""
        return int(self._look(group_id)["epoch"])

    def group_ids(self) -> tuple[bytes, ...]:
        """All groups in the state."""
        names = (name.removeprefix(_GROUPS) for name in self._parts if name.startswith(_GROUPS))
        return tuple(sorted(map(bytes.fromhex, names)))

    def fingerprint(self, group_id: bytes) -> bytes:
        """See :func:`group_fingerprint`."""
        look = self._look(group_id)
        if not look["active"]:
            raise EngineError(EngineReason.GROUP_LEFT)
        identities = [member.identity for member in _roster(look)]
        return group_fingerprint(group_id, look["epoch"], raw(look["confirmation_tag"]), identities)

    def forget(self, group_id: bytes) -> None:
        """Drops a group and its keys."""
        self._parts.pop(_group(group_id), None)
        self._pending.pop(group_id, None)

    def take_changes(self) -> StateChanges:
        """What changed since the last call."""
        put = tuple((name, content) for name, content in self._parts.items() if self._reported.get(name) != content)
        gone = tuple(name for name in self._reported if name not in self._parts)
        self._reported = dict(self._parts)
        return StateChanges(put, gone)

    def close(self) -> None:
        """Nothing lies anywhere but in this object."""
        self._parts.clear()
        self._pending.clear()

    # -- for tests that play attackers ----------------------------------------------------------------------------

    def forged(self, operation: str, group_id: bytes, **arguments: Any) -> dict[str, Any]:
        """An operation of ``attacks.mjs`` on this member's keys."""
        return self._sidecar.call(operation, state=self._state(group_id), **arguments)

    def group_info(self, group_id: bytes) -> bytes:
        """GroupInfo with tree and external key, of the current epoch."""
        return raw(self._sidecar.call("group_info", state=self._state(group_id))["group_info"])

    def join_by_external_commit(self, group_id: bytes, group_info: bytes) -> bytes:
        """What an honest device never does; returns the commit."""
        made = self._sidecar.call("join_external", seed=self._seed, group_info=group_info)
        self._parts[_group(group_id)] = raw(made["state"])
        return raw(made["commit"])

    # -- inside ---------------------------------------------------------------------------------------------------

    def _propose(self, group_id: bytes, adds: list[bytes], removes: list[int]) -> CommitBundle:
        look = self._look(group_id)
        if group_id in self._pending:
            raise EngineError(EngineReason.COMMIT_PENDING)
        if not look["active"]:
            raise EngineError(EngineReason.GROUP_LEFT)
        made = self._sidecar.call("commit", state=self._state(group_id), adds=adds, removes=removes)
        after = raw(made["state"])
        self._pending[group_id] = after
        # One Welcome serves all who were added.
        welcomes = (raw(made["welcome"]),) * len(adds) if adds else ()
        return CommitBundle(
            group_id, look["epoch"], raw(made["commit"]), welcomes, raw(made["group_info"]), pack({_STATE: after})
        )

    def _take_pending(self, group_id: bytes) -> bytes:
        held = self._pending.pop(group_id, None)
        if held is None:
            raise EngineError(EngineReason.NOTHING_PENDING)
        return held

    def _state(self, group_id: bytes) -> bytes:
        held = self._parts.get(_group(group_id))
        if held is None:
            raise EngineError(EngineReason.UNKNOWN_GROUP)
        return held

    def _look(self, group_id: bytes) -> dict[str, Any]:
        return self._sidecar.call("look", state=self._state(group_id))


def factory(sidecar: Sidecar) -> Callable[[bytes, dict[str, bytes]], TsMlsEngine]:
    """What a device takes as its engine."""
    return lambda seed, parts: TsMlsEngine(sidecar, seed, parts)


def _group(group_id: bytes) -> str:
    return _GROUPS + group_id.hex()


def _roster(look: dict[str, Any]) -> tuple[Member, ...]:
    return tuple(
        Member(
            entry["leaf"],
            raw(entry["identity"]),
            raw(entry["key"]),
            (int(entry["lifetime"][0]), int(entry["lifetime"][1])) if entry["lifetime"] else None,
        )
        for entry in look["roster"]
    )


def _expect(message: bytes, kinds: set[SealedKind]) -> SealedBody:
    try:
        body = parse(message, limit=MAX_GROUP_MESSAGE)
    except FramingError:
        raise EngineError(EngineReason.WRONG_KIND) from None
    if body.kind not in kinds:
        raise EngineError(EngineReason.WRONG_KIND, kind=body.kind)
    return body
